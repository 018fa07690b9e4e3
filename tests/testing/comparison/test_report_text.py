"""The report as text."""

from __future__ import annotations

import builtins
import io
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from bridge.exceptions import MissingDependency
from bridge.testing.comparison import report_text
from bridge.testing.comparison.report_text import difference_line, hex_diff, shown, text_diff, visible
from bridge.testing.comparison.result import ABSENT, Comparison, Difference, Result
from bridge.testing.exchange import Request, Response

OK = Response(200)


def comparison(*differences: Difference, label: str = "", **options: Any) -> Comparison:
    return Comparison((Result(Request("GET", "/a", name=label), OK, OK, differences),), **options)


def test_a_report_names_request_kind_place_and_both_values() -> None:
    report = comparison(
        Difference("status", "status", 200, 404),
        Difference("json/type", "$.a", 1, "1", "integer became string"),
        Difference("cookie/missing", "sid", "sid=1; Path=/", ABSENT),
        Difference("body/custom", "body", detail="the pictures differ"),
        old_name="flask",
        new_name="fastapi",
    ).text(color=False)
    assert report == (
        "GET /a\n"
        "  status\n"
        "    - flask    200\n"
        "    + fastapi  404\n"
        "  json/type  $.a  (integer became string)\n"
        "    - flask    1\n"
        "    + fastapi  '1'\n"
        "  cookie/missing  sid\n"
        "    - flask    'sid=1; Path=/'\n"
        "    + fastapi  (absent)\n"
        "  body/custom  body  (the pictures differ)\n"
        "\n"
        "flask and fastapi: 4 differences in 1 of 1 request"
    )


def test_a_request_that_was_another_on_the_new_side_is_shown() -> None:
    result = Result(
        Request("GET", "/old"), OK, OK, (Difference("a", "b"),), new_request=Request("GET", "/new")
    )
    assert Comparison((result,)).text(color=False).startswith("GET /old\n  new: GET /new\n")


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (Comparison(()), "old and new: no request was compared"),
        (comparison(), "old and new: 1 request, all alike"),
        (comparison(stopped="stopped early"), "old and new: 1 request, all alike; stopped early"),
    ],
)
def test_without_differences_it_is_one_line(of: Comparison, said: str) -> None:
    assert of.text(color=False) == said


def test_texts_are_shown_as_a_diff() -> None:
    old = "".join(f"line {number}\n" for number in range(40))
    report = comparison(Difference("text", "line 21", old, old.replace("20", "XX"))).text(color=False)
    assert report.split("\n")[2:10] == [
        "    --- old",
        "    +++ new",
        "    @@ -19,5 +19,5 @@",
        "     line 18",
        "     line 19",
        "    -line 20",
        "    +line XX",
        "     line 21",
    ]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("a\r\nb\n", "a\nb\n", ["-a\\r", "+a"]),
        ("a\nb", "a\nb\n", ["-b  (no newline at the end)", "+b"]),
        ("a\n\x1b[31m", "a\n", ["-\\x1b[31m  (no newline at the end)"]),
        ("a\n", "", ["-a"]),
    ],
)
def test_a_diff_shows_what_cannot_be_seen(old: str, new: str, lines: list[str]) -> None:
    found = [text for _, text in text_diff(old, new)]
    assert [each for each in found if each[:1] in "+-" and each[:3] not in ("---", "+++")] == lines


def test_a_diff_is_bounded() -> None:
    """However much differs: also in time, since matching lines takes the product of their numbers."""
    assert not any("more line" in text for _, text in text_diff("a\n", "b\n"))
    found = text_diff("".join(f"{n}\n" for n in range(300)), "")
    assert len(found) == 31
    assert found[-1].text == "… 273 more lines"
    old, new = ("".join(f"{side}{n}\n" for n in range(20_000)) for side in "ab")
    found = text_diff(f"same\n{old}the\nend\n", f"same\n{new}the\nend\n")
    assert [found[0].text, found[1].text, found[16].text] == ["@@ line 2 @@", "-a0", "+b0"]
    assert found[-1].text == "… 39970 more lines"
    assert max(len(text) for _, text in text_diff("a" * 10_000 + "\n", "b\n")) < 250


def test_bytes_are_shown_where_they_differ() -> None:
    found = hex_diff(bytes(range(48, 80)), bytes(range(48, 70)) + b"\0\xff")
    assert [text for _, text in found] == [
        "- 0000000e  3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d  >?@ABCDEFGHIJKLM",
        "+ 0000000e  3e 3f 40 41 42 43 44 45 00 ff                    >?@ABCDE..",
    ]
    report = comparison(Difference("body/bytes", "byte 0", b"a", b"b")).text(color=False)
    assert "    - 00000000  61" in report
    report = comparison(Difference("body/missing", "body", b"a", ABSENT)).text(color=False)
    assert "    - old  1 bytes b'a'\n    + new  (absent)" in report


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ABSENT, "(absent)"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ("it's\n\x1b", '"it\'s\\n\\x1b"'),
        (b"\x1b", "1 bytes b'\\x1b'"),
        ({"é": [None, "x"]}, '{"é": [null, "x"]}'),
        ([b"a"], "[b'a']"),
        ("x" * 300, "'" + "x" * 199 + "… (302 characters)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_shown_in_one_line(value: Any, expected: str) -> None:
    assert shown(value) == expected


def test_a_value_nested_too_deep_is_named() -> None:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    assert "deep" in shown(value) or shown(value).startswith("[[")


def test_nothing_reaches_the_terminal_as_control_characters() -> None:
    """Wherever it comes from: values, places, details, labels, names of both sides' requests."""
    evil = "\x1b]0;pwned\x07\r\ud800"
    report = comparison(
        Difference("header/value", evil, evil, evil, evil),
        Difference("text", "line 1", evil + "\n", "\n"),
        Difference("body/custom", "body", detail=evil),
        Difference("json/value", "$", {evil: evil}, [evil]),
        label=evil,
    )
    for text in (report.text(color=False), *map(difference_line, report.differences)):
        assert not set(text) & set("\x1b\x07\r\ud800")
    assert set(visible(evil)) <= {*map(chr, range(32, 127))}


needs_rich = pytest.mark.skipif(find_spec("rich") is None, reason="rich is not installed")


@needs_rich
def test_colours_are_those_of_a_terminal() -> None:
    report = comparison(Difference("status", "status", 200, 404))
    colored = report.text(color=True)
    assert "\x1b[31m    - old  200\x1b[0m" in colored
    assert "\x1b" not in report.text(color=False)


@needs_rich
def test_long_lines_are_not_broken() -> None:
    report = comparison(Difference("header/value", "X-A", "x" * 190, "y"))
    assert "x" * 190 in report.text(color=True)


@needs_rich
def test_markup_of_rich_in_a_value_is_text() -> None:
    assert "[red]a[/red]" in comparison(Difference("json/value", "$", "[red]a[/red]", "b")).text(color=True)


def test_without_a_terminal_it_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert "\x1b" not in comparison(Difference("status", "status", 200, 404)).text()
    monkeypatch.setattr(sys, "stdout", None)
    assert "\x1b" not in comparison(Difference("status", "status", 200, 404)).text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@needs_rich
@pytest.mark.parametrize(
    ("environment", "colored"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_on_a_terminal_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colored: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert ("\x1b" in comparison(Difference("status", "status", 200, 404)).text()) is colored


def test_rich_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for colours that were asked for."""
    real = builtins.__import__

    def without_rich(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    monkeypatch.setattr(sys, "stdout", Terminal())
    report = comparison(Difference("status", "status", 200, 404))
    assert "\x1b" not in report.text()
    with pytest.raises(MissingDependency, match=r"pip install 'wsgi-asgi-bridge\[testing\]'"):
        report.text(color=True)


@needs_rich
def test_rich_can_print_it() -> None:
    from rich.console import Console

    output = io.StringIO()
    report = comparison(Difference("status", "status", 200, 404))
    Console(file=output, width=200).print(report)
    assert output.getvalue().rstrip("\n") == report.text(color=False)


def test_the_module_does_not_load_rich() -> None:
    assert "rich" not in vars(report_text)
