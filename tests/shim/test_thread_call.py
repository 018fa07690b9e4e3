"""One blocking call: who may run it, what the thread finds and keeps, what comes back, what is let go of."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.local import Local
from support.engines import PATIENCE, FakePort, Thread, eventually
from support.shim_calls import call_of

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.engines import asgiref_notes
from bridge.engines.home import home
from bridge.exceptions import PoolClosed
from bridge.shim.thread_call import call_handling, name_of

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


pytestmark = pytest.mark.usefixtures("single")


# -- its outcome


def test_the_function_is_called_with_its_arguments_and_the_task_is_woken() -> None:
    call = call_of(lambda *args, **kwargs: (args, kwargs), 1, key=2)
    states = [(call.done, call.flag.is_set())]
    call.run(None)
    states.append((call.done, call.flag.is_set()))
    assert states == [(False, False), (True, True)]
    assert call.result == ((1,), {"key": 2})
    assert call.error is None


@pytest.mark.parametrize(
    "error",
    [LookupError("x"), KeyboardInterrupt(), SystemExit(1), GeneratorExit(), asyncio.CancelledError()],
    ids=repr,
)
def test_whatever_it_raises_is_the_outcome_and_the_task_is_woken(error: BaseException) -> None:
    def fail() -> None:
        raise error

    call = call_of(fail)
    call.run(None)
    assert call.error is error
    assert call.flag.is_set()


def test_it_is_done_before_the_task_is_woken() -> None:
    """A task that looks at `done` and waits for a new flag otherwise sees one of the two."""
    call = call_of(int)
    seen: list[bool] = []
    call.port.wake = lambda flag: seen.append(call.done)  # type: ignore[method-assign]
    call.run(None)
    assert seen == [True]


def test_a_loop_that_has_ended_meanwhile_is_nobody_to_tell() -> None:
    call = call_of(int)
    port: Any = call.port
    port.is_closed = True
    call.run(None)
    assert call.done
    assert port.woken == []


def test_a_pool_that_refuses_it_wakes_the_task_with_the_reason() -> None:
    call = call_of(int)
    error = PoolClosed("closed")
    call.refuse(error)
    assert call.error is error
    assert call.done
    assert call.flag.is_set()


# -- claims: one of those who try has it


def test_a_call_that_was_withdrawn_does_not_run() -> None:
    ran: list[int] = []
    call = call_of(ran.append, 1)
    assert call.wanted()
    assert call.withdraw()
    assert not call.wanted()
    call.run(None)
    assert ran == []
    assert not call.done


def test_a_call_that_runs_or_has_run_can_not_be_withdrawn_and_runs_once() -> None:
    ran: list[bool] = []
    call = call_of(lambda: ran.append(call.withdraw()))
    call.run(None)
    assert not call.withdraw()
    assert not call.wanted()
    call.run(None)
    assert ran == [False]


def test_a_call_in_a_pool_s_queue_is_the_pool_s_to_give_back() -> None:
    with ThreadPool(1) as pool:
        free, began = threading.Event(), threading.Event()

        def held() -> None:
            began.set()
            free.wait(PATIENCE)

        first, second = call_of(held), call_of(int)
        for call in (first, second):
            call.pool = pool
            pool.submit(call)
        assert began.wait(PATIENCE)
        assert not first.withdraw()
        assert second.withdraw()
        assert not second.withdraw()
        free.set()
        eventually(lambda: first.done)
    assert not second.done


@pytest.mark.usefixtures("preemptive")
@pytest.mark.parametrize("rival", ["withdraw", "run"])
def test_of_two_who_want_it_at_once_one_has_it(rival: str) -> None:
    """A task that is cancelled races with the thread; a call that was displaced may be in two places."""
    rounds = 2000
    barrier = threading.Barrier(2)
    current: list[Any] = [None]
    withdrawn: list[bool] = []

    def other() -> None:
        for _ in range(rounds):
            barrier.wait(PATIENCE)
            if rival == "withdraw":
                withdrawn.append(current[0].withdraw())
            else:
                current[0].run(None)
            barrier.wait(PATIENCE)

    thread = Thread(other)
    won = 0
    for number in range(rounds):
        ran: list[int] = []
        current[0] = call_of(ran.append, number)
        barrier.wait(PATIENCE)
        current[0].run(None)
        barrier.wait(PATIENCE)
        given_back = rival == "withdraw" and withdrawn[-1]
        won += given_back
        assert len(ran) + given_back == 1
        assert current[0].done != given_back
    thread.outcome()


# -- displaced


def test_a_call_that_is_displaced_goes_to_the_thread_that_all_share() -> None:
    call = call_of(lambda: threading.current_thread().name)
    call.displaced()
    assert call.flag.wait(PATIENCE)
    assert call.result.startswith("single")


def test_displaced_twice_it_runs_once() -> None:
    ran: list[int] = []
    call, last = call_of(ran.append, 1), call_of(int)
    call.displaced()
    call.displaced()
    last.displaced()
    assert last.flag.wait(PATIENCE)
    assert ran == [1]


@pytest.mark.parametrize("before", ["run", "withdrawn"])
def test_displaced_after_it_was_run_or_withdrawn_nothing_happens(before: str) -> None:
    ran: list[int] = []
    call, last = call_of(ran.append, 1), call_of(int)
    if before == "run":
        call.run(None)
    else:
        call.withdraw()
    call.displaced()
    last.displaced()
    assert last.flag.wait(PATIENCE)
    assert ran == ([1] if before == "run" else [])


def test_displaced_when_it_is_over_the_task_is_told_again() -> None:
    """A signal's exception may have come just before it was told."""
    call = call_of(int)
    port: Any = call.port

    def interrupted(flag: Any) -> None:
        del port.wake
        raise KeyboardInterrupt

    port.wake = interrupted
    with pytest.raises(KeyboardInterrupt):
        call.run(None)
    assert not call.flag.is_set()
    call.displaced()
    assert call.flag.is_set()
    assert (call.result, call.error) == (0, None)


def test_displaced_with_no_other_place_it_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    monkeypatch.setattr(asgiref_notes.SyncToAsync, "single_thread_executor", executor)
    call = call_of(int)
    call.displaced()
    assert isinstance(call.error, RuntimeError)
    assert call.flag.is_set()


# -- what the thread finds, and what it is left with


class Notes:
    """All that a thread may have been told."""

    @staticmethod
    def now() -> Any:
        threadlocal = asgiref_notes.threadlocal
        return home.port, asgiref_notes.note_of_loop(), getattr(threadlocal, "task_context", None)


def test_a_thread_that_has_other_things_to_do_finds_its_notes_as_they_were() -> None:
    def check() -> None:
        outer: Any = FakePort()
        outer.loop = "outer"
        home.port = outer
        context = ["outer's"]
        asgiref_notes.restore_note(("outer", 42, context))
        before = Notes.now()
        for function in (lambda: None, lambda: 1 / 0):
            call = call_of(function)
            call.run(None)
            assert Notes.now() == before
        assert asgiref_notes.threadlocal.task_context is context

    Thread(check).outcome()


def test_while_it_runs_its_own_loop_is_noted_for_us_and_for_asgiref() -> None:
    call = call_of(lambda: (home.port, asgiref_notes.noted_loop(), asgiref_notes.threadlocal.task_context))
    port: Any = call.port
    port.loop = object()
    Thread(lambda: call.run(None)).outcome()
    found, noted, started = call.result
    assert found is port
    assert noted is port.loop
    assert started is call.started


def test_a_note_that_asgiref_has_left_in_a_worker_is_not_the_next_job_s() -> None:
    """Of a loop that it has made, and on which it has run code that belongs to the worker."""
    from asgiref.sync import async_to_sync as theirs_to_sync
    from asgiref.sync import sync_to_async as theirs_to_async

    async def inner() -> None:
        await theirs_to_async(int)()

    async def where() -> Any:
        return asyncio.get_running_loop()

    async def main() -> None:
        with ThreadPool(1) as pool:
            leave = sync_to_async(
                theirs_to_sync(inner, force_new_loop=True), thread_sensitive=False, pool=pool
            )
            look = sync_to_async(theirs_to_sync(where), thread_sensitive=False, pool=pool)
            await leave()
            assert await look() is asyncio.get_running_loop()

    asyncio.run(main())


def test_nested_calls_each_find_their_own() -> None:
    inner = call_of(lambda: home.port)

    def run_inner() -> Any:
        before = Notes.now()
        inner.run(None)
        return before == Notes.now()

    outer = call_of(run_inner)
    Thread(lambda: outer.run(None)).outcome()
    assert outer.result is True
    assert inner.result is inner.port


def test_it_runs_in_its_context_and_not_in_the_thread_s() -> None:
    def use() -> str:
        found = variable.get()
        variable.set("by the call")
        return found

    variable.set("the caller's")
    call = call_of(use)

    def check() -> str:
        variable.set("the thread's")
        call.run(None)
        return variable.get()

    assert Thread(check).outcome() == "the thread's"
    assert call.result == "the caller's"
    assert call.context[variable] == "by the call"


def test_an_asgiref_local_is_seen_in_the_thread() -> None:
    local = Local()

    def with_local() -> None:
        local.value = "the caller's"
        call = call_of(lambda: local.value)
        Thread(lambda: call.run(None)).outcome()
        assert call.error is None
        assert call.result == "the caller's"

    contextvars.Context().run(with_local)


# -- the exception that the caller is handling


def handled_here(function: Callable[[BaseException], Any]) -> Any:
    try:
        raise LookupError("handled")
    except LookupError as error:
        return function(error)


def test_the_function_finds_the_exception_that_its_caller_handles() -> None:
    def use(error: BaseException) -> Any:
        call = call_of(sys.exc_info, handled=error)
        return error, Thread(lambda: call.run(None)).outcome(), call

    error, _, call = handled_here(use)
    assert call.result[0] is LookupError
    assert call.result[1] is error


def test_what_is_handled_is_not_changed_by_being_handled() -> None:
    """Neither its traceback nor its context, wherever it is handled."""

    def use(error: BaseException) -> None:
        before = traceback.format_exception(type(error), error, error.__traceback__)

        def elsewhere() -> None:
            try:
                raise ValueError("what the thread was handling")
            except ValueError:
                assert call_handling(error, lambda: sys.exc_info()[1], (), {}) is error
                found = sys.exc_info()[1]
                assert isinstance(found, ValueError)
                assert found.__context__ is None

        Thread(elsewhere).outcome()
        assert error.__context__ is None
        assert traceback.format_exception(type(error), error, error.__traceback__) == before

    handled_here(use)


def test_what_the_function_raises_has_what_is_handled_as_its_context() -> None:
    def fail() -> None:
        raise ValueError("new")

    def use(error: BaseException) -> None:
        with pytest.raises(ValueError, match="new") as caught:
            call_handling(error, fail, (), {})
        assert caught.value.__context__ is error

    handled_here(use)


def test_a_bare_raise_in_the_function_raises_what_is_handled() -> None:
    def again() -> None:
        raise

    def use(error: BaseException) -> None:
        with pytest.raises(LookupError) as caught:
            call_handling(error, again, (), {})
        assert caught.value is error

    handled_here(use)


def test_arguments_are_given_to_the_function_that_runs_while_something_is_handled() -> None:
    assert handled_here(
        lambda error: call_handling(error, lambda *args, **kwargs: (args, kwargs), (1,), {"key": 2})
    ) == ((1,), {"key": 2})


# -- what is let go of: without the help of the garbage collector


class Weak:
    """Something whose end can be seen."""


class Error(Exception):
    pass


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("sensitive", [True, False])
def test_arguments_and_results_go_with_the_last_who_uses_them(sensitive: bool) -> None:
    @sync_to_async(thread_sensitive=sensitive)
    def use(argument: Weak) -> Weak:
        return Weak()

    async def main() -> None:
        argument = Weak()
        result = await use(argument)
        ends = [weakref.ref(argument), weakref.ref(result)]
        del argument, result
        eventually(lambda: all(end() is None for end in ends), "both are gone")

    asyncio.run(main())


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("sensitive", [True, False])
def test_errors_form_no_cycle(sensitive: bool) -> None:
    @sync_to_async(thread_sensitive=sensitive)
    def fail() -> None:
        raise Error

    async def main() -> None:
        try:
            await fail()
        except Error as error:
            end = weakref.ref(error)
        eventually(lambda: end() is None, "the error is gone")

    asyncio.run(main())


@pytest.mark.usefixtures("no_collector")
def test_what_was_handled_meanwhile_is_let_go_of() -> None:
    async def main() -> None:
        try:
            raise Error
        except Error as error:
            end = weakref.ref(error)
            await sync_to_async(int)()
        eventually(lambda: end() is None, "what was handled is gone")

    asyncio.run(main())


@pytest.mark.usefixtures("no_collector")
def test_a_thread_that_waits_for_more_keeps_nothing_of_a_call() -> None:
    async def main() -> weakref.ref[Weak]:
        argument = Weak()
        await sync_to_async(lambda given: None)(argument)
        return weakref.ref(argument)

    end = async_to_sync(main)()
    eventually(lambda: end() is None, "the argument is gone")


# -- names


class Callable_:
    def __call__(self) -> None: ...

    def __repr__(self) -> str:
        return "<an object>"


def function() -> None: ...


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (function, f"{__name__}.function"),
        (Callable_.__call__, f"{__name__}.Callable_.__call__"),
        (Callable_(), f"{__name__}.<an object>"),
        (len, "builtins.len"),
        (__import__("functools").partial(function), f"{__name__}.function"),
        (int, "builtins.int"),
    ],
    ids=["function", "method", "object", "builtin", "partial", "class"],
)
def test_functions_are_named_by_module_and_qualified_name(given: object, name: str) -> None:
    assert name_of(given) == name
    assert call_of(given).describe() == name  # type: ignore[arg-type]
