"""Asks bridge and a2wsgi, the other ASGI-under-WSGI adapter, the same questions, and writes the answers down.

    python docs/_compare_asgi.py                  print the table, with what is installed
    python docs/_compare_asgi.py --write          write it into docs/explanation/comparison.md
    python docs/_compare_asgi.py ADAPTER          its answers to all questions, in one process
    python docs/_compare_asgi.py ADAPTER PROBE    one answer

Needs the `dev` extra. For the table, each answer comes from a process of its own. One that takes longer than
LIMIT is "no": the adapter has hung.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import io
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS))  # for `_compare_table`, if this file is not run but loaded

from _compare_table import HUNG, PAGE, Comparison, versions  # noqa: E402

LIMIT = 4.0
"""Seconds after which a probe has failed: none waits for anything but its adapter."""

comparison = Comparison(__file__, "compared asgi", {"bridge": "bridge", "a2wsgi": "a2wsgi"}, LIMIT)
PROBES, BEGIN, END = comparison.probes, comparison.begin, comparison.end
probe = comparison.probe

Build = Callable[[Any], Any]
"""Makes a WSGI application of an ASGI application, with the adapter's defaults."""


def build_by(adapter: str) -> Build:
    if adapter == "bridge":
        from bridge import ASGIToWSGI

        return ASGIToWSGI
    a2wsgi: Any = importlib.import_module("a2wsgi")
    build: Build = a2wsgi.ASGIMiddleware
    return build


# --- driving an adapter


class Call:
    """One request, as a WSGI server makes it, step by step."""

    def __init__(self, app: Any, method: str = "GET", body: bytes = b"", **environ: Any) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        whole = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": "/",
            "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "compare.test",
            "CONTENT_LENGTH": str(len(body)) if body else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            **environ,
        }
        environ = {key: value for key, value in whole.items() if value is not None}
        self.result: Any = app(environ, self._start_response)
        self.status_when_returned = self.status
        self._pieces = iter(self.result)

    def _start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        self.status, self.headers = status, headers
        return None

    def next(self) -> bytes:
        piece: bytes = next(self._pieces)
        return piece

    def rest(self) -> bytes:
        return b"".join(self._pieces)

    def close(self) -> None:
        close = getattr(self.result, "close", None)
        if close is not None:
            close()

    def finish(self) -> Call:
        self.body = self.rest()
        self.close()
        return self

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name), None)


def without_lifespan(app: Any) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        await app(scope, receive, send)

    return wrapped


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sending(*messages: Any) -> Any:
    """An app that sends these messages."""

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def scope_of(build: Build, **environ: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await send(start())
        await send(body())

    Call(build(app), **environ).finish()
    return seen


def header_of(scope: dict[str, Any], name: bytes) -> bytes | None:
    return next((value for known, value in scope["headers"] if known == name), None)


def fails(build: Build, app: Any) -> bool:
    """Whether a request to `app` is answered by 500, or raised into the server; not well, and no hang."""
    try:
        return Call(build(app)).finish().status.startswith("500")
    except Exception:
        return True


# --- lifespan and processes

LIFE = "Lifespan and processes"


def living(events: list[str], failing: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            events.append("startup")
            if failing:
                await send({"type": "lifespan.startup.failed", "message": "planned"})
                return
            scope["state"]["made"] = "at startup"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            events.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        events.append("request")
        await send(start())
        await send(body(scope.get("state", {}).get("made", "nothing").encode()))

    return app


@probe(LIFE, "startup runs, once, before the first request")
def startup(build: Build) -> bool:
    events: list[str] = []
    app = build(living(events))
    Call(app).finish()
    Call(app).finish()
    return events == ["startup", "request", "request"]


@probe(LIFE, "requests get what the lifespan has made (`state`)")
def state(build: Build) -> bool:
    return Call(build(living([]))).finish().body == b"at startup"


@probe(LIFE, "an application whose startup fails is not served")
def failed_startup(build: Build) -> bool:
    events: list[str] = []
    return fails(build, living(events, failing=True)) and "request" not in events


@probe(LIFE, "shutdown runs at the end of the process")
def shutdown(build: Build) -> bool:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import _compare_asgi as c, atexit\n"
        "events = []; atexit.register(lambda: print(events))\n"
        "c.Call(c.build_by(sys.argv[2])(c.living(events))).finish()"
    )
    name = "bridge" if build is build_by("bridge") else "a2wsgi"
    done = subprocess.run([sys.executable, "-c", code, str(DOCS), name], capture_output=True, text=True)
    return done.stdout.strip() == "['startup', 'request', 'shutdown']"


@probe(LIFE, "an adapter that was made before a fork serves after it")
def fork(build: Build) -> bool:
    app = build(sending(start(), body(b"served")))
    child = os.fork()
    if child == 0:
        os._exit(0 if Call(app).finish().body == b"served" else 1)
    for _ in range(int(comparison.limit * 50)):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@probe(LIFE, "twenty adapters do not make twenty threads")
def threads(build: Build) -> bool:
    before = threading.active_count()
    adapters = [build(sending(start(), body())) for _ in range(20)]
    for adapter in adapters:
        Call(adapter).finish()
    return threading.active_count() - before < 20


# --- failures

FAILURES = "What fails"


@probe(FAILURES, "an application that returns without a response is a 500")
def silent(build: Build) -> bool:
    return fails(build, sending())


@probe(FAILURES, "… and one that has sent only its start")
def only_start(build: Build) -> bool:
    return fails(build, sending(start()))


def raising(error: BaseException) -> Any:
    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return app


@probe(FAILURES, "… and one that raises `CancelledError`")
def cancelled(build: Build) -> bool:
    return fails(build, raising(asyncio.CancelledError()))


@probe(FAILURES, "… or `SystemExit`, and the next request is served")
def system_exit(build: Build) -> bool:
    asked = []

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(1)
        if len(asked) == 1:
            raise SystemExit("planned")
        await send(start())
        await send(body(b"served"))

    adapter = build(app)
    return fails(lambda app: adapter, app) and Call(adapter).finish().body == b"served"


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[logging.LogRecord] = []
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)

    def has_error(self) -> bool:
        """Whether an exception gets into the log within a second."""
        deadline = time.monotonic() + comparison.limit / 4
        while time.monotonic() < deadline:
            if any(record.exc_info for record in self.seen):
                return True
            time.sleep(0.01)
        return False


@probe(FAILURES, "an exception of the application is logged, or raised into the server")
def logged(build: Build) -> bool:
    records = Records()
    try:
        Call(build(raising(RuntimeError("planned")))).finish()
    except RuntimeError:
        return True
    return records.has_error()


@probe(FAILURES, "an exception after output reaches the server, which can break off")
def after_output(build: Build) -> bool:
    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", more=True))
        raise RuntimeError("planned")

    call = Call(build(app))
    try:
        call.rest()
    except RuntimeError:
        return True
    return False


@probe(FAILURES, "too little for `content-length` does not end as if whole")
def too_little(build: Build) -> bool:
    try:
        Call(build(sending(start(200, (b"content-length", b"9")), body(b"short")))).finish()
    except Exception:
        return True
    return False


@probe(FAILURES, "a line break in a header is refused")
def line_break(build: Build) -> bool:
    try:
        call = Call(build(sending(start(200, (b"x-a", b"1\r\nx-b: 2")), body()))).finish()
    except Exception:
        return True
    return call.header("x-a") is None


# --- responses

RESPONSES = "Responses"


@probe(RESPONSES, "`start_response` is called before the application returns")
def eager(build: Build) -> bool:
    return Call(build(sending(start(418), body(b"tea")))).status_when_returned.startswith("418")


@probe(RESPONSES, "`headers` may be left out")
def no_headers(build: Build) -> bool:
    message = {"type": "http.response.start", "status": 200}
    return Call(build(sending(message, body(b"ok")))).finish().body == b"ok"


@probe(RESPONSES, "no body for HEAD")
def head(build: Build) -> bool:
    return Call(build(sending(start(), body(b"body"))), "HEAD").finish().body == b""


@probe(RESPONSES, "surplus beyond `content-length` is cut")
def surplus(build: Build) -> bool:
    app = sending(start(200, (b"content-length", b"2")), body(b"okay"))
    return Call(build(app)).finish().body == b"ok"


@probe(RESPONSES, "hop-by-hop headers do not pass")
def hop_by_hop(build: Build) -> bool:
    app = sending(start(200, (b"transfer-encoding", b"chunked")), body(b"ok"))
    return Call(build(app)).finish().header("transfer-encoding") is None


@probe(RESPONSES, "pieces leave while the next is being made")
def pieces(build: Build) -> bool:
    go_on = threading.Event()

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"first", more=True))
        while not go_on.is_set():
            await asyncio.sleep(0.01)
        await send(body(b"last"))

    call = Call(build(app))
    first = call.next()
    go_on.set()
    return first == b"first" and call.rest() == b"last"


@probe(RESPONSES, "a server that does not take it stops the application")
def back_pressure(build: Build) -> bool:
    made = 0

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        await send(start())
        while True:
            await send(body(bytes(65536), more=True))
            made += 1

    call = Call(build(app))
    call.next()
    time.sleep(0.5)
    return made < 100


@probe(RESPONSES, "work after the response does not hold it")
def background(build: Build) -> bool:
    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"ok"))
        await asyncio.sleep(comparison.limit / 2)

    begun = time.monotonic()
    Call(build(app)).finish()
    return time.monotonic() - begun < comparison.limit / 4


@probe(RESPONSES, "… and its exceptions are logged")
def background_error(build: Build) -> bool:
    records = Records()

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"ok"))
        raise RuntimeError("planned")

    Call(build(app)).finish()
    return records.has_error()


# --- bodies and clients

BODIES = "Bodies and clients"


def reading(seen: list[str]) -> Any:
    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = b""
        for _ in range(1000):
            message = await receive()
            if message["type"] == "http.disconnect":
                seen.append("disconnect")
                return
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        else:
            return
        seen.append("complete")
        await send(start())
        await send(body(data))

    return app


@probe(BODIES, "an upload")
def upload(build: Build) -> bool:
    return Call(build(reading([])), "POST", bytes(200_000)).finish().body == bytes(200_000)


@probe(BODIES, "an upload of unknown length (chunked)")
def chunked(build: Build) -> bool:
    call = Call(
        build(reading([])),
        "POST",
        b"abc",
        CONTENT_LENGTH=None,
        HTTP_TRANSFER_ENCODING="chunked",
        **{"wsgi.input_terminated": True},
    )
    return call.finish().body == b"abc"


@probe(BODIES, "an upload that is cut short is `http.disconnect`")
def cut_short(build: Build) -> bool:
    seen: list[str] = []
    try:
        Call(build(reading(seen)), "POST", b"abc", CONTENT_LENGTH="100").finish()
    except Exception:
        pass
    deadline = time.monotonic() + comparison.limit / 4
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    return seen == ["disconnect"]


def left(build: Build, app: Any) -> Any:
    """Take one piece of a response, and leave. Returns the adapter, which ends if nobody has it."""
    adapter = build(without_lifespan(app))
    call = Call(adapter)
    call.next()
    call.close()
    return adapter


@probe(BODIES, "a client that leaves is `http.disconnect`")
def departure(build: Build) -> bool:
    told = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(start())
        await send(body(b"first", more=True))
        if (await receive())["type"] == "http.disconnect":
            told.set()

    adapter = left(build, app)
    return told.wait(comparison.limit / 2) and adapter is not None


@probe(BODIES, "… and ends a stream, whose `finally` runs")
def stream_ends(build: Build) -> bool:
    ended = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(start())
            while True:
                await send(body(b"tick", more=True))
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    adapter = left(build, app)
    return ended.wait(comparison.limit / 2) and adapter is not None


# --- scope

SCOPE = "Scope"


@probe(SCOPE, "path bytes that are no UTF-8")
def path_bytes(build: Build) -> bool:
    return bool(scope_of(build, PATH_INFO="/\xff")["path"] == "/\ufffd")


@probe(SCOPE, "a query string beyond ASCII")
def query(build: Build) -> bool:
    return bool(scope_of(build, QUERY_STRING="name=caf\xe9")["query_string"] == b"name=caf\xe9")


@probe(SCOPE, "the raw path, where the server tells it")
def raw_path(build: Build) -> bool:
    scope = scope_of(build, PATH_INFO="/a/b", REQUEST_URI="/a%2Fb", RAW_URI="/a%2Fb")
    return bool(scope["raw_path"] == b"/a%2Fb")


@probe(SCOPE, "HTTP/2 is called `2`, as ASGI asks")
def http2(build: Build) -> bool:
    return bool(scope_of(build, SERVER_PROTOCOL="HTTP/2.0")["http_version"] == "2")


@probe(SCOPE, "a server on a Unix socket, without a port")
def no_port(build: Build) -> bool:
    return bool(scope_of(build, SERVER_PORT="")["type"] == "http")


@probe(SCOPE, "no `content-length` for an empty `CONTENT_LENGTH`")
def empty_length(build: Build) -> bool:
    return header_of(scope_of(build), b"content-length") is None


@probe(SCOPE, "the variable `HTTP_PROXY` is no header")
def proxy(build: Build) -> bool:
    return header_of(scope_of(build, HTTP_PROXY="http://proxy.example"), b"proxy") is None


@probe(SCOPE, "the environ can be reached")
def environ_in_scope(build: Build) -> bool:
    return any(
        isinstance(value, dict) and value.get("HTTP_HOST") == "compare.test"
        for value in scope_of(build).values()
    )


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@probe(SCOPE, "context variables of WSGI middleware are seen by the application")
def context_in(build: Build) -> bool:
    variable.set("middleware")

    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(variable.get().encode()))

    return Call(build(app)).finish().body == b"middleware"


@probe(SCOPE, "files through the server's `wsgi.file_wrapper` (`pathsend`)")
def file_wrapper(build: Build) -> bool:
    @without_lifespan
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "http.response.pathsend" in scope["extensions"]
        await send(start())
        await send({"type": "http.response.pathsend", "path": str(PAGE)})

    def wrapper(file: Any, size: int = 8192) -> Iterable[bytes]:
        with file:
            return [b"the server's own"]

    environ: dict[str, Any] = {"wsgi.file_wrapper": wrapper}
    return Call(build(app), **environ).finish().body == b"the server's own"


@probe(SCOPE, "early hints, where the server has them")
def early_hints(build: Build) -> bool:
    hints: list[Any] = []
    app = sending(
        {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}, start(), body(b"ok")
    )
    environ: dict[str, Any] = {"wsgi.early_hints": hints.append}
    Call(build(app), **environ).finish()
    return hints == [[("Link", "</a.css>; rel=preload")]]


# --- asking, and writing down


def ask(adapter: str, name: str) -> str:
    """The answer of one adapter to one probe, in this process, which ends if it does not come."""
    warnings.simplefilter("ignore")
    timer = threading.Timer(comparison.limit, os._exit, (HUNG,))
    timer.start()
    try:
        return "yes" if PROBES[name].ask(build_by(adapter)) else "no"
    except (Exception, AssertionError):
        return "no"
    finally:
        timer.cancel()


if __name__ == "__main__":
    comparison.main(
        __doc__.partition("\n")[0],
        f"Asked of {versions('a2wsgi')}, each with its own defaults",
        ask,
    )
