"""The WSGI server's side of one call: what its thread does until it has the response, and its body.

Everything here runs in the server's thread, which the server may change between two steps.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from ..engines.crossing import FETCH, TAKE
from ..exceptions import (
    AdapterClosed,
    BodyTooLarge,
    ClientDisconnected,
    IncompleteResponse,
    RequestError,
)
from ..types import Environ, StartResponse
from .asgi_call import ASGICall, File, Trailers
from .client_watch import client_is_gone
from .input_reader import InputReader
from .refusals import answer_wsgi

logger = logging.getLogger("bridge.asgi")

# Pieces of body that wait together are joined up to this size: a server writes each by itself.
_JOIN_LIMIT = 64 * 1024
# What files, and `wsgi.file_wrapper`, are read by.
_FILE_BLOCK = 64 * 1024


def start_head(
    environ: Environ, start_response: StartResponse, head: tuple[str, list[tuple[str, str]]]
) -> None:
    """Give status and headers to the server."""
    status, headers = head
    if status[:3] == "304" and str(environ.get("SERVER_SOFTWARE", "")).startswith("gevent/"):
        # gevent's pywsgi takes a length for a body that is missing, and answers 500.
        headers = [pair for pair in headers if pair[0].lower() != "content-length"]
    start_response(status, headers)


class Exchange:
    """One call and, for the server to iterate, the body of its response (A-28).

    Args:
        call: the call, which has been handed to the loop thread.
        reader: the request's body.
        environ: the request's environ.
        background_wait: see `ASGIToWSGI`.
    """

    _last = False  # none will follow those in `_items`
    _dealt = 0  # size of the piece that the server has in hand
    _over = False  # the server has all, or has been told that it will not get it
    _closed = False
    _file: Any = None
    _file_left = 0

    def __init__(
        self, call: ASGICall, reader: InputReader, environ: Environ, background_wait: float | None
    ) -> None:
        self._call = call
        self._items: list[Any] = []  # taken from the call, not yet given to the server
        self._reader = reader
        self._environ = environ
        self._background_wait = background_wait

    def begin(self, start_response: StartResponse, todo: int) -> Iterable[bytes]:
        """Serve the call until status and headers are known, and give these to the server.

        Args:
            todo: what `arrive` has said.
        """
        call = self._call
        while True:
            if todo == TAKE:
                self._items, self._last = call.take()
                while self._items:
                    item = self._items.pop(0)
                    if type(item) is tuple:
                        start_head(self._environ, start_response, item)
                        if self._items and self._last and type(self._items[0]) is File:
                            return self._file_response()
                        return self
                    self._hint(item.headers)
                if self._last:
                    return self._fail(start_response)
            else:
                self._serve(todo)
            todo = call.next()

    def _serve(self, todo: int) -> None:
        """Do what the call wants done while it has no output."""
        call = self._call
        if todo != FETCH:
            if call.cancelled_before_start():
                call.end(IncompleteResponse("the app's task was cancelled before it ran"))
                call.forget_soon()
            elif client_is_gone(self._environ):
                # With the errno that servers know as no mistake of anybody.
                call.leave(
                    ClientDisconnected(errno.EPIPE, "the client disconnected while the app was silent")
                )
            return
        try:
            data, last = self._reader.read()
        except ClientDisconnected as error:
            # The app is told, and may go on for the grace; nobody is left to answer.
            call.leave(error)
        except BodyTooLarge as error:
            call.supply((error, True), 0, True)
        else:
            call.supply((data, last), len(data), last)

    def _hint(self, headers: list[tuple[str, str]]) -> None:
        try:
            self._environ["wsgi.early_hints"](headers)
        except Exception:
            logger.warning("the server did not send early hints", exc_info=True)

    def _fail(self, start_response: StartResponse) -> Iterable[bytes]:
        """There is no response: a plain answer without details (A-25)."""
        error = self._call.error
        self._over = True
        if isinstance(error, AdapterClosed):
            raise error
        if isinstance(error, ClientDisconnected) and self._call.gone:
            # Its body was cut short, or it has left. It may have closed its sending half only.
            return answer_wsgi(self._environ, start_response, 400)
        return answer_wsgi(
            self._environ, start_response, error.status if isinstance(error, RequestError) else 500
        )

    # -- the iterator

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._file is not None:
            return self._next_of_file()
        call = self._call
        if self._dealt:
            call.dealt(self._dealt)
            self._dealt = 0
        try:
            while True:
                items = self._items
                while items:
                    if type(items[0]) is bytes:
                        return self._next_piece()
                    if self._begins_file(items.pop(0)):
                        return self._next_of_file()
                if self._last:
                    break
                todo = call.next()
                if todo == TAKE:
                    self._items, self._last = call.take()
                else:
                    self._serve(todo)
        except BaseException:
            self.abandon()
            raise
        self._over = True
        error = call.error
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this frame
        raise StopIteration

    def _next_piece(self) -> bytes:
        items = self._items
        piece: bytes = items.pop(0)
        if items and type(items[0]) is bytes and len(piece) < _JOIN_LIMIT:
            pieces = [piece]
            size = len(piece)
            while items and type(items[0]) is bytes and size + len(items[0]) <= _JOIN_LIMIT:
                size += len(items[0])
                pieces.append(items.pop(0))
            piece = b"".join(pieces)
        self._dealt = len(piece)
        return piece

    def _begins_file(self, item: Any) -> bool:
        """Deal with what is no piece of body: trailers, or a file to go on with."""
        if type(item) is Trailers:
            self._environ["gunicorn.http2.send_trailers"](item.headers)
            return False
        if type(item) is File:
            self._file, self._file_left = item.file, item.size
            return True
        return False

    # -- files

    def _file_response(self) -> Iterable[bytes]:
        """The body is a file: through the server's own wrapper if it can be sent as it is (X-06)."""
        item: File = self._items[0]
        wrapper = self._environ.get("wsgi.file_wrapper")
        # Not if something has to be done at the end: the wrapper is the server's, and so is its close().
        plain = len(self._items) == 1 and self._call.error is None and self._call.finished is None
        if item.whole and wrapper is not None and plain:
            body: Iterable[bytes] = wrapper(item.file, _FILE_BLOCK)
            self._over = True
            return body
        return self

    def _next_of_file(self) -> bytes:
        data: bytes = self._file.read(min(_FILE_BLOCK, self._file_left))
        if data:
            self._file_left -= len(data)
            return data
        missing = self._file_left
        self._close_file()
        if missing:
            self._over = True
            raise IncompleteResponse(
                f"the file became shorter while it was sent: {missing} bytes are missing"
            )
        return self.__next__()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # -- the end

    def close(self) -> None:
        """The server is done with the body. Before its end, that means that the client is gone (A-29)."""
        if self._closed:
            return
        self._closed = True
        exhausted = self._last and not self._items and self._file is None and self._call.error is None
        if not (self._over or exhausted):
            self.abandon()
        elif self._call.finished is not None:
            self._call.finished.wait(self._background_wait, self._call.loop_thread.alive)

    def abandon(self) -> None:
        """Nobody takes the rest: the call is told, and files are closed."""
        self._closed = self._over = True
        self._close_file()
        items, self._items = self._items, []
        self._call.dropped(items)
        self._call.leave()

    def __del__(self) -> None:
        # For a server that drops the body without close(). Not `abandon`, which takes the call's lock:
        # the garbage collector may run in a thread that holds it.
        if not self._closed and not self._over:
            self._close_file()
            self._call.dropped(self._items)
            self._call.leave_soon()
