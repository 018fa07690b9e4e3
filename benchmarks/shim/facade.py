"""Calls of one method of a blocking object from a loop: through a facade, and function by function."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async as asgiref_sync_to_async

from benchmarks.answers import HELLO, WrongAnswer
from benchmarks.clients import Request, closed_loop
from benchmarks.contenders import BRIDGE, on_loop
from benchmarks.measure import Result, Settings
from benchmarks.shim.loops import ASYNCIO, Runner, mark, runners
from benchmarks.shim.rounds import OneSlice, labels, rounds
from bridge import sync_to_async
from bridge.shim import async_facade

NAME = "facade"
ROUNDS = 9
SLICE = 0.1
SMOKE_SLICE = 0.01
CONCURRENCIES = (1, 10)

FUNCTION = f"{BRIDGE}-function"
LABELS = {
    BRIDGE: "facade, a thread of its own",
    f"{BRIDGE}-call": "facade, any worker",
    FUNCTION: "sync_to_async of the method",
    "asgiref": "asgiref's sync_to_async of the method",
}


class Greeter:
    """What is called."""

    def greet(self, name: str) -> bytes:
        """Say hello."""
        return HELLO


def _request(greet: Callable[[str], Awaitable[Any]]) -> Request:
    async def request() -> None:
        if await greet("world") != HELLO:
            raise WrongAnswer("not what the method returns")

    return request


def _slices(runner: Runner) -> dict[str, OneSlice]:
    own, any_worker = async_facade(Greeter()), async_facade(Greeter(), affinity="call")
    method = Greeter().greet
    ours = sync_to_async(method, thread_sensitive=False)
    theirs = asgiref_sync_to_async(method, thread_sensitive=False)
    requests = {
        BRIDGE: _request(lambda name: own.greet(name)),
        f"{BRIDGE}-call": _request(lambda name: any_worker.greet(name)),
        FUNCTION: _request(ours),
        "asgiref": _request(theirs),
    }

    def take(request: Request) -> OneSlice:
        return lambda clients, seconds: runner.measure(closed_loop(request, clients, seconds), seconds)

    return {name: take(request) for name, request in requests.items()}


def measure(settings: Settings) -> Result:
    """Run the scenario. The facades' threads end when they are dropped."""
    result = Result(NAME, "Calls of a method of a blocking object", "calls/s", reference=FUNCTION)
    slices: dict[str, OneSlice] = {}
    with contextlib.ExitStack() as stack:
        for runner in stack.enter_context(runners(settings.loops)):
            for name, slice_ in _slices(runner).items():
                slices[on_loop(name, mark(runner.name))] = slice_
        result.labels = labels(list(slices), LABELS, ASYNCIO)
        cases = [(f"concurrency {number}", number) for number in CONCURRENCIES]
        return rounds(result, cases, slices, settings, ROUNDS, SMOKE_SLICE if settings.smoke else SLICE)
