"""What asgiref's own tests assert of its `sync_to_async` and `async_to_sync`, proven of ours.

`asgiref_checklist` says which test here stands for which of asgiref's, and where ours differ on purpose.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import re
import sys
import threading
import unittest
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asgiref.sync
import pytest
from asgiref.local import Local
from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext
from shim import asgiref_checklist as checklist
from support.drive import Signal, checkpoint, run
from support.engines import Thread, script

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.exceptions import ContextExited, UnsuitableFunction, WouldDeadlock
from bridge.shim import to_async

ASGIREF = tuple(int(part) for part in version("asgiref").split(".")[:2])

on_asyncio = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
variable: contextvars.ContextVar[Any] = contextvars.ContextVar("behaviours", default="unset")

needs_executors = pytest.mark.skipif(
    "executor" not in inspect.signature(ThreadSensitiveContext).parameters,
    reason="this asgiref's ThreadSensitiveContext takes no executor",
)
needs_single_thread_context = pytest.mark.skipif(
    not hasattr(asgiref.sync, "AsyncSingleThreadContext"),
    reason="this asgiref has no AsyncSingleThreadContext",
)
leaves_without_blocking = pytest.mark.skipif(
    # Before, leaving the context joined its worker on the event loop, whoever had called it.
    "Thread" not in ThreadSensitiveContext.__aexit__.__code__.co_names,
    reason="this asgiref's ThreadSensitiveContext blocks the loop when it is left",
)

thread = sync_to_async(threading.current_thread)
"""Awaited, it tells the thread in which thread-sensitive code runs."""


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a new thread, which has no event loop; fail if it hangs."""
    return Thread(functools.partial(function, *args)).outcome()


@pytest.fixture
def single() -> Iterator[Callable[[], ThreadPoolExecutor]]:
    """Makes executors of one thread, which are shut down after the test."""
    made: list[ThreadPoolExecutor] = []

    def make() -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(max_workers=1))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown()


# --- the table


def test_the_table_has_every_test_of_asgiref_once() -> None:
    written = [(row.file, row.name) for row in checklist.ROWS]
    assert len(written) == len(set(written))
    recorded = {(file, name) for file, names in checklist.RECORDED.items() for name in names.split()}
    assert set(written) == recorded


def test_the_table_covers_the_asgiref_that_is_installed() -> None:
    """A newer one may assert more: its tests are to be read, and the table brought up to date."""
    recorded = tuple(int(part) for part in checklist.VERSION.split(".")[:2])
    if recorded < ASGIREF:
        pytest.skip(f"the table is of asgiref {checklist.VERSION}, installed is {version('asgiref')}")
    assert ASGIREF >= (3, 8)


def test_every_proof_exists_and_every_difference_has_a_reason() -> None:
    here = Path(__file__).parent
    for row in checklist.ROWS:
        assert row.asserts, row.name
        assert row.proofs or row.different, f"{row.name}: neither a test nor a difference"
        for proof in row.proofs:
            file, _, name = proof.rpartition("::")
            text = (
                (here / file).read_text(encoding="utf-8")
                if file
                else Path(__file__).read_text(encoding="utf-8")
            )
            assert re.search(rf"^def {name}\(", text, re.M), f"{row.name}: there is no test {proof}"


def test_the_page_has_the_table() -> None:
    page = checklist.PAGE.read_text(encoding="utf-8")
    assert checklist.filled(page) == page, "run: python tests/shim/asgiref_checklist.py --write"


def test_names_are_read_from_asgirefs_tests(tmp_path: Path) -> None:
    """So that `--against` can be trusted: methods of test cases count, inner functions do not."""
    (tmp_path / "test_x.py").write_text(
        "def helper(): ...\n"
        "async def test_a():\n    def test_inner(): ...\n"
        "class Case:\n    def test_b(self): ...\n    def other(self): ...\n",
        encoding="utf-8",
    )
    assert checklist.names_in(tmp_path / "test_x.py") == ["test_a", "test_b"]


# --- sync_to_async: what it takes and gives


@on_asyncio
def test_a_function_runs_in_another_thread_and_its_result_comes_back(loop: str) -> None:
    def function(a: int, *, b: int) -> tuple[int, threading.Thread]:
        return a + b, threading.current_thread()

    @sync_to_async
    def decorated() -> str:
        return "decorated"

    async def main() -> None:
        result, where = await sync_to_async(function)(40, b=2)
        assert result == 42
        assert where is not threading.current_thread()
        assert await decorated() == "decorated"

    run(main, loop)


@on_asyncio
def test_thread_sensitive_calls_take_turns(loop: str) -> None:
    """The second does not begin before the first has ended, however many threads the loop's executor has."""
    events: list[str] = []
    go_on = Signal()

    def function(name: str) -> None:
        events.append(f"{name} begins")
        go_on.wait()
        events.append(f"{name} ends")

    async def main() -> None:
        wrapped = sync_to_async(function)
        tasks = [asyncio.ensure_future(wrapped(name)) for name in ("first", "second")]
        for _ in range(5):
            await checkpoint()
        go_on.set()
        await asyncio.gather(*tasks)

    run(main, loop)
    assert events == ["first begins", "first ends", "second begins", "second ends"]


class AsyncCallable:
    async def __call__(self, value: Any = None) -> Any:
        await asyncio.sleep(0)
        return value


async def coroutine_function(*args: Any, **kwargs: Any) -> Any:
    await asyncio.sleep(0)
    return args, kwargs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param(1, "got 1", id="a number"),
        pytest.param(coroutine_function, "coroutine_function is async", id="an async function"),
        pytest.param(functools.partial(coroutine_function, 42), "is async", id="a partial of one"),
        pytest.param(AsyncCallable(), "is async", id="an object with an async __call__"),
        pytest.param(sync_to_async(print), "of sync_to_async already", id="what sync_to_async returned"),
    ],
)
def test_sync_to_async_refuses_what_is_async_or_no_function(given: Any, said: str) -> None:
    """At once, with a TypeError that says what came."""
    with pytest.raises(TypeError, match=said) as caught:
        sync_to_async(given)
    assert caught.type is UnsuitableFunction


def test_name_docstring_and_attributes_are_the_functions() -> None:
    """Those that are set later on the result are kept as well."""

    def mark(function: Any) -> Any:
        function.marked = "yes"
        return function

    @mark
    @sync_to_async
    def blocking() -> None:
        """Blocks."""

    assert (blocking.__name__, blocking.__doc__, blocking.marked) == ("blocking", "Blocks.", "yes")
    assert mark(sync_to_async(blocking.func)).marked == "yes"


class Account:
    """Methods of either kind, decorated in the class body."""

    def __init__(self) -> None:
        self.balance = 44

    @sync_to_async
    def read(self, more: int = 0) -> int:
        return self.balance + more

    @async_to_sync
    async def fetch(self, more: int = 0) -> int:
        await asyncio.sleep(0)
        return self.balance + more

    def plain(self) -> int:
        return self.balance

    async def asynchronous(self) -> int:
        return self.balance


def test_methods_may_be_decorated() -> None:
    account = Account()
    assert run(lambda: account.read(1)) == 45
    assert in_thread(account.fetch, 1) == 45


def test_a_bound_method_keeps_its_self() -> None:
    account = Account()
    read = sync_to_async(account.plain)
    fetch = async_to_sync(account.asynchronous)
    assert read.__self__ is fetch.__self__ is account
    assert run(read) == 44
    assert in_thread(fetch) == 44


def test_the_result_counts_as_a_coroutine_function() -> None:
    wrapped: Any = sync_to_async(print)
    assert asgiref.sync.iscoroutinefunction(wrapped)
    assert not asgiref.sync.iscoroutinefunction(sync_to_async)
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(wrapped)
    assert not asgiref.sync.iscoroutinefunction(async_to_sync(wrapped))


NAMES = (
    "function",
    "args",
    "kwargs",
    "context",
    "task_context",
    "call",
    "place",
    "loop",
    "func",
    "awaitable",
)


def test_arguments_may_have_any_name() -> None:
    """None of them collides with a parameter on the way."""
    wanted = dict.fromkeys(NAMES, 1)
    received = run(lambda: sync_to_async(lambda **kwargs: kwargs)(**wanted))
    assert received == wanted
    assert in_thread(lambda: async_to_sync(coroutine_function)(**wanted)) == ((), wanted)


@on_asyncio
def test_an_executor_of_ones_own_is_used(loop: str, single: Callable[[], ThreadPoolExecutor]) -> None:
    """Anything with `submit`; not together with thread_sensitive=True."""

    class Counting:
        def __init__(self) -> None:
            self.inner = single()
            self.submitted = 0

        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            self.submitted += 1
            return self.inner.submit(function, *args, **kwargs)

    executor: Any = Counting()

    async def main() -> None:
        where = sync_to_async(threading.current_thread, thread_sensitive=False, executor=executor)
        assert await where() is executor.inner.submit(threading.current_thread).result()
        assert executor.submitted == 1

    run(main, loop)
    with pytest.raises(TypeError, match="thread_sensitive=False"):
        sync_to_async(print, thread_sensitive=True, executor=executor)


# --- async_to_sync: what it takes and gives


def test_a_coroutine_function_is_called_from_a_thread_without_a_loop() -> None:
    @async_to_sync
    async def decorated(value: int) -> tuple[int, threading.Thread]:
        await asyncio.sleep(0)
        return value, threading.current_thread()

    value, where = in_thread(decorated, 85)
    assert value == 85
    assert where is not threading.current_thread()
    assert in_thread(async_to_sync(coroutine_function), 1) == ((1,), {})


def test_it_takes_partials_and_callable_objects() -> None:
    """Without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert in_thread(async_to_sync(functools.partial(coroutine_function, 42)), 84) == ((42, 84), {})
        assert in_thread(async_to_sync(AsyncCallable()), 42) == 42


def test_a_function_that_is_not_marked_async_is_judged_by_what_it_returns() -> None:
    """asgiref warns of it when it is wrapped, though many are async all the same."""

    def returns_an_awaitable(value: int) -> Any:
        return AsyncCallable()(value)

    assert in_thread(async_to_sync(returns_an_awaitable), 7) == 7
    with pytest.raises(TypeError, match=r"len returned int, which cannot be awaited; call it directly"):
        in_thread(async_to_sync(len), "abc")  # type: ignore[arg-type]


def test_async_to_sync_refuses_what_cannot_be_called() -> None:
    """asgiref warns, and fails when it is called."""
    with pytest.raises(UnsuitableFunction, match="got 1"):
        async_to_sync(1)  # type: ignore[call-overload]


@on_asyncio
def test_async_to_sync_is_refused_where_a_loop_runs(loop: str) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await coroutine_function\(\.\.\.\)") as caught:
            async_to_sync(coroutine_function)()
        assert caught.type is WouldDeadlock

    run(main, loop)


def test_a_call_within_except_does_not_raise_what_is_handled() -> None:
    """The coroutine finds it in `sys.exc_info()`, as a function called in place would."""

    async def handled() -> Any:
        await asyncio.sleep(0)
        return sys.exc_info()[1]

    def calling() -> None:
        try:
            raise ValueError("being handled")
        except ValueError as error:
            before = error.__traceback__
            seen.append(async_to_sync(handled)() is error)
            seen.append(error.__traceback__ is before)

    seen: list[bool] = []
    in_thread(calling)
    assert seen == [True, True]


def test_a_test_case_may_have_its_methods_decorated() -> None:
    """unittest collects them, and what they raise fails the test."""

    class Case(unittest.TestCase):
        @async_to_sync
        async def test_passes(self) -> None:
            await asyncio.sleep(0)
            assert self.id().endswith("test_passes")

        @async_to_sync
        async def test_fails(self) -> None:
            assert self.id().endswith("test_passes")

    result = unittest.TestResult()
    in_thread(unittest.defaultTestLoader.loadTestsFromTestCase(Case).run, result)
    assert result.testsRun == 2
    assert [case.id().rpartition(".")[2] for case, _ in result.failures] == ["test_fails"]
    assert result.errors == []


# --- which loop, which thread


@on_asyncio
@pytest.mark.parametrize("thread_sensitive", [True, False])
def test_a_coroutine_runs_on_the_loop_that_awaits_its_caller(loop: str, thread_sensitive: bool) -> None:
    async def where() -> Any:
        await asyncio.sleep(0)
        return asyncio.get_running_loop(), threading.current_thread()

    decorated = async_to_sync(where)  # made where a loop runs or not: all the same

    async def main() -> None:
        here = asyncio.get_running_loop(), threading.current_thread()
        for calling in (decorated, lambda: async_to_sync(where)()):
            assert await sync_to_async(calling, thread_sensitive=thread_sensitive)() == here

    run(main, loop)


@on_asyncio
def test_it_may_be_called_in_a_thread_of_asyncios(loop: str) -> None:
    """`asyncio.to_thread` notes no loop, so the coroutine runs on the persistent one."""
    seen: list[threading.Thread] = []

    async def where() -> int:
        seen.append(threading.current_thread())
        return 42

    async def main() -> None:
        assert await asyncio.to_thread(async_to_sync(where)) == 42
        assert seen != [threading.current_thread()]

    run(main, loop)


def test_the_loop_of_plain_threads_is_kept() -> None:
    """asgiref makes a new loop, and a thread for it, for each call."""

    async def where() -> Any:
        return asyncio.get_running_loop(), threading.current_thread()

    first, second = (in_thread(async_to_sync(where)) for _ in range(2))
    assert first == second
    assert first[0].is_running()


def test_thread_sensitive_code_runs_in_the_thread_that_waits() -> None:
    """Called in the coroutine, or in a task that it has made."""

    async def middle() -> list[threading.Thread]:
        return [await thread(), await asyncio.create_task(thread()), await asyncio.wait_for(thread(), 10)]

    def outer() -> None:
        assert async_to_sync(middle)() == [threading.current_thread()] * 3

    in_thread(outer)


@on_asyncio
def test_thread_sensitive_code_shares_one_thread_beside_the_loop(loop: str) -> None:
    """Whether it is called by the outermost task or in a nesting of calls."""
    nested = sync_to_async(async_to_sync(thread))

    async def main() -> None:
        first, second = await asyncio.gather(nested(), thread())
        assert first is second is not threading.current_thread()

    run(main, loop)


def test_nested_calls_stay_in_the_first_thread() -> None:
    nested = async_to_sync(sync_to_async(async_to_sync(sync_to_async(threading.current_thread))))

    def outer() -> None:
        assert nested() is threading.current_thread()

    in_thread(outer)


@on_asyncio
def test_nested_calls_stay_on_the_first_loop(loop: str) -> None:
    async def innermost() -> Any:
        return asyncio.get_running_loop(), threading.current_thread()

    nested = sync_to_async(async_to_sync(sync_to_async(async_to_sync(innermost))))

    async def main() -> None:
        assert await nested() == (asyncio.get_running_loop(), threading.current_thread())

    run(main, loop)


def test_code_that_is_not_thread_sensitive_runs_elsewhere() -> None:
    async def middle() -> threading.Thread:
        return await sync_to_async(threading.current_thread, thread_sensitive=False)()

    def outer() -> None:
        assert async_to_sync(middle)() not in (threading.current_thread(), None)

    in_thread(outer)


@needs_single_thread_context
def test_calls_in_an_async_single_thread_context_share_a_thread() -> None:
    """They do so anyway: the context has nothing to add. Nested, and without a call, too."""
    single_thread_context: Any = asgiref.sync.AsyncSingleThreadContext

    async def where() -> threading.Thread:
        return threading.current_thread()

    async def count() -> None:
        variable.set(variable.get() + 1)

    def calling() -> None:
        variable.set(0)
        with single_thread_context():
            first = async_to_sync(where)()
            async_to_sync(count)()
            with single_thread_context():
                async_to_sync(count)()
                assert async_to_sync(where)() is first
        assert first is not threading.current_thread()
        assert async_to_sync(where)() is first
        assert variable.get() == 2
        with single_thread_context():
            pass

    in_thread(calling)


@on_asyncio
@needs_single_thread_context
def test_an_async_single_thread_context_does_not_take_calls_from_the_awaiting_loop(loop: str) -> None:
    single_thread_context: Any = asgiref.sync.AsyncSingleThreadContext

    async def where() -> threading.Thread:
        return threading.current_thread()

    def calling() -> list[threading.Thread]:
        with single_thread_context():
            return [async_to_sync(where)(), async_to_sync(where)()]

    async def main() -> None:
        assert await sync_to_async(calling)() == [threading.current_thread()] * 2

    run(main, loop)


def test_a_loop_that_has_stopped_is_not_waited_for() -> None:
    """A wrapper that was made while it ran goes to the persistent loop."""
    kept: list[Any] = []

    async def build() -> None:
        kept.append(async_to_sync(AsyncCallable()))

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(build())
        assert in_thread(kept[0], 42) == 42
        # A thread that has served that loop: its note is of no use either.
        executor = ThreadPoolExecutor(max_workers=1)
        serve = sync_to_async(threading.current_thread, thread_sensitive=False, executor=executor)
        served = loop.run_until_complete(serve())
        assert executor.submit(kept[0], 43).result(10) == 43
        assert executor.submit(threading.current_thread).result(10) is served
        executor.shutdown()
    finally:
        loop.close()


def test_a_forked_child_does_not_look_for_its_parents_loop() -> None:
    """The thread that forks works for a loop of the parent, which the child has not."""
    printed = script(
        """
import asyncio, os, signal, warnings
from bridge import ThreadPool, async_to_sync, sync_to_async

async def answer():
    await asyncio.sleep(0)
    return 42

def forks():
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(async_to_sync(answer)())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

warnings.simplefilter("ignore", DeprecationWarning)
print(asyncio.run(sync_to_async(forks)()))
"""
    )
    assert printed.strip() == "42"


# --- ThreadSensitiveContext


@on_asyncio
def test_a_thread_sensitive_context_has_one_thread(loop: str) -> None:
    """Another than the shared one; for nested contexts too, while siblings have one each."""

    async def context() -> threading.Thread:
        async with ThreadSensitiveContext():
            first, second = await asyncio.gather(thread(), thread())
            assert first is second
            async with ThreadSensitiveContext():
                assert await thread() is first
            return first

    async def main() -> None:
        seen = {await thread(), threading.current_thread(), *await asyncio.gather(context(), context())}
        assert len(seen) == 4
        async with ThreadSensitiveContext():
            pass

    run(main, loop)


async def give_up(call: Callable[[], Any], inside: Signal) -> None:
    """Await a blocking function until it is `inside`, and be cancelled there."""
    task = asyncio.ensure_future(sync_to_async(call)())
    await inside.come()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@on_asyncio
@leaves_without_blocking
def test_leaving_a_context_whose_call_was_given_up_does_not_block_the_loop(loop: str) -> None:
    """Its thread calls `async_to_sync` afterwards, and the context waits for the thread."""
    inside, go_on = Signal(), Signal()
    ended: list[str] = []

    async def inner() -> None:
        await asyncio.sleep(0)
        ended.append("inner")

    def blocking() -> None:
        inside.set()
        go_on.wait()
        async_to_sync(inner)()
        ended.append("blocking")

    async def main() -> None:
        async with ThreadSensitiveContext():
            await give_up(blocking, inside)
            go_on.set()
        assert ended == ["inner", "blocking"]

    run(main, loop)


@on_asyncio
@leaves_without_blocking
def test_leaving_contexts_takes_no_thread_of_the_loops_executor(loop: str) -> None:
    """Nor of a pool that the calls inside need in order to end: two contexts, and one thread in each."""
    pool = ThreadPool(1)
    both_leave = Signal()
    leaving: list[int] = []
    ended: list[int] = []

    async def inner(number: int) -> None:
        await both_leave.come()
        await sync_to_async(lambda: None, thread_sensitive=False, pool=pool)()
        await asyncio.get_running_loop().run_in_executor(None, ended.append, number)

    async def request(number: int) -> None:
        inside, go_on = Signal(), Signal()

        def blocking() -> None:
            inside.set()
            go_on.wait()
            async_to_sync(inner)(number)

        async with ThreadSensitiveContext():
            await give_up(blocking, inside)
            go_on.set()
            leaving.append(number)
            if len(leaving) == 2:
                both_leave.set()

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
        await asyncio.gather(request(1), request(2))
        assert sorted(ended) == [1, 2]

    try:
        run(main, loop)
    finally:
        assert pool.close(10)


@on_asyncio
@needs_executors
def test_a_context_with_an_executor_uses_it_and_restores_the_outer_one(
    loop: str, single: Callable[[], ThreadPoolExecutor]
) -> None:
    """One context in another, and neither executor is shut down."""
    middle, inner = single(), single()
    current = SyncToAsync.thread_sensitive_context

    async def main() -> None:
        async with ThreadSensitiveContext() as outermost:
            first = await thread()
            async with ThreadSensitiveContext(executor=middle) as second_context:
                second = await thread()
                async with ThreadSensitiveContext():
                    assert await thread() is second
                assert current.get() is second_context
                async with ThreadSensitiveContext(executor=inner):
                    third = await thread()
                assert await thread() is second
            assert current.get() is outermost
            assert await thread() is first
        assert len({first, second, third}) == 3
        assert middle.submit(threading.current_thread).result() is second
        assert inner.submit(threading.current_thread).result() is third

    run(main, loop)


@on_asyncio
@needs_executors
def test_a_context_with_an_executor_needs_no_outer_one(
    loop: str, single: Callable[[], ThreadPoolExecutor]
) -> None:
    """Afterwards calls go where they went before; unused, it leaves nothing behind either."""
    executor = single()

    async def main() -> None:
        before = await thread()
        async with ThreadSensitiveContext(executor=executor) as context:
            assert await thread() is not before
        assert context not in SyncToAsync.context_to_thread_executor
        assert SyncToAsync.thread_sensitive_context.get(None) is None
        assert await thread() is before
        async with ThreadSensitiveContext() as outer:
            async with ThreadSensitiveContext(executor=executor) as context:
                assert SyncToAsync.thread_sensitive_context.get() is context
            assert SyncToAsync.thread_sensitive_context.get() is outer
        assert context not in SyncToAsync.context_to_thread_executor

    run(main, loop)


@needs_executors
def test_contexts_with_the_same_executor_share_what_is_bound_to_its_thread(
    single: Callable[[], ThreadPoolExecutor],
) -> None:
    """A connection in a thread-critical Local is found again; elsewhere it is not, other data is."""
    executor = single()
    connections, shared = Local(thread_critical=True), Local()

    @sync_to_async
    def connection() -> tuple[threading.Thread, object]:
        if not hasattr(connections, "default"):
            connections.default = object()
        return threading.current_thread(), connections.default

    @sync_to_async
    def update() -> None:
        assert (shared.value, variable.get()) == ("outside", "outside")
        shared.value = "inside"
        variable.set("inside")

    async def main() -> None:
        shared.value = "outside"
        variable.set("outside")
        async with ThreadSensitiveContext():
            outside = await connection()
            async with ThreadSensitiveContext(executor=executor):
                first = await connection()
                await update()
            async with ThreadSensitiveContext(executor=executor):
                assert await connection() == first
            assert await connection() == outside != first
        assert (shared.value, variable.get()) == ("inside", "inside")

    run(main)


@on_asyncio
@needs_executors
def test_sibling_contexts_with_executors_are_apart(
    loop: str, single: Callable[[], ThreadPoolExecutor]
) -> None:
    async def main() -> None:
        signals = [Signal(), Signal()]

        async def sibling(number: int) -> threading.Thread:
            async with ThreadSensitiveContext(executor=single()):
                mine = await thread()
                signals[number].set()
                await signals[1 - number].come()
                assert await asyncio.create_task(thread()) is mine
                return mine

        async with ThreadSensitiveContext():
            outer = await thread()
            assert len({outer, *await asyncio.gather(sibling(0), sibling(1))}) == 3
            assert await thread() is outer

    run(main, loop)


@needs_executors
@pytest.mark.parametrize("outermost", ["sync", "async"])
def test_a_context_with_an_executor_holds_across_nested_calls(
    outermost: str, single: Callable[[], ThreadPoolExecutor]
) -> None:
    """What runs in the executor's thread and waits there gets the calls of what it waits for."""

    async def within(expected: threading.Thread) -> None:
        assert await thread() is expected
        assert await asyncio.create_task(thread()) is expected
        async with ThreadSensitiveContext(executor=single()):
            assert await thread() is not expected
        assert await thread() is expected

    def blocking() -> threading.Thread:
        async_to_sync(within)(threading.current_thread())
        return threading.current_thread()

    async def request(first: threading.Thread) -> None:
        noted = AsyncToSync.executors.current
        assert await thread() is first
        async with ThreadSensitiveContext(executor=single()):
            other = await thread()
            assert other is not first
            assert await sync_to_async(blocking)() is other
        assert AsyncToSync.executors.current is noted
        assert await thread() is first

    def start() -> None:
        async_to_sync(request)(threading.current_thread())

    if outermost == "sync":
        in_thread(start)
    else:
        run(sync_to_async(start))


@needs_executors
def test_what_a_context_hides_is_hidden_from_its_own_task_alone(
    single: Callable[[], ThreadPoolExecutor],
) -> None:
    """Siblings made before and after it, each amid a call of its own, keep the thread that waits for them."""
    executors = AsyncToSync.executors
    events = {name: Signal() for name in ("before", "entered", "before done", "after", "seen", "after done")}

    async def round_trip(where: threading.Thread, noted: Any, begun: str, until: str) -> None:
        async def inner() -> None:
            mine = executors.current
            assert mine not in (None, noted)
            events[begun].set()
            await events[until].come()
            assert executors.current is mine
            assert await thread() is where

        def blocking() -> None:
            assert threading.current_thread() is where
            async_to_sync(inner)()

        await sync_to_async(blocking)()
        assert executors.current is noted
        events[f"{begun} done"].set()

    async def hiding() -> None:
        noted = executors.current
        async with ThreadSensitiveContext(executor=single()):
            assert executors.current is None
            mine = await thread()
            events["entered"].set()
            await events["before done"].come()

            async def child() -> None:
                assert executors.current is None
                assert await thread() is mine

            await asyncio.create_task(child())
            await events["after"].come()
            assert executors.current is None
            assert await thread() is mine
            events["seen"].set()
            await events["after done"].come()
        assert executors.current is noted

    async def request(where: threading.Thread) -> None:
        async with ThreadSensitiveContext():
            noted = executors.current
            first = asyncio.create_task(round_trip(where, noted, "before", "entered"))
            await events["before"].come()
            second = asyncio.create_task(hiding())
            await events["before done"].come()
            third = asyncio.create_task(round_trip(where, noted, "after", "seen"))
            await asyncio.gather(first, second, third)
            assert executors.current is noted
            assert await thread() is where

    in_thread(lambda: async_to_sync(request)(threading.current_thread()))


@needs_executors
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
def test_an_error_within_a_context_restores_the_outer_one(
    error: type[BaseException], single: Callable[[], ThreadPoolExecutor]
) -> None:
    executor = single()
    inside: list[threading.Thread] = []

    async def failing() -> None:
        async with ThreadSensitiveContext(executor=executor):
            inside.append(await thread())
            raise error

    async def request() -> None:
        noted = AsyncToSync.executors.current
        async with ThreadSensitiveContext() as outer:
            before = await thread()
            with pytest.raises(error):
                await failing()
            assert SyncToAsync.thread_sensitive_context.get() is outer
            assert AsyncToSync.executors.current is noted
            assert await thread() is before
        assert [executor.submit(threading.current_thread).result()] == inside != [before]

    in_thread(async_to_sync(request))


@on_asyncio
@needs_executors
def test_a_cancelled_task_leaves_its_context_while_the_worker_is_busy(
    loop: str, single: Callable[[], ThreadPoolExecutor]
) -> None:
    """The executor can be used again once its thread has come back."""
    executor = single()
    started, release = Signal(), Signal()
    seen: list[threading.Thread] = []

    def blocking() -> None:
        seen.append(threading.current_thread())
        started.set()
        release.wait()

    async def request(context: Any) -> None:
        async with context:
            await sync_to_async(blocking)()

    async def main() -> None:
        context = ThreadSensitiveContext(executor=executor)
        task = asyncio.ensure_future(request(context))
        await started.come()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not release.is_set
        assert context not in SyncToAsync.context_to_thread_executor
        release.set()
        assert [await asyncio.wrap_future(executor.submit(threading.current_thread))] == seen

    run(main, loop)


@needs_executors
def test_a_context_is_nothing_to_code_that_is_not_thread_sensitive(
    single: Callable[[], ThreadPoolExecutor],
) -> None:
    other = single()
    elsewhere = sync_to_async(threading.current_thread, thread_sensitive=False, executor=other)

    async def main() -> None:
        expected = await elsewhere()
        async with ThreadSensitiveContext(executor=single()):
            assert await elsewhere() is expected
            assert await thread() is not expected

    run(main)


@needs_executors
def test_a_context_with_an_executor_is_entered_once(single: Callable[[], ThreadPoolExecutor]) -> None:
    """asgiref sees to it; a new one with the same executor leads to the same thread."""
    executor = single()

    async def main() -> None:
        context: Any = ThreadSensitiveContext(executor=executor)
        async with context:
            first = await thread()
            with pytest.raises(RuntimeError):
                await context.__aenter__()
        with pytest.raises(RuntimeError):
            await context.__aenter__()
        async with ThreadSensitiveContext(executor=executor):
            assert await thread() is first

    run(main)


@needs_executors
def test_a_task_that_outlives_a_context_with_an_executor_is_refused(
    single: Callable[[], ThreadPoolExecutor],
) -> None:
    """No other executor is made for it; within the context it may call."""
    executor = single()
    left = Signal()

    async def late() -> None:
        await left.come()
        assert getattr(AsyncToSync.executors, "current", None) is None
        with pytest.raises(ContextExited, match="has been left") as caught:
            await thread()
        assert isinstance(caught.value, RuntimeError)

    async def main() -> None:
        async with ThreadSensitiveContext() as outer:
            before = await thread()
            async with ThreadSensitiveContext(executor=executor) as context:
                inside = await thread()
                assert await asyncio.create_task(thread()) is inside is not before
                task = asyncio.create_task(late())
            left.set()
            await task
            assert context not in SyncToAsync.context_to_thread_executor
            assert SyncToAsync.thread_sensitive_context.get() is outer
            assert await thread() is before

    run(main)


def test_a_task_that_outlives_a_plain_context_gets_another_thread() -> None:
    left = Signal()

    async def late() -> threading.Thread:
        await left.come()
        return await thread()

    async def main() -> None:
        async with ThreadSensitiveContext() as context:
            inside = await thread()
            task = asyncio.create_task(late())
        left.set()
        try:
            assert await task is not inside
        finally:
            SyncToAsync.context_to_thread_executor.pop(context).shutdown()

    run(main)


# --- deadlocks


@on_asyncio
def test_after_an_exception_the_shared_thread_takes_calls_again(loop: str) -> None:
    def fails() -> None:
        raise LookupError("planned")

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(LookupError, match="planned"):
                await sync_to_async(fails)()
        await thread()

    run(main, loop)


@on_asyncio
@pytest.mark.parametrize("thread_sensitive", [True, False])
def test_a_call_that_blocks_holds_up_those_that_share_its_thread(loop: str, thread_sensitive: bool) -> None:
    """asgiref's test of this is one that it expects to fail. Code for any thread holds up nobody."""
    begun, release = Signal(), threading.Event()

    def blocking() -> bool:
        begun.set()
        return release.wait(10)

    async def main() -> None:
        waiting = asyncio.ensure_future(sync_to_async(blocking, thread_sensitive=thread_sensitive)())
        await begun.come()
        setting = asyncio.ensure_future(sync_to_async(release.set)())
        if thread_sensitive:
            for _ in range(5):
                await checkpoint()
            assert not release.is_set()
            release.set()
        assert await waiting
        await setting

    run(main, loop)


# --- cancellation


def middleware(levels: int, view: Callable[[], Any]) -> Any:
    """A coroutine function that calls `view` through so many blocking levels."""
    for _ in range(levels):
        view = sync_to_async(async_to_sync(view))
    return view


@on_asyncio
@pytest.mark.parametrize("task_levels", [0, 1])
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_a_shielded_task_survives_the_cancellation_of_its_request(
    loop: str, levels: int, task_levels: int
) -> None:
    """Through any number of blocking levels; the view sees the cancellation, and its answer counts."""
    started, seen = Signal(), Signal()
    done: list[str] = []

    async def unit() -> None:
        started.set()
        await seen.come()
        done.append("task")

    async def view() -> str:
        task = asyncio.ensure_future(middleware(task_levels, unit)())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            done.append("caught")
            seen.set()
            await task
            done.append("view")
        return "answer"

    async def main() -> None:
        async with ThreadSensitiveContext():
            request = asyncio.ensure_future(middleware(levels, view)())
            await started.come()
            request.cancel()
            assert await request == "answer"
        assert done == ["caught", "task", "view"]

    run(main, loop)


# --- tasks that outlive what made them


def test_a_task_that_outlives_its_call_finds_a_thread_further_up() -> None:
    """Made in the call, or by a callback later on; one in another."""

    async def inner() -> Any:
        return asyncio.ensure_future(thread())

    async def later() -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(lambda: future.set_result(asyncio.ensure_future(thread())))
        return [future]  # not awaited before the call has ended

    async def outer() -> Any:
        return asyncio.ensure_future(sync_to_async(async_to_sync(inner))())

    async def main() -> list[threading.Thread]:
        found = [await (await sync_to_async(async_to_sync(inner))())]
        (future,) = await sync_to_async(async_to_sync(later))()
        found.append(await (await future))
        task = await sync_to_async(async_to_sync(outer))()
        found.append(await (await task))
        return found

    def calling() -> None:
        assert async_to_sync(main)() == [threading.current_thread()] * 3

    in_thread(calling)


@on_asyncio
def test_tasks_that_outlive_their_call_find_the_shared_thread(loop: str) -> None:
    """Where no thread waits further up. While the call lasts, its thread runs them, one after the other."""
    event = threading.Event()

    async def outer() -> Any:
        begun = [Signal(), Signal()]

        async def inner(number: int) -> Any:
            waiting = asyncio.ensure_future(sync_to_async(event.wait)(10))
            await checkpoint()
            begun[number].set()
            assert await waiting
            return await thread()

        tasks = [asyncio.ensure_future(inner(number)) for number in range(2)]
        for signal in begun:
            await signal.come()
        event.set()
        return tasks

    async def main() -> None:
        tasks = await sync_to_async(async_to_sync(outer))()
        assert await asyncio.gather(*tasks) == [await thread()] * 2

    run(main, loop)


# --- context variables and Local


@on_asyncio
def test_context_variables_go_in_and_come_back(loop: str) -> None:
    def function() -> int:
        assert variable.get() == "in"
        variable.set("out")
        return 42

    async def main() -> None:
        variable.set("in")
        assert await sync_to_async(function)() == 42
        assert variable.get() == "out"

    run(main, loop)


def test_they_do_so_for_coroutines() -> None:
    async def function() -> int:
        await asyncio.sleep(0)
        assert variable.get() == "in"
        variable.set("out")
        return 42

    def calling() -> None:
        variable.set("in")
        assert async_to_sync(function)() == 42
        assert variable.get() == "out"

    in_thread(calling)


@on_asyncio
def test_in_a_context_of_ones_own_they_stay_there(loop: str) -> None:
    """For calls at the same time, and for tasks in the same context."""

    def blocking() -> None:
        variable.set(variable.get() + "1")

    async def coroutine() -> None:
        blocking()

    async def main() -> None:
        variable.set("")
        context = contextvars.copy_context()
        wrapped = sync_to_async(blocking, context=context)
        assert wrapped.context is context
        others: list[Any] = []
        if sys.version_info >= (3, 11):
            others = [asyncio.create_task(coroutine(), context=context) for _ in range(2)]
        await asyncio.gather(wrapped(), wrapped(), *others)
        assert variable.get() == ""
        assert context[variable] == "1" * (2 + len(others))

    run(main, loop)


def test_an_attribute_named_context_is_not_taken_for_one() -> None:
    class Callable_:
        context = "something else"

        def __init__(self) -> None:
            self.context = "of this object"

        def __call__(self) -> int:
            return 42

    wrapped = sync_to_async(Callable_())
    assert wrapped.context is None
    assert run(wrapped) == 42


class Incomparable(Mapping[str, int]):
    """What another thread changes while it is compared."""

    def __getitem__(self, key: str) -> int:
        return 1

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("changed while it was iterated")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    __hash__ = None  # type: ignore[assignment]


def test_values_are_not_compared_by_equality() -> None:
    first, second = Incomparable(), Incomparable()

    async def main() -> None:
        variable.set(first)
        await sync_to_async(variable.set)(second)
        assert variable.get() is second
        await sync_to_async(async_to_sync(AsyncCallable()))()
        assert variable.get() is second

    run(main)


@on_asyncio
@pytest.mark.parametrize("levels", [0, 1, 2, 4])
def test_a_local_goes_through_blocking_levels_and_comes_back(loop: str, levels: int) -> None:
    local = Local()

    def innermost() -> None:
        assert local.value == "outside"
        local.value = "inside"

    async def main() -> None:
        local.value = "outside"
        await middleware(levels, sync_to_async(innermost))()
        assert local.value == "inside"

    run(main, loop)


def test_a_local_goes_through_async_to_sync_and_comes_back() -> None:
    local = Local()

    async def inner() -> None:
        assert local.value == "outside"
        local.value = "inside"

    def calling() -> None:
        local.value = "outside"
        async_to_sync(inner)()
        assert local.value == "inside"

    in_thread(calling)


@on_asyncio
def test_a_thread_critical_local_does_not_leave_the_loops_thread(loop: str) -> None:
    local = Local(thread_critical=True)

    def blocking() -> None:
        assert not hasattr(local, "value")
        local.value = "inside"
        assert local.value == "inside"
        del local.value
        with pytest.raises(AttributeError):
            del local.value

    async def main() -> None:
        local.value = "outside"
        await sync_to_async(blocking)()
        assert local.value == "outside"

    run(main, loop)


def test_a_thread_critical_local_does_not_leave_the_calling_thread() -> None:
    local = Local(thread_critical=True)

    async def inner() -> None:
        assert not hasattr(local, "value")
        local.value = "inside"
        assert local.value == "inside"

    def calling() -> None:
        local.value = "outside"
        async_to_sync(inner)()
        assert local.value == "outside"

    in_thread(calling)


@on_asyncio
def test_a_local_is_not_disturbed_by_other_threads(loop: str) -> None:
    local = Local()

    def count(expected: int) -> None:
        assert local.counter == expected
        local.counter += 1

    async def count_here(expected: int) -> None:
        count(expected)

    def disturb() -> None:
        assert not hasattr(local, "counter")
        local.counter = -1

    async def main() -> None:
        local.counter = 0
        await sync_to_async(count)(0)
        await count_here(1)
        threads = [Thread(disturb) for _ in range(5)]
        await sync_to_async(count)(2)
        for each in threads:
            each.outcome()
        await sync_to_async(count)(3)
        await count_here(4)
        assert local.counter == 5

    run(main, loop)


def test_what_blocking_code_sets_for_its_thread_is_seen_there_afterwards() -> None:
    """In a thread-critical Local, from a task's call; another Local is the task's own, and is not seen."""
    critical, other = Local(thread_critical=True), Local()

    @sync_to_async
    def inner() -> threading.Thread:
        critical.value = other.value = "set"
        return threading.current_thread()

    async def middle() -> Any:
        return await asyncio.create_task(inner())

    def calling() -> None:
        assert async_to_sync(middle)() is threading.current_thread()
        assert critical.value == "set"
        assert not hasattr(other, "value")

    in_thread(calling)


def test_the_old_mark_of_coroutine_functions_is_asgirefs() -> None:
    """So that asgiref's `iscoroutinefunction` and ours agree on what either has wrapped."""
    theirs = asgiref.sync.sync_to_async(print)
    assert to_async.is_async(theirs)
    assert asgiref.sync.iscoroutinefunction(sync_to_async(print))
