"""What both kinds of transport have in common: the target, addresses, and who is told of which error.

Extensions of a request that the transports know:

- `target`: the request target in bytes, in place of the URL's; httpcore knows it too, so that it
  holds for real connections as well. URLs are normalised by httpx2: `.` and `..` segments go, and
  what is not ASCII is escaped.
- `timeout`: httpx2's own; `read` bounds each wait for the app.
- `bridge.exchange`: the response is for `exchange()`, which wants what a server would have sent:
  what the app raises after the end of its response is not raised.

Of a response: `http_version`, `reason_phrase` (WSGI alone has one) and `bridge.trailers`, a list that is
filled when the body has come to its end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ...exceptions import UsageError
from .library import httpx2

logger = logging.getLogger("bridge.testing")

TARGET = "target"
EXCHANGE = "bridge.exchange"
TRAILERS = "bridge.trailers"

DEFAULT_CLIENT = ("127.0.0.1", 50000)
# The largest piece of a body in one message or read: what servers read from a socket at a time.
PIECE = 64 * 1024

HTTP_VERSION = b"HTTP/1.1"
# An app that has answered with 5xx most likely raises next, as Starlette's do; how many seconds to wait.
ERROR_FOLLOWS = 1.0

_DEFAULT_PORTS = {"http": 80, "https": 443}


def target_of(request: httpx2.Request) -> bytes:
    """Path and query as they stand in the request line."""
    target = request.extensions.get(TARGET)
    if target is None:
        return request.url.raw_path
    if not isinstance(target, bytes):
        raise UsageError(f"the extension {TARGET!r} is bytes, such as b'/notes?page=2'; got {target!r}")
    return target


def server_of(url: httpx2.URL) -> tuple[str, int]:
    """Host and port that the client believes to speak to."""
    return url.host, url.port or _DEFAULT_PORTS.get(url.scheme, 80)


def read_timeout_of(request: httpx2.Request) -> float | None:
    """How many seconds to wait for the app at a time; `None` without limit."""
    timeout: Mapping[str, float | None] | None = request.extensions.get("timeout")
    return None if timeout is None else timeout.get("read")


def declared_length(headers: httpx2.Headers) -> int | None:
    """The request's `Content-Length`, `None` if it has none.

    Raises:
        LocalProtocolError: it is no number.
    """
    value = headers.get("content-length")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise httpx2.LocalProtocolError(f"the request's Content-Length is no number: {value!r}")
    return int(value)


def check_length(left: int, ended: bool) -> None:
    """Refuse a request body that is not as long as its `Content-Length`, as a client on the wire does.

    Args:
        left: bytes that are still to come.
        ended: whether none will.

    Raises:
        LocalProtocolError: the body is too long, or too short.
    """
    if left < 0:
        raise httpx2.LocalProtocolError("the request's body is longer than its Content-Length")
    if ended and left > 0:
        raise httpx2.LocalProtocolError(f"the request's body is {left} bytes shorter than its Content-Length")


def is_app_error(error: BaseException) -> bool:
    """Whether an exception that left the app stands for a failed request.

    `KeyboardInterrupt`, and what test runners raise to end a test, are for the caller in any case.
    """
    return isinstance(error, (Exception, SystemExit, GeneratorExit))


def broken(reason: str, request: httpx2.Request) -> httpx2.RemoteProtocolError:
    """The error of a response that broke off, as a client on the wire sees it."""
    return httpx2.RemoteProtocolError(reason, request=request)


def is_below(path: bytes, root: bytes) -> bool:
    """Whether a decoded path is the root path or lies below it; everything is below the empty one."""
    return path.startswith(root) and path[len(root) : len(root) + 1] in (b"", b"/")


def check_options(root_path: object, client: object, extra: object) -> None:
    """Refuse what a transport cannot work with.

    Raises:
        UsageError: says which option, what was expected and what came.
    """
    if not isinstance(root_path, str):
        raise UsageError(f"root_path is text, such as '/app'; got {root_path!r}")
    if root_path and (not root_path.startswith("/") or root_path.endswith("/")):
        raise UsageError(f"root_path begins with a slash and ends with none, as in '/app'; got {root_path!r}")
    if client is not None and not (
        isinstance(client, tuple)
        and len(client) == 2
        and isinstance(client[0], str)
        and isinstance(client[1], int)
    ):
        raise UsageError(
            f"client is None or a pair of address and port, such as {DEFAULT_CLIENT}; got {client!r}"
        )
    if extra is not None and not isinstance(extra, Mapping):
        raise UsageError(f"extra is a mapping of keys to put over each scope or environ; got {extra!r}")


def wants_late_errors(raise_app_exceptions: bool, request: httpx2.Request) -> bool:
    """Whether what the app raises after a complete response is for the caller."""
    return raise_app_exceptions and not request.extensions.get(EXCHANGE)


def instead_of_failure(
    error: BaseException, failure: BaseException | None, raise_app_exceptions: bool
) -> httpx2.Response:
    """What a request gets whose response had not begun when `error` was raised: that, or a 500.

    Args:
        error: what was raised.
        failure: the error of the app, `None` if it has made none.
        raise_app_exceptions: the client's choice.

    Raises:
        `error`, unless it is the app's and errors of the app are to become a response.
    """
    if error is not failure or raise_app_exceptions or not is_app_error(error):
        raise error
    logger.info("the app raised %r: answered with 500", error)
    body = b"Internal Server Error"
    return httpx2.Response(
        500,
        headers={"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))},
        stream=httpx2.ByteStream(body),
        extensions={"http_version": HTTP_VERSION, "reason_phrase": body},
    )


def within_response(error: BaseException, request: httpx2.Request) -> httpx2.RemoteProtocolError:
    """The error of a response in which the app raised, for a client that is not to see what."""
    return broken(f"the app raised {type(error).__name__} within the response", request)


def read_timeout(seconds: float | None, request: httpx2.Request) -> httpx2.ReadTimeout:
    """The error of an app that lets its client wait for too long."""
    return httpx2.ReadTimeout(f"the app did not answer within {seconds:g} seconds", request=request)
