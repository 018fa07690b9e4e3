"""Calls of a blocking function from a loop, each again as soon as it has returned.

All contenders call the same function, which does nothing. Each loop has its own executor and threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
from asgiref.sync import async_to_sync as asgiref_async_to_sync
from asgiref.sync import sync_to_async as asgiref_sync_to_async

from benchmarks.answers import HELLO, WrongAnswer
from benchmarks.clients import Request, closed_loop
from benchmarks.contenders import BRIDGE, FLOOR, on_loop
from benchmarks.measure import Result, Settings, Slice
from benchmarks.shim.loops import ASYNCIO, FLOOR_THREADS, Runner, executor, mark, runners
from benchmarks.shim.rounds import OneSlice, labels, rounds
from bridge import async_to_sync, sync_to_async

NAME = "to-async"
ROUNDS = 11
SLICE = 0.1
SMOKE_SLICE = 0.01
CONCURRENCIES = (1, 10, 50)

SENSITIVE = "sensitive"
"""Behind a name: thread-sensitive calls, in the one thread that such code shares."""
WAITING = "waiting"
"""Behind a name: thread-sensitive calls in the thread that waits in `async_to_sync` further up."""

LABELS = {
    FLOOR: "floor (run_in_executor)",
    BRIDGE: "bridge",
    f"{BRIDGE}-{SENSITIVE}": "bridge, thread-sensitive",
    f"{BRIDGE}-{WAITING}": "bridge, to a waiting thread",
    "asgiref": "asgiref",
    f"asgiref-{SENSITIVE}": "asgiref, thread-sensitive",
    f"asgiref-{WAITING}": "asgiref, to a waiting thread",
    "to_thread": "asyncio.to_thread",
    "anyio": "anyio.to_thread.run_sync",
}


def trivial() -> bytes:
    """What is called."""
    return HELLO


def _request(call: Callable[[], Awaitable[bytes]]) -> Request:
    """One call, whose result has to be right."""

    async def request() -> None:
        if await call() != HELLO:
            raise WrongAnswer("not what the function returns")

    return request


def _calls(loop: asyncio.AbstractEventLoop, floor: ThreadPoolExecutor) -> dict[str, Callable[[], Any]]:
    """What calls the function, by contender."""
    return {
        FLOOR: lambda: loop.run_in_executor(floor, trivial),
        BRIDGE: sync_to_async(trivial, thread_sensitive=False),
        f"{BRIDGE}-{SENSITIVE}": sync_to_async(trivial),
        "asgiref": asgiref_sync_to_async(trivial, thread_sensitive=False),
        f"asgiref-{SENSITIVE}": asgiref_sync_to_async(trivial),
        "to_thread": functools.partial(asyncio.to_thread, trivial),
        "anyio": functools.partial(anyio.to_thread.run_sync, trivial),
    }


def _slices(runner: Runner, floor: ThreadPoolExecutor) -> dict[str, OneSlice]:
    requests = {name: _request(call) for name, call in _calls(runner.loop, floor).items()}

    def plain(request: Request) -> OneSlice:
        return lambda clients, seconds: runner.measure(closed_loop(request, clients, seconds), seconds)

    slices = {name: plain(request) for name, request in requests.items()}
    for name, below in ((BRIDGE, _below_ours), ("asgiref", _below_theirs)):
        slices[f"{name}-{WAITING}"] = _waiting(runner, requests[f"{name}-{SENSITIVE}"], below)
    return slices


Below = Callable[[Request, int, float], Coroutine[Any, Any, Slice]]


def _waiting(runner: Runner, request: Request, below: Below) -> OneSlice:
    return lambda clients, seconds: runner.measure(below(request, clients, seconds), seconds)


async def _below_ours(request: Request, clients: int, seconds: float) -> Slice:
    """The clients in a coroutine that a thread waits for, on this same loop."""

    def blocking() -> Slice:
        return async_to_sync(closed_loop)(request, clients, seconds)

    return await sync_to_async(blocking, thread_sensitive=False)()


async def _below_theirs(request: Request, clients: int, seconds: float) -> Slice:
    def blocking() -> Slice:
        return asgiref_async_to_sync(closed_loop)(request, clients, seconds)

    return await asgiref_sync_to_async(blocking, thread_sensitive=False)()


def measure(settings: Settings) -> Result:
    """Run the scenario."""
    result = Result(NAME, "Calls of a blocking function from async code", "calls/s", reference=FLOOR)
    slices: dict[str, OneSlice] = {}
    with contextlib.ExitStack() as stack:
        for runner in stack.enter_context(runners(settings.loops)):
            floor = stack.enter_context(executor(FLOOR_THREADS))
            for name, slice_ in _slices(runner, floor).items():
                slices[on_loop(name, mark(runner.name))] = slice_
        result.labels = labels(list(slices), LABELS, ASYNCIO)
        cases = [(f"concurrency {number}", number) for number in CONCURRENCIES]
        seconds = SMOKE_SLICE if settings.smoke else SLICE
        return rounds(result, cases, slices, settings, ROUNDS, seconds)
