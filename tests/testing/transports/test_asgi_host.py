"""The host of an ASGI app: its loop and thread, lifespan, runs, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from support.asgi_apps import Ending, Lifespan, http, no_complaints, no_loop_left, respond
from support.drive import Signal, run
from support.engines import Thread, eventually, threads_named
from support.leftovers import no_longer_there, own_garbage

from bridge.exceptions import AdapterClosed, LoopGone, StartupFailed, UsageError
from bridge.testing.transports import asgi_host
from bridge.testing.transports.asgi_host import ASGIHost, Run, end_calls

PLAIN = http(respond(b"ok"))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with no_complaints(), no_loop_left():
        yield


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_host, "DISCONNECT_GRACE", 0.01)


@pytest.fixture
def long_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has been cancelled, and for a loop that is asked to end its calls."""
    monkeypatch.setattr(asgi_host, "CANCEL_GRACE", 10.0)


def test_nothing_starts_before_it_is_needed() -> None:
    before = set(threads_named("bridge-loop"))
    host = ASGIHost(PLAIN)
    assert set(threads_named("bridge-loop")) <= before
    host.close()


def test_each_host_has_a_loop_of_its_own() -> None:
    hosts = [ASGIHost(PLAIN), ASGIHost(PLAIN)]
    for host in hosts:
        host.start()
        host.start()
    assert hosts[0].loop_thread is not hosts[1].loop_thread
    for host in hosts:
        host.close()
        host.close()


def test_the_loop_factory_makes_the_loop() -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    host = ASGIHost(PLAIN, loop_factory=factory)
    host.start()
    assert host.loop_thread.port.loop is made[0]
    host.close()
    assert made[0].is_closed()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"lifespan": "yes"}, "one of auto, on, off"), ({"loop_factory": 5}, "a function that makes")],
)
def test_options_that_are_not_usable_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ASGIHost(PLAIN, **options)


def test_lifespan_and_state() -> None:
    async def keep(scope: Any) -> None:
        scope["state"]["db"] = []

    app = Lifespan(startup=keep)
    host = ASGIHost(app)
    host.start()
    first, second = host.state, host.state
    assert first == second == {"db": []}
    assert first is not None
    assert second is not None
    assert first is not second
    assert first["db"] is second["db"]
    host.close()
    assert app.log == ["startup", "shutdown", "left"]


def test_without_a_lifespan_there_is_no_state() -> None:
    host = ASGIHost(PLAIN)
    host.start()
    assert host.state is None
    host.close()


def test_the_lifespan_can_be_left_out() -> None:
    app = Lifespan()
    host = ASGIHost(app, lifespan="off")
    host.start()
    host.close()
    assert app.log == []


def test_a_startup_that_fails() -> None:
    async def fail(scope: Any) -> None:
        raise ValueError("no database")

    for host in (ASGIHost(Lifespan(startup=fail), lifespan="on"), ASGIHost(PLAIN, lifespan="on")):
        for _ in range(2):
            with pytest.raises(StartupFailed):
                host.start()
        host.close()


def test_a_startup_that_takes_too_long() -> None:
    async def never(scope: Any) -> None:
        await asyncio.Event().wait()

    host = ASGIHost(Lifespan(startup=never), startup_timeout=0.01)
    with pytest.raises(StartupFailed, match=r"within 0\.01 seconds"):
        host.start()
    host.close()


def test_a_closed_host_runs_nothing() -> None:
    host = ASGIHost(PLAIN)
    host.close()
    with pytest.raises(AdapterClosed):
        host.start()


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def test_a_run_is_a_task_on_the_loop_in_a_copy_of_the_callers_context() -> None:
    host = ASGIHost(PLAIN)
    seen: list[Any] = []

    async def function() -> None:
        seen.append((threading.current_thread(), variable.get()))
        variable.set("theirs")

    token = variable.set("mine")
    run = host.run(function)
    assert run.wait(10)
    assert host.run(function, context=contextvars.Context()).wait(10)
    variable.reset(token)
    assert [value for _, value in seen] == ["mine", "none"]
    assert seen[0][0] is not threading.current_thread()
    assert (run.ended, run.error, variable.get()) == (True, None, "none")
    host.close()


@pytest.mark.parametrize(
    "error", [ValueError(), SystemExit(), KeyboardInterrupt()], ids=lambda each: type(each).__name__
)
def test_what_a_run_raises_is_kept_and_the_loop_goes_on(error: BaseException) -> None:
    host = ASGIHost(PLAIN)

    async def function() -> None:
        raise error

    for _ in range(2):
        run = host.run(function)
        assert run.wait(10)
        assert run.error is error
    host.close()


def stuck(ending: Ending) -> Any:
    async def function() -> None:
        async with ending:
            await asyncio.Event().wait()

    return function


def test_wait_has_an_end() -> None:
    host = ASGIHost(PLAIN)
    ending = Ending()
    run = host.run(stuck(ending))
    assert run.wait(0.01) is False
    run.cancel_soon()
    assert run.wait(10)
    assert isinstance(ending.error, asyncio.CancelledError)
    host.close()


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("by", ["leave_soon", "close"])
def test_a_run_whose_client_has_left_is_told_and_cancelled_after_a_grace(by: str) -> None:
    host = ASGIHost(PLAIN)
    ending, told = Ending(), Signal()

    def leave() -> bool:
        told.set()
        return True

    run = host.run(stuck(ending), leave=leave)
    if by == "close":
        host.close()
    else:
        run.leave_soon()
    told.wait()
    ending.over.wait()
    assert isinstance(ending.error, asyncio.CancelledError)
    host.close()


@pytest.mark.usefixtures("short_grace")
def test_work_after_the_end_of_a_response_is_waited_for_by_close() -> None:
    host = ASGIHost(PLAIN)
    go_on, done = Signal(), Signal()

    async def function() -> None:
        await go_on.come()
        done.set()

    run = host.run(function, leave=lambda: False)
    assert host.wait_idle(0.02) is False
    closing = Thread(host.close)
    assert not run.wait(0.05)
    go_on.set()
    closing.outcome()
    assert done.is_set


@pytest.mark.usefixtures("long_grace")
def test_work_that_does_not_end_is_cancelled_by_close() -> None:
    host = ASGIHost(PLAIN, shutdown_timeout=0.02)
    ending = Ending()
    host.run(stuck(ending), leave=lambda: False)
    host.close()
    assert isinstance(ending.error, asyncio.CancelledError)


@pytest.mark.usefixtures("long_grace")
def test_calls_end_before_the_lifespan_does() -> None:
    app = Lifespan()
    host = ASGIHost(app)
    # Not that of the lifespan, which may need longer on a busy machine.
    host._shutdown_timeout = 0.02

    async def stuck_and_noting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            app.log.append("call ended")

    host.run(stuck_and_noting, leave=lambda: False)
    host.close()
    assert app.log == ["startup", "call ended", "shutdown", "left"]


class Called:
    """A call of an app that is an awaitable of a test's."""

    def __init__(self, awaitable: Any) -> None:
        self.task: asyncio.Task[None] | None = asyncio.ensure_future(awaitable)
        self.told = False

    def leave(self) -> None:
        self.told = True


def test_calls_that_end_in_time_are_told_and_not_cancelled() -> None:
    """One whose task has not begun is only told."""

    async def main() -> None:
        call, waiting = Called(asyncio.sleep(0.01)), Called(asyncio.sleep(0))
        waiting.task = None
        await end_calls([call, waiting], None)
        assert (call.told, waiting.told) == (True, True)
        assert call.task is not None
        assert call.task.done()
        assert not call.task.cancelled()

    run(main)


def test_a_call_that_refuses_to_be_cancelled_is_left_with_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(asgi_host, "CANCEL_GRACE", 0.01)

    async def main() -> None:
        allowed = asyncio.Event()

        async def refuse() -> None:
            while not allowed.is_set():
                try:
                    await allowed.wait()
                except asyncio.CancelledError:
                    pass

        call = Called(refuse())
        await asyncio.sleep(0)
        await end_calls([call], 0.01)
        assert call.task is not None
        assert not call.task.done()
        assert "a task of the app refuses to be cancelled" in caplog.text
        allowed.set()
        await call.task

    run(main)


def test_wait_idle() -> None:
    host = ASGIHost(PLAIN)
    assert host.wait_idle(0) is True  # it has not started
    go_on = Signal()
    host.run(go_on.come)
    waiting = Thread(lambda: host.wait_idle(10))
    go_on.set()
    assert waiting.outcome() is True
    host.close()
    assert host.wait_idle(0) is True


def test_it_refuses_to_be_used_on_its_own_loop() -> None:
    host = ASGIHost(PLAIN)
    errors: list[BaseException] = []

    async def function() -> None:
        try:
            host.start()
        except UsageError as error:
            errors.append(error)

    assert host.run(function).wait(10)
    assert "use an AsyncClient there" in str(errors[0])
    host.close()


def test_a_loop_that_has_ended_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.engines.gates.Latch.LOOK", 0.01)
    host = ASGIHost(PLAIN)
    host.start()
    run: Run = host.run(stuck(Ending()))
    host.loop_thread.release()
    run.wait(10)
    eventually(lambda: not host.alive(), "the end of the loop")
    with pytest.raises(LoopGone):
        host.submit(lambda: None)
    run.leave_soon()  # raises nothing
    host.close()


@pytest.mark.parametrize("ring", [False, True], ids=["alone", "in a ring of references"])
@own_garbage()
def test_a_host_that_is_garbage_ends_its_loop(ring: bool) -> None:
    app = Lifespan()
    host = ASGIHost(app)
    host.start()
    gone = weakref.ref(host)
    holder: list[Any] = [host]
    if ring:
        holder.append(holder)
    del host, holder
    no_longer_there(gone)
    eventually(lambda: app.log == ["startup", "shutdown", "left"], "shutdown of the lifespan")


def test_a_run_that_has_ended_keeps_nothing_alive() -> None:
    class Exchange:
        def __init__(self) -> None:
            self.run = host.run(self.call, leave=self.leave)

        async def call(self) -> None: ...

        def leave(self) -> bool:
            return True

    host = ASGIHost(PLAIN)
    exchange = Exchange()
    assert exchange.run.wait(10)
    gone = weakref.ref(exchange)
    gc.disable()
    try:
        del exchange
        eventually(lambda: gone() is None, "the end of the exchange, by its references alone")
    finally:
        gc.enable()
    host.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child_it_says_so() -> None:
    host = ASGIHost(PLAIN)
    host.start()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            host.start()
        except UsageError as error:
            code = 0 if "another process" in str(error) else 2
        finally:
            host.close()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    host.start()
    host.close()
