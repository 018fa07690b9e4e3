"""What the adapters answer by themselves: 400, 413, 500 and 503, and no to WebSockets."""

from __future__ import annotations

from typing import Any

import pytest
from support.drive import Exchange, serve
from support.scopes import ABSENT, http_scope
from support.wsgi_apps import Adapt, Environs
from support.wsgi_drive import drive

from bridge.adapters.refusals import answer_wsgi, refuse, refuse_websocket
from bridge.exceptions import BadRequest, BodyTooLarge, PoolClosed, PoolFull, QueueTimeout

CONNECT = {"type": "websocket.connect"}


def websocket_scope(**overrides: Any) -> dict[str, Any]:
    """The scope of a WebSocket handshake."""
    scope = http_scope(type="websocket", scheme="ws", subprotocols=[], method=ABSENT)
    return {**scope, **overrides}


def refusing(error: Any, *, head: bool = False, **options: Any) -> Exchange:
    """The exchange of an app that answers for `error`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await refuse(send, error, head=head)

    return serve(app, **options).unwrap()


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (BadRequest("secret"), 400, b"400 Bad Request\n"),
        (BodyTooLarge("secret"), 413, b"413 Request Entity Too Large\n"),
        (PoolFull("secret"), 503, b"503 Service Unavailable\n"),
        (QueueTimeout("secret"), 503, b"503 Service Unavailable\n"),
        (PoolClosed("secret"), 503, b"503 Service Unavailable\n"),
    ],
)
@pytest.mark.req("H-06")
def test_a_refusal_names_the_status_and_nothing_else(error: Any, status: int, text: bytes, loop: str) -> None:
    done = refusing(error, loop=loop)
    assert done.status == status
    assert done.body.split()[0] == text.split()[0]
    assert b"secret" not in done.body
    assert done.header(b"content-type") == b"text/plain; charset=utf-8"
    assert done.header(b"content-length") == b"%d" % len(done.body)
    assert done.complete


@pytest.mark.parametrize("error", [PoolFull(), QueueTimeout(), PoolClosed()])
def test_503_says_when_to_come_back(error: Any) -> None:
    assert int(refusing(error).header(b"retry-after") or b"0") >= 1


@pytest.mark.parametrize("error", [BadRequest(), BodyTooLarge()])
def test_other_refusals_do_not(error: Any) -> None:
    """Coming back would not help."""
    assert refusing(error).header(b"retry-after") is None


@pytest.mark.req("W-22")
def test_a_refusal_of_head_keeps_its_length_and_has_no_body() -> None:
    done = refusing(BadRequest(), head=True)
    assert done.body == b""
    assert done.header(b"content-length") == b"%d" % len(refusing(BadRequest()).body)


@pytest.mark.req("W-25")
@pytest.mark.parametrize("number", [1, 2])
def test_a_client_that_is_gone_is_no_error(loop: str, number: int) -> None:
    refusing(BadRequest(), fail_send={number: OSError("gone")}, loop=loop)


# -- through the adapter

EVIL = b"</script><script>evil"


@pytest.mark.req("E-34", "H-06")
@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"a"), (b"host", b"a")],
        [(b"content-type", b"a/b"), (b"Content-Type", b"a/b")],
        [(b"content-length", b"3"), (b"content-length", b"4")],
        [(b"content-length", b"+3")],
        [(b"content-length", b"1_0")],
        [(b"content-length", b"3, 3")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"")],
        [(b"content-length", b"\xb2")],
        [(b"content-length", b"9" * 5000)],
        [(b"x-a", b"1\r\nX-Inj: 1")],
    ],
    ids=repr,
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_an_ambiguous_request_gets_400_and_the_app_is_not_called(
    adapt: Adapt, headers: Any, method: str
) -> None:
    app = Environs()
    adapter = adapt(app)
    scope = http_scope(method=method, headers=[(b"x-evil", EVIL), *headers], path=f"/{EVIL.decode()}")
    done = serve(adapter, scope).unwrap()
    assert (done.status, done.complete) == (400, True)
    assert b"evil" not in done.body
    assert (done.body == b"") is (method == "HEAD")
    assert done.receives == 0
    assert app.seen == []
    assert adapter.pool.stats().started == 0


@pytest.mark.req("E-34")
def test_equal_lengths_collapse_to_one(adapt: Adapt) -> None:
    app = Environs()
    headers = [(b"content-length", b"0"), (b"Content-Length", b"0")]
    assert serve(adapt(app), http_scope(headers=headers)).unwrap().status == 200
    assert app.seen[0]["CONTENT_LENGTH"] == "0"


# -- WebSockets


@pytest.mark.req("WS-28")
def test_a_handshake_is_closed_at_once(adapt: Adapt, loop: str) -> None:
    """After `websocket.connect`, without a thread; the server makes a 403 of it."""
    app = Environs()
    adapter = adapt(app)
    done = serve(adapter, websocket_scope(), [CONNECT], loop=loop).unwrap()
    assert [message["type"] for message in done.sent] == ["websocket.close"]
    assert done.receives == 1
    assert done.log == ["receive", "websocket.close"]
    assert app.seen == []
    assert adapter.pool.stats().started == 0


@pytest.mark.req("WS-28")
def test_a_handshake_is_denied_where_the_server_lets_us(adapt: Adapt, loop: str) -> None:
    scope = websocket_scope(extensions={"websocket.http.response": {}})
    done = serve(adapt(Environs()), scope, [CONNECT], loop=loop).unwrap()
    start, body = done.sent
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 403
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert body["type"] == "websocket.http.response.body"
    assert body["more_body"] is False


@pytest.mark.req("WS-28")
@pytest.mark.parametrize("extensions", [None, ABSENT, {}, {"tls": {}}])
def test_extensions_may_be_missing(adapt: Adapt, extensions: Any) -> None:
    scope = {
        key: value for key, value in websocket_scope(extensions=extensions).items() if value is not ABSENT
    }
    done = serve(adapt(Environs()), scope, [CONNECT]).unwrap()
    assert [message["type"] for message in done.sent] == ["websocket.close"]


@pytest.mark.req("WS-28")
def test_a_client_that_left_before_the_handshake_gets_nothing(loop: str) -> None:
    done = serve(refuse_websocket, websocket_scope(), [{"type": "websocket.disconnect"}], loop=loop).unwrap()
    assert done.sent == []


@pytest.mark.req("WS-28")
@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
@pytest.mark.parametrize("failure", [{"fail_receive": {1: OSError()}}, {"fail_send": {1: OSError()}}])
def test_a_client_that_leaves_during_the_handshake_is_no_error(
    loop: str, extensions: Any, failure: dict[str, Any]
) -> None:
    serve(refuse_websocket, websocket_scope(extensions=extensions), [CONNECT], loop=loop, **failure).unwrap()


# -- under a WSGI server


def start_response(status: str, headers: Any, exc_info: Any = None, /) -> Any:
    """A server's that takes everything."""


def answering(code: int) -> Any:
    """A WSGI app that answers with this status."""

    def app(environ: Any, start_response: Any) -> Any:
        return answer_wsgi(environ, start_response, code)

    return app


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (400, "Bad Request"),
        (413, "Request Entity Too Large"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ],
)
@pytest.mark.req("A-25", "H-06")
def test_an_answer_names_the_status_and_nothing_else(code: int, reason: str) -> None:
    answer = drive(answering(code), path=f"/{EVIL.decode()}?token=secret", headers=[("X-Evil", "evil")])
    assert answer.unwrap().status == code
    assert answer.body == b"%d %s\n" % (code, answer.reason.encode())
    assert answer.headers == [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(answer.body))),
    ]
    # Newer Pythons name 413 anew.
    assert answer.reason in (reason, "Content Too Large")


@pytest.mark.req("A-20")
def test_an_answer_to_head_keeps_its_length_and_has_no_body() -> None:
    answer = drive(answering(500), method="HEAD").unwrap()
    assert answer.body == b""
    assert answer.header("content-length") == str(len(drive(answering(500)).body))


@pytest.mark.req("A-28")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_is_an_iterator_with_close(method: str) -> None:
    """granian calls `close()` without looking whether there is one."""
    body = answer_wsgi({"REQUEST_METHOD": method}, start_response, 500)
    assert iter(body) is body
    assert not hasattr(body, "__len__")
    body.close()
    pieces = list(body)
    assert len(pieces) == (method == "GET")
    body.close()
    assert list(body) == []


@pytest.mark.req("A-25")
def test_an_answer_to_a_request_without_method() -> None:
    """An environ that is no better must not make it worse."""
    body = answer_wsgi({}, start_response, 400)
    assert list(body) == [b"400 Bad Request\n"]
