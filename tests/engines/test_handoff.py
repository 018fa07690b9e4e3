"""The exchange between a thread and a task: order, bounds, ends of either side, and of the loop.

What concerns one side at a time is tested with a port that has no loop, where the test is the task.
What concerns both runs on every loop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest
import trio
from support.drive import LOOPS, run, together
from support.engines import PATIENCE, FakePort, Thread, checkpoint, eventually, in_thread, script

from bridge.engines import handoff
from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.handoff import Inbound, Outbound
from bridge.engines.running import running_port
from bridge.exceptions import ClientDisconnected, LoopGone


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits looks at its loop every millisecond."""
    monkeypatch.setattr(handoff, "LIVENESS", 0.001)


class Gone(Exception):
    """What the task says when it turns away."""


class Peculiar(Exception):
    """Cannot be made from its `args`."""

    def __init__(self, first: str, *, second: str) -> None:
        super().__init__(first)
        self.second = second


class Fatal(BaseException):
    """No `Exception`."""


# -- Outbound: items


def test_items_are_taken_in_the_order_in_which_they_were_put() -> None:
    outbound = Outbound(FakePort(), 100)
    outbound.put(["a", "b"], 2)
    outbound.put(["c"], 1)
    assert outbound.take() == ["a", "b", "c"]
    assert outbound.take() == []
    outbound.put(["d"], 1)
    assert outbound.take() == ["d"]


def test_the_items_that_are_put_stay_the_callers() -> None:
    outbound = Outbound(FakePort(), 100)
    items = ["a"]
    outbound.put(items, 1)
    items.append("b")
    assert outbound.take() == ["a"]


def test_a_task_that_waits_is_woken_once_by_the_first_item() -> None:
    port = FakePort()
    outbound = Outbound(port, 100)
    flag = outbound.park()
    assert not flag.is_set()
    outbound.put(["a"], 1)
    outbound.put(["b"], 1)
    outbound.close()
    assert flag.is_set()
    assert port.woken == [flag]


def test_a_task_does_not_wait_if_something_has_happened_already() -> None:
    outbound = Outbound(FakePort(), 100)
    outbound.put(["a"], 1)
    assert outbound.park() is None
    outbound.take()
    assert outbound.park() is not None
    outbound.close()
    assert outbound.park() is None

    outbound = Outbound(FakePort(), 100)
    outbound.abort(Gone())
    assert outbound.park() is None


def test_a_task_can_wait_for_the_end_alone() -> None:
    outbound = Outbound(FakePort(), 100)
    outbound.abort(Gone())
    flag = outbound.park_until_closed()
    assert not flag.is_set(), "abort came before"
    outbound.close()
    assert flag.is_set()
    assert outbound.park_until_closed() is None


def test_another_task_can_end_the_wait() -> None:
    port = FakePort()
    outbound = Outbound(port, 100)
    outbound.unpark()
    flag = outbound.park()
    outbound.unpark()
    assert flag.is_set()
    assert port.woken == [], "it is on the loop's thread, so nothing has to cross"


def test_all_items_and_the_end_come_in_one_step() -> None:
    port = FakePort()
    outbound = Outbound(port, 1)
    flag = outbound.park()
    outbound.put_all(["a", "b", "c"])
    assert port.woken == [flag]
    assert outbound.closed
    assert outbound.take() == ["a", "b", "c"]
    outbound.close()
    assert port.woken == [flag]

    outbound = Outbound(port, 1)
    outbound.abort(Gone("away"))
    with pytest.raises(Gone, match="away"):
        outbound.put_all(["a"])


# -- Outbound: back-pressure


def test_the_thread_is_told_to_wait_above_the_limit() -> None:
    outbound = Outbound(FakePort(), 10)
    assert not outbound.put(["a"], 10)
    assert outbound.put(["b"], 1)
    outbound.take()
    assert outbound.put(["c"], 0), "what is taken counts until it is dealt with"
    outbound.dealt_with(11)
    assert not outbound.put(["d"], 10)


def test_one_item_may_exceed_the_limit() -> None:
    outbound = Outbound(FakePort(), 10)
    assert outbound.put(["huge"], 10_000)
    thread = Thread(outbound.wait)
    eventually(lambda: outbound._blocked)
    assert outbound.take() == ["huge"]
    outbound.dealt_with(10_000)
    thread.outcome()


def test_a_thread_that_waits_goes_on_at_half_of_the_limit() -> None:
    """Not below the limit at once, or it would be woken for every item."""
    outbound = Outbound(FakePort(), 100)
    outbound.put(["a"], 120)
    thread = Thread(outbound.wait)
    eventually(lambda: outbound._blocked)
    for _ in range(69):
        outbound.dealt_with(1)
    assert outbound._blocked
    assert not thread.over
    outbound.dealt_with(1)
    thread.outcome()
    assert not outbound.put(["b"], 50)


def test_room_that_comes_before_the_wait_begins_counts_from_half_of_the_limit_as_well() -> None:
    outbound = Outbound(FakePort(), 100)
    assert outbound.put(["a"], 120)
    outbound.dealt_with(60)
    thread = Thread(outbound.wait)
    eventually(lambda: outbound._blocked)
    outbound.dealt_with(10)
    thread.outcome()
    outbound.wait()


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_smallest_limits_work(limit: int) -> None:
    outbound = Outbound(FakePort(), limit)
    for _ in range(50):
        outbound.put(["a"], limit + 1)
        thread = Thread(outbound.wait)
        eventually(lambda: outbound._blocked)
        outbound.dealt_with(limit + 1)
        thread.outcome()


@pytest.mark.parametrize("error", [Gone("away"), Fatal("away"), ClientDisconnected("away")], ids=repr)
def test_abort_raises_in_a_thread_that_waits(error: BaseException) -> None:
    outbound = Outbound(FakePort(), 10)
    outbound.put(["a"], 11)
    thread = Thread(outbound.wait)
    eventually(lambda: outbound._blocked)
    outbound.abort(error)
    with pytest.raises(type(error), match="away"):
        thread.outcome()
    assert outbound.take() == [], "what was held is dropped"
    for use in (lambda: outbound.put(["b"], 1), outbound.wait):
        with pytest.raises(type(error), match="away") as caught:
            use()
        assert caught.value is not error, "one instance would collect the tracebacks of all"
    assert error.__traceback__ is None
    assert outbound.aborted


def test_abort_wakes_a_task_that_waits_and_the_first_reason_stays() -> None:
    port = FakePort()
    outbound = Outbound(port, 10)
    flag = outbound.park()
    outbound.abort(Gone("first"))
    assert flag.is_set()
    assert port.woken == [], "it is on the loop's thread, so nothing has to cross"
    outbound.abort(Gone("second"))
    with pytest.raises(Gone, match="first"):
        outbound.put(["a"], 1)


def test_the_cause_of_an_abort_is_kept() -> None:
    error = Gone("away")
    error.__cause__ = ValueError("why")
    outbound = Outbound(FakePort(), 10)
    outbound.abort(error)
    with pytest.raises(Gone) as caught:
        outbound.put(["a"], 1)
    assert caught.value.__cause__ is error.__cause__


def test_an_exception_that_cannot_be_copied_is_raised_itself() -> None:
    error = Peculiar("away", second="x")
    outbound = Outbound(FakePort(), 10)
    outbound.abort(error)
    inbound = Inbound(FakePort(), 10)
    inbound.fail(error)
    for use in (lambda: outbound.put(["a"], 1), lambda: inbound.take(lambda: None)):
        with pytest.raises(Peculiar) as caught:
            use()
        assert caught.value is error


# -- Inbound


def nothing() -> None:
    """A `before_wait` that does nothing."""


def test_chunks_are_taken_in_order_and_the_end_again_and_again() -> None:
    inbound = Inbound(FakePort(), 100)
    for chunk in (b"a", b"bc", b"d"):
        inbound.put(chunk)
    inbound.end()
    assert [inbound.take(nothing) for _ in range(6)] == [b"a", b"bc", b"d", b"", b"", b""]


def test_a_failure_comes_after_the_chunks_before_it_and_stays() -> None:
    inbound = Inbound(FakePort(), 100)
    inbound.put(b"a")
    inbound.fail(Gone("cut off"))
    inbound.fail(Gone("again"))
    assert inbound.take(nothing) == b"a"
    for _ in range(2):
        with pytest.raises(Gone, match="cut off"):
            inbound.take(nothing)


def test_what_ended_cannot_fail_any_more() -> None:
    inbound = Inbound(FakePort(), 100)
    inbound.end()
    inbound.fail(Gone())
    assert inbound.take(nothing) == b""


class End(Protocol):
    """Ends the wait of a thread."""

    def __call__(self, inbound: Inbound) -> None: ...


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (lambda inbound: inbound.put(b"abc"), b"abc"),
        (lambda inbound: inbound.end(), b""),
        (lambda inbound: inbound.fail(Gone()), Gone),
        (lambda inbound: inbound.fail(Fatal()), Fatal),
    ],
    ids=["a chunk", "the end", "a failure", "a fatal failure"],
)
def test_a_thread_that_waits_is_woken_by(end: End, outcome: Any) -> None:
    inbound = Inbound(FakePort(), 100)
    thread = Thread(lambda: inbound.take(nothing))
    eventually(lambda: inbound._waiting)
    end(inbound)
    if isinstance(outcome, bytes):
        assert thread.outcome() == outcome
    else:
        with pytest.raises(outcome):
            thread.outcome()


def test_before_a_thread_waits_it_says_so_once() -> None:
    said: list[str] = []
    inbound = Inbound(FakePort(), 100)
    inbound.put(b"a")
    assert inbound.take(lambda: said.append("first")) == b"a"
    assert said == []
    thread = Thread(lambda: inbound.take(lambda: said.append("second")))
    eventually(lambda: said)
    inbound._gate.open()  # type: ignore[union-attr]  # for nothing
    eventually(lambda: inbound._gate._lock.locked())  # type: ignore[union-attr]
    inbound.put(b"b")
    assert thread.outcome() == b"b"
    assert said == ["second"]


def test_a_before_wait_that_raises_leaves_a_usable_inbound() -> None:
    inbound = Inbound(FakePort(), 100)

    def fail() -> None:
        raise Gone

    with pytest.raises(Gone):
        inbound.take(fail)
    inbound.put(b"a")
    inbound.put(b"b")
    assert [inbound.take(nothing), inbound.take(nothing)] == [b"a", b"b"]
    thread = Thread(lambda: inbound.take(nothing))
    eventually(lambda: inbound._waiting)
    inbound.put(b"c")
    assert thread.outcome() == b"c"


# -- the loop has stopped, or is closed


def test_a_closed_loop_is_told_to_the_thread_that_would_wake_it() -> None:
    port = FakePort()
    uses: list[Callable[[Outbound], object]] = [
        lambda outbound: outbound.put(["a"], 1),
        lambda outbound: outbound.put_all(["a"]),
    ]
    for use in uses:
        outbound = Outbound(port, 100)
        port.is_closed = False
        outbound.park()
        port.is_closed = True
        with pytest.raises(LoopGone):
            use(outbound)
    outbound = Outbound(port, 100)
    outbound.park()
    outbound.close()
    assert outbound.closed, "nobody is left to tell, which is no reason to raise"


@pytest.mark.usefixtures("impatient")
def test_a_thread_that_waits_finds_that_its_loop_has_stopped() -> None:
    port = FakePort()
    port.is_alive = False
    outbound = Outbound(port, 10)
    outbound.put(["a"], 11)
    with pytest.raises(LoopGone):
        outbound.wait()
    assert port.looks == handoff._PATIENCE
    inbound = Inbound(port, 10)
    with pytest.raises(LoopGone):
        inbound.take(nothing)


@pytest.mark.usefixtures("impatient")
def test_once_the_loop_is_gone_no_further_wait_is_attempted() -> None:
    """An app that catches the exception and goes on must not wait for seconds each time."""
    port = FakePort()
    port.is_alive = False
    outbound = Outbound(port, 10)
    outbound.put(["a"], 11)
    inbound = Inbound(port, 10)
    uses: list[Callable[[], object]] = [outbound.wait, lambda: inbound.take(nothing)]
    for use in uses:
        with pytest.raises(LoopGone):
            use()
    port.looks = 0
    for use in [*uses, lambda: outbound.put(["b"], 1)]:
        with pytest.raises(LoopGone):
            use()
    assert port.looks == 0
    assert outbound.aborted


@pytest.mark.usefixtures("impatient")
def test_a_loop_that_rests_between_two_runs_is_not_gone() -> None:
    port = FakePort()
    outbound = Outbound(port, 10)

    def alternate() -> None:
        port.is_alive = port.looks % handoff._PATIENCE == 0

    port.on_look = alternate
    outbound.put(["a"], 11)
    thread = Thread(outbound.wait)
    eventually(lambda: port.looks > 10 * handoff._PATIENCE)
    assert not thread.over
    outbound.dealt_with(11)
    thread.outcome()


@pytest.mark.usefixtures("impatient")
def test_a_loop_that_comes_back_finds_the_exchange_sound() -> None:
    """The thread gave up while the gate was still to be opened for it; the task must not pay for that."""
    port = FakePort()
    port.is_alive = False
    outbound, inbound = Outbound(port, 10), Inbound(port, 10)
    outbound.put(["a"], 11)
    for use in (outbound.wait, lambda: inbound.take(nothing)):
        with pytest.raises(LoopGone):
            use()
    for _ in range(3):
        outbound.dealt_with(3)
        inbound.put(b"a")
    outbound.abort(Gone())
    inbound.fail(Gone())
    inbound.end()
    assert inbound.take(nothing) == b"a"


def test_a_gate_that_is_open_already_may_be_opened_again() -> None:
    """A thread may be ended (by an asynchronous exception) between its word that it waits and the wait."""
    outbound = Outbound(FakePort(), 10)
    outbound.put(["a"], 11)
    outbound._gate = handoff._Gate()
    for _ in range(3):
        outbound._blocked = True
        outbound.dealt_with(1)
        outbound.dealt_with(10)
        outbound.put(["b"], 11)
    thread = Thread(outbound.wait)
    eventually(lambda: outbound._blocked)
    assert not thread.over, "an open gate is no room"
    outbound.dealt_with(11)
    thread.outcome()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("closes", [False, True], ids=["stopped", "closed"])
@pytest.mark.parametrize("loop", [name for name in LOOPS if name != "trio"])
def test_threads_that_wait_for_an_asyncio_loop_that_stops_are_let_go(loop: str, closes: bool) -> None:
    """The task's `finally` never runs, since nobody runs the loop again."""
    event_loop = new_event_loop(loop)
    port = AsyncioPort(event_loop)
    outbound, inbound = Outbound(port, 10), Inbound(port, 10)
    outbound.put(["a"], 11)
    writes: list[Thread] = []

    async def main() -> None:
        writes.append(Thread(outbound.wait))
        writes.append(Thread(lambda: inbound.take(nothing)))
        eventually(lambda: outbound._blocked and inbound._waiting)
        assert not any(thread.over for thread in writes)

    event_loop.run_until_complete(main())
    if closes:
        event_loop.close()
    for thread in writes:
        with pytest.raises(LoopGone):
            thread.outcome()
    event_loop.close()


@pytest.mark.usefixtures("impatient")
def test_threads_that_wait_for_a_trio_run_that_finished_are_let_go() -> None:
    threads: list[Thread] = []

    async def main() -> None:
        port = running_port()
        outbound, inbound = Outbound(port, 10), Inbound(port, 10)
        outbound.put(["a"], 11)
        threads.append(Thread(outbound.wait))
        threads.append(Thread(lambda: inbound.take(nothing)))
        eventually(lambda: outbound._blocked and inbound._waiting)

    trio.run(main)
    for thread in threads:
        with pytest.raises(LoopGone):
            thread.outcome()


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("loop", LOOPS)
def test_a_thread_that_forks_finds_in_the_child_that_no_loop_runs(loop: str) -> None:
    """There its copy of the loop says that it runs, and nobody will ever take what it puts."""
    script(
        f"""
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import asyncio, trio
from bridge.engines import handoff
from bridge.engines.handoff import Inbound, Outbound
from bridge.engines.running import running_port
from bridge.exceptions import LoopGone
handoff.LIVENESS = 0.01
statuses = []

def work(outbound, inbound):
    pid = os.fork()
    if not pid:
        outbound.put(["a"], 11)
        gone = 0
        for use in (outbound.wait, lambda: inbound.take(lambda: None)):
            try:
                use()
            except LoopGone:
                gone += 1
        os._exit(gone)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    outbound.close()

async def main():
    port = running_port()
    outbound, inbound = Outbound(port, 10), Inbound(port, 10)
    threading.Thread(target=work, args=(outbound, inbound)).start()
    flag = outbound.park()
    if flag is not None:
        await flag

if {loop!r} == "trio":
    trio.run(main)
elif {loop!r} == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
assert statuses == [2], statuses
"""
    )


# -- both sides, on every loop


def test_a_thread_hands_items_to_a_task(loop: str) -> None:
    async def main() -> list[Any]:
        outbound = Outbound(running_port(), 100)

        def work() -> None:
            for number in range(50):
                outbound.put([number], 1)
            outbound.close()

        thread = Thread(work)
        taken: list[Any] = []
        while True:
            flag = outbound.park()
            if flag is not None:
                await flag
            closed = outbound.closed
            items = outbound.take()
            taken += items
            outbound.dealt_with(len(items))
            if closed and not items:
                break
        thread.outcome()
        return taken

    assert run(main, loop) == list(range(50))


def test_a_task_that_is_cancelled_while_it_waits_lets_the_thread_go(loop: str) -> None:
    async def main() -> None:
        outbound = Outbound(running_port(), 10)
        waiting: list[Thread] = []

        async def task() -> None:
            try:
                while True:
                    flag = outbound.park()
                    if flag is not None:
                        await flag
                    if outbound.take():
                        # Not dealt with: the client does not read.
                        waiting.append(Thread(outbound.wait))
                        eventually(lambda: outbound._blocked)
            finally:
                outbound.abort(Gone("cancelled"))

        cancel = await start_soon(task)
        await in_thread(lambda: outbound.put(["a"], 11))
        await turn_until(lambda: waiting)
        await cancel()
        with pytest.raises(Gone, match="cancelled"):
            waiting[0].outcome()
        outbound.close()

    run(main, loop)


def test_a_flag_whose_wait_was_cancelled_may_be_raised_all_the_same(loop: str) -> None:
    async def main() -> None:
        outbound = Outbound(running_port(), 10)

        async def task() -> None:
            await outbound.park()

        cancel = await start_soon(task)
        await turn_until(lambda: outbound._parked is not None)
        await cancel()
        await in_thread(lambda: outbound.put(["a"], 1))
        assert outbound.take() == ["a"]
        flag = outbound.park()
        await in_thread(outbound.close)
        await flag

    run(main, loop)


async def start_soon(function: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """Run a coroutine function as a task; returns what cancels it and waits for its end."""
    if trio.lowlevel.in_trio_task():
        scope = trio.CancelScope()
        over = trio.Event()

        async def scoped() -> None:
            with scope:
                await function()
            over.set()

        trio.lowlevel.spawn_system_task(scoped)

        async def cancel_trio() -> None:
            scope.cancel()
            await over.wait()

        return cancel_trio

    task = asyncio.ensure_future(function())

    async def cancel_asyncio() -> None:
        task.cancel()
        await asyncio.wait((task,))

    return cancel_asyncio


async def turn_until(condition: Callable[[], object]) -> None:
    """Let the loop turn until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        await checkpoint()


def test_what_the_thread_has_in_hand_counts_until_it_comes_for_more(loop: str) -> None:
    """Or a message more than the limit would be held while the app works on a large one."""

    async def main() -> None:
        inbound = Inbound(running_port(), 1)
        inbound.put(b"x" * 1000)
        assert len(await in_thread(lambda: inbound.take(nothing))) == 1000
        assert inbound._held == 1000
        inbound.end()
        assert await in_thread(lambda: inbound.take(nothing)) == b""
        assert inbound._held == 0
        await inbound.room()

    run(main, loop)


def test_the_task_waits_for_room_and_goes_on_at_half_of_the_limit(loop: str) -> None:
    async def main() -> None:
        inbound = Inbound(running_port(), 100)
        await inbound.room()
        inbound.put(b"x" * 30)
        inbound.put(b"x" * 30)
        await inbound.room()
        inbound.put(b"x" * 30)
        inbound.put(b"x" * 30)
        waited: list[str] = []

        async def wait() -> None:
            await inbound.room()
            waited.append("room")

        async def take() -> None:
            await turn_until(lambda: inbound._parked is not None)
            for _ in range(3):
                await in_thread(lambda: inbound.take(nothing))
                await checkpoint(5)
                assert waited == [], "60 of 100 bytes are held, with those that the thread has in hand"
            await in_thread(lambda: inbound.take(nothing))
            await turn_until(lambda: waited)

        await together(wait, take)

    run(main, loop)


@pytest.mark.req("E-39")
def test_nothing_is_asked_for_before_the_thread_first_asks(loop: str) -> None:
    async def main() -> None:
        inbound = Inbound(running_port(), 100, on_demand=True)
        began: list[str] = []

        async def feed() -> None:
            await inbound.demand()
            began.append("demand")
            inbound.put(b"abc")
            inbound.end()

        async def ask() -> None:
            await checkpoint(10)
            assert began == []
            assert await in_thread(lambda: inbound.take(nothing)) == b"abc"
            assert await in_thread(lambda: inbound.take(nothing)) == b""

        await together(feed, ask)
        await inbound.demand()

    run(main, loop)


def test_a_task_may_be_told_to_begin_without_a_demand(loop: str) -> None:
    async def main() -> None:
        inbound = Inbound(running_port(), 100, on_demand=True)

        async def want() -> None:
            await turn_until(lambda: inbound._parked is not None)
            inbound.want()

        await together(inbound.demand, want)
        inbound.want()
        await inbound.demand()

    run(main, loop)


def test_a_task_that_waits_for_room_or_demand_can_be_cancelled(loop: str) -> None:
    async def main() -> None:
        for inbound in (Inbound(running_port(), 10), Inbound(running_port(), 10, on_demand=True)):

            async def task(inbound: Inbound = inbound) -> None:
                await inbound.demand()
                inbound.put(b"x" * 10)
                await inbound.room()

            cancel = await start_soon(task)
            await turn_until(lambda inbound=inbound: inbound._parked is not None)  # type: ignore[misc]
            await cancel()
            inbound.fail(Gone())
            with pytest.raises(Gone):
                await in_thread(lambda inbound=inbound: drain(inbound))  # type: ignore[misc]

    run(main, loop)


def drain(inbound: Inbound) -> None:
    """Take until it raises or ends."""
    while inbound.take(nothing):
        pass


# -- wake-ups


class CountingLoop:
    """A loop that counts how often it is woken from other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.wakes = 0

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:
        self.wakes += 1
        return self._loop.call_soon_threadsafe(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@pytest.mark.parametrize("loop", [name for name in LOOPS if name != "trio"])
def test_the_loop_is_woken_once_for_everything_that_waits(loop: str) -> None:
    """Each wake-up costs a system call there, and a turn of the loop here."""

    async def main() -> None:
        counting = CountingLoop(asyncio.get_running_loop())
        port = AsyncioPort(counting)  # type: ignore[arg-type]
        outbounds = [Outbound(port, 10_000) for _ in range(20)]
        flags = [outbound.park() for outbound in outbounds]

        def put() -> None:
            for outbound in outbounds:
                for number in range(100):
                    outbound.put([number], 1)
                outbound.close()

        # The loop cannot turn meanwhile, as when it is busy with something else.
        Thread(put).outcome()
        assert counting.wakes == 1
        for flag, outbound in zip(flags, outbounds, strict=True):
            await flag
            assert outbound.take() == list(range(100))
        assert counting.wakes == 1

        outbound = Outbound(port, 10)
        flag = outbound.park()
        Thread(lambda: outbound.put(["a"], 1)).outcome()
        assert counting.wakes == 2, "a later one wakes it again"
        await flag

    run(main, loop)


@pytest.mark.parametrize("loop", [name for name in LOOPS if name != "trio"])
def test_a_task_that_does_not_wait_is_not_woken(loop: str) -> None:
    async def main() -> None:
        counting = CountingLoop(asyncio.get_running_loop())
        outbound = Outbound(AsyncioPort(counting), 10)  # type: ignore[arg-type]
        Thread(lambda: [outbound.put([number], 1) for number in range(5)]).outcome()
        outbound.take()
        inbound = Inbound(AsyncioPort(counting), 10)  # type: ignore[arg-type]
        inbound.put(b"abc")
        Thread(lambda: inbound.take(nothing)).outcome()
        assert counting.wakes == 0

    run(main, loop)


# -- everything at once


async def send_through(seed: int, port: Any, count: int) -> None:
    """One thread, one task, tiny limits, random pauses, and now and then an end in the middle."""
    chance = random.Random(seed)
    limit = chance.choice([1, 2, 7, 30])
    outbound = Outbound(port, limit)
    aborts_after = chance.choice([None, None, chance.randrange(count)])
    most_held = 0

    def work() -> str:
        nonlocal most_held
        mood = random.Random(seed + 1)
        number = 0
        try:
            while number < count:
                batch = list(range(number, min(count, number + mood.randrange(1, 4))))
                number = batch[-1] + 1
                full = outbound.put(batch, len(batch))
                most_held = max(most_held, outbound._held)
                if full:
                    outbound.wait()
                if mood.random() < 0.02:
                    time.sleep(0)
            return "all put"
        except Gone:
            return "told to stop"
        finally:
            outbound.close()

    thread = Thread(work)
    taken: list[int] = []
    while True:
        flag = outbound.park()
        if flag is not None:
            await flag
        closed = outbound.closed
        items = outbound.take()
        taken += items
        if aborts_after is not None and len(taken) > aborts_after:
            outbound.abort(Gone())
            break
        while items and chance.random() < 0.3:
            items.pop()
            outbound.dealt_with(1)
            if chance.random() < 0.2:
                await checkpoint()
        outbound.dealt_with(len(items))
        if closed and not outbound._items:
            break
    flag = outbound.park_until_closed()
    if flag is not None:
        await flag
    outcome = await in_thread(thread.outcome)
    assert taken == list(range(len(taken))), "something was lost, doubled or out of order"
    if aborts_after is None:
        assert (outcome, len(taken)) == ("all put", count)
        assert outbound._held == 0
    assert most_held <= limit + 3


async def receive_through(seed: int, port: Any, count: int) -> None:
    """The same the other way."""
    chance = random.Random(seed)
    limit = chance.choice([1, 5, 40])
    inbound = Inbound(port, limit, on_demand=chance.random() < 0.5)
    fails = chance.random() < 0.3
    chunks = [bytes([number % 251]) * chance.randrange(1, 9) for number in range(count)]
    said = 0
    most_held = 0

    def before_wait() -> None:
        nonlocal said
        said += 1

    def work() -> tuple[str, list[bytes]]:
        mood = random.Random(seed + 1)
        taken: list[bytes] = []
        try:
            while chunk := inbound.take(before_wait):
                taken.append(chunk)
                if mood.random() < 0.02:
                    time.sleep(0)
            assert inbound.take(before_wait) == b""
            return "end", taken
        except Gone:
            return "failure", taken

    thread = Thread(work)
    await inbound.demand()
    for chunk in chunks:
        await inbound.room()
        most_held = max(most_held, inbound._held)
        inbound.put(chunk)
        if chance.random() < 0.1:
            await checkpoint()
    if fails:
        inbound.fail(Gone())
    else:
        inbound.end()
    outcome, taken = await in_thread(thread.outcome)
    assert outcome == ("failure" if fails else "end")
    assert taken == chunks
    assert most_held < limit
    assert inbound._held == 0


@pytest.mark.usefixtures("preemptive")
@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_items_pass_through_tiny_limits(loop: str, seed: int) -> None:
    """Several exchanges share a port, so that their wake-ups are coalesced, and none may be lost."""

    async def main() -> None:
        port = running_port()
        await together(
            *[lambda number=number: send_through(seed * 50 + number, port, 800) for number in range(5)],
            *[lambda number=number: receive_through(seed * 50 + number, port, 400) for number in range(3)],
        )

    run(main, loop)


@pytest.mark.usefixtures("preemptive")
def test_no_wake_up_of_many_threads_is_lost(loop: str) -> None:
    """One flag at a time each, so a single lost wake-up leaves one waiting for ever."""

    async def main() -> None:
        port = running_port()

        async def ping() -> None:
            outbound, inbound = Outbound(port, 1), Inbound(port, 1)

            def answer() -> None:
                while chunk := inbound.take(nothing):
                    outbound.put([chunk], 1)
                outbound.close()

            thread = Thread(answer)
            for number in range(300):
                inbound.put(b"%d" % number)
                flag = outbound.park()
                if flag is not None:
                    await flag
                assert outbound.take() == [b"%d" % number]
                outbound.dealt_with(1)
            inbound.end()
            await in_thread(thread.outcome)

        await together(*[ping for _ in range(6)])

    run(main, loop)


def test_an_exchange_that_is_over_is_freed_without_the_garbage_collector(loop: str) -> None:
    """Thousands of requests a second would otherwise wait for it."""

    class Held:
        pass

    async def exchange() -> weakref.ref[Held]:
        outbound = Outbound(running_port(), 10)
        held = Held()
        flag = outbound.park()
        await in_thread(lambda: outbound.put([held], 11))
        await flag
        thread = Thread(outbound.wait)
        eventually(lambda: outbound._blocked)
        outbound.abort(Gone())
        with pytest.raises(Gone):
            thread.outcome()
        thread.error = None
        return weakref.ref(held)

    async def main() -> None:
        alive = await exchange()
        await turn_until(lambda: alive() is None)  # threads that are ending let go first

    gc.collect()
    gc.disable()
    try:
        run(main, loop)
    finally:
        gc.enable()
