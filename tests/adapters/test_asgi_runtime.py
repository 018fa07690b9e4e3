"""What an adapter has in one process: its startup, its replacement, its end. No HTTP here."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from support.asgi_apps import Lifespan, no_complaints, no_loop_left
from support.drive import Signal
from support.engines import PATIENCE, Thread, eventually

from bridge.adapters import asgi_runtime
from bridge.adapters.asgi_runtime import Runtime, Settings
from bridge.engines import gates
from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import AdapterClosed, LoopGone, StartupFailed, UsageError

SETTINGS = Settings(
    lifespan="auto",
    loop_factory=None,
    loop=None,
    startup_timeout=10.0,
    shutdown_timeout=1.0,
    write_ahead=1000,
    read_ahead=1000,
    disconnect_grace=1.0,
    background_wait=0.0,
)


def make(app: Any = None, **changes: Any) -> Runtime:
    """A runtime that has not begun."""
    return Runtime(app or Lifespan(), SETTINGS._replace(**changes))


def end_loop_thread(runtime: Runtime) -> None:
    """Let the loop's thread end as if by itself."""
    thread = runtime.loop_thread
    thread._stopping = True
    thread.submit(thread._stop_soon)
    assert thread._ended.wait(10, lambda: True)


@pytest.mark.req("L-04")
def test_the_first_to_enter_starts_and_all_others_wait() -> None:
    starting, may_start = Signal(), Signal()

    async def startup(scope: Any) -> None:
        starting.set()
        await may_start.come()
        scope["state"]["key"] = "value"

    app = Lifespan(startup=startup)
    with no_complaints(), no_loop_left():
        runtime = make(app)
        ready = [runtime.ready]
        waiters = [Thread(runtime.enter) for _ in range(5)]
        starting.wait()
        ready.append(runtime.ready)
        may_start.set()
        for waiter in waiters:
            waiter.outcome()
        ready.append(runtime.ready)
        assert runtime.state == {"key": "value"}
        runtime.enter()
        runtime.close()
        ready.append(runtime.ready)
    assert ready == [False, False, True, False]
    assert app.log == ["startup", "shutdown", "left"]


def test_the_time_for_startup_runs_from_its_begin() -> None:
    """Who comes late does not wait a whole time-out again, and who comes after it does not wait at all."""
    runtime = make(Lifespan(startup=lambda scope: asyncio.Event().wait()), startup_timeout=0.2)
    with no_loop_left():
        first = Thread(runtime.enter)
        eventually(lambda: runtime._deadline is not None)
        for _ in range(3):
            with pytest.raises(StartupFailed, match=r"within 0\.2 seconds"):
                runtime.enter()
        with pytest.raises(StartupFailed):
            first.outcome()
        runtime.close()


def test_a_startup_that_is_over_before_the_loop_has_come_to_it_does_not_begin() -> None:
    """The loop is busy with something else for longer than `startup_timeout`."""
    app = Lifespan()

    def factory() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    busy, may_go_on = threading.Event(), threading.Event()

    def something_else() -> None:
        busy.set()
        may_go_on.wait(PATIENCE)

    with no_loop_left():
        shared = LoopThread.shared(factory)
        shared.start()
        shared.submit(something_else)
        assert busy.wait(PATIENCE)
        runtime = make(app, loop_factory=factory, startup_timeout=0.05)
        with pytest.raises(StartupFailed):
            runtime.enter()
        may_go_on.set()
        looked = threading.Event()
        shared.submit(looked.set)  # behind what was to begin it
        assert looked.wait(PATIENCE)
        assert app.log == []
        runtime.close()
        shared.release()


def test_the_time_may_run_out_before_there_is_a_loop() -> None:
    """Its factory takes long, and another one waits beside who has begun the startup."""
    app = Lifespan()
    asked, may_go_on = threading.Event(), threading.Event()

    def factory() -> asyncio.AbstractEventLoop:
        asked.set()
        assert may_go_on.wait(PATIENCE)
        return asyncio.new_event_loop()

    runtime = make(app, loop_factory=factory, startup_timeout=0.05)
    with no_loop_left():
        first = Thread(runtime.enter)
        assert asked.wait(PATIENCE)
        with pytest.raises(StartupFailed):
            runtime.enter()
        may_go_on.set()
        with pytest.raises(StartupFailed):
            first.outcome()
        assert app.log == []
        runtime.close()


def test_a_waiter_that_is_interrupted_leaves_the_startup_to_the_others() -> None:
    """A server's time-out may hit the one that began it."""

    class Interrupt(BaseException):
        pass

    may_start = Signal()

    async def startup(scope: Any) -> None:
        await may_start.come()

    original = gates.Latch.wait
    interrupted = threading.Event()

    def wait(self: Any, *args: Any) -> Any:
        if threading.current_thread().name == "interrupted" and self is runtime._started:
            interrupted.set()
            raise Interrupt
        return original(self, *args)

    def first() -> None:
        with pytest.raises(Interrupt):
            runtime.enter()

    with no_loop_left(), pytest.MonkeyPatch.context() as patch:
        runtime = make(Lifespan(startup=startup))
        patch.setattr(gates.Latch, "wait", wait)
        thread = threading.Thread(target=first, name="interrupted", daemon=True)
        thread.start()
        assert interrupted.wait(10)
        second = Thread(runtime.enter)
        may_start.set()
        second.outcome()
        assert runtime.ready
        thread.join(10)
        runtime.close()


def test_a_runtime_is_lost_when_its_loop_ends_and_not_when_it_is_closed() -> None:
    with no_loop_left():
        runtime = make()
        lost = [runtime.lost]
        runtime.enter()
        lost.append(runtime.lost)
        end_loop_thread(runtime)
        lost.append(runtime.lost)
        assert lost == [False, False, True]
        closed = make()
        closed.enter()
        closed.close()
        assert not closed.lost


@pytest.mark.req("L-09")
def test_closing_a_lost_runtime_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates.Latch, "LOOK", 0.05)
    with no_loop_left():
        runtime = make(shutdown_timeout=None)
        runtime.enter()
        end_loop_thread(runtime)
        Thread(runtime.close).outcome()
        with pytest.raises(AdapterClosed):
            runtime.enter()


def test_a_loop_that_ends_during_startup_is_told_to_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates.Latch, "LOOK", 0.05)
    starting = Signal()

    async def startup(scope: Any) -> None:
        starting.set()
        await asyncio.Event().wait()

    with no_loop_left():
        runtime = make(Lifespan(startup=startup), startup_timeout=None)
        waiters = [Thread(runtime.enter) for _ in range(3)]
        starting.wait()
        end_loop_thread(runtime)
        for waiter in waiters:
            with pytest.raises((LoopGone, StartupFailed)):
                waiter.outcome()
        runtime.close()


@pytest.mark.req("S-16")
@pytest.mark.parametrize(("lifespan", "expected"), [("auto", {}), ("on", {}), ("off", None)])
def test_state_is_there_if_the_app_has_a_lifespan(lifespan: str, expected: Any) -> None:
    with no_loop_left():
        runtime = make(lifespan=lifespan)
        runtime.enter()
        assert runtime.state == expected
        runtime.close()


@pytest.mark.req("A-03")
def test_entering_on_the_loops_own_thread_is_refused() -> None:
    with no_loop_left():
        keeper = make()
        keeper.enter()
        runtime = make()
        caught: list[Any] = []

        def enter() -> None:
            try:
                runtime.enter()
            except Exception as error:
                caught.append(error)

        keeper.loop_thread.submit(enter)
        eventually(lambda: caught)
        assert type(caught[0]) is UsageError
        runtime.enter()  # it has not begun by that
        runtime.close()
        keeper.close()


def test_closing_before_the_begin_starts_nothing() -> None:
    app = Lifespan()
    with no_loop_left():
        runtime = make(app)
        runtime.close()
        runtime.close()
        with pytest.raises(AdapterClosed):
            runtime.enter()
    assert app.log == []


def test_close_soon_does_not_wait() -> None:
    """For finalizers. The loop finishes it."""
    stopping, may_stop = Signal(), Signal()

    async def shutdown(scope: Any) -> None:
        stopping.set()
        await may_stop.come()

    app = Lifespan(shutdown=shutdown)
    with no_loop_left():
        runtime = make(app)
        runtime.close_soon()  # it has not begun
        runtime.enter()
        runtime.close_soon()
        runtime.close_soon()
        stopping.wait()
        may_stop.set()
        eventually(lambda: app.log == ["startup", "shutdown", "left"])


@pytest.mark.req("A-02")
def test_a_childs_copy_of_a_runtime_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing it there must not reach the parent's loop, of which the child has a copy as well."""
    app = Lifespan()
    with no_loop_left():
        runtime = make(app)
        runtime.enter()
        pid = os.getpid()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid + 1)
            runtime.close_soon()
            asgi_runtime._close_all()
        assert app.log == ["startup"]
        assert runtime.ready
        runtime.close()
    assert app.log == ["startup", "shutdown", "left"]


@pytest.mark.req("L-10")
def test_at_exit_all_are_closed_whatever_one_of_them_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    apps = [Lifespan(), Lifespan(), Lifespan()]
    with no_loop_left():
        runtimes = [make(app) for app in apps]
        for runtime in runtimes:
            runtime.enter()
        original = Runtime.close
        failures = [RuntimeError("broken")]

        def close(self: Runtime, **options: Any) -> None:
            assert options == {"at_exit": True}
            original(self, **options)
            if failures:
                raise failures.pop()

        monkeypatch.setattr(Runtime, "close", close)
        monkeypatch.setattr(asgi_runtime, "_running", set(runtimes))
        asgi_runtime._close_all()
    assert [app.log for app in apps] == [["startup", "shutdown", "left"]] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
