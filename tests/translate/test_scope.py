"""environ -> scope: every clause of section S that needs no thread and no loop, and the round trips."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.counting import calls_of
from support.scopes import ABSENT, http_scope

from bridge.exceptions import BadRequest
from bridge.translate import scope as scope_module
from bridge.translate import text
from bridge.translate.environ import EnvironBuilder
from bridge.translate.scope import ScopeBuilder

BUILDER = ScopeBuilder()


def wsgi_environ(**overrides: Any) -> dict[str, Any]:
    """A new environ of a GET over TCP and HTTP/1.1, with `overrides` over it; `ABSENT` removes a key."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "HTTP_HOST": "testserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update(overrides)
    return {key: value for key, value in environ.items() if value is not ABSENT}


def dotted(**values: Any) -> dict[str, Any]:
    """Keys with a dot, which cannot be keyword arguments: `__` stands for it."""
    return {key.replace("__", "."): value for key, value in values.items()}


def scope_of(**overrides: Any) -> dict[str, Any]:
    """The scope of a request whose environ differs from an ordinary one by `overrides`."""
    return dict(BUILDER.build(wsgi_environ(**overrides))[0])


def header_pairs(**overrides: Any) -> list[tuple[bytes, bytes]]:
    """The headers of a request that has no others than `overrides` name."""
    found = scope_of(**{"HTTP_HOST": ABSENT, **overrides})["headers"]
    assert isinstance(found, list)
    return found


def mutables(value: object) -> Iterator[object]:
    """Every list and dict inside `value`, itself included."""
    if isinstance(value, (dict, list)):
        yield value
    if isinstance(value, dict):
        for each in value.values():
            yield from mutables(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from mutables(each)


# -- the dict


@pytest.mark.req("S-01")
def test_type_and_versions() -> None:
    scope = scope_of()
    assert type(scope) is dict
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}


@pytest.mark.req("S-01")
def test_the_keys_are_those_of_the_specification_and_the_environ() -> None:
    """`state` is the adapter's, since only it knows the lifespan (S-16)."""
    assert set(scope_of()) == {
        "type",
        "asgi",
        "http_version",
        "method",
        "scheme",
        "path",
        "raw_path",
        "query_string",
        "root_path",
        "headers",
        "client",
        "server",
        "extensions",
        "wsgi_environ",
    }


FULL = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "/api",
    "PATH_INFO": "/caf\u00c3\u00a9",
    "RAW_URI": "/api/caf%C3%A9?a=1",
    "QUERY_STRING": "a=1",
    "CONTENT_TYPE": "text/plain",
    "CONTENT_LENGTH": "3",
    "HTTP_X_A": "1",
    "SSL_PROTOCOL": "TLSv1.3",
    "SSL_CLIENT_CERT": "PEM",
    "SERVER_PROTOCOL": "HTTP/2.0",
    "HTTP_VERSION": "2",
    **dotted(
        wsgi__url_scheme="https", wsgi__early_hints=print, gunicorn__http2__send_trailers=print, x__list=[1]
    ),
}


@pytest.mark.req("S-01")
@pytest.mark.parametrize("overrides", [{}, FULL], ids=["plain", "full"])
def test_the_environ_is_not_changed(overrides: dict[str, Any]) -> None:
    environ = wsgi_environ(**overrides)
    before = list(environ.items())
    inner = copy.copy(environ.get("x.list"))
    BUILDER.build(environ)
    assert list(environ.items()) == before
    assert environ.get("x.list") == inner


@pytest.mark.req("S-01")
@pytest.mark.parametrize("overrides", [{}, FULL], ids=["plain", "full"])
def test_two_scopes_share_no_mutable_object(overrides: dict[str, Any]) -> None:
    environ = wsgi_environ(**overrides)
    scopes = [BUILDER.build(environ)[0] for _ in range(2)]
    for scope in scopes:
        del scope["wsgi_environ"]
    first, second = ({id(each) for each in mutables(scope)} for scope in scopes)
    assert len(first) >= 5
    assert first & second == set()


@pytest.mark.req("S-01")
def test_what_an_app_does_to_its_scope_reaches_no_other_request() -> None:
    expected = scope_of(**FULL)
    spoiled = scope_of(**FULL)
    for each in list(mutables({**spoiled, "wsgi_environ": None})):
        if isinstance(each, dict):
            each["spoiled"] = True
        elif isinstance(each, list):
            each.append(b"spoiled")
    again = scope_of(**FULL)
    assert {**again, "wsgi_environ": None} == {**expected, "wsgi_environ": None}


@pytest.mark.req("S-18")
def test_the_environ_is_in_the_scope() -> None:
    environ = wsgi_environ()
    assert BUILDER.build(environ)[0]["wsgi_environ"] is environ


def test_an_empty_environ_has_a_scope() -> None:
    """Nothing is relied on: each missing key has a meaning."""
    scope, length = BUILDER.build({})
    assert length is None
    assert {key: scope[key] for key in ("method", "http_version", "scheme", "path", "raw_path")} == {
        "method": "GET",
        "http_version": "1.0",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
    }
    assert {key: scope[key] for key in ("root_path", "query_string", "headers", "client", "server")} == {
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": None,
        "server": None,
    }


# -- protocol, method, scheme


@pytest.mark.req("S-02")
@pytest.mark.parametrize(
    ("protocol", "version"),
    [
        ("HTTP/1.0", "1.0"),
        ("HTTP/1.1", "1.1"),
        ("HTTP/2", "2"),
        ("HTTP/2.0", "2"),
        ("HTTP/3", "3"),
        ("HTTP/1", "1.0"),
        ("HTTP/0.9", "1.0"),
        ("HTTP/", "1.0"),
        ("HTTP", "1.0"),
        ("INCLUDED", "1.0"),
        ("1.1", "1.0"),
        ("", "1.0"),
        (None, "1.0"),
        (ABSENT, "1.0"),
    ],
)
def test_the_http_version(protocol: Any, version: str) -> None:
    assert scope_of(SERVER_PROTOCOL=protocol)["http_version"] == version


@pytest.mark.req("S-02")
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", "GET"),
        ("get", "GET"),
        ("Post", "POST"),
        ("PURGE", "PURGE"),
        ("m-search", "M-SEARCH"),
        ("\u00b5\u00ff", "\u00b5\u00ff"),
        ("", "GET"),
        (ABSENT, "GET"),
    ],
)
def test_the_method_is_upper_case_and_may_be_unknown(method: Any, expected: str) -> None:
    """Beyond ASCII nothing is changed: upper() leads to other letters there."""
    assert scope_of(REQUEST_METHOD=method)["method"] == expected


@pytest.mark.req("S-02", "H-05")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (dotted(wsgi__url_scheme="http"), "http"),
        (dotted(wsgi__url_scheme="https"), "https"),
        (dotted(wsgi__url_scheme=""), "http"),
        (dotted(wsgi__url_scheme=ABSENT), "http"),
        ({"HTTPS": "on"}, "http"),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, "http"),
        ({"HTTP_FORWARDED": "proto=https"}, "http"),
        ({"HTTP_X_FORWARDED_SSL": "on", "SERVER_PORT": "443"}, "http"),
        (dotted(wsgi__url_scheme="https", HTTPS="off", HTTP_X_FORWARDED_PROTO="http"), "https"),
    ],
)
def test_the_scheme_is_the_servers_word(overrides: dict[str, Any], expected: str) -> None:
    assert scope_of(**overrides)["scheme"] == expected


# -- path


@pytest.mark.parametrize(
    ("script_name", "path_info", "root_path", "path"),
    [
        pytest.param("", "/x", "", "/x", marks=pytest.mark.req("S-03", "S-04"), id="no root"),
        pytest.param(ABSENT, "/x", "", "/x", marks=pytest.mark.req("S-03"), id="root missing"),
        pytest.param(
            "/caf\u00c3\u00a9",
            "/x",
            "/caf\u00e9",
            "/caf\u00e9/x",
            marks=pytest.mark.req("S-03", "S-04"),
            id="non-ASCII root",
        ),
        pytest.param("/", "/x", "", "/x", marks=pytest.mark.req("S-03"), id="root /"),
        pytest.param("/", "", "", "/", marks=pytest.mark.req("S-03", "S-04"), id="root / and nothing"),
        pytest.param("/api/", "/x", "/api", "/api/x", marks=pytest.mark.req("S-03"), id="trailing slash"),
        pytest.param("/api//", "/x", "/api", "/api/x", marks=pytest.mark.req("S-03"), id="trailing slashes"),
        pytest.param(
            "/api/", "x", "/api", "/api/x", marks=pytest.mark.req("S-03", "S-04"), id="slash in the root only"
        ),
        pytest.param("/", "x", "", "/x", marks=pytest.mark.req("S-03"), id="root / has the only slash"),
        pytest.param("api", "/x", "/api", "/api/x", marks=pytest.mark.req("S-03"), id="root without slash"),
        pytest.param("/api", "/x", "/api", "/api/x", marks=pytest.mark.req("S-04"), id="root and rest"),
        pytest.param("/api", "/", "/api", "/api/", marks=pytest.mark.req("S-04"), id="root and slash"),
        pytest.param("/api", "", "/api", "/api", marks=pytest.mark.req("S-04"), id="root alone"),
        pytest.param("/api", ABSENT, "/api", "/api", marks=pytest.mark.req("S-04"), id="no PATH_INFO"),
        pytest.param("/a", "/a/x", "/a", "/a/a/x", marks=pytest.mark.req("S-04"), id="root once more"),
        pytest.param("", "", "", "/", marks=pytest.mark.req("S-04"), id="nothing at all"),
        pytest.param("", "/a%2Fb", "", "/a%2Fb", marks=pytest.mark.req("S-04"), id="not decoded again"),
        pytest.param("", "/%25", "", "/%25", marks=pytest.mark.req("S-04"), id="an escaped percent"),
        pytest.param("", "*", "", "*", marks=pytest.mark.req("S-04"), id="asterisk"),
        pytest.param("/api", "*", "/api", "*", marks=pytest.mark.req("S-04"), id="asterisk at a root"),
        pytest.param("", "//a//../b", "", "//a//../b", marks=pytest.mark.req("S-04"), id="not normalised"),
        pytest.param("", "/a\r\n\x00", "", "/a\r\n\x00", marks=pytest.mark.req("S-04"), id="CR LF NUL"),
        pytest.param("", "/a?b#c;d", "", "/a?b#c;d", marks=pytest.mark.req("S-04"), id="decoded ? and #"),
        pytest.param("", "x", "", "x", marks=pytest.mark.req("S-04"), id="no slash at all"),
        pytest.param("", "/\u00c3\u00a9", "", "/\u00e9", marks=pytest.mark.req("S-04"), id="UTF-8"),
        pytest.param("", "/\u00ff", "", "/\ufffd", marks=pytest.mark.req("S-05"), id="no UTF-8"),
        pytest.param(
            "/\u00ff",
            "/\u00fe",
            "/\ufffd",
            "/\ufffd/\ufffd",
            marks=pytest.mark.req("S-05"),
            id="nor the root",
        ),
        pytest.param(
            "",
            "/\u00e6\u0097/\u00c3",
            "",
            "/\ufffd/\ufffd",
            marks=pytest.mark.req("S-05"),
            id="cut short",
        ),
        pytest.param(
            "", "/\u65e5", "", "/\u65e5", marks=pytest.mark.req("S-05"), id="decoded by a middleware"
        ),
        pytest.param("", "/\ud800", "", "/?", marks=pytest.mark.req("S-05"), id="a lone surrogate"),
    ],
)
def test_root_and_path(script_name: Any, path_info: Any, root_path: str, path: str) -> None:
    scope = scope_of(SCRIPT_NAME=script_name, PATH_INFO=path_info)
    assert (scope["root_path"], scope["path"]) == (root_path, path)


@pytest.mark.parametrize(
    ("target", "script_name", "path_info", "raw_path"),
    [
        pytest.param("/a%2Fb?x", "", "/a/b", b"/a%2Fb", marks=pytest.mark.req("S-06"), id="escaped slash"),
        pytest.param("/a/b?x=%20", "", "/a/b", b"/a/b", marks=pytest.mark.req("S-06"), id="escapes in query"),
        pytest.param("/%61", "", "/a", b"/%61", marks=pytest.mark.req("S-06"), id="needless escape"),
        pytest.param("/%61?b", "", "/a", b"/%61", marks=pytest.mark.req("S-06"), id="needless escape, query"),
        pytest.param("/%C3%A9", "", "/\u00c3\u00a9", b"/%C3%A9", marks=pytest.mark.req("S-06"), id="UTF-8"),
        pytest.param("/%c3%a9", "", "/\u00c3\u00a9", b"/%c3%a9", marks=pytest.mark.req("S-06"), id="lower"),
        pytest.param("/%FF", "", "/\u00ff", b"/%FF", marks=pytest.mark.req("S-06"), id="no UTF-8"),
        pytest.param("/\u00ff", "", "/\u00ff", b"/\xff", marks=pytest.mark.req("S-06"), id="a raw byte"),
        pytest.param("/a%20b", "/a b", "", b"/a%20b", marks=pytest.mark.req("S-06"), id="root alone"),
        pytest.param(
            "/a%2Fb/c%2Fd", "/a/b", "/c/d", b"/a%2Fb/c%2Fd", marks=pytest.mark.req("S-06"), id="with its root"
        ),
        pytest.param(
            "http://h:99/a%20b?x", "", "/a b", b"/a%20b", marks=pytest.mark.req("S-06"), id="absolute form"
        ),
        pytest.param(
            "HTTPS://u:p@h%41/%61#f", "", "/a", b"/%61", marks=pytest.mark.req("S-06"), id="all parts"
        ),
        pytest.param("http://h", "", "/", b"/", marks=pytest.mark.req("S-06"), id="authority alone"),
        pytest.param("http://h?x", "", "/", b"/", marks=pytest.mark.req("S-06"), id="authority and query"),
        pytest.param("/%61#f", "", "/a", b"/%61", marks=pytest.mark.req("S-06"), id="fragment"),
        pytest.param("/%61#f?g", "", "/a", b"/%61", marks=pytest.mark.req("S-06"), id="fragment with ?"),
        pytest.param("/%61?g#f", "", "/a", b"/%61", marks=pytest.mark.req("S-06"), id="query with #"),
        pytest.param("*", "", "*", b"*", marks=pytest.mark.req("S-06"), id="asterisk"),
        pytest.param("/[a]|b", "", "/[a]|b", b"/[a]|b", marks=pytest.mark.req("S-06"), id="unsafe as sent"),
        pytest.param("/a%zz", "", "/a%zz", b"/a%zz", marks=pytest.mark.req("S-06"), id="no escape"),
        pytest.param("//a//b", "", "//a//b", b"//a//b", marks=pytest.mark.req("S-06"), id="slashes"),
        pytest.param(
            "/old", "", "/n\u00c3\u00a9", b"/n%C3%A9", marks=pytest.mark.req("S-07"), id="rewritten path"
        ),
        pytest.param("/%6Fld", "", "/new", b"/new", marks=pytest.mark.req("S-07"), id="rewritten to plain"),
        pytest.param(
            "/%78", "/api", "/x", b"/api/x", marks=pytest.mark.req("S-07"), id="a root that was not sent"
        ),
        pytest.param(
            "//a%2F/b", "", "/a//b", b"/a//b", marks=pytest.mark.req("S-07"), id="waitress collapses slashes"
        ),
        pytest.param(
            "/a%2Fb", "", "/a%2Fb", b"/a%252Fb", marks=pytest.mark.req("S-07"), id="cheroot keeps %2F"
        ),
        pytest.param(
            "/%FF",
            "",
            "/\u00ef\u00bf\u00bd",
            b"/%EF%BF%BD",
            marks=pytest.mark.req("S-07"),
            id="werkzeug has lost the byte",
        ),
        pytest.param(ABSENT, "", "/a b", b"/a%20b", marks=pytest.mark.req("S-07"), id="no target"),
        pytest.param("", "", "/a b", b"/a%20b", marks=pytest.mark.req("S-07"), id="empty target"),
        pytest.param(ABSENT, "", "/a?b#c", b"/a%3Fb%23c", marks=pytest.mark.req("S-07"), id="? and #"),
        pytest.param("/a?b", "", "/a?b", b"/a%3Fb", marks=pytest.mark.req("S-07"), id="a ? that was escaped"),
        pytest.param(ABSENT, "", "/a%", b"/a%25", marks=pytest.mark.req("S-07"), id="percent"),
        pytest.param(ABSENT, "", "/\u00ff", b"/%FF", marks=pytest.mark.req("S-07"), id="no UTF-8, no target"),
        pytest.param(
            ABSENT, "/caf\u00c3\u00a9/", "/x", b"/caf%C3%A9/x", marks=pytest.mark.req("S-07"), id="root"
        ),
        pytest.param(
            ABSENT, "", "/~u/;p=1,2/@x:y!$&'()*+", b"/~u/;p=1,2/@x:y!$&'()*+", marks=pytest.mark.req("S-07")
        ),
        pytest.param(ABSENT, "", "/a\r\n\x00", b"/a%0D%0A%00", marks=pytest.mark.req("S-07"), id="CR LF NUL"),
        pytest.param(ABSENT, "", "/a\n", b"/a%0A", marks=pytest.mark.req("S-07"), id="LF at the end"),
        pytest.param(ABSENT, "", "", b"/", marks=pytest.mark.req("S-07"), id="nothing"),
        pytest.param(
            "/\u20ac", "", "/\u20ac", b"/\xe2\x82\xac", marks=pytest.mark.req("S-05", "S-06"), id="no latin-1"
        ),
    ],
)
@pytest.mark.parametrize("key", ["RAW_URI", "REQUEST_URI"])
def test_the_raw_path(key: str, target: Any, script_name: str, path_info: str, raw_path: bytes) -> None:
    scope = scope_of(**{key: target, "SCRIPT_NAME": script_name, "PATH_INFO": path_info})
    assert scope["raw_path"] == raw_path


@pytest.mark.req("S-06")
def test_of_two_raw_targets_the_one_that_agrees_is_taken() -> None:
    assert scope_of(REQUEST_URI="/old%20", RAW_URI="/%61%20b", PATH_INFO="/a b")["raw_path"] == b"/%61%20b"
    assert scope_of(REQUEST_URI="/%61%20b", RAW_URI="/old%20", PATH_INFO="/a b")["raw_path"] == b"/%61%20b"


@pytest.mark.parametrize("overrides", [{}, {"SCRIPT_NAME": "/api", "PATH_INFO": "http://other:99/a b"}])
@pytest.mark.req("S-04", "S-06", "S-19")
def test_an_absolute_form_in_the_path_is_reduced_and_its_authority_is_the_host(
    overrides: dict[str, Any],
) -> None:
    """wsgiref, gevent and uWSGI leave the whole URL there (RFC 9112 3.2.2)."""
    scope = scope_of(
        **{
            "PATH_INFO": "http://other:99/a b",
            "REQUEST_URI": "http://other:99/a%20b?x",
            "HTTP_HOST": "h",
            "HTTP_X_A": "1",
            **overrides,
        }
    )
    root = overrides.get("SCRIPT_NAME", "")
    assert scope["path"] == f"{root}/a b"
    assert scope["raw_path"] == f"{root}/a%20b".encode()
    assert scope["headers"] == [(b"host", b"other:99"), (b"x-a", b"1")]


@pytest.mark.req("S-04", "S-12", "S-19")
@pytest.mark.parametrize(
    ("path_info", "path", "host"),
    [
        ("http://h", "/", b"h"),
        ("http://u:p@h:1/x", "/x", b"h:1"),
        ("http://[::1]:8/x", "/x", b"[::1]:8"),
        ("http://h?x", "/?x", b"h"),
        ("http:///x", "/x", b"old"),
        ("http://a b/x", "/x", b"old"),
        ("http://a\r\nx:1/x", "/x", b"old"),
        ("/http://h/x", "/http://h/x", b"old"),
        ("h:443", "h:443", b"old"),
    ],
)
def test_only_an_authority_that_a_host_can_have_replaces_it(path_info: str, path: str, host: bytes) -> None:
    scope = scope_of(PATH_INFO=path_info, HTTP_HOST="old")
    assert (scope["path"], scope["headers"]) == (path, [(b"host", host)])


@pytest.mark.req("S-19")
def test_an_absolute_form_without_a_host_header_has_its_authority() -> None:
    """The client did name the host, RFC 9112 3.2.2: nothing is invented."""
    assert header_pairs(PATH_INFO="http://h/x") == [(b"host", b"h")]
    assert header_pairs(PATH_INFO="http://h/x", HTTP_X_A="1") == [(b"host", b"h"), (b"x-a", b"1")]


@pytest.mark.req("S-08")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", b""),
        (ABSENT, b""),
        (None, b""),
        ("a=1&b=2", b"a=1&b=2"),
        ("a=\u00ff%20", b"a=\xff%20"),
        ("q=\u00c3\u00a9", b"q=\xc3\xa9"),
        ("?", b"?"),
        ("a=%00%0d%0a", b"a=%00%0d%0a"),
        ("q=\u20ac", b"q=\xe2\x82\xac"),
        ("q=\u00e9\u20ac", b"q=\xc3\xa9\xe2\x82\xac"),
        ("q=\ud800", b"q=?"),
    ],
)
def test_the_query_is_its_bytes(query: Any, expected: bytes) -> None:
    """Beyond latin-1 it cannot have come from a server: UTF-8 is the likeliest meaning."""
    assert scope_of(QUERY_STRING=query)["query_string"] == expected


# -- headers


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param({}, [], marks=pytest.mark.req("S-09", "S-19"), id="none"),
        pytest.param({"HTTP_X_Y": "1"}, [(b"x-y", b"1")], marks=pytest.mark.req("S-09"), id="one"),
        pytest.param(
            {"HTTP_X_LAT": "caf\u00e9"}, [(b"x-lat", b"caf\xe9")], marks=pytest.mark.req("S-09"), id="latin-1"
        ),
        pytest.param(
            {"CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "3"},
            [(b"content-type", b"text/x"), (b"content-length", b"3")],
            marks=pytest.mark.req("S-09"),
            id="content headers",
        ),
        pytest.param(
            {"CONTENT_TYPE": "", "CONTENT_LENGTH": ""}, [], marks=pytest.mark.req("S-09"), id="empty content"
        ),
        pytest.param(
            {"CONTENT_TYPE": " \t", "CONTENT_LENGTH": " \t"},
            [],
            marks=pytest.mark.req("S-09"),
            id="blank content headers",
        ),
        pytest.param(
            {"CONTENT_LENGTH": "0"},
            [(b"content-length", b"0")],
            marks=pytest.mark.req("S-09"),
            id="a length of zero is a length",
        ),
        pytest.param(
            {"HTTP_CONTENT_TYPE": "evil", "HTTP_CONTENT_LENGTH": "9"},
            [],
            marks=pytest.mark.req("S-09"),
            id="imitations of content headers",
        ),
        pytest.param(
            {"HTTP_CONTENT_LENGTH": "9", "CONTENT_LENGTH": "3"},
            [(b"content-length", b"3")],
            marks=pytest.mark.req("S-09"),
            id="imitation beside the real one",
        ),
        pytest.param(
            {"HTTP_CONTENT-LENGTH": "9", "HTTP_content_type": "evil", "HTTP_Host": "evil"},
            [],
            marks=pytest.mark.req("S-09"),
            id="imitations by other spellings",
        ),
        pytest.param(
            {"HTTP_TRANSFER_ENCODING": "chunked"},
            [(b"transfer-encoding", b"chunked")],
            marks=pytest.mark.req("S-09"),
            id="transfer-encoding stays",
        ),
        pytest.param(
            {"HTTP_CONNECTION": "close", "HTTP_UPGRADE": "h2c", "HTTP_TE": "trailers"},
            [(b"connection", b"close"), (b"upgrade", b"h2c"), (b"te", b"trailers")],
            marks=pytest.mark.req("S-09"),
            id="hop-by-hop headers stay",
        ),
        pytest.param({"HTTP_X_A": ""}, [(b"x-a", b"")], marks=pytest.mark.req("S-10"), id="empty"),
        pytest.param(
            {"HTTP_ACCEPT": ""}, [(b"accept", b"")], marks=pytest.mark.req("S-10"), id="empty, known"
        ),
        pytest.param(
            {"HTTP_X_A": "1,2", "HTTP_COOKIE": "a=1,b=2; c=3"},
            [(b"x-a", b"1,2"), (b"cookie", b"a=1,b=2; c=3")],
            marks=pytest.mark.req("S-10"),
            id="joined values stay joined",
        ),
        *(
            pytest.param(
                {"HTTP_X_A": value, "HTTP_ACCEPT": value, "CONTENT_TYPE": value, "HTTP_X_B": "1"},
                [(b"x-b", b"1")],
                marks=pytest.mark.req("S-10"),
                id=f"not a str: {value!r}",
            )
            for value in (None, 1, b"v", ["v"], {"v": 1}, ("v",))
        ),
        pytest.param(
            {"HTTP_HOST": ["h"], "HTTP_X_B": "1"},
            [(b"x-b", b"1")],
            marks=pytest.mark.req("S-10"),
            id="Host that is not a str",
        ),
        pytest.param(
            {"HTTP_X_A": "\u20ac"},
            [(b"x-a", b"\xe2\x82\xac")],
            marks=pytest.mark.req("S-10"),
            id="no latin-1",
        ),
        pytest.param(
            {"HTTP_PROXY": "http://evil", "HTTP_X_B": "1"},
            [(b"x-b", b"1")],
            marks=pytest.mark.req("S-11"),
            id="HTTP_PROXY",
        ),
        pytest.param({"HTTP_proxy": "http://evil"}, [], marks=pytest.mark.req("S-11"), id="HTTP_proxy"),
        pytest.param(
            {"HTTP_PROXY_AUTHORIZATION": "x"},
            [(b"proxy-authorization", b"x")],
            marks=pytest.mark.req("S-11"),
            id="Proxy-Authorization is another header",
        ),
        *(
            pytest.param({key: "v"}, [], marks=pytest.mark.req("S-12"), id=f"key {key!r}")
            for key in (
                "HTTP_",
                "HTTP_X A",
                "HTTP_X:A",
                "HTTP_\u00c9",
                "HTTP_\u212a",
                "HTTP_X\n",
                "HTTP_X\x00",
                "HTTP_(X)",
                "HTTP",
                "http_x",
                "X_HTTP_X",
                "HTTPS",
                "HTTP.X",
                " HTTP_X",
            )
        ),
        *(
            pytest.param(
                {"HTTP_X_A": value, "HTTP_ACCEPT": value, "CONTENT_TYPE": value, "HTTP_HOST": value},
                [],
                marks=pytest.mark.req("S-12"),
                id=f"value {value!r}",
            )
            for value in ("a\rb", "a\nb", "a\x00b", "a\r\nx-inj: 1", "\n", "a\n", "\x00\u00e9", "a\r\n b")
        ),
        pytest.param(
            {"HTTP_X_A": "a\tb\x7f\u0085\u00a0c"},
            [(b"x-a", b"a\tb\x7f\x85\xa0c")],
            marks=pytest.mark.req("S-12"),
            id="other controls pass",
        ),
        pytest.param(
            {"HTTP_X_A": " \tv\t ", "HTTP_X_B": "\u00a0v\u00a0", "CONTENT_TYPE": "a/b "},
            [(b"x-a", b"v"), (b"x-b", b"\xa0v\xa0"), (b"content-type", b"a/b")],
            marks=pytest.mark.req("S-09"),
            id="outer spaces and tabs are no part of a value",
        ),
        pytest.param(
            {"HTTP_X!#$%&'*+.^`|~1": "v"},
            [(b"x!#$%&'*+.^`|~1", b"v")],
            marks=pytest.mark.req("S-12"),
            id="every token character",
        ),
    ],
)
def test_the_headers(overrides: dict[str, Any], expected: list[tuple[bytes, bytes]]) -> None:
    for _ in range(2):  # the second time, names and values may be remembered
        found = header_pairs(**overrides)
        assert found == expected
        assert type(found) is list
        assert all(type(pair) is tuple for pair in found)
        assert all(type(item) is bytes for pair in found for item in pair)


def test_keys_that_are_no_str_are_no_headers() -> None:
    environ: dict[Any, Any] = {1: "v", ("HTTP_X",): "v", b"HTTP_Y": "v", "HTTP_X_A": "1"}
    assert BUILDER.build(environ)[0]["headers"] == [(b"x-a", b"1")]


@pytest.mark.req("S-19")
@pytest.mark.parametrize("host", ["ex.org:8000", "[::1]:8000", ""])
def test_host_is_first(host: str) -> None:
    found = header_pairs(HTTP_A="1", CONTENT_TYPE="a/b", HTTP_HOST=host, HTTP_Z="2")
    assert found[0] == (b"host", host.encode())
    assert [name for name, _ in found].count(b"host") == 1


@pytest.mark.req("S-19")
def test_no_host_is_invented() -> None:
    found = header_pairs(HTTP_X_A="1", SERVER_NAME="ex.org", HTTP_X_FORWARDED_HOST="evil")
    assert found == [(b"x-a", b"1"), (b"x-forwarded-host", b"evil")]


@pytest.mark.req("S-11")
@pytest.mark.parametrize(
    ("protocol", "value", "kept"),
    [
        ("HTTP/2.0", "2", False),
        ("HTTP/2", "2", False),
        ("HTTP/1.1", "2", True),
        ("HTTP/2.0", "7", True),
    ],
)
def test_gunicorns_note_of_the_protocol_is_no_header(protocol: str, value: str, kept: bool) -> None:
    found = header_pairs(SERVER_PROTOCOL=protocol, HTTP_VERSION=value, HTTP_X_A="1", HTTP_VERSION_X="2")
    assert found == [*([(b"version", value.encode())] if kept else []), (b"x-a", b"1"), (b"version-x", b"2")]


@pytest.mark.req("S-11")
def test_of_a_copied_process_environment_only_the_proxy_could_do_harm() -> None:
    """wsgiref and granian start each environ from `os.environ`."""
    variables = {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "HTTPS_PROXY": "http://p",
        "PATH": "/bin",
    }
    assert header_pairs(**variables) == []


# -- length


@pytest.mark.req("A-07")
@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        ("0", 0),
        ("3", 3),
        (" 3\t", 3),
        ("007", 7),
        ("9" * 30, int("9" * 30)),
        (3, 3),
        (0, 0),
        ("", None),
        (" ", None),
        (None, None),
        (ABSENT, None),
    ],
)
def test_the_announced_length(announced: Any, expected: int | None) -> None:
    scope, length = BUILDER.build(wsgi_environ(CONTENT_LENGTH=announced))
    assert length == expected
    assert type(length) is type(expected)
    headers = dict(scope["headers"])
    assert (b"content-length" in headers) is (expected is not None)


@pytest.mark.req("A-07")
@pytest.mark.parametrize(
    "announced",
    [
        "+3",
        "-1",
        "1_0",
        "3, 3",
        "3,3",
        "3 3",
        "0x3",
        "3.0",
        "abc",
        "\u00b2",
        "\u0663",
        "3\n",
        "3\x00",
        "\x0b3",
        "\u00a03",
        "9" * 5000,
        -1,
        1.5,
        b"3",
        ["3"],
    ],
    ids=lambda value: repr(value)[:12],
)
def test_a_length_that_is_no_number_is_refused(announced: Any) -> None:
    with pytest.raises(BadRequest, match="Content-Length"):
        BUILDER.build(wsgi_environ(CONTENT_LENGTH=announced))


@pytest.mark.req("S-09", "A-07")
def test_a_transfer_encoding_does_not_change_the_announced_length() -> None:
    assert BUILDER.build(wsgi_environ(HTTP_TRANSFER_ENCODING="chunked"))[1] is None
    assert BUILDER.build(wsgi_environ(HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH="3"))[1] == 3


# -- server and client


@pytest.mark.parametrize(
    ("name", "port", "expected"),
    [
        pytest.param("h", "8000", ("h", 8000), marks=pytest.mark.req("S-13"), id="name"),
        pytest.param("[::1]", "8000", ("::1", 8000), marks=pytest.mark.req("S-13"), id="brackets"),
        pytest.param("::1", "8000", ("::1", 8000), marks=pytest.mark.req("S-13"), id="no brackets"),
        pytest.param("h", "1", ("h", 1), marks=pytest.mark.req("S-13", "S-14"), id="lowest"),
        pytest.param("h", "65535", ("h", 65535), marks=pytest.mark.req("S-14"), id="highest"),
        pytest.param("h", 8000, ("h", 8000), marks=pytest.mark.req("S-14"), id="int"),
        pytest.param("waitress.invalid", "80", ("waitress.invalid", 80), marks=pytest.mark.req("S-13")),
        pytest.param("Cheroot/11.1.2", "80", ("Cheroot/11.1.2", 80), marks=pytest.mark.req("S-13")),
        *(
            pytest.param("h", port, None, marks=pytest.mark.req("S-14"), id=f"port {port!r}")
            for port in (
                "0",
                "65536",
                "100000",
                "-1",
                "+80",
                "8_0",
                " 80",
                "80 ",
                "80.0",
                "http",
                "None",
                "",
                "\u00b2",
                "80\n",
                "9" * 5000,
                0,
                -1,
                None,
                ABSENT,
            )
        ),
        pytest.param("/s", "0", ("/s", None), marks=pytest.mark.req("S-14"), id="granian, unix"),
        pytest.param("/s", "", ("/s", None), marks=pytest.mark.req("S-14"), id="gunicorn, unix, no Host"),
        pytest.param(
            "ex.org", "80", ("ex.org", 80), marks=pytest.mark.req("S-14"), id="gunicorn, unix, Host"
        ),
        pytest.param("waitress.invalid", "/s", ("/s", None), marks=pytest.mark.req("S-14"), id="waitress"),
        pytest.param("/", "t", ("/", None), marks=pytest.mark.req("S-14"), id="werkzeug, unix"),
        pytest.param("Cheroot/11.1.2", "", None, marks=pytest.mark.req("S-14"), id="cheroot, unix"),
        pytest.param("", "", None, marks=pytest.mark.req("S-14"), id="gevent, unix"),
        pytest.param("", "80", None, marks=pytest.mark.req("S-14"), id="no name"),
        pytest.param("[", "80", None, marks=pytest.mark.req("S-14"), id="half a literal"),
        pytest.param(ABSENT, "80", None, marks=pytest.mark.req("S-14"), id="name missing"),
        pytest.param(ABSENT, "/s", ("/s", None), marks=pytest.mark.req("S-14"), id="path alone"),
        pytest.param(ABSENT, ABSENT, None, marks=pytest.mark.req("S-14"), id="nothing"),
        pytest.param(0, 0, None, marks=pytest.mark.req("S-14"), id="gunicorn, abstract socket"),
    ],
)
def test_the_server(name: Any, port: Any, expected: tuple[str, int | None] | None) -> None:
    for _ in range(2):  # the second time it may be remembered
        assert scope_of(SERVER_NAME=name, SERVER_PORT=port)["server"] == expected


@pytest.mark.req("S-15")
@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("10.0.0.1", "50000", ("10.0.0.1", 50000)),
        ("::1", "5", ("::1", 5)),
        ("[::1]", "5", ("::1", 5)),
        ("10.0.0.1", 50000, ("10.0.0.1", 50000)),
        ("10.0.0.1", "65535", ("10.0.0.1", 65535)),
        ("10.0.0.1", "65536", ("10.0.0.1", 0)),
        ("10.0.0.1", "0", ("10.0.0.1", 0)),
        ("10.0.0.1", "", ("10.0.0.1", 0)),
        ("10.0.0.1", "-5", ("10.0.0.1", 0)),
        ("10.0.0.1", "5x", ("10.0.0.1", 0)),
        ("10.0.0.1", "\u00b2", ("10.0.0.1", 0)),
        ("10.0.0.1", "9" * 5000, ("10.0.0.1", 0)),
        ("10.0.0.1", None, ("10.0.0.1", 0)),
        ("10.0.0.1", ABSENT, ("10.0.0.1", 0)),
        ("localhost", "None", ("localhost", 0)),
        ("<local>", 0, None),
        ("<local>", ABSENT, None),
        ("", "", None),
        ("", ABSENT, None),
        ("[]", "5", None),
        (None, "5", None),
        (ABSENT, "5", None),
        (ABSENT, ABSENT, None),
    ],
)
def test_the_client(address: Any, port: Any, expected: tuple[str, int] | None) -> None:
    found = scope_of(REMOTE_ADDR=address, REMOTE_PORT=port)["client"]
    assert found == expected
    assert found is None or type(found[1]) is int


@pytest.mark.req("H-05")
def test_forwarded_headers_change_neither_client_nor_server_nor_path() -> None:
    forged = {
        "HTTP_X_FORWARDED_FOR": "6.6.6.6",
        "HTTP_X_REAL_IP": "6.6.6.6",
        "HTTP_X_FORWARDED_HOST": "evil",
        "HTTP_X_FORWARDED_PORT": "1",
        "HTTP_X_FORWARDED_PREFIX": "/evil",
        "HTTP_X_SCRIPT_NAME": "/evil",
        "HTTP_SCRIPT_NAME": "/evil",
        "HTTP_PATH_INFO": "/evil",
        "HTTP_FORWARDED": "for=6.6.6.6;host=evil;proto=https",
        "HTTP_REMOTE_ADDR": "6.6.6.6",
    }
    plain, forwarded = scope_of(), scope_of(**forged)
    for key in ("client", "server", "scheme", "path", "raw_path", "root_path", "extensions"):
        assert forwarded[key] == plain[key]


@pytest.fixture
def empty_servers(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """The memory of servers, empty; what a test leaves in it is forgotten."""
    empty: dict[Any, Any] = {}
    monkeypatch.setattr(scope_module, "_servers", empty)
    return empty


def test_names_that_clients_invent_cannot_fill_the_memory_of_servers(empty_servers: dict[Any, Any]) -> None:
    """On a unix socket Gunicorn takes the server's name and port from the Host header."""
    for number in range(3_000):
        assert scope_of(SERVER_NAME=f"h{number}", SERVER_PORT="80")["server"] == (f"h{number}", 80)
        scope_of(SERVER_NAME=f"h{number}" + "a" * 60_000, SERVER_PORT="80")
        scope_of(SERVER_NAME=f"h{number}", SERVER_PORT="80" + "a" * 60_000)
    assert 0 < len(empty_servers) <= 256
    assert sum(len(name) + len(port) for name, port in empty_servers) < 100_000


def test_the_memory_of_servers_holds_exact_types_only(empty_servers: dict[Any, Any]) -> None:
    class Name(str):
        """Holds on to something."""

    scope_of(SERVER_NAME=Name("h"), SERVER_PORT=Name("80"))
    scope_of(SERVER_NAME="h", SERVER_PORT=80)
    assert empty_servers == {}


# -- extensions

FILES: dict[str, dict[str, Any]] = {"http.response.pathsend": {}, "http.response.zerocopysend": {}}
HINTS = dotted(wsgi__early_hints=print)
TRAILERS = dotted(gunicorn__http2__send_trailers=print)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param({}, {}, marks=pytest.mark.req("S-17", "X-01", "X-06", "X-07"), id="plain"),
        pytest.param(
            HINTS, {"http.response.early_hint": {}}, marks=pytest.mark.req("X-01", "X-02"), id="hints"
        ),
        pytest.param(
            {**HINTS, "SERVER_PROTOCOL": "HTTP/2.0"},
            {"http.response.early_hint": {}},
            marks=pytest.mark.req("X-02"),
            id="hints on HTTP/2",
        ),
        *(
            pytest.param(
                {**HINTS, "SERVER_PROTOCOL": protocol},
                {},
                marks=pytest.mark.req("X-01", "X-02"),
                id=f"hints on {protocol}",
            )
            for protocol in ("HTTP/1.0", "HTTP/1", "", ABSENT)
        ),
        *(
            pytest.param(
                dotted(wsgi__early_hints=value),
                {},
                marks=pytest.mark.req("X-01", "X-02"),
                id=f"hints {value!r}",
            )
            for value in (None, "", True, "print")
        ),
        pytest.param(
            {**TRAILERS, "SERVER_PROTOCOL": "HTTP/2.0"},
            {"http.response.trailers": {}},
            marks=pytest.mark.req("X-01", "X-05"),
            id="trailers",
        ),
        pytest.param(TRAILERS, {}, marks=pytest.mark.req("X-01", "X-05"), id="trailers on HTTP/1.1"),
        *(
            pytest.param(
                {**dotted(gunicorn__http2__send_trailers=value), "SERVER_PROTOCOL": "HTTP/2.0"},
                {},
                marks=pytest.mark.req("X-01", "X-05"),
                id=f"trailers {value!r}",
            )
            for value in (None, True, "print")
        ),
        pytest.param(
            {"HTTP_TE": "trailers", "SERVER_PROTOCOL": "HTTP/2.0"},
            {},
            marks=pytest.mark.req("X-01", "X-05"),
            id="a client that wants trailers",
        ),
    ],
)
def test_the_extensions(overrides: dict[str, Any], expected: dict[str, Any]) -> None:
    assert scope_of(**overrides)["extensions"] == {**FILES, **expected}


@pytest.mark.req("X-10", "S-17")
def test_what_no_wsgi_server_can_do_is_never_offered() -> None:
    extensions = scope_of(**FULL)["extensions"]
    assert not extensions.keys() & {"http.response.push", "http.response.debug", "websocket.http.response"}
    assert all(type(value) is dict for value in extensions.values())


@pytest.mark.req("X-11", "X-01")
def test_tls_is_offered_where_the_server_knows_of_it() -> None:
    known = {"SSL_PROTOCOL": "TLSv1.3", **dotted(wsgi__url_scheme="https")}
    assert scope_of(**known)["extensions"]["tls"]["tls_version"] == 0x0304
    assert "tls" not in scope_of(**{**known, **dotted(wsgi__url_scheme="http")})["extensions"]
    assert "tls" not in scope_of(**dotted(wsgi__url_scheme="https"))["extensions"]


# -- environs of real servers, each for `POST /api/a%2Fb%20c/%FFx/%C3%A9?q=%20&x=1` with the same headers

PROBE = {
    "REQUEST_METHOD": "POST",
    "QUERY_STRING": "q=%20&x=1",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/api/a/b c/\u00ffx/\u00c3\u00a9",
    "CONTENT_TYPE": "text/x",
    "CONTENT_LENGTH": "3",
    "HTTP_HOST": "ex.org:81",
    "HTTP_X_A": "1,2",
    "HTTP_COOKIE": "a=1,b=2",
    "HTTP_PROXY": "http://evil",
    "HTTP_X_LAT": "caf\u00e9",
    "HTTP_X_EMPTY": "",
    "HTTP_CONNECTION": "close",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    **dotted(
        wsgi__url_scheme="http", wsgi__version=(1, 0), wsgi__errors=sys.stderr, wsgi__input=sys.stdin.buffer
    ),
}
TARGET = "/api/a%2Fb%20c/%FFx/%C3%A9?q=%20&x=1"
PROBED: dict[str, Any] = {
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/api/a/b c/\ufffdx/\u00e9",
    "raw_path": b"/api/a%2Fb%20c/%FFx/%C3%A9",
    "query_string": b"q=%20&x=1",
    "root_path": "",
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
}
PROBED_HEADERS = {
    b"host": b"ex.org:81",
    b"x-a": b"1,2",
    b"cookie": b"a=1,b=2",
    b"x-lat": b"caf\xe9",
    b"x-empty": b"",
    b"connection": b"close",
    b"content-type": b"text/x",
    b"content-length": b"3",
}
# What a path becomes where the server gives no raw target.
REBUILT = {"raw_path": b"/api/a/b%20c/%FFx/%C3%A9"}
UNIX = "/run/app.sock"

GUNICORN = {
    "RAW_URI": TARGET,
    "REMOTE_PORT": "50000",
    "SERVER_SOFTWARE": "gunicorn/27.0.1",
    **dotted(
        gunicorn__socket=object(),
        wsgi__input_terminated=True,
        wsgi__early_hints=print,
        wsgi__file_wrapper=list,
    ),
}
WERKZEUG = {
    "RAW_URI": TARGET,
    "REQUEST_URI": TARGET,
    "PATH_INFO": "/api/a/b c/\u00ef\u00bf\u00bdx/\u00c3\u00a9",
    "HTTP_X_LAT": "caf\u00e9 ",
    "REMOTE_PORT": 50000,
    "SERVER_SOFTWARE": "Werkzeug/3.1.9",
    **dotted(werkzeug__socket=object()),
}
WERKZEUG_PATH = {"raw_path": b"/api/a/b%20c/%EF%BF%BDx/%C3%A9"}
WAITRESS = {
    "REQUEST_URI": TARGET,
    "REMOTE_PORT": "50000",
    "REMOTE_HOST": "127.0.0.1",
    "SERVER_NAME": "waitress.invalid",
    "SERVER_SOFTWARE": "waitress",
    "HTTP_X_A": "1, 2",
    "HTTP_COOKIE": "a=1, b=2",
    **dotted(wsgi__input_terminated=True, waitress__client_disconnected=bool, wsgi__file_wrapper=list),
}
WAITRESS_HEADERS = {b"x-a": b"1, 2", b"cookie": b"a=1, b=2"}
CHEROOT = {
    "REQUEST_URI": TARGET,
    "PATH_INFO": "/api/a%2Fb c/\u00ffx/\u00c3\u00a9",
    "REMOTE_PORT": "50000",
    "SERVER_NAME": "Cheroot/11.1.2",
    "ACTUAL_SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_X_A": "2",
    "HTTP_COOKIE": "b=2",
    "HTTP_X_U": "u",
    **dotted(wsgi__input_terminated=False),
}
CHEROOT_PATH = {"path": "/api/a%2Fb c/\ufffdx/\u00e9", "raw_path": b"/api/a%252Fb%20c/%FFx/%C3%A9"}
CHEROOT_HEADERS = {b"x-a": b"2", b"cookie": b"b=2", b"x-u": b"u"}
# wsgiref and granian put the variables of the process into each environ.
PROCESS = {"PATH": "/usr/bin", "HOME": "/root", "LANG": "C.UTF-8", "HTTPS_PROXY": "http://p", "_": "python"}
GRANIAN = {
    **PROCESS,
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_SOFTWARE": "Granian",
    "HTTP_COOKIE": "a=1;b=2",
    "HTTP_X_LAT": "",
    "HTTP_X_U": "u",
    **dotted(wsgi__input_terminated=True),
}
GRANIAN_HEADERS = {b"cookie": b"a=1;b=2", b"x-lat": b"", b"x-u": b"u"}
GEVENT = {"HTTP_COOKIE": "a=1; b=2", "REMOTE_PORT": "50000", "SERVER_NAME": "localhost"}
UWSGI = {
    "REQUEST_URI": TARGET,
    "HTTP_X_A": "1, 2",
    "HTTP_COOKIE": "a=1, b=2",
    "HTTP_X_LAT": "caf\u00e9 ",
    "SERVER_NAME": "vm",
    **dotted(uwsgi__version=b"2.0.30", uwsgi__node=b"vm", wsgi__file_wrapper=list),
}
HINTED = {"extensions": {**FILES, "http.response.early_hint": {}}}


@pytest.mark.req(
    "S-02", "S-04", "S-05", "S-07", "S-09", "S-10", "S-11", "S-13", "S-14", "S-15", "S-17", "S-19"
)
@pytest.mark.parametrize(
    ("environ", "expected", "headers"),
    [
        pytest.param(GUNICORN, HINTED, {}, id="gunicorn"),
        pytest.param(
            {
                **GUNICORN,
                "SERVER_NAME": "ex.org",
                "SERVER_PORT": "81",
                "REMOTE_ADDR": "",
                "REMOTE_PORT": ABSENT,
            },
            {**HINTED, "server": ("ex.org", 81), "client": None},
            {},
            id="gunicorn, unix",
        ),
        pytest.param(
            {
                **GUNICORN,
                "HTTP_HOST": ABSENT,
                "SERVER_NAME": UNIX,
                "SERVER_PORT": "",
                "REMOTE_ADDR": "",
                "REMOTE_PORT": ABSENT,
                "SERVER_PROTOCOL": "HTTP/1.0",
            },
            {"http_version": "1.0", "server": (UNIX, None), "client": None, "extensions": FILES},
            {b"host": None},
            id="gunicorn, unix, no Host",
        ),
        pytest.param(
            {**GUNICORN, **TRAILERS, "SERVER_PROTOCOL": "HTTP/2.0", "HTTP_VERSION": "2"},
            {
                "http_version": "2",
                "extensions": {**FILES, "http.response.early_hint": {}, "http.response.trailers": {}},
            },
            {},
            id="gunicorn, HTTP/2",
        ),
        pytest.param(
            {
                **GUNICORN,
                "SCRIPT_NAME": "/api",
                "HTTP_SCRIPT_NAME": "/api",
                "PATH_INFO": "/a/b c/\u00ffx/\u00c3\u00a9",
            },
            {**HINTED, "root_path": "/api"},
            {b"script-name": b"/api"},
            id="gunicorn, at a root",
        ),
        pytest.param(WERKZEUG, WERKZEUG_PATH, {}, id="werkzeug"),
        pytest.param(
            {
                **WERKZEUG,
                "SERVER_NAME": "/",
                "SERVER_PORT": "r",
                "REMOTE_ADDR": "<local>",
                "REMOTE_PORT": 0,
            },
            {**WERKZEUG_PATH, "server": ("/", None), "client": None},
            {},
            id="werkzeug, unix",
        ),
        pytest.param(WAITRESS, {"server": ("waitress.invalid", 8000)}, WAITRESS_HEADERS, id="waitress"),
        pytest.param(
            {**WAITRESS, "SERVER_PORT": UNIX, "REMOTE_ADDR": "localhost", "REMOTE_PORT": "None"},
            {"server": (UNIX, None), "client": ("localhost", 0)},
            WAITRESS_HEADERS,
            id="waitress, unix",
        ),
        pytest.param(
            CHEROOT, {**CHEROOT_PATH, "server": ("Cheroot/11.1.2", 8000)}, CHEROOT_HEADERS, id="cheroot"
        ),
        pytest.param(
            {
                **CHEROOT,
                "SERVER_PORT": "",
                "REMOTE_ADDR": "",
                "REMOTE_PORT": "",
                "X_REMOTE_PID": "1",
                "REMOTE_USER": "root",
            },
            {**CHEROOT_PATH, "server": None, "client": None},
            CHEROOT_HEADERS,
            id="cheroot, unix",
        ),
        pytest.param(
            {**PROCESS, "SERVER_NAME": "localhost", "REMOTE_HOST": "", "HTTP_X_U": "u"},
            {**REBUILT, "server": ("localhost", 8000), "client": ("127.0.0.1", 0)},
            {b"x-u": b"u"},
            id="wsgiref",
        ),
        pytest.param(
            {
                **PROCESS,
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "http://other:99/a b",
                "QUERY_STRING": "x",
                "CONTENT_TYPE": "text/plain",
                "CONTENT_LENGTH": "",
            },
            {
                "method": "GET",
                "path": "/a b",
                "raw_path": b"/a%20b",
                "query_string": b"x",
                "client": ("127.0.0.1", 0),
            },
            {b"host": b"other:99", b"content-type": b"text/plain", b"content-length": None},
            id="wsgiref, absolute form, no body",
        ),
        pytest.param(
            GEVENT, {**REBUILT, "server": ("localhost", 8000)}, {b"cookie": b"a=1; b=2"}, id="gevent"
        ),
        pytest.param(
            {
                **GEVENT,
                "SERVER_NAME": "",
                "SERVER_PORT": "",
                "REMOTE_ADDR": ABSENT,
                "REMOTE_PORT": ABSENT,
            },
            {**REBUILT, "server": None, "client": None},
            {b"cookie": b"a=1; b=2"},
            id="gevent, unix",
        ),
        pytest.param(GRANIAN, {**REBUILT, "client": ("127.0.0.1", 0)}, GRANIAN_HEADERS, id="granian"),
        pytest.param(
            {
                **GRANIAN,
                "SERVER_NAME": UNIX,
                "SERVER_PORT": "0",
                "REMOTE_ADDR": "",
                "SERVER_PROTOCOL": "HTTP/1",
                "HTTP_HOST": "",
            },
            {**REBUILT, "server": (UNIX, None), "client": None, "http_version": "1.0"},
            {**GRANIAN_HEADERS, b"host": b""},
            id="granian, unix, HTTP/1.0",
        ),
        pytest.param(
            {**GRANIAN, "SERVER_PROTOCOL": "HTTP/2"},
            {**REBUILT, "client": ("127.0.0.1", 0), "http_version": "2"},
            GRANIAN_HEADERS,
            id="granian, HTTP/2",
        ),
        pytest.param(
            UWSGI,
            {"server": ("vm", 8000), "client": ("127.0.0.1", 0)},
            {b"x-a": b"1, 2", b"cookie": b"a=1, b=2"},
            id="uWSGI",
        ),
        pytest.param(
            {
                "REQUEST_URI": TARGET,
                "SCRIPT_NAME": "/api",
                "PATH_INFO": "/a/b c/\u00ffx/\u00c3\u00a9",
                "REMOTE_PORT": "50000",
                "SERVER_NAME": "[::1]",
                "REQUEST_SCHEME": "http",
                **dotted(mod_wsgi__version=(5, 0, 2), wsgi__input_terminated=True),
            },
            {"root_path": "/api", "server": ("::1", 8000)},
            {},
            id="mod_wsgi",
        ),
    ],
)
def test_what_real_servers_give(
    environ: dict[str, Any], expected: dict[str, Any], headers: dict[bytes, bytes | None]
) -> None:
    full = {key: value for key, value in {**PROBE, **environ}.items() if value is not ABSENT}
    scope, length = BUILDER.build(full)
    wanted = {**PROBED, "extensions": FILES, **expected}
    assert {key: scope[key] for key in wanted} == wanted
    wanted_headers = {
        name: value for name, value in {**PROBED_HEADERS, **headers}.items() if value is not None
    }
    assert dict(scope["headers"]) == wanted_headers
    assert len(scope["headers"]) == len(wanted_headers)
    assert length == (3 if b"content-length" in wanted_headers else None)


@pytest.mark.req("S-04", "S-06", "S-07")
@pytest.mark.parametrize(
    ("path_info", "target", "raw_path"),
    [
        pytest.param("*", "*", b"*", id="most"),
        pytest.param("*", None, b"*", id="wsgiref, gevent, granian"),
        pytest.param("/*", "*", b"/*", id="cheroot"),
    ],
)
def test_options_for_the_server_itself(path_info: str, target: str | None, raw_path: bytes) -> None:
    scope = scope_of(REQUEST_METHOD="OPTIONS", PATH_INFO=path_info, REQUEST_URI=target)
    assert (scope["path"], scope["raw_path"]) == (path_info, raw_path)


# -- anything at all

KEYS = st.sampled_from(
    [
        *wsgi_environ(),
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "RAW_URI",
        "REQUEST_URI",
        "HTTP_X_A",
        "HTTP_VERSION",
        "HTTP_COOKIE",
        "SSL_PROTOCOL",
        "SSL_CLIENT_CERT",
        "SSL_CLIENT_S_DN",
        "SSL_CLIENT_VERIFY",
        "wsgi.early_hints",
        "gunicorn.socket",
        "gunicorn.http2.send_trailers",
    ]
)
LATIN1 = st.text(st.characters(max_codepoint=255), max_size=12)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
TELLING = st.sampled_from(
    [
        "/",
        "//",
        "/a",
        "*",
        "http://h/a",
        "http://",
        "/%41",
        "%",
        "?",
        "#",
        "https",
        "[",
        "1.1",
        "HTTP/2",
        "-1",
    ]
)


@pytest.mark.req("S-05", "S-08", "S-12", "S-14", "S-15")
@given(
    st.dictionaries(
        KEYS | st.builds("HTTP_{}".format, LATIN1) | LATIN1, LATIN1 | TELLING | ANY_TEXT, max_size=12
    )
)
@example({"SCRIPT_NAME": "/", "PATH_INFO": "http://"})
@example({"PATH_INFO": "\ud800", "QUERY_STRING": "\udcff", "HTTP_X": "\ud800", "REQUEST_URI": "\ud800"})
def test_no_strings_at_all_make_it_raise(environ: dict[str, Any]) -> None:
    """Whatever a server or a middleware has put there, the scope is one that apps can rely on."""
    digits = environ.get("CONTENT_LENGTH", "").strip(" \t")
    try:
        scope, length = BUILDER.build(environ)
    except BadRequest:
        assert not (digits.isascii() and (digits.isdigit() or not digits))
        return
    assert length == (int(digits) if digits else None)
    for key in ("type", "http_version", "method", "scheme", "path", "root_path"):
        assert type(scope[key]) is str
    assert scope["http_version"] in ("1.0", "1.1", "2", "3")
    assert type(scope["raw_path"]) is type(scope["query_string"]) is bytes
    # What a scope holds in bytes and in text is the same path, decoded as every ASGI server decodes.
    assert unquote_to_bytes(scope["raw_path"]).decode("utf-8", "replace") == scope["path"]
    assert scope["path"].encode("utf-8")
    assert scope["root_path"] == "" or scope["root_path"][0] == "/"
    assert scope["root_path"][-1:] != "/"
    assert scope["path"].startswith(scope["root_path"]) or scope["path"] == "*"
    names = [name for name, _ in scope["headers"]]
    assert b"host" not in names[1:]
    assert len(set(names)) == len(names) or any("-" in key or key != key.upper() for key in environ)
    for name, value in scope["headers"]:
        assert type(name) is type(value) is bytes
        assert name == name.lower()
        assert text.latin1(name).isprintable()
        assert not set(name) & set(b' ()<>@,;:\\"/[]?={}_')
        assert not set(value) & set(b"\r\n\x00")
        assert value.strip(b" \t") == value
        assert name != b"proxy"
    server, client = scope["server"], scope["client"]
    assert server is None or (server[0] and (server[1] is None or 0 < server[1] < 65536))
    assert client is None or (client[0] and 0 <= client[1] < 65536)


# -- round trips

SEGMENT = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=5)
ROOTS = st.just("") | st.lists(SEGMENT, min_size=1, max_size=2).map(lambda parts: "/" + "/".join(parts))
BYTES_PATH = st.binary(max_size=8).map(lambda rest: b"/" + rest)
TOKEN = st.text("abcxyz019-!#$%&'*+.^`|~", min_size=1, max_size=6)
READ_APART = {"host", "content-type", "content-length", "cookie", "proxy", "version"}
VALUES = st.binary(max_size=8).filter(lambda value: not {0, 10, 13} & set(value))
NAMES = TOKEN | st.sampled_from(["x_y", "proxy", "transfer-encoding", "te", "accept", "X-Case", "accept"])

ENVIRONS = EnvironBuilder({"wsgi.version": (1, 0)})


def joined(pairs: list[tuple[str, bytes]]) -> dict[bytes, bytes]:
    """What is left of headers on their way through an environ: E-30 to E-33 and E-35."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        if "_" not in name and name.lower() not in ("proxy", "transfer-encoding"):
            found.setdefault(name.lower().encode(), []).append(value.strip(b" \t"))
    return {
        name: (b"; " if name == b"cookie" else b",").join(values).strip(b" \t")
        for name, values in found.items()
    }


@pytest.mark.req("S-20")
@given(
    root=ROOTS,
    rest=BYTES_PATH | st.just(b""),
    safe=st.sampled_from(["/", "", "/!$&'()*+,;=:@~", "/#[]|"]),
    raw=st.booleans(),
    method=st.sampled_from(["GET", "POST", "PURGE", "M-SEARCH"]),
    scheme=st.sampled_from(["http", "https"]),
    version=st.sampled_from(["1.0", "1.1", "2", "3"]),
    query=st.binary(max_size=8),
    pairs=st.lists(st.tuples(NAMES.filter(lambda name: name.lower() not in READ_APART), VALUES), max_size=6),
    cookies=st.lists(VALUES, max_size=3),
    length=st.none() | st.integers(0, 10**12),
)
@example("/caf\u00e9", b"/\xff/%2F/\xc3\xa9", "", True, "GET", "https", "2", b"\xff", [], [b"a=1"], 3)
@example("/\ufffd", b"/\xff", "/", True, "GET", "http", "1.1", b"", [("X-Case", b"1")] * 2, [], None)
@example("/a", b"/http://x/", "/:", True, "GET", "http", "1.1", b"", [], [], None)
def test_scope_to_environ_to_scope(
    root: str,
    rest: bytes,
    safe: str,
    raw: bool,
    method: str,
    scheme: str,
    version: str,
    query: bytes,
    pairs: list[tuple[str, bytes]],
    cookies: list[bytes],
    length: int | None,
) -> None:
    """Of a scope that a server could have made: its path is its raw path, decoded."""
    rest = rest if root else rest or b"/"
    if not raw:
        rest = rest.decode("utf-8", "replace").encode()
    raw_path = (quote(root, safe) + quote(rest, safe)).encode()
    every = [*pairs, *(("cookie", value) for value in cookies), ("host", b"ex.org"), ("content-type", b"a/b")]
    if length is not None:
        every.append(("Content-Length", b"%d" % length))
    before = http_scope(
        method=method,
        scheme=scheme,
        http_version=version,
        path=root + rest.decode("utf-8", "replace"),
        raw_path=raw_path if raw else None,
        root_path=root,
        query_string=query,
        headers=[(name.encode(), value) for name, value in every],
    )
    environ, announced, _, _ = ENVIRONS.build(before)
    after, found = BUILDER.build(environ)
    for key in ("method", "path", "root_path", "query_string", "scheme", "http_version", "client", "server"):
        assert after[key] == before[key], key
    assert unquote_to_bytes(after["raw_path"]) == unquote_to_bytes(raw_path)
    if raw and "#" not in safe:
        assert after["raw_path"] == raw_path
    chunked = any(name == "transfer-encoding" for name, _ in pairs)
    expected = joined(every)
    if chunked:
        expected.pop(b"content-length", None)
    assert dict(after["headers"]) == expected
    assert len(after["headers"]) == len(expected)
    assert found == announced == (None if chunked else length)


WSGI_ROOTS = ROOTS.map(text.tunnel)
HTTP_KEYS = TOKEN.filter(lambda name: name not in READ_APART).map(
    lambda name: "HTTP_" + name.upper().replace("-", "_")
)
WSGI_VALUES = VALUES.map(lambda value: value.decode("latin-1").strip(" \t"))


@pytest.mark.req("S-20", "E-14")
@given(
    root=WSGI_ROOTS,
    path=BYTES_PATH.map(text.latin1) | st.just(""),
    target=st.none() | st.sampled_from(["/stale", "exact", "absolute"]),
    query=LATIN1,
    variables=st.dictionaries(HTTP_KEYS, WSGI_VALUES, max_size=5),
    protocol=st.sampled_from(["HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"]),
    server=st.sampled_from([("127.0.0.1", "8000"), ("[::1]", "443"), ("ex.org", "80")]),
    length=st.none() | st.integers(0, 10**12).map(str),
)
@example("/caf\u00c3\u00a9", "/\u00ff/%2F", "exact", "\u00ff", {}, "HTTP/1.1", ("[::1]", "80"), "3")
def test_environ_to_scope_to_environ(
    root: str,
    path: str,
    target: str | None,
    query: str,
    variables: dict[str, str],
    protocol: str,
    server: tuple[str, str],
    length: str | None,
) -> None:
    """Bytes of a path that are no UTF-8 survive too; only in a root they cannot."""
    path = path if root else path or "/"
    before = wsgi_environ(
        SCRIPT_NAME=root,
        PATH_INFO=path,
        QUERY_STRING=query,
        SERVER_PROTOCOL=protocol,
        SERVER_NAME=server[0],
        SERVER_PORT=server[1],
        CONTENT_TYPE="a/b",
        **variables,
    )
    if length is not None:
        before["CONTENT_LENGTH"] = length
    sent = quote((root + path).encode("latin-1"))
    if target is not None:
        before["RAW_URI"] = {"exact": sent, "absolute": "http://h" + sent}.get(target, target) + "?" + query
    scope, _ = BUILDER.build(before)
    after = ENVIRONS.build(scope)[0]
    for key in [*before, *(each for each in after if each.startswith("HTTP_") or each == "CONTENT_LENGTH")]:
        if key in after and not key.startswith(("wsgi.", "RAW_")):
            assert after[key] == before[key], key
    assert {key for key in before if "." not in key} <= after.keys() | {"RAW_URI"}
    assert after["wsgi.url_scheme"] == before["wsgi.url_scheme"]
    assert unquote_to_bytes(after["REQUEST_URI"].partition("?")[0]) == unquote_to_bytes(sent)


# -- cost


def test_many_keys_take_time_in_proportion() -> None:
    """Calls, Python's and C's, for 10 times the headers: no more than 10 times as many."""

    def calls(environ: dict[str, Any]) -> int:
        return calls_of(lambda: BUILDER.build(environ))

    def environ_of(number: int) -> dict[str, Any]:
        return wsgi_environ(**{f"HTTP_X_{each}": "v" * 20 for each in range(number)})

    for number in (1_000, 10_000):
        calls(environ_of(number))  # the names are learnt here
    assert calls(environ_of(10_000)) <= 10 * calls(environ_of(1_000))


def test_an_ordinary_request_needs_no_percent_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast path: a plain path at no root takes neither of them, whatever the query holds."""

    def refuse(path: bytes) -> bytes:
        raise AssertionError

    monkeypatch.setattr(text, "unquote_path", refuse)
    monkeypatch.setattr(text, "quote_path", refuse)
    for target in ("/a/b?q=%20", "/a/b", "/other", None):
        assert scope_of(PATH_INFO="/a/b", RAW_URI=target)["raw_path"] == b"/a/b"
    with pytest.raises(AssertionError):
        scope_of(PATH_INFO="/a b", RAW_URI="/a%20b")
