"""Requests per second inside one process: no sockets, no parser, only the adapter and its loop.

Some threads call the adapter, as those of a WSGI server do, each again as soon as it is answered. All
contenders live in one process and take turns in slices of a tenth of a second. Every adapter and the floor
has its own thread with a loop, of the same kind for those that are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.answers import HELLO, HELLO_ANSWER, Expected, WrongAnswer
from benchmarks.asgi_under_wsgi import adapters, apps
from benchmarks.asgi_under_wsgi.exchange import stepped, wsgi_call
from benchmarks.clients import Call, settle, threaded_loop
from benchmarks.contenders import CROSSING, LIMIT, on_loop
from benchmarks.eventloop import LoopThread
from benchmarks.measure import Case, Progress, Result, Series, Settings, shuffled

SLICE = 0.1
SMOKE_SLICE = 0.01
THREADS = (1, 8, 32)


@dataclass(frozen=True)
class Scenario:
    """One ASGI app, called by some numbers of threads."""

    name: str
    title: str
    app: Callable[[], Any]
    """Makes the ASGI app."""
    expected: Expected
    rounds: int
    reference: str


SCENARIOS = (
    Scenario(
        name="asgi-hello",
        title="A bare ASGI hello-world in process",
        app=lambda: apps.hello,
        expected=HELLO_ANSWER,
        rounds=11,
        reference=CROSSING,
    ),
    Scenario(
        name="asgi-starlette",
        title="Starlette hello in process",
        app=apps.starlette_hello,
        expected=apps.FRAMEWORK_ANSWER,
        rounds=11,
        reference="a2wsgi",
    ),
)


def case_name(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"


def floor_call(loop: asyncio.AbstractEventLoop) -> Call:
    """A coroutine that does nothing, run on the loop of another thread."""

    def call() -> None:
        if asyncio.run_coroutine_threadsafe(apps.trivial(), loop).result() != HELLO:
            raise WrongAnswer("not what the coroutine returns")

    return call


def _scope() -> dict[str, Any]:
    """What the request of `exchange.get_environ` is to an ASGI app."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "root_path": "",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"bench/1.0"), (b"accept", b"*/*")],
    }


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Run one scenario."""
    result = Result(scenario.name, scenario.title, "requests/s", reference=scenario.reference)
    app = scenario.app()
    calls: dict[str, Call] = {LIMIT: stepped(app, _scope(), scenario.expected)}
    with contextlib.ExitStack() as stack:
        for loop in settings.loops:
            mark = adapters.mark(loop)
            for contender in adapters.available():
                served = contender.build(app, loop)
                stack.callback(served.close)
                calls[on_loop(contender.name, mark)] = wsgi_call(served.app, scenario.expected)
            thread = LoopThread(loop)
            stack.callback(thread.close)
            calls[on_loop(CROSSING, mark)] = floor_call(thread.loop)
        result.labels = adapters.labels([name for name in calls if name != LIMIT])
        _rounds(result, calls, scenario, settings)
    return result


def _rounds(result: Result, calls: dict[str, Call], scenario: Scenario, settings: Settings) -> None:
    seconds = SMOKE_SLICE if settings.smoke else SLICE
    numbers = THREADS[:2] if settings.smoke else THREADS
    for threads in numbers:
        result.cases.append(Case(case_name(threads), {name: Series() for name in calls}))
    for call in calls.values():
        threaded_loop(call, max(numbers), seconds)
    rounds = settings.rounds_or(scenario.rounds)
    progress = Progress(scenario.name, rounds)
    gc.freeze()
    try:
        for number in range(rounds):
            for threads, case in zip(numbers, result.cases, strict=True):
                for name in shuffled(list(calls), number):
                    settle()
                    case.series[name].add(threaded_loop(calls[name], threads, seconds))
            progress.round_done(number)
    finally:
        gc.unfreeze()
