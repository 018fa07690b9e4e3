"""Items of a generator that crosses between a thread and a loop, in both directions.

Each iteration is of a fixed number of items, all of which have to arrive; then the next one begins.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import run_coroutine_threadsafe
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.from_thread
from starlette.concurrency import iterate_in_threadpool

from benchmarks.answers import WrongAnswer
from benchmarks.clients import Call, Request, closed_loop, threaded_loop
from benchmarks.contenders import BRIDGE, CROSSING, FLOOR, on_loop
from benchmarks.measure import Result, Settings, Slice
from benchmarks.shim.loops import ASYNCIO, FLOOR_THREADS, Runner, executor, mark, runners
from benchmarks.shim.rounds import OneSlice, labels, rounds
from bridge.shim import iterate_in_thread, iterate_on_loop

IN_THREAD = "iterate-in-thread"
ON_LOOP = "iterate-on-loop"
ROUNDS = 9
SLICE = 0.1
SMOKE_SLICE = 0.01
ITEMS = 200
TIMES = (1, 8)

LOCKSTEP = f"{BRIDGE}-lockstep"
"""An item is made only when it is asked for."""

LABELS = {
    FLOOR: "floor (run_in_executor)",
    BRIDGE: "bridge",
    LOCKSTEP: "bridge, read_ahead=0",
    "starlette": "Starlette's iterate_in_threadpool",
}
LOOP_LABELS = {
    CROSSING: "floor (run_coroutine_threadsafe)",
    BRIDGE: "bridge",
    LOCKSTEP: "bridge, read_ahead=0",
    "anyio": "anyio's blocking portal",
}


def case_name(times: int) -> str:
    return f"{times} at a time"


def _check(arrived: int) -> None:
    if arrived != ITEMS:
        raise WrongAnswer(f"{arrived} items of {ITEMS}")


def _as_items(slice_: Slice) -> Slice:
    """A slice of whole iterations, told in items."""
    if slice_.value is not None:
        slice_.value *= ITEMS
    if slice_.cpu is not None:
        slice_.cpu /= ITEMS
    return slice_


# -- a blocking generator, for a loop


def numbers() -> Generator[int, None, None]:
    """What is iterated."""
    yield from range(ITEMS)


def _async_for(make: Callable[[], AsyncIterator[int]]) -> Request:
    async def request() -> None:
        arrived = 0
        async for _ in make():
            arrived += 1
        _check(arrived)

    return request


async def _item_by_item(floor: ThreadPoolExecutor) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    iterator, end = iter(numbers()), object()
    while (item := await loop.run_in_executor(floor, next, iterator, end)) is not end:
        assert isinstance(item, int)
        yield item


def _in_thread_slices(runner: Runner, floor: ThreadPoolExecutor) -> dict[str, OneSlice]:
    requests = {
        FLOOR: _async_for(lambda: _item_by_item(floor)),
        BRIDGE: _async_for(lambda: iterate_in_thread(numbers())),
        LOCKSTEP: _async_for(lambda: iterate_in_thread(numbers(), read_ahead=0)),
        "starlette": _async_for(lambda: iterate_in_threadpool(numbers())),
    }

    def take(request: Request) -> OneSlice:
        return lambda clients, seconds: _as_items(
            runner.measure(closed_loop(request, clients, seconds), seconds)
        )

    return {name: take(request) for name, request in requests.items()}


def measure_in_thread(settings: Settings) -> Result:
    """Run the scenario of blocking generators."""
    title = f"A blocking generator of {ITEMS} items, iterated by async code"
    result = Result(IN_THREAD, title, "items/s", reference=FLOOR)
    slices: dict[str, OneSlice] = {}
    with contextlib.ExitStack() as stack:
        for runner in stack.enter_context(runners(settings.loops)):
            floor = stack.enter_context(executor(FLOOR_THREADS))
            for name, slice_ in _in_thread_slices(runner, floor).items():
                slices[on_loop(name, mark(runner.name))] = slice_
        result.labels = labels(list(slices), LABELS, ASYNCIO)
        return _rounds(result, slices, settings)


# -- an async generator, for threads


async def async_numbers() -> AsyncGenerator[int, None]:
    """What is iterated."""
    for number in range(ITEMS):
        yield number


def _for(make: Callable[[], Iterator[int]]) -> Call:
    def call() -> None:
        _check(sum(1 for _ in make()))

    return call


def _each_by(ask: Callable[[Callable[[], Coroutine[Any, Any, int | None]]], int | None]) -> Iterator[int]:
    """Each item asked for by a call of its own."""
    generator = async_numbers()

    async def item() -> int | None:
        return await anext(generator, None)

    while (number := ask(item)) is not None:
        yield number


def measure_on_loop(settings: Settings) -> Result:
    """Run the scenario of async generators; on asyncio's loop only, which `iterate_on_loop` keeps."""
    title = f"An async generator of {ITEMS} items, iterated by plain threads (asyncio)"
    result = Result(ON_LOOP, title, "items/s", reference=CROSSING, labels=LOOP_LABELS)
    with contextlib.ExitStack() as stack:
        (runner,) = stack.enter_context(runners((ASYNCIO,)))
        loop = runner.loop
        portal = stack.enter_context(anyio.from_thread.start_blocking_portal())
        calls = {
            CROSSING: _for(lambda: _each_by(lambda item: run_coroutine_threadsafe(item(), loop).result())),
            BRIDGE: _for(lambda: iterate_on_loop(async_numbers())),
            LOCKSTEP: _for(lambda: iterate_on_loop(async_numbers(), read_ahead=0)),
            "anyio": _for(lambda: _each_by(portal.call)),
        }
        slices: dict[str, OneSlice] = {name: _threaded(call) for name, call in calls.items()}
        return _rounds(result, slices, settings)


def _threaded(call: Call) -> OneSlice:
    return lambda clients, seconds: _as_items(threaded_loop(call, clients, seconds))


def _rounds(result: Result, slices: dict[str, OneSlice], settings: Settings) -> Result:
    cases = [(case_name(number), number) for number in TIMES]
    return rounds(result, cases, slices, settings, ROUNDS, SMOKE_SLICE if settings.smoke else SLICE)
