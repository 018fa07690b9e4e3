"""Apps that break a rule of their interface: what servers, adapters and middleware must survive.

Each is a value that names its fault. Whatever becomes of a request to one, two things may not happen:
that it hangs, and that a response which is not whole is passed off as whole. Where a server may mend
the fault and answer as if nothing were wrong, `Fault.mendable` says so.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...exceptions import UsageError
from ...types import Environ, Receive, Scope, Send
from .readable import Readable


@dataclass(frozen=True)
class Fault:
    """One way to break a rule.

    Attributes:
        name: what the apps are told by.
        rule: what is broken, and where it stands.
        mendable: whether a server may answer all the same as if nothing were wrong: it drops what may
            not be sent, cuts what is too long, has told the app so, or the fault comes after the response.
    """

    name: str
    rule: str
    mendable: bool = False


_WSGIAct: TypeAlias = Callable[[tuple[bytes, ...], Any, Any], Any]
_ASGIAct: TypeAlias = Callable[[tuple[bytes, ...], Any, Any, Any], Awaitable[None]]
_wsgi_acts: dict[str, _WSGIAct] = {}
_asgi_acts: dict[str, _ASGIAct] = {}

WSGI_FAULTS: dict[str, Fault] = {}
"""The faults of `FaultyWSGI`, by name."""

ASGI_FAULTS: dict[str, Fault] = {}
"""The faults of `FaultyASGI`, by name."""


class Broken(Exception):
    """What a faulty app raises."""


@dataclass(frozen=True, repr=False)
class _Faulty(Readable):
    """An app with one fault; `_known` has those of its interface."""

    _known: ClassVar[dict[str, Fault]]

    fault: str
    chunks: tuple[bytes, ...] = (b"x",)

    def __post_init__(self) -> None:
        _require(self.fault, self._known)

    @property
    def described(self) -> Fault:
        """The fault."""
        return self._known[self.fault]


@dataclass(frozen=True, repr=False)
class FaultyWSGI(_Faulty):
    """A WSGI app with one fault.

    Attributes:
        fault: a key of `WSGI_FAULTS`.
        chunks: the body that it would have sent.

    Raises:
        UsageError: there is no such fault.
    """

    _known = WSGI_FAULTS

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answer one request, wrongly."""
        answer: Iterable[bytes] = _wsgi_acts[self.fault](self.chunks, environ, start_response)
        return answer


@dataclass(frozen=True, repr=False)
class FaultyASGI(_Faulty):
    """An ASGI 3 app with one fault.

    Attributes:
        fault: a key of `ASGI_FAULTS`.
        chunks: the body that it would have sent.

    Raises:
        UsageError: there is no such fault.
    """

    _known = ASGI_FAULTS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, wrongly."""
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        await _asgi_acts[self.fault](self.chunks, scope, receive, send)


def _require(fault: str, known: dict[str, Fault]) -> None:
    if fault not in known:
        raise UsageError(f"a fault is one of {', '.join(known)}; got {fault!r}")


def bad_wsgi_apps(
    faults: Iterable[str] | None = None, *, mendable: bool = True
) -> SearchStrategy[FaultyWSGI]:
    """Badly-behaved WSGI apps.

    Args:
        faults: which of `WSGI_FAULTS`; by default all.
        mendable: also those that a server may mend.
    """
    return st.builds(FaultyWSGI, fault=_chosen(faults, WSGI_FAULTS, mendable), chunks=_chunks())


def bad_asgi_apps(
    faults: Iterable[str] | None = None, *, mendable: bool = True
) -> SearchStrategy[FaultyASGI]:
    """Badly-behaved ASGI apps.

    Args:
        faults: which of `ASGI_FAULTS`; by default all.
        mendable: also those that a server may mend.
    """
    return st.builds(FaultyASGI, fault=_chosen(faults, ASGI_FAULTS, mendable), chunks=_chunks())


def _chunks() -> SearchStrategy[tuple[bytes, ...]]:
    """Bodies that are not empty: an empty one could not be cut short."""
    first = st.one_of(st.just(b"x"), st.binary(min_size=1, max_size=8), st.just(b"x" * 5000))
    return st.builds(lambda head, rest: (head, *rest), first, st.lists(st.binary(max_size=8), max_size=2))


def _chosen(faults: Iterable[str] | None, known: dict[str, Fault], mendable: bool) -> SearchStrategy[str]:
    names = list(known) if faults is None else list(faults)
    for name in names:
        _require(name, known)
    names = [name for name in names if mendable or not known[name].mendable]
    if not names:
        raise UsageError("faults to choose among are expected; got none that cannot be mended")
    return st.sampled_from(names)


# -- WSGI


def _wsgi(name: str, rule: str, *, mendable: bool = False) -> Callable[[_WSGIAct], _WSGIAct]:
    def entered(act: _WSGIAct) -> _WSGIAct:
        WSGI_FAULTS[name] = Fault(name, rule, mendable)
        _wsgi_acts[name] = act
        return act

    return entered


def _wsgi_head(name: str, rule: str, status: Any, headers: Any = (), *, mendable: bool = False) -> None:
    """A fault that is in what `start_response` is given."""

    @_wsgi(name, rule, mendable=mendable)
    def act(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
        start_response(status, list(headers) if isinstance(headers, tuple) else headers)
        return list(chunks)


@_wsgi("raises", 'an exception before start_response; PEP 3333 "Error Handling"')
def _raises(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    raise Broken("before start_response")


@_wsgi("raises after start_response", 'an exception before the first chunk; PEP 3333 "Error Handling"')
def _raises_started(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    raise Broken("after start_response")


@_wsgi("raises after a chunk", 'an exception in the middle of the body; PEP 3333 "Error Handling"')
def _raises_late(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield chunks[0]
    raise Broken("after a chunk")


@_wsgi("raises after write", 'an exception after write(); PEP 3333 "Error Handling"')
def _raises_written(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])(chunks[0])
    raise Broken("after write()")


@_wsgi("raises in close", 'an exception in close(); PEP 3333 "Specification Details"', mendable=True)
def _raises_closing(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    return _RaisesInClose(chunks)


class _RaisesInClose:
    def __init__(self, chunks: tuple[bytes, ...]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        raise Broken("in close()")


@_wsgi("raises StopIteration", "StopIteration out of the call looks like an end to what waits for it")
def _raises_stop(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    raise StopIteration


@_wsgi("exits", "SystemExit out of the call would end a server's loop or thread")
def _exits(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    sys.exit("from the app")


@_wsgi("exits after a chunk", "SystemExit in the middle of the body")
def _exits_late(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield chunks[0]
    sys.exit("from the app")


@_wsgi("no start_response", 'chunks without start_response; PEP 3333 "The start_response() Callable"')
def _never_starts(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    return list(chunks)


@_wsgi("nothing at all", 'neither start_response nor a chunk; PEP 3333 "The start_response() Callable"')
def _does_nothing(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    return []


@_wsgi("starts after a chunk", 'a chunk before start_response; PEP 3333 "The start_response() Callable"')
def _starts_after_chunk(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Iterator[bytes]:
    yield chunks[0]
    start_response("200 OK", [])
    yield from chunks[1:]


@_wsgi("starts twice", 'a second start_response without exc_info; PEP 3333 "The start_response() Callable"')
def _starts_twice(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    start_response("201 Created", [])
    return list(chunks)


@_wsgi("swallows exc_info", "goes on after start_response has raised what exc_info holds", mendable=True)
def _swallows(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield chunks[0]
    try:
        raise Broken("after a chunk")
    except Broken:
        try:
            start_response("500 Broken", [], sys.exc_info())
        except Broken:
            pass
    yield b"and so on"


@_wsgi("returns None", 'no iterable; PEP 3333 "Specification Details"')
def _returns_none(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    return None


@_wsgi("returns a number", 'no iterable; PEP 3333 "Specification Details"')
def _returns_number(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    return 42


@_wsgi("returns text", 'text, whose items are no bytes; PEP 3333 "Unicode Issues"')
def _returns_text(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    return "text"


@_wsgi("yields text", 'a chunk that is no bytes; PEP 3333 "Unicode Issues"')
def _yields_text(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [*chunks, "text"]


@_wsgi("yields None", 'a chunk that is no bytes; PEP 3333 "Specification Details"')
def _yields_none(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])
    return iter([*chunks, None])


@_wsgi("writes text", 'write() of what is no bytes; PEP 3333 "The write() Callable"')
def _writes_text(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [])("text")
    return list(chunks)


@_wsgi("too short", 'fewer bytes than Content-Length; PEP 3333 "Handling the Content-Length Header"')
def _too_short(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", str(sum(map(len, chunks)) + 1))])
    return list(chunks)


@_wsgi(
    "too long", 'more bytes than Content-Length; PEP 3333 "Handling the Content-Length Header"', mendable=True
)
def _too_long(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", str(sum(map(len, chunks)) - 1))])
    return iter(chunks)


@_wsgi(
    "writes too much",
    'write() beyond Content-Length; PEP 3333 "Handling the Content-Length Header"',
    mendable=True,
)
def _writes_too_much(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    write = start_response("200 OK", [("Content-Length", "1")])
    write(b"xx")
    return []


@_wsgi("body of a 204", "a body where there is none; RFC 9110 section 15.3.5", mendable=True)
def _body_of_204(chunks: tuple[bytes, ...], environ: Environ, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return list(chunks)


_wsgi_head("status is bytes", 'PEP 3333 "Unicode Issues"', b"200 OK")
_wsgi_head("status is a number", 'PEP 3333 "The start_response() Callable"', 200)
_wsgi_head("status is None", 'PEP 3333 "The start_response() Callable"', None)
_wsgi_head("status without code", 'PEP 3333 "The start_response() Callable"', "OK")
_wsgi_head("status of four digits", "RFC 9112 section 4", "2000 OK")
_wsgi_head("status of 100", "an interim status as the final one; RFC 9110 section 15.2", "100 Continue")
_wsgi_head("status of 700", "RFC 9110 section 15", "700 Beyond")
_wsgi_head("status with CR LF", "injection; RFC 9112 section 4", "200 OK\r\nX-Injected: 1")
_wsgi_head("headers are None", 'PEP 3333 "The start_response() Callable"', "200 OK", None)
_wsgi_head("header of three", 'PEP 3333 "The start_response() Callable"', "200 OK", (("X-A", "1", "2"),))
_wsgi_head("header name is bytes", 'PEP 3333 "Unicode Issues"', "200 OK", ((b"X-A", "1"),))
_wsgi_head("header value is a number", 'PEP 3333 "Unicode Issues"', "200 OK", (("X-A", 1),))
_wsgi_head("header name is empty", "RFC 9110 section 5.1", "200 OK", (("", "1"),))
_wsgi_head("header name with a colon", "RFC 9110 section 5.1", "200 OK", (("X-A:", "1"),))
_wsgi_head("header name with a blank", "RFC 9110 section 5.1", "200 OK", (("X A", "1"),))
_wsgi_head("header with CR LF", "injection; RFC 9110 section 5.5", "200 OK", (("X-A", "1\r\nX-Injected: 1"),))
_wsgi_head("header with NUL", "RFC 9110 section 5.5", "200 OK", (("X-A", "1\0"),))
_wsgi_head("header beyond Latin-1", 'PEP 3333 "Unicode Issues"', "200 OK", (("X-A", "\u20ac"),))
_wsgi_head("length is no number", "RFC 9110 section 8.6", "200 OK", (("Content-Length", "one"),))
_wsgi_head("length is negative", "RFC 9110 section 8.6", "200 OK", (("Content-Length", "-1"),))
_wsgi_head(
    "two lengths", "RFC 9110 section 8.6", "200 OK", (("Content-Length", "1"), ("Content-Length", "2"))
)
_wsgi_head(
    "hop-by-hop header",
    'PEP 3333 "Other HTTP Features"',
    "200 OK",
    (("Transfer-Encoding", "chunked"), ("Connection", "close")),
    mendable=True,
)


# -- ASGI


def _asgi(name: str, rule: str, *, mendable: bool = False) -> Callable[[_ASGIAct], _ASGIAct]:
    def entered(act: _ASGIAct) -> _ASGIAct:
        ASGI_FAULTS[name] = Fault(name, rule, mendable)
        _asgi_acts[name] = act
        return act

    return entered


def _asgi_sends(name: str, rule: str, *messages: Any, mendable: bool = False) -> None:
    """A fault that is in the messages themselves; the body follows as it should."""

    @_asgi(name, rule, mendable=mendable)
    async def act(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(dict(message) if isinstance(message, dict) else message)
        await _send_body(send, chunks)


def _start(status: Any = 200, headers: Any = ()) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _send_body(send: Send, chunks: tuple[bytes, ...], *, last: bool = True) -> None:
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if last:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@_asgi("raises", 'an exception before the start; ASGI "Error Handling"')
async def _araises(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    raise Broken("before the start")


@_asgi("raises after the start", 'an exception before the body; ASGI "Error Handling"')
async def _araises_started(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())
    raise Broken("after the start")


@_asgi("raises after a chunk", 'an exception in the middle of the body; ASGI "Error Handling"')
async def _araises_late(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())
    await _send_body(send, chunks, last=False)
    raise Broken("after a chunk")


@_asgi("raises after the end", "an exception after the response was complete", mendable=True)
async def _araises_after(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())
    await _send_body(send, chunks)
    raise Broken("after the end")


@_asgi("exits", "SystemExit out of a task ends the server's event loop")
async def _aexits(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    sys.exit("from the app")


@_asgi("exits after a chunk", "SystemExit in the middle of the body")
async def _aexits_late(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())
    await _send_body(send, chunks, last=False)
    sys.exit("from the app")


@_asgi("cancels itself", "CancelledError that nobody has asked for")
async def _cancels(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    import asyncio

    raise asyncio.CancelledError


@_asgi("returns at once", 'no response; ASGI "HTTP Connection Scope"')
async def _returns(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    return None


@_asgi("returns after the start", "a response without its body")
async def _returns_started(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())


@_asgi("returns after a chunk", "a body without its end")
async def _returns_late(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())
    await _send_body(send, chunks, last=False)


@_asgi("swallows errors", "goes on after send() has refused a message")
async def _aswallows(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    for message in ({"type": "http.response.body", "body": b"early"}, _start("200"), _start(200, [("X", 1)])):
        try:
            await send(message)
        except Exception:
            pass


@_asgi("too short", "fewer bytes than Content-Length; RFC 9110 section 8.6")
async def _atoo_short(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start(200, [(b"content-length", b"%d" % (sum(map(len, chunks)) + 1))]))
    await _send_body(send, chunks)


@_asgi("too long", "more bytes than Content-Length; RFC 9110 section 8.6", mendable=True)
async def _atoo_long(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start(200, [(b"content-length", b"%d" % (sum(map(len, chunks)) - 1))]))
    await _send_body(send, chunks)


@_asgi("sends after the end", "a body after the last one", mendable=True)
async def _sends_after(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start())
    await _send_body(send, chunks)
    await _send_body(send, (b"too late",))


@_asgi("body of a 204", "a body where there is none; RFC 9110 section 15.3.5", mendable=True)
async def _abody_of_204(chunks: tuple[bytes, ...], scope: Scope, receive: Receive, send: Send) -> None:
    await send(_start(204))
    await _send_body(send, chunks)


_MESSAGES = 'ASGI HTTP, "Response Start - send event"'
_asgi_sends("body before the start", _MESSAGES)
_asgi_sends("starts twice", _MESSAGES, _start(), _start(201))
_asgi_sends("start without status", _MESSAGES, {"type": "http.response.start", "headers": []})
_asgi_sends("status is text", _MESSAGES, _start("200"))
_asgi_sends("status is None", _MESSAGES, _start(None))
_asgi_sends("status of 100", "an interim status as the final one; RFC 9110 section 15.2", _start(100))
_asgi_sends("status of 700", "RFC 9110 section 15", _start(700))
_asgi_sends("message is None", 'ASGI "Events"', None)
_asgi_sends("message without type", 'ASGI "Events"', {"status": 200})
_asgi_sends("unknown message", 'ASGI "Error Handling"', _start(), {"type": "http.response.unknown"})
_asgi_sends("websocket message", 'ASGI "Error Handling"', {"type": "websocket.accept"})
_asgi_sends(
    "body is text",
    'ASGI HTTP, "Response Body - send event"',
    _start(),
    {"type": "http.response.body", "body": "text", "more_body": True},
)
_asgi_sends("header is text", _MESSAGES, _start(200, [("x-a", "1")]))
_asgi_sends("header value is a number", _MESSAGES, _start(200, [(b"x-a", 1)]))
_asgi_sends("header of three", _MESSAGES, _start(200, [(b"x-a", b"1", b"2")]))
_asgi_sends("header name is empty", "RFC 9110 section 5.1", _start(200, [(b"", b"1")]))
_asgi_sends("pseudo-header", _MESSAGES, _start(200, [(b":status", b"200")]))
_asgi_sends("header with CR LF", "injection; RFC 9110 section 5.5", _start(200, [(b"x-a", b"1\r\nx-i: 1")]))
_asgi_sends("header with NUL", "RFC 9110 section 5.5", _start(200, [(b"x-a", b"1\0")]))
_asgi_sends("length is no number", "RFC 9110 section 8.6", _start(200, [(b"content-length", b"one")]))
_asgi_sends(
    "two lengths",
    "RFC 9110 section 8.6",
    _start(200, [(b"content-length", b"1"), (b"content-length", b"2")]),
)
_asgi_sends(
    "upper-case header", f"{_MESSAGES}: names are in lower case", _start(200, [(b"X-A", b"1")]), mendable=True
)
_asgi_sends(
    "hop-by-hop header",
    "RFC 9110 section 7.6.1",
    _start(200, [(b"transfer-encoding", b"chunked"), (b"connection", b"close")]),
    mendable=True,
)
_asgi_sends(
    "trailers unannounced",
    'ASGI "HTTP Trailers"',
    _start(),
    {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False},
    mendable=True,
)
