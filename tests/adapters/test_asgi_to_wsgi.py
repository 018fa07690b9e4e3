"""Ordinary requests, construction, the loop that all share, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.asgi_apps import (
    Ending,
    Lifespan,
    Scopes,
    ask,
    body,
    bridged,
    echo,
    finish,
    http,
    in_progress,
    no_loop_left,
    respond,
    start,
)
from support.drive import Signal
from support.engines import Thread, eventually, script, threads_named
from support.wsgi_drive import Exchange, drive, make_environ

from bridge import ASGIToWSGI, WSGIToASGI
from bridge.adapters import asgi_runtime
from bridge.engines import crossing, gates
from bridge.exceptions import AdapterClosed, LoopGone, StartupFailed, UsageError

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
needs_uvloop = pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")


class Boom(Exception):
    """What the apps of these tests raise."""


def loop_of(app_calls: list[Any]) -> Any:
    """An app that notes its loop and its thread, and answers."""

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        app_calls.append((asyncio.get_running_loop(), threading.current_thread()))
        await finish(send, b"ok")

    return app


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait look more often whether the loop is alive."""
    monkeypatch.setattr(crossing, "LOOK", 0.05)
    monkeypatch.setattr(gates.Latch, "LOOK", 0.05)


# -- ordinary requests


@pytest.mark.req("A-04", "A-14", "A-16", "A-19")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_request_and_its_response(method: str) -> None:
    app = Scopes()
    answer = ask(app, method=method, path="/notes/%C3%A9?page=2", headers=[("X-A", "1")]).unwrap()
    assert (answer.status, answer.reason, answer.headers, answer.body) == (200, "OK", [], b"ok")
    (scope,) = app.seen
    assert (scope["type"], scope["method"], scope["path"]) == ("http", method, "/notes/\u00e9")
    assert (scope["query_string"], scope["http_version"]) == (b"page=2", "1.1")
    assert (b"x-a", b"1") in scope["headers"]


@pytest.mark.req("A-04")
def test_the_app_is_called_once_with_three_positional_arguments() -> None:
    calls: list[Any] = []

    class App:
        async def __call__(self, *args: Any) -> None:
            scope, _, send = args
            calls.append(scope["type"])
            if scope["type"] == "lifespan":
                raise NotImplementedError
            await finish(send)

    with bridged(App()) as wsgi:
        assert drive(wsgi).status == 200
    assert calls == ["lifespan", "http"]


@pytest.mark.req("A-04")
@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_double_callable_of_asgi_2_is_accepted(kind: str) -> None:
    class App:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            if self.scope["type"] != "http":
                raise NotImplementedError
            message = await receive()
            await finish(send, self.scope["path"].encode() + message["body"])

    def app(scope: Any) -> Any:
        return App(scope)

    answer = ask(App if kind == "class" else app, method="POST", path="/two", body=b"!").unwrap()
    assert answer.body == b"/two!"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.req("A-04")
def test_the_app_runs_in_a_copy_of_the_callers_context() -> None:
    """What middleware around it has set, the app and its tasks see; what the app sets stays inside."""
    seen: list[Any] = []

    async def child() -> None:
        seen.append(variable.get())

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set("app's")
        await asyncio.create_task(child())
        await finish(send)

    def call(value: str) -> str:
        variable.set(value)
        list(wsgi(make_environ(), lambda status, headers: None))
        return variable.get()

    with bridged(app) as wsgi:
        wsgi.start()
        afterwards = [Thread(lambda value=value: call(value)).outcome() for value in ("a", "b")]  # type: ignore[misc]
    assert seen == ["a", "app's", "b", "app's"]
    assert afterwards == ["a", "b"]
    assert variable.get() == "unset"


def test_lifespan_and_loop_do_not_inherit_the_first_requests_context() -> None:
    """Which request happens to come first says nothing about the process."""
    seen: list[str] = []

    async def startup(scope: Any) -> None:
        seen.append(variable.get())

    def call() -> None:
        variable.set("first request's")
        list(wsgi(make_environ(), lambda status, headers: None))

    with bridged(Lifespan(startup=startup)) as wsgi:
        Thread(call).outcome()
    assert seen == ["unset"]


@pytest.mark.req("S-18")
def test_the_environ_is_in_the_scope() -> None:
    app = Scopes()
    environ = make_environ()
    with bridged(app) as wsgi:
        drive(wsgi, environ)
    assert app.seen[0]["wsgi_environ"] is environ


@pytest.mark.req("H-05")
def test_forwarded_headers_change_nothing() -> None:
    """That is for middleware that knows whom to trust."""
    app = Scopes()
    names = ("Host", "Port", "Proto", "For", "Prefix", "Scheme", "Ssl")
    headers = [(f"X-Forwarded-{name}", "https") for name in names]
    headers += [("Forwarded", "for=evil;proto=https;host=evil"), ("X-Real-Ip", "6.6.6.6")]
    with bridged(app) as wsgi:
        drive(wsgi, HTTP_HOST="evil.example", headers=headers)
        drive(wsgi)
    forwarded, plain = app.seen
    for key in ("scheme", "client", "server", "path", "root_path", "raw_path"):
        assert forwarded[key] == plain[key], key


@pytest.mark.req("A-04")
def test_nothing_refers_to_a_request_that_is_over() -> None:
    """Neither in a cycle: memory must not wait for the collector."""

    class Witness:
        """Something in an environ."""

    gc.disable()
    try:
        with bridged(echo) as wsgi:
            for extra in ({}, {"method": "HEAD"}, {"body": b"x" * 100_000, "method": "POST"}):
                witness = Witness()
                gone = weakref.ref(witness)
                environ = make_environ(**extra, **{"test.witness": witness})  # type: ignore[arg-type]
                iterable = wsgi(environ, lambda status, headers: None)
                list(iterable)
                iterable.close()  # type: ignore[attr-defined]
                del iterable, environ, witness
                eventually(lambda gone=gone: gone() is None, "the request is forgotten")  # type: ignore[misc]
    finally:
        gc.enable()


def test_repr_names_the_app() -> None:
    app = Scopes()
    assert repr(app) in repr(ASGIToWSGI(app))


# -- construction


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app."""


def wsgi_app(environ: Any, start_response: Any) -> Iterator[bytes]:
    """A WSGI app."""
    yield b""


@pytest.mark.parametrize(
    ("app", "message"),
    [(None, "callable"), ("module:app", "callable"), (wsgi_app, "WSGI application already")],
    ids=["None", "str", "WSGI"],
)
def test_what_is_no_asgi_app_is_refused(app: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ASGIToWSGI(app)


@pytest.mark.parametrize(
    "options",
    [
        {"lifespan": "maybe"},
        {"lifespan": None},
        {"lifespan": True},
        {"loop_factory": "uvloop"},
        {"loop": "loop"},
        {"read_ahead": 0},
        {"read_ahead": None},
        {"write_ahead": 0},
        {"write_ahead": 1.5},
        {"write_ahead": True},
        {"max_body": -1},
        {"max_body": "1"},
        {"startup_timeout": -1},
        {"startup_timeout": "60"},
        {"shutdown_timeout": -0.5},
        {"shutdown_timeout": float("nan")},
        {"disconnect_grace": None},
        {"disconnect_grace": -1},
        {"background_wait": -1},
        {"background_wait": "0"},
    ],
    ids=repr,
)
def test_an_option_that_cannot_be_used_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        ASGIToWSGI(asgi_app, **options)
    (name,) = options
    assert name in str(error.value)


def test_loop_and_loop_factory_exclude_each_other() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(UsageError, match="exclude"):
            ASGIToWSGI(asgi_app, loop=loop, loop_factory=asyncio.new_event_loop)
    finally:
        loop.close()


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        ASGIToWSGI(asgi_app, "on")  # type: ignore[call-arg]


def test_limits_may_be_none() -> None:
    options: dict[str, Any] = {
        "max_body": None,
        "startup_timeout": None,
        "shutdown_timeout": None,
        "background_wait": None,
    }
    with bridged(Lifespan(), **options) as wsgi:
        assert drive(wsgi).body == b"ok"


# -- one loop


@pytest.mark.req("A-01")
def test_one_loop_in_one_daemon_thread_serves_all_requests() -> None:
    calls: list[Any] = []
    with bridged(loop_of(calls)) as wsgi:
        clients = [Thread(lambda: drive(wsgi)) for _ in range(20)]
        for client in clients:
            assert client.outcome().status == 200
    assert len(calls) == 20
    assert len({id(loop) for loop, _ in calls}) == 1
    ((_, thread), *others) = calls
    assert {other for _, other in others} == {thread}
    assert thread.daemon
    assert thread.name == "bridge-loop"
    assert thread not in (threading.main_thread(), threading.current_thread())


@pytest.mark.req("A-01")
def test_adapters_share_the_loop_and_the_last_one_ends_it() -> None:
    calls: list[Any] = []
    app = loop_of(calls)

    def own() -> asyncio.AbstractEventLoop:  # nobody else's adapter has this loop
        return asyncio.new_event_loop()

    with bridged(app, loop_factory=own) as one:
        drive(one)
        with bridged(app, loop_factory=own) as two:
            drive(two)
            drive(one)
        drive(one)  # closing the other has not disturbed it
    assert len({id(loop) for loop, _ in calls}) == 1
    assert calls[0][0].is_closed()
    with bridged(app, loop_factory=own) as three:
        drive(three)
    assert calls[-1][0] is not calls[0][0]


def another_loop() -> asyncio.AbstractEventLoop:
    """A factory of one's own."""
    return asyncio.new_event_loop()


@pytest.mark.req("A-01")
def test_another_factory_makes_another_loop() -> None:
    calls: list[Any] = []
    app = loop_of(calls)
    with bridged(app) as one, bridged(app, loop_factory=another_loop) as two:
        for adapter in (one, two, one, two):
            drive(adapter)
    first, second, third, fourth = [loop for loop, _ in calls]
    assert first is third
    assert second is fourth
    assert first is not second


@needs_uvloop
@pytest.mark.req("A-01")
def test_uvloop_on_request() -> None:
    uvloop: Any = pytest.importorskip("uvloop")
    seen: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(asyncio.get_running_loop())
        await echo(scope, receive, send)

    with bridged(app, loop_factory=uvloop.new_event_loop) as wsgi:
        assert drive(wsgi, method="POST", body=b"x" * 300_000).unwrap().body == b"x" * 300_000
        assert drive(wsgi, path="/2").unwrap().body == b""
    assert isinstance(seen[0], uvloop.Loop)


@pytest.mark.req("A-01")
def test_a_slow_app_does_not_hold_up_another_request() -> None:
    """They even wait for each other."""
    signals = {"/a": Signal(), "/b": Signal()}

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        signals[scope["path"]].set()
        for signal in signals.values():
            await signal.come()
        await finish(send)

    with bridged(app) as wsgi:
        clients = [Thread(lambda path=path: drive(wsgi, path=path)) for path in signals]  # type: ignore[misc]
        assert [client.outcome().status for client in clients] == [200, 200]


@pytest.mark.req("A-01", "A-18")
def test_a_stalled_client_does_not_hold_up_another_request() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/other":
            await finish(send, b"served")
            return
        await send(start())
        while True:
            await send(body(b"x" * 65_536, more=True))

    with bridged(http(app)) as wsgi, Exchange(wsgi) as stalled:
        stalled.call()
        (running,) = in_progress(wsgi)
        eventually(lambda: running._blocked)
        assert drive(wsgi, path="/other").body == b"served"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: "no loop", "must return an asyncio event loop"),
        (lambda: asyncio.new_event_loop, "must return an asyncio event loop"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["no loop", "a factory of factories", "raises"],
)
def test_a_loop_factory_that_makes_no_loop(factory: Callable[[], Any], message: str) -> None:
    """It is told to every request, and none of them hangs."""
    with bridged(Lifespan(), loop_factory=factory) as wsgi:
        with pytest.raises(UsageError, match=message):
            wsgi.start()
        for _ in range(2):
            answer = drive(wsgi)
            assert isinstance(answer.error, UsageError)


def test_a_loop_factory_that_fails_once() -> None:
    """The process was out of descriptors, say; the next request is served."""
    failures = [OSError("too many open files")]

    def factory() -> asyncio.AbstractEventLoop:
        if failures:
            raise failures.pop()
        return asyncio.new_event_loop()

    with bridged(Lifespan(), loop_factory=factory) as wsgi:
        assert isinstance(drive(wsgi).error, UsageError)
        assert drive(wsgi).body == b"ok"


# -- somebody else's loop


class Foreign:
    """An event loop that somebody runs in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._run()

    def _run(self) -> None:
        self.thread = threading.Thread(target=self.loop.run_forever, name="foreign", daemon=True)
        self.thread.start()
        eventually(self.loop.is_running)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        assert not self.thread.is_alive()

    def close(self) -> None:
        if not self.loop.is_closed():
            if self.thread.is_alive():
                self.stop()
            self.loop.close()


@pytest.fixture
def foreign() -> Iterator[Foreign]:
    """Somebody else's loop, which is closed at the end."""
    made = Foreign()
    yield made
    made.close()


def test_a_loop_that_runs_already_is_used_and_left_running(foreign: Foreign) -> None:
    calls: list[Any] = []
    app = Lifespan(loop_of(calls))
    before = set(threads_named("bridge-loop"))
    with bridged(app, loop=foreign.loop) as wsgi:
        drive(wsgi)
        drive(wsgi)
        assert set(threads_named("bridge-loop")) <= before
    assert [loop for loop, _ in calls] == [foreign.loop] * 2
    assert app.log == ["startup", "/", "/", "shutdown", "left"]
    assert foreign.loop.is_running()
    assert isinstance(drive(wsgi).error, AdapterClosed)


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("closed", [False, True], ids=["stopped", "closed"])
def test_a_loop_that_does_not_run_is_a_clear_error(closed: bool) -> None:
    loop = asyncio.new_event_loop()
    if closed:
        loop.close()
    app = Lifespan()
    adapter = ASGIToWSGI(app, loop=loop)
    try:
        for _ in range(2):
            error = drive(adapter).error  # within the time that a step may take
            assert isinstance(error, LoopGone)
            assert "does not run" in str(error)
        adapter.close()
    finally:
        loop.close()
    assert app.log == []


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("closed", [False, True], ids=["stopped", "closed"])
def test_a_loop_that_its_owner_stops_is_a_clear_error(foreign: Foreign, closed: bool) -> None:
    """For the request that waits, and for those that come."""
    began = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            began.set()
            await Signal().come()
        await finish(send)

    adapter = ASGIToWSGI(http(app), loop=foreign.loop)
    drive(adapter)
    waiting = Thread(lambda: drive(adapter, path="/wait"))
    began.wait()
    foreign.stop()
    assert isinstance(waiting.outcome().error, LoopGone)
    if closed:
        for task in asyncio.all_tasks(foreign.loop):
            task.cancel()
        foreign.loop.run_until_complete(asyncio.sleep(0))
        foreign.loop.close()
    assert isinstance(drive(adapter).error, LoopGone)
    Thread(adapter.close).outcome()
    if not closed:
        for task in asyncio.all_tasks(foreign.loop):
            task.cancel()
        foreign.loop.run_until_complete(asyncio.sleep(0))


# -- the loop's own thread


@pytest.mark.req("A-03")
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("how", ["call", "start", "enter"])
def test_use_on_the_loops_own_thread_is_refused(started: bool, how: str) -> None:
    """At once, where waiting would block the loop for ever; also before the adapter has started."""
    caught: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            if how == "call":
                other(make_environ(), lambda status, headers: None)
            elif how == "start":
                other.start()
            else:
                other.__enter__()
        except Exception as error:
            caught.append(error)
        await finish(send, b"ok")

    other_app = Lifespan()
    with bridged(other_app, startup_timeout=30) as other, bridged(app) as wsgi:
        if started:
            other.start()
        assert drive(wsgi).body == b"ok"
        assert drive(other).body == b"ok"  # it is none the worse for it
    if started and how != "call":
        assert caught == []
    else:
        assert [type(error) for error in caught] == [UsageError]
        assert "own event loop's thread" in str(caught[0])
    assert other_app.log == ["startup", "/", "shutdown", "left"]


@pytest.mark.req("A-03")
def test_a_request_from_within_a_request_is_refused() -> None:
    caught: list[Any] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(UsageError) as error:
            wsgi(make_environ(), lambda status, headers: None)
        caught.append(error.value)
        await finish(send)

    with bridged(app) as wsgi:
        assert drive(wsgi).status == 200
    assert len(caught) == 1


@pytest.mark.req("A-03")
def test_a_request_from_the_apps_own_startup_is_refused() -> None:
    caught: list[Any] = []

    async def startup(scope: Any) -> None:
        try:
            wsgi(make_environ(), lambda status, headers: None)
        except Exception as error:
            caught.append(error)

    with bridged(Lifespan(startup=startup), startup_timeout=30) as wsgi:
        assert drive(wsgi).body == b"ok"
    assert [type(error) for error in caught] == [UsageError]


@pytest.mark.req("A-03")
def test_on_a_foreign_loops_thread_it_is_refused_as_well(foreign: Foreign) -> None:
    adapter = ASGIToWSGI(Lifespan(), loop=foreign.loop, startup_timeout=30)

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(UsageError):
                adapter(make_environ(), lambda status, headers: None)

    asyncio.run_coroutine_threadsafe(main(), foreign.loop).result(10)
    assert drive(adapter).body == b"ok"
    adapter.close()


@pytest.mark.req("A-03")
def test_from_a_worker_thread_of_the_loop_it_works() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/outer":
            answer = await asyncio.to_thread(drive, wsgi, path="/inner")
            await finish(send, b"outer " + answer.body)
        else:
            await finish(send, b"inner")

    with bridged(app) as wsgi:
        assert drive(wsgi, path="/outer").body == b"outer inner"


@pytest.mark.req("A-03", "S-20")
def test_four_adapters_deep_with_pools_of_one_thread_do_not_deadlock() -> None:
    """All event loops among them are one; eight requests at a time wait for each pool's only thread."""

    def innermost(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        data = environ["wsgi.input"].read()
        start_response("200 OK", [("X-Deep", "yes")])
        return [environ["PATH_INFO"].encode() + b" ", data]

    inner = ASGIToWSGI(WSGIToASGI(innermost, threads=1))
    with bridged(WSGIToASGI(inner, threads=1)) as outer:
        clients = [
            Thread(lambda n=n: drive(outer, method="POST", path=f"/{n}", body=b"%d" % n * 50_000))  # type: ignore[misc]
            for n in range(8)
        ]
        for number, client in enumerate(clients):
            answer = client.outcome().unwrap()
            assert answer.body == b"/%d " % number + b"%d" % number * 50_000
            assert answer.header("x-deep") == "yes"
        Thread(inner.close).outcome()


# -- fork

FORK = """
import asyncio, io, os, sys, threading
from bridge import ASGIToWSGI

def say(what):
    os.write(1, f"{what}\\n".encode())

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        say("startup " + role)
        scope["state"]["pid"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("shutdown " + role)
        await send({"type": "lifespan.shutdown.complete"})
        return
    assert scope["state"]["pid"] == os.getpid()
    message = await receive()
    await send({"type": "http.response.start", "status": 200})
    await asyncio.to_thread(int)
    await send({"type": "http.response.body", "body": role.encode()})

def request():
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO()}
    body = wsgi(environ, lambda status, headers: None)
    say("served " + b"".join(body).decode())
    body.close()

def in_child(name):
    global role
    pid = os.fork()
    if pid == 0:
        role = name
        if "thread" in name:
            thread = threading.Thread(target=request)
            thread.start()
            thread.join()
        else:
            request()
        sys.exit(0)  # as servers' workers end: through the interpreter
    assert os.waitpid(pid, 0)[1] == 0

role = "parent"
wsgi = ASGIToWSGI(app, lifespan="on")
"""


@needs_fork
@pytest.mark.req("A-02", "L-10")
@pytest.mark.filterwarnings("ignore:This process")
def test_constructed_before_the_fork_each_worker_has_its_own() -> None:
    """As with Gunicorn's --preload: the parent itself starts nothing."""
    lines = script(FORK + "in_child('one')\nin_child('two')\n", timeout=20).splitlines()
    expected = [f"{what} {name}" for name in ("one", "two") for what in ("startup", "served", "shutdown")]
    assert lines == expected


@needs_fork
@pytest.mark.req("A-02", "L-10")
@pytest.mark.filterwarnings("ignore:This process")
def test_forked_after_first_use_the_child_starts_anew() -> None:
    """And parent and grandchildren go on as if nothing had happened."""
    lines = script(
        FORK
        + """
request()
in_child("one")
in_child("two in a thread")
request()
pid = os.fork()
if pid == 0:
    role = "three"
    request()
    in_child("grandchild")
    request()
    wsgi.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
request()
pid = os.fork()
if pid == 0:
    sys.exit(0)  # a child that makes no request has nothing to shut down
assert os.waitpid(pid, 0)[1] == 0
""",
        timeout=30,
    ).splitlines()

    def lived(name: str, *inside: str) -> list[str]:
        return [f"startup {name}", f"served {name}", *inside, f"shutdown {name}"]

    assert lines == lived(
        "parent",
        *lived("one"),
        *lived("two in a thread"),
        "served parent",
        *lived("three", *lived("grandchild"), "served three"),
        "served parent",
    )


# -- a loop that comes to an end


@pytest.mark.req("A-01")
def test_an_app_that_stops_the_loop_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    """Other requests go on, and this one too."""
    waiting, may_end = Signal(), Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stop":
            asyncio.get_running_loop().stop()
        elif scope["path"] == "/wait":
            waiting.set()
            await may_end.come()
        await finish(send, b"ok")

    lived = Lifespan(http(app))
    with bridged(lived) as wsgi:
        client = Thread(lambda: drive(wsgi, path="/wait"))
        waiting.wait()
        assert drive(wsgi, path="/stop").body == b"ok"
        assert drive(wsgi).body == b"ok"
        may_end.set()
        assert client.outcome().body == b"ok"
    assert lived.log.count("startup") == 1
    assert "bridge.loop" in {record.name for record in caplog.records}


@pytest.mark.req("A-01")
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_task_that_exits_does_not_end_the_loop(kind: type[BaseException]) -> None:
    """asyncio lets these two through to whoever runs the loop."""

    async def exits() -> None:
        raise kind

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/exit":
            task = asyncio.create_task(exits())
            await asyncio.wait([task])
            assert isinstance(task.exception(), kind)
        await finish(send, b"ok")

    lived = Lifespan(http(app))
    with bridged(lived) as wsgi:
        assert drive(wsgi, path="/exit").body == b"ok"
        assert drive(wsgi).body == b"ok"
    assert lived.log.count("startup") == 1


@pytest.mark.req("A-01")
@pytest.mark.usefixtures("quick_looks")
def test_an_app_that_cancels_every_task_does_not_end_the_loop() -> None:
    """It is the end of its lifespan and of other requests, though."""
    waiting = Signal()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/cancel":
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        elif scope["path"] == "/wait":
            waiting.set()
            await asyncio.Event().wait()
        await finish(send, b"ok")

    with bridged(Lifespan(app), loop_factory=lambda: asyncio.new_event_loop()) as wsgi:
        client = Thread(lambda: drive(wsgi, path="/wait"))
        waiting.wait()
        assert drive(wsgi, path="/cancel").body == b"ok"
        assert client.outcome().status == 500
        assert drive(wsgi).body == b"ok"


def end_loop_thread(adapter: ASGIToWSGI) -> None:
    """Let the loop's thread end as if by itself."""
    assert adapter._runtime is not None
    thread = adapter._runtime.loop_thread
    thread._stopping = True
    thread.submit(thread._stop_soon)
    assert thread._ended.wait(10, lambda: True)


@pytest.mark.req("A-02")
@pytest.mark.usefixtures("quick_looks")
def test_a_loop_thread_that_ends_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """With a new startup, since the old one's objects belong to the old loop."""
    calls: list[Any] = []
    app = Lifespan(loop_of(calls))
    with bridged(app) as wsgi:
        drive(wsgi)
        end_loop_thread(wsgi)
        clients = [Thread(lambda: drive(wsgi)) for _ in range(5)]
        assert [client.outcome().status for client in clients] == [200] * 5
    assert calls[0][0] is not calls[1][0]
    assert len({id(loop) for loop, _ in calls}) == 2
    assert app.log.count("startup") == 2
    assert ("bridge.asgi", "ERROR") in {(record.name, record.levelname) for record in caplog.records}


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("begun", [False, True])
def test_a_request_whose_loop_ends_under_it_fails(begun: bool) -> None:
    """Before output it gets an answer or an exception, during output an exception; it never hangs."""
    waiting = Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send(start())
            await send(body(b"begun", more=True))
        waiting.set()
        await asyncio.Event().wait()

    with bridged(app) as wsgi:
        client = Thread(lambda: drive(wsgi))
        waiting.wait()
        end_loop_thread(wsgi)
        answer = client.outcome()
        assert answer.error is not None or (not begun and answer.status == 500)


@pytest.mark.usefixtures("quick_looks")
def test_a_startup_whose_loop_ends_under_it_fails() -> None:
    starting = Signal()

    async def startup(scope: Any) -> None:
        starting.set()
        await asyncio.Event().wait()

    with bridged(Lifespan(startup=startup), startup_timeout=None) as wsgi:
        client = Thread(lambda: drive(wsgi))
        starting.wait()
        end_loop_thread(wsgi)
        assert isinstance(client.outcome().error, (LoopGone, StartupFailed))


@pytest.mark.req("A-02")
@pytest.mark.usefixtures("quick_looks")
def test_a_loop_that_is_closed_under_its_thread_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """By somebody who stopped it first. The thread ends, instead of complaining for ever."""
    loops: list[Any] = []

    class Fragile(asyncio.SelectorEventLoop):
        fragile = True

        def run_forever(self) -> None:
            super().run_forever()
            if self.fragile:
                self.fragile = False
                self.close()

    def factory() -> asyncio.AbstractEventLoop:
        loops.append(Fragile())
        return loops[-1]  # type: ignore[no-any-return]

    with no_loop_left():
        adapter = ASGIToWSGI(respond(b"ok"), loop_factory=factory)
        drive(adapter)
        loops[0].call_soon_threadsafe(loops[0].stop)
        eventually(loops[0].is_closed)
        answers = [drive(adapter) for _ in range(3)]
        assert [answer.body for answer in answers[-2:]] == [b"ok", b"ok"]
        loops[-1].fragile = False
        adapter.close()
    assert len(caplog.records) < 20


# -- what is left


@pytest.mark.req("A-01")
def test_a_hundred_adapters_that_are_dropped_leave_nothing() -> None:
    """Neither threads, nor tasks, nor lifespans that run on."""
    apps = [Lifespan() for _ in range(100)]
    with no_loop_left():
        for app in apps:
            adapter = ASGIToWSGI(app)
            assert drive(adapter).status == 200
            del adapter
        eventually(lambda: all(app.log == ["startup", "/", "shutdown", "left"] for app in apps))


def test_a_hundred_adapters_have_one_thread() -> None:
    def own() -> asyncio.AbstractEventLoop:  # nobody else's adapter has this loop
        return asyncio.new_event_loop()

    adapters = [ASGIToWSGI(respond(b"x"), loop_factory=own) for _ in range(100)]
    with no_loop_left():
        before = set(threads_named("bridge-"))
        for adapter in adapters:
            adapter.start()
        assert [thread.name for thread in set(threads_named("bridge-")) - before] == ["bridge-loop"]
        for adapter in adapters:
            adapter.close()


def test_an_adapter_that_is_dropped_during_a_response_lets_it_end() -> None:
    """`as_wsgi(app)(environ, start_response)`, say."""
    may_end = Signal()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", more=True))
        await may_end.come()
        await send(body(b"last"))

    with no_loop_left():
        iterable: Any = ASGIToWSGI(app)(make_environ(), lambda status, headers: None)
        assert next(iterable) == b"first"
        may_end.set()
        assert list(iterable) == [b"last"]
        iterable.close()


def test_closing_while_the_first_request_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may take a while, since it imports asyncio: it is refused, and starts nothing that stays."""
    app = Lifespan()
    original = asgi_runtime.Runtime

    def make(*args: Any) -> Any:
        adapter.close()
        return original(*args)

    monkeypatch.setattr(asgi_runtime, "Runtime", make)
    with no_loop_left():
        adapter = ASGIToWSGI(app)
        assert isinstance(drive(adapter).error, AdapterClosed)
    assert app.log == []


def test_a_task_that_the_app_starts_outlives_its_request() -> None:
    ending, may_end = Ending(), Signal()
    tasks: list[Any] = []

    async def work() -> None:
        async with ending:
            await may_end.come()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.create_task(work()))
        await finish(send)

    with bridged(app) as wsgi:
        drive(wsgi)
        drive(wsgi)
        assert not ending.over.is_set
        may_end.set()
        ending.over.wait()
        eventually(lambda: all(task.done() for task in tasks))
    assert ending.error is None


def test_ordinary_requests_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), bridged(Lifespan(echo)) as wsgi:
        drive(wsgi)
        drive(wsgi, method="POST", body=b"x" * 100_000)
        drive(wsgi, method="HEAD")
    assert [record for record in caplog.records if record.name.startswith("bridge")] == []
