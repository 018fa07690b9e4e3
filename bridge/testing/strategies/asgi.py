"""ASGI apps as values: any lawful way to answer that servers and middleware must bear."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...types import Receive, Scope, Send
from ..exchange import Headers
from .behaviour import PLAIN, Behaviour, Seen, acts
from .readable import Readable

Order: TypeAlias = Literal["read", "start", "chunks"]
"""What comes first: receiving the request body; `http.response.start`; or the chunks, so that the
request body is received while the response is under way."""

Lifespan: TypeAlias = Literal["none", "ignored", "served"]
"""What becomes of a lifespan scope: the app raises, as most do; returns at once; or answers."""


@dataclass(frozen=True, repr=False)
class GeneratedASGI(Readable):
    """An ASGI 3 app, for servers that run on asyncio, that does what its fields say.

    Attributes:
        does: what a client can see of it.
        order: what it does first.
        merged: the last chunk comes with `more_body` false; otherwise an empty message ends the body.
        sparse: keys of messages are left out where they have their default.
        pauses: how often it gives way to other tasks before each message.
        watches: a task of its own waits for `http.disconnect` while the response is sent (Starlette's
            way), and is cancelled at its end.
        lingers: it goes on after its last body, as a background task does, and receives
            `http.disconnect` then.
        trailers: sent after the body if the server offers them.
        lifespan: what it does with a lifespan scope.
    """

    does: Behaviour = PLAIN
    order: Order = "read"
    merged: bool = True
    sparse: bool = False
    pauses: int = 0
    watches: bool = False
    lingers: bool = False
    trailers: Headers = ()
    lifespan: Lifespan = "none"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection.

        Raises:
            NotImplementedError: the scope is not `http`, and no lifespan that is to be answered.
        """
        if scope["type"] == "lifespan" and self.lifespan != "none":
            if self.lifespan == "served":
                await _serve_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        await _Run(self, scope, receive, send).go()


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})


class _Run:
    """One request to one app, in its task."""

    def __init__(self, app: GeneratedASGI, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._input: bytes | None = None

    async def go(self) -> None:
        app = self._app
        if app.order == "read" or app.does.reads_first:
            await self._read()
        await self._start()
        if app.order == "start":
            await self._read()
        if app.watches and self._input is not None:
            watcher = asyncio.ensure_future(self._watch())
            try:
                await self._respond()
            finally:
                # Whoever cancels this task cancels the wait below as well; the watcher is cancelled by then.
                watcher.cancel()
                await asyncio.wait([watcher])
        else:
            await self._respond()
        if app.lingers:
            await self._pause(3)
            await self._watch()

    async def _read(self) -> None:
        """Receive until enough has come, or all, or the client is gone."""
        wanted = self._app.does.reads
        pieces: list[bytes] = []
        size = 0
        while self._input is None:
            if wanted is not None and size >= wanted:
                self._input = b"".join(pieces)[:wanted]
                break
            message = await self._receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if not message.get("more_body", False):
                self._input = b"".join(pieces)[:wanted]

    async def _watch(self) -> None:
        """Receive until the client is gone or the response complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _chunks(self) -> tuple[bytes, ...]:
        """All chunks; without the last one, which tells of the request, as long as that is not read."""
        does = self._app.does if self._input is not None else replace(self._app.does, reflects=())
        return does.body(Seen.in_scope(self._scope, self._input or b""))

    async def _start(self) -> None:
        head = self._app.does.head(Seen.in_scope(self._scope, self._input or b""))
        message: dict[str, Any] = {"type": "http.response.start", "status": self._app.does.status}
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in head]
        if headers or not self._app.sparse:
            message["headers"] = headers
        if self._sends_trailers:
            message["trailers"] = True
        await self._give(message)

    @property
    def _sends_trailers(self) -> bool:
        offered = self._scope.get("extensions") or {}
        return bool(self._app.trailers) and "http.response.trailers" in offered

    async def _respond(self) -> None:
        sent = 0
        if self._input is None:
            early = self._chunks()
            for chunk in early:
                await self._give_body(chunk, more=True)
            sent = len(early)
            await self._read()
        chunks = list(self._chunks()[sent:])
        last = chunks.pop() if chunks and self._app.merged else b""
        for chunk in chunks:
            await self._give_body(chunk, more=True)
        await self._give_body(last, more=False)
        if self._sends_trailers:
            await self._give(
                {
                    "type": "http.response.trailers",
                    "headers": [
                        (name.lower().encode("latin-1"), value.encode("latin-1"))
                        for name, value in self._app.trailers
                    ],
                    "more_trailers": False,
                }
            )

    async def _give_body(self, data: bytes, *, more: bool) -> None:
        message: dict[str, Any] = {"type": "http.response.body"}
        if data or not self._app.sparse:
            message["body"] = data
        if more or not self._app.sparse:
            message["more_body"] = more
        await self._give(message)

    async def _give(self, message: dict[str, Any]) -> None:
        await self._pause(self._app.pauses)
        await self._send(message)

    async def _pause(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)


def asgi_apps(
    does: SearchStrategy[Behaviour] | None = None, *, trailers: bool = True
) -> SearchStrategy[GeneratedASGI]:
    """Well-behaved ASGI apps, `GeneratedASGI()` first.

    Args:
        does: what they do; by default anything.
        trailers: whether some send trailers, where a server offers them.
    """
    some_trailers = st.sampled_from([(), (("X-Sum", "1"),), (("X-Sum", "1"), ("X-Sum", "2"))])
    return st.builds(
        GeneratedASGI,
        does=acts() if does is None else does,
        order=st.sampled_from(["read", "start", "chunks"]),
        merged=st.sampled_from([True, False]),
        sparse=st.booleans(),
        pauses=st.integers(0, 2),
        watches=st.booleans(),
        lingers=st.booleans(),
        trailers=some_trailers if trailers else st.just(()),
        lifespan=st.sampled_from(["none", "ignored", "served"]),
    ).map(_without_idle_fields)


def _without_idle_fields(app: GeneratedASGI) -> GeneratedASGI:
    """What has no effect is not told of."""
    if app.does.reads == 0 or app.does.reads_first:
        app = replace(app, order="read")
    return replace(app, watches=app.watches and app.order != "chunks")
