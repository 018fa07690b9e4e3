"""Worker threads of AnyIO and Trio: the loop that has lent them, and what asking costs other threads."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio
from support.drive import run
from support.engines import PATIENCE, Thread, eventually, in_thread, script

from bridge import async_to_sync
from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.running import running_port
from bridge.engines.trio_port import TrioPort
from bridge.shim import lending
from bridge.shim.lending import lending_loop
from bridge.shim.persistent import persistent_loop

BACKENDS = ["asyncio", "trio"]


async def where() -> tuple[Any, int]:
    await anyio.sleep(0)
    return running_port().loop, threading.get_ident()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_thread_of_anyio_belongs_to_the_loop_that_it_works_for(backend: str) -> None:
    """A blocking endpoint of FastAPI runs in one."""

    async def main() -> None:
        expected = running_port().loop, threading.get_ident()
        for _ in range(3):
            port = await anyio.to_thread.run_sync(lending_loop)
            assert isinstance(port, TrioPort if backend == "trio" else AsyncioPort)
            assert port.is_current()
            assert port.loop is expected[0]
            assert await anyio.to_thread.run_sync(async_to_sync(where)) == expected

    anyio.run(main, backend=backend)


def test_a_worker_thread_of_trio_belongs_to_the_run_that_it_works_for_at_the_moment() -> None:
    """Trio keeps its threads from run to run."""
    idents: list[int] = []
    tokens: list[Any] = []

    def blocking() -> Any:
        idents.append(threading.get_ident())
        port = lending_loop()
        assert isinstance(port, TrioPort)
        tokens.append(port.token)
        return async_to_sync(where)()

    async def main() -> None:
        for _ in range(2):
            token = trio.lowlevel.current_trio_token()
            assert await trio.to_thread.run_sync(blocking) == (None, threading.get_ident())
            assert tokens[-1] is token

    for _ in range(3):
        trio.run(main)
    assert len(set(idents)) < len(idents), "no thread was used twice, so nothing was tested"
    assert len({id(token) for token in tokens}) == 3


def test_a_worker_thread_of_anyio_that_goes_over_to_the_next_loop_follows_it() -> None:
    """Whether AnyIO keeps its threads is its own affair."""
    for _ in range(3):

        async def main() -> None:
            port = await anyio.to_thread.run_sync(lending_loop)
            assert port is not None
            assert port.loop is asyncio.get_running_loop()

        asyncio.run(main())


def test_a_thread_of_trio_that_is_asked_when_it_is_free_belongs_to_nobody() -> None:
    seen: list[Any] = []

    def blocking() -> None:
        seen.append(lending_loop())
        lending._lent.port = seen[0]  # as it stays in the thread
        seen.append(lending_loop())

    async def main() -> None:
        await trio.to_thread.run_sync(blocking)

    trio.run(main)
    assert isinstance(seen[0], TrioPort)
    assert isinstance(seen[1], TrioPort)

    def asked_later() -> Any:
        lending._lent.port = seen[0]
        return lending_loop()

    assert Thread(asked_later).outcome() is None, "the run is over, and the thread is no worker"


def test_a_thread_of_trio_that_goes_over_to_another_run_follows_it_while_both_last() -> None:
    seen: list[tuple[int, Any, Any]] = []

    def blocking(token: Any) -> None:
        port: Any = lending_loop()
        seen.append((threading.get_ident(), port.token, token))

    async def other() -> None:
        await trio.to_thread.run_sync(blocking, trio.lowlevel.current_trio_token())

    async def main() -> None:
        for _ in range(100):
            await trio.to_thread.run_sync(blocking, trio.lowlevel.current_trio_token())
            await in_thread(lambda: trio.run(other))
            if seen[-1][0] == seen[-2][0]:
                return
        raise AssertionError("no thread went over, so nothing was tested")

    trio.run(main)
    assert all(found is expected for _, found, expected in seen)


def test_the_loop_is_asked_once_in_a_thread_of_anyio(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a round trip."""
    asked: list[int] = []
    ask = lending._ask_anyio

    def counted(from_thread: Any) -> Any:
        asked.append(threading.get_ident())
        return ask(from_thread)

    monkeypatch.setattr(lending, "_ask_anyio", counted)
    seen: list[Any] = []

    def blocking() -> None:
        seen.extend(lending_loop() for _ in range(3))

    async def main() -> None:
        await anyio.to_thread.run_sync(blocking)

    asyncio.run(main())
    assert len(asked) == 1
    assert len(seen) == 3
    assert seen[0] is seen[1]
    assert seen[1] is seen[2]


def test_any_other_thread_belongs_to_nobody() -> None:
    assert Thread(lambda: [lending_loop() for _ in range(2)]).outcome() == [None, None]

    async def main() -> None:
        assert await asyncio.get_running_loop().run_in_executor(None, lending_loop) is None
        assert await asyncio.to_thread(lending_loop) is None

    run(main)


def test_a_thread_that_was_asked_before_anyio_came_can_belong_to_trio_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that is nobody's for AnyIO is one of Trio's at times."""

    def blocking() -> Any:
        lending._lent.nobodys = True
        return lending_loop()

    async def main() -> None:
        assert isinstance(await trio.to_thread.run_sync(blocking), TrioPort)

    trio.run(main)


def test_threads_that_a_portal_calls_from_belong_to_nobody() -> None:
    """They wait for no task; what they call runs on the loop that is kept."""
    with anyio.from_thread.start_blocking_portal():
        loop, _ = Thread(lambda: async_to_sync(where)()).outcome()
    assert loop is persistent_loop().port.loop


def test_what_a_portal_s_loop_calls_in_a_thread_belongs_to_that_loop() -> None:
    async def main() -> Any:
        return await anyio.to_thread.run_sync(async_to_sync(where)), asyncio.get_running_loop()

    with anyio.from_thread.start_blocking_portal() as portal:
        (loop, _), expected = portal.call(main)
    assert loop is expected


# -- threads that are cancelled or left


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_that_was_abandoned_can_still_call(backend: str) -> None:
    """Its task is gone; its loop is not, or the loop that is kept takes over. It never hangs."""
    began, free = threading.Event(), threading.Event()
    outcome: list[Any] = []

    def blocking() -> None:
        began.set()
        free.wait(PATIENCE)
        try:
            outcome.append(async_to_sync(one)())
        except BaseException as error:
            outcome.append(error)

    async def one() -> int:
        return 1

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def run_it() -> None:
                    await anyio.to_thread.run_sync(blocking, abandon_on_cancel=True)

                group.start_soon(run_it)
                while not began.is_set():
                    await anyio.sleep(0.001)
                scope.cancel()
        free.set()
        with anyio.CancelScope(shield=True):
            while not outcome:
                await anyio.sleep(0.001)

    anyio.run(main, backend=backend)
    assert outcome[0] == 1 or isinstance(outcome[0], (trio.Cancelled, RuntimeError)), outcome


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thread_that_outlives_its_loop_uses_the_one_that_is_kept(backend: str) -> None:
    began, free = threading.Event(), threading.Event()
    outcome: list[Any] = []

    def blocking() -> None:
        assert lending_loop() is not None
        began.set()
        free.wait(PATIENCE)
        try:
            outcome.append(async_to_sync(where)()[0])
        except BaseException as error:
            outcome.append(error)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def run_it() -> None:
                    await anyio.to_thread.run_sync(blocking, abandon_on_cancel=True)

                group.start_soon(run_it)
                while not began.is_set():
                    await anyio.sleep(0.001)
                scope.cancel()

    anyio.run(main, backend=backend)
    free.set()
    eventually(lambda: outcome, "the thread has called")
    assert outcome[0] is persistent_loop().port.loop


# -- what it costs where neither library is used


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("anyio", "trio"):
        monkeypatch.delitem(sys.modules, library)


@pytest.mark.usefixtures("unloaded")
def test_without_the_libraries_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(from_thread: Any) -> Any:
        raise AssertionError("asked")

    monkeypatch.setattr(lending, "_ask_anyio", ask)
    monkeypatch.setattr(lending, "_ask_trio", ask)
    assert Thread(lending_loop).outcome() is None
    assert "anyio" not in sys.modules
    assert "trio" not in sys.modules


@pytest.mark.parametrize("module", [None, types.ModuleType("empty")], ids=["forbidden", "half imported"])
@pytest.mark.parametrize("library", ["anyio", "trio"])
def test_a_library_that_is_not_there_yet_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, library: str, module: Any
) -> None:
    monkeypatch.setitem(sys.modules, library, module)
    assert Thread(lending_loop).outcome() is None


def test_a_thread_that_is_anyio_s_is_found_though_it_was_asked_while_anyio_was_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that was no answer is not remembered."""

    def check() -> Any:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "anyio", types.ModuleType("half imported"))
            patch.setitem(sys.modules, "trio", types.ModuleType("half imported"))
            before = lending_loop()
        return before, lending_loop()

    async def main() -> None:
        before, after = await anyio.to_thread.run_sync(check)
        assert before is None
        assert after is not None

    asyncio.run(main())


def test_nothing_is_imported_to_find_out() -> None:
    script(
        """
import sys
from bridge import async_to_sync
async def one(): return 1
assert async_to_sync(one)() == 1
assert not {"anyio", "trio", "sniffio"} & set(sys.modules), sorted(sys.modules)
"""
    )


def test_the_context_of_the_caller_does_not_matter() -> None:
    """It is the thread that is lent."""
    asked: Callable[[], Any] = lending_loop

    async def main() -> None:
        port = await anyio.to_thread.run_sync(lambda: contextvars.Context().run(asked))
        assert port is not None

    asyncio.run(main())
