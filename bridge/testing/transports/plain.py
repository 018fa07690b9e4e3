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
from ..exchange import Request, RequestLike, Response
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


class Hops:
    """The requests of one `exchange()`, the first and those that redirects lead to, and what comes of them.

    The client sends `sent`, gives what comes to `came` or to `failed`, and goes on until it has an answer.

    Args:
        client: whose base URL, headers, cookies and bound on redirects hold.
        request: the first one, as `Request.of` understands it.
        follow_redirects: go where redirects lead.

    Attributes:
        sent: what is to be sent next.

    Raises:
        UsageError: `request` is none, or the client is closed.
    """

    def __init__(
        self, client: httpx2.Client | httpx2.AsyncClient, request: RequestLike, follow_redirects: bool
    ) -> None:
        self._began = time.perf_counter()
        self.sent = to_library(Request.of(request), client.base_url, client.headers, client.cookies)
        if client.is_closed:
            raise UsageError("the client has been closed, so it sends no request; make a new one")
        self._follows = follow_redirects
        self._longest = client.max_redirects
        self._history: tuple[Response, ...] = ()

    def came(
        self, response: httpx2.Response, chunks: list[bytes], broken: BaseException | None
    ) -> Response | None:
        """What `sent` was answered with.

        Args:
            response: status and headers.
            chunks: the body as it came.
            broken: what broke it off, `None` if it is whole.

        Returns:
            the answer; `None` if a redirect is to be followed, to what is `sent` now.
        """
        plain = from_library(response, chunks, broken, self._began, self._history)
        following = next_hop(response) if self._follows and broken is None else None
        if following is None:
            return plain
        self._history = (*self._history, plain)
        if len(self._history) > self._longest:
            return self.failed(httpx2.TooManyRedirects("too many redirects", request=following))
        self.sent = following
        self._began = time.perf_counter()
        return None

    def failed(self, error: BaseException) -> Response:
        """The answer when `sent` got no response, but this error."""
        return nothing(error, self._began, self._history)
