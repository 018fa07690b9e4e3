"""Between plain requests and responses (`exchange()`) and those of httpx2, for both kinds of client.

What a client sends by `exchange()`, in this order: `Host`, unless the request has one; the headers that
were set on the client (`headers=` or `client.headers`), but not httpx2's own defaults (`Accept`,
`Accept-Encoding`, `Connection`, `User-Agent`), and none that the request has; the request's headers as
they are; the body's framing, unless the request has one; the client's cookies, unless the request has a
`Cookie`. The target is sent as it is, without the path of `base_url`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cache

from ...exceptions import StartupFailed, UsageError
from ..exchange import Request, Response
from .library import httpx2
from .wire import EXCHANGE, TARGET, TRAILERS

# Requests that usually have a body say so when it is empty (RFC 9110 section 8.6).
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that is sent piece by piece."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@cache
def default_headers() -> httpx2.Headers:
    """What every client of httpx2 sends unasked."""
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200))) as client:
        headers: httpx2.Headers = client.headers
        return headers


def to_library(
    request: Request,
    base_url: httpx2.URL,
    client_headers: httpx2.Headers,
    cookies: httpx2.Cookies,
) -> httpx2.Request:
    """The request as httpx2 sends it; see the module's description.

    Args:
        base_url: scheme, host and port.
        client_headers: those of the client.
        cookies: the client's.
    """
    try:
        url = base_url.copy_with(raw_path=request.target.encode("ascii"))
    except httpx2.InvalidURL:  # such as "*"
        url = base_url
    given = {name.lower() for name, _ in request.headers}
    headers: list[tuple[bytes, bytes]] = []
    if "host" not in given:
        headers.append((b"Host", url.netloc))
    defaults = default_headers().raw
    for pair in client_headers.raw:
        name = pair[0].lower().decode("latin-1")
        if name not in given and pair not in defaults:
            headers.append(pair)
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers]
    stream: Pieces | httpx2.ByteStream
    if isinstance(request.body, bytes):
        stream = httpx2.ByteStream(request.body)
        framing = (b"Content-Length", b"%d" % len(request.body))
        framed = bool(request.body) or request.method in _METHODS_WITH_BODY
    else:
        stream = Pieces(request.body)
        framing = (b"Transfer-Encoding", b"chunked")
        framed = True
    if framed and not given & {"content-length", "transfer-encoding"}:
        headers.append(framing)
    made = httpx2.Request(
        request.method,
        url,
        headers=headers,
        stream=stream,
        extensions={TARGET: request.target.encode("ascii"), EXCHANGE: True},
    )
    made.method = request.method  # httpx2 makes it upper case
    if "cookie" not in given and cookies.jar:
        cookies.set_cookie_header(made)
    return made


def next_hop(response: httpx2.Response) -> httpx2.Request | None:
    """The request that follows a redirect, `None` if there is none. httpx2 would keep the old target."""
    request = response.next_request
    if request is not None:
        request.extensions = {key: value for key, value in request.extensions.items() if key != TARGET}
    return request


def is_answer(error: BaseException) -> bool:
    """Whether `exchange()` returns an error: it came of the request, not of a mistake of the caller."""
    if isinstance(error, (UsageError, StartupFailed)):
        return False
    return isinstance(error, (Exception, SystemExit, GeneratorExit))


def nothing(error: BaseException, began: float, history: tuple[Response, ...]) -> Response:
    """What comes of a request that has no response."""
    return Response(0, error=error, elapsed=time.perf_counter() - began, history=history)


def from_library(
    response: httpx2.Response,
    chunks: list[bytes],
    error: BaseException | None,
    began: float,
    history: tuple[Response, ...],
) -> Response:
    """The plain response; `chunks` are its body as it came, `error` what broke it off."""
    reason: bytes = response.extensions.get("reason_phrase", b"")
    return Response(
        response.status_code,
        reason.decode("latin-1"),
        tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw),
        tuple(chunks),
        tuple(response.extensions.get(TRAILERS, ())),
        error,
        time.perf_counter() - began,
        history,
    )
