"""Calls of an async function from threads, each again as soon as it has returned.

From plain threads, which belong to nobody, each contender has the loop that it makes for such; the floor
and the portal have one in a thread of their own. In workers, each contender has threads of its own kind,
started from the loop that its calls come back to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import anyio.from_thread
import anyio.to_thread
from asgiref.sync import async_to_sync as asgiref_async_to_sync
from asgiref.sync import sync_to_async as asgiref_sync_to_async

from benchmarks.answers import HELLO, WrongAnswer
from benchmarks.clients import Call, reason, threaded_loop
from benchmarks.contenders import BRIDGE, CROSSING, on_loop
from benchmarks.eventloop import new_loop
from benchmarks.measure import Result, Settings, Slice
from benchmarks.shim.loops import ASYNCIO, Runner, executor, mark, runners
from benchmarks.shim.rounds import OneSlice, labels, rounds
from bridge import async_to_sync, sync_to_async

PLAIN = "to-sync"
WORKER = "to-sync-worker"
ROUNDS = 11
SLICE = 0.1
SMOKE_SLICE = 0.01
THREADS = (1, 8, 32)

LABELS = {
    CROSSING: "floor (run_coroutine_threadsafe)",
    BRIDGE: "bridge",
    "asgiref": "asgiref",
    "anyio": "anyio's blocking portal",
}
WORKER_LABELS = {**LABELS, "anyio": "anyio.from_thread.run"}


async def trivial() -> bytes:
    """What is called."""
    return HELLO


def _call(function: Callable[[], bytes]) -> Call:
    """One call, whose result has to be right."""

    def call() -> None:
        if function() != HELLO:
            raise WrongAnswer("not what the coroutine returns")

    return call


def case_name(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"


def _floor(loop: asyncio.AbstractEventLoop) -> Call:
    return _call(lambda: asyncio.run_coroutine_threadsafe(trivial(), loop).result())


def uvloop_factory() -> asyncio.AbstractEventLoop:
    """One function, so that all calls share one loop."""
    return new_loop("uvloop")


# -- plain threads


@contextlib.contextmanager
def _portal(loop: str) -> Iterator[Call]:
    options = {"use_uvloop": loop != ASYNCIO}
    with anyio.from_thread.start_blocking_portal(backend="asyncio", backend_options=options) as portal:
        yield _call(lambda: portal.call(trivial))


def measure_plain(settings: Settings) -> Result:
    """Run the scenario of plain threads."""
    title = "Calls of an async function from plain threads"
    result = Result(PLAIN, title, "calls/s", reference=CROSSING)
    calls: dict[str, Call] = {}
    with contextlib.ExitStack() as stack:
        for runner in stack.enter_context(runners(settings.loops)):
            loop = runner.name
            factory = None if loop == ASYNCIO else uvloop_factory
            calls[on_loop(CROSSING, mark(loop))] = _floor(runner.loop)
            calls[on_loop(BRIDGE, mark(loop))] = _call(async_to_sync(trivial, loop_factory=factory))
            calls[on_loop("anyio", mark(loop))] = stack.enter_context(_portal(loop))
        calls["asgiref"] = _call(asgiref_async_to_sync(trivial))
        slices = {name: _threaded(call) for name, call in calls.items()}
        return _rounds(result, slices, LABELS, settings)


def _threaded(call: Call) -> OneSlice:
    return lambda clients, seconds: threaded_loop(call, clients, seconds)


# -- workers


class Done(NamedTuple):
    """What one client has done."""

    right: int
    ended: float
    failures: list[str]


def client(call: Call, seconds: float) -> Done:
    """Call again and again, in this thread."""
    clock = time.perf_counter
    call()
    deadline = clock() + seconds
    right = 0
    failures = []
    while True:
        try:
            call()
            right += 1
        except Exception as error:
            failures.append(reason(error))
        now = clock()
        if now >= deadline:
            return Done(right, now, failures)


Start = Callable[[Call, float], Awaitable[Done]]
"""Runs a client in a worker."""


async def _clients(start: Start, call: Call, threads: int, seconds: float) -> Slice:
    begun = time.perf_counter()
    all_done = await asyncio.gather(*(start(call, seconds) for _ in range(threads)))
    answers = sum(done.right for done in all_done)
    failures = [failure for done in all_done for failure in done.failures]
    value = answers / (max(done.ended for done in all_done) - begun)
    return Slice(value, answers, len(failures), failures[0] if failures else "")


def _workers(runner: Runner, threads: ThreadPoolExecutor) -> dict[str, OneSlice]:
    loop = runner.loop
    contenders: dict[str, tuple[Start, Call]] = {
        CROSSING: (lambda call, seconds: loop.run_in_executor(threads, client, call, seconds), _floor(loop)),
        BRIDGE: (sync_to_async(client, thread_sensitive=False), _call(async_to_sync(trivial))),
        "asgiref": (
            asgiref_sync_to_async(client, thread_sensitive=False, executor=threads),
            _call(asgiref_async_to_sync(trivial)),
        ),
        "anyio": (_in_anyio_worker, _call(lambda: anyio.from_thread.run(trivial))),
    }

    def take(start: Start, call: Call) -> OneSlice:
        return lambda clients, seconds: runner.measure(_clients(start, call, clients, seconds), seconds)

    return {name: take(start, call) for name, (start, call) in contenders.items()}


async def _in_anyio_worker(call: Call, seconds: float) -> Done:
    return await anyio.to_thread.run_sync(client, call, seconds)


def measure_worker(settings: Settings) -> Result:
    """Run the scenario of workers."""
    title = "Calls of an async function from worker threads of its loop"
    result = Result(WORKER, title, "calls/s", reference=CROSSING)
    slices: dict[str, OneSlice] = {}
    with contextlib.ExitStack() as stack:
        for runner in stack.enter_context(runners(settings.loops)):
            threads = stack.enter_context(executor(max(THREADS)))
            for name, slice_ in _workers(runner, threads).items():
                slices[on_loop(name, mark(runner.name))] = slice_
        return _rounds(result, slices, WORKER_LABELS, settings)


def _rounds(result: Result, slices: dict[str, OneSlice], plain: dict[str, Any], settings: Settings) -> Result:
    result.labels = labels(list(slices), plain, ASYNCIO)
    cases = [(case_name(number), number) for number in THREADS]
    seconds = SMOKE_SLICE if settings.smoke else SLICE
    return rounds(result, cases, slices, settings, ROUNDS, seconds)
