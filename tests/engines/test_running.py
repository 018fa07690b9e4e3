"""Which port belongs to the caller."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import pytest
import trio
from support.drive import run, together
from support.engines import Thread, checkpoint, in_thread

from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.ports import Port
from bridge.engines.running import running_port, shared_port
from bridge.engines.trio_port import TrioPort
from bridge.exceptions import UsageError


@pytest.mark.req("W-30")
def test_the_port_is_that_of_the_loop_that_runs_the_caller(loop: str) -> None:
    async def main() -> None:
        port = running_port()
        assert isinstance(port, TrioPort if loop == "trio" else AsyncioPort)
        assert port.is_current()
        assert port.alive()
        assert port.loop is (None if loop == "trio" else asyncio.get_running_loop())
        assert not await in_thread(port.is_current)
        assert await in_thread(port.alive)

    run(main, loop)


@pytest.mark.req("W-30")
def test_a_port_is_not_current_on_another_loop(loop: str) -> None:
    async def main() -> Port:
        return running_port()

    async def look(port: Port) -> bool:
        return port.is_current()

    others = [run(main, name) for name in ("asyncio", "trio")]
    for other in others:
        assert not other.is_current(), "no loop at all runs here"
        assert not other.alive()
        assert not run(lambda other=other: look(other), loop)  # type: ignore[misc]


@pytest.mark.req("W-30")
def test_without_a_loop_the_error_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"asyncio\.run\(\) or trio\.run\(\)"):
        running_port()


@pytest.mark.parametrize("module", [None, types.ModuleType("trio")], ids=["forbidden", "half imported"])
def test_a_trio_that_is_not_there_is_not_asked(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """While a thread imports it, the module has no contents; requests go on being served."""

    async def main() -> None:
        port = running_port()
        assert isinstance(port, AsyncioPort)
        assert port.is_current()

    monkeypatch.setitem(sys.modules, "trio", module)
    asyncio.run(main())
    with pytest.raises(UsageError):
        running_port()


def test_trio_is_not_imported_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        assert isinstance(running_port(), AsyncioPort)

    monkeypatch.delitem(sys.modules, "trio")
    asyncio.run(main())
    assert "trio" not in sys.modules


def test_in_the_guest_mode_of_trio_a_task_of_trio_has_the_port_of_trio() -> None:
    """There an asyncio loop runs underneath, and both say that they run."""
    seen: list[object] = []

    async def guest(host_port: AsyncioPort) -> None:
        port = running_port()
        seen.append((type(port), port.is_current(), host_port.is_current()))
        flag = port.flag()
        thread = Thread(lambda: port.wake(flag))
        await flag
        thread.outcome()

    async def host() -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Any] = loop.create_future()
        host_port = running_port()
        assert isinstance(host_port, AsyncioPort)
        trio.lowlevel.start_guest_run(
            guest,
            host_port,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=over.set_result,
        )
        (await over).unwrap()
        seen.append((type(running_port()), host_port.is_current()))

    asyncio.run(host())
    assert seen == [(TrioPort, True, False), (AsyncioPort, True)]


# -- the port that a thread shares among its calls


def test_it_is_the_same_while_the_same_loop_runs(loop: str) -> None:
    """So wake-ups that belong together cost one."""

    async def main() -> None:
        port = shared_port()
        assert type(port) is type(running_port())
        assert port.is_current()
        assert shared_port() is port
        await checkpoint()
        assert shared_port() is port

        async def other_task() -> None:
            assert shared_port() is port

        await together(other_task, other_task)

    run(main, loop)


def test_each_loop_of_a_thread_has_its_own(loop: str) -> None:
    """Also when the last one has ended, or has been put aside for a moment."""
    seen: list[Port] = []

    async def main() -> None:
        port = shared_port()
        assert port.alive()
        assert port.is_current()
        assert not any(port is other for other in seen)
        seen.append(port)

    for name in (loop, "asyncio", loop, "trio", loop, loop):
        run(main, name)


def test_each_thread_has_its_own(loop: str) -> None:
    async def main() -> Port:
        return shared_port()

    async def outer() -> None:
        mine = shared_port()
        theirs = await in_thread(lambda: run(main, loop))
        assert theirs is not mine
        assert shared_port() is mine

    run(outer, loop)


def test_a_loop_inside_another_one_has_its_own() -> None:
    """An asyncio loop in a task of trio: then trio's again."""

    async def inner() -> Port:
        return shared_port()

    async def outer() -> None:
        before = shared_port()
        assert isinstance(before, TrioPort)
        event_loop = asyncio.new_event_loop()
        thread_s = await in_thread(lambda: event_loop.run_until_complete(inner()))
        event_loop.close()
        assert isinstance(thread_s, AsyncioPort)
        assert shared_port() is before

    trio.run(outer)


def test_in_the_guest_mode_of_trio_each_task_shares_the_port_of_its_own_library() -> None:
    seen: list[Port] = []

    async def guest() -> None:
        seen.append(shared_port())
        await trio.lowlevel.checkpoint()
        seen.append(shared_port())

    async def host() -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Any] = loop.create_future()
        seen.append(shared_port())
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=over.set_result
        )
        (await over).unwrap()
        seen.append(shared_port())

    asyncio.run(host())
    assert [type(port) for port in seen] == [AsyncioPort, TrioPort, TrioPort, AsyncioPort]
    assert seen[1] is seen[2]


def test_without_a_loop_there_is_none_also_where_one_has_run(loop: str) -> None:
    async def main() -> None:
        shared_port()

    run(main, loop)
    with pytest.raises(UsageError):
        shared_port()


def test_it_is_found_without_trio_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> Port:
        port = shared_port()
        assert isinstance(port, AsyncioPort)
        assert shared_port() is port
        return port

    monkeypatch.delitem(sys.modules, "trio")
    first, second = asyncio.run(main()), asyncio.run(main())
    assert first is not second
    with pytest.raises(UsageError):
        shared_port()
