"""A server in process for WSGI apps, as a transport of httpx2.

The app runs in the calling thread: its call, the iteration over its response and `close()`. So a response
streams by nature, and the client's time-out cannot interrupt an app that blocks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...exceptions import ApplicationError, IncompleteResponse, InvalidHeader
from ...translate.headers import BODILESS_STATUS, LONGEST_LENGTH, TOKEN
from ...translate.text import status_code
from ...types import ExcInfo, WSGIApp
from .library import httpx2
from .wire import (
    DEFAULT_CLIENT,
    HTTP_VERSION,
    broken,
    check_length,
    check_options,
    declared_length,
    instead_of_failure,
    is_app_error,
    logger,
    within_response,
)
from .wsgi_environ import EnvironMaker
from .wsgi_input import LazyInput

# What would end the line, or the string of a server written in C.
_BAD_VALUE = re.compile(r"[\x00\r\n]")


class WSGITransport(httpx2.BaseTransport):
    """Sends requests to a WSGI app (PEP 3333), each in the thread that sends it.

    Args:
        app: a WSGI application.
        raise_app_exceptions: what the app raises is raised by the request, or by the iteration over
            its response. Else it becomes a response of 500 if none had begun, and
            `httpx2.RemoteProtocolError` if one had.
        root_path: `SCRIPT_NAME`.
        client: address and port of the client, `None` for none.
        extra: keys that are put over each environ.

    Raises:
        UsageError: an option is not usable.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        raise_app_exceptions: bool = True,
        root_path: str = "",
        client: tuple[str, int] | None = DEFAULT_CLIENT,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        check_options(root_path, client, extra)
        self.app = app
        self.raise_app_exceptions = raise_app_exceptions
        self._environs = EnvironMaker(root_path, client, extra)

    def start(self) -> None:
        """Nothing is to be started; the method is there because transports of ASGI apps have one."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; return when the response has begun, with the first piece of its body or its end.

        Raises:
            what the app raised before that, if it is to be raised.
            IncompleteResponse: the app called no `start_response()`, in the same case.
            ApplicationError: it broke PEP 3333 otherwise.
            LocalProtocolError: the request's body is not as long as its `Content-Length`.
        """
        body = _body_of(request)
        call = _Call(request)
        try:
            call.begin(self.app, self._environs.make(request, body))
            _raise_error_of(body)
        except BaseException as error:
            if not call.breaks_off(error):
                call.close_after_error()
                _raise_error_of(body)
                return instead_of_failure(error, error, self.raise_app_exceptions)
        return httpx2.Response(
            call.status,
            headers=call.headers,
            stream=_Body(call, body, self.raise_app_exceptions),
            extensions={"http_version": HTTP_VERSION, "reason_phrase": call.reason},
        )


def _body_of(request: httpx2.Request) -> Any:
    """`wsgi.input`."""
    length = declared_length(request.headers)
    stream = request.stream
    if isinstance(stream, httpx2.ByteStream):
        content = b"".join(stream)
        if length is not None:
            check_length(length - len(content), True)
        return io.BytesIO(content)
    assert isinstance(stream, httpx2.SyncByteStream)
    return LazyInput(iter(stream), length)


def _raise_error_of(body: Any) -> None:
    """A client whose upload has failed takes no answer to half of it."""
    if isinstance(body, LazyInput) and body.error is not None:
        raise body.error from None


class _Call:
    """One call of the app, and what it has answered so far."""

    __slots__ = (
        "_bodiless",
        "_close",
        "_items",
        "_named",
        "_shown",
        "_written",
        "headers",
        "left",
        "reason",
        "request",
        "status",
    )

    def __init__(self, request: httpx2.Request) -> None:
        self.request = request
        self._bodiless = False
        self._named = False
        self._shown = False
        self._written: list[bytes] = []
        self._items: Iterator[bytes] | None = None
        self._close: Any = None
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.left: int | None = None

    def begin(self, app: WSGIApp, environ: dict[str, Any]) -> None:
        """Call the app, up to the first piece of its body."""
        iterable = app(environ, self.start_response)
        if iterable is None:
            raise ApplicationError("the app returned None; expected an iterable of bytes (PEP 3333)")
        self._close = getattr(iterable, "close", None)
        self._items = iter(iterable)
        while not self._written:
            piece = next(self._items, None)
            if piece is None:
                break
            self._check_piece(piece)
            if piece:
                self._written.append(piece)
        if not self._named:
            raise IncompleteResponse(
                "the app called no start_response() before the first piece of its body, or its end "
                '(PEP 3333, "The start_response() Callable")'
            )
        self._shown = True

    def breaks_off(self, error: BaseException) -> bool:
        """Whether `write()` had begun the response when the app raised; the error then follows its pieces."""
        if not self._shown or not is_app_error(error):
            return False
        self._items = map(_raise, (error,))
        return True

    def _check_piece(self, piece: object) -> None:
        if not isinstance(piece, bytes):
            raise ApplicationError(
                f"the app's iterable gave {type(piece).__name__}; expected bytes (PEP 3333)"
            )
        if piece and not self._named:
            raise IncompleteResponse("the app gave a piece of its body before it called start_response()")

    def start_response(self, status: object, headers: object, exc_info: ExcInfo | None = None) -> Any:
        """PEP 3333, "The start_response() Callable"."""
        if exc_info is not None:
            try:
                if self._shown and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: break the cycle with this frame
        elif self._named:
            raise ApplicationError("start_response() was called a second time without exc_info (PEP 3333)")
        code = status_code(status)
        self.headers, length = _response_headers(headers)
        self.status = code
        self.reason = str(status)[4:].encode("latin-1", "replace")
        self._bodiless = self.request.method == "HEAD" or code in BODILESS_STATUS
        self.left = None if self._bodiless else length
        self._named = True
        return self._write

    def _write(self, data: bytes) -> None:
        # There is no one to hand it to before the app returns, so it waits in memory.
        self._check_piece(data)
        if data:
            self._shown = True
            self._written.append(data)

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece, without those of a response that has none.

        Raises:
            what the app raises; RemoteProtocolError: it is shorter than its `Content-Length`.
        """
        if self._bodiless:
            return
        yield from self._cut(self._take_written())
        assert self._items is not None
        for piece in self._items:
            self._check_piece(piece)
            yield from self._cut(self._take_written())
            yield from self._cut([piece])
        yield from self._cut(self._take_written())
        if self.left:
            raise broken(f"the app gave {self.left} bytes fewer than its Content-Length", self.request)

    def _take_written(self) -> list[bytes]:
        written, self._written = self._written, []
        return written

    def _cut(self, pieces: list[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self.left is not None:
                if len(piece) > self.left:
                    logger.warning("the app gave more bytes than its Content-Length; they were cut")
                    piece = piece[: self.left]
                self.left -= len(piece)
            if piece:
                yield piece

    def close(self) -> None:
        """Call the iterable's `close()`, once (PEP 3333, "Specification Details")."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def close_after_error(self) -> None:
        """The same, where what `close()` raises would hide the first error."""
        try:
            self.close()
        except Exception:
            logger.exception("the close() of the app's response raised, after an error")


class _Body(httpx2.SyncByteStream):
    """The response's body, as it comes."""

    def __init__(self, call: _Call, body: Any, raises: bool) -> None:
        self._call = call
        self._body = body
        self._raises = raises

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._call.pieces():
                _raise_error_of(self._body)
                yield piece
            _raise_error_of(self._body)
        except GeneratorExit:
            raise
        except BaseException as error:
            _raise_error_of(self._body)
            if self._raises or not is_app_error(error) or isinstance(error, httpx2.RemoteProtocolError):
                raise
            raise within_response(error, self._call.request) from error

    def close(self) -> None:
        try:
            self._call.close()
        except BaseException as error:
            if self._raises or not is_app_error(error):
                raise
            logger.exception("the close() of the app's response raised")

    def __del__(self) -> None:
        self._call.close_after_error()


def _raise(error: BaseException) -> bytes:
    raise error


def _response_headers(headers: object) -> tuple[list[tuple[bytes, bytes]], int | None]:
    """The headers in bytes as they were spelled, and the `Content-Length`.

    Raises:
        InvalidHeader: it is no list of pairs of str, or a name or value must not be sent.
    """
    if not isinstance(headers, list):
        raise InvalidHeader(f"start_response() expects the headers as a list; got {type(headers).__name__}")
    encoded = []
    length: int | None = None
    for pair in headers:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InvalidHeader(
                f"start_response() expects each header as a tuple of name and value; got {pair!r}"
            )
        name, value = pair
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidHeader(f"start_response() expects names and values of headers as str; got {pair!r}")
        if TOKEN.fullmatch(name) is None:
            raise InvalidHeader(f"{name!r} is no header name (RFC 9110 section 5.6.2)")
        if _BAD_VALUE.search(value) is not None:
            raise InvalidHeader(f"the value of the response header {name!r} holds CR, LF or NUL: {value!r}")
        try:
            encoded.append((name.encode("ascii"), value.encode("latin-1")))
        except UnicodeEncodeError:
            raise InvalidHeader(
                f"the value of the response header {name!r} holds characters beyond U+00FF: {value!r}"
            ) from None
        if len(name) == 14 and name.lower() == "content-length":
            if not (value.isascii() and value.isdigit() and len(value) <= LONGEST_LENGTH):
                raise InvalidHeader(f"the response's Content-Length is no number: {value!r}")
            if length is not None and length != int(value):
                raise InvalidHeader("the response has several Content-Length headers that differ")
            length = int(value)
    return encoded, length
