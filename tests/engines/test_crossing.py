"""The meeting of a thread and a task: order, bounds, wake-ups, and every way in which either side may end.

What one side does is tested by hand, with a gate that follows a script, or with coroutines that the
test steps. What needs both is run in hundreds of orders that a seed determines, in which a lost
wake-up shows as a hang, and at last with real threads and a real loop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.engines import (
    PATIENCE,
    Coro,
    FakeLoopThread,
    Hang,
    ScheduledLock,
    Scheduler,
    ScriptedGate,
    Thread,
    eventually,
    script,
)

from bridge.engines import crossing as crossing_module
from bridge.engines import loop_thread as loop_thread_module
from bridge.engines.crossing import FETCH, LOOK, LOOK_AROUND, TAKE, Crossing
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import LoopGone


class Fatal(BaseException):
    """No `Exception`, as a server's time-out or a killed greenlet is."""


class NotingCrossing(Crossing):
    """Notes what was dropped."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waste: list[Any] = []

    def dropped(self, items: list[Any]) -> None:
        self.waste += items


def meeting(limit: int = 10, ahead: int = 10, **options: Any) -> tuple[NotingCrossing, FakeLoopThread]:
    """A crossing without a loop; the test is both thread and task."""
    loop_thread = FakeLoopThread(**options)
    return NotingCrossing(loop_thread, limit, ahead), loop_thread


def scripted(crossing: Crossing, *steps: Callable[[], object]) -> ScriptedGate:
    """Replace the gate: at each wait of the thread, the next of the steps happens."""
    gate = ScriptedGate(*steps)
    crossing._gate = gate
    return gate


# -- the thread: what it is told to do


def test_the_thread_waits_for_the_first_item() -> None:
    crossing, _ = meeting()
    gate = scripted(crossing, lambda: crossing.put(["a"], 1))
    assert crossing.arrive() == TAKE
    assert crossing.take() == (["a"], False)
    assert gate.waits == [LOOK]


def test_what_came_before_the_thread_arrived_is_found() -> None:
    crossing, _ = meeting()
    gate = scripted(crossing)
    crossing.put(["a"], 1)
    assert crossing.arrive() == TAKE
    assert crossing.take() == (["a"], False)
    assert gate.waits == [LOOK], "it goes through the gate, which is open"


def test_a_whole_response_is_one_step() -> None:
    crossing, loop_thread = meeting()
    gate = scripted(crossing, lambda: crossing.put_last(["head", "body"]))
    assert crossing.arrive() == TAKE
    assert crossing.take() == (["head", "body"], True)
    assert (gate.opened, len(gate.waits), loop_thread.submissions) == (1, 1, 0)


@pytest.mark.parametrize(
    ("happens", "todo"),
    [
        (lambda crossing: crossing.put(["a"], 1), TAKE),
        (lambda crossing: crossing.put([], 0), LOOK_AROUND),
        (lambda crossing: crossing.put_last(["a"]), TAKE),
        (lambda crossing: crossing.put_last([]), TAKE),
        (lambda crossing: crossing.end(), TAKE),
        (lambda crossing: crossing.end(ValueError()), TAKE),
        (lambda crossing: crossing.ask(), FETCH),
        (lambda crossing: None, LOOK_AROUND),
    ],
    ids=["put", "put nothing", "last", "last, nothing", "end", "error", "ask", "nothing"],
)
@pytest.mark.parametrize("wait", [Crossing.arrive, Crossing.next])
def test_what_happens_while_the_thread_waits_ends_the_wait(
    wait: Callable[[Crossing], int], happens: Callable[[Crossing], object], todo: int
) -> None:
    crossing, _ = meeting()
    scripted(crossing, lambda: happens(crossing))
    assert wait(crossing) == todo


@pytest.mark.parametrize(
    ("happened", "todo"),
    [
        (lambda crossing: crossing.put(["a"], 1), TAKE),
        (lambda crossing: crossing.put_last([]), TAKE),
        (lambda crossing: crossing.end(), TAKE),
        (lambda crossing: crossing.ask(), FETCH),
    ],
    ids=["put", "last", "end", "ask"],
)
def test_what_happened_before_is_found_without_waiting(
    happened: Callable[[Crossing], object], todo: int
) -> None:
    crossing, _ = meeting()
    gate = scripted(crossing)
    happened(crossing)
    assert crossing.next() == todo
    assert gate.waits == []


def test_items_are_taken_before_supplies_are_fetched() -> None:
    """The task may go on with what it has asked for when they are on their way to the client."""
    crossing, _ = meeting()
    crossing.ask()
    crossing.put(["a"], 1)
    assert crossing.next() == TAKE
    crossing.take()
    assert crossing.next() == FETCH


def test_items_are_taken_in_the_order_in_which_they_were_put() -> None:
    crossing, _ = meeting()
    crossing.put(["a", "b"], 2)
    crossing.put(["c"], 1)
    assert crossing.take() == (["a", "b", "c"], False)
    assert crossing.take() == ([], False)
    crossing.put(["d"], 1)
    crossing.put_last(["e"])
    assert crossing.take() == (["d", "e"], True)
    assert crossing.take() == ([], True)


def test_the_items_that_are_put_stay_the_callers() -> None:
    crossing, _ = meeting()
    items = ["a"]
    crossing.put(items, 1)
    items.append("b")
    assert crossing.take() == (["a"], False)


def test_items_that_came_before_an_error_can_be_taken() -> None:
    crossing, _ = meeting()
    error = ValueError()
    crossing.put(["a"], 1)
    crossing.end(error)
    assert crossing.take() == (["a"], True)
    assert crossing.error is error


@pytest.mark.parametrize("error", [ValueError(), Fatal(), SystemExit(1), asyncio.CancelledError()], ids=repr)
def test_the_thread_learns_why_it_ended(error: BaseException) -> None:
    crossing, _ = meeting()
    scripted(crossing, lambda: crossing.end(error))
    assert crossing.arrive() == TAKE
    assert crossing.take() == ([], True)
    assert crossing.error is error


def test_the_first_end_counts() -> None:
    crossing, _ = meeting()
    gate = scripted(crossing)
    error = ValueError()
    crossing.end(error)
    crossing.end()
    crossing.end(KeyError())
    assert crossing.error is error

    crossing, _ = meeting()
    gate = scripted(crossing)
    crossing.put_last(["a"])
    crossing.end(error)
    assert crossing.error is None
    assert gate.opened == 1


def test_a_gate_that_was_left_open_does_not_end_the_next_wait() -> None:
    """The task puts just when the thread has found something to do without going through the gate."""
    crossing, _ = meeting()
    gate = scripted(crossing, lambda: crossing.put(["b"], 1))
    crossing.put(["a"], 1)
    assert gate.open
    assert crossing.next() == TAKE
    crossing.take()
    assert gate.open, "next() did not wait"
    assert crossing.next() == TAKE
    assert crossing.take() == (["b"], False)
    assert len(gate.waits) == 2


def test_a_gate_that_is_open_can_be_opened_again() -> None:
    crossing, _ = meeting()
    gate = scripted(crossing)
    crossing.put(["a"], 1)
    crossing._waiting = True  # as if the thread were on its way to the gate
    crossing.put(["b"], 1)
    assert gate.opened == 2
    assert crossing.arrive() == TAKE
    assert crossing.take() == (["a", "b"], False)


# -- the thread: looking around


def test_the_thread_looks_around_now_and_then() -> None:
    crossing, loop_thread = meeting()
    gate = scripted(crossing)
    assert crossing.arrive() == LOOK_AROUND
    assert [crossing.next() for _ in range(3)] == [LOOK_AROUND] * 3
    assert gate.waits == [LOOK] * 4
    assert loop_thread.looks == 4


@pytest.mark.parametrize("wait", [Crossing.arrive, Crossing.next])
def test_a_dead_loop_is_found_by_a_look(wait: Callable[[Crossing], int]) -> None:
    crossing, loop_thread = meeting()

    def die() -> None:
        loop_thread.is_alive = False

    scripted(crossing, die)
    with pytest.raises(LoopGone):
        wait(crossing)


def test_what_was_put_before_the_loop_died_can_be_taken() -> None:
    crossing, loop_thread = meeting()
    scripted(crossing)
    crossing.put(["a"], 1)
    loop_thread.is_alive = False
    assert crossing.next() == TAKE
    assert crossing.take() == (["a"], False)
    crossing.dealt(1)
    # It goes through the gate that the put has left open, before it waits.
    with pytest.raises(LoopGone):
        crossing.next()


def test_what_is_put_just_after_a_look_is_not_lost() -> None:
    """The wait has timed out; the thread is away, although it counts as waiting."""
    crossing, _ = meeting()
    gate = scripted(crossing)
    assert crossing.next() == LOOK_AROUND
    crossing.put(["a"], 1)
    assert crossing.next() == TAKE
    crossing.take()
    assert crossing.next() == LOOK_AROUND, "the gate was open, but nothing has come"
    gate.script.append(lambda: crossing.put(["b"], 1))
    assert crossing.next() == TAKE
    assert crossing.take() == (["b"], False)


# -- supplies


def test_the_task_is_given_what_it_asks_for() -> None:
    crossing, loop_thread = meeting()
    assert crossing.ask() is None
    assert crossing.next() == FETCH
    task = Coro(crossing.stirred())
    task.step()
    crossing.supply("a", 1, False)
    loop_thread.turn()
    assert task.step()
    assert crossing.ask() == "a"
    assert crossing.ask() is None


def test_supplies_are_given_in_order() -> None:
    crossing, _ = meeting()
    for item in "abc":
        crossing.supply(item, 1, item == "c")
    assert [crossing.ask() for _ in range(4)] == ["a", "b", "c", None]


def test_nothing_is_fetched_that_was_not_asked_for() -> None:
    crossing, _ = meeting()
    scripted(crossing)
    assert crossing.next() == LOOK_AROUND
    crossing.ask()
    assert crossing.next() == FETCH
    crossing.supply("a", 1, False)
    assert crossing.next() == LOOK_AROUND, "once for each question"
    crossing.ask()
    assert crossing.next() == LOOK_AROUND, "it got what was there"
    crossing.ask()
    assert crossing.next() == FETCH


def test_a_question_is_asked_once() -> None:
    crossing, _ = meeting()
    gate = scripted(crossing)
    crossing.ask()
    crossing.ask()
    assert gate.opened == 1
    assert crossing.arrive() == FETCH
    assert crossing.next() == FETCH, "it has not been answered"
    crossing.supply("a", 1, False)
    assert crossing.ask() == "a"
    assert crossing.next() == LOOK_AROUND


def test_nothing_is_fetched_after_the_last() -> None:
    crossing, _ = meeting()
    gate = scripted(crossing)
    crossing.ask()
    crossing.supply("a", 1, True)
    assert crossing.ask() == "a"
    crossing.hurry = True
    assert crossing.ask() is None
    assert crossing.arrive() == LOOK_AROUND
    assert crossing.next() == LOOK_AROUND
    assert gate.opened == 1


def test_in_a_hurry_supplies_are_fetched_ahead() -> None:
    crossing, _ = meeting(ahead=10)
    gate = scripted(crossing)
    crossing.hurry = True
    for item in ("a", "b", "c"):
        assert crossing.next() == FETCH
        crossing.supply(item, 4, False)
    assert crossing.next() == LOOK_AROUND, "12 of 10 are there"
    assert crossing.ask() == "a"
    assert gate.opened == 0, "8 are enough, so the thread need not be woken"
    assert crossing.ask() == "b"
    assert gate.opened == 1, "4 are not"
    assert crossing.next() == FETCH


def test_the_end_of_the_hurry_ends_the_fetching_ahead() -> None:
    crossing, _ = meeting(ahead=10)
    scripted(crossing)
    crossing.hurry = True
    assert crossing.next() == FETCH
    crossing.supply("a", 4, False)
    crossing.hurry = False
    assert crossing.next() == LOOK_AROUND


@pytest.mark.parametrize(
    ("ahead", "last"), [(10, True), (0, False)], ids=["all is fetched", "nothing may be fetched ahead"]
)
def test_the_thread_is_not_woken_for_nothing(ahead: int, last: bool) -> None:
    crossing, _ = meeting(ahead=ahead)
    gate = scripted(crossing)
    crossing.hurry = True
    for item in "abc":
        crossing.supply(item, 1, last and item == "c")
    assert crossing.next() == LOOK_AROUND
    assert [crossing.ask() for _ in range(3)] == ["a", "b", "c"]
    assert gate.opened == 0


def test_a_supply_that_nobody_waits_for_wakes_nobody() -> None:
    crossing, loop_thread = meeting()
    crossing.supply("a", 1, False)
    assert loop_thread.submissions == 0
    crossing.ask()
    crossing.ask()
    crossing.supply("b", 1, False)
    crossing.supply("c", 1, False)
    assert loop_thread.submissions == 1


# -- back-pressure


def test_the_task_is_told_to_wait_above_the_limit() -> None:
    crossing, _ = meeting(10)
    assert not crossing.put(["a"], 10)
    assert crossing.put(["b"], 1)
    crossing.take()
    assert crossing.put(["c"], 0), "what is taken counts until it is dealt with"
    crossing.dealt(11)
    assert not crossing.put(["d"], 10)


def test_one_item_may_exceed_the_limit() -> None:
    crossing, loop_thread = meeting(10)
    assert crossing.put(["huge"], 10_000)
    task = Coro(crossing.room())
    assert not task.step()
    crossing.take()
    crossing.dealt(10_000)
    loop_thread.turn()
    assert task.step()


def test_a_task_that_waits_for_room_goes_on_at_half_of_the_limit() -> None:
    """Not below the limit at once, or it would be woken for every item."""
    crossing, loop_thread = meeting(100)
    crossing.put(["a"], 120)
    task = Coro(crossing.room())
    task.step()
    crossing.take()
    for _ in range(69):
        crossing.dealt(1)
    assert loop_thread.submissions == 0
    crossing.dealt(1)
    crossing.dealt(1)
    assert loop_thread.submissions == 1
    loop_thread.turn()
    assert task.step()


def test_room_that_has_come_before_the_wait_is_seen() -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 12)
    crossing.take()
    crossing.dealt(12)
    assert Coro(crossing.room()).step()
    assert loop_thread.submissions == 0


def test_room_that_has_come_before_the_wait_counts_from_half_of_the_limit_as_well() -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 12)
    crossing.take()
    crossing.dealt(6)
    task = Coro(crossing.room())
    assert not task.step()
    crossing.dealt(1)
    loop_thread.turn()
    assert task.step()


def test_a_task_that_is_stirred_for_another_reason_waits_on_for_room() -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 12)
    task = Coro(crossing.room())
    task.step()
    crossing.stir()
    assert not task.step()
    crossing.take()
    crossing.dealt(12)
    loop_thread.turn()
    assert task.step()


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_the_smallest_limits_work(limit: int) -> None:
    crossing, loop_thread = meeting(limit)
    for number in range(20):
        assert crossing.put([number], limit + 1)
        task = Coro(crossing.room())
        assert not task.step()
        assert crossing.take() == ([number], False)
        crossing.dealt(limit + 1)
        loop_thread.turn()
        assert task.step()


def test_nothing_is_submitted_while_no_task_waits_for_room() -> None:
    crossing, loop_thread = meeting(10)
    for _ in range(20):
        crossing.put(["a"], 4)
        crossing.take()
        crossing.dealt(4)
    assert loop_thread.submissions == 0


# -- wake-ups of the thread


def test_the_thread_is_woken_once_for_all_that_comes_while_it_is_away() -> None:
    crossing, _ = meeting(1000)
    gate = scripted(crossing)
    for number in range(100):
        crossing.put([number], 1)
    crossing.ask()
    crossing.put_last(["last"])
    crossing.end()
    assert gate.opened == 1
    assert crossing.arrive() == TAKE
    assert crossing.take() == ([*range(100), "last"], True)


@pytest.mark.parametrize(
    "first",
    [
        lambda crossing: crossing.ask(),
        lambda crossing: crossing.put([], 0),
        lambda crossing: crossing.put_last([]),
        lambda crossing: crossing.end(),
    ],
    ids=["ask", "put", "last", "end"],
)
def test_whatever_wakes_the_thread_is_the_only_one_that_does(first: Callable[[Crossing], object]) -> None:
    crossing, _ = meeting(1000)
    gate = scripted(crossing)
    first(crossing)
    crossing.ask()
    crossing.put(["a"], 1)
    crossing.put_last(["b"])
    crossing.end()
    assert gate.opened == 1


def test_the_thread_is_not_woken_while_it_is_awake() -> None:
    crossing, _ = meeting(1000)
    gate = scripted(crossing, lambda: crossing.put(["a"], 1))
    assert crossing.arrive() == TAKE
    crossing.take()
    for number in range(100):
        crossing.put([number], 1)
    assert gate.opened == 1, "it looks for more before it waits"
    assert crossing.next() == TAKE


# -- the thread leaves


@pytest.mark.req("A-29")
def test_a_task_that_waits_is_told_that_the_thread_has_left() -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 11)
    waits = [Coro(crossing.room()), Coro(crossing.stirred())]
    for task in waits:
        assert not task.step()
    crossing.leave()
    assert crossing.gone
    assert not any(task.ready() for task in waits), "flags are the loop's: it is told there"
    loop_thread.turn()
    assert all(task.step() for task in waits)


def test_whoever_waited_for_room_learns_whether_there_is_any() -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 11)
    task = Coro(crossing.room())
    task.step()
    crossing.take()
    crossing.dealt(11)
    loop_thread.turn()
    assert task.step()
    assert task.result is True

    crossing.put(["a"], 11)
    task = Coro(crossing.room())
    task.step()
    crossing.leave()
    loop_thread.turn()
    assert task.step()
    assert task.result is False
    late = Coro(crossing.room())
    assert late.step()
    assert late.result is False


def test_the_thread_may_say_why_it_leaves() -> None:
    """In one step, so that no end of the task's comes in between."""
    crossing, _ = meeting()
    error, other = ValueError(), ValueError()
    crossing.leave(error)
    assert (crossing.gone, crossing.ended, crossing.error) == (True, True, error)
    assert crossing.next() == TAKE
    assert crossing.take() == ([], True)
    crossing.end(other)
    crossing.leave(other)
    assert crossing.error is error


@pytest.mark.parametrize("its_error", [None, KeyError()], ids=repr)
def test_why_the_thread_leaves_does_not_matter_after_the_end(its_error: BaseException | None) -> None:
    crossing, _ = meeting()
    crossing.end(its_error)
    crossing.leave(ValueError())
    assert crossing.gone
    assert crossing.error is its_error


def test_a_thread_that_leaves_without_a_reason_does_not_end_it() -> None:
    crossing, _ = meeting()
    crossing.leave()
    assert not crossing.ended
    assert crossing.error is None


def test_leaving_twice_is_leaving_once() -> None:
    crossing, loop_thread = meeting()
    crossing.leave()
    crossing.leave()
    assert loop_thread.submissions == 1


def test_what_nobody_will_take_is_dropped() -> None:
    crossing, _ = meeting(10)
    crossing.put(["a", "b"], 2)
    crossing.leave()
    assert crossing.waste == ["a", "b"]
    assert crossing.take() == ([], False)
    crossing.put(["c"], 100)
    crossing.put_last(["d"])
    assert crossing.take() == ([], True)
    assert crossing.waste == ["a", "b", "c", "d"]


def test_nothing_is_dropped_that_the_thread_has_taken() -> None:
    crossing, _ = meeting(10)
    crossing.put(["a"], 1)
    crossing.take()
    crossing.leave()
    assert crossing.waste == []


@pytest.mark.req("A-18")
def test_what_is_put_after_the_thread_has_left_is_not_held() -> None:
    """An app that does not look at what it is told would fill the memory."""
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 11)
    crossing.leave()
    loop_thread.turn()
    for number in range(1000):
        crossing.put([number], 1)
        assert Coro(crossing.room()).step(), "there is nobody to wait for"
    assert crossing._held == 11
    assert crossing._items == []


def test_a_thread_that_leaves_before_the_task_has_begun_is_seen_by_it() -> None:
    """What was submitted runs in order: the start of the job, then `left`."""
    crossing, loop_thread = meeting()
    seen: list[object] = []
    crossing.left = lambda: seen.append("left")  # type: ignore[method-assign]
    loop_thread.submit(lambda: seen.append(crossing.gone))
    crossing.leave()
    loop_thread.turn()
    assert seen == [True, "left"]


def test_a_thread_may_leave_after_the_end() -> None:
    crossing, loop_thread = meeting()
    crossing.put_last(["a"])
    crossing.leave()
    assert crossing.gone
    loop_thread.turn()
    assert crossing.take() == ([], True)


def test_the_task_may_end_after_the_thread_has_left() -> None:
    crossing, _ = meeting()
    crossing.leave()
    error = ValueError()
    crossing.end(error)
    assert crossing.ended
    assert crossing.error is error


@pytest.mark.parametrize("use", ["leave", "dealt", "supply"])
def test_nothing_raises_in_the_thread_if_the_loop_is_closed(use: str) -> None:
    """It is about to leave, or finds out at its next wait."""
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 11)
    Coro(crossing.room()).step()
    crossing.ask()
    crossing.take()
    loop_thread.is_closed = True
    if use == "leave":
        crossing.leave()
        assert crossing.gone
    elif use == "dealt":
        crossing.dealt(11)
    else:
        crossing.supply("b", 1, False)
    assert loop_thread.submissions == 0


@pytest.mark.parametrize("error", [Fatal(), KeyboardInterrupt(), SystemExit(), ValueError()], ids=repr)
def test_whatever_is_raised_at_the_gate_leaves_the_thread_and_the_task_is_told(error: BaseException) -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 11)
    task = Coro(crossing.room())
    task.step()
    crossing.take()

    def fail() -> None:
        raise error

    scripted(crossing, fail)
    with pytest.raises(type(error)) as caught:
        crossing.next()
    assert caught.value is error
    crossing.leave()
    loop_thread.turn()
    assert task.step()
    assert not crossing._lock.locked()


# -- the task ends or is cancelled while it waits


@pytest.mark.parametrize("name", ["room", "stirred"])
def test_a_task_that_waits_can_be_cancelled(name: str) -> None:
    crossing, loop_thread = meeting(10)
    crossing.put(["a"], 11)
    cancelled, other = Coro(getattr(crossing, name)()), Coro(getattr(crossing, name)())
    cancelled.step()
    other.step()
    with pytest.raises(asyncio.CancelledError):
        cancelled.throw(asyncio.CancelledError())
    crossing.take()
    crossing.dealt(11)
    crossing.stir()
    loop_thread.turn()
    assert other.step(), "a flag that was cancelled is passed over"


def test_a_flag_that_was_cancelled_is_passed_over() -> None:
    """The task that waits for it has yet to learn that it is cancelled."""
    crossing, _ = meeting()
    tasks = [Coro(crossing.stirred()) for _ in range(3)]
    for task in tasks:
        task.step()
    crossing._flags[1].cancel()
    crossing.stir()
    assert all(task.step() for task in tasks)


def test_waits_that_were_cancelled_do_not_pile_up() -> None:
    """Apps poll: they wait for the client to leave, and give up at once or soon, again and again."""
    crossing, _ = meeting()
    for _ in range(100):
        task = Coro(crossing.stirred())
        task.step()
        with pytest.raises(asyncio.CancelledError):
            task.throw(asyncio.CancelledError())
    assert len(crossing._flags) <= 1


def test_all_tasks_that_wait_are_stirred_once() -> None:
    crossing, _ = meeting()
    tasks = [Coro(crossing.stirred()) for _ in range(5)]
    for task in tasks:
        task.step()
    crossing.stir()
    assert all(task.step() for task in tasks)
    late = Coro(crossing.stirred())
    late.step()
    assert not late.ready()
    late.close()
    crossing.stir()


def test_a_crossing_that_is_over_is_freed_without_the_garbage_collector() -> None:
    """Thousands of requests a second would otherwise wait for it."""

    def exchange() -> weakref.ref[Crossing]:
        crossing, loop_thread = meeting(10)
        crossing.put(["a"], 11)
        task = Coro(crossing.room())
        task.step()
        crossing.arrive()
        crossing.take()
        crossing.dealt(11)
        crossing.supply("b", 1, True)
        loop_thread.turn()
        task.step()
        crossing.put_last([])
        crossing.leave()
        loop_thread.turn()
        return weakref.ref(crossing)

    gc.disable()
    try:
        assert exchange()() is None
    finally:
        gc.enable()


@pytest.mark.req("A-29")
def test_a_response_that_the_garbage_collector_finds_does_not_lock_the_task_out() -> None:
    """Its finalizer tells the call that nobody takes the rest, wherever the collector happens to run.

    Since Python 3.12 that may be in the middle of a call of the task's, which has the lock.
    """
    script(
        """
import faulthandler, gc, threading
from bridge.adapters.asgi_exchange import Exchange
from bridge.engines.crossing import Crossing

class FakeLoopThread:
    allocate_lock = threading.Lock
    def submit(self, callback):
        pass

faulthandler.dump_traceback_later(10, exit=True)
gc.disable()
gc.freeze()

def play(distance):
    call = Crossing(FakeLoopThread(), 10, 10)
    call.supply(b"x", 1, False)
    body = Exchange(call, None, {}, 0.0)
    body.cycle = body   # dropped without close(), as part of a cycle: of a traceback, say
    del body
    gc.set_threshold(gc.get_count()[0] + distance)
    gc.enable()
    call.ask()
    call.put([b"y"], 1)
    call.put_last([])
    gc.disable()
    gc.collect()

for distance in list(range(16)) * 20:
    play(distance)
""",
        timeout=40,
    )


# -- both at once, in orders that a seed determines


class Left(BaseException):
    """The thread was told to go, by its server."""


class Play:
    """One crossing between a thread that is scheduled and two tasks, on a loop that is a thread as well.

    The tasks are an app's: one puts, the other asks, as long as there is something to ask for. At random
    the thread leaves, the putting task ends with an error or is cancelled, the loop dies.
    """

    def __init__(self, seed: int) -> None:
        self.scheduler = Scheduler(seed)
        chance = self.random = self.scheduler.random
        self.count = chance.randrange(12)
        self.limit = chance.choice([0, 1, 3, 8])
        self.ahead = chance.choice([0, 1, 4])
        self.supplies = chance.randrange(6)
        self.fate = chance.choice(["well", "well", "error", "cancelled", "leave", "loop dies"])
        self.fate_comes_at = chance.randrange(8)
        self.loop_thread = FakeLoopThread(self.scheduler.lock)
        self.crossing = NotingCrossing(self.loop_thread, self.limit, self.ahead)
        gate = self.crossing._gate
        assert isinstance(gate, ScheduledLock)
        # No wait ends by itself: whoever is not woken hangs. Only a dead loop has to be found.
        gate.expires = lambda: not self.loop_thread.is_alive
        self.put: list[int] = []
        self.put_uncounted = 0
        self.taken: list[int] = []
        self.fetched = 0
        self.received: list[int] = []
        self.thread_ended = ""
        self.most_held = self.most_supplied = 0

    # the tasks

    async def putting(self) -> None:
        crossing, chance = self.crossing, self.random
        number = 0
        while number < self.count:
            if number >= self.fate_comes_at and self.fate == "error":
                raise ValueError("the app failed")
            items = list(range(number, min(self.count, number + chance.randrange(1, 4))))
            number = items[-1] + 1
            if crossing.gone:
                return
            self.put += items
            if number == self.count and chance.random() < 0.5:
                crossing.put_last(items)
                self.put_uncounted = len(items)
                return
            full = crossing.put(items, len(items))
            self.most_held = max(self.most_held, crossing._held)
            if full:
                await crossing.room()

    async def asking(self) -> None:
        crossing = self.crossing
        while len(self.received) < self.supplies and not crossing.gone and not crossing.ended:
            if self.random.random() < 0.3:
                crossing.hurry = not crossing.hurry
            supply = crossing.ask()
            if supply is None:
                await crossing.stirred()
                continue
            assert supply == len(self.received), "lost, doubled or out of order"
            self.received.append(supply)

    # the loop

    def loop(self) -> None:
        crossing, loop_thread = self.crossing, self.loop_thread
        putting, asking = Coro(self.putting()), Coro(self.asking())
        steps = 0
        while not (putting.over and asking.over):
            self.scheduler.wait(
                lambda: loop_thread.submitted or putting.ready() or asking.ready() or crossing.gone
            )
            steps += 1
            if steps > self.fate_comes_at and self.fate == "loop dies":
                loop_thread.is_closed = True
                loop_thread.is_alive = False
                putting.close()
                asking.close()
                return
            loop_thread.turn()
            error: BaseException | None = None
            try:
                if steps > self.fate_comes_at and self.fate == "cancelled" and not putting.over:
                    putting.throw(asyncio.CancelledError())
                was_over = putting.over
                putting.step()
                if was_over or not putting.over:
                    asking.step()
                    continue
            except BaseException as raised:
                error = raised
            crossing.end(error)
            crossing.stir()
        asking.close()

    # the thread

    def thread(self) -> None:
        try:
            self.serve()
        except Left:
            self.crossing.leave()
            self.thread_ended = "left"
        except LoopGone:
            self.crossing.leave()
            self.thread_ended = "loop gone"

    def serve(self) -> None:
        crossing, chance = self.crossing, self.random
        todo = crossing.arrive()
        steps = 0
        while True:
            self.most_supplied = max(self.most_supplied, crossing._supplied)
            steps += 1
            if steps > self.fate_comes_at and self.fate == "leave":
                raise Left
            if todo == TAKE:
                items, last = crossing.take()
                self.taken += items
                while items and chance.random() < 0.5:
                    items.pop()
                    crossing.dealt(1)
                crossing.dealt(len(items))
                if last:
                    self.thread_ended = "ended"
                    return
            elif todo == FETCH:
                crossing.supply(self.fetched, 1, self.fetched == self.supplies - 1)
                self.fetched += 1
            todo = crossing.next()

    def check(self) -> None:
        crossing = self.crossing
        assert self.taken == list(range(len(self.taken))), "lost, doubled or out of order"
        assert self.received == list(range(len(self.received)))
        assert self.most_held <= self.limit + 3
        assert self.most_supplied <= self.ahead + 1
        assert self.fetched <= self.supplies or self.supplies == 0
        assert not crossing._lock.acquire.__self__._locked
        if self.thread_ended == "ended":
            assert crossing.ended
            assert self.taken == self.put
            assert crossing._held == -self.put_uncounted
            if self.fate == "error" and self.count > self.fate_comes_at:
                # Unless the last items came together with one before.
                assert isinstance(crossing.error, ValueError) or len(self.put) == self.count
            elif self.fate in ("well", "loop dies", "leave"):
                assert crossing.error is None
                assert len(self.taken) == self.count
        elif self.thread_ended == "left":
            assert self.fate == "leave"
            assert [*self.taken, *sorted(crossing.waste)] == self.put
        else:
            assert (self.fate, self.thread_ended) == ("loop dies", "loop gone")


def play(seed: int) -> str:
    """Play one seed through; return how the thread ended."""
    a_play = Play(seed)
    try:
        a_play.scheduler.run(thread=a_play.thread, loop=a_play.loop)
        a_play.check()
    except BaseException as error:
        raise AssertionError(f"seed {seed}, fate {a_play.fate}: {error!r}") from error
    return f"{a_play.fate}: {a_play.thread_ended}"


@pytest.mark.req("A-18", "A-29")
@pytest.mark.parametrize("part", range(4))
def test_no_order_of_steps_loses_a_wake_up_or_an_item(part: int) -> None:
    outcomes = {play(part * 300 + number) for number in range(300)}
    assert outcomes >= {
        "well: ended",
        "error: ended",
        "cancelled: ended",
        "leave: left",
        "loop dies: loop gone",
    }


@pytest.mark.parametrize("forgets", ["_open_gate", "_stir_soon"])
def test_the_orders_above_would_find_a_lost_wake_up(monkeypatch: pytest.MonkeyPatch, forgets: str) -> None:
    real = getattr(Crossing, forgets)
    calls = 0

    def forgetful(crossing: Crossing) -> None:
        nonlocal calls
        calls += 1
        if calls % 3:
            real(crossing)

    def play_many() -> None:
        for seed in range(100):
            play(seed)

    monkeypatch.setattr(Crossing, forgets, forgetful)
    with pytest.raises(AssertionError, match="Hang"):
        play_many()


def test_the_same_seed_leads_to_the_same_order() -> None:
    def trace(seed: int) -> list[str]:
        scheduler = Scheduler(seed)
        lock = scheduler.lock()
        entries: list[str] = []

        def note(name: str) -> None:
            for _ in range(20):
                with lock:
                    entries.append(name)

        scheduler.run(a=lambda: note("a"), b=lambda: note("b"))
        return entries

    assert trace(1) == trace(1) != trace(2)


def test_a_hang_of_all_is_found() -> None:
    scheduler = Scheduler(1)
    one, other = scheduler.lock(), scheduler.lock()

    def lock_both(first: ScheduledLock, second: ScheduledLock) -> None:
        for _ in range(50):
            with first, second:
                pass

    with pytest.raises(Hang):
        scheduler.run(a=lambda: lock_both(one, other), b=lambda: lock_both(other, one))


# -- with a real thread, and a real loop


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits looks around every few milliseconds."""
    monkeypatch.setattr(crossing_module, "LOOK", 0.005)


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    """A loop in a thread, of its own kind so that nobody else shares it."""
    thread = LoopThread.shared(lambda: asyncio.new_event_loop())
    thread.start()
    yield thread
    thread.release()
    assert thread.join(PATIENCE)


class Job(Crossing):
    """A crossing with the task that it is for: `work` gets the job itself."""

    task: asyncio.Task[None] | None = None

    def __init__(
        self, loop_thread: LoopThread, work: Any, limit: int = 10, ahead: int = 10, supplies: int = 5
    ) -> None:
        super().__init__(loop_thread, limit, ahead)
        self._work = work
        self._last = supplies

    def start(self) -> None:
        self.task = self.loop_thread.port.loop.create_task(self._run())

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await self._work(self)
        except BaseException as raised:
            error = raised
        self.end(error)

    def left(self) -> None:
        super().left()
        if self.task is not None:
            self.task.cancel()

    def serve(self) -> list[Any]:
        """What the thread does until the end; supplies are numbers, and each item counts one unit."""
        self.loop_thread.submit(self.start)
        taken: list[Any] = []
        number = 0
        try:
            todo = self.arrive()
            while True:
                if todo == TAKE:
                    items, last = self.take()
                    taken += items
                    self.dealt(len(items))
                    if last:
                        return taken
                elif todo == FETCH:
                    number += 1
                    self.supply(number, 1, number == self._last)
                else:
                    self.look_around()
                todo = self.next()
        except BaseException:
            self.leave()
            raise

    def look_around(self) -> None:
        if self.task is not None and self.task.done() and not self.ended:
            self.end(ValueError("the task was cancelled before it ran"))


def test_items_and_supplies_pass(loop_thread: LoopThread) -> None:
    async def work(job: Job) -> None:
        received = 0
        while received < 5:
            supply = job.ask()
            if supply is None:
                await job.stirred()
                continue
            received += 1
            if job.put([supply], 1):
                await job.room()

    job = Job(loop_thread, work, limit=1)
    assert Thread(job.serve).outcome() == [1, 2, 3, 4, 5]
    assert job.error is None


@pytest.mark.parametrize("error", [ValueError("why"), Fatal("why"), asyncio.CancelledError("why")], ids=repr)
def test_whatever_ends_the_task_ends_the_wait(loop_thread: LoopThread, error: BaseException) -> None:
    waits = threading.Event()

    async def work(job: Job) -> None:
        await in_executor(waits.wait)
        raise error

    async def in_executor(function: Callable[..., Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, function, PATIENCE)

    job = Job(loop_thread, work)
    thread = Thread(job.serve)
    eventually(lambda: job._waiting and job.task is not None)
    waits.set()
    assert thread.outcome() == []
    assert job.error is error


@pytest.mark.usefixtures("impatient")
def test_a_task_that_was_cancelled_before_its_first_step_is_found_by_a_look(loop_thread: LoopThread) -> None:
    """It never gets to say that it has ended."""

    async def work(job: Job) -> None:
        raise AssertionError("it was cancelled before")

    class Cancelled(Job):
        def start(self) -> None:
            super().start()
            assert self.task is not None
            self.task.cancel()

    job = Cancelled(loop_thread, work)
    assert Thread(job.serve).outcome() == []
    assert isinstance(job.error, ValueError)


@pytest.mark.usefixtures("impatient")
@pytest.mark.req("A-11")
def test_the_thread_waits_on_while_the_loop_is_alive(loop_thread: LoopThread) -> None:
    looks = 0
    goes_on = threading.Event()

    async def work(job: Job) -> None:
        await asyncio.get_running_loop().run_in_executor(None, goes_on.wait, PATIENCE)
        job.put([1], 1)

    class Looking(Job):
        def look_around(self) -> None:
            nonlocal looks
            looks += 1
            if looks == 5:
                goes_on.set()

    assert Thread(Looking(loop_thread, work).serve).outcome() == [1]
    assert looks >= 5


@pytest.mark.usefixtures("impatient")
def test_a_thread_whose_loop_ends_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_thread_module, "_LAST_STEPS", 0.1)

    async def work(job: Job) -> None:
        while True:
            try:
                await job.stirred()
            except asyncio.CancelledError:  # and so does not say that it has ended
                await asyncio.get_running_loop().create_future()

    loop_thread = LoopThread.shared(lambda: asyncio.new_event_loop())
    loop_thread.start()
    job = Job(loop_thread, work)
    job.end = lambda error=None: None  # type: ignore[method-assign]
    thread = Thread(job.serve)
    eventually(lambda: job._flags)
    loop_thread.release()
    assert loop_thread.join(PATIENCE)
    with pytest.raises(LoopGone):
        thread.outcome()
    assert job.gone


def test_a_thread_whose_task_is_cancelled_at_the_end_of_the_loop_stops_waiting_at_once() -> None:
    async def work(job: Job) -> None:
        await job.stirred()

    loop_thread = LoopThread.shared(lambda: asyncio.new_event_loop())
    loop_thread.start()
    job = Job(loop_thread, work)
    thread = Thread(job.serve)
    eventually(lambda: job._flags)
    loop_thread.release()
    assert loop_thread.join(PATIENCE)
    assert thread.outcome() == []
    assert isinstance(job.error, asyncio.CancelledError)


@pytest.mark.req("A-29")
@pytest.mark.parametrize("error", [Fatal, KeyboardInterrupt, ValueError])
def test_a_thread_that_fails_lets_the_task_go(loop_thread: LoopThread, error: type[BaseException]) -> None:
    ended = threading.Event()

    async def work(job: Job) -> None:
        try:
            job.put([100], 100)
            await job.room()
            await job.stirred()  # cancelled here, by `left`, at the latest
        finally:
            ended.set()

    class Failing(Job):
        def dealt(self, size: int) -> None:
            raise error

    job = Failing(loop_thread, work)
    with pytest.raises(error):
        Thread(job.serve).outcome()
    assert job.gone
    assert ended.wait(PATIENCE)


def test_a_thread_that_leaves_before_the_loop_gets_to_it_is_seen(loop_thread: LoopThread) -> None:
    holds, seen = threading.Event(), threading.Event()
    gone: list[bool] = []

    async def work(job: Job) -> None:
        gone.append(job.gone)
        seen.set()

    loop_thread.submit(lambda: holds.wait(PATIENCE))
    job = Job(loop_thread, work)
    loop_thread.submit(job.start)
    job.leave()
    holds.set()
    eventually(lambda: job.task is not None and job.task.done())
    assert gone in ([True], []), "it begins after `leave`, if `left` does not cancel it before"
    assert job.gone


def test_a_task_that_waits_for_a_thread_at_work_can_be_cancelled(loop_thread: LoopThread) -> None:
    """The thread is in the server's write; it finds the end when it comes back."""
    writes, may_return = threading.Event(), threading.Event()

    async def work(job: Job) -> None:
        job.put([100], 100)
        await job.room()

    class Writing(Job):
        def dealt(self, size: int) -> None:
            writes.set()
            assert may_return.wait(PATIENCE)
            super().dealt(size)

    job = Writing(loop_thread, work)
    thread = Thread(job.serve)
    assert writes.wait(PATIENCE)
    assert job.task is not None
    loop_thread.port.loop.call_soon_threadsafe(job.task.cancel)
    eventually(lambda: job.ended)
    may_return.set()
    assert thread.outcome() == [100]
    assert isinstance(job.error, asyncio.CancelledError)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.req("A-02")
def test_a_thread_in_a_forked_child_finds_that_its_loop_is_not_there() -> None:
    printed = script(
        """
import asyncio, os, threading, traceback
from bridge.engines import crossing
from bridge.engines.crossing import Crossing
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import LoopGone

crossing.LOOK = 0.01
thread = LoopThread.shared(asyncio.new_event_loop)
thread.start()
met = Crossing(thread, 10, 10)
if os.fork() == 0:
    try:
        met.next()
    except LoopGone:
        met.leave()
        os._exit(7)
    except BaseException:
        traceback.print_exc()
    os._exit(1)
status = os.wait()[1]
print("child", os.waitstatus_to_exitcode(status))
# The parent's goes on.
thread.submit(lambda: met.put(["a"], 1))
while met.next() != crossing.TAKE:
    pass
print("parent", met.take())
thread.release()
print(thread.join(10))
"""
    )
    assert printed.splitlines() == ["child 7", "parent (['a'], False)", "True"]


@pytest.mark.usefixtures("preemptive")
@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_items_pass_in_bounded_memory(
    loop_thread: LoopThread, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several threads share the loop, so that their wake-ups are coalesced, and none may be lost."""
    monkeypatch.setattr(crossing_module, "LOOK", PATIENCE)  # who looks has been forgotten, and not only slow

    async def work(job: Job) -> None:
        chance = random.Random(seed)
        job.hurry = True
        received = most = 0
        while received < 300:
            supply = job.ask()
            if supply is None:
                await job.stirred()
                continue
            received += 1
            assert supply == received
            most = max(most, job._held)
            if job.put([supply], 7):
                await job.room()
            if chance.random() < 0.05:
                await asyncio.sleep(0)
        assert most <= job._limit + 7

    def serve() -> None:
        job = Job(loop_thread, work, limit=20, ahead=10)
        loop_thread.submit(job.start)
        chance = random.Random(seed + 1)
        taken: list[int] = []
        number = 0
        todo = job.arrive()
        while True:
            assert todo != LOOK_AROUND or not job._supplies, "it was not woken"
            if todo == TAKE:
                items, last = job.take()
                taken += items
                for _ in items:
                    job.dealt(7)
                if last:
                    break
            elif todo == FETCH:
                number += 1
                assert job._supplied <= 10 + 4
                job.supply(number, 4, False)
            if chance.random() < 0.02:
                time.sleep(0)
            todo = job.next()
        if job.error is not None:
            raise job.error
        assert taken == list(range(1, 301))
        assert job._held == 0

    for thread in [Thread(serve) for _ in range(8)]:
        thread.outcome()


@pytest.mark.usefixtures("preemptive")
def test_no_wake_up_of_many_threads_is_lost(loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time each, so a single lost wake-up leaves one waiting for ever."""
    monkeypatch.setattr(crossing_module, "LOOK", PATIENCE)

    async def work(job: Job) -> None:
        for number in range(1, 300):
            while (supply := job.ask()) is None:
                await job.stirred()
            assert supply == number
            assert job.put([number], 1)
            await job.room()

    def serve() -> None:
        job = Job(loop_thread, work, limit=0, ahead=0, supplies=1000)
        assert job.serve() == list(range(1, 300))
        assert job.error is None

    for thread in [Thread(serve) for _ in range(6)]:
        thread.outcome()
