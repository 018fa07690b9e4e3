"""What a test sees of a WebSocket session, whether it waits in a thread or on a loop: nothing here waits.

Items come from `websocket_dialog`: messages of the app, and at last its end. Here they become the
acceptance, a denial, contents, a disconnect or an exception of the app.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from typing import Any, Literal

from ..exceptions import (
    ApplicationExit,
    IncompleteResponse,
    UsageError,
    WebSocketDenied,
    WebSocketDisconnect,
)
from ..types import ASGIApp, Message
from .exchange import Response
from .websocket_dialog import Dialog, End, cost

logger = logging.getLogger("bridge.testing")

NORMAL = 1000
"""The code of a close of which nobody said anything else."""

_ABNORMAL = 1006
_INTERNAL_ERROR = 1011


class Session:
    """What both kinds of sessions have in common; nothing here waits.

    Attributes:
        scope: what the app was called with.
        accepted_subprotocol: the one that the app chose, `None` if none.
        extra_headers: those that the app sent with its acceptance, as pairs of bytes.
    """

    def __init__(
        self, app: ASGIApp, scope: dict[str, Any], timeout: float | None, raise_app_exceptions: bool
    ) -> None:
        self.scope = scope
        self.accepted_subprotocol: str | None = None
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self._timeout = timeout
        self._raises = raise_app_exceptions
        self._app = app
        self._dialog = Dialog(app, scope, self._deliver)
        self._held: deque[Any] = deque()
        self._entered = False
        self._accepted = False
        self._denial: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._denial_body: list[bytes] = []
        # How it has ended, as far as the test has taken notice.
        self._closed: WebSocketDisconnect | None = None
        self._left = False
        self._end: End | None = None
        # What the test has seen already.
        self._shown: BaseException | None = None

    def _deliver(self, item: Any) -> None:
        raise NotImplementedError

    def _enter(self) -> None:
        if self._entered:
            raise UsageError("a WebSocket session is entered once; connect again for another one")
        self._entered = True

    def _check_open(self, doing: str) -> None:
        """Refuse to send on what is closed.

        Raises:
            WebSocketDisconnect: by the app, as the test has been told.
            UsageError: by the test, or it has not been opened.
        """
        if not self._accepted:
            raise UsageError(
                f"{doing} needs an open session: `with client.websocket_connect(...) as session:`"
            )
        if self._left:
            raise UsageError(f"{doing} came after this test had closed the session")
        if self._closed is not None:
            raise self._closed

    # -- what the app has sent

    def _answer(self, item: Any) -> bool:
        """Look at what came before the acceptance; returns whether the app has accepted.

        Raises:
            WebSocketDenied: it has not, and the denial is whole.
            what the app raised, or `IncompleteResponse` if it just ended.
        """
        if isinstance(item, End):
            self._end = item
            raise self._failed_handshake(item.error)
        kind = item["type"]
        if kind == "websocket.accept":
            self.accepted_subprotocol = item["subprotocol"]
            self.extra_headers = item["headers"]
            self._accepted = True
            return True
        if kind == "websocket.close":
            raise _denied(
                "closed the WebSocket before it had accepted: a client gets 403", Response(403, "Forbidden")
            )
        if kind == "websocket.http.response.start":
            self._denial = item["status"], item["headers"]
            return False
        assert self._denial is not None  # `Order` saw to it
        if item["body"]:
            self._denial_body.append(item["body"])
        if item["more_body"]:
            return False
        status, headers = self._denial
        pairs = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
        response = Response(status, headers=pairs, chunks=tuple(self._denial_body))
        raise _denied(f"answered the handshake with {status}", response)

    def _failed_handshake(self, error: BaseException | None) -> BaseException:
        if error is None:
            error = self._dialog.violation or IncompleteResponse(
                "the app ended without accepting, closing or answering the WebSocket"
            )
        self._shown = error
        if self._raises or not isinstance(error, Exception):
            return raisable(error)
        denied = _denied(f"raised {error!r} before it had accepted", Response(500, "Internal Server Error"))
        denied.__cause__ = error
        return denied

    def _over(self, end: End) -> BaseException:
        """What a receiving test is told when the app is over and had not closed."""
        self._end = end
        error = end.error or self._dialog.violation
        if error is not None and not self._dialog.is_departure(error):
            self._shown = error
            if self._raises or not isinstance(error, Exception):
                return raisable(error)
            message = f"the app raised {error!r}: a server closes with {_INTERNAL_ERROR}"
            self._closed = WebSocketDisconnect(message, code=_INTERNAL_ERROR)
            self._closed.__cause__ = error
            return self._closed
        self._closed = WebSocketDisconnect("the app ended without closing the WebSocket", code=_ABNORMAL)
        return self._closed

    def _take(self, item: Any) -> dict[str, Any]:
        """Take notice of an item; return it if it is a message.

        Raises:
            WebSocketDisconnect, or what the app raised: it is the end.
        """
        if isinstance(item, End):
            raise self._over(item)
        self._dialog.taken += cost(item)
        if item["type"] == "websocket.close":
            self._closed = _disconnect(item["code"], item["reason"], by_test=self._left)
        message: dict[str, Any] = item
        return message

    def _content(self, message: dict[str, Any]) -> str | bytes:
        """The content of a message of either kind."""
        if message["type"] == "websocket.close":
            assert self._closed is not None
            raise self._closed
        content: str | bytes = message["text"] if "text" in message else message["bytes"]
        return content

    def _data(self, message: dict[str, Any], key: Literal["text", "bytes"]) -> Any:
        """The content of a message of one kind; one of the other kind is kept for the next call."""
        content = self._content(message)
        if key not in message:
            other = "text" if key == "bytes" else "bytes"
            self._held.appendleft(message)
            raise UsageError(
                f"receive_{key}() met a message of {other}, {content!r}: receive it by receive_{other}()"
            )
        return content

    def _after(self, end: End, told: BaseException | None) -> BaseException | None:
        """What leaving the block is to raise once the app is over.

        Args:
            end: how it ended.
            told: what the block has raised by itself.
        """
        error = end.error
        if error is None or self._dialog.is_departure(error):
            error = self._dialog.violation
        if error is None or error is self._shown:
            return None
        if told is not None or not self._raises:
            logger.error("the app raised on a WebSocket", exc_info=error)
            return None
        return raisable(error)

    def _late(self, doing: str, seconds: float, where: str) -> TimeoutError:
        return TimeoutError(f"{doing} within {seconds:g} seconds; the app {where}")

    # -- what the test sends

    def _message(self, message: Message) -> dict[str, Any]:
        """A message of the test's, checked.

        Raises:
            UsageError: it is none that a server gives to an app.
        """
        kind = message.get("type") if hasattr(message, "get") else None
        if kind == "websocket.disconnect" and isinstance(message.get("code", 1005), int):
            return dict(message)
        text, data = (
            (message.get("text"), message.get("bytes")) if kind == "websocket.receive" else (None, None)
        )
        if (isinstance(text, str) and data is None) or (isinstance(data, bytes) and text is None):
            return dict(message)
        raise UsageError(
            "a session sends {'type': 'websocket.receive', 'text': str} or with 'bytes', or "
            f"{{'type': 'websocket.disconnect', 'code': int}}; got {message!r}"
        )


def json_message(data: Any, mode: Literal["text", "binary"]) -> dict[str, Any]:
    """A value as JSON, in a message for the app."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    if kind_of(mode) == "text":
        return {"type": "websocket.receive", "text": text}
    return {"type": "websocket.receive", "bytes": text.encode()}


def kind_of(mode: str) -> Literal["text", "bytes"]:
    """What a message has of the JSON in it.

    Raises:
        UsageError: the mode is neither "text" nor "binary".
    """
    if mode not in ("text", "binary"):
        raise UsageError(f'mode is "text" or "binary"; got {mode!r}')
    return "text" if mode == "text" else "bytes"


def _denied(what: str, response: Response) -> WebSocketDenied:
    return WebSocketDenied(f"the app {what}", response=response)


def _disconnect(code: int, reason: str, by_test: bool) -> WebSocketDisconnect:
    who = "this test" if by_test else "the app"
    words = f" ({reason})" if reason else ""
    return WebSocketDisconnect(f"{who} closed the WebSocket with {code}{words}", code=code, reason=reason)


def raisable(error: BaseException) -> BaseException:
    """An exception that may leave a test; some would end it in silence, or the runner."""
    if isinstance(
        error, (SystemExit, GeneratorExit, StopIteration, StopAsyncIteration, asyncio.CancelledError)
    ):
        left = ApplicationExit(f"{error!r} left the app")
        left.__cause__ = error
        return left
    return error


def text_message(data: object) -> dict[str, Any]:
    """Text, in a message for the app; raises `UsageError` if it is none."""
    if not isinstance(data, str):
        raise UsageError(f"send_text() takes a str; got {data!r}")
    return {"type": "websocket.receive", "text": data}


def bytes_message(data: object) -> dict[str, Any]:
    """Bytes, in a message for the app; raises `UsageError` if it is none."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UsageError(f"send_bytes() takes bytes; got {data!r}")
    return {"type": "websocket.receive", "bytes": bytes(data)}
