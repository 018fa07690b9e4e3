"""Broken rules, planted one at a time: each is reported once, with its side; its right twin is clean."""

from __future__ import annotations

import os
from typing import Any

import pytest
from support.scopes import ABSENT
from testing.validation.asgi_planting import (
    ACCEPT,
    CLOSE,
    CONNECT,
    OK,
    RECEIVE,
    SHUTDOWN,
    STARTED,
    STARTUP,
    STOPPED,
    Planted,
    Refusal,
    body,
    call,
    in_app,
    in_receive,
    in_scope,
    request,
    says,
    start,
)

from bridge.exceptions import ProtocolViolation

READ_TWO = says(RECEIVE, RECEIVE, start(), body(b"ok"))
ANSWER_ONE = says(RECEIVE, ACCEPT, CLOSE)
READ_ONE_FRAME = says(RECEIVE, ACCEPT, RECEIVE, CLOSE)
TEXT = {"type": "websocket.receive", "text": "hi"}
GONE = {"type": "websocket.disconnect", "code": 1000}
LEFT = {"type": "http.disconnect"}
H = b"x-a"


def headers(*pairs: Any) -> dict[str, Any]:
    return {"headers": [(b"host", b"testserver"), *pairs]}


def asgi(**keys: Any) -> dict[str, Any]:
    return {"asgi": keys}


def offers(*names: str) -> dict[str, Any]:
    return {"extensions": {name: {} for name in names}}


def frame(**keys: Any) -> dict[str, Any]:
    return {"type": "websocket.send", **keys}


def denial(kind: str, **keys: Any) -> dict[str, Any]:
    return {"type": f"websocket.http.response.{kind}", **keys}


def trailers(*pairs: Any, **keys: Any) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": list(pairs), **keys}


TLS = {"server_cert": None, "tls_version": 772, "cipher_suite": None}
SCOPES = [
    in_scope(
        "http.scope/extensions/tls/client_cert_name/type",
        {"extensions": {"tls": {**TLS, "client_cert_name": b"CN=a"}}},
        {"extensions": {"tls": {**TLS, "client_cert_name": "CN=a", "client_cert_error": None}}},
    ),
    in_scope(
        "http.scope/extensions/tls/client_cert_chain/item/type",
        {"extensions": {"tls": {**TLS, "client_cert_chain": [b"-----BEGIN"]}}},
        {"extensions": {"tls": {**TLS, "client_cert_chain": ("-----BEGIN",)}}},
    ),
    in_scope("http.scope/asgi/missing", {"asgi": ABSENT}, asgi(version="3.0")),
    in_scope("http.scope/asgi/type", {"asgi": "3.0"}, asgi(version="3.0")),
    in_scope("http.scope/asgi/version/missing", asgi(spec_version="2.3"), asgi(version="3.0"), "SHOULD"),
    in_scope("http.scope/asgi/version/type", asgi(version=3.0), asgi(version="3.0")),
    in_scope("http.scope/asgi/version/number", asgi(version="three"), asgi(version="2.0")),
    in_scope(
        "http.scope/asgi/spec_version/type",
        asgi(version="3.0", spec_version=2.3),
        asgi(version="3.0", spec_version="2.5"),
    ),
    in_scope("http.scope/http_version/missing", {"http_version": ABSENT}, {"http_version": "1.0"}),
    in_scope("http.scope/http_version/known", {"http_version": "1"}, {"http_version": "1.1"}),
    in_scope("http.scope/method/missing", {"method": ABSENT}, {"method": "PURGE"}),
    in_scope("http.scope/method/type", {"method": b"GET"}, {"method": "GET"}),
    in_scope("http.scope/method/upper-case", {"method": "get"}, {"method": "GET"}),
    in_scope("http.scope/method/token", {"method": "GET /"}, {"method": "M-SEARCH"}),
    in_scope("http.scope/scheme/empty", {"scheme": ""}, {"scheme": ABSENT}),
    in_scope("http.scope/scheme/type", {"scheme": None}, {"scheme": "https"}),
    in_scope("http.scope/path/missing", {"path": ABSENT, "raw_path": None}, {"path": "/é"}),
    in_scope("http.scope/path/type", {"path": b"/", "raw_path": None}, {"path": "/"}),
    in_scope(
        "http.scope/raw_path/agrees",
        {"path": "/new", "raw_path": b"/old"},
        {"path": "/a/b", "raw_path": b"/a%2Fb"},
        "SHOULD",
    ),
    in_scope("http.scope/raw_path/query", {"raw_path": b"/?a=1"}, {"raw_path": b"/"}),
    in_scope("http.scope/raw_path/type", {"raw_path": "/"}, {"raw_path": None}),
    in_scope("http.scope/query_string/missing", {"query_string": ABSENT}, {"query_string": b""}),
    in_scope("http.scope/query_string/type", {"query_string": "a=1"}, {"query_string": b"a=1"}),
    in_scope("http.scope/root_path/type", {"root_path": b""}, {"root_path": ABSENT}),
    in_scope(
        "http.scope/path/root_path",
        {"root_path": "/app", "path": "/apple"},
        {"root_path": "/app", "path": "/app/le"},
        "SHOULD",
    ),
    in_scope("http.scope/headers/missing", {"headers": ABSENT}, {"headers": []}),
    in_scope("http.scope/headers/type", {"headers": None}, {"headers": ((b"host", b"h"),)}),
    in_scope(
        "http.scope/headers/one-shot",
        {"headers": iter([(b"a", b"b")])},
        {"headers": [[b"a", b"b"]]},
        "SHOULD",
    ),
    in_scope("http.scope/headers/pair", headers((b"a",)), headers((b"a", b""))),
    in_scope("http.scope/headers/name/type", headers(("a", b"b")), headers((b"a", b"b"))),
    in_scope("http.scope/headers/value/type", headers((b"a", "b")), headers((b"a", b"b"))),
    in_scope("http.scope/headers/name/lower-case", headers((b"X-A", b"")), headers((H, b"")), "SHOULD"),
    in_scope("http.scope/headers/name/pseudo", headers((b":authority", b"h")), headers((b"h", b"h"))),
    in_scope("http.scope/headers/name/token", headers((b"a b", b"h")), headers((b"a_b", b"h"))),
    in_scope("http.scope/headers/value/splitting", headers((H, b"1\r\nb: 2")), headers((H, b"1"))),
    in_scope(
        "http.scope/headers/content-length/differing",
        headers((b"content-length", b"0"), (b"content-length", b"00")),
        headers((b"content-length", b"0")),
    ),
    in_scope("http.scope/client/pair", {"client": ("h",)}, {"client": ["h", 1]}),
    in_scope("http.scope/client/host/type", {"client": (b"h", 1)}, {"client": None}),
    in_scope("http.scope/client/port/type", {"client": ("h", "1")}, {"client": ("h", 1)}),
    in_scope("http.scope/server/type", {"server": "h:80"}, {"server": ABSENT}),
    in_scope("http.scope/server/port/type", {"server": ("h", "80")}, {"server": ("h", 80)}),
    in_scope(
        "http.scope/server/port/none",
        {"server": ("/s", None), **asgi(version="3.0", spec_version="2.1")},
        {"server": ("/s", None), **asgi(version="3.0", spec_version="2.2")},
    ),
    in_scope("http.scope/state/type", {"state": None}, {"state": {}}),
    in_scope("http.scope/extensions/type", {"extensions": ["tls"]}, {"extensions": ABSENT}),
    in_scope("http.scope/extensions/value", {"extensions": {"x": True}}, {"extensions": {"x": {}}}),
    in_scope(
        "http.scope/extensions/tls/cipher_suite/missing",
        {"extensions": {"tls": {"server_cert": None, "tls_version": 772}}},
        {"extensions": {"tls": {"server_cert": None, "tls_version": 772, "cipher_suite": None}}},
    ),
    in_scope(
        "websocket.scope/http_version/known",
        {"http_version": "1.0"},
        {"http_version": ABSENT},
        kind="websocket",
    ),
    in_scope(
        "websocket.scope/subprotocols/item/type",
        {"subprotocols": [b"a"]},
        {"subprotocols": ("a",)},
        kind="websocket",
    ),
    in_scope(
        "websocket.scope/query_string/type", {"query_string": ""}, {"query_string": None}, kind="websocket"
    ),
    in_scope("lifespan.scope/state/type", {"state": []}, {"state": ABSENT}, kind="lifespan"),
    in_scope("lifespan.scope/state/empty", {"state": {"a": 1}}, {"state": {}}, "SHOULD", "lifespan"),
    in_scope(
        "lifespan.scope/asgi/spec_version/known",
        asgi(version="3.0", spec_version="2.3"),
        asgi(version="3.0"),
        "SHOULD",
        "lifespan",
    ),
]

RECEIVED = [
    in_receive(
        "http/order/after-disconnect",
        [LEFT, request(b"abc")],
        [request(b"abcd"), LEFT],
        READ_TWO,
        **headers((b"content-length", b"4")),
    ),
    in_receive("message/dict", [["http.request"], request()], [request(), LEFT], READ_TWO),
    in_receive("message/type/missing", [{"body": b""}, request()], [request(), LEFT], READ_TWO),
    in_receive("http.request/body/type", [request("x")], [request(b"x")], OK),
    in_receive(
        "http.request/body/exact-type", [request(type("B", (bytes,), {})())], [request()], OK, "SHOULD"
    ),
    in_receive("http.request/more_body/type", [request(b"", 0)], [{"type": "http.request"}], OK),
    in_receive("http.request/after-end", [request(), request()], [request(b"", True), request()], READ_TWO),
    in_receive("http/order/after-disconnect", [LEFT, request()], [request(), LEFT], READ_TWO),
    in_receive(
        "http.request/content-length/short",
        [request(b"abc", True), request(b"")],
        [request(b"abc", True), request(b"d")],
        READ_TWO,
        **headers((b"content-length", b"4")),
    ),
    in_receive(
        "http.request/content-length/exceeded",
        [request(b"abcde")],
        [request(b"abcd")],
        OK,
        **headers((b"content-length", b"4")),
    ),
    in_receive("http/receive/unknown", [{"type": "websocket.connect"}], [request()], OK),
    in_receive("http/receive/unknown", [{"type": "my.event"}], [request()], OK, "SHOULD"),
    in_receive("websocket/order/connect-first", [TEXT], [CONNECT], says(RECEIVE, CLOSE), kind="websocket"),
    in_receive(
        "websocket/order/second-connect",
        [CONNECT, CONNECT],
        [CONNECT, TEXT],
        READ_ONE_FRAME,
        kind="websocket",
    ),
    in_receive(
        "websocket/order/receive-before-accept",
        [CONNECT, TEXT],
        [CONNECT, GONE],
        says(RECEIVE, RECEIVE, CLOSE),
        kind="websocket",
    ),
    in_receive(
        "websocket/order/after-disconnect",
        [CONNECT, GONE, TEXT],
        [CONNECT, TEXT, GONE],
        says(RECEIVE, ACCEPT, RECEIVE, RECEIVE),
        kind="websocket",
    ),
    in_receive(
        "websocket.receive/exactly-one",
        [CONNECT, {**TEXT, "bytes": b""}],
        [CONNECT, {**TEXT, "bytes": None}],
        READ_ONE_FRAME,
        kind="websocket",
    ),
    in_receive(
        "websocket.receive/text/type",
        [CONNECT, {"type": "websocket.receive", "text": b"x"}],
        [CONNECT, {"type": "websocket.receive", "text": ""}],
        READ_ONE_FRAME,
        kind="websocket",
    ),
    in_receive(
        "websocket.disconnect/code/type",
        [CONNECT, {**GONE, "code": None}],
        [CONNECT, {**GONE, "code": 1005, "reason": None}],
        READ_ONE_FRAME,
        kind="websocket",
    ),
    in_receive(
        "websocket.disconnect/code/missing",
        [CONNECT, {"type": "websocket.disconnect"}],
        [CONNECT, GONE],
        READ_ONE_FRAME,
        kind="websocket",
    ),
    in_receive(
        "lifespan/order/second-startup",
        [STARTUP, STARTUP],
        [STARTUP, SHUTDOWN],
        says(RECEIVE, STARTED, RECEIVE, Refusal()),
        kind="lifespan",
    ),
    in_receive(
        "lifespan/order/early-shutdown",
        [SHUTDOWN],
        [STARTUP],
        says(RECEIVE, Refusal()),
        kind="lifespan",
    ),
    in_receive(
        "lifespan/order/second-shutdown",
        [STARTUP, SHUTDOWN, SHUTDOWN],
        [STARTUP, SHUTDOWN, Refusal()],
        says(RECEIVE, STARTED, RECEIVE, RECEIVE, STOPPED),
        kind="lifespan",
    ),
]

FILE = {"type": "http.response.pathsend", "path": os.path.abspath("x")}
HINT = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
PUSH = {"type": "http.response.push", "path": "/a", "headers": []}
DEBUG = {"type": "http.response.debug", "info": {}}
COPY = {"type": "http.response.zerocopysend"}


def response(*steps: Any) -> Any:
    return says(RECEIVE, *steps)


def accepted(*steps: Any) -> Any:
    return says(RECEIVE, ACCEPT, *steps)


def status(code: Any) -> Any:
    return response(start(code), body())


def with_header(*pairs: Any, content: bytes = b"") -> Any:
    return response(start(200, *pairs), body(content))


SENT = [
    in_app(
        "http.response.debug/info/missing",
        response({"type": "http.response.debug"}, start(), body()),
        response(DEBUG, start(), body()),
        **offers("http.response.debug"),
    ),
    *(
        in_app(
            "websocket.close/code/registered",
            accepted({**CLOSE, "code": wrong}),
            accepted({**CLOSE, "code": right}),
            "SHOULD",
            kind="websocket",
        )
        for wrong, right in ((1004, 1003), (1016, 1014), (2999, 3000))
    ),
    in_app("message/dict", response(start(), [("type", "x")], body()), response(start(), body())),
    in_app("message/type/type", response(start(), {"type": b"x"}, body()), response(start(), body())),
    in_app("http/send/unknown", response(start(), CLOSE, body()), response(start(), body())),
    in_app("http/send/unknown", response(start(), {"type": "http.x"}, body()), response(start(), body())),
    in_app(
        "http.response.start/status/missing", response({"type": "http.response.start"}, body()), status(200)
    ),
    in_app("http.response.start/status/type", status("200"), status(200)),
    in_app("http.response.start/status/type", status(True), status(200)),
    in_app("http.response.start/status/range", status(600), status(599)),
    in_app("http.response.start/status/range", status(99), status(418)),
    in_app("http.response.start/status/final", status(101), status(200), "SHOULD"),
    in_app(
        "http.response.start/headers/type",
        response({**start(), "headers": None}, body()),
        response({"type": "http.response.start", "status": 200}, body()),
    ),
    in_app("http.response.start/headers/pair", with_header((H, b"1", b"2")), with_header((H, b"1"))),
    in_app("http.response.start/headers/pair", with_header(b"ab"), with_header([b"a", b"b"])),
    in_app("http.response.start/headers/name/type", with_header(("x-a", b"1")), with_header((H, b"1"))),
    in_app("http.response.start/headers/value/type", with_header((H, "1")), with_header((H, b"1"))),
    in_app("http.response.start/headers/value/type", with_header((H, bytearray())), with_header((H, b""))),
    in_app(
        "http.response.start/headers/one-shot",
        response({**start(), "headers": iter([(H, b"1")])}, body()),
        with_header((H, b"1")),
        "SHOULD",
    ),
    in_app(
        "http.response.start/headers/name/lower-case", with_header((b"X-A", b"1")), with_header((H, b"1"))
    ),
    in_app(
        "http.response.start/headers/name/pseudo", with_header((b":status", b"1")), with_header((H, b"1"))
    ),
    in_app(
        "http.response.start/headers/name/token", with_header((b"x a", b"1")), with_header((b"x!a", b"1"))
    ),
    in_app("http.response.start/headers/name/token", with_header((b"", b"1")), with_header((H, b"1"))),
    in_app(
        "http.response.start/headers/value/splitting", with_header((H, b"a\r\nb")), with_header((H, b"a\tb"))
    ),
    in_app(
        "http.response.start/headers/value/splitting", with_header((H, b"a\0")), with_header((H, b"\xe9"))
    ),
    in_app(
        "http.response.start/headers/value/control",
        with_header((H, b"a\x1b")),
        with_header((H, b"a")),
        "SHOULD",
    ),
    in_app(
        "http.response.start/headers/value/white-space",
        with_header((H, b" a")),
        with_header((H, b"a b")),
        "SHOULD",
    ),
    in_app(
        "http.response.start/headers/connection-specific",
        with_header((b"connection", b"close")),
        with_header((H, b"close")),
        "SHOULD",
    ),
    in_app(
        "http.response.start/headers/connection-specific",
        with_header((b"keep-alive", b"1")),
        with_header((H, b"1")),
        http_version="2",
    ),
    in_app(
        "http.response.start/headers/connection-specific",
        with_header((b"transfer-encoding", b"chunked")),
        with_header((H, b"chunked")),
        "SHOULD",
        http_version="2",
    ),
    in_app(
        "http.response.start/headers/content-length/digits",
        with_header((b"content-length", b"+2"), content=b"ab"),
        with_header((b"content-length", b"2"), content=b"ab"),
    ),
    in_app(
        "http.response.start/headers/content-length/differing",
        with_header((b"content-length", b"2"), (b"content-length", b"3"), content=b"ab"),
        with_header((b"content-length", b"2"), content=b"ab"),
    ),
    in_app(
        "http.response.start/headers/content-length/repeated",
        with_header((b"content-length", b"2"), (b"content-length", b"2"), content=b"ab"),
        with_header((b"content-length", b"2"), content=b"ab"),
        "SHOULD",
    ),
    in_app(
        "http.response.start/headers/content-length/no-content",
        response(start(204, (b"content-length", b"0")), body()),
        response(start(304, (b"content-length", b"5")), body()),
        "SHOULD",
    ),
    in_app("http.response.start/trailers/type", response(start(200, trailers=0), body()), status(200)),
    in_app(
        "http.response.start/trailers/offered", response(start(trailers=True), body()), status(200), "SHOULD"
    ),
    in_app("http.response.body/body/type", response(start(), body("text")), response(start(), body(b"text"))),
    in_app(
        "http.response.body/body/type",
        response(start(), body(None)),
        response(start(), {"type": "http.response.body"}),
    ),
    in_app(
        "http.response.body/body/type", response(start(), body(memoryview(b""))), response(start(), body(b""))
    ),
    in_app(
        "http.response.body/more_body/type", response(start(), body(b"", None)), response(start(), body())
    ),
    in_app(
        "http.response.body/content-length/exceeded",
        with_header((b"content-length", b"1"), content=b"ab"),
        with_header((b"content-length", b"2"), content=b"ab"),
    ),
    in_app(
        "http.response.body/content-length/short",
        with_header((b"content-length", b"3"), content=b"ab"),
        with_header((b"content-length", b"2"), content=b"ab"),
    ),
    in_app(
        "http.response.body/head",
        with_header(content=b"ab"),
        with_header((b"content-length", b"2")),
        "SHOULD",
        method="HEAD",
    ),
    in_app("http.response.body/no-content", response(start(204), body(b"x")), response(start(204), body())),
    in_app("http.response.body/no-content", response(start(304), body(b"x")), response(start(205), body())),
    in_app(
        "http/order/before-start",
        response(body(b"", True), start(), body()),
        response(start(), body(b"", True), body()),
    ),
    in_app("http/order/second-start", response(start(), start(), body()), status(200)),
    in_app("http/order/second-start", response(start(), body(b"a", True), start(), body()), status(200)),
    in_app(
        "http/order/after-end",
        response(start(), body(), body()),
        response(start(), body(b"", True), body()),
        "SHOULD",
    ),
    in_app("http/order/after-end", response(start(), body(), start()), status(200), "SHOULD"),
    in_app("http/order/no-response", says(RECEIVE), OK),
    in_app("http/order/incomplete", response(start()), OK),
    in_app(
        "http/order/incomplete",
        response(start(), body(b"a", True)),
        response(start(), body(b"a", True), RECEIVE),
        script=[request(), LEFT],
    ),
    in_app("http.response.early_hint/offered", response(HINT, start(), body()), status(200)),
    in_app(
        "http.response.early_hint/links/item/type",
        response({**HINT, "links": ["x"]}, start(), body()),
        response(HINT, start(), body()),
        **offers("http.response.early_hint"),
    ),
    in_app(
        "http.response.early_hint/links/splitting",
        response({**HINT, "links": [b"a\r\n"]}, start(), body()),
        response(start(), HINT, body()),
        **offers("http.response.early_hint"),
    ),
    in_app(
        "http.response.push/path/type",
        response(start(), {**PUSH, "path": b"/"}, body()),
        response(start(), PUSH, body()),
        **offers("http.response.push"),
    ),
    in_app(
        "http.response.push/headers/missing",
        response(start(), {"type": PUSH["type"], "path": "/"}, body()),
        response(start(), PUSH, body()),
        **offers("http.response.push"),
    ),
    in_app(
        "http/order/before-start",
        response(PUSH, start(), body()),
        response(start(), PUSH, body()),
        **offers("http.response.push"),
    ),
    in_app(
        "http.response.pathsend/path/absolute",
        response(start(), {**FILE, "path": "x"}),
        response(start(), FILE),
        **offers("http.response.pathsend"),
    ),
    in_app(
        "http/order/pathsend",
        response(start(), body(b"a", True), FILE, body()),
        response(start(), FILE),
        **offers("http.response.pathsend"),
    ),
    in_app("http.response.pathsend/offered", response(start(), FILE, body()), response(start(), body())),
    in_app(
        "http.response.zerocopysend/file/descriptor",
        response(start(), {**COPY, "file": object()}),
        response(start(), body()),
        **offers("http.response.zerocopysend"),
    ),
    in_app(
        "http/order/debug",
        response(start(), DEBUG, body()),
        response(DEBUG, start(), body()),
        **offers("http.response.debug"),
    ),
    in_app(
        "http/order/debug",
        response(DEBUG, DEBUG, start(), body()),
        response(DEBUG, start(), body()),
        **offers("http.response.debug"),
    ),
    in_app(
        "http.response.trailers/offered", response(start(), body(), trailers()), response(start(), body())
    ),
    in_app(
        "http/order/unannounced-trailers",
        response(start(), body(b"", True), trailers(), body()),
        status(200),
        **offers("http.response.trailers"),
    ),
    in_app(
        "http/order/early-trailers",
        response(start(trailers=True), trailers(), body(), trailers()),
        response(start(trailers=True), body(), trailers()),
        **offers("http.response.trailers"),
    ),
    in_app(
        "http/order/missing-trailers",
        response(start(trailers=True), body()),
        response(start(trailers=True), body(), trailers(more_trailers=True), trailers()),
        **offers("http.response.trailers"),
    ),
    in_app(
        "http/order/after-last-body",
        response(start(trailers=True), body(), body(), trailers()),
        response(start(trailers=True), body(), trailers()),
        **offers("http.response.trailers"),
    ),
    in_app(
        "http.response.trailers/headers/name/trailer",
        response(start(trailers=True), body(), trailers((b"content-length", b"0"))),
        response(start(trailers=True), body(), trailers((H, b"0"))),
        **offers("http.response.trailers"),
    ),
    in_app(
        "websocket.accept/subprotocol/type",
        says(RECEIVE, {**ACCEPT, "subprotocol": b"a"}, CLOSE),
        says(RECEIVE, {**ACCEPT, "subprotocol": None}, CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.accept/subprotocol/offered",
        says(RECEIVE, {**ACCEPT, "subprotocol": "b"}, CLOSE),
        says(RECEIVE, {**ACCEPT, "subprotocol": "a"}, CLOSE),
        kind="websocket",
        subprotocols=["a"],
    ),
    in_app(
        "websocket.accept/headers/spec-version",
        says(RECEIVE, {**ACCEPT, "headers": [(H, b"")]}, CLOSE),
        says(RECEIVE, {**ACCEPT, "headers": []}, CLOSE),
        kind="websocket",
        **asgi(version="3.0"),
    ),
    in_app(
        "websocket.accept/headers/subprotocol",
        says(RECEIVE, {**ACCEPT, "headers": [(b"sec-websocket-protocol", b"a")]}, CLOSE),
        says(RECEIVE, {**ACCEPT, "headers": [(H, b"a")]}, CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.accept/headers/handshake",
        says(RECEIVE, {**ACCEPT, "headers": [(b"upgrade", b"a")]}, CLOSE),
        says(RECEIVE, {**ACCEPT, "headers": [(H, b"a")]}, CLOSE),
        "SHOULD",
        kind="websocket",
    ),
    in_app(
        "websocket.accept/headers/name/lower-case",
        says(RECEIVE, {**ACCEPT, "headers": [(b"X-A", b"a")]}, CLOSE),
        says(RECEIVE, {**ACCEPT, "headers": [(H, b"a")]}, CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.send/exactly-one",
        accepted(frame(), CLOSE),
        accepted(frame(text=""), CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.send/exactly-one",
        accepted(frame(text="", bytes=b""), CLOSE),
        accepted(frame(text=None, bytes=b""), CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.send/text/type",
        accepted(frame(text=b"a"), CLOSE),
        accepted(frame(text="a"), CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.send/bytes/type",
        accepted(frame(bytes="a"), CLOSE),
        accepted(frame(bytes=b"a"), CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.close/code/type",
        accepted({**CLOSE, "code": "1000"}),
        accepted({**CLOSE, "code": 3000}),
        kind="websocket",
    ),
    in_app(
        "websocket.close/code/reserved",
        accepted({**CLOSE, "code": 1006}),
        says(RECEIVE, {**CLOSE, "code": 1006}),
        kind="websocket",
    ),
    in_app(
        "websocket.close/code/range",
        accepted({**CLOSE, "code": 5000}),
        accepted({**CLOSE, "code": 4999}),
        kind="websocket",
    ),
    in_app(
        "websocket.close/code/registered",
        accepted({**CLOSE, "code": 2000}),
        accepted({**CLOSE, "code": 1014}),
        "SHOULD",
        kind="websocket",
    ),
    in_app(
        "websocket.close/reason/type",
        accepted({**CLOSE, "reason": b""}),
        accepted({**CLOSE, "reason": None}),
        kind="websocket",
    ),
    in_app(
        "websocket.close/reason/length",
        accepted({**CLOSE, "reason": "é" * 62}),
        accepted({**CLOSE, "reason": "e" * 123}),
        "SHOULD",
        kind="websocket",
    ),
    in_app(
        "websocket.close/reason/spec-version",
        accepted({**CLOSE, "reason": "a"}),
        accepted({**CLOSE, "reason": ""}),
        "SHOULD",
        kind="websocket",
        **asgi(version="3.0", spec_version="2.2"),
    ),
    in_app(
        "websocket/order/before-connect",
        says(ACCEPT, RECEIVE, CLOSE),
        accepted(CLOSE),
        "SHOULD",
        kind="websocket",
    ),
    in_app("websocket/order/second-accept", accepted(ACCEPT, CLOSE), accepted(CLOSE), kind="websocket"),
    in_app(
        "websocket/order/send-before-accept",
        says(RECEIVE, frame(text=""), ACCEPT, CLOSE),
        accepted(frame(text=""), CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket/order/after-close",
        accepted(CLOSE, frame(text="")),
        accepted(frame(text=""), CLOSE),
        "SHOULD",
        kind="websocket",
    ),
    in_app(
        "websocket/order/after-close",
        says(RECEIVE, CLOSE, ACCEPT),
        accepted(CLOSE),
        "SHOULD",
        kind="websocket",
    ),
    in_app("websocket/order/unanswered", says(RECEIVE), says(RECEIVE, ACCEPT), kind="websocket"),
    in_app(
        "websocket.http.response.start/offered",
        says(RECEIVE, denial("start", status=401), CLOSE),
        says(RECEIVE, CLOSE),
        kind="websocket",
    ),
    in_app(
        "websocket.http.response.start/status/type",
        says(RECEIVE, denial("start", status="401"), denial("body")),
        says(RECEIVE, denial("start", status=401), denial("body")),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "websocket/order/before-start",
        says(RECEIVE, denial("body"), CLOSE),
        says(RECEIVE, CLOSE),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "websocket/order/second-start",
        says(RECEIVE, denial("start", status=401), denial("start", status=401), denial("body")),
        says(RECEIVE, denial("start", status=401), denial("body")),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "websocket/order/denial-after-accept",
        accepted(denial("start", status=401), CLOSE),
        accepted(CLOSE),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "websocket/order/after-denial",
        says(RECEIVE, denial("start", status=401), CLOSE, denial("body")),
        says(RECEIVE, denial("start", status=401), denial("body")),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "websocket/order/incomplete-denial",
        says(RECEIVE, denial("start", status=401)),
        says(RECEIVE, denial("start", status=401), denial("body")),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "websocket.http.response.body/content-length",
        says(
            RECEIVE,
            denial("start", status=401, headers=[(b"content-length", b"2")]),
            denial("body", body=b"x"),
        ),
        says(
            RECEIVE,
            denial("start", status=401, headers=[(b"content-length", b"1")]),
            denial("body", body=b"x"),
        ),
        kind="websocket",
        **offers("websocket.http.response"),
    ),
    in_app(
        "lifespan.startup.failed/message/type",
        says(RECEIVE, {"type": "lifespan.startup.failed", "message": b""}),
        says(RECEIVE, {"type": "lifespan.startup.failed", "message": ""}),
        kind="lifespan",
    ),
    in_app(
        "lifespan/order/startup-answer",
        says(RECEIVE, STARTED, STARTED, RECEIVE, STOPPED),
        says(RECEIVE, STARTED, RECEIVE, STOPPED),
        kind="lifespan",
    ),
    in_app(
        "lifespan/order/shutdown-answer",
        says(RECEIVE, STARTED, STOPPED, RECEIVE, STOPPED),
        says(RECEIVE, STARTED, RECEIVE, STOPPED),
        kind="lifespan",
    ),
    in_app(
        "lifespan/order/before-startup",
        says(STARTED, RECEIVE, RECEIVE, STOPPED),
        says(RECEIVE, STARTED, RECEIVE, STOPPED),
        "SHOULD",
        kind="lifespan",
    ),
    in_app(
        "lifespan/order/unanswered",
        says(RECEIVE),
        says(RECEIVE, Refusal()),
        "SHOULD",
        kind="lifespan",
    ),
    in_app(
        "lifespan/order/early-return",
        says(RECEIVE, STARTED),
        says(RECEIVE, {"type": "lifespan.startup.failed"}),
        "SHOULD",
        kind="lifespan",
    ),
    in_app(
        "lifespan/order/shutdown-unanswered",
        says(RECEIVE, STARTED, RECEIVE),
        says(RECEIVE, STARTED, RECEIVE, {"type": "lifespan.shutdown.failed"}),
        kind="lifespan",
    ),
]

PLANTED = [*SCOPES, *RECEIVED, *SENT]
EVERY_PLANTED = pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.rule)


def test_there_are_many() -> None:
    """Rules with both of their sides; the tests of behaviour in `test_asgi.py` come on top."""
    assert len({(each.rule, each.side) for each in PLANTED}) > 120


@EVERY_PLANTED
def test_a_planted_violation_is_reported_once_with_its_side(planted: Planted) -> None:
    app, server = planted.bad()
    found = call(app, server)
    assert [(each.rule, each.side, each.level) for each in found] == [
        (planted.rule, planted.side, planted.level)
    ], [str(each) for each in found]
    [violation] = found
    assert violation.clause
    assert violation.expected
    assert violation.came
    assert violation.where


@EVERY_PLANTED
def test_its_right_twin_is_clean(planted: Planted) -> None:
    app, server = planted.good()
    assert [str(each) for each in call(app, server)] == []


@EVERY_PLANTED
def test_it_is_raised_if_asked_for(planted: Planted) -> None:
    app, server = planted.bad()
    with pytest.raises(ProtocolViolation) as caught:
        call(app, server, on_violation="raise")
    assert caught.value.violation.rule == planted.rule  # type: ignore[attr-defined]


@EVERY_PLANTED
def test_it_is_not_reported_if_ignored(planted: Planted) -> None:
    app, server = planted.bad()
    assert call(app, server, ignore=(planted.rule,)) == []
