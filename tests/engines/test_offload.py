"""One function in a thread while a task waits."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from support.drive import run, together
from support.engines import (
    PATIENCE,
    MakePool,
    Task,
    checkpoint,
    eventually,
    fill,
    in_thread,
    script,
)

from bridge.engines import offload
from bridge.engines.offload import run_in_new_thread, run_in_pool
from bridge.engines.running import running_port
from bridge.exceptions import PoolClosed, PoolFull


class Fatal(BaseException):
    """No `Exception`."""


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_a_function_runs_in_a_worker_and_its_result_comes_back(loop: str, make_pool: MakePool) -> None:
    pool = make_pool(1, name="hooks")

    async def main() -> None:
        port = running_port()
        assert await run_in_pool(pool, port, lambda: threading.current_thread().name) == "hooks-1"
        assert await run_in_pool(pool, port, lambda: None) is None

    run(main, loop)


def test_a_function_runs_in_a_daemon_thread_of_its_own(loop: str) -> None:
    async def main() -> None:
        thread = await run_in_new_thread(running_port(), threading.current_thread, "bridge-drain")
        assert thread.name == "bridge-drain"
        assert thread.daemon
        assert thread is not threading.current_thread()
        await in_thread(thread.join)
        assert thread not in threading.enumerate()

    run(main, loop)


@pytest.mark.parametrize("error", [ValueError("x"), OSError(2, "x"), Fatal("x")], ids=repr)
def test_what_the_function_raises_is_raised_in_the_task(
    loop: str, make_pool: MakePool, error: BaseException
) -> None:
    pool = make_pool(1)

    def fail() -> None:
        raise error

    async def main() -> None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: run_in_pool(pool, running_port(), fail),
            lambda: run_in_new_thread(running_port(), fail, "fails"),
        ]
        for call in calls:
            with pytest.raises(type(error)) as caught:
                await call()
            assert caught.value is error

    run(main, loop)
    eventually(lambda: pool.stats().completed == 1)


def test_a_stop_iteration_does_not_end_the_task_quietly(loop: str, make_pool: MakePool) -> None:
    pool = make_pool(1)

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await run_in_pool(pool, running_port(), lambda: next(iter(())))

    run(main, loop)


def test_a_function_runs_in_a_copy_of_the_context_of_the_task(loop: str, make_pool: MakePool) -> None:
    """What it sets does not stay with the worker, for the next to find."""
    pool = make_pool(1)

    def look() -> str:
        seen = variable.get()
        variable.set("set by a function")
        return seen

    async def main() -> None:
        variable.set("set by the task")
        assert await run_in_pool(pool, running_port(), look) == "set by the task"
        assert await run_in_pool(pool, running_port(), look) == "set by the task"
        assert variable.get() == "set by the task"

    run(main, loop)
    seen: list[str] = []
    task = Task(work=lambda worker: seen.append(variable.get()))
    pool.submit(task)
    task.wait()
    assert seen == ["unset"]


def test_a_cancelled_wait_takes_back_a_function_that_has_not_begun(loop: str, make_pool: MakePool) -> None:
    pool = make_pool(1)
    (first,) = fill(pool, 1)
    called: list[bool] = []

    async def main() -> None:
        await cancelled(lambda: run_in_pool(pool, running_port(), lambda: called.append(True)))
        assert pool.stats().queued == 0

    run(main, loop)
    first.let_go()
    assert pool.drain(PATIENCE)
    assert called == []


def test_a_cancelled_wait_leaves_a_function_that_runs_alone(loop: str, make_pool: MakePool) -> None:
    pool = make_pool(1)
    began, free, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert free.wait(PATIENCE)
        ended.set()

    async def main() -> None:
        await cancelled(lambda: run_in_pool(pool, running_port(), work), began.is_set)
        assert not ended.is_set()
        free.set()
        await in_thread(lambda: ended.wait(PATIENCE))

    run(main, loop)
    eventually(lambda: pool.stats().completed == 1)


async def cancelled(call: Callable[[], Any], when: Callable[[], bool] = lambda: True) -> None:
    """Await `call` in a task, and cancel that once `when` holds."""
    if trio.lowlevel.in_trio_task():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await checkpoint(5)
            while not when():
                await checkpoint()
            nursery.cancel_scope.cancel()
    else:
        task = asyncio.ensure_future(call())
        await checkpoint(5)
        while not when():
            await checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_a_function_that_the_pool_refuses_is_not_waited_for(loop: str, make_pool: MakePool) -> None:
    pool = make_pool(1, queue=1)
    (first,) = fill(pool, 1)

    async def main() -> None:
        port = running_port()

        async def wait() -> None:
            with pytest.raises(PoolClosed):
                await run_in_pool(pool, port, lambda: None)

        async def close() -> None:
            await checkpoint(10)
            with pytest.raises(PoolFull):
                await run_in_pool(pool, port, lambda: None)
            await in_thread(lambda: pool.close(0))
            with pytest.raises(PoolClosed):
                await run_in_pool(pool, port, lambda: None)

        await together(wait, close)

    run(main, loop)
    first.let_go()


def test_a_thread_that_cannot_be_started_is_an_error_and_no_wait(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(offload, "start_thread", fail)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await run_in_new_thread(running_port(), lambda: None, "none")

    run(main, loop)


def test_a_loop_that_is_gone_when_the_function_ends_is_no_error(loop: str, make_pool: MakePool) -> None:
    pool = make_pool(1)
    began, free = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert free.wait(PATIENCE)

    async def main() -> None:
        await cancelled(lambda: run_in_pool(pool, running_port(), work), began.is_set)

    run(main, loop)
    free.set()
    eventually(lambda: pool.stats().completed == 1)


def test_an_error_keeps_nothing_alive(loop: str, make_pool: MakePool) -> None:
    """Its traceback refers to the frames that it passed, and those must not refer to it."""
    pool = make_pool(1)

    class Held:
        pass

    async def fails() -> weakref.ref[Held]:
        held = Held()

        def fail(held: Held = held) -> None:
            raise ValueError

        alive = weakref.ref(held)
        with pytest.raises(ValueError):
            await run_in_pool(pool, running_port(), fail)
        return alive

    async def main() -> None:
        alive = await fails()
        eventually(lambda: pool.stats().idle == 1)
        assert alive() is None

    gc.collect()
    gc.disable()
    try:
        run(main, loop)
    finally:
        gc.enable()


def test_the_exit_does_not_wait_for_a_function_that_is_stuck() -> None:
    assert (
        script(
            """
import asyncio, threading
from bridge.engines.offload import run_in_new_thread
from bridge.engines.running import running_port
async def main():
    call = run_in_new_thread(running_port(), threading.Event().wait, "stuck")
    try:
        await asyncio.wait_for(call, 0.05)
    except asyncio.TimeoutError:
        print("end")
asyncio.run(main())
"""
        )
        == "end\n"
    )
