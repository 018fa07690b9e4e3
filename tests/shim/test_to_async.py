"""`sync_to_async` as its users see it: its forms, where it runs what, what crosses, and what it does in bulk.

Cancellation is in test_to_async_cancellation.py, asgiref's own list of cases in test_asgiref_behaviours.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import operator
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import get_ident
from typing import Any

import pytest
from asgiref.sync import SyncToAsync as AsgirefSyncToAsync
from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction
from support.drive import TIMEOUT, Exchange, poll, run, serve, together
from support.engines import PATIENCE, script
from support.scopes import http_scope
from support.shim_calls import ERRORS, Blocker

from bridge import ThreadPool, WSGIToASGI, async_to_sync, sync_to_async
from bridge.exceptions import (
    PoolClosed,
    PoolFull,
    QueueTimeout,
    UnsuitableFunction,
    UsageError,
    WouldDeadlock,
)

WAYS: dict[str, dict[str, Any]] = {
    "sensitive": {},
    "pool": {"thread_sensitive": False},
}
"""The two modes."""

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of each mode in turn."""
    return WAYS[request.param]


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """A pool of one worker, which must come to rest."""
    with ThreadPool(1, name="of-one") as made:
        yield made
        assert made.drain(PATIENCE), made.dump(0.0)


# -- forms


def add(first: int, second: int = 10, *, third: int = 100) -> int:
    """Add three numbers."""
    return first + second + third


add.note = "an attribute"  # type: ignore[attr-defined]

decorated = sync_to_async(add)


@sync_to_async
def plain_decorator(first: int) -> int:
    """Of a decorated function."""
    return first + 1


@sync_to_async(thread_sensitive=False)
def decorator_with_options(first: int) -> int:
    """Of another one."""
    return first + 1


class Repository:
    """An object with methods of every kind."""

    offset = 1

    @sync_to_async
    def method(self, first: int) -> int:
        """Of a method."""
        return first + self.offset

    @sync_to_async(thread_sensitive=False)
    def method_with_options(self, first: int) -> int:
        """Of a method."""
        return first + self.offset

    @classmethod
    def of_the_class(cls, first: int) -> int:
        """Of a class method."""
        return first + cls.offset

    @staticmethod
    @sync_to_async
    def static(first: int) -> int:
        """Of a static method."""
        return first + 1

    def blocking(self, first: int) -> int:
        """Of a bound method."""
        return first + self.offset

    def __call__(self, first: int) -> int:
        """Of an object that can be called."""
        return first + self.offset


FORMS: dict[str, Callable[[int], Coroutine[Any, Any, int]]] = {
    "function": sync_to_async(lambda first: first + 1),
    "decorator": plain_decorator,
    "decorator with options": decorator_with_options,
    "method": Repository().method,
    "method with options": Repository().method_with_options,
    "method of the class": lambda first: Repository.method(Repository(), first),
    "class method": sync_to_async(Repository.of_the_class),
    "static method": Repository.static,
    "static method of an instance": Repository().static,  # type: ignore[dict-item]  # mypy binds it
    "bound method": sync_to_async(Repository().blocking),
    "partial": sync_to_async(functools.partial(add, second=0, third=1)),
    "callable object": sync_to_async(Repository()),
    "builtin": sync_to_async(functools.partial(operator.add, 1)),
    "async partial": functools.partial(sync_to_async(add), second=0, third=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_awaited(form: str, loop: str) -> None:
    async def main() -> int:
        return await FORMS[form](1)

    assert run(main, loop) == 2


def test_arguments_of_every_kind_arrive(way: dict[str, Any]) -> None:
    async def main() -> tuple[object, ...]:
        function = sync_to_async(lambda *args, **kwargs: (args, kwargs), **way)
        names = ("func", "args", "kwargs", "call", "context", "pool", "function", "port", "executor")
        return await function(1, "two", **dict.fromkeys(names, 3))

    args, kwargs = run(main)
    assert args == (1, "two")
    assert kwargs == dict.fromkeys(
        ("func", "args", "kwargs", "call", "context", "pool", "function", "port", "executor"), 3
    )


def test_it_looks_like_the_function() -> None:
    assert tuple(getattr(decorated, name) for name in ("__name__", "__qualname__", "__module__")) == (
        "add",
        "add",
        add.__module__,
    )
    assert decorated.__doc__ == "Add three numbers."
    assert inspect.signature(decorated) == inspect.signature(add)
    assert decorated.note == "an attribute"  # type: ignore[attr-defined]
    assert inspect.unwrap(decorated) is add
    assert decorated.func is add
    assert repr(decorated) == f"<sync_to_async of {__name__}.add>"


def test_a_method_looks_like_the_method() -> None:
    method = Repository().method
    assert (method.__name__, method.__doc__) == ("method", "Of a method.")
    assert Repository.method.__doc__ == "Of a method."
    assert list(inspect.signature(Repository.method).parameters) == ["self", "first"]


def test_a_bound_method_keeps_its_instance() -> None:
    repository = Repository()
    assert sync_to_async(repository.blocking).__self__ is repository


@pytest.mark.parametrize("form", ["decorator", "static method", "bound method", "callable object"])
def test_it_counts_as_a_coroutine_function(form: str) -> None:
    function = FORMS[form]
    assert iscoroutinefunction(function)
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(function)
    else:
        assert asyncio.iscoroutinefunction(function)


def test_a_method_counts_as_a_coroutine_function() -> None:
    method = Repository().method
    assert iscoroutinefunction(method)
    coroutine = method(1)
    assert asyncio.iscoroutine(coroutine)
    coroutine.close()


@pytest.mark.parametrize("function", [plain_decorator, Repository.method], ids=["function", "method"])
def test_a_decorated_function_is_pickled_by_its_name_as_any_function(function: Any) -> None:
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_is_a_coroutine_function_as_well(copied: Callable[[Any], Any]) -> None:
    """As of an object that keeps one."""
    function = copied(sync_to_async(Repository().blocking, thread_sensitive=False))
    assert iscoroutinefunction(function)
    assert run(functools.partial(function, 1)) == 2


async def an_async_function(first: int) -> int:
    return first


class AsyncCallable:
    """Calling it gives a coroutine."""

    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        an_async_function,
        functools.partial(an_async_function, 1),
        AsyncCallable(),
        sync_to_async(add),
        AsyncCallable().__call__,
    ],
    ids=["function", "partial", "callable object", "sync_to_async", "method"],
)
def test_what_is_async_already_is_refused(function: Any) -> None:
    with pytest.raises(UnsuitableFunction, match=r"is async; await it directly|already; await a call of it"):
        sync_to_async(function)
    with pytest.raises(TypeError):
        sync_to_async(thread_sensitive=False)(function)


def test_an_async_generator_is_refused() -> None:
    """A thread could but make it; its work would be done on the loop."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, functools.partial(numbers)):
        with pytest.raises(UnsuitableFunction, match="is an async generator; iterate over it by `async for`"):
            sync_to_async(function)


@pytest.mark.parametrize("function", [5, "text", object()], ids=["int", "str", "object"])
def test_what_cannot_be_called_is_refused(function: Any) -> None:
    with pytest.raises(
        UnsuitableFunction, match=r"expects a function to call; got .*\. Give it the function"
    ):
        sync_to_async(function)


def test_a_class_method_is_to_be_made_of_it_and_not_it_of_a_class_method() -> None:
    with pytest.raises(UnsuitableFunction, match="put @classmethod above it"):
        sync_to_async(classmethod(add))  # type: ignore[arg-type, call-overload]


def test_options_that_contradict_each_other_are_refused(pool: ThreadPool) -> None:
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(UnsuitableFunction, match="add thread_sensitive=False"):
            sync_to_async(add, executor=executor)
        with pytest.raises(UnsuitableFunction, match="pool must not be given together with"):
            sync_to_async(pool=pool)
        with pytest.raises(UsageError, match="a pool or an executor"):
            sync_to_async(add, thread_sensitive=False, executor=executor, pool=pool)


def test_without_a_loop_nothing_is_run() -> None:
    called: list[int] = []
    coroutine = sync_to_async(called.append, thread_sensitive=False)(1)
    with pytest.raises(UsageError, match=r"asyncio\.run\(\) or trio\.run\(\)"):
        coroutine.send(None)
    assert called == []


# -- threads


def test_it_runs_beside_the_loop(loop: str, way: dict[str, Any]) -> None:
    """The loop's thread goes on while the function waits for it."""

    async def main() -> int:
        blocker = Blocker()
        idents: list[int] = []

        async def call() -> None:
            def function() -> None:
                idents.append(get_ident())
                blocker()

            await sync_to_async(function, **way)()

        async def let_go() -> None:
            await blocker.begun.come()
            blocker.go.set()

        await together(call, let_go)
        return idents[0]

    assert run(main, loop) != get_ident()


def test_what_is_thread_sensitive_shares_one_thread_which_is_asgirefs(loop: str) -> None:
    async def ident() -> int:
        return await sync_to_async(get_ident)()

    found = {run(ident, loop), run(ident, loop), run(ident)}
    found |= {asyncio.run(AsgirefSyncToAsync(get_ident)())}
    assert len(found) == 1


def test_what_is_thread_sensitive_runs_one_at_a_time_in_order(loop: str) -> None:
    async def main() -> tuple[list[int], int]:
        order: list[int] = []
        running, most = 0, 0

        def function(number: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(number)
            running -= 1

        async def one(number: int) -> None:
            await sync_to_async(function)(number)

        if loop == "trio":  # which starts tasks in any order
            for number in range(200):
                await one(number)
        else:
            await asyncio.gather(*(one(number) for number in range(200)))
        return order, most

    assert run(main, loop) == (list(range(200)), 1)


def test_what_is_not_runs_at_the_same_time(loop: str) -> None:
    async def main() -> int:
        barrier = threading.Barrier(10)

        async def one() -> None:
            await sync_to_async(barrier.wait, thread_sensitive=False)(TIMEOUT)

        await together(*[one] * 10)
        return barrier.n_waiting

    assert run(main, loop) == 0


def test_a_pool_that_is_given_runs_it(pool: ThreadPool, loop: str) -> None:
    async def name() -> str:
        thread = await sync_to_async(threading.current_thread, thread_sensitive=False, pool=pool)()
        return thread.name

    assert run(name, loop).startswith("of-one-")


def test_an_executor_that_is_given_runs_it(loop: str) -> None:
    with ThreadPoolExecutor(1, "its-own") as executor:

        async def name() -> str:
            thread = await sync_to_async(
                threading.current_thread, thread_sensitive=False, executor=executor
            )()
            return thread.name

        assert run(name, loop).startswith("its-own")


class Immediate(ThreadPoolExecutor):
    """An executor that runs what it is given on the spot, in the loop's thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_an_executor_that_runs_it_on_the_spot_will_do(loop: str) -> None:
    with Immediate(1) as executor:

        async def main() -> tuple[int, int]:
            return await sync_to_async(get_ident, thread_sensitive=False, executor=executor)(), get_ident()

        there, here = run(main, loop)
    assert there == here


def in_worker(wanted: Callable[[], Any]) -> tuple[WSGIToASGI, list[Any]]:
    """A WSGI app behind `WSGIToASGI`, and what `wanted` returned in its views."""
    found: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append(wanted())
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    return WSGIToASGI(app), found


def test_a_bridged_request_has_one_thread(loop: str) -> None:
    """What its coroutines call is run by its worker, while that waits for them."""

    async def coroutine() -> list[int]:
        idents = [await sync_to_async(get_ident)() for _ in range(3)]
        return [*idents, await sync_to_async(get_ident, thread_sensitive=False)()]

    def view() -> tuple[int, list[int]]:
        return get_ident(), async_to_sync(coroutine)()

    adapter, found = in_worker(view)
    assert serve(adapter, loop=loop).unwrap().body == b"ok"
    [(mine, idents)] = found
    assert idents[:3] == [mine] * 3
    assert idents[3] != mine
    adapter.pool.close()


def test_bridged_requests_at_the_same_time_have_a_thread_each(loop: str) -> None:
    barrier = threading.Barrier(3)

    async def coroutine() -> int:
        # All three are in their sensitive function at once: no request waits for another's thread.
        return await sync_to_async(lambda: (barrier.wait(TIMEOUT), get_ident())[1])()

    adapter, found = in_worker(lambda: (get_ident(), async_to_sync(coroutine)()))

    async def main() -> None:
        await together(*(Exchange(adapter, http_scope()).go for _ in range(3)))

    run(main, loop)
    assert len({mine for mine, _ in found}) == 3
    assert all(mine == theirs for mine, theirs in found)
    adapter.pool.close()


def test_a_loop_in_the_thread_that_waits_is_refused_with_what_to_write() -> None:
    """`asyncio.run` in a function that belongs to a thread, and would wait for itself there."""

    def runs_a_loop() -> None:
        asyncio.run(an_async_caller())

    async def an_async_caller() -> None:
        await sync_to_async(get_ident)()

    async def main() -> None:
        await sync_to_async(runs_a_loop)()

    with pytest.raises(WouldDeadlock, match=r"asyncio\.run.* use async_to_sync"):
        asyncio.run(main())
    with pytest.raises(RuntimeError, match=r"asyncio\.run.* use async_to_sync"):
        async_to_sync(main)()


def test_a_loop_in_another_thread_below_the_shared_one_is_refused() -> None:
    """The same by way of a worker: the shared thread waits for what would wait for it."""

    def in_a_worker() -> int:
        return asyncio.run(sync_to_async(get_ident)())

    async def coroutine() -> int:
        return await sync_to_async(in_a_worker, thread_sensitive=False)()

    async def main() -> None:
        await sync_to_async(lambda: asyncio.run(coroutine()))()

    with pytest.raises(WouldDeadlock):
        asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_a_saturated_pool_is_no_reason_to_refuse_a_call_below_a_loop_of_its_own() -> None:
    """The thread that waits further up runs the loop, so it cannot help, but a worker will come."""
    with ThreadPool(1, name="saturated") as small:
        blocker = Blocker()

        async def coroutine() -> list[str]:
            first = asyncio.create_task(sync_to_async(blocker, thread_sensitive=False, pool=small)("first"))
            await blocker.begun.come()
            second = asyncio.create_task(
                sync_to_async(lambda: "second", thread_sensitive=False, pool=small)()
            )
            await poll(lambda: small.stats().queued == 1 or second.done())
            blocker.go.set()
            return [await first, await second]

        async def caller() -> list[str]:
            return await sync_to_async(lambda: asyncio.run(coroutine()))()

        assert async_to_sync(caller)() == ["first", "second"]


def test_a_loop_in_the_only_thread_of_a_pool_that_needs_it_is_refused() -> None:
    """It would wait for itself. What waits there already is not disturbed."""
    with ThreadPool(1, name="only") as small:
        call = sync_to_async(lambda: "run", thread_sensitive=False, pool=small)

        async def main() -> str:
            return await call()

        async def caller() -> str:
            return await sync_to_async(lambda: asyncio.run(main()), thread_sensitive=False, pool=small)()

        async def below_a_thread_that_waits() -> str:
            return await sync_to_async(lambda: async_to_sync(main)(), thread_sensitive=False, pool=small)()

        with pytest.raises(WouldDeadlock, match="a pool whose only thread runs this event loop"):
            asyncio.run(asyncio.wait_for(caller(), TIMEOUT))
        assert small.stats().queued == 0
        assert asyncio.run(asyncio.wait_for(below_a_thread_that_waits(), TIMEOUT)) == "run"


def test_loops_in_all_threads_of_a_pool_that_need_it_get_others() -> None:
    """Each has nothing to do but wait for its call, so another thread may run in its place."""
    meeting = threading.Barrier(3, timeout=TIMEOUT)
    with ThreadPool(3, name="all") as small:
        call = sync_to_async(lambda: "run", thread_sensitive=False, pool=small)

        def in_a_worker() -> str:
            async def main() -> str:
                return await call()

            meeting.wait()  # all three are busy
            return asyncio.run(main())

        async def caller() -> list[str]:
            calls = [sync_to_async(in_a_worker, thread_sensitive=False, pool=small)() for _ in range(3)]
            return await asyncio.gather(*calls)

        assert asyncio.run(asyncio.wait_for(caller(), TIMEOUT)) == ["run"] * 3


# -- context


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_context_variables_go_in_and_come_back(loop: str, way: dict[str, Any], fails: bool) -> None:
    async def main() -> tuple[str, str]:
        variable.set("from the caller")
        seen: list[str] = []

        def function() -> None:
            seen.append(variable.get())
            variable.set("from the function")
            if fails:
                raise KeyError

        try:
            await sync_to_async(function, **way)()
        except KeyError:
            assert fails
        return seen[0], variable.get()

    assert run(main, loop) == ("from the caller", "from the function")


def test_other_calls_do_not_see_them(loop: str, way: dict[str, Any]) -> None:
    """The threads are the same, the contexts are not."""

    async def main() -> list[str]:
        seen: list[str] = []

        async def one() -> None:
            def function() -> None:
                seen.append(variable.get())
                variable.set("mine")

            await sync_to_async(function, **way)()
            assert variable.get() == "mine"

        await together(*[one] * 20)
        return seen

    assert run(main, loop) == ["unset"] * 20


@pytest.mark.parametrize("empty", [True, False], ids=["an empty one", "one with values"])
def test_a_context_that_is_given_is_run_in(loop: str, way: dict[str, Any], empty: bool) -> None:
    """Neither does it see the caller's, nor the caller what it sets; the next call sees that."""
    context = contextvars.Context()
    if not empty:
        context.run(contextvars.ContextVar[int]("other").set, 1)

    async def main() -> tuple[list[str], str]:
        variable.set("from the caller")
        seen: list[str] = []

        def function() -> None:
            seen.append(variable.get())
            variable.set("kept")

        await sync_to_async(function, context=context, **way)()
        await sync_to_async(function, context=context, **way)()
        return seen, variable.get()

    assert run(main, loop) == (["unset", "kept"], "from the caller")
    assert context[variable] == "kept"


def test_the_exception_being_handled_is_seen(loop: str, way: dict[str, Any]) -> None:
    """By `sys.exc_info()` and by a bare `raise`, as if the function were called in place."""

    async def main() -> None:
        mistake = ValueError("handled")
        try:
            raise mistake
        except ValueError:
            before = traceback.format_exc()
            # Not the traceback: before Python 3.11 that is another object with a line more.
            assert (await sync_to_async(sys.exc_info, **way)())[:2] == (ValueError, mistake)
            assert traceback.format_exc() == before
        assert await sync_to_async(sys.exc_info, **way)() == (None, None, None)

    run(main, loop)


# -- exceptions


@pytest.mark.parametrize("kind", ERRORS)
def test_the_very_exception_comes_back(loop: str, way: dict[str, Any], kind: str) -> None:
    """With a traceback that ends in the function; the thread serves the next call as if nothing were."""
    error = ERRORS[kind]()

    def raises_it() -> None:
        raise error

    async def main() -> int:
        first = await sync_to_async(get_ident, **way)()
        with pytest.raises(BaseException) as caught:
            await sync_to_async(raises_it, **way)()
        assert caught.value is error
        assert traceback.extract_tb(error.__traceback__)[-1].name == "raises_it"
        assert error.__context__ is None
        second = await sync_to_async(get_ident, **way)()
        return first - second if way == {} else 0

    assert run(main, loop) == 0


def test_stop_iteration_is_what_python_makes_of_it(loop: str, way: dict[str, Any]) -> None:
    """No coroutine can raise it; it must not be lost, and nobody may wait for ever."""
    error = StopIteration("mine")

    def raises_it() -> None:
        raise error

    async def main() -> BaseException:
        with pytest.raises(RuntimeError) as caught:
            await sync_to_async(raises_it, **way)()
        return caught.value

    assert run(main, loop).__cause__ is error


@pytest.mark.usefixtures("no_collector")
def test_an_exception_holds_on_to_nothing(loop: str, way: dict[str, Any]) -> None:
    """What was called with is freed when the caller lets go of it."""

    class Argument: ...

    def raises(argument: Argument) -> None:
        raise ValueError

    def returns(argument: Argument) -> None: ...

    async def main() -> list[weakref.ref[Argument]]:
        refs = []
        for function in (raises, returns):
            argument = Argument()
            refs.append(weakref.ref(argument))
            try:
                await sync_to_async(function, **way)(argument)
            except ValueError:
                pass
            del argument
        await poll(lambda: not any(ref() for ref in refs))  # the thread lets go after the task is told
        return refs

    run(main, loop)


# -- pools


def test_a_full_pool_refuses(loop: str) -> None:
    with ThreadPool(1, queue=0) as full:

        async def main() -> None:
            blocker = Blocker()

            async def first() -> None:
                await sync_to_async(blocker, thread_sensitive=False, pool=full)()

            async def second() -> None:
                await blocker.begun.come()
                try:
                    with pytest.raises(PoolFull):
                        await sync_to_async(pytest.fail, thread_sensitive=False, pool=full)("ran")
                finally:
                    blocker.go.set()

            await together(first, second)

        run(main, loop)


def test_a_closed_pool_refuses(loop: str) -> None:
    closed = ThreadPool(1)
    closed.close()

    async def main() -> None:
        with pytest.raises(PoolClosed):
            await sync_to_async(pytest.fail, thread_sensitive=False, pool=closed)("ran")

    run(main, loop)


def test_what_waits_when_its_pool_is_closed_is_refused(loop: str) -> None:
    closing = ThreadPool(1)

    async def main() -> None:
        blocker = Blocker()

        async def first() -> None:
            assert await sync_to_async(blocker, thread_sensitive=False, pool=closing)() == "done"

        async def second() -> None:
            await blocker.begun.come()
            with pytest.raises(PoolClosed):
                await sync_to_async(pytest.fail, thread_sensitive=False, pool=closing)("ran")

        async def third() -> None:
            await poll(lambda: closing.stats().queued == 1)
            assert not closing.close(0)
            blocker.go.set()

        await together(first, second, third)

    run(main, loop)
    assert closing.close()


def test_what_waits_too_long_is_refused(loop: str) -> None:
    with ThreadPool(1, queue_timeout=PATIENCE) as impatient:

        async def main() -> None:
            blocker = Blocker()

            async def first() -> None:
                await sync_to_async(blocker, thread_sensitive=False, pool=impatient)()

            async def second() -> None:
                await blocker.begun.come()
                impatient._core.queue_timeout = 0.01  # the first has not had to hurry
                try:
                    with pytest.raises(QueueTimeout):
                        await sync_to_async(pytest.fail, thread_sensitive=False, pool=impatient)("ran")
                finally:
                    blocker.go.set()

            await together(first, second)

        run(main, loop)


@pytest.mark.usefixtures("no_collector")
def test_calls_by_way_of_an_executor_are_let_go_of(loop: str) -> None:
    """Of `executor`, and of asgiref's `ThreadSensitiveContext`, which Django has for each request."""

    class Argument: ...

    async def through(options: dict[str, Any]) -> list[weakref.ref[Argument]]:
        argument = Argument()
        result = await sync_to_async(lambda _: Argument(), **options)(argument)
        return [weakref.ref(argument), weakref.ref(result)]

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            refs = await through({"thread_sensitive": False, "executor": executor})
            await poll(lambda: not any(ref() for ref in refs))
        if loop != "trio":
            async with ThreadSensitiveContext():
                refs = await through({})
                await poll(lambda: not any(ref() for ref in refs))

    run(main, loop)


def test_an_executor_that_is_shut_down_refuses(loop: str) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="shutdown"):
            await sync_to_async(pytest.fail, thread_sensitive=False, executor=executor)("ran")

    run(main, loop)


def test_an_executor_that_drops_what_waits_ends_the_wait() -> None:
    """`shutdown(cancel_futures=True)`: what it will never run is cancelled for whoever awaits it."""

    async def main() -> None:
        executor = ThreadPoolExecutor(1)
        blocker = Blocker()
        first = asyncio.ensure_future(sync_to_async(blocker, thread_sensitive=False, executor=executor)())
        await blocker.begun.come()
        second = asyncio.ensure_future(
            sync_to_async(pytest.fail, thread_sensitive=False, executor=executor)("ran")
        )
        await poll(lambda: executor._work_queue.qsize() == 1)
        executor.shutdown(wait=False, cancel_futures=True)
        done, _ = await asyncio.wait((second,), timeout=PATIENCE)
        blocker.go.set()
        assert await first == "done"
        assert done, "it waits for ever"
        assert second.cancelled() or second.exception() is not None

    run(main)


# -- nesting and numbers


def nest(depth: int, options: dict[str, Any]) -> Callable[[], Awaitable[list[int]]]:
    """An async function that calls a blocking one that calls an async one, and so on; gives the threads."""

    async def coroutine() -> list[int]:
        def function() -> list[int]:
            if depth == 1:
                return [get_ident()]
            return [get_ident(), *async_to_sync(nest(depth - 1, options))()]

        return await sync_to_async(function, **options)()

    return coroutine


@pytest.mark.parametrize("mode", WAYS)
def test_nesting_goes_deeper_than_the_pool_is_large(loop: str, pool: ThreadPool, mode: str) -> None:
    """Depth 8 with a pool of 1."""
    options = {} if mode == "sensitive" else {"thread_sensitive": False, "pool": pool}
    threads = run(nest(8, options), loop)
    assert len(threads) == 8
    if mode == "sensitive":
        assert len(set(threads)) == 1


@pytest.mark.parametrize("mode", WAYS)
def test_nesting_goes_as_deep_from_a_plain_thread(pool: ThreadPool, mode: str) -> None:
    options = {} if mode == "sensitive" else {"thread_sensitive": False, "pool": pool}
    threads = async_to_sync(nest(8, options))()
    assert len(threads) == 8
    if mode == "sensitive":
        assert set(threads) == {get_ident()}


@pytest.mark.parametrize("mode", WAYS)
def test_nesting_goes_as_deep_in_a_bridged_request_whose_pool_has_one_worker(loop: str, mode: str) -> None:
    pool = ThreadPool(1)
    options = {} if mode == "sensitive" else {"thread_sensitive": False, "pool": pool}
    found: list[list[int]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append(async_to_sync(nest(8, options))())
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    assert serve(WSGIToASGI(app, pool=pool), loop=loop).unwrap().body == b"ok"
    assert len(found[0]) == 8
    pool.close()


@pytest.mark.usefixtures("hasty")
def test_siblings_may_meet_though_the_pool_is_smaller(loop: str) -> None:
    """Four coroutines wait for each other, each called by a function in a pool of two workers.

    A worker that waits for a second gives up its slot. (In a pool of one nobody can have it.)
    """
    pool = ThreadPool(2)

    async def main() -> int:
        arrived = 0

        async def meet() -> None:
            nonlocal arrived
            arrived += 1
            await poll(lambda: arrived == 4)

        async def sibling() -> None:
            await sync_to_async(async_to_sync(meet), thread_sensitive=False, pool=pool)()

        await together(*[sibling] * 4)
        return arrived

    assert run(main, loop) == 4
    assert pool.close(PATIENCE)


def test_hundreds_of_calls_at_once_all_come_to_their_results(loop: str) -> None:
    async def main() -> list[int]:
        results: list[int] = []

        def caller(number: int) -> Callable[[], Awaitable[None]]:
            options = {"thread_sensitive": False, "pool": small} if number % 2 else {}
            function = sync_to_async(lambda: number, **options)  # type: ignore[call-overload]

            async def call() -> None:
                results.append(await function())

            return call

        await together(*(caller(number) for number in range(400)))
        return sorted(results)

    with ThreadPool(3) as small:
        assert run(main, loop) == list(range(400))
        assert small.drain(PATIENCE)
        assert small.stats().completed == 200


# -- shutdown


def test_a_loop_may_end_while_the_function_runs(way: dict[str, Any]) -> None:
    """What it returns then is dropped, without a word; the thread serves the next loop."""
    blocker = Blocker()

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(blocker, **way)())
        await blocker.begun.come()
        assert not task.done()

    asyncio.run(main())
    assert not blocker.ended.is_set
    blocker.go.set()
    blocker.ended.wait()
    assert asyncio.run(sync_to_async(add, **way)(1)) == 111


def test_the_interpreter_exits_although_a_function_is_stuck_in_the_pool() -> None:
    out = script(
        """
import asyncio, threading
from bridge import sync_to_async
begun = threading.Event()
def stuck():
    begun.set()
    threading.Event().wait()
async def main():
    asyncio.ensure_future(sync_to_async(stuck, thread_sensitive=False)())
    while not begun.is_set():
        await asyncio.sleep(0.001)
asyncio.run(main())
print("at the end")
"""
    )
    assert out == "at the end\n"


def test_calls_at_exit_end_somehow() -> None:
    """By atexit hooks, when executors take nothing any more: refused or done, but not for ever."""
    out = script(
        """
import asyncio, atexit
from bridge import sync_to_async
async def one(**options):
    try:
        return await asyncio.wait_for(sync_to_async(lambda: "done", **options)(), 10)
    except RuntimeError as error:
        return "refused"
def late():
    print(asyncio.run(one()), asyncio.run(one(thread_sensitive=False)))
atexit.register(late)
print(asyncio.run(one()), asyncio.run(one(thread_sensitive=False)))
"""
    )
    first, late = out.splitlines()
    assert first == "done done"
    assert set(late.split()) <= {"done", "refused"}
