"""Who serves an ASGI app under a WSGI server: bridge and its rival, and the floor beneath both.

Each adapter runs as it comes, but for the event loop: asyncio's is the default of both, and uvloop's is
measured beside it. `build` takes an ASGI app and the loop's name and gives a `Served`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import contenders
from benchmarks.contenders import BRIDGE, Contender
from benchmarks.eventloop import LoopThread

ASYNCIO = "asyncio"


def _uvloop() -> Any:
    import uvloop

    return uvloop.new_event_loop


LOOP_FACTORIES: dict[str, Callable[[], Any]] = {ASYNCIO: lambda: None, "uvloop": _uvloop}
"""Gives what bridge takes as `loop_factory`. Adapters of one factory share their loop."""


class Served(NamedTuple):
    """A WSGI app, and what ends its threads."""

    app: Any
    close: Callable[[], object]


def _bridge(app: Any, loop: str) -> Served:
    from bridge import ASGIToWSGI

    adapter = ASGIToWSGI(app, loop_factory=LOOP_FACTORIES[loop]())
    return Served(adapter, adapter.close)


def _a2wsgi(app: Any, loop: str) -> Served:
    from a2wsgi import ASGIMiddleware

    # It would do the same by itself, but leaves its thread behind.
    thread = LoopThread(loop)
    return Served(ASGIMiddleware(app, loop=thread.loop), thread.close)


ADAPTERS = (
    Contender(BRIDGE, "bridge", "wsgi-asgi-bridge", _bridge),
    Contender("a2wsgi", "a2wsgi", "a2wsgi", _a2wsgi),
)

BY_NAME = {contender.name: contender for contender in ADAPTERS}


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("never called")


def missing() -> dict[str, str]:
    """The adapters that cannot be measured here, each with the reason."""
    reasons = {}
    for contender in ADAPTERS:
        try:
            contender.build(_nothing, ASYNCIO).close()
        except ImportError as exc:
            reasons[contender.name] = str(exc)
    return reasons


def available() -> list[Contender]:
    """The adapters that are installed."""
    absent = missing()
    return [contender for contender in ADAPTERS if contender.name not in absent]


def mark(loop: str) -> str:
    """What stands behind a contender's name on this loop: the default has no mark."""
    return "" if loop == ASYNCIO else loop


def labels(names: list[str]) -> dict[str, str]:
    """Labels that name the loop of each, also of those on the default one."""
    return {name: f"{contenders.label(name)}, {ASYNCIO}" for name in names if not contenders.split(name)[1]}
