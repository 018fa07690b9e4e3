"""Asks bridge, asgiref, AnyIO and asyncio itself the same questions about blocking and async code.

    python docs/_compare_shim.py                  print the table, with what is installed
    python docs/_compare_shim.py --write          write it into docs/explanation/comparison.md
    python docs/_compare_shim.py LIBRARY          its answers to all questions, in one process
    python docs/_compare_shim.py LIBRARY PROBE    one answer

Needs the `dev` extra. A probe gets a `Kit`: what a library offers, used as its documentation says. For the
table, each answer comes from a process of its own. One that takes longer than LIMIT is "no": the library
has hung.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
# For `_compare_table`, if this file is not run but loaded. Last, so that an installed bridge goes first.
sys.path += [str(DOCS), str(DOCS.parent)]

from _compare_table import HUNG, Comparison, NotOffered, versions  # noqa: E402

LIMIT = 10.0
"""Seconds after which a probe has failed: the longest takes four. Waits that are a part of one end before."""

LIBRARIES = {"bridge": "bridge", "asgiref": "asgiref", "anyio": "AnyIO", "asyncio": "asyncio"}

comparison = Comparison(__file__, "compared shim", LIBRARIES, LIMIT)
PROBES, BEGIN, END = comparison.probes, comparison.begin, comparison.end
probe = comparison.probe

Call = Callable[..., Any]
"""Takes a function and its arguments: calls it, and waits for its outcome."""


# --- the libraries


class Kit:
    """What a library offers; what it leaves out here it does not."""

    name = ""

    finds_loop = True
    """Whether `from_thread` need not be told which loop is meant."""

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run an async program."""
        return asyncio.run(main())

    # -- into threads

    async def in_thread(self, function: Call, *args: Any) -> Any:
        """Call a blocking function in any thread; given up if the task is cancelled."""
        raise NotOffered

    async def by_default(self, function: Call, *args: Any) -> Any:
        """The same in whichever thread it is without options."""
        return await self.in_thread(function, *args)

    async def in_own_thread(self, function: Call, *args: Any) -> Any:
        """Call a function that has to find the same thread again."""
        raise NotOffered

    def request(self) -> contextlib.AbstractAsyncContextManager[Any]:
        """What makes calls inside, by `in_own_thread`, have a thread that calls outside do not have."""
        raise NotOffered

    async def to_the_end(self, function: Call, *args: Any) -> Any:
        """Like `in_thread`, but a cancelled task ends when the function has."""
        raise NotOffered

    def was_cancelled(self) -> bool:
        """In a function: whether the task that awaits it has been cancelled."""
        raise NotOffered

    def pool(self, threads: int) -> Call:
        """Like `in_thread`, in so many threads at most."""
        raise NotOffered

    def queue_of_one(self) -> Call:
        """Like `in_thread`, with one thread and room for one call that waits; a third is refused."""
        raise NotOffered

    def busy(self) -> int:
        """How many threads of `in_thread` are busy."""
        raise NotOffered

    async def in_process(self, function: Call, *args: Any) -> Any:
        """Call a function in another process."""
        raise NotOffered

    async def when_running(
        self, main: Callable[[], Coroutine[Any, Any, Any]], running: threading.Event
    ) -> None:
        """Have a task run `main`, cancel it when `running` is set, and wait for its end."""
        task = asyncio.ensure_future(main())
        while not running.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])

    # -- out of threads

    def from_thread(self, function: Call, *args: Any) -> Any:
        """In a function called by `in_thread`: call an async function on the loop of the task that awaits."""
        raise NotOffered

    def from_anywhere(self, function: Call, *args: Any) -> Any:
        """Call an async function in a thread without a loop, with nothing prepared."""
        raise NotOffered

    @contextlib.contextmanager
    def portal(self) -> Iterator[Call]:
        """For several such calls; what the library says the caller should keep for them."""
        yield self.from_anywhere

    # -- more than functions

    def iterate_in_thread(self, items: Any) -> AsyncIterator[Any]:
        """A blocking iterator, for async code."""
        raise NotOffered

    def iterate_on_loop(self, items: Any) -> Iterator[Any]:
        """An async iterator, for blocking code."""
        raise NotOffered

    def entered_in_thread(self, manager: Any) -> contextlib.AbstractAsyncContextManager[Any]:
        """A blocking context manager, for async code."""
        raise NotOffered

    def entered_on_loop(self, manager: Any) -> contextlib.AbstractContextManager[Any]:
        """An async context manager, for blocking code."""
        raise NotOffered

    def facade(self, function: Call) -> contextlib.AbstractAsyncContextManager[Any]:
        """An object that `function` makes, with methods to be awaited, all in one thread."""
        raise NotOffered

    def blocking_facade(self, obj: Any) -> Any:
        """An object with async methods, whose methods block."""
        raise NotOffered

    def decorator(self) -> tuple[Any, Any]:
        """For blocking functions and methods, and for async ones."""
        raise NotOffered

    def local(self) -> Any:
        """An object with attributes of a thread or task, which go along into threads and loops."""
        raise NotOffered

    # -- what is found

    def blocked(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> str:
        """Run an async program, and return what is said of calls that block its loop."""
        raise NotOffered

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """Has waits reported after a second already."""
        raise NotOffered
        yield  # type: ignore[unreachable]


class Bridge(Kit):
    name = "bridge"

    async def in_thread(self, function: Call, *args: Any) -> Any:
        from bridge import sync_to_async

        return await sync_to_async(function, thread_sensitive=False)(*args)

    async def in_own_thread(self, function: Call, *args: Any) -> Any:
        from bridge import sync_to_async

        return await sync_to_async(function)(*args)

    by_default = in_own_thread

    def request(self) -> Any:
        from asgiref.sync import ThreadSensitiveContext

        return ThreadSensitiveContext()

    async def to_the_end(self, function: Call, *args: Any) -> Any:
        from bridge import sync_to_async

        return await sync_to_async(function, thread_sensitive=False, abandon_on_cancel=False)(*args)

    def pool(self, threads: int) -> Call:
        from bridge import ThreadPool, sync_to_async

        pool = ThreadPool(threads)
        return lambda function, *args: sync_to_async(function, thread_sensitive=False, pool=pool)(*args)

    def queue_of_one(self) -> Call:
        from bridge import ThreadPool, sync_to_async

        pool = ThreadPool(1, queue=1)
        return lambda function, *args: sync_to_async(function, thread_sensitive=False, pool=pool)(*args)

    def busy(self) -> int:
        from bridge.shim.to_async import default_pool

        return default_pool().stats().busy

    def from_anywhere(self, function: Call, *args: Any) -> Any:
        from bridge import async_to_sync

        return async_to_sync(function)(*args)

    from_thread = from_anywhere

    def iterate_in_thread(self, items: Any) -> Any:
        from bridge.shim import iterate_in_thread

        return iterate_in_thread(items)

    def iterate_on_loop(self, items: Any) -> Any:
        from bridge.shim import iterate_on_loop

        return iterate_on_loop(items)

    def entered_in_thread(self, manager: Any) -> Any:
        from bridge.shim import async_facade

        return async_facade(manager)

    def entered_on_loop(self, manager: Any) -> Any:
        from bridge.shim import sync_facade

        return sync_facade(manager)

    def facade(self, function: Call) -> Any:
        from bridge.shim import open_facade

        return open_facade(function)

    def blocking_facade(self, obj: Any) -> Any:
        from bridge.shim import sync_facade

        return sync_facade(obj)

    def decorator(self) -> tuple[Any, Any]:
        from bridge import async_to_sync, sync_to_async

        return sync_to_async, async_to_sync

    def blocked(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> str:
        from bridge.shim import detect_blocking

        found: list[Any] = []

        async def watched() -> None:
            with detect_blocking(report=found.append):
                await main()

        self.run(watched)
        return " ".join(map(str, found))

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        from bridge.shim import reports

        usual, reports.UNUSUAL = reports.UNUSUAL, 1.0
        try:
            yield
        finally:
            reports.UNUSUAL = usual


class Asgiref(Kit):
    name = "asgiref"

    async def in_thread(self, function: Call, *args: Any) -> Any:
        from asgiref.sync import sync_to_async

        return await sync_to_async(function, thread_sensitive=False)(*args)

    async def in_own_thread(self, function: Call, *args: Any) -> Any:
        from asgiref.sync import sync_to_async

        return await sync_to_async(function)(*args)

    by_default = in_own_thread

    def request(self) -> Any:
        from asgiref.sync import ThreadSensitiveContext

        return ThreadSensitiveContext()

    def pool(self, threads: int) -> Call:
        from asgiref.sync import sync_to_async

        executor = concurrent.futures.ThreadPoolExecutor(threads)
        return lambda function, *args: sync_to_async(function, thread_sensitive=False, executor=executor)(
            *args
        )

    def from_anywhere(self, function: Call, *args: Any) -> Any:
        from asgiref.sync import async_to_sync

        return async_to_sync(function)(*args)

    from_thread = from_anywhere

    @contextlib.contextmanager
    def portal(self) -> Iterator[Call]:
        from asgiref.sync import AsyncSingleThreadContext

        with AsyncSingleThreadContext():  # type: ignore[no-untyped-call]
            yield self.from_anywhere

    def decorator(self) -> tuple[Any, Any]:
        from asgiref.sync import async_to_sync, sync_to_async

        return sync_to_async, async_to_sync

    def local(self) -> Any:
        from asgiref.local import Local

        return Local()


class AnyIO(Kit):
    name = "anyio"

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        import anyio

        return anyio.run(main)

    async def in_thread(self, function: Call, *args: Any) -> Any:
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True)

    async def by_default(self, function: Call, *args: Any) -> Any:
        import anyio.to_thread

        return await anyio.to_thread.run_sync(function, *args)

    to_the_end = by_default

    def was_cancelled(self) -> bool:
        import anyio.from_thread

        try:
            anyio.from_thread.check_cancelled()
        except BaseException:
            return True
        return False

    def pool(self, threads: int) -> Call:
        import anyio
        import anyio.to_thread

        limiter = anyio.CapacityLimiter(threads)
        return lambda function, *args: anyio.to_thread.run_sync(
            function, *args, limiter=limiter, abandon_on_cancel=True
        )

    def busy(self) -> int:
        import anyio.to_thread

        return anyio.to_thread.current_default_thread_limiter().statistics().borrowed_tokens

    async def in_process(self, function: Call, *args: Any) -> Any:
        import anyio.to_process

        return await anyio.to_process.run_sync(function, *args)

    async def when_running(
        self, main: Callable[[], Coroutine[Any, Any, Any]], running: threading.Event
    ) -> None:
        import anyio

        async with anyio.create_task_group() as group:
            group.start_soon(main)
            while not running.is_set():
                await anyio.sleep(0.005)
            group.cancel_scope.cancel()

    def from_thread(self, function: Call, *args: Any) -> Any:
        import anyio.from_thread

        return anyio.from_thread.run(function, *args)

    def from_anywhere(self, function: Call, *args: Any) -> Any:
        import anyio

        return anyio.run(function, *args)

    @contextlib.contextmanager
    def portal(self) -> Iterator[Call]:
        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            yield portal.call

    def entered_on_loop(self, manager: Any) -> Any:
        from anyio.from_thread import start_blocking_portal

        @contextlib.contextmanager
        def entered() -> Iterator[Any]:
            with start_blocking_portal() as portal, portal.wrap_async_context_manager(manager) as target:
                yield target

        return entered()


class Asyncio(Kit):
    name = "asyncio"
    finds_loop = False

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop

    async def in_thread(self, function: Call, *args: Any) -> Any:
        self._loop = asyncio.get_running_loop()
        return await asyncio.to_thread(function, *args)

    def pool(self, threads: int) -> Call:
        executor = concurrent.futures.ThreadPoolExecutor(threads)

        async def call(function: Call, *args: Any) -> Any:
            self._loop = asyncio.get_running_loop()
            return await self._loop.run_in_executor(executor, function, *args)

        return call

    async def in_process(self, function: Call, *args: Any) -> Any:
        with concurrent.futures.ProcessPoolExecutor(1) as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, function, *args)

    def from_thread(self, function: Call, *args: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(function(*args), self._loop).result()

    def from_anywhere(self, function: Call, *args: Any) -> Any:
        return asyncio.run(function(*args))

    @contextlib.contextmanager
    def portal(self) -> Iterator[Call]:
        """A loop in a thread of the caller's own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield lambda function, *args: asyncio.run_coroutine_threadsafe(function(*args), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def blocked(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> str:
        with logged("asyncio") as records:
            asyncio.run(main(), debug=True)
        return " ".join(record.getMessage() for record in records)


KITS: dict[str, type[Kit]] = {kit.name: kit for kit in (Bridge, Asgiref, AnyIO, Asyncio)}


@contextlib.contextmanager
def logged(name: str) -> Iterator[list[logging.LogRecord]]:
    """The records of a logger."""
    records: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keeping()
    logging.getLogger(name).addHandler(handler)
    try:
        yield records
    finally:
        logging.getLogger(name).removeHandler(handler)


def require(kit: Kit, *names: str) -> None:
    """Raise `NotOffered` here, where the call would raise it in a task or a thread."""
    if any(getattr(type(kit), name) is getattr(Kit, name) for name in names):
        raise NotOffered


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def until(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.005)


# --- into threads

INTO = "Blocking functions from async code"


@probe(INTO, "context variables go in")
def context_in(kit: Kit) -> bool:
    async def main() -> bool:
        variable.set("caller's")
        return bool(await kit.in_thread(variable.get) == "caller's")

    return bool(kit.run(main))


@probe(INTO, "… and what the function sets comes back")
def context_back(kit: Kit) -> bool:
    async def main() -> bool:
        await kit.in_thread(variable.set, "function's")
        return variable.get() == "function's"

    return bool(kit.run(main))


@probe(INTO, "in an `except` block, `sys.exc_info()` is the caller's")
def exc_info(kit: Kit) -> bool:
    async def main() -> bool:
        try:
            raise ValueError("planned")
        except ValueError as error:
            return await kit.in_thread(lambda: sys.exc_info()[1]) is error

    return bool(kit.run(main))


@probe(INTO, "a function that raises `StopIteration` is an error, not a hang")
def stop_iteration(kit: Kit) -> bool:
    async def main() -> bool:
        try:
            await kit.in_thread(next, iter(()))
        except Exception:
            return True
        return False

    return bool(kit.run(main))


@probe(INTO, "`SystemExit` and `KeyboardInterrupt` reach the caller, and the worker works on")
def base_exceptions(kit: Kit) -> bool:
    def fail(error: BaseException) -> None:
        raise error

    async def main() -> bool:
        call = kit.pool(1)
        for error in (SystemExit("planned"), KeyboardInterrupt("planned")):
            try:
                await call(fail, error)
            except BaseException as caught:
                if caught is not error:
                    return False
        return bool(await call(len, "abc") == 3)

    return bool(kit.run(main))


@probe(INTO, "cancelled before its turn, the function never runs")
def cancelled_in_queue(kit: Kit) -> bool:
    ran: list[str] = []
    occupied, release = threading.Event(), threading.Event()

    def occupy() -> None:
        occupied.set()
        release.wait(comparison.limit)

    async def main() -> bool:
        call = kit.pool(1)
        asked = threading.Event()

        async def queued() -> None:
            asked.set()
            await call(ran.append, "it runs")

        first = asyncio.ensure_future(call(occupy))
        try:
            await until(occupied)
            await kit.when_running(queued, asked)
        finally:
            release.set()
        await first
        await call(len, "")
        return not ran

    return bool(kit.run(main))


@probe(INTO, "cancelled while it runs, the task can end at once")
def cancelled_running(kit: Kit) -> bool:
    running, release = threading.Event(), threading.Event()

    def function() -> None:
        running.set()
        release.wait(comparison.limit)

    async def main() -> bool:
        try:
            await kit.when_running(lambda: kit.in_thread(function), running)
            return not release.is_set()
        finally:
            release.set()

    return bool(kit.run(main))


@probe(INTO, "… or wait for the function, if that is asked for")
def cancelled_and_waiting(kit: Kit) -> bool:
    require(kit, "to_the_end")
    running, ended = threading.Event(), threading.Event()

    def function() -> None:
        running.set()
        time.sleep(0.2)
        ended.set()

    async def main() -> bool:
        await kit.when_running(lambda: kit.to_the_end(function), running)
        return ended.is_set()

    return bool(kit.run(main))


@probe(INTO, "… which can ask whether it is still wanted")
def asking(kit: Kit) -> bool:
    require(kit, "was_cancelled")
    running = threading.Event()
    found: list[bool] = []

    def function() -> None:
        running.set()
        deadline = time.monotonic() + comparison.limit / 2
        while time.monotonic() < deadline and not found:
            found.extend([True] if kit.was_cancelled() else [])
            time.sleep(0.01)

    async def main() -> bool:
        await kit.when_running(lambda: kit.to_the_end(function), running)
        return bool(found)

    return bool(kit.run(main))


@probe(INTO, "cancelled while it waits for a coroutine, that is cancelled")
def cancelled_inside(kit: Kit) -> bool:
    running, told = threading.Event(), threading.Event()

    async def for_ever() -> None:
        running.set()
        try:
            await asyncio.sleep(comparison.limit)
        except BaseException:
            told.set()
            raise

    async def main() -> bool:
        await kit.when_running(lambda: kit.by_default(kit.from_thread, for_ever), running)
        return told.is_set()

    return bool(kit.run(main))


@probe(INTO, "functions that are bound to a thread run in that of the blocking code further up")
def waiting_thread(kit: Kit) -> bool:
    async def main() -> Any:
        return await kit.in_own_thread(threading.get_ident)

    return bool(kit.from_anywhere(main) == threading.get_ident())


@probe(INTO, "… or in one for each request")
def thread_of_request(kit: Kit) -> bool:
    meeting = threading.Barrier(2, timeout=comparison.limit / 2)

    def function() -> int:
        meeting.wait()
        return threading.get_ident()

    async def request() -> set[int]:
        async with kit.request():
            return {await kit.in_own_thread(function) for _ in range(3)}

    async def main() -> bool:
        one, other = await asyncio.gather(request(), request())
        return len(one) == len(other) == 1 and one != other

    return bool(kit.run(main))


@probe(INTO, "a limit of its own for one kind of call")
def own_limit(kit: Kit) -> bool:
    lock, meeting = threading.Lock(), threading.Barrier(2, timeout=comparison.limit / 2)
    now: list[int] = []
    most: list[int] = []

    def function() -> None:
        with lock:
            now.append(1)
            most.append(len(now))
        meeting.wait()
        time.sleep(0.02)
        with lock:
            now.pop()

    async def main() -> bool:
        call = kit.pool(2)
        await asyncio.gather(*(call(function) for _ in range(6)))
        return max(most) == 2

    return bool(kit.run(main))


@probe(INTO, "… and for how many may wait, or for how long: an error, not an endless queue")
def bounded_queue(kit: Kit) -> bool:
    release = threading.Event()

    async def main() -> bool:
        call = kit.queue_of_one()
        tasks = [asyncio.ensure_future(call(release.wait, comparison.limit)) for _ in range(3)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        release.set()
        failed = [type(each.exception()).__name__ for each in done]
        await asyncio.gather(*tasks, return_exceptions=True)
        return failed == ["PoolFull"]

    return bool(kit.run(main))


@probe(INTO, "how many threads are busy can be asked")
def statistics(kit: Kit) -> bool:
    running, release = threading.Event(), threading.Event()

    def function() -> None:
        running.set()
        release.wait(comparison.limit)

    require(kit, "busy")

    async def main() -> bool:
        task = asyncio.ensure_future(kit.in_thread(function))
        await until(running)
        deadline = time.monotonic() + comparison.limit / 2
        while kit.busy() != 1 and time.monotonic() < deadline:  # a worker may be late in saying that it rests
            await asyncio.sleep(0.01)
        busy = kit.busy()
        release.set()
        await task
        return busy == 1

    return bool(kit.run(main))


def double(number: int) -> int:
    return 2 * number


@probe(INTO, "a function can run in another process")
def other_process(kit: Kit) -> bool:
    async def main() -> bool:
        return bool(await kit.in_process(double, 21) == 42)

    return bool(kit.run(main))


# --- out of threads

OUT = "Async functions from blocking code"


@probe(OUT, "context variables go in")
def context_in_coroutine(kit: Kit) -> bool:
    async def look() -> str:
        return variable.get()

    def function() -> bool:
        variable.set("caller's")
        return bool(kit.from_thread(look) == "caller's")

    return bool(kit.run(lambda: kit.in_thread(function)))


@probe(OUT, "… and what the coroutine sets comes back")
def context_of_coroutine(kit: Kit) -> bool:
    async def set_it() -> None:
        variable.set("coroutine's")

    def function() -> bool:
        kit.from_thread(set_it)
        return variable.get() == "coroutine's"

    return bool(kit.run(lambda: kit.in_thread(function)))


@probe(OUT, "in an `except` block, `sys.exc_info()` is the caller's")
def exc_info_of_coroutine(kit: Kit) -> bool:
    async def look() -> BaseException | None:
        return sys.exc_info()[1]

    def function() -> bool:
        try:
            raise ValueError("planned")
        except ValueError as error:
            return kit.from_thread(look) is error

    return bool(kit.run(lambda: kit.in_thread(function)))


@probe(OUT, "`SystemExit` of the coroutine reaches the caller, and the loop runs on")
def coroutine_exits(kit: Kit) -> bool:
    async def fail() -> None:
        raise SystemExit("planned")

    def function() -> str:
        try:
            kit.from_thread(fail)
        except SystemExit:
            return "caught"
        return "nothing"

    async def main() -> bool:
        return bool(await kit.in_thread(function) == "caught")

    try:
        return bool(kit.run(main))
    except SystemExit:  # out of the loop
        return False


@probe(OUT, "in a function that a task awaits, the loop of that task is found")
def loop_of_task(kit: Kit) -> bool:
    async def main() -> bool:
        return await kit.in_thread(kit.from_thread, running_loop) is asyncio.get_running_loop()

    return kit.finds_loop and bool(kit.run(main))


@probe(OUT, "… by asgiref's `async_to_sync`, which Django and Flask call")
def found_by_asgiref(kit: Kit) -> bool:
    from asgiref.sync import async_to_sync

    async def main() -> bool:
        return await kit.in_thread(async_to_sync(running_loop)) is asyncio.get_running_loop()

    return bool(kit.run(main))


@probe(OUT, "… by `anyio.from_thread.run`")
def found_by_anyio(kit: Kit) -> bool:
    import anyio.from_thread

    async def main() -> bool:
        return await kit.in_thread(anyio.from_thread.run, running_loop) is asyncio.get_running_loop()

    return bool(kit.run(main))


@probe(OUT, "where no loop is: the same one each time, so that a client keeps its connections")
def same_loop(kit: Kit) -> bool:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        async def connect() -> Any:
            return await asyncio.open_connection("127.0.0.1", server.getsockname()[1])

        async def ask(reader: Any, writer: Any) -> Any:
            writer.write(b"ping")
            await writer.drain()
            return await asyncio.wait_for(reader.readexactly(4), comparison.limit / 2)

        async def close(writer: Any) -> None:
            writer.close()

        with kit.portal() as call:
            reader, writer = call(connect)
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"pong")
                answer = call(ask, reader, writer)
                call(close, writer)
    return bool(answer == b"pong")


@probe(OUT, "… for several threads at a time")
def same_loop_for_threads(kit: Kit) -> bool:
    arrived: list[Any] = []

    async def meet() -> None:
        arrived.append(asyncio.get_running_loop())
        while len(arrived) < 3:
            await asyncio.sleep(0.005)

    with kit.portal() as call:
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=context.copy().run, args=(call, meet), daemon=True) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + comparison.limit / 2
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
    return len(arrived) == 3 and len(set(arrived)) == 1


@probe(OUT, "… with nothing that the caller has to keep and to close")
def nothing_to_keep(kit: Kit) -> bool:
    return kit.from_anywhere(running_loop) is kit.from_anywhere(running_loop)


@probe(OUT, "… where a task that a call has started goes on")
def late_task(kit: Kit) -> bool:
    finished = threading.Event()
    tasks = []

    async def work() -> None:
        await asyncio.sleep(0.1)
        finished.set()

    async def start() -> None:
        tasks.append(asyncio.create_task(work()))

    with kit.portal() as call:
        call(start)
        return finished.wait(comparison.limit / 2)


@probe(OUT, "Ctrl+C while the thread waits cancels the coroutine")
def interrupted(kit: Kit) -> bool:
    cancelled = threading.Event()

    async def main() -> None:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(2 * comparison.limit)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    try:
        kit.from_anywhere(main)
    except KeyboardInterrupt:
        return cancelled.wait(comparison.limit / 2)
    return False


# --- waits that do not end

WAITS = "Deadlocks and delays"


@probe(WAITS, "eight levels of async code in blocking code in async code, all bound to one thread")
def nested(kit: Kit) -> bool:
    return nest(kit, kit.in_own_thread)


@probe(WAITS, "… in a pool of one worker")
def nested_in_pool(kit: Kit) -> bool:
    return nest(kit, kit.pool(1))


def nest(kit: Kit, call: Call) -> bool:
    def down(depth: int) -> str:
        return str(kit.from_thread(further, depth)) if depth else "bottom"

    async def further(depth: int) -> Any:
        return await call(down, depth - 1)

    return bool(kit.run(lambda: further(8)) == "bottom")


@probe(WAITS, "waiting for a coroutine in the thread of its loop is an error, not a deadlock")
def refused(kit: Kit) -> bool:
    async def main() -> bool:
        await kit.in_thread(len, "")
        try:
            kit.from_thread(asyncio.sleep, 0)
        except RuntimeError:
            return True
        return False

    return bool(kit.run(main))


@probe(WAITS, "a loop that is stopped and closed ends the waits for it")
def loop_gone(kit: Kit) -> bool:
    waiting, ended = threading.Event(), threading.Event()

    async def for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def function() -> None:
        try:
            kit.from_thread(for_ever)
        except BaseException:
            pass
        finally:
            ended.set()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # the task is destroyed while it is pending
    task = loop.create_task(kit.in_thread(function))
    loop.run_until_complete(until(waiting))
    loop.close()
    return ended.wait(comparison.limit * 0.8) and not task.done()


@probe(WAITS, "waits that last unusually long are logged, with the stacks of both sides")
def reported(kit: Kit) -> bool:
    async def nothing() -> None:
        pass

    def waiting_function() -> None:
        begun.set()
        time.sleep(0.1)
        kit.from_thread(nothing)

    def blocking_function() -> None:
        deadline = time.monotonic() + comparison.limit / 2
        while time.monotonic() < deadline and not records:
            time.sleep(0.05)

    async def main() -> None:
        task = asyncio.ensure_future(kit.in_thread(waiting_function))
        await until(begun)
        blocking_function()
        await task

    begun = threading.Event()
    with kit.impatient(), logged("bridge") as records:
        kit.run(main)
    said = "".join(record.getMessage() for record in records)
    return "in waiting_function" in said and "in blocking_function" in said


@probe(WAITS, "a call that blocks the loop is found, with its file and line")
def blocks(kit: Kit) -> bool:
    def blocking_function() -> None:
        time.sleep(0.6)

    async def main() -> None:
        await asyncio.sleep(0.01)
        blocking_function()
        await asyncio.sleep(0.01)

    line = blocking_function.__code__.co_firstlineno + 1
    return f"_compare_shim.py:{line}" in kit.blocked(main)


# --- more than functions

MORE = "Iterators, context managers, objects"


@probe(MORE, "a decorator of functions and methods, both ways")
def decorators(kit: Kit) -> bool:
    to_async, to_sync = kit.decorator()

    class Shop:
        def __init__(self) -> None:
            self.name = "shop"

        @to_async  # type: ignore[untyped-decorator]
        def blocking(self, suffix: str) -> str:
            return self.name + suffix

        @to_sync  # type: ignore[untyped-decorator]
        async def asynchronous(self, suffix: str) -> str:
            return self.name + suffix

    return bool(kit.run(lambda: Shop().blocking("!")) == Shop().asynchronous("!") == "shop!")


@probe(MORE, "a generator is an async iterator, never far ahead of its reader")
def streamed(kit: Kit) -> bool:
    made = []

    def numbers() -> Iterator[int]:
        for number in range(10_000):
            made.append(number)
            yield number

    async def main() -> bool:
        items = kit.iterate_in_thread(numbers())
        found = [await items.__anext__() for _ in range(3)]
        await asyncio.sleep(0.2)
        await items.aclose()  # type: ignore[attr-defined]
        return found == [0, 1, 2] and len(made) < 100

    return bool(kit.run(main))


@probe(MORE, "… and, left early, closed in the thread in which it ran")
def closed_where_it_ran(kit: Kit) -> bool:
    threads = []

    def numbers() -> Iterator[int]:
        threads.append(threading.get_ident())
        try:
            yield from range(10_000)
        finally:
            threads.append(threading.get_ident())

    async def main() -> bool:
        items = kit.iterate_in_thread(numbers())
        await items.__anext__()
        await items.aclose()  # type: ignore[attr-defined]
        return len(threads) == 2 and len(set(threads)) == 1 and threads[0] != threading.get_ident()

    return bool(kit.run(main))


@probe(MORE, "an async iterator in a `for` loop")
def blocking_iterator(kit: Kit) -> bool:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    return list(kit.iterate_on_loop(numbers())) == [0, 1, 2]


@probe(MORE, "a blocking context manager in `async with`")
def entered_in_thread(kit: Kit) -> bool:
    threads = []

    @contextlib.contextmanager
    def manager() -> Iterator[str]:
        threads.append(threading.get_ident())
        yield "target"
        threads.append(threading.get_ident())

    async def main() -> bool:
        async with kit.entered_in_thread(manager()) as target:
            pass
        return target == "target" and threads[0] == threads[1] != threading.get_ident()

    return bool(kit.run(main))


@probe(MORE, "an async context manager in `with`")
def entered_on_loop(kit: Kit) -> bool:
    tasks = []

    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[str]:
        tasks.append(asyncio.current_task())
        yield "target"
        tasks.append(asyncio.current_task())

    with kit.entered_on_loop(manager()) as target:
        pass
    return target == "target" and len(tasks) == 2


@probe(MORE, "a whole object whose methods are awaited, in a thread of its own")
def facade(kit: Kit) -> bool:
    import sqlite3

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(":memory:")

    async def main() -> bool:
        async with kit.facade(connect) as database:
            await database.execute("CREATE TABLE lamps (price)")
            await database.executemany("INSERT INTO lamps VALUES (?)", [(1,), (2,)])
            return [row async for row in await database.execute("SELECT * FROM lamps")] == [(1,), (2,)]

    return bool(kit.run(main))


@probe(MORE, "… and one whose async methods block")
def blocking_facade(kit: Kit) -> bool:
    class Client:
        async def get(self, path: str) -> str:
            await asyncio.sleep(0)
            return path

        async def lines(self) -> AsyncIterator[str]:
            yield "one"

    client = kit.blocking_facade(Client())
    return client.get("/") == "/" and list(client.lines()) == ["one"]


@probe(MORE, "a `Local`: attributes for threads and tasks alike")
def local(kit: Kit) -> bool:
    values = kit.local()

    async def main() -> bool:
        values.name = "task's"
        return bool(await kit.by_default(lambda: values.name) == "task's")

    return bool(kit.run(main))


# --- surroundings

WHERE = "Surroundings"


@probe(WHERE, "trio, both ways")
def on_trio(kit: Kit) -> bool:
    import trio

    if isinstance(kit, (Asgiref, Asyncio)):
        raise NotOffered

    async def main() -> bool:
        return bool(await kit.in_thread(kit.from_thread, trio.sleep, 0) is None)

    return bool(trio.run(main))


@probe(WHERE, "gevent: greenlets wait for coroutines, side by side")
def under_gevent(kit: Kit) -> bool:
    return apart(
        kit,
        """
from gevent import monkey
monkey.patch_all()
import gevent, asyncio, time
""",
        """
async def slow(number):
    await asyncio.sleep(0.2)
    return number
with kit.portal() as call:
    greenlets = [gevent.spawn(call, slow, number) for number in range(5)]
    gevent.joinall(greenlets, raise_error=True)
assert [each.value for each in greenlets] == [0, 1, 2, 3, 4]
""",
    )


def apart(kit: Kit, first: str, then: str) -> bool:
    """Whether this runs well in a process of its own: `first`, before this module is imported, and `then`."""
    code = (
        f"import sys; sys.path.append({str(DOCS)!r})\n{first}\n"
        f"import _compare_shim as c; kit = c.KITS[{kit.name!r}]()\n{then}\nprint('yes')"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            timeout=comparison.limit * 0.7,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and done.stdout.strip() == "yes"


@probe(WHERE, "in a forked child: blocking functions from async code")
def forked(kit: Kit) -> bool:
    async def main() -> Any:
        return await kit.by_default(len, "abc")

    kit.run(main)
    return in_child(lambda: kit.run(main) == 3)


@probe(WHERE, "… and async functions from blocking code")
def forked_out(kit: Kit) -> bool:
    async def main() -> int:
        return 3

    kit.from_anywhere(main)
    return in_child(lambda: kit.from_anywhere(main) == 3)


def in_child(ask: Callable[[], bool]) -> bool:
    """The answer of a forked child."""
    child = os.fork()
    if child == 0:
        answer = False
        try:
            answer = ask()
        finally:
            os._exit(0 if answer else 1)
    for _ in range(int(comparison.limit * 40)):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@probe(WHERE, "a function that is stuck does not hold up the exit of the process")
def stuck(kit: Kit) -> bool:
    return apart(
        kit,
        "",
        """
import threading, time
running = threading.Event()
def function():
    running.set()
    time.sleep(1000)
async def main():
    await kit.when_running(lambda: kit.in_thread(function), running)
kit.run(main)
""",
    )


# --- asking


def ask(library: str, name: str) -> str:
    """The answer of one library to one probe, in this process, which ends if it does not come."""
    warnings.simplefilter("ignore")
    timer = threading.Timer(comparison.limit, os._exit, (HUNG,))
    timer.daemon = True
    timer.start()
    try:
        return "yes" if PROBES[name].ask(KITS[library]()) else "no"
    except NotOffered:
        return "absent"
    except ImportError:
        raise  # that is no answer
    except (Exception, AssertionError):
        return "no"
    finally:
        timer.cancel()


if __name__ == "__main__":
    comparison.main(__doc__.partition("\n")[0], f"Asked of {versions('asgiref', 'anyio')}", ask)
