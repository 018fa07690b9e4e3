"""Lifespan under a WSGI server: startup before the first request, `state`, shutdown, and what may fail."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.asgi_apps import Ending, Lifespan, bridged, finish, http, no_loop_left, respond
from support.drive import Signal
from support.engines import Thread, eventually, script, threads_named
from support.wsgi_drive import Answer, Exchange, drive

from bridge import ASGIToWSGI
from bridge.adapters import asgi_runtime, lifespan_host
from bridge.engines import crossing, gates, loop_thread
from bridge.engines.gates import Latch
from bridge.exceptions import AdapterClosed, InvalidMessage, StartupFailed


class Boom(Exception):
    """What the apps of these tests raise."""


class BaseBoom(BaseException):
    """The same, outside of `Exception`."""


class OwnLifespan:
    """An app whose lifespan is `call(receive, send)`, and which notes the types of its scopes in `types`."""

    def __init__(self, call: Any, app: Any = None) -> None:
        self._call = call
        self._app = app or respond(b"ok")
        self.types: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.types.append(scope["type"])
        if scope["type"] == "lifespan":
            await self._call(receive, send)
        else:
            await self._app(scope, receive, send)


async def complete_startup(receive: Any, send: Any) -> None:
    """Start up."""
    await receive()
    await send({"type": "lifespan.startup.complete"})


async def complete_shutdown(receive: Any, send: Any) -> None:
    """Shut down."""
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def in_background(*functions: Any) -> list[Thread]:
    """Each in a thread of its own."""
    return [Thread(function) for function in functions]


# -- startup


@pytest.mark.req("L-04")
def test_the_app_is_called_once_with_a_lifespan_scope() -> None:
    app = Lifespan()
    with bridged(app) as wsgi:
        for _ in range(3):
            assert drive(wsgi).status == 200
    assert app.scopes == [
        {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    ]
    assert type(app.scopes[0]["state"]) is dict
    assert app.received[0] == {"type": "lifespan.startup"}


@pytest.mark.req("A-01", "L-04")
def test_lifespan_runs_on_the_loop_of_the_requests() -> None:
    seen: list[Any] = []

    async def look(scope: Any, receive: Any = None, send: Any = None) -> None:
        seen.append((asyncio.get_running_loop(), threading.get_ident()))
        if send is not None:
            await finish(send)

    app = Lifespan(look, startup=look, shutdown=look)
    with bridged(app) as wsgi:
        drive(wsgi)
        drive(wsgi)
    assert len(seen) == 4
    assert len(set(seen)) == 1


@pytest.mark.req("L-04", "L-05")
def test_twenty_parallel_first_requests_wait_for_one_startup() -> None:
    starting, may_start = Signal(), Signal()

    async def startup(scope: Any) -> None:
        starting.set()
        await may_start.come()

    app = Lifespan(startup=startup)
    with bridged(app) as wsgi:
        exchanges = [Exchange(wsgi, path=f"/{number}") for number in range(20)]
        calls = [exchange.call_soon() for exchange in exchanges]
        starting.wait()
        eventually(lambda: len(wsgi._runtime._started._gates) == 20 if wsgi._runtime else False)
        assert app.log == ["startup"]  # no request has reached the app
        may_start.set()
        for exchange, call in zip(exchanges, calls, strict=True):
            call.result()
            assert exchange.rest() == b"ok"
            exchange.end()
    assert app.log.count("startup") == 1
    assert sorted(app.log[1:21]) == sorted(f"/{number}" for number in range(20))


@pytest.mark.req("L-04")
def test_start_is_eager_and_idempotent() -> None:
    app = Lifespan()
    with bridged(app) as wsgi:
        wsgi.start()
        assert app.log == ["startup"]
        wsgi.start()
        drive(wsgi)
        assert app.log == ["startup", "/"]


@pytest.mark.req("L-05")
def test_what_the_app_sends_for_its_lifespan_does_not_reach_a_client() -> None:
    """Nor does the app have to read before it answers... but then nothing was asked (L-11)."""
    errors: list[Any] = []

    async def call(receive: Any, send: Any) -> None:
        try:
            await send({"type": "lifespan.startup.complete"})
        except InvalidMessage as error:
            errors.append(error)
        await complete_startup(receive, send)
        await complete_shutdown(receive, send)

    with bridged(OwnLifespan(call), lifespan="on") as wsgi:
        assert drive(wsgi).body == b"ok"
    assert len(errors) == 1


def test_nothing_is_started_by_construction() -> None:
    app = Lifespan()
    before = set(threads_named("bridge-loop"))
    with bridged(app):
        assert set(threads_named("bridge-loop")) <= before
    assert app.log == []


# -- apps without lifespan

UNSUPPORTED = [
    Boom("no such scope"),
    AssertionError(),
    KeyError("method"),
    BaseBoom(),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopAsyncIteration(),
    None,
]


def ending_early(error: BaseException | None, *, after_receive: bool, app: Any = None) -> OwnLifespan:
    """An app whose lifespan ends before startup is complete, by this error or by returning."""

    async def call(receive: Any, send: Any) -> None:
        if after_receive:
            await receive()
        if error is not None:
            raise error

    return OwnLifespan(call, app)


@pytest.mark.req("L-06", "S-16")
@pytest.mark.parametrize("error", UNSUPPORTED, ids=repr)
@pytest.mark.parametrize("after_receive", [False, True], ids=["at once", "after receive"])
def test_an_app_that_raises_or_returns_has_no_lifespan(error: Any, after_receive: bool) -> None:
    """Requests go on, there is no `state`, and it is not asked again: neither to start nor to shut down."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await finish(send, b"served")

    both = ending_early(error, after_receive=after_receive)
    wrapped = OwnLifespan(lambda receive, send: both({"type": "lifespan"}, receive, send), app)
    with bridged(wrapped) as wsgi:
        assert [drive(wsgi).body for _ in range(2)] == [b"served", b"served"]
    assert wrapped.types == ["lifespan", "http", "http"]
    assert ["state" in scope for scope in scopes] == [False, False]


@pytest.mark.req("L-06")
@pytest.mark.parametrize("error", UNSUPPORTED, ids=repr)
@pytest.mark.parametrize("after_receive", [False, True], ids=["at once", "after receive"])
def test_mode_on_makes_a_failure_of_it(
    error: Any, after_receive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = ending_early(error, after_receive=after_receive)
    with bridged(app, lifespan="on") as wsgi:
        with pytest.raises(StartupFailed, match=r'lifespan is "on"') as failure:
            wsgi.start()
        assert failure.value.__cause__ is error
        for _ in range(2):
            assert isinstance(drive(wsgi).error, StartupFailed)
    assert app.types == ["lifespan"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")


@pytest.mark.req("L-06", "S-16")
def test_mode_off_skips_it() -> None:
    app = Lifespan()
    with bridged(app, lifespan="off") as wsgi:
        assert drive(wsgi).status == 200
    assert app.log == ["/"]
    assert app.scopes == []


@pytest.mark.req("L-06")
def test_an_app_without_lifespan_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """But it is told, since a mistake in a startup may look the same."""
    with (
        caplog.at_level(logging.INFO, "bridge.lifespan"),
        bridged(ending_early(Boom("typo"), after_receive=True)) as wsgi,
    ):
        drive(wsgi)
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("INFO", "bridge.lifespan")
    assert "Boom" in record.getMessage()
    assert "typo" in record.getMessage()


# -- a startup that fails


def failing(message: dict[str, Any], *, raises: bool = False) -> Any:
    """An app whose startup fails with this message."""

    async def call(receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", **message})
        if raises:  # as Starlette does
            raise Boom

    return OwnLifespan(call)


@pytest.mark.req("L-07")
@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
def test_a_failed_startup_is_logged_and_no_request_is_served(
    mode: str, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Every time, and without another try."""
    app = failing({"message": "no database at 10.0.0.1"}, raises=raises)
    with bridged(app, lifespan=mode) as wsgi:
        for _ in range(3):
            answer = drive(wsgi)
            assert isinstance(answer.error, StartupFailed)
            assert answer.status == 0
            assert "no database at 10.0.0.1" in str(answer.error)
        with pytest.raises(StartupFailed):
            wsgi.start()
    assert app.types == ["lifespan"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")
    assert "no database at 10.0.0.1" in record.getMessage()


@pytest.mark.req("L-07")
def test_of_a_traceback_the_exception_has_the_last_line_and_the_log_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = "Traceback (most recent call last):\n  File x, line 1\nValueError: no such table\n"
    with bridged(failing({"message": text})) as wsgi:
        error = drive(wsgi).error
    assert str(error).endswith("ValueError: no such table")
    assert "\n" not in str(error)
    assert text.strip() in caplog.records[0].getMessage()


@pytest.mark.req("L-07")
@pytest.mark.parametrize("message", [{}, {"message": ""}])
def test_a_failure_without_a_message_is_a_failure(message: dict[str, Any]) -> None:
    with bridged(failing(message)) as wsgi:
        assert isinstance(drive(wsgi).error, StartupFailed)


@pytest.mark.req("L-07")
def test_each_caller_gets_an_exception_of_its_own() -> None:
    """Tracebacks grow, and requests end up in each other's, if one is raised again and again."""
    with bridged(failing({})) as wsgi:
        first, second = drive(wsgi).error, drive(wsgi).error
    assert first is not second


@pytest.mark.req("L-05", "L-07")
def test_parallel_first_requests_fail_together() -> None:
    starting, may_fail = Signal(), Signal()

    async def call(receive: Any, send: Any) -> None:
        await receive()
        starting.set()
        await may_fail.come()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    app = OwnLifespan(call)
    with bridged(app) as wsgi:
        clients = in_background(*[lambda: drive(wsgi)] * 5)
        starting.wait()
        may_fail.set()
        assert [type(client.outcome().error) for client in clients] == [StartupFailed] * 5
    assert app.types == ["lifespan"]


def test_a_lifespan_that_is_cancelled_from_within_fails() -> None:
    """It is not known to be unsupported: somebody wanted it to stop."""

    async def call(receive: Any, send: Any) -> None:
        await receive()
        raise asyncio.CancelledError

    with bridged(OwnLifespan(call)) as wsgi:
        assert isinstance(drive(wsgi).error, StartupFailed)


def test_a_failed_adapter_can_be_closed_and_says_so_afterwards() -> None:
    with bridged(failing({})) as wsgi:
        drive(wsgi)
        wsgi.close()
        assert isinstance(drive(wsgi).error, AdapterClosed)


def test_with_raises_what_start_raises() -> None:
    with no_loop_left():
        adapter = ASGIToWSGI(failing({"message": "no"}))
        with pytest.raises(StartupFailed), adapter:
            raise AssertionError("entered")
        adapter.close()


# -- a startup that hangs


def let_time_run_from(begun: Signal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for the startup begins to run with the startup, however long the loop takes to come to it."""

    class Late(Latch):
        __slots__ = ()

        def wait(self, timeout: float | None, alive: Callable[[], bool]) -> bool:
            if timeout is not None:
                begun.wait()
            return super().wait(timeout, alive)

    monkeypatch.setattr(asgi_runtime, "Latch", Late)


@pytest.mark.req("L-11")
def test_a_startup_that_never_answers_ends_by_the_timeout(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app is cancelled, all that wait are told, and nobody waits again."""
    ending, begun = Ending(), Signal()
    let_time_run_from(begun, monkeypatch)

    async def startup(scope: Any) -> None:
        begun.set()
        async with ending:
            await asyncio.Event().wait()

    app = Lifespan(startup=startup)
    with bridged(app, startup_timeout=0.1) as wsgi:
        clients = in_background(*[lambda: drive(wsgi)] * 3)
        for client in clients:
            error = client.outcome().error
            assert isinstance(error, StartupFailed)
            assert "startup_timeout" in str(error)
            assert "0.1 seconds" in str(error)
        ending.over.wait()
        assert isinstance(ending.error, asyncio.CancelledError)
        assert isinstance(drive(wsgi).error, StartupFailed)
    assert app.log == ["startup", "left"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")
    assert "0.1 seconds" in record.getMessage()


@pytest.mark.req("L-07", "L-11")
def test_a_startup_that_completes_after_the_timeout_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests have been refused by then, and some server may have gone by that. Shutdown runs, though."""
    begun, refused, completed = Signal(), Signal(), Signal()
    let_time_run_from(begun, monkeypatch)

    async def startup(scope: Any) -> None:
        begun.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        await refused.come()

    async def call(receive: Any, send: Any) -> None:
        await receive()
        await startup(None)
        await send({"type": "lifespan.startup.complete"})
        completed.set()
        await complete_shutdown(receive, send)

    app = OwnLifespan(call)
    with bridged(app, startup_timeout=0.05) as wsgi:
        assert isinstance(drive(wsgi).error, StartupFailed)
        refused.set()
        completed.wait()
        assert isinstance(drive(wsgi).error, StartupFailed)
    assert app.types == ["lifespan"]


@pytest.mark.req("L-11")
def test_without_a_timeout_startup_is_waited_for() -> None:
    may_start = Signal()

    async def startup(scope: Any) -> None:
        await may_start.come()

    with bridged(Lifespan(startup=startup), startup_timeout=None) as wsgi:
        client = Thread(lambda: drive(wsgi))
        eventually(lambda: wsgi._runtime is not None)
        assert not client.over
        may_start.set()
        answer: Answer = client.outcome()
        assert answer.status == 200


@pytest.mark.req("L-11")
def test_a_startup_that_blocks_the_loop_ends_by_the_timeout() -> None:
    may_go_on = Signal()

    async def startup(scope: Any) -> None:
        may_go_on.wait()

    with bridged(Lifespan(startup=startup), startup_timeout=0.1) as wsgi:
        try:
            assert isinstance(drive(wsgi).error, StartupFailed)
        finally:
            may_go_on.set()


# -- what the app may not send


@pytest.mark.req("L-11")
@pytest.mark.parametrize(
    "message",
    [
        {"type": "lifespan.startup"},
        {"type": "lifespan.startup.completed"},
        {"type": "lifespan.shutdown.complete"},
        {"type": "http.response.start", "status": 200},
        {"type": None},
        {},
    ],
    ids=repr,
)
def test_an_unknown_message_raises_in_send(message: dict[str, Any]) -> None:
    """The app may recover."""
    errors: list[Any] = []

    async def call(receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(InvalidMessage) as error:
            await send(message)
        errors.append(error.value)
        await send({"type": "lifespan.startup.complete"})
        await complete_shutdown(receive, send)

    with bridged(OwnLifespan(call), lifespan="on") as wsgi:
        assert drive(wsgi).status == 200
    assert len(errors) == 1
    assert repr(message.get("type")) in str(errors[0])


@pytest.mark.req("L-11")
@pytest.mark.parametrize("second", ["complete", "failed"])
def test_a_second_answer_raises(second: str) -> None:
    errors: list[Any] = []

    async def call(receive: Any, send: Any) -> None:
        await complete_startup(receive, send)
        try:
            await send({"type": f"lifespan.startup.{second}"})
        except Exception as error:
            errors.append(error)
        await complete_shutdown(receive, send)
        try:
            await send({"type": "lifespan.shutdown.complete"})
        except Exception as error:
            errors.append(error)

    with bridged(OwnLifespan(call)) as wsgi:
        assert drive(wsgi).status == 200
    assert [type(error) for error in errors] == [InvalidMessage] * 2


@pytest.mark.req("L-11")
def test_an_app_that_lets_it_pass_loses_its_lifespan_and_the_log_tells(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def call(receive: Any, send: Any) -> None:
        await complete_startup(receive, send)
        await send({"type": "lifespan.startup.complete"})

    with bridged(OwnLifespan(call)) as wsgi:
        assert drive(wsgi).status == 200
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is InvalidMessage


# -- state


@pytest.mark.req("L-08", "S-16")
def test_each_request_gets_a_shallow_copy_of_state() -> None:
    """What is assigned at the top does not leak; the objects inside are shared."""
    shared: list[str] = []
    states: list[Any] = []

    async def startup(scope: Any) -> None:
        scope["state"]["shared"] = shared

    async def app(scope: Any, receive: Any, send: Any) -> None:
        state = scope["state"]
        states.append((dict(state), state["shared"] is shared))
        state["own"] = scope["path"]
        state["shared"].append(scope["path"])
        if scope["path"] == "/a":
            del state["shared"]
        await finish(send)

    lived = Lifespan(app, startup=startup)
    with bridged(lived) as wsgi:
        for path in ("/a", "/b"):
            drive(wsgi, path=path)
        # As the app's own dict changes, later requests see it: it may finish its startup lazily.
        lived.scopes[0]["state"]["late"] = 1
        drive(wsgi, path="/c")
    assert shared == ["/a", "/b", "/c"]
    assert [sorted(state) for state, _ in states] == [["shared"], ["shared"], ["late", "shared"]]
    assert all(same for _, same in states)
    assert lived.scopes[0]["state"].keys() == {"shared", "late"}


@pytest.mark.req("S-16")
def test_an_empty_state_is_there_as_well() -> None:
    states: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        states.append(scope["state"])
        await finish(send)

    with bridged(Lifespan(app)) as wsgi:
        drive(wsgi)
        drive(wsgi)
    assert states == [{}, {}]
    assert states[0] is not states[1]


# -- shutdown


@pytest.mark.req("L-09")
def test_close_shuts_down_once_and_later_requests_raise() -> None:
    app = Lifespan()
    loops: list[asyncio.AbstractEventLoop] = []

    def new_loop() -> asyncio.AbstractEventLoop:
        loops.append(asyncio.new_event_loop())  # of this adapter alone, so that it ends with it
        return loops[-1]

    adapter = ASGIToWSGI(app, loop_factory=new_loop)
    drive(adapter)
    adapter.close()
    assert app.log == ["startup", "/", "shutdown", "left"]  # when close() returns, all is done
    assert app.received == [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    assert [loop.is_closed() for loop in loops] == [True]
    adapter.close()
    for _ in range(2):
        assert isinstance(drive(adapter).error, AdapterClosed)
    with pytest.raises(AdapterClosed, match="closed"):
        adapter.start()
    assert app.log.count("shutdown") == 1
    assert app.log.count("startup") == 1


@pytest.mark.req("L-09")
def test_it_is_a_context_manager() -> None:
    app = Lifespan()
    with ASGIToWSGI(app) as wsgi:
        assert app.log == ["startup"]
        assert drive(wsgi).body == b"ok"
    assert app.log == ["startup", "/", "shutdown", "left"]
    with pytest.raises(Boom), ASGIToWSGI(app := Lifespan()):
        raise Boom
    assert app.log == ["startup", "shutdown", "left"]


@pytest.mark.req("L-09")
def test_closing_what_was_never_used_starts_nothing() -> None:
    app = Lifespan()
    before = set(threads_named("bridge-loop"))
    adapter = ASGIToWSGI(app)
    adapter.close()
    adapter.close()
    assert app.log == []
    assert set(threads_named("bridge-loop")) <= before
    assert isinstance(drive(adapter).error, AdapterClosed)


@pytest.mark.req("L-09")
def test_parallel_close_calls_all_wait_for_the_one_shutdown() -> None:
    stopping, may_stop = Signal(), Signal()

    async def shutdown(scope: Any) -> None:
        stopping.set()
        await may_stop.come()

    app = Lifespan(shutdown=shutdown)
    with bridged(app) as wsgi:
        drive(wsgi)
        closers = in_background(*[wsgi.close] * 5)
        stopping.wait()
        assert not any(closer.over for closer in closers)
        may_stop.set()
        for closer in closers:
            closer.outcome()
    assert app.log.count("shutdown") == 1


@pytest.mark.req("L-09")
def test_close_waits_for_requests_and_only_then_shuts_down() -> None:
    began, may_end = Signal(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await may_end.come()
        lived.log.append("request ends")
        await finish(send, b"whole")

    lived = Lifespan(app)
    with bridged(lived) as wsgi:
        client = Thread(lambda: drive(wsgi))
        began.wait()
        closer = Thread(wsgi.close)
        eventually(lambda: isinstance(drive(wsgi).error, AdapterClosed), "new requests are refused")
        assert not closer.over
        assert "shutdown" not in lived.log
        may_end.set()
        assert client.outcome().body == b"whole"
        closer.outcome()
    assert lived.log == ["startup", "/", "request ends", "shutdown", "left"]


@pytest.mark.req("A-30", "L-09")
def test_close_waits_for_work_after_a_response() -> None:
    may_end = Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send)
        await may_end.come()
        lived.log.append("work ends")

    lived = Lifespan(app)
    with bridged(lived) as wsgi:
        drive(wsgi)
        closer = Thread(wsgi.close)
        eventually(lambda: isinstance(drive(wsgi).error, AdapterClosed))
        assert not closer.over
        may_end.set()
        closer.outcome()
    assert lived.log == ["startup", "/", "work ends", "shutdown", "left"]


@pytest.mark.req("A-30", "L-09")
@pytest.mark.parametrize("responded", [False, True], ids=["request", "background"])
def test_close_cancels_what_does_not_end(responded: bool, caplog: pytest.LogCaptureFixture) -> None:
    ending, began = Ending(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            if responded:
                await finish(send)
            began.set()
            await asyncio.Event().wait()

    lived = Lifespan(app)
    with bridged(lived, shutdown_timeout=0.3) as wsgi:
        client = Thread(lambda: drive(wsgi))
        began.wait()
        wsgi.close()
        assert isinstance(ending.error, asyncio.CancelledError)
        answer: Answer = client.outcome()
        assert (answer.status, answer.error) == (200 if responded else 500, None)
    assert lived.log == ["startup", "/", "shutdown", "left"]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.asgi", "WARNING" if responded else "ERROR")


@pytest.mark.req("L-09")
def test_close_cancels_tasks_that_the_app_has_started() -> None:
    ending, began = Ending(), Signal()
    tasks: list[Any] = []

    async def work() -> None:
        async with ending:
            began.set()
            await asyncio.Event().wait()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.create_task(work()))
        await finish(send)

    # A loop of its own: one that others have as well does not end with this adapter.
    with bridged(app, loop_factory=lambda: asyncio.new_event_loop()) as wsgi:
        drive(wsgi)
        began.wait()
        drive(wsgi, path="/again")
        assert ending.error is None
        wsgi.close()
    assert isinstance(ending.error, asyncio.CancelledError)


@pytest.mark.req("L-09", "L-11")
@pytest.mark.parametrize("stubborn", [False, True], ids=["awaits", "ignores cancellation"])
def test_a_shutdown_that_never_answers_ends_by_the_timeout(
    stubborn: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan_host, "_CANCEL_GRACE", 0.05)
    let_go, ending = Signal(), Ending()

    async def shutdown(scope: Any) -> None:
        async with ending:
            try:
                await let_go.come()
            finally:
                while stubborn and not let_go.is_set:
                    try:
                        await let_go.come()
                    except asyncio.CancelledError:
                        pass

    with bridged(respond()) as other:  # it keeps the loop running
        other.start()
        adapter = ASGIToWSGI(Lifespan(shutdown=shutdown), shutdown_timeout=0.05)
        adapter.start()
        Thread(adapter.close).outcome()
        assert ending.over.is_set is not stubborn
        record = caplog.records[0]
        assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")
        assert "did not shut down within 0.05 seconds" in record.getMessage()
        let_go.set()
        ending.over.wait()


@pytest.mark.req("L-09")
def test_a_failed_shutdown_is_logged_with_its_message(caplog: pytest.LogCaptureFixture) -> None:
    async def call(receive: Any, send: Any) -> None:
        await complete_startup(receive, send)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "could not save"})

    with bridged(OwnLifespan(call)) as wsgi:
        drive(wsgi)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")
    assert "could not save" in record.getMessage()


@pytest.mark.req("L-09")
@pytest.mark.parametrize("error", [Boom("late"), BaseBoom("late"), SystemExit("late"), None], ids=repr)
def test_a_shutdown_without_an_answer_is_logged(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def call(receive: Any, send: Any) -> None:
        await complete_startup(receive, send)
        await receive()
        if error is not None:
            raise error

    with bridged(OwnLifespan(call)) as wsgi:
        drive(wsgi)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")
    assert "shutdown" in record.getMessage()
    if error is not None:
        assert record.exc_info is not None
        assert record.exc_info[1] is error


def test_what_the_app_does_after_its_answer_to_shutdown_is_waited_for() -> None:
    """Exit stacks are often left after it."""
    left: list[int] = []

    async def call(receive: Any, send: Any) -> None:
        await complete_startup(receive, send)
        await complete_shutdown(receive, send)
        for _ in range(10):
            await asyncio.sleep(0)
        left.append(1)

    with bridged(OwnLifespan(call)) as wsgi:
        drive(wsgi)
        wsgi.close()
        assert left == [1]


def test_after_shutdown_there_is_nothing_to_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that reads on does not spin; it is cancelled."""
    monkeypatch.setattr(lifespan_host, "_CANCEL_GRACE", 0.05)
    received: list[Any] = []
    ending = Ending()

    async def call(receive: Any, send: Any) -> None:
        async with ending:
            while True:
                received.append(await receive())
                await send({"type": received[-1]["type"] + ".complete"})

    with bridged(OwnLifespan(call)) as wsgi:
        drive(wsgi)
    assert [message["type"] for message in received] == ["lifespan.startup", "lifespan.shutdown"]
    assert isinstance(ending.error, asyncio.CancelledError)


def test_an_app_may_leave_its_lifespan_once_it_has_started(caplog: pytest.LogCaptureFixture) -> None:
    """It then has nothing to shut down."""
    with bridged(OwnLifespan(complete_startup)) as wsgi:
        assert drive(wsgi).status == 200
        assert drive(wsgi).status == 200
    assert caplog.records == []


def test_a_lifespan_that_breaks_while_it_runs_is_logged_and_requests_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_break = Signal()

    async def call(receive: Any, send: Any) -> None:
        await complete_startup(receive, send)
        await may_break.come()
        raise Boom

    with bridged(OwnLifespan(call)) as wsgi:
        drive(wsgi)
        may_break.set()
        eventually(lambda: len(caplog.records) == 1)
        assert drive(wsgi).status == 200
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("bridge.lifespan", "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom


# -- close() at an awkward moment


@pytest.mark.req("L-09")
def test_close_during_startup_ends_it_and_those_who_wait() -> None:
    starting, ending = Signal(), Ending()

    async def startup(scope: Any) -> None:
        async with ending:
            starting.set()
            await asyncio.Event().wait()

    app = Lifespan(startup=startup)
    with bridged(app, startup_timeout=None) as wsgi:
        clients = in_background(*[lambda: drive(wsgi)] * 3)
        starting.wait()
        Thread(wsgi.close).outcome()
        assert [type(client.outcome().error) for client in clients] == [AdapterClosed] * 3
    assert isinstance(ending.error, asyncio.CancelledError)
    assert app.log == ["startup", "left"]


@pytest.mark.req("L-09")
def test_close_while_the_loop_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `loop_factory` may take its time. No request is served after it, and no thread stays."""
    monkeypatch.setattr(gates.Latch, "LOOK", 0.05)
    making, may_make = Signal(), Signal()

    def factory() -> asyncio.AbstractEventLoop:
        making.set()
        may_make.wait()
        return asyncio.new_event_loop()

    app = Lifespan()
    with bridged(app, loop_factory=factory) as wsgi:
        client = Thread(lambda: drive(wsgi))
        making.wait()
        closer = Thread(wsgi.close)
        eventually(lambda: wsgi._closed)
        may_make.set()
        closer.outcome()
        assert isinstance(client.outcome().error, AdapterClosed)
    assert "/" not in app.log
    assert app.log.count("startup") == app.log.count("shutdown")


@pytest.mark.req("A-03", "L-09")
def test_close_on_the_loops_own_thread_does_not_deadlock_and_leaves_no_thread() -> None:
    """The request that calls it ends first."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        adapter.close()
        await finish(send, b"served")

    with no_loop_left():
        lived = Lifespan(app)
        adapter = ASGIToWSGI(lived)
        assert drive(adapter).body == b"served"
        assert isinstance(drive(adapter).error, AdapterClosed)
        eventually(lambda: lived.log == ["startup", "/", "shutdown", "left"])
        adapter.close()


@pytest.mark.req("L-09")
def test_close_in_a_thread_of_the_loops_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop cannot wait for its executor then, and does so for a bounded time only."""
    monkeypatch.setattr(loop_thread, "_LAST_STEPS", 0.1)
    monkeypatch.setattr(asgi_runtime, "_LOOP_END", 0.1)
    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"served")
        async with ending:
            await asyncio.get_running_loop().run_in_executor(None, adapter.close)

    with no_loop_left():
        lived = Lifespan(app)
        adapter = ASGIToWSGI(lived, shutdown_timeout=0.3)
        assert drive(adapter).body == b"served"
        ending.over.wait()
        eventually(lambda: lived.log == ["startup", "/", "shutdown", "left"])


@pytest.mark.req("L-09")
@pytest.mark.parametrize("responded", [False, True], ids=["request", "background"])
def test_close_with_a_coroutine_that_refuses_to_be_cancelled(
    responded: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Close returns, and so does the thread that waits for it, although the loop lives on for another."""
    monkeypatch.setattr(asgi_runtime, "_CANCEL_GRACE", 0.05)
    monkeypatch.setattr(crossing, "LOOK", 0.05)
    began, let_go, ending = Signal(), Signal(), Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            if responded:
                await finish(send)
            began.set()
            while not let_go.is_set:
                try:
                    await let_go.come()
                except asyncio.CancelledError:
                    pass

    lived = Lifespan(app)
    with bridged(respond(b"other")) as other:
        other.start()
        adapter = ASGIToWSGI(lived, shutdown_timeout=0.2)
        client = Thread(lambda: drive(adapter))
        began.wait()
        try:
            Thread(adapter.close).outcome()
            assert "shutdown" in lived.log
            assert "a task refuses to be cancelled: GET '/'" in [each.getMessage() for each in caplog.records]
            eventually(lambda: client.over, "the thread is freed")
        finally:
            let_go.set()
            ending.over.wait()
        assert drive(other).body == b"other"


@pytest.mark.req("L-09")
def test_close_with_an_executor_thread_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request ends, and the thread is left behind. (At exit, Python itself waits for it.)"""
    monkeypatch.setattr(loop_thread, "_LAST_STEPS", 0.05)
    monkeypatch.setattr(asgi_runtime, "_LOOP_END", 0.2)
    began, let_go = Signal(), Signal()

    def stuck() -> None:
        began.set()
        let_go.wait()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(None, stuck)

    with no_loop_left():
        lived = Lifespan(app)
        adapter = ASGIToWSGI(lived, shutdown_timeout=0.3)
        client = Thread(lambda: drive(adapter))
        began.wait()
        try:
            Thread(adapter.close).outcome()
            assert client.outcome().status == 500
            assert lived.log == ["startup", "/", "shutdown", "left"]
            adapter.close()
            assert isinstance(drive(adapter).error, AdapterClosed)
        finally:
            let_go.set()


@pytest.mark.req("L-09")
def test_close_with_a_loop_that_is_blocked(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_CANCEL_GRACE", "_MARGIN", "_LOOP_END"):
        monkeypatch.setattr(asgi_runtime, name, 0.05)
    began, let_go = Signal(), Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        let_go.wait()
        await finish(send, b"late")

    with no_loop_left():
        adapter = ASGIToWSGI(app, shutdown_timeout=0.05)
        client = Thread(lambda: drive(adapter))
        began.wait()
        try:
            Thread(adapter.close).outcome()
        finally:
            let_go.set()
        assert client.outcome().body in (b"late", b"500 Internal Server Error\n")
        assert any("does not respond" in record.getMessage() for record in caplog.records)


@pytest.mark.req("L-09")
def test_requests_that_race_with_close_are_served_or_refused() -> None:
    """None of them hangs, none gets half of anything."""
    app = Lifespan(respond(b"x" * 1000))
    for _ in range(20):
        with bridged(app) as wsgi:
            wsgi.start()
            barrier = threading.Barrier(5)

            def request(wsgi: ASGIToWSGI = wsgi, barrier: threading.Barrier = barrier) -> Answer:
                barrier.wait(10)
                return drive(wsgi)

            clients = in_background(*[request] * 4)
            barrier.wait(10)
            wsgi.close()
            for client in clients:
                answer = client.outcome()
                if answer.error is None:
                    assert (answer.status, answer.body) == (200, b"x" * 1000)
                else:
                    assert isinstance(answer.error, AdapterClosed)
    assert app.log.count("startup") == app.log.count("shutdown") == app.log.count("left")


@pytest.mark.req("L-09", "L-10")
def test_an_adapter_that_is_dropped_shuts_down() -> None:
    """Not at once, as nobody waits; but by itself, in the loop."""
    app = Lifespan()
    with no_loop_left():
        adapter = ASGIToWSGI(app)
        drive(adapter)
        del adapter
        eventually(lambda: app.log == ["startup", "/", "shutdown", "left"])


# -- interpreter exit

PRELUDE = """
import asyncio, atexit, io, os, sys, threading, time
from bridge import ASGIToWSGI
from bridge.adapters import asgi_runtime

asgi_runtime._EXIT_GRACE = 0.05

def say(what):
    os.write(1, f"{what}\\n".encode())  # whole lines, whatever other threads say

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await startup(scope)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await shutdown(scope)
        say("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await handle(scope, receive, send)

async def startup(scope):
    pass

async def shutdown(scope):
    pass

async def handle(scope, receive, send):
    await respond(send)

async def respond(send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})

def request():
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
    body = wsgi(environ, lambda *head: say(head[0]))
    say(b"".join(body))
    if hasattr(body, "close"):
        body.close()

def in_daemon_thread():
    def run():
        try:
            request()
        except Exception as error:
            say(type(error).__name__)
    threading.Thread(target=run, daemon=True).start()
"""

EXIT_BOUND = 20.0
"""A process that takes longer (seconds) to exit hangs; the machine may be busy."""


def exiting(code: str) -> list[str]:
    """What a program prints that consists of the prelude and `code`, and that exits by itself."""
    return script(PRELUDE + code, timeout=EXIT_BOUND).splitlines()


@pytest.mark.req("L-10")
def test_shutdown_runs_at_interpreter_exit() -> None:
    """Also of several adapters, each once."""
    lines = exiting(
        "wsgi = ASGIToWSGI(app)\nother = ASGIToWSGI(app)\nclosed = ASGIToWSGI(app)\n"
        "request()\nother.start()\nclosed.start()\nclosed.close()\nsay('exit')"
    )
    assert lines == ["200 OK", "b'hello'", "shutdown", "exit", "shutdown", "shutdown"]


@pytest.mark.req("L-10")
def test_executors_and_tasks_work_during_shutdown() -> None:
    """In a plain `atexit` function executors no longer do."""
    lines = exiting(
        """
async def handle(scope, receive, send):
    await asyncio.to_thread(int)
    await respond(send)

async def shutdown(scope):
    loop = asyncio.get_running_loop()
    say(await loop.run_in_executor(None, lambda: "executor"))
    say(await asyncio.to_thread(lambda: "thread"))
    say(await asyncio.create_task(asyncio.sleep(0, "task")))

wsgi = ASGIToWSGI(app, lifespan="on")
request()
"""
    )
    assert lines == ["200 OK", "b'hello'", "executor", "thread", "task", "shutdown"]


@pytest.mark.req("L-10")
def test_new_threads_start_during_shutdown_where_python_lets_them() -> None:
    """3.12 did not, in its first releases; then it is an ordinary error of the app's."""
    lines = exiting(
        """
async def shutdown(scope):
    try:
        say(await asyncio.to_thread(lambda: "started"))
    except RuntimeError as error:
        say(error)

wsgi = ASGIToWSGI(app, lifespan="on")
request()
"""
    )
    if sys.version_info[:2] == (3, 12):
        assert lines[2] == "started" or "interpreter shutdown" in lines[2]
    else:
        assert lines[2] == "started"
    assert lines[3:] == ["shutdown"]


@pytest.mark.req("L-10")
def test_an_executor_that_was_used_before_is_not_torn_down_first() -> None:
    lines = exiting(
        """
import concurrent.futures
pool = concurrent.futures.ThreadPoolExecutor()
pool.submit(int).result()

async def handle(scope, receive, send):
    await asyncio.to_thread(int)
    await respond(send)

async def shutdown(scope):
    say(await asyncio.wrap_future(pool.submit(lambda: "pool")))

wsgi = ASGIToWSGI(app)
request()
"""
    )
    assert lines[-2:] == ["pool", "shutdown"]


@pytest.mark.req("L-10")
def test_a_request_that_waits_in_a_daemon_thread_does_not_hold_the_exit() -> None:
    """Its server is gone: the app is told and cancelled, and what it has in `finally` runs."""
    lines = exiting(
        """
began = threading.Event()

async def handle(scope, receive, send):
    began.set()
    await receive()
    say((await receive())["type"])
    try:
        await asyncio.Event().wait()
    finally:
        say("finally")

wsgi = ASGIToWSGI(app, shutdown_timeout=None)
in_daemon_thread()
began.wait()
"""
    )
    assert "shutdown" in lines
    assert lines.index("http.disconnect") < lines.index("finally") < lines.index("shutdown")
    # The waiting thread may say so before the interpreter takes it away.
    assert set(lines) <= {"http.disconnect", "finally", "shutdown", "AdapterClosed"}


@pytest.mark.req("L-10")
def test_a_request_in_a_thread_that_is_no_daemon_is_freed_as_well() -> None:
    """The interpreter joins such threads, after it has called what is registered."""
    lines = exiting(
        """
began = threading.Event()

async def handle(scope, receive, send):
    began.set()
    await asyncio.Event().wait()

def run():
    try:
        request()
    except Exception as error:
        say(type(error).__name__)

wsgi = ASGIToWSGI(app, shutdown_timeout=None)
threading.Thread(target=run).start()
began.wait()
"""
    )
    assert sorted(lines) == ["AdapterClosed", "shutdown"]


@pytest.mark.req("A-30", "L-10")
def test_work_after_a_response_is_waited_for_at_exit_and_cancelled_if_it_takes_too_long() -> None:
    lines = exiting(
        """
async def handle(scope, receive, send):
    await respond(send)
    for _ in range(10):
        await asyncio.sleep(0)
    say("work done")
    try:
        await asyncio.Event().wait()
    finally:
        say("cancelled")

import logging
logging.disable(logging.CRITICAL)
wsgi = ASGIToWSGI(app, shutdown_timeout=0.3)
request()
"""
    )
    assert sorted(lines[:-2]) == ["200 OK", "b'hello'", "work done"]
    assert lines[-2:] == ["cancelled", "shutdown"]


@pytest.mark.req("L-10")
def test_a_startup_in_progress_does_not_hold_the_exit() -> None:
    lines = exiting(
        """
began = threading.Event()

async def startup(scope):
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        say("finally")

wsgi = ASGIToWSGI(app, startup_timeout=None)
in_daemon_thread()
began.wait()
"""
    )
    assert "finally" in lines
    assert set(lines) <= {"finally", "AdapterClosed"}


@pytest.mark.req("L-10")
@pytest.mark.parametrize("where", ["handle", "startup", "shutdown"])
def test_a_coroutine_that_blocks_the_loop_does_not_hold_the_exit(where: str) -> None:
    lines = exiting(
        f"""
began = threading.Event()

async def blocking(scope, *others):
    began.set()
    time.sleep(1000)

{where} = blocking
asgi_runtime._MARGIN = asgi_runtime._LOOP_END = asgi_runtime._CANCEL_GRACE = 0.02
import logging
logging.disable(logging.CRITICAL)
wsgi = ASGIToWSGI(app, shutdown_timeout=0.02)
if {where!r} == "shutdown":
    request()
else:
    in_daemon_thread()
    began.wait()
"""
    )
    assert "shutdown" not in lines


@pytest.mark.req("L-10")
def test_a_shutdown_that_never_answers_does_not_hold_the_exit() -> None:
    lines = exiting(
        """
async def shutdown(scope):
    await asyncio.Event().wait()

import logging
logging.disable(logging.CRITICAL)
wsgi = ASGIToWSGI(app, shutdown_timeout=0.1)
request()
"""
    )
    assert lines == ["200 OK", "b'hello'"]


@pytest.mark.req("L-10")
def test_system_exit_and_a_use_during_exit() -> None:
    """A hook that makes a request after the shutdown is refused; it does not hang."""
    done = script(
        PRELUDE
        + """
def last():
    try:
        request()
    except Exception as error:
        say(type(error).__name__)

wsgi = ASGIToWSGI(app)
atexit.register(last)
request()
sys.exit(3)
""",
        timeout=EXIT_BOUND,
        expect=3,
    )
    assert done.splitlines() == ["200 OK", "b'hello'", "shutdown", "AdapterClosed"]


@pytest.mark.req("L-10")
def test_the_first_use_during_exit_serves_or_fails_but_does_not_hang() -> None:
    lines = exiting(
        """
def last():
    try:
        request()
    except Exception as error:
        say("failed")

wsgi = ASGIToWSGI(app)
atexit.register(last)
"""
    )
    assert lines[0] in ("200 OK", "failed")


@pytest.mark.req("L-10")
@pytest.mark.parametrize("ends_first", [False, True], ids=["running", "stopped"])
def test_at_exit_somebody_elses_loop_is_used_if_it_still_runs(ends_first: bool) -> None:
    """If not, nobody can shut the app down, and nobody waits for it."""
    lines = exiting(
        f"""
loop = asyncio.new_event_loop()
thread = threading.Thread(target=loop.run_forever, daemon=True)
thread.start()
wsgi = ASGIToWSGI(app, loop=loop)
request()
if {ends_first}:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
"""
    )
    assert lines == ["200 OK", "b'hello'", *([] if ends_first else ["shutdown"])]
