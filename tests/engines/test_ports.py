"""What every port promises, on every loop, and which port belongs to the caller."""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio
from support.drive import run, together
from support.engines import PATIENCE, Thread, checkpoint, in_thread

from bridge.engines import asyncio_port, ports, trio_port
from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.ports import Port, in_trio_task
from bridge.engines.running import running_port
from bridge.engines.trio_port import TrioPort
from bridge.exceptions import LoopGone

# The type came with Python 3.11.
GROUP: Any = getattr(builtins, "ExceptionGroup", None)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is brief takes a millisecond."""
    monkeypatch.setattr(asyncio_port, "BRIEFLY", 0.001)
    monkeypatch.setattr(trio_port, "BRIEFLY", 0.001)


async def a_while() -> None:
    """Longer than brief."""
    await in_thread(threading.Event().is_set)
    for _ in range(5):
        flag = running_port().flag()
        port = running_port()
        port.mind(flag)
        await flag


# -- which one


def test_a_flag_may_be_raised_before_it_is_awaited_and_more_than_once(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        flag = port.flag()
        port.raise_flag(flag)
        port.raise_flag(flag)
        port.wake(flag)
        await flag
        await in_thread(lambda: port.wake(flag))
        await checkpoint(3)

    run(main, loop)


def test_a_flag_is_raised_from_another_thread(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        for _ in range(100):
            flag = port.flag()
            thread = Thread(lambda flag=flag: port.wake(flag))  # type: ignore[misc]
            await flag
            thread.outcome()

    run(main, loop)


def test_many_threads_raise_their_flags_at_once(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        barrier = threading.Barrier(16)

        async def wait() -> None:
            flag = port.flag()

            def wake() -> None:
                barrier.wait()
                port.wake(flag)

            Thread(wake)
            await flag

        for _ in range(10):
            await together(*[wait for _ in range(16)])

    run(main, loop)


def test_callbacks_from_other_threads_run_on_the_thread_of_the_loop(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        seen: list[int] = []
        flag = port.flag()

        def callback() -> None:
            seen.append(threading.get_ident())
            port.raise_flag(flag)

        await in_thread(lambda: port.call_soon(callback))
        await flag
        assert seen == [threading.get_ident()]

    run(main, loop)


def test_a_loop_that_is_over_says_so(loop: str) -> None:
    async def main() -> tuple[Port, Any]:
        port = running_port()
        return port, port.flag()

    port, flag = run(main, loop)
    assert not port.alive()
    uses: list[Callable[[], None]] = [lambda: port.wake(flag), lambda: port.call_soon(lambda: None)]
    for use in [*uses, *uses]:
        with pytest.raises(LoopGone):
            use()


# -- minding


@pytest.mark.usefixtures("brief")
def test_a_flag_that_is_minded_is_raised_after_a_while(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        for _ in range(3):
            flag = port.flag()
            minded = port.mind(flag)
            await flag
            minded.discard(flag)

    run(main, loop)


@pytest.mark.usefixtures("brief")
def test_many_flags_are_minded_at_once_and_those_that_come_later(loop: str) -> None:
    async def main() -> None:
        port = running_port()

        async def wait() -> None:
            for _ in range(5):
                flag = port.flag()
                minded = port.mind(flag)
                await flag
                minded.discard(flag)

        await together(*[wait for _ in range(50)])

    run(main, loop)


def test_a_flag_is_not_raised_before_its_time(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for one whole tick at least, wherever in a tick it began."""
    monkeypatch.setattr(asyncio_port, "BRIEFLY", 0.02)
    monkeypatch.setattr(trio_port, "BRIEFLY", 0.02)

    async def main() -> None:
        port = running_port()
        now: Callable[[], float] = trio.current_time if loop == "trio" else asyncio.get_running_loop().time
        for pause in (0.0, 0.005, 0.013):
            if loop == "trio":
                await trio.sleep(pause)
            else:
                await asyncio.sleep(pause)
            began = now()
            flag = port.flag()
            minded = port.mind(flag)
            await flag
            minded.discard(flag)
            assert now() - began > 0.019

    run(main, loop)


@pytest.mark.usefixtures("brief")
def test_a_minded_flag_that_was_discarded_is_let_go_of_at_once(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        flag = port.flag()
        minded = port.mind(flag)
        port.raise_flag(flag)
        await flag
        minded.discard(flag)
        assert flag not in minded
        await a_while()

    run(main, loop)


@pytest.mark.usefixtures("brief")
def test_a_minded_flag_that_was_forgotten_is_let_go_of_in_a_while(loop: str) -> None:
    """As after a cancellation of the task that waited."""

    async def main() -> None:
        port = running_port()
        flag = port.flag()
        if loop == "trio":
            alive: weakref.ref[Any] = weakref.ref(flag.event)
        else:
            alive = weakref.ref(flag)
            flag.cancel()
        port.mind(flag)
        del flag
        await a_while()
        gc.collect()
        assert alive() is None

    run(main, loop)


# -- two things at once


def test_the_companion_runs_beside_and_is_ended_with_the_main_one(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        steps: list[str] = []

        async def companion() -> None:
            try:
                steps.append("companion begins")
                await port.flag()
            finally:
                steps.append("companion ends")

        async def main_one() -> None:
            await checkpoint(3)
            steps.append("main ends")

        await port.run_beside(main_one, companion)
        assert steps == ["companion begins", "main ends", "companion ends"]

    run(main, loop)


def test_a_companion_that_has_ended_does_not_end_the_main_one(loop: str) -> None:
    async def main() -> None:
        port = running_port()

        async def companion() -> None:
            pass

        ended: list[bool] = []

        async def main_one() -> None:
            await checkpoint(10)
            ended.append(True)

        await port.run_beside(main_one, companion)
        assert ended

    run(main, loop)


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), *([GROUP("x", [OSError()])] if GROUP else [])],
    ids=lambda error: type(error).__name__,
)
def test_what_the_main_one_raises_comes_out_as_it_is(loop: str, error: Exception) -> None:
    async def main() -> None:
        port = running_port()
        steps: list[str] = []

        async def companion() -> None:
            try:
                await port.flag()
            finally:
                steps.append("companion ends")

        async def main_one() -> None:
            await checkpoint()
            raise error

        with pytest.raises(type(error)) as caught:
            await port.run_beside(main_one, companion)
        assert caught.value is error
        assert error.__context__ is None
        assert steps == ["companion ends"]

    run(main, loop)


def test_a_cancellation_ends_both(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        ended: list[str] = []

        async def wait(name: str) -> None:
            try:
                await port.flag()
            finally:
                ended.append(name)

        async def both() -> None:
            await port.run_beside(lambda: wait("main"), lambda: wait("companion"))

        if loop == "trio":
            with trio.move_on_after(0.01) as scope:
                await both()
            assert scope.cancelled_caught
        else:
            task = asyncio.ensure_future(both())
            await checkpoint(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert sorted(ended) == ["companion", "main"]

    run(main, loop)


def test_what_runs_beside_leaves_no_garbage(loop: str) -> None:
    """A streamed response would otherwise wait, with its buffers, for the garbage collector."""

    class Held:
        pass

    async def main() -> None:
        port = running_port()
        held = Held()
        alive = weakref.ref(held)

        async def companion(held: Held = held) -> None:
            await port.flag()

        async def main_one(held: Held = held) -> None:
            await checkpoint(2)

        await port.run_beside(main_one, companion)
        del companion, main_one, held
        await checkpoint(3)
        assert alive() is None

    gc.collect()
    gc.disable()
    try:
        run(main, loop)
    finally:
        gc.enable()


def test_the_vocabulary_is_that_of_both_ports() -> None:
    wanted = {name for name in vars(ports.Port) if not name.startswith("_")}
    for port in (AsyncioPort, TrioPort):
        assert wanted <= set(dir(port))


# -- tasks of their own


def test_a_coroutine_is_started_from_a_callback_in_its_own_context(loop: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def main() -> None:
        port = running_port()
        over, go_on = port.flag(), port.flag()
        seen: list[Any] = []
        started: list[Any] = []

        async def job() -> None:
            seen.append(variable.get())
            variable.set("by the job")
            await go_on
            seen.append(variable.get())
            seen.append(threading.get_ident() == ident)
            port.raise_flag(over)

        ident = threading.get_ident()
        context = contextvars.Context()
        context.run(variable.set, "given")
        await in_thread(lambda: port.call_soon(lambda: started.append(port.start(job(), context))))
        while not seen:
            await checkpoint()
        assert not started[0].done()
        assert not await in_thread(started[0].done), "from any thread"
        port.raise_flag(go_on)
        await over
        while not started[0].done():
            await checkpoint()
        assert seen == ["given", "by the job", True]
        assert variable.get() == "unset"

    run(main, loop)


def test_what_was_started_can_be_cancelled(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        started: list[Any] = []
        steps: list[str] = []

        async def job() -> None:
            steps.append("begins")
            try:
                await port.flag()
            finally:
                steps.append("ends")

        def begin() -> None:
            started.append(port.start(job(), contextvars.Context()))

        port.call_soon(begin)
        while not steps:
            await checkpoint()
        started[0].cancel()
        while not started[0].done():
            await checkpoint()
        assert steps == ["begins", "ends"]

    run(main, loop)


def test_a_task_that_was_cancelled_can_wait_for_a_flag(loop: str) -> None:
    """To see through what a thread is doing for it."""

    async def main() -> None:
        port = running_port()
        flag, begun = port.flag(), port.flag()
        steps: list[str] = []

        async def job() -> None:
            try:
                port.raise_flag(begun)
                await port.flag()
            finally:
                steps.append("cancelled")
                await port.shielded(flag)
                steps.append("raised")

        started: list[Any] = []
        port.call_soon(lambda: started.append(port.start(job(), contextvars.Context())))
        await begun
        started[0].cancel()
        while not steps:
            await checkpoint()
        await checkpoint(5)
        assert steps == ["cancelled"]
        await in_thread(lambda: port.wake(flag))
        while not started[0].done():
            await checkpoint()
        assert steps == ["cancelled", "raised"]

    run(main, loop)


def test_callbacks_run_in_the_order_in_which_they_were_given(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        order: list[int] = []
        over = port.flag()

        def call_all() -> None:
            for number in range(100):
                port.call_soon(lambda number=number: order.append(number))  # type: ignore[misc]
            port.call_soon(lambda: port.raise_flag(over))

        await in_thread(call_all)
        await over
        assert order == list(range(100))

    run(main, loop)


def test_a_loop_of_asyncio_inside_a_task_of_trio_is_asyncio() -> None:
    """As blocking code under trio may call `asyncio.run`."""

    async def inner() -> bool:
        return in_trio_task()

    async def outer() -> tuple[bool, bool, bool]:
        return in_trio_task(), asyncio.run(inner()), in_trio_task()

    assert trio.run(outer) == (True, False, True)


def test_trio_as_a_guest_of_asyncio_is_trio() -> None:
    async def guest() -> bool:
        await trio.sleep(0)
        return in_trio_task()

    async def host() -> object:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        outcome = await asyncio.wait_for(done, PATIENCE)
        assert not in_trio_task()
        return outcome.unwrap()

    assert asyncio.run(host()) is True
