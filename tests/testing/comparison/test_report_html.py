"""The report as a page: whole, escaped, and without need of anything else."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from bridge.testing.comparison.result import ABSENT, Comparison, Difference, Result
from bridge.testing.exchange import Request, Response

VOID = {"meta", "link", "br", "img", "input"}
EVIL = "</pre></td></style><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\x1b[31m"


class Page(HTMLParser):
    """What is in a page, for assertions; refuses one whose elements do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def comparison(*differences: Difference, old: Response | None = None, **options: Any) -> Comparison:
    request = Request("GET", "/a?b=1", (("X-Request", "a"),), name="the <first>")
    answer = old or Response(200, "OK", (("Content-Type", "text/plain"),), (b"hello",), elapsed=0.0123)
    alike = Result(Request("GET", "/alike"), answer, answer)
    return Comparison((Result(request, answer, answer, differences), alike), **options)


ALL = (
    Difference("status", "status", 200, 404),
    Difference("json/type", "$.a", 1, "1", "integer became string"),
    Difference("json/extra", "$.b", ABSENT, "x" * 500),
    Difference("text", "line 2", "a\nb\nc\n", "a\nB\nc\n"),
    Difference("body/bytes", "byte 1", b"a\0", b"a\1"),
    Difference("body/missing", "body", b"some", ABSENT),
    Difference("text", "line 1", "a\n", ABSENT),
    Difference("body/custom", "body", detail="the pictures differ"),
)


def test_a_page_holds_all_of_it() -> None:
    page = Page(comparison(*ALL, old_name="flask", new_name="fastapi").html())
    assert ("title", {}) in page.elements
    assert page.text.count("flask and fastapi compared") == 2
    assert "flask and fastapi: 8 differences in 1 of 2 requests" in page.text
    for each in ALL:
        assert each.kind in page.text
        assert each.where in page.text
        assert each.detail in page.text
    assert "12.3 ms" in page.text
    assert "X-Request: a" in page.text
    assert "GET /a?b=1" in page.text


def test_headings_and_tables_say_what_they_are() -> None:
    page = Page(comparison(*ALL).html())
    assert [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")] == ["h1", "h2", "h2", "h3", "h2"]
    assert all(attributes.get("scope") == "col" for tag, attributes in page.elements if tag == "th")
    assert ("html", {"lang": "en"}) in page.elements


def test_each_request_is_reached_from_the_list_of_all() -> None:
    page = Page(comparison(*ALL).html())
    targets = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert targets == [f"#{each}" for each in ids] == ["#request-1"]


def test_it_needs_nothing_else() -> None:
    """And its policy allows nothing else."""
    page = Page(comparison(*ALL).html())
    assert not page.tags() & {"script", "link", "img", "iframe", "object", "form"}
    assert not [
        name for _, attributes in page.elements for name in attributes if name in ("src", "style", "action")
    ]
    assert "url(" not in comparison(*ALL).html()
    policy = [
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and "http-equiv" in attributes
    ]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_apps_answer_is_never_run() -> None:
    """Wherever it stands: in values, places, details, labels, headers, bodies, errors, names."""
    answer = Response(
        200, EVIL, (("X-A", EVIL),), (EVIL.encode(),), error=type(EVIL[:30], (Exception,), {})(EVIL)
    )
    request = Request("GET", "/", (("X-A", EVIL),), EVIL.encode(), name=EVIL)
    differences = (
        Difference("header/value", EVIL, EVIL, EVIL, EVIL),
        Difference(EVIL, EVIL, EVIL * 9, {EVIL: EVIL}),
        Difference("text", "line 1", EVIL + "\n", EVIL + "\n" + EVIL),
        Difference("body/bytes", "byte 0", EVIL.encode(), b"<script>"),
    )
    page = Page(Comparison((Result(request, answer, answer, differences),), EVIL, EVIL, EVIL).html(EVIL))
    assert not page.tags() & {"script", "img"}
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text


def test_long_values_are_folded_and_huge_ones_cut() -> None:
    page = Page(comparison(Difference("json/value", "$", "x" * 500, "y" * 1_000_000)).html())
    assert "x" * 500 in page.text
    assert len(page.text) < 100_000
    folds = [tag for tag, _ in page.elements if tag == "details"]
    short = Page(comparison(Difference("json/value", "$", "x", "y")).html())
    assert len(folds) == [tag for tag, _ in short.elements].count("details") + 2


def test_a_request_that_was_another_on_the_new_side_is_shown() -> None:
    answer = Response(200)
    result = Result(Request(), answer, answer, (Difference("a", "b"),), new_request=Request("GET", "/<new>"))
    assert "new: GET /%3Cnew%3E" in Page(Comparison((result,)).html()).text


@pytest.mark.parametrize("requests", [0, 1])
def test_a_page_without_differences_is_short(requests: int) -> None:
    answer = Response(200)
    results = (Result(Request(), answer, answer),) * requests
    page = Page(Comparison(results).html())
    assert [tag for tag, _ in page.elements if tag == "h2"] == ["h2"] * requests
    assert ("all alike" in page.text) is bool(requests)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (Response(404), "404"),
        (Response(0, error=KeyError("x")), "KeyError"),
        (Response(200, error=KeyError("x")), "200, then KeyError"),
    ],
)
def test_how_a_response_ended_is_in_the_list(response: Response, said: str) -> None:
    assert said in Page(comparison(old=response).html()).words


def test_it_follows_the_choice_of_light_or_dark() -> None:
    source = comparison(*ALL).html()
    assert "color-scheme: light dark" in source
    assert "prefers-color-scheme: dark" in source
