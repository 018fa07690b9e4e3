"""scope -> environ: every clause of section E that needs no body and no thread."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit
from wsgiref.util import request_uri
from wsgiref.validate import validator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.scopes import ABSENT, Headers, http_scope

from bridge.exceptions import BadRequest
from bridge.translate.environ import EnvironBuilder

TEMPLATE = {
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
    "GATEWAY_INTERFACE": "CGI/1.1",
}
BUILDER = EnvironBuilder(TEMPLATE)


def environ_of(**overrides: Any) -> dict[str, Any]:
    """The environ of a request whose scope differs from an ordinary one by `overrides`."""
    return BUILDER.build(http_scope(**overrides))[0]


def picked(environ: Mapping[str, Any], *keys: str) -> tuple[Any, ...]:
    """The values of some keys, `None` for those that are absent."""
    return tuple(environ.get(key) for key in keys)


def with_headers(*pairs: tuple[bytes, bytes]) -> Headers:
    """These headers beside an ordinary `Host`."""
    return [(b"host", b"testserver"), *pairs]


# -- the dict and its values


@pytest.mark.req("E-01")
def test_environ_is_a_plain_dict_that_reaches_neither_scope_nor_other_requests() -> None:
    scope = http_scope(headers=with_headers((b"x-a", b"1")), query_string=b"a=1")
    before = copy.deepcopy(scope)
    environ = BUILDER.build(scope)[0]
    assert type(environ) is dict
    for key in list(environ):
        environ[key] = "spoiled"
    environ.clear()
    environ["added"] = "here"
    assert scope == before
    again = BUILDER.build(scope)[0]
    assert picked(again, "wsgi.version", "HTTP_X_A", "QUERY_STRING", "added") == ((1, 0), "1", "a=1", None)


@pytest.mark.req("E-01")
def test_the_template_is_copied() -> None:
    template = dict(TEMPLATE)
    builder = EnvironBuilder(template)
    template["wsgi.version"] = "spoiled"
    assert builder.build(http_scope())[0]["wsgi.version"] == (1, 0)


@pytest.mark.req("E-03", "E-05")
def test_the_required_keys_are_present() -> None:
    """`wsgi.input` is the adapter's; all else comes from scope and template."""
    environ = environ_of()
    required = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.errors": sys.stderr,
    }
    assert {key: environ[key] for key in required} == required


@pytest.mark.req("E-03", "E-24", "E-26")
def test_a_scope_with_the_mandatory_keys_only_is_enough() -> None:
    """daphne leaves out `spec_version`, test clients leave out nearly everything."""
    environ = BUILDER.build({"type": "http", "method": "GET", "path": "/", "headers": []})[0]
    assert picked(
        environ,
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
        "wsgi.url_scheme",
        "REMOTE_ADDR",
        "REQUEST_URI",
    ) == ("", "/", "", "localhost", "80", "HTTP/1.1", "http", None, "/")


def test_the_keys_that_frameworks_treat_as_none_may_be_none() -> None:
    none = dict.fromkeys(
        ("root_path", "raw_path", "query_string", "scheme", "http_version", "server", "client", "extensions")
    )
    environ = environ_of(**none, headers=[])
    assert picked(environ, "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "wsgi.url_scheme", "SERVER_NAME") == (
        "",
        "/",
        "",
        "http",
        "localhost",
    )


@pytest.mark.req("E-06")
def test_the_process_environment_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://evil")
    monkeypatch.setenv("SCRIPT_NAME", "/pre")
    environ = environ_of()
    assert "HTTP_PROXY" not in environ
    assert "PATH" not in environ
    assert environ["SCRIPT_NAME"] == ""


@pytest.mark.req("X-12")
def test_the_scope_is_in_the_environ() -> None:
    scope = http_scope(state={"pool": object()})
    environ = BUILDER.build(scope)[0]
    assert environ["asgi.scope"] is scope
    assert environ["asgi.scope"]["state"] is scope["state"]


# -- method and protocol


@pytest.mark.req("E-04")
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", "GET"),
        ("get", "GET"),
        ("Post", "POST"),
        ("PURGE", "PURGE"),
        ("M-SEARCH", "M-SEARCH"),
        ("x!", "X!"),
    ],
)
def test_the_method_is_upper_case_and_may_be_unknown(method: str, expected: str) -> None:
    assert environ_of(method=method)["REQUEST_METHOD"] == expected


@pytest.mark.req("E-02", "E-04")
@pytest.mark.parametrize("method", ["", "\u00b5", "\u00ff", "G\u0131T", "\u20ac"])
def test_a_method_that_no_environ_can_hold_is_refused(method: str) -> None:
    """Upper case may leave latin-1: that of U+00FF is U+0178."""
    with pytest.raises(BadRequest, match="method"):
        environ_of(method=method)


@pytest.mark.req("E-20")
@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0", "HTTP/1.0"),
        ("1.1", "HTTP/1.1"),
        ("2", "HTTP/2.0"),
        ("3", "HTTP/3.0"),
        ("1", "HTTP/1.0"),
        ("2.0", "HTTP/2.0"),
        ("3.0", "HTTP/3.0"),
        (ABSENT, "HTTP/1.1"),
        ("", "HTTP/1.1"),
    ],
)
def test_the_protocol(version: Any, expected: str) -> None:
    assert environ_of(http_version=version)["SERVER_PROTOCOL"] == expected


@pytest.mark.req("E-21")
@pytest.mark.parametrize(
    ("scheme", "expected", "https"),
    [
        ("http", "http", None),
        ("https", "https", "on"),
        ("ws", "http", None),
        ("wss", "https", "on"),
        (ABSENT, "http", None),
        ("", "http", None),
        (None, "http", None),
    ],
)
def test_the_scheme(scheme: Any, expected: str, https: str | None) -> None:
    assert picked(environ_of(scheme=scheme), "wsgi.url_scheme", "HTTPS") == (expected, https)


# -- path


@pytest.mark.parametrize(
    ("root_path", "path", "script_name", "path_info"),
    [
        pytest.param("", "/x", "", "/x", marks=pytest.mark.req("E-07"), id="no root"),
        pytest.param(ABSENT, "/x", "", "/x", marks=pytest.mark.req("E-07"), id="root missing"),
        pytest.param(None, "/x", "", "/x", marks=pytest.mark.req("E-07"), id="root None"),
        pytest.param("/", "/x", "", "/x", marks=pytest.mark.req("E-07"), id="root /"),
        pytest.param("//", "/x", "", "/x", marks=pytest.mark.req("E-07"), id="root //"),
        pytest.param("/", "/", "", "/", marks=pytest.mark.req("E-07", "E-12"), id="root / and path /"),
        pytest.param("/api/", "/api/x", "/api", "/x", marks=pytest.mark.req("E-07"), id="trailing slash"),
        pytest.param(
            "/caf\u00e9/",
            "/caf\u00e9/x",
            "/caf\u00c3\u00a9",
            "/x",
            marks=pytest.mark.req("E-07", "E-13"),
            id="non-ASCII root",
        ),
        pytest.param(
            "/caf\u00e9",
            "/caf\u00e9s/x",
            "/caf\u00c3\u00a9",
            "/caf\u00c3\u00a9s/x",
            marks=pytest.mark.req("E-09", "E-13"),
            id="non-ASCII root, no boundary",
        ),
        pytest.param("api", "/api/x", "/api", "/x", marks=pytest.mark.req("E-07"), id="root without slash"),
        pytest.param(
            "api", "api/x", "/api", "/x", marks=pytest.mark.req("E-07"), id="root and path without slash"
        ),
        pytest.param("/api", "/api/x", "/api", "/x", marks=pytest.mark.req("E-08"), id="stripped"),
        pytest.param("/a/b", "/a/b/c/d", "/a/b", "/c/d", marks=pytest.mark.req("E-08"), id="nested"),
        pytest.param("/api", "/api//x", "/api", "//x", marks=pytest.mark.req("E-08", "E-16"), id="//"),
        pytest.param("/api", "/api/api/x", "/api", "/api/x", marks=pytest.mark.req("E-08"), id="once only"),
        pytest.param("/api", "/apix/y", "/api", "/apix/y", marks=pytest.mark.req("E-09"), id="no boundary"),
        pytest.param("/a", "/apple", "/a", "/apple", marks=pytest.mark.req("E-09"), id="no boundary, short"),
        pytest.param("/api", "/api", "/api", "", marks=pytest.mark.req("E-10"), id="exact"),
        pytest.param("/api", "/api/", "/api", "/", marks=pytest.mark.req("E-10"), id="exact and slash"),
        pytest.param("/api/", "/api", "/api", "", marks=pytest.mark.req("E-10"), id="exact, root with slash"),
        pytest.param("/api", "/x", "/api", "/x", marks=pytest.mark.req("E-11"), id="proxy has stripped"),
        pytest.param("/api", "/", "/api", "/", marks=pytest.mark.req("E-11"), id="proxy has stripped all"),
        pytest.param("/api", "/x/api", "/api", "/x/api", marks=pytest.mark.req("E-11"), id="root further in"),
        pytest.param("/API", "/api/x", "/API", "/api/x", marks=pytest.mark.req("E-11"), id="case matters"),
        pytest.param("", "", "", "/", marks=pytest.mark.req("E-12"), id="nothing at all"),
        pytest.param("/api", "", "/api", "", marks=pytest.mark.req("E-12"), id="empty path at a root"),
        pytest.param("", "/\u00e9", "", "/\u00c3\u00a9", marks=pytest.mark.req("E-13"), id="tunnelled"),
        pytest.param("", "/\u65e5", "", "/\u00e6\u0097\u00a5", marks=pytest.mark.req("E-13"), id="CJK"),
    ],
)
def test_the_path_is_divided_on_a_segment_boundary(
    root_path: Any, path: str, script_name: str, path_info: str
) -> None:
    environ = environ_of(root_path=root_path, path=path)
    assert picked(environ, "SCRIPT_NAME", "PATH_INFO") == (script_name, path_info)


@pytest.mark.parametrize(
    ("raw_path", "path", "root_path", "path_info"),
    [
        pytest.param(
            b"/%FF/%C3%A9",
            "/\ufffd/\u00e9",
            "",
            "/\u00ff/\u00c3\u00a9",
            marks=pytest.mark.req("E-14"),
            id="invalid UTF-8 survives",
        ),
        pytest.param(
            b"/api/%FF",
            "/api/\ufffd",
            "/api",
            "/\u00ff",
            marks=pytest.mark.req("E-08", "E-14"),
            id="below a root",
        ),
        pytest.param(
            b"/caf%C3%A9/%FF",
            "/caf\u00e9/\ufffd",
            "/caf\u00e9",
            "/\u00ff",
            marks=pytest.mark.req("E-08", "E-14"),
            id="below a non-ASCII root",
        ),
        pytest.param(
            b"/%FF",
            "/api/\ufffd",
            "/api",
            "/\u00ef\u00bf\u00bd",
            marks=pytest.mark.req("E-15"),
            id="a root that is in the path only",
        ),
        pytest.param(b"/old", "/new", "", "/new", marks=pytest.mark.req("E-15"), id="rewritten"),
        pytest.param(
            b"/old%FF",
            "/new\ufffd",
            "",
            "/new\u00ef\u00bf\u00bd",
            marks=pytest.mark.req("E-15"),
            id="rewritten, not UTF-8",
        ),
        pytest.param(None, "/\u00e9", "", "/\u00c3\u00a9", marks=pytest.mark.req("E-15"), id="no raw path"),
        pytest.param(ABSENT, "/a", "", "/a", marks=pytest.mark.req("E-15"), id="raw path missing"),
        pytest.param(None, "/\udcff", "", "/\u00ff", marks=pytest.mark.req("E-15"), id="surrogate escape"),
        pytest.param(
            b"/a%252Fb", "/a%2Fb", "", "/a%2Fb", marks=pytest.mark.req("E-16"), id="not decoded twice"
        ),
        pytest.param(
            b"/a%2Fb%20c", "/a/b c", "", "/a/b c", marks=pytest.mark.req("E-16"), id="%2F is decoded already"
        ),
        pytest.param(b"//a/../b", "//a/../b", "", "//a/../b", marks=pytest.mark.req("E-16"), id="dots"),
        pytest.param(b"/a;p=1;/b", "/a;p=1;/b", "", "/a;p=1;/b", marks=pytest.mark.req("E-16"), id=";"),
        pytest.param(
            b"/a%0D%0A%00b", "/a\r\n\x00b", "", "/a\r\n\x00b", marks=pytest.mark.req("E-16"), id="CR LF NUL"
        ),
        pytest.param(b"/%2e%2e/", "/../", "", "/../", marks=pytest.mark.req("E-16"), id="encoded dots"),
        pytest.param(
            b"/r/http://x/",
            "/r/http://x/",
            "",
            "/r/http://x/",
            marks=pytest.mark.req("E-16"),
            id="URL in a path",
        ),
        pytest.param(
            b"/api/r/http://x/",
            "/api/r/http://x/",
            "/api",
            "/r/http://x/",
            marks=pytest.mark.req("E-08", "E-16"),
            id="URL in a path at a root",
        ),
    ],
)
def test_the_bytes_of_the_path(raw_path: Any, path: str, root_path: str, path_info: str) -> None:
    assert environ_of(raw_path=raw_path, path=path, root_path=root_path)["PATH_INFO"] == path_info


@pytest.mark.req("E-15")
@pytest.mark.parametrize("root_path", ["", "/api", "/\ud800"])
@pytest.mark.parametrize("path", ["/\ud800", "/\udfffx", "/api/\ud800"])
def test_a_path_that_cannot_be_encoded_does_not_raise(root_path: str, path: str) -> None:
    environ = environ_of(path=path, root_path=root_path, raw_path=None)
    url = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    assert url.encode("latin-1").startswith(b"/")


@pytest.mark.req("E-19")
@pytest.mark.parametrize(
    ("query_string", "expected"),
    [
        (b"", ""),
        (ABSENT, ""),
        (None, ""),
        (b"a=1&b=2", "a=1&b=2"),
        (b"a=\xff%20", "a=\u00ff%20"),
        (b"q=\xc3\xa9", "q=\u00c3\u00a9"),
        (b"?", "?"),
        (b"a=%00%0d%0a", "a=%00%0d%0a"),
    ],
)
def test_the_query_is_its_raw_bytes(query_string: Any, expected: str) -> None:
    assert environ_of(query_string=query_string)["QUERY_STRING"] == expected


@pytest.mark.req("E-17")
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param({"path": "/a/b", "raw_path": b"/a%2Fb", "query_string": b"x=1"}, "/a%2Fb?x=1", id="%2F"),
        pytest.param({"path": "/a"}, "/a", id="no query"),
        pytest.param({"path": "/a", "query_string": b"\xff"}, "/a?\u00ff", id="latin-1 query"),
        pytest.param(
            {"path": "/a", "raw_path": b"/a?x=1", "query_string": b"x=1"},
            "/a?x=1",
            id="query in the raw path",
        ),
        pytest.param(
            {"path": "/\u00e9 b", "raw_path": None, "query_string": b"x"}, "/%C3%A9%20b?x", id="rebuilt"
        ),
        pytest.param(
            {"path": "/api/\u00e9", "root_path": "/api", "raw_path": ABSENT},
            "/api/%C3%A9",
            id="with its root",
        ),
        pytest.param(
            {"path": "/x", "root_path": "/caf\u00e9", "raw_path": None},
            "/caf%C3%A9/x",
            id="with a root that the proxy stripped",
        ),
        pytest.param({"path": "/%", "raw_path": None}, "/%25", id="a decoded percent is escaped again"),
        pytest.param({"path": "/a", "raw_path": b""}, "/a", id="empty raw path"),
        pytest.param({"path": "/\ufffd", "raw_path": b"/\xff"}, "/\u00ff", id="raw byte"),
        pytest.param(
            {"path": "/api/api/x", "raw_path": b"/api/api/x", "root_path": "/api"},
            "/api/api/x",
            id="uvicorn prepends its root: not corrected",
        ),
    ],
)
def test_the_raw_target(overrides: dict[str, Any], expected: str) -> None:
    assert picked(environ_of(**overrides), "RAW_URI", "REQUEST_URI") == (expected, expected)


@pytest.mark.req("E-18")
@pytest.mark.parametrize(
    ("path", "raw_path", "root_path", "expected"),
    [
        pytest.param("http://h:99/p", b"http://h:99/p", "", ("", "/p", "h:99", "/p"), id="plain"),
        pytest.param("http://h:99/p", None, "", ("", "/p", "h:99", "/p"), id="no raw path"),
        pytest.param("HTTPS://h", b"HTTPS://h", "", ("", "/", "h", "/"), id="no path"),
        pytest.param("http://u:p@h/p", b"http://u:p@h/p", "", ("", "/p", "h", "/p"), id="user information"),
        pytest.param("http://[::1]:9/p", b"http://[::1]:9/p", "", ("", "/p", "[::1]:9", "/p"), id="IPv6"),
        pytest.param(
            "/apihttp://h/p",
            b"/apihttp://h/p",
            "/api",
            ("/api", "/p", "h", "/api/p"),
            id="uvicorn with a root path",
        ),
        pytest.param(
            "http://h/api/p", b"http://h/api/p", "/api", ("/api", "/p", "h", "/api/p"), id="with its root"
        ),
        pytest.param("http://h/p", b"http://h/p", "/api", ("/api", "/p", "h", "/p"), id="without its root"),
        pytest.param(
            "http://h/a/b", b"http://h/a%2Fb", "", ("", "/a/b", "h", "/a%2Fb"), id="escapes of the raw path"
        ),
        pytest.param(
            "http://h/\ufffd", b"http://h/%FF", "", ("", "/\u00ff", "h", "/%FF"), id="bytes of the raw path"
        ),
        pytest.param("http:///p", b"http:///p", "", ("", "/p", "testserver", "/p"), id="no authority"),
    ],
)
def test_an_absolute_form_is_reduced_to_its_path(
    path: str, raw_path: bytes | None, root_path: str, expected: tuple[str, ...]
) -> None:
    environ = environ_of(path=path, raw_path=raw_path, root_path=root_path)
    assert picked(environ, "SCRIPT_NAME", "PATH_INFO", "HTTP_HOST", "REQUEST_URI") == expected


@pytest.mark.req("E-18")
def test_the_authority_of_an_absolute_form_names_the_server_that_is_unknown() -> None:
    environ = environ_of(path="http://h:99/p", server=None)
    assert picked(environ, "SERVER_NAME", "SERVER_PORT") == ("h", "99")


@pytest.mark.req("E-18")
@pytest.mark.parametrize("authority", ["h\r\nx-inj: 1", "h\nx", "h\x00", "h x", "h\x7f", "h\t"])
@pytest.mark.parametrize("root_path", ["", "/api"])
def test_an_authority_that_no_host_header_could_hold_is_refused(authority: str, root_path: str) -> None:
    """It stood percent-encoded in the target, and the server decoded it."""
    with pytest.raises(BadRequest) as caught:
        environ_of(
            path=f"{root_path}http://{authority}/p",
            raw_path=quote(f"{root_path}http://{authority}/p", safe="/:").encode(),
            root_path=root_path,
        )
    assert str(caught.value).isprintable()


@pytest.mark.req("E-18")
@pytest.mark.parametrize("raw_path", [b"*", None])
def test_an_asterisk_stays(raw_path: bytes | None) -> None:
    environ = environ_of(method="OPTIONS", path="*", raw_path=raw_path)
    assert picked(environ, "SCRIPT_NAME", "PATH_INFO", "REQUEST_URI") == ("", "*", "*")


# -- server and client


@pytest.mark.parametrize(
    ("server", "host", "scheme", "expected"),
    [
        pytest.param(
            ("127.0.0.1", 8000),
            b"ex.org",
            "http",
            ("127.0.0.1", "8000"),
            marks=pytest.mark.req("E-22"),
            id="TCP",
        ),
        pytest.param(
            ("ex.net", 443), None, "https", ("ex.net", "443"), marks=pytest.mark.req("E-22"), id="name"
        ),
        pytest.param(
            ("::1", 8000), None, "http", ("[::1]", "8000"), marks=pytest.mark.req("E-23"), id="IPv6"
        ),
        pytest.param(
            ("[::1]", 8000),
            None,
            "http",
            ("[::1]", "8000"),
            marks=pytest.mark.req("E-23"),
            id="IPv6 in brackets",
        ),
        pytest.param(
            ("fe80::1%eth0", 80),
            None,
            "http",
            ("[fe80::1%eth0]", "80"),
            marks=pytest.mark.req("E-23"),
            id="zone",
        ),
        pytest.param(
            ["::1", "8000"],
            None,
            "http",
            ("[::1]", "8000"),
            marks=pytest.mark.req("E-23", "E-25"),
            id="IPv6 list",
        ),
        *(
            pytest.param(
                server,
                host,
                scheme,
                expected,
                marks=pytest.mark.req("E-24"),
                id=f"{server!r} {host!r} {scheme}",
            )
            for server in (("/run/a.sock", None), None, ABSENT)
            for host, scheme, expected in [
                (b"ex.org", "https", ("ex.org", "443")),
                (b"ex.org", "http", ("ex.org", "80")),
                (b"ex.org:8443", "https", ("ex.org", "8443")),
                (b"[::1]", "http", ("[::1]", "80")),
                (b"[2001:db8::1]:81", "http", ("[2001:db8::1]", "81")),
                (b"ex.org:", "https", ("ex.org", "443")),
                (b"ex.org:http", "http", ("ex.org", "80")),
                (b"", "http", ("localhost", "80")),
                (b":81", "http", ("localhost", "81")),
                (None, "http", ("localhost", "80")),
                (None, "wss", ("localhost", "443")),
            ]
        ),
        *(
            pytest.param(server, None, "http", expected, marks=pytest.mark.req("E-25"), id=repr(server)[:30])
            for server, expected in [
                (["h", 80], ("h", "80")),
                (("h", "8080"), ("h", "8080")),
                (["h", "8080"], ("h", "8080")),
                (("/path", "0"), ("localhost", "80")),
                (["/path", "0"], ("localhost", "80")),
                (("/path", 0), ("localhost", "80")),
                (("/path", 80), ("localhost", "80")),
                (("/", "r"), ("localhost", "80")),
                (("", 8000), ("localhost", "80")),
                (("", "0"), ("localhost", "80")),
                ((None, 8000), ("localhost", "80")),
                ((None, None), ("localhost", "80")),
                (("h", None), ("localhost", "80")),
                (("h", 0), ("localhost", "80")),
                (("h", -1), ("localhost", "80")),
                (("h", "-1"), ("localhost", "80")),
                (("h", "http"), ("localhost", "80")),
                (("h", "\u0663"), ("localhost", "80")),
                (("h", "9" * 5000), ("localhost", "80")),
                (("h", True), ("localhost", "80")),
                ((), ("localhost", "80")),
                (("h",), ("localhost", "80")),
                (("::1", 80, 0, 0), ("[::1]", "80")),
                (["h", 80, 0, 0], ("h", "80")),
                (("\u65e5", 80), ("\u00e6\u0097\u00a5", "80")),
                ([], ("localhost", "80")),
                (["h"], ("localhost", "80")),
                ("h:80", ("localhost", "80")),
                ((b"h", 80), ("localhost", "80")),
            ]
        ),
    ],
)
def test_the_servers_name_and_port(
    server: Any, host: bytes | None, scheme: str, expected: tuple[str, str]
) -> None:
    headers = [] if host is None else [(b"host", host)]
    environ = environ_of(server=server, headers=headers, scheme=scheme)
    found = picked(environ, "SERVER_NAME", "SERVER_PORT")
    assert found == expected
    assert [type(value) for value in found] == [str, str]


@pytest.mark.req("E-25")
def test_an_odd_server_falls_back_on_the_host_header() -> None:
    for server in (("/path", "0"), ("/", "r"), ("", 8000), (None, 1), ()):
        environ = environ_of(server=server, headers=[(b"host", b"ex.org:81")])
        assert picked(environ, "SERVER_NAME", "SERVER_PORT") == ("ex.org", "81")


@pytest.mark.req("E-02", "E-24")
@given(st.binary(max_size=20).filter(lambda host: not {0, 10, 13} & set(host)))
@example(b"[::1")
@example(b"]:80")
@example(b"::1")
@example(b"[]:80")
@example(b"a:b:c")
@example(b"\xb2:\xb2")
def test_whatever_the_host_header_says_name_and_port_are_not_empty(host: bytes) -> None:
    environ = environ_of(server=None, headers=[(b"host", host)])
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"].isascii()
    assert environ["SERVER_PORT"].isdigit()


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        pytest.param(("10.0.0.1", 5), ("10.0.0.1", "5"), marks=pytest.mark.req("E-26"), id="TCP"),
        pytest.param(("::1", 5), ("::1", "5"), marks=pytest.mark.req("E-26"), id="IPv6"),
        pytest.param(("[::1]", 5), ("::1", "5"), marks=pytest.mark.req("E-26"), id="IPv6 in brackets"),
        pytest.param(
            ("testclient", 50000), ("testclient", "50000"), marks=pytest.mark.req("E-26"), id="name"
        ),
        pytest.param(None, (None, None), marks=pytest.mark.req("E-26"), id="None"),
        pytest.param(ABSENT, (None, None), marks=pytest.mark.req("E-26"), id="missing"),
        pytest.param(("", 0), (None, None), marks=pytest.mark.req("E-26"), id="empty host"),
        pytest.param((None, 5), (None, None), marks=pytest.mark.req("E-26"), id="no host"),
        pytest.param(("", "0"), (None, None), marks=pytest.mark.req("E-25", "E-26"), id="granian, unix"),
        pytest.param(["10.0.0.1", 5], ("10.0.0.1", "5"), marks=pytest.mark.req("E-25"), id="list"),
        pytest.param(("10.0.0.1", "5"), ("10.0.0.1", "5"), marks=pytest.mark.req("E-25"), id="port as text"),
        pytest.param(("10.0.0.1", None), ("10.0.0.1", None), marks=pytest.mark.req("E-25"), id="no port"),
        pytest.param(("10.0.0.1",), ("10.0.0.1", None), marks=pytest.mark.req("E-25"), id="host alone"),
        pytest.param((), (None, None), marks=pytest.mark.req("E-25"), id="empty tuple"),
        pytest.param([], (None, None), marks=pytest.mark.req("E-25"), id="empty list"),
    ],
)
def test_the_clients_address_and_port(client: Any, expected: tuple[str | None, str | None]) -> None:
    assert picked(environ_of(client=client), "REMOTE_ADDR", "REMOTE_PORT") == expected


@pytest.mark.req("E-26")
def test_nothing_more_is_claimed_of_the_client() -> None:
    environ = environ_of(headers=with_headers((b"authorization", b"Basic dTpw")))
    assert not environ.keys() & {"REMOTE_HOST", "REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT"}


@pytest.mark.req("H-05")
@pytest.mark.parametrize(
    "pair",
    [
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"evil"),
        (b"x-forwarded-port", b"1"),
        (b"x-forwarded-prefix", b"/evil"),
        (b"x-forwarded-ssl", b"on"),
        (b"x-real-ip", b"6.6.6.6"),
        (b"x-scheme", b"https"),
        (b"x-script-name", b"/evil"),
        (b"x-original-url", b"/evil"),
        (b"x-http-method-override", b"DELETE"),
        (b"forwarded", b"for=6.6.6.6;proto=https;host=evil"),
        (b"https", b"on"),
        (b"remote-user", b"admin"),
        (b"remote-addr", b"6.6.6.6"),
        (b"script-name", b"/evil"),
        (b"wsgi.url-scheme", b"https"),
    ],
    ids=lambda pair: pair[0].decode(),
)
def test_a_header_changes_its_own_key_only(pair: tuple[bytes, bytes]) -> None:
    key = "HTTP_" + pair[0].decode().upper().replace("-", "_")
    plain = environ_of(headers=with_headers())
    spoofed = environ_of(headers=with_headers(pair))
    del plain["asgi.scope"], spoofed["asgi.scope"]
    assert spoofed == {**plain, key: pair[1].decode()}


@pytest.mark.req("H-05", "E-22")
def test_the_host_header_changes_nothing_while_the_server_is_known() -> None:
    environ = environ_of(headers=[(b"host", b"evil:1")])
    assert picked(environ, "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme", "PATH_INFO") == (
        "127.0.0.1",
        "8000",
        "http",
        "/",
    )


# -- headers and the body that they announce


@pytest.mark.req("E-27")
def test_absent_content_headers_have_no_key() -> None:
    assert not environ_of(method="POST").keys() & {
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
        "HTTP_CONTENT_LENGTH",
    }


@pytest.mark.req("E-30")
def test_underscore_headers_are_kept_by_a_builder_that_is_told_to() -> None:
    scope = http_scope(headers=with_headers((b"x_a", b"1"), (b"content_length", b"9")))
    assert "HTTP_X_A" not in BUILDER.build(scope)[0]
    environ = EnvironBuilder(TEMPLATE, keep_underscore_headers=True).build(scope)[0]
    assert picked(environ, "HTTP_X_A", "CONTENT_LENGTH", "HTTP_CONTENT_LENGTH") == ("1", None, None)


@pytest.mark.req("E-34")
@pytest.mark.parametrize(
    "value",
    [
        b"+3",
        b"1_0",
        b"3, 3",
        b"-1",
        b"",
        b" ",
        b"0x3",
        b"3.0",
        b"1e3",
        b"\xb2",
        b"\xd9\xa3",
        b"3 3",
        b"three",
        b"9" * 5000,
    ],
)
def test_a_length_that_is_not_digits_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest, match="Content-Length"):
        environ_of(method="POST", headers=with_headers((b"content-length", value)))


@pytest.mark.req("E-27", "E-34")
@pytest.mark.parametrize(
    ("value", "length", "text"),
    [
        (b"0", 0, "0"),
        (b"12", 12, "12"),
        (b" 7\t", 7, "7"),
        (b"007", 7, "007"),
        (b"1" * 18, int("1" * 18), "1" * 18),
    ],
)
def test_a_length_is_a_number(value: bytes, length: int, text: str) -> None:
    scope = http_scope(method="POST", headers=with_headers((b"Content-Length", value)))
    environ, content_length, announces_body, _ = BUILDER.build(scope)
    assert (environ["CONTENT_LENGTH"], content_length, announces_body) == (text, length, length > 0)


@pytest.mark.req("E-34")
@pytest.mark.parametrize(
    "pairs",
    [
        [(b"host", b"a"), (b"host", b"b")],
        [(b"content-type", b"a/b"), (b"content-type", b"a/b")],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"1"), (b"content-length", b"01")],
    ],
)
def test_ambiguous_headers_are_refused(pairs: Headers) -> None:
    with pytest.raises(BadRequest):
        environ_of(headers=pairs)


@pytest.mark.req("E-35")
def test_a_transfer_encoding_is_not_passed_on() -> None:
    scope = http_scope(method="POST", headers=with_headers((b"transfer-encoding", b"chunked")))
    environ, content_length, announces_body, _ = BUILDER.build(scope)
    assert (content_length, announces_body) == (None, True)
    assert not environ.keys() & {"HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH"}


@pytest.mark.req("E-35", "E-40")
@pytest.mark.parametrize("length", [b"3", b"0"])
def test_a_transfer_encoding_overrides_a_length(length: bytes) -> None:
    """RFC 9112 6.3: the server has decoded by the coding, so the length says nothing of the body."""
    pairs = [(b"content-length", length), (b"transfer-encoding", b"chunked")]
    for order in (pairs, pairs[::-1]):
        environ, content_length, announces_body, _ = BUILDER.build(http_scope(headers=with_headers(*order)))
        assert (content_length, announces_body) == (None, True)
        assert "CONTENT_LENGTH" not in environ


@pytest.mark.req("W-26")
@pytest.mark.parametrize(
    ("method", "version", "pairs", "expected"),
    [
        ("GET", "1.1", [], False),
        ("GET", "1.0", [], False),
        ("GET", "1", [], False),
        ("HEAD", "1.1", [], False),
        ("OPTIONS", "1.1", [], False),
        ("get", "1.1", [], False),
        ("GET", ABSENT, [], False),
        ("GET", "1.1", [(b"content-length", b"0")], False),
        ("POST", "1.1", [(b"content-length", b"0")], False),
        ("GET", "1.1", [(b"content-length", b"1")], True),
        ("GET", "1.1", [(b"transfer-encoding", b"chunked")], True),
        # HTTP/2 and 3 frame a body without any header.
        ("GET", "2", [], True),
        ("GET", "3", [], True),
        ("GET", "2", [(b"content-length", b"0")], True),
        # Test clients send bodies without a header.
        ("POST", "1.1", [], True),
        ("DELETE", "1.1", [], True),
        ("PURGE", "1.1", [], True),
    ],
)
def test_whether_a_body_may_follow(method: str, version: Any, pairs: Headers, expected: bool) -> None:
    scope = http_scope(method=method, http_version=version, headers=with_headers(*pairs))
    assert BUILDER.build(scope)[2] is expected


@pytest.mark.req("E-39")
@pytest.mark.parametrize(
    ("expect", "length", "expected"),
    [
        (b"100-continue", b"5", True),
        (b"100-Continue", b"5", True),
        (b" 100-continue ", b"5", True),
        (b"100-continue", None, True),
        (b"100-continue", b"0", False),
        (b"200-ok", b"5", False),
        (b"", b"5", False),
        (None, b"5", False),
    ],
)
def test_whether_the_client_waits_for_100_continue(
    expect: bytes | None, length: bytes | None, expected: bool
) -> None:
    pairs = []
    if expect is not None:
        pairs.append((b"expect", expect))
    if length is not None:
        pairs.append((b"content-length", length))
    assert BUILDER.build(http_scope(method="POST", headers=with_headers(*pairs)))[3] is expected


# -- anything at all


TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
PATHS = st.one_of(TEXT, TEXT.map("/".__add__), st.sampled_from(["http://h/\x00", "/api/x", "*", "/\ufffd"]))


@pytest.mark.req("E-01", "E-02", "E-15")
@given(
    path=PATHS,
    raw_path=st.none() | st.binary(max_size=12),
    root_path=st.none() | TEXT | st.sampled_from(["/api", "/api/", "api"]),
    query_string=st.binary(max_size=12),
    headers=st.lists(
        st.tuples(
            st.binary(max_size=8) | st.sampled_from([b"host", b"cookie", b"content-length", b"expect"]),
            st.binary(max_size=8) | st.integers(0, 20).map(lambda number: b"%d" % number),
        ),
        max_size=5,
    ),
    scheme=st.sampled_from(["http", "https", "ws", "wss"]),
    server=st.sampled_from([None, ("h", 1), ("::1", "2"), ("/s", None), ["", "0"]]),
)
@example(path="//", raw_path=b"/", root_path="/", query_string=b"", headers=[], scheme="http", server=None)
@example(
    path="http://\u20ac/",
    raw_path=b"\xff",
    root_path="",
    query_string=b"?",
    headers=[],
    scheme="ws",
    server=None,
)
def test_any_scope_makes_a_valid_environ_or_a_bad_request(**parts: Any) -> None:
    scope = http_scope(**parts)
    before = copy.deepcopy(scope)
    try:
        environ = BUILDER.build(scope)[0]
    except BadRequest:
        return
    finally:
        assert scope == before
    for key, value in environ.items():
        assert type(key) is str
        if "." not in key or key.startswith("HTTP_"):
            assert type(value) is str
            value.encode("latin-1")
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"].isdigit()
    assert environ["SCRIPT_NAME"] or environ["PATH_INFO"]
    assert environ["SCRIPT_NAME"][-1:] != "/"
    assert environ["SCRIPT_NAME"][:1] in ("", "/")


SEGMENTS = st.lists(st.binary(min_size=1, max_size=4).filter(lambda part: b"/" not in part), max_size=4)


@pytest.mark.req("E-08", "E-11", "E-13", "E-14")
@given(SEGMENTS, SEGMENTS, st.booleans())
def test_root_and_rest_are_the_bytes_that_were_sent(
    root: list[bytes], rest: list[bytes], strips: bool
) -> None:
    """Whatever a client's bytes are, and whether or not a proxy has stripped the root."""
    root_bytes = b"".join(b"/" + part for part in root).decode("utf-8", "replace").encode()
    rest_bytes = b"".join(b"/" + part for part in rest) or b"/"
    sent = rest_bytes if strips else root_bytes + rest_bytes
    if strips and (rest_bytes + b"/").startswith(root_bytes + b"/"):
        return  # nobody could tell
    environ = environ_of(
        root_path=root_bytes.decode(),
        path=sent.decode("utf-8", "replace"),
        raw_path=quote(sent).encode(),
    )
    assert environ["SCRIPT_NAME"].encode("latin-1") == root_bytes
    assert environ["PATH_INFO"].encode("latin-1") == rest_bytes
    assert unquote_to_bytes(environ["REQUEST_URI"]) == sent


@pytest.mark.req("E-02", "E-03", "E-22", "E-23", "W-31")
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"path": "/\u00e9", "query_string": b"a=\xff"},
        {"root_path": "/", "path": "/x"},
        {"root_path": "/api/", "path": "/api"},
        {"root_path": "/api", "path": "/apix"},
        {"server": ("::1", 8000), "client": ("::1", 1)},
        {"server": ("/run/x.sock", None), "client": None},
        {"server": ["h", "81"], "client": ["c", "5"]},
        {"scheme": "https", "http_version": "2"},
        {"scheme": "wss"},
        {"method": "POST", "headers": with_headers((b"content-length", b"3"), (b"content-type", b"a/b"))},
        {"path": "", "raw_path": None},
    ],
    ids=str,
)
def test_the_standard_library_finds_the_environ_valid(overrides: dict[str, Any]) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    environ = environ_of(**overrides)
    environ["wsgi.input"] = io.BytesIO()
    iterable = validator(app)(environ, lambda status, headers, exc_info=None: print)
    assert list(iterable) == [b"ok"]
    iterable.close()  # type: ignore[attr-defined]


@pytest.mark.req("E-23", "E-24")
@pytest.mark.parametrize(
    ("overrides", "host", "port"),
    [
        ({"server": ("::1", 8000), "headers": []}, "::1", 8000),
        ({"server": ("10.0.0.1", 80), "headers": []}, "10.0.0.1", None),
        ({"server": None, "headers": [(b"host", b"[::1]:81")]}, "::1", 81),
        ({"server": None, "headers": [], "scheme": "https"}, "localhost", None),
    ],
)
def test_the_url_can_be_reconstructed(overrides: dict[str, Any], host: str, port: int | None) -> None:
    """By the recipe of PEP 3333, which joins `SERVER_NAME` and `SERVER_PORT` with a colon."""
    url = urlsplit(request_uri(environ_of(path="/a b", **overrides)))
    assert (url.hostname, url.port, url.path) == (host, port, "/a%20b")


@pytest.mark.req("E-07", "E-08", "E-11")
@pytest.mark.parametrize(
    ("path", "root_path", "app_root_path", "script_name", "path_info"),
    [
        # Starlette's Mount lengthens root_path and keeps the server's under app_root_path.
        ("/proxy/legacy/x", "/proxy/legacy", "/proxy", "/proxy/legacy", "/x"),
        ("/legacy/x", "/proxy/legacy", "/proxy", "/proxy/legacy", "/x"),
        ("/legacyx/y", "/proxy/legacy", "/proxy", "/proxy/legacy", "/legacyx/y"),
        ("/legacy", "/proxy/legacy", "/proxy", "/proxy/legacy", ""),
        ("/x", "/proxy", "/proxy", "/proxy", "/x"),
        # A root with a trailing slash, which Uvicorn prepends as it stands.
        ("/proxy//x", "/proxy/", None, "/proxy", "/x"),
        ("/proxy//x", "/proxy", None, "/proxy", "//x"),
    ],
)
def test_a_mount_is_stripped_with_and_without_the_root_of_the_server(
    path: str, root_path: str, app_root_path: str | None, script_name: str, path_info: str
) -> None:
    scope = http_scope(path=path, raw_path=path.encode(), root_path=root_path)
    if app_root_path is not None:
        scope["app_root_path"] = app_root_path
    environ = EnvironBuilder({}).build(scope)[0]
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)
