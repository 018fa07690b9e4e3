"""One request as the app sees it, at the places that a whole adapter reaches only by luck."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from pathlib import Path
from typing import Any

import pytest
from support.asgi_apps import (
    Ending,
    bridged,
    finish,
    http,
    in_progress,
    no_complaints,
    no_loop_left,
    respond,
    start,
)
from support.drive import Signal
from support.engines import Thread, eventually
from support.wsgi_drive import drive

from bridge.adapters import asgi_call
from bridge.adapters.asgi_call import ASGICall, File
from bridge.adapters.asgi_runtime import Runtime, Settings
from bridge.engines import crossing
from bridge.engines.crossing import TAKE
from bridge.exceptions import (
    AdapterClosed,
    ApplicationExit,
    ClientDisconnected,
    IncompleteResponse,
    InvalidMessage,
)

SETTINGS = Settings("off", None, None, 10.0, 1.0, 1000, 1000, 1.0, 0.0)


def scope(**changes: Any) -> dict[str, Any]:
    """As much of a scope as a call looks at."""
    return {"type": "http", "method": "GET", "path": "/", "extensions": {}, **changes}


class Alone:
    """A runtime without an adapter, for calls that the test makes; it is closed at the end."""

    def __init__(self, app: Any, **changes: Any) -> None:
        self.runtime = Runtime(app, SETTINGS._replace(**changes))
        self._around = no_loop_left()
        self._complaints = no_complaints()

    def __enter__(self) -> Runtime:
        self._complaints.__enter__()
        self._around.__enter__()
        self.runtime.enter()
        return self.runtime

    def __exit__(self, *error: Any) -> None:
        self.runtime.close()
        self._around.__exit__(None, None, None)
        self._complaints.__exit__(None, None, None)

    def turn(self) -> None:
        """Return when the loop has done all that was submitted before."""
        turned = Signal()
        self.runtime.loop_thread.submit(turned.set)
        turned.wait()


@pytest.mark.req("A-29")
@pytest.mark.parametrize("background_wait", [0.0, None])
def test_a_thread_that_leaves_before_the_start_spares_the_app(background_wait: float | None) -> None:
    called: list[Any] = []

    async def app(*args: Any) -> None:
        called.append(args)

    alone = Alone(app, background_wait=background_wait)
    with alone as runtime:
        call = ASGICall(runtime, scope(), False)
        call.leave()
        runtime.loop_thread.submit(call.start)
        alone.turn()
        assert call.task is None
        assert runtime.calls == set()
        assert call.finished is None or call.finished.is_set
    assert called == []


def test_a_call_is_tracked_from_start_to_end() -> None:
    may_end = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await may_end.come()
        await finish(send, b"x")

    with Alone(app) as runtime:
        call = ASGICall(runtime, scope(), False)
        runtime.loop_thread.submit(call.start)
        eventually(lambda: runtime.calls == {call})
        may_end.set()
        assert call.arrive() == TAKE
        items, last = call.take()
        assert (items, last) == ([("200 OK", []), b"x"], True)
        eventually(lambda: runtime.calls == set())


@pytest.mark.req("A-27")
def test_a_task_that_is_cancelled_before_its_first_step_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never gets to say that it has ended; the server's thread looks around now and then."""
    monkeypatch.setattr(crossing, "LOOK", 0.02)
    called: list[Any] = []

    def stillborn(loop: Any, coroutine: Any, **options: Any) -> Any:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if "ASGICall" in coroutine.__qualname__:
            task.cancel()
        return task

    def factory() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(stillborn)
        return loop

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    with bridged(app, loop_factory=factory, shutdown_timeout=0) as wsgi:
        assert drive(wsgi).status == 500
        eventually(lambda: in_progress(wsgi) == [], "the call is forgotten")
    assert called == []


@pytest.mark.req("A-25")
def test_a_task_that_cannot_be_made_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """By a task factory with a mistake, say; the loop goes on."""

    def broken(loop: Any, coroutine: Any, **options: Any) -> Any:
        if "ASGICall" in coroutine.__qualname__:
            raise RuntimeError("no task")
        return asyncio.Task(coroutine, loop=loop, **options)

    def factory() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(broken)
        return loop

    with bridged(respond(b"x"), loop_factory=factory) as wsgi:
        assert [drive(wsgi).status for _ in range(2)] == [500, 500]
    assert "RuntimeError: no task" in caplog.text


def test_a_call_carries_its_threads_context() -> None:
    """It is copied when the call is made, not when its task starts."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        await finish(send)

    def make() -> ASGICall:
        variable.set("made")
        call = ASGICall(runtime, scope(), False)
        variable.set("later")
        return call

    with Alone(app) as runtime:
        call: ASGICall = Thread(make).outcome()
        runtime.loop_thread.submit(call.start)
        assert call.arrive() == TAKE
    assert seen == ["made"]


@pytest.mark.req("A-12", "A-24")
def test_aborting_tells_the_app_of_a_disconnect_and_the_thread_why() -> None:
    seen: list[Any] = []
    waiting, ending = Signal(), Ending()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            waiting.set()
            seen.append(await receive())
            with pytest.raises(ClientDisconnected):
                await send(start())

    with Alone(app) as runtime:
        call = ASGICall(runtime, scope(), False)
        runtime.loop_thread.submit(call.start)
        waiting.wait()
        reason = AdapterClosed("over")
        runtime.loop_thread.submit(lambda: call.abort(reason))
        assert call.arrive() == TAKE
        assert call.take() == ([], True)
        assert call.error is reason
        ending.over.wait()
    assert ending.error is None
    assert [message["type"] for message in seen] == ["http.disconnect"]


def test_aborting_what_is_complete_changes_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await finish(send, b"whole")

    with Alone(app) as runtime:
        call = ASGICall(runtime, scope(), False)
        runtime.loop_thread.submit(call.start)
        assert call.arrive() == TAKE
        runtime.loop_thread.submit(lambda: call.abort(AdapterClosed("over")))
        assert call.take()[1]
    assert call.error is None


def test_files_that_nobody_takes_are_closed(tmp_path: Path) -> None:
    """As when the thread leaves while they are on their way."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    file = path.open("rb")
    with Alone(respond()) as runtime:
        call = ASGICall(runtime, scope(), False)
        call.put([("200 OK", []), b"x", File(file, 7, True)], 0)
        call.leave()
        assert file.closed
        # Once the thread has left, whatever comes is dropped as well.
        late = path.open("rb")
        call.put([File(late, 7, True)], 0)
        assert late.closed
        last = path.open("rb")
        call.put_last([File(last, 7, True)])
        assert last.closed


@pytest.mark.req("H-06")
@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a b", "GET '/a b'"),
        ("/\r\nInjected: log", r"GET '/\r\nInjected: log'"),
        ("/\x1b[2J", r"GET '/\x1b[2J'"),
    ],
)
def test_a_call_is_shown_with_control_characters_escaped(path: str, shown: str) -> None:
    with Alone(respond()) as runtime:
        assert str(ASGICall(runtime, scope(path=path, query_string=b"token=secret"), False)) == shown


@pytest.mark.req("A-22")
def test_a_message_without_type_raises() -> None:
    errors: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"status": 200})
        except Exception as error:
            errors.append(error)
        await finish(send)

    with Alone(app) as runtime:
        call = ASGICall(runtime, scope(), False)
        runtime.loop_thread.submit(call.start)
        assert call.arrive() == TAKE
    assert [type(error) for error in errors] == [InvalidMessage]


# -- what an error becomes on its way


@pytest.mark.req("A-26")
@pytest.mark.parametrize("error", [ValueError("x"), OSError(), ClientDisconnected("x")], ids=repr)
def test_ordinary_errors_reach_the_server_as_they_are(error: Exception) -> None:
    assert asgi_call._transportable(error) is error


@pytest.mark.req("A-26")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StopIteration(1), ApplicationExit),
        (StopAsyncIteration(), ApplicationExit),
        (GeneratorExit(), ApplicationExit),
        (SystemExit(1), ApplicationExit),
        (KeyboardInterrupt(), ApplicationExit),
        (asyncio.CancelledError(), IncompleteResponse),
    ],
    ids=repr,
)
def test_what_a_server_would_take_for_something_else_is_wrapped(
    error: BaseException, kind: type[Exception]
) -> None:
    wrapped = asgi_call._transportable(error)
    assert type(wrapped) is kind
    assert wrapped.__cause__ is error


class NamedDisconnect(Exception):
    """Of a framework, as Starlette has one."""


def chained(
    kind: type[Exception] = RuntimeError,
    *,
    cause: BaseException | None = None,
    context: BaseException | None = None,
) -> Exception:
    """An exception that was raised because of, or while handling, another."""
    error = kind("the framework's own")
    error.__cause__ = cause
    error.__context__ = context
    return error


class Group(Exception):
    """Shaped like an `ExceptionGroup`, which Python 3.10 does not have."""

    def __init__(self, *exceptions: BaseException) -> None:
        super().__init__("group")
        self.exceptions = exceptions


GONE = ClientDisconnected("gone")


@pytest.mark.req("A-24")
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(GONE, True, id="itself"),
        pytest.param(chained(cause=GONE), True, id="cause"),
        pytest.param(chained(NamedDisconnect, context=GONE), True, id="context, by name"),
        pytest.param(chained(cause=chained(NamedDisconnect, context=GONE)), True, id="chain"),
        pytest.param(Group(GONE), True, id="group"),
        pytest.param(Group(Group(chained(cause=GONE)), asyncio.CancelledError()), True, id="groups"),
        pytest.param(chained(context=GONE), False, id="mistake while it was handled"),
        pytest.param(chained(cause=ValueError(), context=GONE), False, id="other cause"),
        pytest.param(RuntimeError(), False, id="other"),
        pytest.param(NamedDisconnect(), False, id="name alone"),
        pytest.param(chained(cause=OSError()), False, id="other chain"),
        pytest.param(Group(), False, id="empty group"),
        pytest.param(Group(RuntimeError()), False, id="other group"),
        pytest.param(Group(GONE, RuntimeError()), False, id="mixed group"),
    ],
)
def test_what_a_framework_makes_of_a_disconnect_is_recognised(error: Exception, expected: bool) -> None:
    assert asgi_call._stems_from_disconnect(error) is expected


def test_a_chain_that_is_a_circle_ends() -> None:
    error = RuntimeError()
    error.__cause__ = error
    assert asgi_call._stems_from_disconnect(error) is False


@pytest.mark.req("A-24")
def test_a_group_with_a_real_error_in_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A departure must not hide a bug that was found at the same moment."""

    class Boom(Exception):
        pass

    ending = Ending()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with ending:
            await receive()
            await send(start())
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await receive()
            raise Group(GONE, Boom())

    with caplog.at_level(logging.ERROR), bridged(app) as wsgi:
        iterable: Any = wsgi({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers: None)
        iterable.close()
        ending.over.wait()
    assert len(caplog.records) == 1
