"""asgiref's async_to_sync in a worker: on the server's own loop, with the contexts that it expects."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.local import Local
from asgiref.sync import AsyncToSync, SyncToAsync, async_to_sync, sync_to_async
from support.drive import Exchange, Signal, post, requests, run, serve, together
from support.engines import PATIENCE, Thread, script
from support.wsgi_apps import Adapt

from bridge import WSGIToASGI
from bridge.engines import asgiref_notes

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
on_asyncio = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def adapt() -> Iterator[Adapt]:
    """`WSGIToASGI`; after the test, each adapter's pool must come to rest."""
    made: list[WSGIToASGI] = []

    def make(app: Any, **options: Any) -> WSGIToASGI:
        made.append(WSGIToASGI(app, **options))
        return made[-1]

    yield make
    for adapter in made:
        assert adapter.pool.drain(PATIENCE), f"workers are stuck:\n{adapter.pool.dump(0.0)}"


def calling(function: Any) -> Any:
    """An app whose answer is `function(environ)`."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        result = str(function(environ)).encode()
        start_response("200 OK", [])
        return [result]

    return app


async def where() -> tuple[Any, int]:
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), threading.get_ident()


@on_asyncio
def test_async_to_sync_runs_on_the_servers_loop(adapt: Adapt, loop: str) -> None:
    """Not on a new one in a new thread."""
    seen: list[tuple[Any, int]] = []
    adapter = adapt(calling(lambda environ: seen.append(async_to_sync(where)())))

    async def main() -> None:
        (await Exchange(adapter).go()).unwrap()
        assert seen == [(asyncio.get_running_loop(), threading.get_ident())]

    run(main, loop)


@on_asyncio
def test_that_holds_in_generators_and_close(adapt: Adapt, loop: str) -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            for _ in range(2):
                seen.append(async_to_sync(where)()[0])
                yield b"x"
        finally:
            seen.append(async_to_sync(where)()[0])

    adapter = adapt(app)

    async def main() -> None:
        (await Exchange(adapter).go()).unwrap()
        assert seen == [asyncio.get_running_loop()] * 3

    run(main, loop)


@on_asyncio
def test_each_loop_in_turn_is_the_one_that_is_used(adapt: Adapt, loop: str) -> None:
    """A worker that has served a loop that is gone does not wait for it."""
    seen: list[Any] = []
    adapter = adapt(calling(lambda environ: seen.append(async_to_sync(where)()[0])), threads=1)
    loops: list[Any] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        (await Exchange(adapter).go()).unwrap()

    for _ in range(3):
        run(main, loop)
        run(main, "asyncio")
    assert seen == loops


def test_under_trio_async_to_sync_has_an_asyncio_loop_of_its_own(adapt: Adapt) -> None:
    """Also after the worker has served an asyncio loop."""
    seen: list[Any] = []
    adapter = adapt(calling(lambda environ: seen.append(async_to_sync(where)())), threads=1)
    for loop in ("trio", "asyncio", "trio"):
        serve(adapter, loop=loop).unwrap()
    assert len(seen) == 3
    assert len({id(found) for found, _ in seen}) == 3


def test_objects_of_the_loop_can_be_used_across_requests(adapt: Adapt) -> None:
    """As an `AsyncClient` or a pool of database connections: bound to the loop at first use."""
    lock = asyncio.Lock()

    async def use() -> str:
        async with lock:
            await asyncio.sleep(0)
            return "used"

    adapter = adapt(calling(lambda environ: async_to_sync(use)()))

    async def main() -> None:
        exchanges = [Exchange(adapter) for _ in range(10)]
        await together(*(exchange.go for exchange in exchanges))
        assert {exchange.unwrap().body for exchange in exchanges} == {b"used"}

    run(main)


def test_an_error_of_the_coroutine_comes_out(adapt: Adapt, loop: str) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("inside")

    done = serve(adapt(calling(lambda environ: async_to_sync(fails)())), loop=loop)
    assert isinstance(done.error, LookupError)


def test_the_loop_serves_others_while_the_coroutine_waits(adapt: Adapt) -> None:
    async def waits() -> str:
        await goes_on.come()
        return "done"

    goes_on = Signal()
    slow = Exchange(adapt(calling(lambda environ: async_to_sync(waits)())))
    quick = Exchange(adapt(calling(lambda environ: "quick")))

    async def client() -> None:
        assert (await quick.go()).unwrap().body == b"quick"
        goes_on.set()

    async def main() -> None:
        await together(slow.go, client)

    run(main)
    assert slow.unwrap().body == b"done"


def test_sync_to_async_inside_comes_back_to_the_workers_thread(adapt: Adapt) -> None:
    """asgiref's rule for thread-sensitive code: Django's ORM relies on it."""
    threads: list[int] = []

    async def mixed() -> None:
        threads.append(await sync_to_async(threading.get_ident)())

    def call(environ: Any) -> None:
        threads.append(threading.get_ident())
        async_to_sync(mixed)()

    serve(adapt(calling(call))).unwrap()
    assert threads[0] == threads[1]


def test_context_variables_go_in_and_out(adapt: Adapt, loop: str) -> None:
    """From ASGI middleware into a coroutine of the app, and from there to the middleware again."""

    async def coroutine() -> str:
        found = variable.get()
        variable.set("by the coroutine")
        return found

    adapter = adapt(calling(lambda environ: async_to_sync(coroutine)()))

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        variable.set("by middleware")
        await adapter(scope, receive, send)
        assert variable.get() == "by the coroutine"

    assert serve(middleware, loop=loop).unwrap().body == b"by middleware"


def test_an_asgiref_local_is_the_same_in_the_app_and_its_coroutines(adapt: Adapt, loop: str) -> None:
    """Django keeps the active language and much else in one."""
    local = Local()

    async def coroutine() -> str:
        found: str = local.value
        local.value = "by the coroutine"
        return found

    def call(environ: Any) -> str:
        local.value = "by the app"
        return f"{async_to_sync(coroutine)()}, {local.value}"

    done = serve(adapt(calling(call)), loop=loop).unwrap()
    assert done.body == b"by the app, by the coroutine"


def test_an_asgiref_local_does_not_leak_into_the_next_request(adapt: Adapt, loop: str) -> None:
    """Even in the same worker thread."""
    local = Local()

    def call(environ: Any) -> str:
        found: str = getattr(local, "value", "none")
        local.value = "leaked"
        return found

    adapter = adapt(calling(call), threads=1)
    assert [serve(adapter, loop=loop).unwrap().body for _ in range(2)] == [b"none"] * 2


def test_a_body_can_be_read_inside_a_coroutine_of_the_loop_only_when_it_is_there(adapt: Adapt) -> None:
    """The usual case: the body is in the pre-buffer, so reading it does not wait for the loop."""

    def call(environ: Any) -> str:
        async def read() -> bytes:
            data: bytes = environ["wsgi.input"].read()
            return data

        return async_to_sync(read)().decode()

    assert serve(adapt(calling(call)), post(), requests(b"a", b"b")).unwrap().body == b"ab"


def test_the_note_is_what_asgiref_reads_and_for_one_thread() -> None:
    asgiref_notes.prepare()
    found: list[Any] = []

    def probe() -> None:
        for loop in ("first", "second", None):
            asgiref_notes.enter(loop)
            noted = SyncToAsync.threadlocal
            found.append((noted.main_event_loop, noted.main_event_loop_pid))

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    assert found == [("first", os.getpid()), ("second", os.getpid()), (None, os.getpid())]
    assert getattr(SyncToAsync.threadlocal, "main_event_loop", "absent") not in ("first", "second")


# -- reading and restoring the notes


def in_new_context(function: Any) -> Any:
    return contextvars.Context().run(function)


def test_the_noted_loop_is_the_one_of_this_process() -> None:
    asgiref_notes.prepare()

    def look() -> Any:
        seen = [asgiref_notes.noted_loop()]
        for note in (("loop", os.getpid()), ("loop", os.getpid() + 1), ("loop", None), (None, os.getpid())):
            asgiref_notes.restore_note((*note, None))
            seen.append(asgiref_notes.noted_loop())
        return seen

    assert Thread(look).outcome() == [None, "loop", None, None, None]


def test_a_note_can_be_left_as_it_was() -> None:
    asgiref_notes.prepare()

    def look() -> Any:
        none = asgiref_notes.note_of_loop()
        asgiref_notes.enter("outer")
        note = asgiref_notes.note_of_loop()
        asgiref_notes.enter("inner")
        asgiref_notes.restore_note(note)
        seen = [asgiref_notes.noted_loop()]
        asgiref_notes.restore_note(none)
        return [*seen, asgiref_notes.noted_loop(), none]

    assert Thread(look).outcome() == ["outer", None, (None, None, None)]


def test_before_asgiref_was_needed_there_are_no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And asking for them does not import it."""
    monkeypatch.setattr(asgiref_notes, "threadlocal", None)
    monkeypatch.setattr(asgiref_notes, "variable", None)
    monkeypatch.setattr(asgiref_notes, "_executors", None)
    assert asgiref_notes.noted_loop() is None
    assert asgiref_notes.waiting_thread() is None
    assert not asgiref_notes.is_noted()


def test_asking_does_not_import_asgiref() -> None:
    script(
        """
import sys
from bridge.engines import asgiref_notes, hosts
assert hosts.innermost_host() is None
assert asgiref_notes.noted_loop() is None
assert "asgiref.sync" not in sys.modules
asgiref_notes.prepare()
assert "asgiref.sync" in sys.modules
"""
    )


def test_the_variable_behind_the_note_is_known_in_this_version() -> None:
    """Otherwise each look goes through asgiref's Local, which costs more than the rest of a call."""
    asgiref_notes.prepare()
    assert isinstance(asgiref_notes.variable, contextvars.ContextVar)


@pytest.fixture(params=["variable", "local"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to the note: the variable, and asgiref's Local where that has another inside."""
    asgiref_notes.prepare()
    if request.param == "local":
        monkeypatch.setattr(asgiref_notes, "variable", None)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_the_waiting_thread_that_we_note_is_the_one_that_asgiref_finds() -> None:
    def check() -> Any:
        executor = object()
        before = asgiref_notes.waiting_thread()
        asgiref_notes.note_waiting_thread(executor)
        found = getattr(AsyncToSync.executors, "current", None)
        ours = asgiref_notes.waiting_thread()
        asgiref_notes.note_waiting_thread(None)
        return before, found is executor, ours is executor, asgiref_notes.waiting_thread()

    assert in_new_context(check) == (None, True, True, None)


@pytest.mark.usefixtures("way")
def test_the_waiting_thread_that_asgiref_notes_is_the_one_that_we_find() -> None:
    def check() -> bool:
        executor = object()
        AsyncToSync.executors.current = executor
        return asgiref_notes.waiting_thread() is executor

    assert in_new_context(check)


def test_a_note_that_says_that_nobody_waits_is_a_note() -> None:
    asgiref_notes.prepare()

    def check() -> Any:
        seen = [asgiref_notes.is_noted()]
        asgiref_notes.note_waiting_thread(None)
        return [*seen, asgiref_notes.is_noted(), asgiref_notes.waiting_thread()]

    assert in_new_context(check) == [False, True, None]


@pytest.mark.usefixtures("way")
def test_we_find_in_an_inherited_context_what_asgiref_finds_there() -> None:
    """Where notes are tagged with their thread, a thread that merely has a copy of the context has none."""

    def check() -> bool:
        executor = object()
        asgiref_notes.note_waiting_thread(executor)
        context = contextvars.copy_context()

        def there() -> bool:
            return asgiref_notes.waiting_thread() is getattr(AsyncToSync.executors, "current", None)

        return bool(Thread(lambda: context.run(there)).outcome())

    assert in_new_context(check)


def test_the_values_of_older_versions_are_dictionaries(monkeypatch: pytest.MonkeyPatch) -> None:
    asgiref_notes.prepare()
    monkeypatch.setattr(asgiref_notes, "_storage", None)

    def check() -> Any:
        executor = object()
        asgiref_notes.note_waiting_thread(executor)
        assert asgiref_notes.variable is not None
        value: Any = asgiref_notes.variable.get()
        asgiref_notes.variable.set({"other": 1})
        return value == {"current": executor}, asgiref_notes.waiting_thread()

    assert in_new_context(check) == (True, None)


def test_the_executor_of_a_loop_that_asgiref_runs() -> None:
    """Where its `async_to_sync` has made the loop, tasks without a note belong to the thread that waits."""
    found: list[Any] = []

    async def coroutine() -> None:
        loop = asyncio.get_running_loop()

        async def look() -> None:
            found.append(asgiref_notes.loop_executor(loop))

        await asyncio.get_running_loop().create_task(look())

    asgiref_notes.prepare()
    async_to_sync(coroutine)()
    assert found[0] is not None
    assert asgiref_notes.loop_executor(None) is None
    assert asgiref_notes.loop_executor(object()) is None
    gc.collect()  # some versions of asgiref let their thread end no earlier


def test_a_note_that_is_forgotten_says_that_no_thread_waits() -> None:
    """To asgiref and to us, in whichever thread the context is used afterwards."""
    asgiref_notes.prepare()

    def look() -> tuple[Any, bool, Any]:
        found = getattr(AsyncToSync.executors, "current", None)
        return asgiref_notes.waiting_thread(), asgiref_notes.is_noted(), found

    def check() -> None:
        asgiref_notes.note_waiting_thread("somebody")
        assert look() == ("somebody", asgiref_notes.variable is not None, "somebody")
        asgiref_notes.forget_waiting_thread()
        assert look() == (None, asgiref_notes.variable is not None, None)

    context = contextvars.copy_context()
    context.run(check)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(context.run(look)))
    thread.start()
    thread.join()
    assert seen == [(None, asgiref_notes.variable is not None, None)]
