"""The one thread that thread-sensitive code shares: order, turns with asgiref's own, refusals, its ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async as theirs
from support.drive import run, together
from support.engines import PATIENCE, Thread, eventually, script
from support.shim_calls import call_of

from bridge import async_to_sync, sync_to_async
from bridge.engines import asgiref_notes
from bridge.engines.home import home
from bridge.exceptions import WouldDeadlock
from bridge.shim import reports, shared_thread
from bridge.shim.shared_thread import SharedThread
from bridge.shim.thread_call import ThreadCall

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.fixture(autouse=True)
def executor(single: ThreadPoolExecutor) -> ThreadPoolExecutor:
    """asgiref's single thread: one of this test's own."""
    return single


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> SharedThread:
    """A queue of this test's own before that thread, unwatched."""
    monkeypatch.setattr(reports, "watch", lambda shared: None)
    return SharedThread()


def outcome(call: ThreadCall) -> Any:
    assert call.flag.wait(PATIENCE), "the call does not end"
    if call.error is not None:
        raise call.error
    return call.result


class Held:
    """Something that keeps a thread until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.free = threading.Event()

    def __call__(self) -> None:
        self.began.set()
        assert self.free.wait(PATIENCE)


# -- who runs where, and when


def test_calls_run_in_asgiref_s_thread_in_their_order(
    shared: SharedThread, executor: ThreadPoolExecutor
) -> None:
    ident = executor.submit(threading.get_ident).result(PATIENCE)
    order: list[int] = []

    def note(number: int) -> int:
        order.append(number)
        return threading.get_ident()

    calls = [call_of(note, number) for number in range(200)]
    for call in calls:
        shared.submit(call)
    assert {outcome(call) for call in calls} == {ident}
    assert order == list(range(200))
    assert shared.ident == ident


def test_from_async_code_on_every_loop_it_is_one_thread_and_asgiref_s(loop: str) -> None:
    async def main() -> None:
        ours = [await sync_to_async(threading.get_ident)() for _ in range(3)]
        seen.update(ours)
        if loop != "trio":
            seen.add(await theirs(threading.get_ident)())

    seen: set[int] = set()
    run(main, loop)
    run(main, loop)
    assert len(seen) == 1
    assert threading.get_ident() not in seen


@pytest.mark.usefixtures("preemptive")
def test_calls_of_many_threads_run_one_at_a_time_and_each_once(shared: SharedThread) -> None:
    inside = [0]
    counts: list[int] = []

    def work() -> None:
        inside[0] += 1
        assert inside[0] == 1
        counts.append(1)
        inside[0] -= 1

    barrier = threading.Barrier(4)

    def submit() -> list[ThreadCall]:
        calls = [call_of(work) for _ in range(250)]
        barrier.wait(PATIENCE)
        for call in calls:
            shared.submit(call)
        return calls

    threads = [Thread(submit) for _ in range(4)]
    for thread in threads:
        for call in thread.outcome():
            outcome(call)
    assert len(counts) == 1000
    assert shared.waiting() == []


def test_asgiref_s_own_calls_have_their_turn(
    shared: SharedThread, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of ours there are: after so many, what waits behind them."""
    monkeypatch.setattr(shared_thread, "_IN_A_ROW", 5)
    held = Held()
    executor.submit(held)
    assert held.began.wait(PATIENCE)
    order: list[str] = []
    calls = [call_of(order.append, "ours") for _ in range(12)]
    for call in calls:
        shared.submit(call)
    other = executor.submit(order.append, "asgiref's")
    held.free.set()
    other.result(PATIENCE)
    for call in calls:
        outcome(call)
    assert order.index("asgiref's") == 5
    assert len(order) == 13


def test_it_goes_on_after_it_had_nothing_to_do(shared: SharedThread) -> None:
    for number in range(20):
        assert outcome(call_of_submitted(shared, number)) == number


def call_of_submitted(shared: SharedThread, number: int) -> ThreadCall:
    call = call_of(lambda: number)
    shared.submit(call)
    return call


@pytest.mark.parametrize("error", [LookupError(), SystemExit(), KeyboardInterrupt()], ids=repr)
def test_it_goes_on_after_a_call_that_raises(shared: SharedThread, error: BaseException) -> None:
    def fail() -> None:
        raise error

    first, second = call_of(fail), call_of(int)
    shared.submit(first)
    shared.submit(second)
    with pytest.raises(type(error)):
        outcome(first)
    assert outcome(second) == 0


# -- what can be seen


def test_what_runs_and_what_waits_can_be_told(shared: SharedThread) -> None:
    assert shared.running() is None
    held = Held()
    first, second, third = call_of(held), call_of(int), call_of(int)
    for call in (first, second, third):
        shared.submit(call)
    assert held.began.wait(PATIENCE)
    found = shared.running()
    assert found is not None
    assert found[0] is first
    assert shared.waiting() == [second, third]
    assert second.withdraw()
    assert shared.waiting() == [third], "a call that was given up does not wait"
    held.free.set()
    outcome(third)
    eventually(lambda: shared.running() is None)
    assert not second.done


def test_what_it_runs_is_told_to_asgiref_as_a_use_of_the_thread(loop: str) -> None:
    """So asgiref refuses what would wait for it; afterwards, nothing of that is left in the context."""
    deadlock = asgiref_notes.SyncToAsync.deadlock_context

    async def main() -> None:
        assert await sync_to_async(lambda: deadlock.get(False))() is True
        assert deadlock.get(False) is False
        context = contextvars.Context()
        assert await sync_to_async(lambda: deadlock.get(False), context=context)() is True
        assert context.get(deadlock, False) is False

    run(main, loop)


def test_one_context_can_be_given_to_several_calls_at_once(loop: str) -> None:
    """They run one after the other; asgiref allows it as well."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    context = contextvars.Context()

    def add() -> None:
        variable.set(variable.get() + 1)

    async def main() -> None:
        await together(*[sync_to_async(add, context=context) for _ in range(10)])

    run(main, loop)
    assert context[variable] == 10


def test_the_note_of_each_call_s_loop_is_its_own(shared: SharedThread, executor: ThreadPoolExecutor) -> None:
    """asgiref's calls in between leave theirs."""

    def look() -> Any:
        return home.port, asgiref_notes.noted_loop()

    first, second, third = call_of(look), call_of(look), call_of(look)
    port: Any = second.port
    port.loop = object()
    first.port = port
    shared.submit(first)
    outcome(first)
    executor.submit(asgiref_notes.enter, "asgiref's").result(PATIENCE)
    for call, loop in ((second, port.loop), (third, None)):
        shared.submit(call)
        assert outcome(call) == (call.port, loop)


# -- refusals


def test_a_loop_in_that_thread_can_not_wait_for_the_thread() -> None:
    async def inner() -> None:
        with pytest.raises(WouldDeadlock, match=r"use async_to_sync"):
            await sync_to_async(int)()

    async def main() -> None:
        await sync_to_async(lambda: asyncio.run(inner()))()

    asyncio.run(main())


def test_nor_can_one_in_another_thread_that_it_waits_for() -> None:
    """The thread runs `outer`, which waits for a worker, which waits for the thread."""

    async def innermost() -> None:
        with pytest.raises(WouldDeadlock):
            await sync_to_async(int)()

    async def inner() -> None:
        await sync_to_async(lambda: asyncio.run(innermost()), thread_sensitive=False)()

    async def main() -> None:
        await sync_to_async(lambda: asyncio.run(inner()))()

    asyncio.run(main())


def test_with_async_to_sync_as_the_error_says_it_ends() -> None:
    async def inner() -> int:
        return await sync_to_async(threading.get_ident)()

    async def main() -> None:
        here, there = await sync_to_async(lambda: (threading.get_ident(), async_to_sync(inner)()))()
        assert here == there

    asyncio.run(main())


def test_a_task_that_outlives_a_call_is_not_refused() -> None:
    """It was made by what ran in the thread, and has a copy of that context; but the call is over."""
    tasks: list[Any] = []

    async def later() -> int:
        return await sync_to_async(lambda: 7)()

    async def main() -> None:
        event_loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def begin() -> None:
            # `call_soon_threadsafe` takes the thread's context along.
            event_loop.call_soon_threadsafe(lambda: tasks.append(event_loop.create_task(waits())))

        async def waits() -> int:
            await over.wait()
            return await later()

        await sync_to_async(begin)()
        await asyncio.sleep(0)
        over.set()
        assert await tasks[0] == 7

    asyncio.run(main())


def test_an_executor_that_does_not_say_which_thread_it_has_is_used_all_the_same(
    shared: SharedThread, monkeypatch: pytest.MonkeyPatch, executor: ThreadPoolExecutor
) -> None:
    class Other:
        def submit(self, function: Any, *args: Any) -> Any:
            return executor.submit(function, *args)

    monkeypatch.setattr(asgiref_notes.SyncToAsync, "single_thread_executor", Other())
    assert not shared.is_current()
    call = call_of(shared.is_current)
    shared.submit(call)
    assert outcome(call) is True


def test_before_it_has_run_anything_the_thread_is_known_by_its_executor(
    shared: SharedThread, executor: ThreadPoolExecutor
) -> None:
    executor.submit(int).result(PATIENCE)
    assert executor.submit(shared.is_current).result(PATIENCE)
    assert not shared.is_current()


# -- ends


def test_if_no_thread_comes_the_call_is_told(shared: SharedThread, executor: ThreadPoolExecutor) -> None:
    """As at the interpreter's exit; and the next one is as well, instead of waiting behind it."""
    executor.shutdown()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot schedule"):
            shared.submit(call_of(int))
    assert shared.waiting() == []


def test_if_the_thread_does_not_come_back_after_a_turn_what_waits_is_told(
    shared: SharedThread, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_thread, "_IN_A_ROW", 1)
    held = Held()
    first, second, third = call_of(held), call_of(int), call_of(int)
    for call in (first, second, third):
        shared.submit(call)
    assert held.began.wait(PATIENCE)
    assert third.withdraw()
    executor.shutdown(wait=False)
    held.free.set()
    assert outcome(first) is None
    with pytest.raises(RuntimeError):
        outcome(second)
    assert not third.done


def test_at_the_interpreter_s_exit_calls_end_with_an_error() -> None:
    out = script(
        """
import asyncio, atexit
from bridge import sync_to_async
def late():
    try:
        asyncio.run(sync_to_async(int)())
    except RuntimeError as error:
        print("told:", error)
atexit.register(late)
assert asyncio.run(sync_to_async(int)()) == 0
"""
    )
    assert out.startswith("told: cannot schedule")


def test_a_call_that_waits_does_not_hold_up_the_exit_after_it() -> None:
    """Functions that run are waited for, as asgiref's are: the thread is an executor's."""
    out = script(
        """
import asyncio, threading
from bridge import sync_to_async
async def main():
    began, free = threading.Event(), threading.Event()
    def run():
        began.set()
        free.wait(20)
        print("ended", flush=True)
    task = asyncio.ensure_future(sync_to_async(run)())
    waiting = asyncio.ensure_future(sync_to_async(print)("not run"))
    while not began.is_set():
        await asyncio.sleep(0.001)
    for each in (task, waiting):
        each.cancel()
    await asyncio.wait((task, waiting))
    free.set()
asyncio.run(main())
"""
    )
    assert out.split() == ["ended"]


@forks
def test_a_forked_child_has_a_thread_of_its_own() -> None:
    """Also while the parent's runs a call and others wait, and for several threads of the child at once."""
    out = script(
        """
import asyncio, os, threading
from bridge import sync_to_async
def once(): return asyncio.run(sync_to_async(os.getpid)())
assert once() == os.getpid()
began, free, ran = threading.Event(), threading.Event(), []
def hold():
    began.set()
    free.wait(20)
    ran.append(os.getpid())
threads = [threading.Thread(target=lambda: asyncio.run(sync_to_async(hold)())) for _ in range(2)]
for thread in threads: thread.start()
began.wait(20)
pid = os.fork()
if not pid:
    found, barrier = [], threading.Barrier(8)
    def many():
        barrier.wait(20)
        found.append(once())
    children = [threading.Thread(target=many, daemon=True) for _ in range(8)]
    for child in children: child.start()
    for child in children: child.join(15)
    ok = found == [os.getpid()] * 8 and not ran
    os._exit(7 if ok else 1)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
free.set()
for thread in threads: thread.join(20)
assert ran == [os.getpid()] * 2, ran
assert status == 7, status
print("well", once() == os.getpid())
"""
    )
    assert out.strip() == "well True"


@forks
def test_a_child_that_is_forked_by_a_call_in_the_thread_can_use_it() -> None:
    """The child's main thread is the parent's shared one."""
    out = script(
        """
import asyncio, os
from bridge import sync_to_async
def fork():
    pid = os.fork()
    if not pid:
        ok = asyncio.run(sync_to_async(os.getpid)()) == os.getpid()
        os._exit(7 if ok else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(asyncio.run(sync_to_async(fork)()))
"""
    )
    assert out.strip() == "7"
