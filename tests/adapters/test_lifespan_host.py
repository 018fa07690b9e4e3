"""The lifespan of one app, run on a loop of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.adapters import lifespan_host
from bridge.adapters.lifespan_host import LifespanHost
from bridge.exceptions import InvalidMessage, StartupFailed

BOUND = 10.0
"""What takes longer than this (seconds) hangs."""


class Boom(Exception):
    """What the apps of these tests raise."""


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, and assert that it leaves no task."""

    async def bounded() -> None:
        await asyncio.wait_for(main(), BOUND)
        for _ in range(10):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


class Hosted:
    """A host and what it has reported."""

    def __init__(self, app: Any, *, required: bool = False) -> None:
        self.reports: list[Any] = []
        self._reported = asyncio.Event()
        self.host = LifespanHost(app, required=required, started=self._report)
        self.host.start()

    def _report(self, failure: Any) -> None:
        self.reports.append(failure)
        self._reported.set()

    async def report(self) -> Any:
        """What it reported first."""
        await self._reported.wait()
        return self.reports[0]


async def good(scope: Any, receive: Any, send: Any) -> None:
    """An app with an exemplary lifespan."""
    scope["state"]["key"] = await receive()
    await send({"type": "lifespan.startup.complete"})
    scope["state"]["key"] = await receive()
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.req("L-04", "L-08", "L-09")
def test_a_life() -> None:
    async def main() -> None:
        hosted = Hosted(good)
        assert await hosted.report() is None
        assert hosted.host.supported
        assert hosted.host.state == {"key": {"type": "lifespan.startup"}}
        await hosted.host.shutdown(1)
        assert hosted.host.state == {"key": {"type": "lifespan.shutdown"}}
        await hosted.host.shutdown(1)  # it asks once
        assert hosted.reports == [None]

    run(main)


@pytest.mark.req("L-06")
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("error", [Boom("why"), SystemExit(3), None], ids=repr)
def test_an_early_end(required: bool, error: BaseException | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if error is not None:
            raise error

    async def main() -> None:
        hosted = Hosted(app, required=required)
        failure = await hosted.report()
        assert not hosted.host.supported
        if required:
            assert isinstance(failure, StartupFailed)
            assert failure.__cause__ is error
        else:
            assert failure is None
        await hosted.host.shutdown(1)
        assert len(hosted.reports) == 1

    run(main)


@pytest.mark.req("L-07")
def test_a_failure_is_reported_once() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "first\nlast"})
        with pytest.raises(InvalidMessage):
            await send({"type": "lifespan.startup.complete"})
        raise Boom

    async def main() -> None:
        hosted = Hosted(app)
        failure = await hosted.report()
        assert isinstance(failure, StartupFailed)
        assert str(failure).endswith(": last")
        await asyncio.sleep(0)
        await hosted.host.shutdown(1)
        assert hosted.reports == [failure]

    run(main)


@pytest.mark.req("L-11")
def test_giving_up_a_startup_cancels_the_app() -> None:
    ended: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            ended.append(type(error))
            raise

    async def main() -> None:
        hosted = Hosted(app)
        await asyncio.sleep(0)
        hosted.host.cancel()
        assert isinstance(await hosted.report(), StartupFailed)
        assert ended == [asyncio.CancelledError]

    run(main)


@pytest.mark.req("L-09")
def test_shutdown_during_startup_cancels_it_and_asks_nothing() -> None:
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        received.append(await receive())
        await asyncio.Event().wait()

    async def main() -> None:
        hosted = Hosted(app)
        while not received:
            await asyncio.sleep(0)
        await hosted.host.shutdown(None)
        assert isinstance(await hosted.report(), StartupFailed)

    run(main)
    assert received == [{"type": "lifespan.startup"}]


@pytest.mark.req("L-11")
@pytest.mark.parametrize("kind", ["silent", "stubborn"])
def test_a_shutdown_without_an_answer_is_bounded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifespan_host, "_CANCEL_GRACE", 0.02)

    async def main() -> None:
        let_go = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    if kind == "silent":
                        raise

        hosted = Hosted(app)
        await hosted.report()
        await hosted.host.shutdown(0.02)
        let_go.set()

    run(main)


def test_without_a_time_out_shutdown_waits_for_its_answer() -> None:
    async def main() -> None:
        may_answer = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await may_answer.wait()
            await send({"type": "lifespan.shutdown.complete"})

        hosted = Hosted(app)
        await hosted.report()
        shutdown = asyncio.create_task(hosted.host.shutdown(None))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not shutdown.done()
        may_answer.set()
        await shutdown

    run(main)


def test_shutting_down_what_was_never_started_does_nothing() -> None:
    async def main() -> None:
        host = LifespanHost(good, required=False, started=lambda failure: None)
        await host.shutdown(1)
        host.cancel()

    run(main)


def test_reports_come_before_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logging handler that raises must not make requests wait for ever."""

    def broken(*args: Any, **options: Any) -> None:
        raise Boom("handler")

    for level in ("info", "warning", "error"):
        monkeypatch.setattr(lifespan_host.logger, level, broken)

    async def no_lifespan(scope: Any, receive: Any, send: Any) -> None:
        raise Boom("no lifespan")

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    async def main() -> None:
        for app, required in ((no_lifespan, False), (no_lifespan, True), (failing, False)):
            hosted = Hosted(app, required=required)
            await hosted.report()
            task = hosted.host._task
            assert task is not None
            await asyncio.wait([task])
            assert isinstance(task.exception(), (Boom, type(None)))

    run(main)
