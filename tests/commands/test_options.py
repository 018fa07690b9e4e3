"""What the shared options come to; that they reach the commands is in the tests of these."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from bridge.commands.options import (
    CALLING,
    RULES,
    SOURCES,
    check_writable,
    distinct,
    echo,
    expressions,
    headers_from,
    parameters,
    report,
    requests_from,
    requests_given,
    rules_from,
    several,
    write_json,
    write_text,
)
from bridge.exceptions import UsageError
from bridge.testing.client import Client
from bridge.testing.comparison.result import Comparison, Difference, Result
from bridge.testing.comparison.rules import Rules
from bridge.testing.exchange import Request, Response


def values(groups: list[click.Option], *arguments: str) -> dict[str, Any]:
    """What click makes of a command line with the options of a group."""
    return click.Command("x", params=parameters(groups)).make_context("x", list(arguments)).params


def app(environ: Any, start_response: Any) -> list[bytes]:
    """A site of two pages that gives everybody a cookie."""
    start_response("200 OK", [("Content-Type", "text/html"), ("Set-Cookie", "seen=1")])
    return [b'<a href="/two">' if environ["PATH_INFO"] == "/" else b""]


def test_an_option_can_be_given_several_times() -> None:
    group = [several("--exclude", "REGEX", "Leave out.")]
    assert values(group) == {"exclude": ()}
    assert values(group, "--exclude", "a", "--exclude", "b") == {"exclude": ("a", "b")}
    assert "--exclude REGEX  Leave out." in click.Command("x", params=parameters(group)).get_help(
        click.Context(click.Command("x"))
    )


def test_regular_expressions_of_an_option() -> None:
    found = expressions({"redact_text": ["a+", "b"]}, "redact_text")
    assert [each.pattern for each in found] == ["a+", "b"]


def test_what_is_no_regular_expression_is_refused_with_the_name_of_its_option() -> None:
    with pytest.raises(UsageError, match=r"--redact-text takes a regular expression; got '\('"):
        expressions({"redact_text": ["a", "("]}, "redact_text")


def test_rules() -> None:
    assert rules_from(values(RULES)) == Rules()
    given = ("--ignore-header", "a", "--ignore-header", "b", "--ignore-json", "$.x", "--exact-headers")
    assert (
        rules_from(values(RULES, *given))
        == Rules().ignore_header("a", "b").ignore_json("$.x").exact_headers()
    )


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("A: b", ("A", "b")),
        ("A:b:c", ("A", "b:c")),
        (" A : b ", ("A", "b")),
        ("A:", ("A", "")),
        ("A", None),
        (":b", None),
    ],
)
def test_headers(text: str, pair: tuple[str, str] | None) -> None:
    if pair is not None:
        assert headers_from([text]) == [pair]
        return
    with pytest.raises(UsageError, match="--header takes a name and a value"):
        headers_from([text])


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("/a?b=c", Request("GET", "/a?b=c")),
        ("POST /a", Request("POST", "/a")),
        ('{"url": "/a", "method": "PUT", "content": "x", "name": "n"}', None),
    ],
)
def test_a_request(text: str, request_: Request | None) -> None:
    (found,) = requests_given(values(SOURCES, "-r", text))
    if request_ is None:
        assert (found.method, found.target, found.content, found.name) == ("PUT", "/a", b"x", "n")
    else:
        assert found == request_


def test_the_sources_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("/file\n")
    (tmp_path / "api.json").write_text(json.dumps({"openapi": "3.0.0", "paths": {"/api": {"get": {}}}}))
    given = values(
        SOURCES,
        *("--crawl", "/", "--openapi", str(tmp_path / "api.json")),
        *("--requests", str(tmp_path / "lines"), "-r", "/given", "--request", "/two"),
    )
    with Client(app) as client:
        found = [request.target for request in requests_from(given, client)]
        assert dict(client.cookies) == {}
    # The sitemap is there since the site has an answer to everything.
    assert found == ["/given", "/two", "/file", "/api", "/", "/sitemap.xml"]


def test_what_changes_nothing_is_asked_for_once() -> None:
    get, post, other = Request("GET", "/"), Request("POST", "/"), Request("GET", "/", (("A", "b"),))
    assert distinct([get, post, get, post, other], values(SOURCES)) == [get, post, post, other]


def test_what_is_excluded_is_not_even_crawled() -> None:
    asked = []

    def site(environ: Any, start_response: Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        return app(environ, start_response)

    given = values(
        SOURCES, "--crawl", "/", "-r", "/x?two", "-r", "/y", "--exclude", "two", "--exclude", "xml$"
    )
    with Client(site) as client:
        assert [request.target for request in requests_from(given, client)] == ["/y", "/"]
    assert asked == ["/"]


def test_every_option_has_a_help() -> None:
    assert [each.name for each in (*CALLING, *SOURCES, *RULES) if not each.help] == []


DIFFERENT = Comparison(
    (Result(Request(), Response(200), Response(201), (Difference("status", "", 200, 201),)),)
)


def test_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(DIFFERENT, html=str(tmp_path / "x.html"), json_file=str(tmp_path / "x.json")) == 1
    assert capsys.readouterr().out == DIFFERENT.text(color=False) + "\n"
    assert json.loads((tmp_path / "x.json").read_text()) == DIFFERENT.to_json()
    assert (tmp_path / "x.html").read_text() == DIFFERENT.html()
    assert report(Comparison(()), html=None, json_file="-") == 0
    assert json.loads(capsys.readouterr().out)["same"] is True


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    check_writable(None, "-", str(tmp_path / "x"))
    with pytest.raises(UsageError, match="there is no folder"):
        check_writable(str(tmp_path / "no" / "x"))
    with pytest.raises(UsageError, match="cannot write"):
        write_json(str(tmp_path), {})
    with pytest.raises(UsageError, match="cannot write"):
        write_text(str(tmp_path), "")


def test_what_an_encoding_cannot_hold_is_printed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app may answer with half of a surrogate pair, and a terminal may know ASCII only."""
    for encoding, shown in (("ascii", b"\\xfc\\ud800"), ("utf-8", b"\xc3\xbc\\ud800")):
        stream = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))
        echo("ü\ud800")
        sys.stdout.flush()
        assert stream.getvalue() == shown + b"\n"
        monkeypatch.undo()
    write_text(str(tmp_path / "x"), "\ud800")
    assert (tmp_path / "x").read_text() == "\\ud800"
