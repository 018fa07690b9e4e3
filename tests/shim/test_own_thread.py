"""`OwnThread`: order, nesting, and every way in which the thread, a call or the owner may end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any

import anyio
import pytest
from asgiref.sync import async_to_sync as asgiref_async_to_sync
from asgiref.sync import sync_to_async as asgiref_sync_to_async
from support.drive import LOOPS, TIMEOUT, Signal, checkpoint, poll, run, together
from support.engines import eventually, script

from bridge import async_to_sync, sync_to_async
from bridge.exceptions import PoolClosed, PoolError, UsageError, WouldDeadlock
from bridge.shim import own_thread as own_thread_module
from bridge.shim.own_thread import OwnThread, bound_call, outcome_of


class Fatal(BaseException):
    """No `Exception`."""


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


@pytest.mark.parametrize("loop", LOOPS)
def test_all_calls_run_in_one_thread_in_order(loop: str) -> None:
    thread = OwnThread("own-order")
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        assert not threads_named("own-order"), "it starts with the first call"
        for turn in range(3):
            await thread.call(lambda n=turn: seen.append((n, get_ident())))

    run(main, loop)
    assert [n for n, _ in seen] == [0, 1, 2]
    assert {ident for _, ident in seen} == {thread.ident} != {get_ident()}
    thread.close()
    eventually(lambda: not threads_named("own-order"))


@pytest.mark.parametrize("loop", LOOPS)
def test_calls_of_several_tasks_run_one_at_a_time(loop: str) -> None:
    thread = OwnThread()
    running: list[int] = []

    def alone(n: int) -> int:
        running.append(n)
        assert running == [n]
        running.remove(n)
        return n

    async def main() -> None:
        async def call(n: int) -> None:
            assert await thread.call(alone, n) == n

        await together(*((lambda n=n: call(n)) for n in range(20)))

    run(main, loop)
    thread.close()


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), Fatal()], ids=lambda e: type(e).__name__
)
def test_what_the_function_raises_is_raised_and_the_thread_goes_on(error: BaseException) -> None:
    thread = OwnThread()

    def fail() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await thread.call(fail)
        assert caught.value is error
        assert await thread.call(int) == 0

    run(main)
    thread.close()


def test_context_variables_go_in_and_come_back() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    thread = OwnThread()

    def change() -> str:
        seen = variable.get()
        variable.set("thread")
        return seen

    async def main() -> None:
        variable.set("task")
        assert await thread.call(change) == "task"
        assert variable.get() == "thread"

    run(main)
    thread.close()


# -- nesting


def _ours(function: Callable[..., Any]) -> Callable[..., Any]:
    return async_to_sync(function)


def _asgirefs(function: Callable[..., Any]) -> Callable[..., Any]:
    return asgiref_async_to_sync(function)


@pytest.mark.parametrize("way", [_ours, _asgirefs], ids=["ours", "asgiref's"])
def test_a_call_from_a_coroutine_that_the_thread_waits_for_runs_in_it(way: Any) -> None:
    thread = OwnThread()

    def nested(depth: int) -> list[int]:
        here = [get_ident()]
        return here if not depth else here + way(again)(depth - 1)

    async def again(depth: int) -> list[int]:
        return await thread.call(nested, depth)  # type: ignore[no-any-return]

    async def main() -> None:
        assert await again(8) == [thread.ident] * 9

    run(main)
    thread.close()


@pytest.mark.parametrize("back", [sync_to_async, asgiref_sync_to_async], ids=["ours", "asgiref's"])
@pytest.mark.parametrize("out", [_ours, _asgirefs], ids=["ours", "asgiref's"])
def test_the_thread_is_found_by_way_of_another_thread_that_waits_too(back: Any, out: Any) -> None:
    thread = OwnThread()

    async def innermost() -> int:
        return await thread.call(get_ident)  # type: ignore[no-any-return]

    async def middle() -> int:
        return await back(out(innermost), thread_sensitive=False)()  # type: ignore[no-any-return]

    async def main() -> None:
        assert await thread.call(async_to_sync(middle)) == thread.ident

    run(main)
    thread.close()


def test_two_threads_that_wait_for_each_other_are_no_deadlock() -> None:
    one, two = OwnThread(), OwnThread()

    async def last() -> int:
        return await one.call(get_ident)  # type: ignore[no-any-return]

    async def middle() -> int:
        return await two.call(async_to_sync(last))  # type: ignore[no-any-return]

    async def main() -> None:
        assert await one.call(async_to_sync(middle)) == one.ident

    run(main)
    one.close()
    two.close()


def test_a_task_that_has_nothing_to_do_with_a_running_call_waits_for_its_turn() -> None:
    thread = OwnThread()
    order: list[str] = []
    stranger_waits, inside = Signal(), Signal()

    async def inner() -> None:
        inside.set()
        await stranger_waits.come()
        await thread.call(order.append, "nested")

    def outer() -> None:
        async_to_sync(inner)()
        order.append("outer")

    async def main() -> None:
        async def stranger() -> None:
            await inside.come()
            call = bound_call(order.append, ("stranger",))
            thread.submit(call)
            stranger_waits.set()
            await outcome_of(call)

        await together(lambda: thread.call(outer), stranger)

    run(main)
    assert order == ["nested", "outer", "stranger"]
    thread.close()


def test_a_call_from_a_loop_in_the_thread_itself_is_refused() -> None:
    thread = OwnThread()

    async def inner() -> None:
        with pytest.raises(WouldDeadlock, match="use async_to_sync instead"):
            await thread.call(int)

    async def main() -> None:
        await thread.call(lambda: asyncio.run(inner()))

    run(main)
    thread.close()


# -- cancellation


@pytest.mark.parametrize("loop", LOOPS)
def test_a_cancelled_call_that_waits_never_begins_unless_it_must(loop: str) -> None:
    thread = OwnThread()
    go, began = Signal(), Signal()
    ran: list[str] = []

    def hold() -> None:
        began.set()
        go.wait()

    async def main() -> None:
        async def cancelled() -> None:
            await began.come()
            await _cancelled(lambda: thread.call(ran.append, "call"))
            must = bound_call(ran.append, ("must",), must_run=True)
            thread.submit(must)
            go.set()
            await outcome_of(must)

        await together(lambda: thread.call(hold), cancelled)

    run(main, loop)
    assert ran == ["must"]
    thread.close()


async def _cancelled(function: Callable[[], Any]) -> None:
    """Await what the function gives, and cancel that at once."""
    import trio

    if trio.lowlevel.in_trio_task():
        with trio.CancelScope() as scope:
            scope.cancel()
            await function()
        assert scope.cancelled_caught
        return
    task = asyncio.ensure_future(function())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_sees_a_call_through_that_must_run_though_it_is_cancelled(loop: str) -> None:
    thread = OwnThread()
    go, ended = Signal(), Signal()

    def last() -> None:
        go.wait()
        ended.set()

    async def main() -> None:
        async def leave() -> None:
            call = bound_call(last, must_run=True)
            thread.submit(call)
            await outcome_of(call)

        async def cancelled() -> None:
            await _cancelled(leave)
            assert ended.is_set

        async def opener() -> None:
            for _ in range(20):  # the other task is cancelled, and waits all the same
                await checkpoint()
            go.set()

        await together(cancelled, opener)

    run(main, loop)
    thread.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_anyios_scopes_know_their_cancellation_when_it_has_gone_through_the_thread(loop: str) -> None:
    """On asyncio they know it by its message, which it loses on the way through the coroutine inside."""
    thread = OwnThread()
    began = Signal()

    async def forever() -> None:
        began.set()
        await anyio.sleep_forever()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:

                async def cancel() -> None:
                    await began.come()
                    scope.cancel()

                tasks.start_soon(cancel)
                await thread.call(async_to_sync(forever))
            assert scope.cancelled_caught

    run(main, loop)
    thread.close()


def test_what_an_abandoned_function_raises_later_keeps_nothing(no_collector: None) -> None:
    """Its traceback would refer to all that was called, and the call to it."""
    thread = OwnThread()
    began, go = Signal(), Signal()
    kept: list[weakref.ref[Any]] = []

    class Argument:
        pass

    def fail(argument: Argument) -> None:
        kept.append(weakref.ref(argument))
        began.set()
        go.wait()
        raise ValueError

    async def main() -> None:
        task = asyncio.create_task(thread.call(fail, Argument()))
        await began.come()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        await thread.call(int)

    run(main)
    thread.close()
    eventually(lambda: kept[0]() is None, "the argument's end")


def test_a_running_function_is_left_alone_but_the_coroutine_that_it_waits_for_is_cancelled() -> None:
    thread = OwnThread()
    began, go = Signal(), Signal()
    seen: list[str] = []

    async def forever() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    def outer() -> str:
        try:
            async_to_sync(forever)()
        except asyncio.CancelledError:
            seen.append("told")
        return "outcome"

    async def main() -> None:
        task = asyncio.ensure_future(thread.call(outer))
        await began.come()
        task.cancel()
        assert await task == "outcome"
        assert seen == ["cancelled", "told"]
        task = asyncio.ensure_future(thread.call(go.wait))
        await asyncio.sleep(0)
        await poll(lambda: not thread.busy)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        assert await thread.call(int) == 0

    run(main)
    thread.close()


@pytest.mark.parametrize("waits", ["in the queue", "for the function", "for what the function waits for"])
def test_a_coroutine_that_is_destroyed_while_it_waits_for_a_call_ends_at_once(waits: str) -> None:
    thread = OwnThread()
    go, began = Signal(), Signal()
    ran: list[str] = []

    def hold() -> None:
        began.set()
        go.wait()

    async def forever() -> None:
        began.set()
        await asyncio.Event().wait()

    async def main() -> None:
        holder: asyncio.Future[Any] | None = None
        if waits == "in the queue":
            holder = asyncio.ensure_future(thread.call(hold))
            await began.come()
            coroutine = thread.call(ran.append, "ran")
        else:
            coroutine = thread.call(hold if waits == "for the function" else async_to_sync(forever))
        coroutine.send(None)
        await began.come()
        coroutine.close()
        go.set()
        if holder is not None:
            await holder
            await thread.call(int)

    run(main)
    assert ran == []
    thread.close()


# -- the end


def test_what_is_queued_at_close_is_refused_and_what_must_run_is_run() -> None:
    thread = OwnThread("own-close")
    began, go = Signal(), Signal()
    ran: list[str] = []

    def hold() -> str:
        began.set()
        go.wait()
        return "held"

    async def main() -> None:
        held = asyncio.ensure_future(thread.call(hold))
        await began.come()
        refused = asyncio.ensure_future(thread.call(ran.append, "refused"))
        must = bound_call(ran.append, ("must",), must_run=True)
        thread.submit(must)
        await asyncio.sleep(0)
        thread.close()
        with pytest.raises(PoolClosed):
            await refused
        go.set()
        assert await held == "held"
        await outcome_of(must)
        with pytest.raises(PoolClosed, match="make a new facade"):
            await thread.call(int)

    run(main)
    assert ran == ["must"]
    eventually(lambda: not threads_named("own-close"))
    thread.close()  # once more does no harm


def test_a_call_that_comes_at_the_same_time_as_the_close_is_refused() -> None:
    thread = OwnThread()
    core = thread._core
    real = core.jobs

    class Slow:
        """A queue to which nothing comes before the thread is closed."""

        def __getattr__(self, name: str) -> Any:
            if name == "put" and not core.closed:
                core.close()
            return getattr(real, name)

    async def main() -> None:
        await thread.call(int)
        core.jobs = Slow()  # type: ignore[assignment]
        with pytest.raises(PoolClosed):
            await asyncio.wait_for(thread.call(int), TIMEOUT / 4)

    run(main)


def test_a_thread_that_was_never_used_is_closed_without_starting() -> None:
    thread = OwnThread("own-unused")
    dropped: list[str] = []
    thread.let_go("thing", dropped.append)
    assert dropped == ["thing"]
    thread.close()
    assert thread.closed
    assert not threads_named("own-unused")


def test_the_thread_ends_when_nobody_refers_to_its_handle() -> None:
    async def main() -> None:
        await OwnThread("own-garbage").call(int)

    run(main)
    gc.collect()
    eventually(lambda: not threads_named("own-garbage"))


def test_what_is_let_go_of_ends_in_the_thread() -> None:
    thread = OwnThread()
    ended: list[int] = []

    class Thing:
        def __del__(self) -> None:
            ended.append(get_ident())

    async def main() -> None:
        await thread.call(int)
        box = [Thing()]
        thread.let_go(box, list.clear)
        await thread.call(int)
        assert ended == [thread.ident]

    run(main)
    thread.close()
    eventually(lambda: not thread.ident)
    thread.let_go([Thing()], list.clear)
    assert len(ended) == 2, "once the thread is gone, in the one that lets go"


def test_what_an_end_raises_is_logged_and_the_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    thread = OwnThread()

    def fail(thing: object) -> None:
        raise ValueError("at the end")

    async def main() -> None:
        await thread.call(int)
        ident = thread.ident
        thread.let_go(object(), fail)
        assert await thread.call(get_ident) == ident

    run(main)
    thread.close()
    eventually(lambda: not thread.ident)
    thread.let_go(object(), fail)  # in this thread, as the other one is gone
    found = [record.exc_info for record in caplog.records if record.name == "bridge.shim"]
    assert [str(info[1]) for info in found if info is not None] == ["at the end"] * 2


def test_letting_go_takes_no_lock_that_a_call_may_hold() -> None:
    """A finalizer may run at any point of `submit` and `close`, in the same thread."""
    thread = OwnThread()
    core = thread._core
    ended: list[str] = []
    real = core.jobs

    class Interrupted:
        """A queue at whose every use the garbage collector strikes."""

        strikes = 50

        def __getattr__(self, name: str) -> Any:
            if name != "get" and self.strikes:
                self.strikes -= 1
                drop = own_thread_module._Drop("x", ended.append)
                real.put(drop)
            return getattr(real, name)

    async def main() -> None:
        core.jobs = Interrupted()  # type: ignore[assignment]
        for _ in range(5):
            assert await asyncio.wait_for(thread.call(int), TIMEOUT) == 0
        thread.close()

    run(main)
    eventually(lambda: not thread.ident)
    assert len(ended) >= 5


def test_a_thread_that_cannot_be_started_refuses_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(own_thread_module, "start_native_thread", fail)
    thread = OwnThread()

    async def main() -> None:
        with pytest.raises(PoolError, match="can't start new thread"):
            await thread.call(int)

    run(main)


def test_results_and_arguments_are_not_kept() -> None:
    thread = OwnThread()

    class Thing:
        pass

    async def main() -> None:
        thing = Thing()
        reference = weakref.ref(thing)
        await thread.call(id, thing)
        del thing
        await thread.call(int)
        gc.collect()
        assert reference() is None

    run(main)
    thread.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_that_the_object_belongs_to_its_parent() -> None:
    printed = script("""
import asyncio, os, warnings
warnings.simplefilter("ignore")
from bridge.shim.own_thread import OwnThread
used, unused = OwnThread(), OwnThread()
asyncio.run(used.call(int))
child = os.fork()
if not child:
    async def main():
        try:
            await used.call(int)
        except Exception as error:
            print(type(error).__name__, "parent process" in str(error), flush=True)
        print(await unused.call(lambda: "fresh"), flush=True)
    asyncio.run(main())
    os._exit(0)
os.waitpid(child, 0)
print(asyncio.run(used.call(lambda: "parent")))
""")
    assert printed.split("\n")[:3] == ["UsageError True", "fresh", "parent"]


def test_a_stuck_call_does_not_hold_up_the_exit_of_the_interpreter() -> None:
    printed = script("""
import asyncio, threading
from bridge.shim.own_thread import OwnThread
thread = OwnThread()
began = threading.Event()
def stuck():
    began.set()
    threading.Event().wait()
async def main():
    task = asyncio.ensure_future(thread.call(stuck))
    await asyncio.to_thread(began.wait)
    task.cancel()
    print("exits")
asyncio.run(main())
""")
    assert printed == "exits\n"


def test_without_a_loop_a_call_is_refused() -> None:
    with pytest.raises(UsageError, match="running asyncio or trio"):
        OwnThread().call(int).send(None)
