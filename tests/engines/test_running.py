"""Which port belongs to the caller."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import pytest
import trio
from support.drive import run
from support.engines import Thread, in_thread

from bridge.engines.asyncio_port import AsyncioPort
from bridge.engines.ports import Port
from bridge.engines.running import running_port
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


# -- flags
