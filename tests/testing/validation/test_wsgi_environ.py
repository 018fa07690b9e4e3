"""What is asked of an environ, as a table: the value, and the rules that it breaks."""

from __future__ import annotations

import io
from collections import UserDict
from typing import Any

import pytest
from support.scopes import ABSENT
from support.wsgi_drive import make_environ

from bridge.testing.validation.violations import Violation
from bridge.testing.validation.wsgi_environ import check_environ, content_length
from bridge.testing.validation.wsgi_rules import Report


def broken(environ: Any) -> list[tuple[str, str]]:
    """Rules and what came."""
    seen: list[Violation] = []
    check_environ(environ, Report(seen.append, "GET /", should=True))
    assert {each.side for each in seen} <= {"server"}
    return [(each.rule, each.came) for each in seen]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"SCRIPT_NAME": ABSENT, "QUERY_STRING": ABSENT},
        {"SCRIPT_NAME": "/a", "PATH_INFO": ABSENT},
        {"SCRIPT_NAME": "/a", "PATH_INFO": ""},
        {"SCRIPT_NAME": "/caf\xc3\xa9", "PATH_INFO": "//x/../\x00"},
        {"REQUEST_METHOD": "OPTIONS", "PATH_INFO": "*"},
        {"REQUEST_METHOD": "M-SEARCH"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "007"},
        {"CONTENT_LENGTH": ABSENT, "CONTENT_TYPE": ""},
        {"SERVER_NAME": "[::1]", "SERVER_PORT": "1"},
        {"SERVER_NAME": "a-b.example"},
        {"SERVER_NAME": "waitress.invalid"},
        {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"SERVER_PROTOCOL": "HTTP/2.0"},
        {"wsgi.url_scheme": "https"},
        {"wsgi.multithread": 0, "wsgi.run_once": None},
        {"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()},
        {"wsgi.file_wrapper": lambda file: [file]},
        {"myserver.thing_1": object()},
        {"HTTP_X": "\xff\t\x7f"},
        {"PATH": "/usr/bin"},
    ],
    ids=lambda keys: "+".join(keys) or "plain",
)
def test_good_environs(keys: dict[str, Any]) -> None:
    assert broken(make_environ(**keys)) == []


@pytest.mark.parametrize(
    ("key", "value", "rule", "came"),
    [
        ("REQUEST_METHOD", ABSENT, "environ/missing", "no REQUEST_METHOD"),
        ("REQUEST_METHOD", "", "environ/empty", "an empty REQUEST_METHOD"),
        ("REQUEST_METHOD", "G T", "environ/REQUEST_METHOD", "'G T'"),
        ("REQUEST_METHOD", "Get", "environ/REQUEST_METHOD/case", "'Get'"),
        ("REQUEST_METHOD", b"GET", "environ/str", "REQUEST_METHOD of type bytes"),
        ("SERVER_PROTOCOL", "HTTP/1", "environ/SERVER_PROTOCOL", "'HTTP/1'"),
        ("SERVER_NAME", "::1", "environ/SERVER_NAME", "'::1'"),
        ("SERVER_NAME", "Server/1.0", "environ/SERVER_NAME", "'Server/1.0'"),
        ("SERVER_NAME", "/", "environ/SERVER_NAME", "'/'"),
        ("SERVER_PORT", "", "environ/empty", "an empty SERVER_PORT"),
        ("SERVER_PORT", "None", "environ/SERVER_PORT", "'None'"),
        ("SERVER_PORT", "8_0", "environ/SERVER_PORT", "'8_0'"),
        ("QUERY_STRING", "\u0661", "environ/latin-1", "QUERY_STRING with code points above U+00FF"),
        ("SCRIPT_NAME", "/", "environ/SCRIPT_NAME", "'/'"),
        ("SCRIPT_NAME", "a", "environ/SCRIPT_NAME", "'a'"),
        ("SCRIPT_NAME", "/a/", "environ/SCRIPT_NAME/slash", "'/a/'"),
        ("PATH_INFO", "a", "environ/PATH_INFO", "'a'"),
        ("PATH_INFO", "*", "environ/PATH_INFO", "'*'"),
        ("PATH_INFO", "", "environ/PATH_INFO/empty", "SCRIPT_NAME and PATH_INFO both empty or left out"),
        ("PATH_INFO", ABSENT, "environ/PATH_INFO/empty", "SCRIPT_NAME and PATH_INFO both empty or left out"),
        ("QUERY_STRING", None, "environ/str", "QUERY_STRING of type NoneType"),
        ("CONTENT_LENGTH", "1_0", "environ/CONTENT_LENGTH", "'1_0'"),
        ("CONTENT_LENGTH", " 1", "environ/CONTENT_LENGTH", "' 1'"),
        ("CONTENT_LENGTH", "3, 3", "environ/CONTENT_LENGTH", "'3, 3'"),
        ("CONTENT_LENGTH", "\xb2", "environ/CONTENT_LENGTH", "'\xb2'"),
        ("CONTENT_LENGTH", 3, "environ/str", "CONTENT_LENGTH of type int"),
        ("HTTP_CONTENT_LENGTH", "3", "environ/content-header", "HTTP_CONTENT_LENGTH"),
        ("HTTP_COOKIE", "a=secret\n", "environ/header-value", "CR, LF or NUL in HTTP_COOKIE"),
        ("wsgi.version", "1.0", "environ/wsgi.version", "'1.0'"),
        ("wsgi.url_scheme", "", "environ/wsgi.url_scheme", "''"),
        ("wsgi.url_scheme", "wss", "environ/wsgi.url_scheme/other", "'wss'"),
        ("wsgi.input", ABSENT, "environ/missing", "no wsgi.input"),
        ("wsgi.input", iter([]), "environ/wsgi.input", "list_iterator without read, readline, readlines"),
        ("wsgi.errors", [], "environ/wsgi.errors", "list without flush, write, writelines"),
        ("wsgi.file_wrapper", 1, "environ/wsgi.file_wrapper", "1"),
        ("wsgi.multiprocess", ABSENT, "environ/missing", "no wsgi.multiprocess"),
        ("X.Y", 1, "environ/names", "'X.Y'"),
        ("my-server.x", 1, "environ/names", "'my-server.x'"),
    ],
    # Without the text of objects, which holds addresses.
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)  # fmt: skip
def test_bad_values(key: str, value: Any, rule: str, came: str) -> None:
    """Each breaks one rule; a header's value is not told, as it may hold a secret."""
    assert broken(make_environ(**{key: value})) == [(rule, came)]


class Strange(dict[str, Any]):
    """A dict, but not exactly."""


@pytest.mark.parametrize("kind", [Strange, UserDict], ids=["subclass", "mapping"])
def test_other_mappings_are_told_of_and_looked_at(kind: Any) -> None:
    assert broken(kind(make_environ(SERVER_PORT=80))) == [
        ("environ/type", kind.__name__),
        ("environ/str", "SERVER_PORT of type int"),
    ]


@pytest.mark.parametrize("value", [None, [], "environ"], ids=repr)
def test_what_is_no_mapping_is_told_of_once(value: Any) -> None:
    assert broken(value) == [("environ/type", type(value).__name__)]


def test_all_faults_are_told_of() -> None:
    faults = broken({"SERVER_PORT": 80, 1: 2})
    missing = {came for rule, came in faults if rule == "environ/missing"}
    assert missing == {
        *("no REQUEST_METHOD", "no SERVER_NAME", "no SERVER_PROTOCOL"),
        *("no wsgi.version", "no wsgi.url_scheme", "no wsgi.input", "no wsgi.errors"),
        *("no wsgi.multithread", "no wsgi.multiprocess", "no wsgi.run_once"),
    }
    assert {rule for rule, _ in faults} == {
        *("environ/missing", "environ/str", "environ/keys", "environ/PATH_INFO/empty"),
    }


def test_the_first_that_raises_ends_it() -> None:
    def refuse(violation: Violation) -> None:
        raise LookupError(violation.rule)

    with pytest.raises(LookupError, match="environ/missing"):
        check_environ({}, Report(refuse, "GET /", should=True))


@pytest.mark.parametrize(
    ("value", "length"),
    [("3", 3), ("0", 0), ("", None), ("+3", None), ("-1", None), (3, None), ("9" * 5000, None)],
    ids=lambda each: repr(each)[:10],
)
def test_the_length_of_the_body(value: Any, length: int | None) -> None:
    assert content_length({"CONTENT_LENGTH": value}) == length


def test_a_body_without_a_length() -> None:
    assert content_length({}) is None
