"""asgiref's `sync_to_async` and `async_to_sync` and ours in one nesting of calls, in every mixture.

A mixture is a word of the letters `b` (bridge) and `a` (asgiref), outermost call first. "Blocking
level" is a function called by a `sync_to_async`, "async level" one called by an `async_to_sync`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import itertools
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asgiref.sync
import pytest
from asgiref.current_thread_executor import CurrentThreadExecutor
from asgiref.local import Local
from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from support.drive import LOOPS, Signal, checkpoint, run
from support.engines import Thread

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.exceptions import ContextExited, WouldDeadlock

# From asgiref 3.9 on, one of its waits that is over leads to the one that it was made under.
LEADS_UP = "old_executor" in inspect.signature(CurrentThreadExecutor).parameters

TO_ASYNC: dict[str, Any] = {"a": asgiref.sync.sync_to_async, "b": sync_to_async}
TO_SYNC: dict[str, Any] = {"a": asgiref.sync.async_to_sync, "b": async_to_sync}

on_asyncio = pytest.mark.parametrize("loop", [loop for loop in LOOPS if loop != "trio"])
outermost = pytest.mark.parametrize("outermost", ["sync", "async"])
needs_executors = pytest.mark.skipif(
    "executor" not in inspect.signature(ThreadSensitiveContext).parameters,
    reason="this asgiref's ThreadSensitiveContext takes no executor",
)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("interop", default="")


def words(length: int) -> list[str]:
    """Every mixture of so many calls."""
    return ["".join(letters) for letters in itertools.product("ab", repeat=length)]


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a new thread, which has no event loop; fail if it hangs."""
    return Thread(functools.partial(function, *args)).outcome()


class Start:
    """Runs a mixture from the outside: in a thread without a loop, or in a task."""

    def __init__(self, outermost: str, loop: str = "asyncio") -> None:
        self.is_sync = outermost == "sync"
        self._loop = loop

    def __call__(self, function: Callable[[], Any]) -> Any:
        return in_thread(function) if self.is_sync else run(function, self._loop)


def nested(word: str, is_sync: bool, innermost: Any, level: Callable[[int, bool], Any] | None = None) -> Any:
    """A function that makes the calls of `word`, one in the other; `innermost(is_sync)` is what they end in.

    Args:
        is_sync: whether the function itself is a blocking one; then its first call is an `async_to_sync`.
        level: makes a context manager that each level is in, told its number and whether it blocks.
    """
    levels = level or (lambda number, is_sync: _Nothing())

    def blocking(number: int) -> Any:
        with levels(number, True):
            if number == len(word):
                return innermost()
            return TO_SYNC[word[number]](coroutine)(number + 1)

    async def coroutine(number: int) -> Any:
        with levels(number, False):
            if number == len(word):
                return innermost()
            return await TO_ASYNC[word[number]](blocking)(number + 1)

    return functools.partial(blocking if is_sync else coroutine, 0)


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *exc_info: object) -> None: ...


# --- the same thread, the same loop, the same values


class Witness:
    """Sees where each level runs and which values it finds, on the way in and on the way out."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.threads: set[threading.Thread] = set()
        self.loops: set[Any] = set()
        self.loop_threads: set[threading.Thread] = set()
        self.local = Local()
        self.critical = Local(thread_critical=True)
        self.seen: list[str] = []

    def level(self, number: int, is_sync: bool) -> Any:
        return _Level(self, number, is_sync)


class _Level:
    def __init__(self, witness: Witness, number: int, is_sync: bool) -> None:
        self.witness, self.number, self.is_sync = witness, number, is_sync

    def __enter__(self) -> None:
        witness = self.witness
        if self.is_sync:
            witness.threads.add(threading.current_thread())
            # The levels share a thread, and with it what belongs to that thread; coroutines do not.
            if "blocking" in witness.seen:
                assert witness.critical.value == "of the thread"
            else:
                assert not hasattr(witness.critical, "value")
                witness.critical.value = "of the thread"
        else:
            witness.loops.add(asyncio.get_running_loop())
            witness.loop_threads.add(threading.current_thread())
            assert not hasattr(witness.critical, "value")
        witness.seen.append("blocking" if self.is_sync else "async")
        before = path(self.number)
        assert (variable.get(), getattr(witness.local, "value", "")) == (before, before)
        variable.set(path(self.number + 1))
        witness.local.value = path(self.number + 1)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is None:
            # What the deeper levels have set has come back.
            expected = path(self.witness.depth + 1) + "." * (self.witness.depth - self.number)
            assert variable.get() == self.witness.local.value == expected
            variable.set(f"{expected}.")
            self.witness.local.value = f"{expected}."


def path(count: int) -> str:
    """What so many levels leave on the way in."""
    return "".join(map(str, range(count)))


@on_asyncio
@outermost
@pytest.mark.parametrize("depth", range(1, 7))
def test_every_mixture_keeps_its_thread_and_loop(depth: int, outermost: str, loop: str) -> None:
    """And context variables, and Locals, go in and come back at every level."""
    start = Start(outermost, loop)
    for word in words(depth):
        witness = Witness(depth)

        def outer(word: str = word, witness: Witness = witness) -> Any:
            variable.set("")
            function = nested(word, start.is_sync, variable.get, witness.level)
            return function()

        assert start(outer) == path(depth + 1), word
        assert len(witness.loops) <= 1, word
        assert len(witness.loop_threads) <= 1, word
        assert len(witness.threads) <= 1, word
        assert not witness.threads & witness.loop_threads, word
        assert len(witness.seen) == depth + 1, word


class Maze:
    """Nested calls of a random kind, made as they go; each checks where it runs.

    A blocking level that is thread-sensitive belongs to the thread that waits for the code that calls
    it, or else to `default`. A coroutine belongs to the loop.
    """

    DEPTH = 6

    def __init__(self, seed: int, pool: ThreadPool) -> None:
        self._random = random.Random(seed)
        self._pool = pool
        self.loop: Any = None
        self.calls: list[str] = []

    def blocking(self, depth: int, expected: Any) -> int:
        if expected is not None:
            assert threading.current_thread() is expected, self.calls
        local = variable.get()
        if depth == 0:
            variable.set(f"{local}!")
            return 0
        total = 0
        for _ in range(self._random.choice((1, 1, 2))):
            letter = self._random.choice("ab")
            self.calls.append(letter)
            function = functools.partial(self.coroutine, depth - 1, threading.current_thread())
            before = variable.get()
            if depth == self.DEPTH:
                self.loop = None  # no loop awaits this thread: each call may be on another
            total += TO_SYNC[letter](function)()
            assert variable.get().startswith(f"{before}?"), self.calls
        return total + 1

    async def coroutine(self, depth: int, waiting: Any) -> int:
        self.loop = self.loop or asyncio.get_running_loop()
        assert asyncio.get_running_loop() is self.loop, self.calls
        variable.set(f"{variable.get()}?")
        if depth == 0:
            return 0
        total = 0
        for _ in range(self._random.choice((1, 1, 2))):
            letter = self._random.choice("ab")
            sensitive = self._random.random() < 0.7
            options: dict[str, Any] = {"thread_sensitive": sensitive}
            if letter == "b" and not sensitive:
                options["pool"] = self._pool
            self.calls.append(letter.upper())
            call = TO_ASYNC[letter](self.blocking, **options)(depth - 1, waiting if sensitive else None)
            way = self._random.choice(("await", "task", "wait_for", "gather"))
            if way == "await":
                before = variable.get()
                total += await call
                assert variable.get().startswith(before), self.calls
            elif way == "task":
                total += await asyncio.ensure_future(call)
            elif way == "wait_for":
                total += await asyncio.wait_for(call, 20)
            else:
                first, _ = await asyncio.gather(call, TO_ASYNC[letter](int, **options)())
                total += first
        return total + 1


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool(1)
    yield made
    assert made.close(10)


@on_asyncio
@outermost
def test_random_mixtures_to_depth_six(outermost: str, loop: str, pool: ThreadPool) -> None:
    """Thread-sensitive or not, awaited or in tasks, several calls at a level, and a pool of one thread."""
    start = Start(outermost, loop)
    for seed in range(40):
        maze = Maze(seed, pool)

        def outer(maze: Maze = maze) -> Any:
            if start.is_sync:
                return maze.blocking(maze.DEPTH, threading.current_thread())
            return maze.coroutine(maze.DEPTH, None)

        assert start(outer) >= maze.DEPTH, seed


@on_asyncio
def test_random_mixtures_at_the_same_time(loop: str, pool: ThreadPool) -> None:
    """Requests of one loop, some in a ThreadSensitiveContext, and threads that call async code meanwhile."""

    async def request(seed: int) -> None:
        maze = Maze(seed, pool)
        if seed % 3:
            await maze.coroutine(5, None)
            return
        async with ThreadSensitiveContext():
            await maze.coroutine(5, await sync_to_async(threading.current_thread)())

    async def main() -> None:
        threads = [
            Thread(functools.partial(Maze(seed, pool).blocking, Maze.DEPTH, None)) for seed in range(100, 106)
        ]
        await asyncio.gather(*(request(seed) for seed in range(24)))
        for thread in threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.outcome)

    run(main, loop)


# --- wrapping what the other has wrapped


@pytest.mark.parametrize("word", words(2))
def test_each_takes_what_the_other_has_made(word: str) -> None:
    """Without a warning, and with a name to be recognised by."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there_and_back = TO_SYNC[word[0]](TO_ASYNC[word[1]](threading.current_thread))
        thread = Thread(lambda: there_and_back() is threading.current_thread())
        assert thread.outcome() is True

        async def where() -> Any:
            return asyncio.get_running_loop()

        async def main() -> None:
            assert await TO_ASYNC[word[0]](TO_SYNC[word[1]](where))() is asyncio.get_running_loop()

        run(main)


@pytest.mark.parametrize("word", words(2))
def test_each_refuses_what_the_other_has_made_async(word: str) -> None:
    with pytest.raises(TypeError):
        TO_ASYNC[word[0]](TO_ASYNC[word[1]](print))


# --- exceptions


class Planned(Exception):
    pass


class Worse(BaseException):
    pass


@outermost
@pytest.mark.parametrize("kind", [Planned, Worse, asyncio.CancelledError])
def test_exceptions_come_through_every_mixture(kind: type[BaseException], outermost: str) -> None:
    """The very object; and what the outermost level is handling is found in the innermost."""
    start = Start(outermost)
    for word in words(4):
        error = kind("planned")

        def innermost(error: BaseException = error) -> None:
            assert isinstance(sys.exc_info()[1], LookupError)
            raise error

        def outer(word: str = word, innermost: Any = innermost) -> Any:
            try:
                raise LookupError("being handled")
            except LookupError:
                return nested(word, True, innermost)()

        async def outer_async(word: str = word, innermost: Any = innermost) -> Any:
            try:
                raise LookupError("being handled")
            except LookupError:
                await nested(word, False, innermost)()

        async def catching(word: str = word, error: BaseException = error) -> None:
            # Not out of a task, where the loop has its own ideas of some.
            with pytest.raises(kind) as caught:
                await outer_async(word)
            assert caught.value is error or kind is asyncio.CancelledError, word

        if start.is_sync:
            with pytest.raises(kind) as caught:
                start(outer)
            # concurrent.futures makes another CancelledError of one, in asgiref's.
            assert caught.value is error or kind is asyncio.CancelledError, word
        else:
            start(catching)


# --- cancellation


@on_asyncio
@pytest.mark.parametrize("word", words(4))
def test_a_shielded_task_survives_a_cancellation_through_mixed_levels(word: str, loop: str) -> None:
    """The innermost coroutine sees the cancellation, and what it makes of it is the outcome."""
    started, seen = Signal(), Signal()
    done: list[str] = []

    async def unit() -> None:
        started.set()
        await seen.come()
        done.append("unit")

    async def view() -> str:
        # The unit is behind a blocking level itself.
        task = asyncio.ensure_future(TO_ASYNC[word[-1]](TO_SYNC[word[0]](unit))())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            done.append("caught")
            seen.set()
            await task
        return "answer"

    layered: Any = view
    for to_async, to_sync in zip(reversed(word[::2]), reversed(word[1::2]), strict=True):
        layered = TO_ASYNC[to_async](TO_SYNC[to_sync](layered))

    async def main() -> None:
        async with ThreadSensitiveContext():
            request = asyncio.ensure_future(layered())
            await started.come()
            request.cancel()
            try:
                assert await request == "answer"
            finally:
                seen.set()  # or a failure of this test would keep its thread
        assert done == ["caught", "unit"]

    run(main, loop)


@on_asyncio
@pytest.mark.parametrize("word", words(4))
def test_a_cancellation_goes_through_mixed_levels(word: str, loop: str) -> None:
    """To the innermost coroutine, out of each blocking function, and up to the request."""
    started, release = Signal(), Signal()
    ended: list[str] = []

    async def view() -> None:
        started.set()
        try:
            await release.come()
        finally:
            ended.append("view")

    def level(function: Any) -> Callable[[], None]:
        def blocking() -> None:
            try:
                function()
            finally:
                ended.append("blocking")

        return blocking

    layered: Any = view
    for to_async, to_sync in zip(reversed(word[::2]), reversed(word[1::2]), strict=True):
        layered = TO_ASYNC[to_async](level(TO_SYNC[to_sync](layered)))

    async def main() -> None:
        request = asyncio.ensure_future(layered())
        await started.come()
        request.cancel()
        try:
            with pytest.raises(asyncio.CancelledError):
                await request
        finally:
            release.set()
        # The thread is free again, for either.
        assert (
            await TO_ASYNC["a"](threading.current_thread)() is await TO_ASYNC["b"](threading.current_thread)()
        )
        assert ended == ["view", "blocking", "blocking"]

    run(main, loop)


@on_asyncio
@pytest.mark.parametrize(
    ("word", "first"),
    # Where all but one of the four are asgiref's, what its sync_to_async leaves in the thread is in the way.
    [
        (word, first)
        for word in ("ba", "bb", "ab")
        for first in words(2)
        if (word, first) not in (("ba", "aa"), ("ab", "aa"))
    ],
)
def test_it_does_so_after_another_call_of_the_same_function(word: str, first: str, loop: str) -> None:
    """A nested call that is over leaves nothing behind that a later one would take for its own."""
    started, release = Signal(), Signal()
    ended: list[str] = []

    async def before() -> None:
        await TO_ASYNC[first[1]](int)()

    async def view() -> str:
        started.set()
        try:
            await release.come()
        except asyncio.CancelledError:
            ended.append("view")
        return "answer"

    def blocking() -> Any:
        TO_SYNC[first[0]](before)()
        return TO_SYNC[word[1]](view)()

    async def main() -> None:
        request = asyncio.ensure_future(TO_ASYNC[word[0]](blocking)())
        await started.come()
        request.cancel()
        try:
            assert await request == "answer"
        finally:
            release.set()
        assert ended == ["view"]

    run(main, loop)


@on_asyncio
@pytest.mark.parametrize("letter", ["a", "b"])
def test_a_queued_call_of_either_never_begins_once_it_is_cancelled(letter: str, loop: str) -> None:
    """Behind one of the other, in the thread that they share."""
    begun, release = Signal(), Signal()
    ran: list[str] = []

    def holding() -> None:
        begun.set()
        release.wait()

    async def main() -> None:
        other = "b" if letter == "a" else "a"
        holder = asyncio.ensure_future(TO_ASYNC[other](holding)())
        await begun.come()
        queued = asyncio.ensure_future(TO_ASYNC[letter](ran.append)("queued"))
        await checkpoint()
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        release.set()
        await holder
        await TO_ASYNC[other](ran.append)("after")
        assert ran == ["after"]

    run(main, loop)


@pytest.mark.parametrize("word", words(2))
def test_asgirefs_timeout_ends_a_wait_for_either(word: str) -> None:
    """Of a blocking function, which is given up, and of a coroutine behind one, which is cancelled."""
    from asgiref.timeout import timeout

    release = Signal()
    cancelled: list[str] = []

    def blocking(started: Signal) -> None:
        started.set()
        release.wait()

    async def coroutine(started: Signal) -> None:
        started.set()
        try:
            await release.come()
        finally:
            cancelled.append("coroutine")

    async def limited(function: Any) -> None:
        loop, started = asyncio.get_running_loop(), Signal()
        real = loop.time
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            limit = timeout(3)

        async def let_time_pass() -> None:
            await started.come()
            loop.time = lambda: real() + 4  # type: ignore[method-assign]

        passing = asyncio.ensure_future(let_time_pass())
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            async with limit:
                await function(started)
        await passing

    async def main() -> None:
        try:
            await limited(TO_ASYNC[word[0]](blocking, thread_sensitive=False))
            await limited(TO_ASYNC[word[0]](TO_SYNC[word[1]](coroutine)))
            assert cancelled == ["coroutine"]
        finally:
            release.set()

    run(main)


# --- tasks that outlive the call that made them


def outliving(waits: str, late: str) -> Callable[[], Any]:
    """A coroutine function that nests calls of these kinds and gives the thread of a task that outlives them.

    The innermost makes a task; once all of these calls are over, the task calls `late`.
    """
    over = Signal()

    async def task() -> Any:
        await over.come()
        return await TO_ASYNC[late](threading.current_thread)()

    async def innermost() -> Any:
        return [asyncio.ensure_future(task())]

    function: Any = innermost
    for letter in reversed(waits):
        function = TO_ASYNC[letter](TO_SYNC[letter](function))

    async def outer() -> Any:
        (made,) = await function()
        over.set()
        return await made

    return outer


@pytest.mark.parametrize("late", ["a", "b"])
@pytest.mark.parametrize("waits", [word for depth in (1, 2, 3) for word in words(depth)])
@pytest.mark.parametrize("outermost", ["a", "b"])
def test_a_task_that_outlives_calls_is_served_by_the_thread_that_still_waits(
    outermost: str, waits: str, late: str
) -> None:
    """Any kind of call under any kind of wait."""
    if not LEADS_UP and "a" in waits:
        pytest.skip("this asgiref's waits do not lead further up")

    def calling() -> None:
        assert TO_SYNC[outermost](outliving(waits, late))() is threading.current_thread()

    in_thread(calling)


@on_asyncio
@pytest.mark.parametrize("late", ["a", "b"])
@pytest.mark.parametrize("waits", [word for depth in (1, 2, 3) for word in words(depth)])
def test_with_no_thread_further_up_it_goes_to_the_shared_one(waits: str, late: str, loop: str) -> None:
    """Unless asgiref meets only its own waits on the way up: then it fails, which is asgiref's behaviour."""
    if not LEADS_UP and late == "a" and "a" in waits:
        pytest.skip("this asgiref's waits do not lead further up")

    async def main() -> None:
        shared = SyncToAsync.single_thread_executor.submit(threading.current_thread).result()
        if late == "a" and set(waits) == {"a"}:
            with pytest.raises(RuntimeError):
                await outliving(waits, late)()
        else:
            assert await outliving(waits, late)() is shared

    run(main, loop)


@pytest.mark.parametrize("late", ["a", "b"])
@pytest.mark.parametrize("waits", words(2))
def test_what_such_a_task_raises_comes_back(waits: str, late: str) -> None:
    """Also when it went through an executor that is merely asked to pass it on."""
    if not LEADS_UP and "a" in waits:
        pytest.skip("this asgiref's waits do not lead further up")
    over = Signal()

    def fails() -> None:
        raise Planned(threading.current_thread().name)

    async def task() -> None:
        await over.come()
        await TO_ASYNC[late](fails)()

    async def inner() -> Any:
        return [asyncio.ensure_future(task())]

    async def main() -> None:
        (made,) = await TO_ASYNC[waits[1]](TO_SYNC[waits[1]](inner))()
        over.set()
        await made

    def calling() -> None:
        with pytest.raises(Planned, match=threading.current_thread().name):
            TO_SYNC[waits[0]](main)()

    in_thread(calling)


# --- ThreadSensitiveContext


@on_asyncio
@pytest.mark.parametrize("word", words(4))
def test_a_thread_sensitive_context_holds_for_every_mixture(word: str, loop: str) -> None:
    """All of its blocking code is in its one thread, a sibling's in another; either may be the first."""

    async def context() -> Any:
        async with ThreadSensitiveContext():
            witness = Witness(len(word))
            variable.set("")
            await nested(word, False, variable.get, witness.level)()
            (only,) = witness.threads
            for letter in "ab":
                assert await TO_ASYNC[letter](threading.current_thread)() is only
                assert await asyncio.ensure_future(TO_ASYNC[letter](threading.current_thread)()) is only
            return only

    async def main() -> None:
        shared = await sync_to_async(threading.current_thread)()
        assert len({shared, threading.current_thread(), *await asyncio.gather(context(), context())}) == 4

    run(main, loop)


@needs_executors
@outermost
@pytest.mark.parametrize("word", words(3))
def test_one_with_an_executor_does_so_in_any_mixture_and_ends(word: str, outermost: str) -> None:
    """Entered below a wait of either kind, which it hides; afterwards that thread is called again."""
    first, second, third = list(word)

    async def inner(where: Any) -> None:
        for letter in "ab":
            assert await TO_ASYNC[letter](threading.current_thread)() is where
            assert await asyncio.create_task(TO_ASYNC[letter](threading.current_thread)()) is where

    def blocking() -> Any:
        TO_SYNC[third](inner)(threading.current_thread())
        return threading.current_thread()

    async def request(outside: Any) -> None:
        left = Signal()
        with ThreadPoolExecutor(max_workers=1) as executor:
            async with ThreadSensitiveContext(executor=executor):
                inside = executor.submit(threading.current_thread).result()
                await inner(inside)
                assert await TO_ASYNC[second](blocking)() is inside is not outside

                async def late(letter: str) -> None:
                    await left.come()
                    with pytest.raises(RuntimeError) as caught:
                        await TO_ASYNC[letter](int)()
                    assert letter == "a" or caught.type is ContextExited

                tasks = [asyncio.create_task(late(letter)) for letter in "ab"]
            left.set()
            await asyncio.gather(*tasks)
        await inner(outside)

    def calling() -> None:
        TO_SYNC[first](request)(threading.current_thread())

    if outermost == "sync":
        in_thread(calling)
    else:
        run(TO_ASYNC[second](calling))


# --- one shared thread


@on_asyncio
def test_the_single_shared_thread_is_the_same_for_both(loop: str) -> None:
    """And calls of both, mixed, run in it one at a time, in the order in which they came."""
    order: list[int] = []
    running: list[int] = []

    def work(number: int) -> Any:
        running.append(number)
        assert running == [number]
        order.append(number)
        running.pop()
        return threading.current_thread()

    async def main() -> None:
        letters = random.Random(5).choices("ab", k=200)
        threads = await asyncio.gather(*(TO_ASYNC[letter](work)(n) for n, letter in enumerate(letters)))
        assert len(set(threads)) == 1
        # In order among their own kind. Ours come in bundles, and asgiref's are bound to find their turn.
        for kind in "ab":
            mine = [number for number in order if letters[number] == kind]
            assert mine == sorted(mine)

    run(main, loop)


@on_asyncio
@pytest.mark.parametrize("letter", ["a", "b"])
def test_each_waits_for_the_other_in_the_shared_thread(letter: str, loop: str) -> None:
    begun, release = Signal(), Signal()
    other = "b" if letter == "a" else "a"

    def holding() -> None:
        begun.set()
        release.wait()

    async def main() -> None:
        holder = asyncio.ensure_future(TO_ASYNC[letter](holding)())
        await begun.come()
        behind = asyncio.ensure_future(TO_ASYNC[other](threading.current_thread)())
        for _ in range(5):
            await checkpoint()
        assert not behind.done()
        release.set()
        await holder
        await behind

    run(main, loop)


# --- deadlocks


@pytest.mark.parametrize("word", words(2))
def test_a_loop_in_the_shared_thread_is_refused_what_belongs_to_that_thread(word: str) -> None:
    """`asyncio.run` in a blocking function, and thread-sensitive code in that. Afterwards both work again."""

    def blocking() -> Any:
        return asyncio.run(TO_ASYNC[word[1]](int)())

    async def main() -> None:
        with pytest.raises(RuntimeError) as caught:
            await TO_ASYNC[word[0]](blocking)()
        assert caught.type is WouldDeadlock or word[1] == "a"
        for letter in "ab":
            assert await TO_ASYNC[letter](int)() == 0

    run(main)


@pytest.mark.parametrize("word", words(3))
def test_a_loop_in_a_thread_that_waits_is_refused_what_belongs_to_that_thread(word: str) -> None:
    """In every mixture: who waits, who calls, and who would call."""

    def blocking() -> Any:
        return asyncio.run(TO_ASYNC[word[2]](int)())

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await TO_ASYNC[word[1]](blocking)()
        for letter in "ab":
            assert await TO_ASYNC[letter](int)() == 0

    in_thread(TO_SYNC[word[0]](main))


@on_asyncio
@pytest.mark.parametrize("word", words(3))
def test_async_to_sync_of_either_is_refused_on_a_loop_of_any(word: str, loop: str) -> None:
    """On the loop that awaits, below calls of either kind; the message says what to do."""

    async def inner() -> None:
        pytest.fail("it ran")

    async def coroutine() -> None:
        with pytest.raises(RuntimeError, match="await"):
            TO_SYNC[word[2]](inner)()

    async def main() -> None:
        await coroutine()
        await TO_ASYNC[word[0]](TO_SYNC[word[1]](coroutine))()

    run(main, loop)
