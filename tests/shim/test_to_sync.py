"""`async_to_sync` as its users see it: its forms, the loop it runs on, what crosses, what ends its wait."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import get_ident
from typing import Any

import pytest
import trio
from asgiref.sync import SyncToAsync as AsgirefSyncToAsync
from asgiref.sync import iscoroutinefunction
from support.drive import TIMEOUT, Exchange, Signal, checkpoint, run, serve, together
from support.engines import PATIENCE, Thread, eventually, script
from support.scopes import http_scope
from support.shim_calls import ERRORS, PATIENT

from bridge import ThreadPool, WSGIToASGI, async_to_sync, sync_to_async
from bridge.exceptions import LoopGone, UnsuitableFunction, UsageError, WouldDeadlock

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def in_thread(function: Callable[[], Any]) -> Any:
    """What a function returns in a plain thread of its own; fails if it hangs."""
    return Thread(function).outcome()


def running() -> object:
    """What runs the calling task."""
    if trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


async def where() -> tuple[object, int]:
    """The loop of the caller, and its thread."""
    return running(), get_ident()


# -- forms


async def add(first: int, second: int = 10, *, third: int = 100) -> int:
    """Add three numbers."""
    await checkpoint()
    return first + second + third


add.note = "an attribute"  # type: ignore[attr-defined]


@async_to_sync
async def plain_decorator(first: int) -> int:
    """Of a decorated function."""
    return first + 1


@async_to_sync(force_new_loop=True)
async def decorator_with_options(first: int) -> int:
    """Of another one."""
    return first + 1


class Client:
    """An object with async methods of every kind."""

    offset = 1

    @async_to_sync
    async def method(self, first: int) -> int:
        """Of a method."""
        return first + self.offset

    @async_to_sync(force_new_loop=True)
    async def method_with_options(self, first: int) -> int:
        """Of a method."""
        return first + self.offset

    @classmethod
    async def of_the_class(cls, first: int) -> int:
        """Of a class method."""
        return first + cls.offset

    @staticmethod
    @async_to_sync
    async def static(first: int) -> int:
        """Of a static method."""
        return first + 1

    async def asynchronous(self, first: int) -> int:
        """Of a bound method."""
        return first + self.offset

    async def __call__(self, first: int) -> int:
        """Of an object that can be called."""
        return first + self.offset


class Awaitable_:
    """Something to await that is no coroutine."""

    def __init__(self, result: int) -> None:
        self._result = result

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self._result


def gives_a_future(first: int) -> asyncio.Future[int]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(first + 1)
    return future


FORMS: dict[str, Callable[[int], int]] = {
    "function": async_to_sync(functools.partial(add, second=0, third=1)),
    "decorator": plain_decorator,
    "decorator with options": decorator_with_options,
    "method": Client().method,
    "method with options": Client().method_with_options,
    "method of the class": lambda first: Client.method(Client(), first),
    "class method": async_to_sync(Client.of_the_class),
    "static method": Client.static,
    "static method of an instance": Client().static,  # type: ignore[dict-item]  # mypy binds it
    "bound method": async_to_sync(Client().asynchronous),
    "callable object": async_to_sync(Client()),
    "function that returns a coroutine": async_to_sync(lambda first: add(first, 0, third=1)),
    "function that returns an awaitable": async_to_sync(lambda first: Awaitable_(first + 1)),
    "function that returns a future": async_to_sync(gives_a_future),
    "sync_to_async": async_to_sync(sync_to_async(lambda first: first + 1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_called(form: str) -> None:
    assert FORMS[form](1) == 2


def test_arguments_of_every_kind_arrive() -> None:
    async def function(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    names = ("awaitable", "args", "kwargs", "place", "function", "force_new_loop", "loop_factory")
    assert async_to_sync(function)(1, "two", **dict.fromkeys(names, 3)) == (
        (1, "two"),
        dict.fromkeys(names, 3),
    )


def test_it_looks_like_the_function() -> None:
    function = async_to_sync(add)
    names = [getattr(function, name) for name in ("__name__", "__qualname__", "__module__")]
    assert names == ["add", "add", add.__module__]
    assert function.__doc__ == "Add three numbers."
    assert list(inspect.signature(function).parameters) == ["first", "second", "third"]
    assert function.note == "an attribute"  # type: ignore[attr-defined]
    assert function.awaitable is add
    assert repr(function) == f"<async_to_sync of {__name__}.add>"


def test_a_method_looks_like_the_method() -> None:
    method = Client().method
    assert (method.__name__, method.__doc__) == ("method", "Of a method.")
    client = Client()
    assert async_to_sync(client.asynchronous).__self__ is client


@pytest.mark.parametrize("form", ["decorator", "method", "sync_to_async", "bound method"])
def test_it_is_no_coroutine_function(form: str) -> None:
    """Whatever was copied from the function that it wraps."""
    function = FORMS[form]
    assert not iscoroutinefunction(function)
    assert not inspect.iscoroutinefunction(function)


@pytest.mark.parametrize("function", [plain_decorator, Client.method], ids=["function", "method"])
def test_a_decorated_function_is_pickled_by_its_name_as_any_function(function: Any) -> None:
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_does_the_same(copied: Callable[[Any], Any]) -> None:
    assert copied(async_to_sync(Client().asynchronous))(1) == 2


@pytest.mark.parametrize("function", [5, "text"])
def test_what_cannot_be_called_is_refused(function: Any) -> None:
    with pytest.raises(UnsuitableFunction, match="expects an async function; got"):
        async_to_sync(function)


def test_a_coroutine_instead_of_its_function_is_refused() -> None:
    coroutine = add(1)
    with pytest.raises(
        UnsuitableFunction, match=r"got <coroutine .*call the result: async_to_sync\(function\)"
    ):
        async_to_sync(coroutine)  # type: ignore[call-overload]
    coroutine.close()


def test_an_async_generator_and_what_is_blocking_already_are_refused() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, functools.partial(numbers)):
        with pytest.raises(UnsuitableFunction, match=r"is an async generator; .*iterate_on_loop"):
            async_to_sync(function)  # type: ignore[arg-type]
    with pytest.raises(UnsuitableFunction, match="add is a result of async_to_sync already; call it"):
        async_to_sync(async_to_sync(add))  # type: ignore[arg-type]


def test_a_blocking_function_is_refused_when_it_is_called() -> None:
    with pytest.raises(TypeError, match="returned int, which cannot be awaited; call it directly"):
        async_to_sync(lambda: 5)()  # type: ignore[arg-type, return-value]


# -- loops


def test_plain_threads_share_one_loop_that_stays() -> None:
    """The same for two threads, and over time; in a thread of its own."""
    first, there = async_to_sync(where)()
    assert in_thread(async_to_sync(where)) == (first, there)
    assert async_to_sync(where)() == (first, there)
    assert there != get_ident()
    assert first.is_running()  # type: ignore[attr-defined]


def test_what_belongs_to_a_loop_survives_from_call_to_call() -> None:
    """A lock, a queue, a task: made in one call, used in the next, from another thread."""

    async def make() -> tuple[asyncio.Lock, asyncio.Queue[str], asyncio.Task[None]]:
        lock, queue = asyncio.Lock(), asyncio.Queue[str](1)
        await lock.acquire()

        async def feed() -> None:
            for word in ("one", "two", "three"):
                async with lock:
                    await queue.put(word)

        return lock, queue, asyncio.ensure_future(feed())

    lock, queue, task = async_to_sync(make)()

    async def take() -> list[str]:
        lock.release()
        return [await queue.get() for _ in range(3)]

    assert in_thread(async_to_sync(take)) == ["one", "two", "three"]

    async def end() -> bool:
        await task
        return task.done()

    assert async_to_sync(end)()


def test_an_http_clients_connections_survive_from_call_to_call() -> None:
    """Both requests go over one connection."""
    httpx2 = pytest.importorskip("httpx2")
    connections: list[int] = []

    async def serve_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def start() -> tuple[Any, Any]:
        return await asyncio.start_server(serve_two, "127.0.0.1", 0), httpx2.AsyncClient(trust_env=False)

    server, client = async_to_sync(start)()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        assert async_to_sync(client.get)(url).text == "ok"
        assert in_thread(lambda: async_to_sync(client.get)(url)).text == "ok"
        assert len(connections) == 1
    finally:
        async_to_sync(client.aclose)()

        async def stop() -> None:
            server.close()
            await server.wait_closed()

        async_to_sync(stop)()


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run there")
def test_a_loop_factory_has_a_loop_of_its_own_that_stays() -> None:
    import uvloop

    found, there = async_to_sync(where, loop_factory=uvloop.new_event_loop)()
    assert type(found).__module__.startswith("uvloop")
    assert in_thread(async_to_sync(where, loop_factory=uvloop.new_event_loop)) == (found, there)
    assert async_to_sync(where)()[0] is not found


def test_a_loop_factory_wins_over_the_loop_that_waits(loop: str) -> None:
    def factory() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    async def main() -> tuple[object, object]:
        there, _ = await sync_to_async(async_to_sync(where, loop_factory=factory))()
        return there, running()

    there, here = run(main, loop)
    assert there is not here
    assert there is async_to_sync(where, loop_factory=factory)()[0]


@pytest.mark.parametrize("factory", [lambda: 5, lambda: 1 / 0], ids=["returns nonsense", "raises"])
def test_a_factory_that_makes_no_loop_is_told(factory: Any) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="loop_factory"):
            async_to_sync(add, loop_factory=factory)(1)


def test_a_new_loop_ends_with_the_call(loop: str) -> None:
    before = set(threading.enumerate())

    async def main() -> tuple[Any, object]:
        there, _ = await sync_to_async(async_to_sync(where, force_new_loop=True))()
        return there, running()

    there, here = run(main, loop)
    assert there is not here
    plain, _ = async_to_sync(where, force_new_loop=True)()
    assert plain is not there
    eventually(there.is_closed)
    eventually(plain.is_closed)  # type: ignore[attr-defined]
    eventually(lambda: not [t for t in set(threading.enumerate()) - before if t.name == "bridge-loop"])


def test_tasks_that_a_new_loop_is_left_with_are_cancelled() -> None:
    ended: list[str] = []

    async def leaves_a_task() -> None:
        async def background() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        leaves_a_task.task = asyncio.ensure_future(background())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    async_to_sync(leaves_a_task, force_new_loop=True)()
    eventually(lambda: ended == ["cancelled"], f"the task was cancelled: {ended}")


@pytest.mark.parametrize("options", [{}, {"thread_sensitive": False}], ids=["sensitive", "pool"])
def test_in_a_function_that_is_awaited_it_runs_on_the_loop_that_awaits(
    loop: str, options: dict[str, Any]
) -> None:
    async def main() -> None:
        there = await sync_to_async(async_to_sync(where), **options)()
        assert there == (running(), get_ident())

    run(main, loop)


def test_in_a_worker_of_a_bridged_request_it_runs_on_the_servers_loop(loop: str) -> None:
    found: list[object] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        found.append(async_to_sync(where)())
        start_response("200 OK", [("Content-Length", "2")])

        def body() -> Iterator[bytes]:
            found.append(async_to_sync(where)())
            yield b"ok"

        return body()

    adapter = WSGIToASGI(app)

    async def main() -> None:
        exchange = Exchange(adapter, http_scope())
        await exchange.go()
        assert exchange.body == b"ok"
        assert found == [(running(), get_ident())] * 2

    run(main, loop)
    assert adapter.pool.close(PATIENCE)


def test_a_worker_that_has_served_a_request_has_no_loop_of_it_left(loop: str) -> None:
    """A pool that is shared with plain jobs: what runs there next is nobody's."""
    persistent, _ = async_to_sync(where)()
    with ThreadPool(1) as pool:

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            async_to_sync(where)()
            return []

        serve(WSGIToASGI(app, pool=pool), loop=loop)

        async def main() -> object:
            found = await sync_to_async(async_to_sync(where), thread_sensitive=False, pool=pool)()
            return found[0] is running()

        assert run(main)
    assert async_to_sync(where)()[0] is persistent


def test_after_a_nested_new_loop_the_one_that_waits_is_found_again(loop: str) -> None:
    """Also if code of asgiref's has run in between, which leaves the other one noted for the thread."""

    async def on_new_loop() -> None:
        await sync_to_async(get_ident)()
        if running() is asyncio._get_running_loop():
            await AsgirefSyncToAsync(get_ident)()

    def function() -> object:
        first = async_to_sync(where)()
        async_to_sync(on_new_loop, force_new_loop=True)()
        assert async_to_sync(where)() == first
        return first[0]

    async def main() -> None:
        assert await sync_to_async(function)() is running()
        assert await sync_to_async(function, thread_sensitive=False)() is running()

    run(main, loop)


def test_in_a_running_loop_it_is_refused_with_what_to_write(loop: str) -> None:
    async def main() -> None:
        for options in ({}, {"force_new_loop": True}, {"loop_factory": asyncio.new_event_loop}):
            with pytest.raises(WouldDeadlock, match=r"await add\(\.\.\.\)") as caught:
                async_to_sync(add, **options)(1)
            assert "await sync_to_async(function)(...)" in str(caught.value)
            assert isinstance(caught.value, RuntimeError)

    run(main, loop)


def test_in_a_loop_of_the_users_thread_it_is_refused_too() -> None:
    """Of `asyncio.run` in a function that a task awaits."""

    async def inner() -> None:
        async_to_sync(add)(1)

    with pytest.raises(WouldDeadlock):
        asyncio.run(sync_to_async(lambda: asyncio.run(inner()))())


def test_a_loop_that_is_gone_is_not_run_on() -> None:
    """A thread that outlives the loop that awaited it goes to the persistent one."""
    begun, go, found = Signal(), Signal(), []

    def function() -> None:
        begun.set()
        go.wait()
        found.append(async_to_sync(where)())

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(function, thread_sensitive=False)())
        await begun.come()
        assert not task.done()

    asyncio.run(main())
    go.set()
    eventually(lambda: found)
    assert found == [async_to_sync(where)()]


@pytest.mark.usefixtures("hasty")
def test_a_loop_that_is_closed_under_it_ends_the_wait() -> None:
    """The thread looks now and then."""
    began = Signal()

    async def waits() -> None:
        began.set()
        await asyncio.Event().wait()

    outcomes: list[BaseException] = []

    def function() -> None:
        try:
            async_to_sync(waits)()
        except BaseException as error:
            outcomes.append(error)

    event_loop = asyncio.new_event_loop()

    async def main() -> None:
        task = asyncio.ensure_future(sync_to_async(function, thread_sensitive=False)())
        await began.come()
        assert not task.done()
        main.tasks = asyncio.all_tasks()  # type: ignore[attr-defined]

    event_loop.run_until_complete(main())
    for task in main.tasks:  # type: ignore[attr-defined]
        task._log_destroy_pending = False  # as it is meant to be
    event_loop.close()
    eventually(lambda: outcomes)
    assert isinstance(outcomes[0], LoopGone)
    assert "waits" in str(outcomes[0])


# -- context


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("new", [False, True], ids=["persistent loop", "new loop"])
def test_context_variables_go_in_and_come_back(fails: bool, new: bool) -> None:
    async def function() -> str:
        seen = variable.get()
        await asyncio.sleep(0)
        variable.set("from the coroutine")
        if fails:
            raise KeyError(seen)
        return seen

    def caller() -> tuple[str, str]:
        variable.set("from the caller")
        try:
            seen = async_to_sync(function, force_new_loop=new)()
        except KeyError as error:
            seen = error.args[0]
        return seen, variable.get()

    assert contextvars.copy_context().run(caller) == ("from the caller", "from the coroutine")


def test_they_come_back_through_both(loop: str) -> None:
    async def main() -> list[str]:
        async def coroutine() -> None:
            seen.append(variable.get())
            variable.set("3")

        def function() -> None:
            seen.append(variable.get())
            variable.set("2")
            async_to_sync(coroutine)()
            seen.append(variable.get())

        seen: list[str] = []
        variable.set("1")
        await sync_to_async(function)()
        return [*seen, variable.get()]

    assert run(main, loop) == ["1", "2", "3", "3"]


def test_the_exception_being_handled_is_seen() -> None:
    async def info() -> object:
        await asyncio.sleep(0)
        return sys.exc_info()[1]

    mistake = ValueError("handled")
    try:
        raise mistake
    except ValueError:
        before = traceback.format_exc()
        assert async_to_sync(info)() is mistake
        assert traceback.format_exc() == before
    assert async_to_sync(info)() is None


# -- exceptions


@pytest.mark.parametrize("steps", [0, 1], ids=["at once", "later"])
@pytest.mark.parametrize("kind", ERRORS)
def test_the_very_exception_comes_back(kind: str, steps: int) -> None:
    """With a traceback that ends in the coroutine; the loop and the tasks of others go on."""
    error = ERRORS[kind]()

    async def raises_it() -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        raise error

    async def start() -> tuple[asyncio.Event, asyncio.Task[bool]]:
        event = asyncio.Event()
        return event, asyncio.ensure_future(event.wait())

    event, other = async_to_sync(start)()
    before = async_to_sync(where)()
    with pytest.raises(BaseException) as caught:
        async_to_sync(raises_it)()
    assert caught.value is error
    assert traceback.extract_tb(error.__traceback__)[-1].name == "raises_it"
    assert error.__context__ is None

    async def end() -> bool:
        event.set()
        return await other

    assert async_to_sync(end)()
    assert async_to_sync(where)() == before


@pytest.mark.parametrize("kind", ERRORS)
def test_it_goes_through_both_to_whoever_awaits(loop: str, kind: str) -> None:
    error = ERRORS[kind]()

    async def raises_it() -> None:
        raise error

    async def main() -> None:
        for options in ({}, {"thread_sensitive": False}):
            with pytest.raises(BaseException) as caught:
                await sync_to_async(async_to_sync(raises_it), **options)()  # type: ignore[call-overload]
            assert caught.value is error
        assert await sync_to_async(async_to_sync(add))(1) == 111

    run(main, loop)


def test_stop_iteration_is_what_python_makes_of_it() -> None:
    error = StopIteration("mine")

    async def raises_it() -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        async_to_sync(raises_it)()
    assert caught.value.__cause__ is error


def test_stop_iteration_of_the_call_itself_comes_back() -> None:
    """Not of a coroutine, but of the function that was to make one."""
    error = StopIteration("mine")

    def raises_it() -> Awaitable[None]:
        raise error

    with pytest.raises((StopIteration, RuntimeError)) as caught:
        async_to_sync(raises_it)()
    assert error in (caught.value, caught.value.__cause__)


@pytest.mark.usefixtures("no_collector")
def test_nothing_is_held_on_to() -> None:
    """Arguments, result and exception are freed at once."""

    class Argument: ...

    async def raises(argument: Argument) -> None:
        raise ValueError

    async def returns(argument: Argument) -> Argument:
        return argument

    refs = []
    for function in (raises, returns):
        argument = Argument()
        refs.append(weakref.ref(argument))
        try:
            async_to_sync(function)(argument)
        except ValueError:
            pass
        del argument
    eventually(lambda: not any(ref() for ref in refs), "nothing holds on")


# -- how the wait ends


def test_a_coroutine_that_is_cancelled_by_others_ends_the_wait() -> None:
    tasks: list[Any] = []
    began = Signal()

    async def waits() -> None:
        tasks.append(asyncio.current_task())
        began.set()
        await asyncio.Event().wait()

    thread = Thread(async_to_sync(waits))
    began.wait()

    async def cancel() -> None:
        tasks[0].cancel()

    async_to_sync(cancel)()
    with pytest.raises(asyncio.CancelledError):
        thread.outcome()


def test_ctrl_c_cancels_the_coroutine_and_awaits_its_clean_up() -> None:
    out = script(
        PATIENT
        + """
import asyncio, os, signal
from bridge import async_to_sync
async def waits():
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        print("cleaned up")
        raise
try:
    async_to_sync(waits)()
except KeyboardInterrupt:
    print("interrupted")
print(async_to_sync(asyncio.sleep)(0, "goes on"))
"""
    )
    assert out.splitlines() == ["cleaned up", "interrupted", "goes on"]


def test_a_function_that_stops_the_loop_stops_nobody_else() -> None:
    """The loop runs again, and what waits there goes on."""
    began, go = Signal(), Signal()

    async def waits() -> str:
        began.set()
        await go.come()
        return "done"

    async def stops() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    thread = Thread(async_to_sync(waits))
    began.wait()
    async_to_sync(stops)()
    go.set()
    assert thread.outcome() == "done"


def test_hundreds_of_threads_call_at_once() -> None:
    barrier = threading.Barrier(100)
    arrived = 0

    async def meet(number: int) -> int:
        nonlocal arrived
        arrived += 1
        await asyncio.sleep(0)
        return number

    def caller(number: int) -> Callable[[], int]:
        def call() -> int:
            barrier.wait(TIMEOUT)
            return sum(async_to_sync(meet)(number) for _ in range(3))

        return call

    threads = [Thread(caller(number)) for number in range(100)]
    assert [thread.outcome() for thread in threads] == [3 * number for number in range(100)]
    assert arrived == 300


def test_functions_that_wait_leave_the_loop_free(loop: str) -> None:
    """Twenty threads wait for coroutines that meet on the loop of the task that awaits them all."""

    async def main() -> None:
        arrived = 0
        all_here = Signal()

        async def meet() -> None:
            nonlocal arrived
            arrived += 1
            if arrived == 20:
                all_here.set()
            await all_here.come()

        await together(*[sync_to_async(async_to_sync(meet), thread_sensitive=False)] * 20)

    run(main, loop)


def test_a_call_while_the_module_of_the_loop_is_asked_for_the_first_time() -> None:
    """First calls of many threads at once share one loop."""
    out = script(
        """
import asyncio, threading
from bridge import async_to_sync
barrier, found = threading.Barrier(20), []
async def where():
    return asyncio.get_running_loop()
def call():
    barrier.wait(20)
    found.append(async_to_sync(where)())
threads = [threading.Thread(target=call) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join(20)
print(len(found), len(set(found)), [t.name for t in threading.enumerate() if t.name == "bridge-loop"])
"""
    )
    assert out == "20 1 ['bridge-loop']\n"


# -- the end of the process


def test_at_exit_the_loops_tasks_are_cancelled_and_its_generators_closed() -> None:
    out = script(
        PATIENT
        + """
import asyncio
from bridge import async_to_sync
kept = []
async def generator():
    try:
        yield 1
    finally:
        print("generator closed")
async def background():
    try:
        await asyncio.Event().wait()
    finally:
        print("task cancelled")
async def begin():
    kept.append(asyncio.ensure_future(background()))
    kept.append(generator())
    await kept[-1].__anext__()
    await asyncio.sleep(0)
async_to_sync(begin)()
print("at the end")
"""
    )
    assert out.splitlines() == ["at the end", "task cancelled", "generator closed"]


def test_the_interpreter_exits_although_threads_wait() -> None:
    """Daemons that wait for coroutines that never end."""
    out = script(
        """
import asyncio, threading
from bridge import async_to_sync
began = threading.Event()
async def never():
    began.set()
    await asyncio.Event().wait()
threading.Thread(target=async_to_sync(never), daemon=True).start()
began.wait(20)
print("at the end")
"""
    )
    assert out.splitlines()[0] == "at the end"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork there")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_loop_of_its_own() -> None:
    out = script(
        """
import asyncio, os, warnings
warnings.simplefilter("ignore")
from bridge import async_to_sync, sync_to_async
async def where():
    return id(asyncio.get_running_loop())
async def nested():
    return await sync_to_async(lambda: "nested", thread_sensitive=False)()
async def shared():
    return await asyncio.wait_for(sync_to_async(lambda: "shared")(), 10)
parent = async_to_sync(where)()
asyncio.run(shared())
pid = os.fork()
if pid == 0:
    code = 1
    try:
        mine = async_to_sync(where)()
        assert async_to_sync(where)() == mine
        assert async_to_sync(nested)() == "nested"
        assert asyncio.run(shared()) == "shared"
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert async_to_sync(where)() == parent
print("both")
"""
    )
    assert out == "both\n"
