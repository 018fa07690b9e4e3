"""The WSGI server in process: `start_response`, `write`, `close`, streaming, lengths, errors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from support.wsgi_apps import answer, echo, returning

from bridge.exceptions import ApplicationError, ClientDisconnected, IncompleteResponse, InvalidHeader
from bridge.testing import Client
from bridge.testing.transports.wsgi import WSGITransport


class Boom(Exception):
    """What the apps of these tests raise."""


def send(
    app: Any, method: str = "GET", path: str = "/", *, raises: bool = True, **options: Any
) -> httpx2.Response:
    """A response that has begun; its body is still to be read."""
    request = httpx2.Request(method, f"http://testserver{path}", **options)
    response = WSGITransport(app, raise_app_exceptions=raises).handle_request(request)
    response.request = request
    return response


class Body:
    """An iterable that tells what is done to it.

    Args:
        items: pieces, or functions that are called in their place.
    """

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)
        self.taken = 0
        self.closed: list[threading.Thread] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        item = next(self._items)
        self.taken += 1
        return item() if callable(item) else item  # type: ignore[no-any-return]

    def close(self) -> None:
        self.closed.append(threading.current_thread())


def boom() -> bytes:
    raise Boom("within the body")


# -- status and headers


def test_status_reason_and_headers_are_as_the_app_gave_them() -> None:
    headers = [("X-Kept", "As It Is"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Latin", "\xe9")]
    response = send(answer(b"body", status="418 Short & Stout", headers=headers))
    assert (response.status_code, response.reason_phrase) == (418, "Short & Stout")
    assert response.headers.raw == [(name.encode(), value.encode("latin-1")) for name, value in headers]
    assert response.read() == b"body"


@pytest.mark.parametrize(
    ("status", "headers", "error", "words"),
    [
        ("200", [("X", "1")], None, ""),
        ("20 OK", [], InvalidHeader, "three digits"),
        (200, [], InvalidHeader, "status as str"),
        ("100 Continue", [], InvalidHeader, "from 200 to 599"),
        ("200 a\r\nb", [], InvalidHeader, "control"),
        ("200 OK", (("X", "1"),), InvalidHeader, "as a list"),
        ("200 OK", [["X", "1"]], InvalidHeader, "tuple of name and value"),
        ("200 OK", [("X", 1)], InvalidHeader, "as str"),
        ("200 OK", [("a b", "1")], InvalidHeader, "no header name"),
        ("200 OK", [("X", "a\r\nb")], InvalidHeader, "CR, LF or NUL"),
        ("200 OK", [("X", "\u20ac")], InvalidHeader, "beyond"),
        ("200 OK", [("Content-Length", "x")], InvalidHeader, "no number"),
        ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")], InvalidHeader, "differ"),
    ],
)
def test_what_start_response_refuses(
    status: Any, headers: Any, error: type[Exception] | None, words: str
) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, headers)
        return [b""]

    if error is None:
        assert send(app).status_code == 200
    else:
        with pytest.raises(error, match=words):
            send(app)


def test_no_start_response_is_a_clear_error() -> None:
    for app in (lambda environ, start_response: [], lambda environ, start_response: [b"body"]):
        with pytest.raises(IncompleteResponse, match=r"start_response\(\)"):
            send(app)
        assert send(app, raises=False).status_code == 500


def test_a_second_start_response_needs_exc_info() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("200 OK", [])
        return []

    with pytest.raises(ApplicationError, match="a second time"):
        send(app)


def test_exc_info_replaces_a_response_that_has_not_gone_out() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [("Content-Length", "1"), ("X", "old")])
        try:
            raise Boom
        except Boom:
            start_response("500 Oops", [("X", "new")], sys.exc_info())
        return [b"sorry"]

    response = send(app)
    assert (response.status_code, response.headers.raw, response.read()) == (500, [(b"X", b"new")], b"sorry")


def test_an_error_after_write_comes_behind_what_was_written() -> None:
    """On a server it is on the wire by then, so the response breaks off and is no 500."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"written")
        raise LookupError("planned")

    with Client(app) as client:
        response = client.exchange("/")
        assert (response.status, response.chunks) == (200, (b"written",))
        assert isinstance(response.error, LookupError)
    with Client(app, raise_app_exceptions=False) as client:
        assert isinstance(client.exchange("/").error, httpx2.RemoteProtocolError)


@pytest.mark.parametrize("by", ["write", "iteration"])
def test_exc_info_raises_when_the_response_has_gone_out(by: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        if by == "write":
            write(b"out")
        else:
            yield b"out"
        try:
            raise Boom
        except Boom:
            start_response("500 Oops", [], sys.exc_info())
        yield b"never"

    with pytest.raises(Boom):
        send(app).read()


def test_start_response_may_come_with_the_first_piece() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("201 Created", [])
        yield b""
        yield b"later"

    response = send(app)
    assert (response.status_code, response.read()) == (201, b"later")


# -- bodies


def test_what_is_written_comes_before_what_is_returned_and_in_order() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"1")

        def rest() -> Iterator[bytes]:
            write(b"2")
            yield b"3"
            write(b"4")

        return rest()

    assert list(send(app).iter_raw()) == [b"1", b"2", b"3", b"4"]


def test_an_endless_response_gives_its_pieces_one_by_one_and_is_closed_early() -> None:
    body = Body(*[b"data: %d\n\n" % number for number in range(100)])
    response = send(returning(lambda environ: body))
    assert body.taken == 1
    pieces = response.iter_raw()
    assert next(pieces) == b"data: 0\n\n"
    assert next(pieces) == b"data: 1\n\n"
    assert (body.taken, body.closed) == (2, [])
    response.close()
    assert body.closed == [threading.current_thread()]


@pytest.mark.parametrize("read", ["whole", "closed", "dropped"])
def test_close_is_called_once_in_the_calling_thread(read: str) -> None:
    body = Body(b"a", b"b")
    response = send(returning(lambda environ: body))
    if read == "whole":
        assert response.read() == b"ab"
    if read != "dropped":
        response.close()
        response.close()
    del response
    assert body.closed == [threading.current_thread()]


@pytest.mark.parametrize("where", ["before", "first", "second"])
def test_close_is_called_once_after_an_error(where: str) -> None:
    items: dict[str, list[Any]] = {"before": [b"a"], "first": [boom], "second": [b"a", boom]}
    body = Body(*items[where])

    def app(environ: Any, start_response: Any) -> Any:
        start_response("20 OK" if where == "before" else "200 OK", [])
        return body

    with pytest.raises((Boom, InvalidHeader)):
        send(app).read()
    assert len(body.closed) == (where != "before")


def test_what_close_raises_is_raised_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Closing(Body):
        def close(self) -> None:
            raise Boom("close")

    app = returning(lambda environ: Closing(b"a"))
    response = send(app)
    with pytest.raises(Boom):
        response.read()
    assert send(app, raises=False).read() == b"a"
    assert "close() of the app's response raised" in caplog.text


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
def test_some_responses_have_no_body(method: str, status: str) -> None:
    body = Body(b"not to be seen", boom)
    response = send(
        returning(lambda environ: body, status=status, headers=[("Content-Length", "99")]), method
    )
    assert response.read() == b""
    assert response.headers["Content-Length"] == "99"
    assert len(body.closed) == 1


def test_a_body_that_is_too_short_is_broken() -> None:
    response = send(answer(b"abc", headers=[("Content-Length", "5")]))
    with pytest.raises(httpx2.RemoteProtocolError, match="2 bytes fewer"):
        response.read()


def test_a_body_that_is_too_long_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    assert send(answer(b"abc", b"def", headers=[("Content-Length", "4")])).read() == b"abcd"
    assert "more bytes than its Content-Length" in caplog.text


@pytest.mark.parametrize("result", [None, "text", ["text"], [1], 5], ids=str)
def test_a_result_that_is_no_iterable_of_bytes_is_refused(result: Any) -> None:
    with pytest.raises((ApplicationError, TypeError)):
        send(returning(lambda environ: result))


# -- request bodies


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", [b"a", b"", b"bc"]],
    ids=["none", "bytes", "pieces"],
)
def test_request_bodies(content: Any) -> None:
    whole = content if isinstance(content, bytes) else b"".join(content)
    assert send(echo, "POST", content=content).read() == whole


def test_a_request_body_is_read_when_the_app_asks_for_it() -> None:
    events: list[str] = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            events.append(f"made {number}")
            yield b"%d" % number

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        assert "CONTENT_LENGTH" not in environ
        assert environ["wsgi.input_terminated"]
        start_response("200 OK", [])
        events.append("app")
        while piece := environ["wsgi.input"].read(1):
            events.append(f"read {piece.decode()}")
            yield piece

    assert send(app, "POST", content=pieces()).read() == b"012"
    assert events == ["app", *(f"{what} {number}" for number in range(3) for what in ("made", "read"))]


def test_a_body_may_stay_unread() -> None:
    assert send(answer(b"ok"), "POST", content=iter([b"never", b"asked"])).read() == b"ok"


def broken_upload() -> Iterator[bytes]:
    yield b"half"
    raise Boom("the upload")


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("when", ["before", "within"])
def test_what_the_request_body_raises_is_raised_and_the_app_sees_a_disconnect(
    when: str, raises: bool
) -> None:
    seen: list[BaseException] = []

    def read(environ: Any) -> bytes:
        try:
            return environ["wsgi.input"].read()  # type: ignore[no-any-return]
        except OSError as error:
            seen.append(error)
            raise

    def before(environ: Any, start_response: Any) -> list[bytes]:
        read(environ)
        raise AssertionError

    def within(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"first"
        read(environ)

    app: Callable[..., Any] = {"before": before, "within": within}[when]
    with pytest.raises(Boom, match="the upload"):
        send(app, "POST", content=broken_upload(), raises=raises).read()
    assert isinstance(seen[0], ClientDisconnected)


def test_a_body_has_the_length_that_its_header_says() -> None:
    with pytest.raises(httpx2.LocalProtocolError, match="longer"):
        send(echo, "POST", content=b"abc", headers={"Content-Length": "2"})
    with pytest.raises(httpx2.LocalProtocolError, match="shorter"):
        send(echo, "POST", content=iter([b"abc"]), headers={"Content-Length": "4"})


# -- errors


def raising(error: BaseException) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise error

    return app


@pytest.mark.parametrize(
    "error", [Boom(), SystemExit(3), GeneratorExit()], ids=lambda each: type(each).__name__
)
def test_errors_before_the_response(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        send(raising(error))
    assert raised.value is error
    response = send(raising(error), raises=False)
    assert (response.status_code, response.read()) == (500, b"Internal Server Error")


@pytest.mark.parametrize("raises", [True, False])
def test_a_keyboard_interrupt_is_for_the_caller(raises: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        send(raising(KeyboardInterrupt()), raises=raises)
    with pytest.raises(KeyboardInterrupt):
        send(returning(lambda environ: Body(b"a", raising_item(KeyboardInterrupt()))), raises=raises).read()


def raising_item(error: BaseException) -> Callable[[], bytes]:
    def item() -> bytes:
        raise error

    return item


def test_errors_within_the_response() -> None:
    app = returning(lambda environ: Body(b"first", boom))
    pieces = send(app).iter_raw()
    assert next(pieces) == b"first"
    with pytest.raises(Boom):
        next(pieces)
    pieces = send(app, raises=False).iter_raw()
    assert next(pieces) == b"first"
    with pytest.raises(httpx2.RemoteProtocolError, match="Boom within the response"):
        next(pieces)


def test_the_standard_validator_is_content() -> None:
    from wsgiref.validate import validator

    def app(environ: Any, start_response: Any) -> list[bytes]:
        length = int(environ["CONTENT_LENGTH"])
        body = environ["wsgi.input"].read(length)
        environ["wsgi.errors"].write("")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
        return [body]

    response = send(validator(app), "POST", content=b"abc", headers={"Content-Type": "text/plain"})
    assert response.read() == b"abc"


def test_a_generator_is_closed_when_its_response_is() -> None:
    ended: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x"
        finally:
            ended.append("ended")

    send(app).close()
    assert ended == ["ended"]
