"""What is particular to the port on trio; what all ports share is in `test_ports`."""

from __future__ import annotations

import contextvars

import pytest
import trio
import trio.testing
from support.drive import run
from support.engines import Thread

from bridge.engines.ports import BRIEFLY
from bridge.engines.trio_port import TrioPort, TrioStarted
from bridge.exceptions import LoopGone


def port_here() -> TrioPort:
    return TrioPort(trio.lowlevel.current_trio_token())


def test_a_flag_is_awaited_like_an_event() -> None:
    async def main() -> None:
        port = port_here()
        flag = port.flag()
        with trio.move_on_after(0.001) as scope:
            await flag
        assert scope.cancelled_caught
        port.raise_flag(flag)
        await flag
        async with trio.open_nursery() as nursery:
            again = port.flag()
            nursery.start_soon(again.event.wait)
            Thread(lambda: port.wake(again))
            await again

    run(main, "trio")


def test_looking_whether_the_run_is_alive_does_not_fill_its_queue() -> None:
    """A thread that waits looks every second, also while the loop is held up by something else."""

    async def main() -> None:
        port = port_here()
        assert all(port.alive() for _ in range(1000))
        entries = port.token._reentry_queue
        assert len(entries.queue) + len(entries.idempotent_queue) <= 1

    run(main, "trio")


def test_a_finished_run_says_so() -> None:
    async def main() -> TrioPort:
        return port_here()

    port = run(main, "trio")
    assert not port.alive()
    with pytest.raises(LoopGone):
        port.call_soon(lambda: None)


def test_one_run_after_another_has_its_own_port() -> None:
    async def main() -> TrioPort:
        return port_here()

    async def look() -> bool:
        return first.is_current()

    first = run(main, "trio")
    assert not run(look, "trio")


def test_what_minds_flags_ends_when_there_is_nothing_to_mind() -> None:
    """It is a system task, of which one must not stay for each port."""

    async def main() -> None:
        port = port_here()
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            flag = port.flag()
            minded = port.mind(flag)
            port.raise_flag(flag)
            await flag
            minded.discard(flag)
        assert trio.lowlevel.current_statistics().tasks_living == before + 1
        flag = port.flag()
        port.mind(flag)
        await flag
        while trio.lowlevel.current_statistics().tasks_living > before:
            await trio.sleep(BRIEFLY)
        flag = port.flag()
        port.mind(flag)
        await flag

    clock = trio.testing.MockClock(autojump_threshold=0)
    trio.run(main, clock=clock)


def test_a_run_that_ends_while_flags_are_minded_ends() -> None:
    async def main() -> None:
        port = port_here()
        port.mind(port.flag())

    trio.run(main)


def test_a_cancellation_comes_out_as_the_cancellation_of_its_scope() -> None:
    async def main() -> None:
        port = port_here()

        async def wait() -> None:
            await trio.sleep_forever()

        with trio.CancelScope() as scope:
            scope.cancel()
            await port.run_beside(wait, wait)
        assert scope.cancelled_caught

    run(main, "trio")


def test_an_error_of_the_main_one_is_not_wrapped_and_keeps_no_frame() -> None:
    async def main() -> None:
        port = port_here()

        async def fail() -> None:
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            await port.run_beside(fail, trio.sleep_forever)

    run(main, "trio")


# -- coroutines in tasks of their own


def test_a_started_coroutine_takes_no_step_before_start_returns_and_says_when_it_is_over() -> None:
    async def main() -> None:
        port = port_here()
        steps: list[str] = []

        async def job() -> None:
            steps.append("begins")
            await trio.lowlevel.checkpoint()
            steps.append("ends")

        started = port.start(job(), contextvars.copy_context())
        assert (steps, started.done()) == ([], False)
        while not started.done():
            await trio.lowlevel.checkpoint()
        assert steps == ["begins", "ends"]
        started.cancel()  # nothing to cancel any more

    run(main, "trio")


def test_a_started_coroutine_is_no_task_of_the_caller_s_and_ends_with_the_run() -> None:
    """It is a system task: the run does not wait for it, and cancels it."""
    ended: list[type[BaseException]] = []

    async def job() -> None:
        try:
            await trio.sleep_forever()
        except BaseException as error:
            ended.append(type(error))
            raise

    async def main() -> TrioStarted:
        port = port_here()
        with trio.CancelScope() as scope:
            started = port.start(job(), contextvars.copy_context())
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.checkpoint()
        assert not started.done(), "it is not the caller's"
        return started

    started = trio.run(main)
    assert ended == [trio.Cancelled]
    assert started.done()


def test_a_started_coroutine_that_is_cancelled_before_its_first_step_is_over_all_the_same() -> None:
    async def main() -> None:
        port = port_here()
        steps: list[str] = []

        async def job() -> None:
            steps.append("begins")
            await trio.lowlevel.checkpoint()
            steps.append("goes on")

        started = port.start(job(), contextvars.copy_context())
        started.cancel()
        while not started.done():
            await trio.lowlevel.checkpoint()
        assert "goes on" not in steps

    run(main, "trio")


def test_a_shielded_wait_lasts_however_often_the_scope_is_cancelled() -> None:
    """A scope stays cancelled; there is no second time."""

    async def main() -> None:
        port = port_here()
        flag = port.flag()
        steps: list[str] = []

        async def wait() -> None:
            try:
                await trio.sleep_forever()
            finally:
                await port.shielded(flag)
                steps.append("raised")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                assert steps == []
                Thread(lambda: port.wake(flag))
        assert steps == ["raised"]

    run(main, "trio")


def test_a_port_is_a_place_of_its_own() -> None:
    async def main() -> None:
        port = port_here()
        assert port.port is port

    run(main, "trio")
