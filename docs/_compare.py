"""Asks bridge and the other WSGI-under-ASGI adapters the same questions, and writes the answers down.

    python docs/_compare.py                  print the table, with what is installed
    python docs/_compare.py --write          write it into docs/explanation/comparison.md
    python docs/_compare.py ADAPTER          its answers to all questions, in one process
    python docs/_compare.py ADAPTER PROBE    one answer

Needs the `dev` extra. For the table, each answer comes from a process of its own, since some adapters are
left with a blocked thread. An answer that takes longer than LIMIT is "no".
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import io
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from wsgiref.validate import validator

DOCS = Path(__file__).resolve().parent
# For `_compare_table`, if this file is not run but loaded; and for `benchmarks`, which knows how each
# adapter is made. Last, so that an installed bridge goes first.
sys.path += [str(DOCS), str(DOCS.parent)]

from _compare_table import Comparison, versions  # noqa: E402

LIMIT = 4.0
"""Seconds after which a probe has failed: none waits for anything but its adapter."""

ADAPTERS = {
    "bridge": "bridge",
    "a2wsgi": "a2wsgi",
    "asgiref": "asgiref",
    "starlette": "Starlette",
    "uvicorn": "Uvicorn",
    "hypercorn": "Hypercorn",
}
"""The adapters, by the names of `benchmarks.wsgi_under_asgi.adapters`, which are their distributions' too."""

comparison = Comparison(__file__, "compared", ADAPTERS, LIMIT)
PROBES, BEGIN, END = comparison.probes, comparison.begin, comparison.end
probe = comparison.probe


class Build(Protocol):
    """Makes an ASGI application of a WSGI application, with its own number of threads if none is given."""

    def __call__(self, app: Any, threads: int | None = None, /) -> Any: ...


# --- driving an adapter


async def drive(
    app: Any,
    messages: Sequence[Mapping[str, Any]] = ({"type": "http.request", "body": b"", "more_body": False},),
    on_send: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None,
    receive: Callable[[], Awaitable[Any]] | None = None,
    **scope: Any,
) -> list[Mapping[str, Any]]:
    """One exchange with `app`; gives what it sent. After `messages`, the client says nothing."""
    sent: list[Mapping[str, Any]] = []
    left = list(messages)

    async def next_message() -> Any:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()

    async def send(message: Mapping[str, Any]) -> None:
        if on_send is not None:
            await on_send(message)
        sent.append(message)

    whole = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"compare.test")],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        **scope,
    }
    await app(whole, receive or next_message, send)
    return sent


def status_of(sent: Sequence[Mapping[str, Any]]) -> int | None:
    return next((each["status"] for each in sent if each["type"] == "http.response.start"), None)


def headers_of(sent: Sequence[Mapping[str, Any]]) -> dict[bytes, bytes]:
    start = next(each for each in sent if each["type"] == "http.response.start")
    return {bytes(name).lower(): bytes(value) for name, value in start["headers"]}


def body_of(sent: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(each.get("body", b"") for each in sent if each["type"] == "http.response.body")


def ended(sent: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the server was told that the response is complete."""
    return any(each["type"] == "http.response.body" and not each.get("more_body") for each in sent)


async def environ_of(build: Build, **scope: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def app(environ: Any, start_response: Any) -> Any:
        seen.update(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    await drive(build(app), **scope)
    return seen


def responding(status: str = "200 OK", headers: Any = (), body: Any = (b"ok",)) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return list(body)

    return app


class Closing:
    """An iterable that counts the calls of its `close()`."""

    def __init__(self, chunks: Any) -> None:
        self.chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Any:
        return self.chunks

    def close(self) -> None:
        self.closed += 1


# --- PEP 3333

RESPONSE = "Responses"


@probe(RESPONSE, "`close()` is called at the end")
async def close_at_end(build: Build) -> bool:
    body = Closing([b"a", b"b"])

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    await drive(build(app))
    return body.closed == 1


@probe(RESPONSE, "… and after an error in the iterable")
async def close_after_error(build: Build) -> bool:
    def chunks() -> Any:
        yield b"a"
        raise ValueError("planned")

    body = Closing(chunks())

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    with contextlib.suppress(Exception):
        await drive(build(app))
    return body.closed == 1


@probe(RESPONSE, "an error page replaces a response that has not begun (`exc_info`)")
async def replace_by_exc_info(build: Build) -> bool:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            raise ValueError("planned")
        except ValueError:
            start_response("500 Error", [], sys.exc_info())
        return [b"the error page"]

    sent = await drive(build(app))
    return status_of(sent) == 500 and ended(sent)


@probe(RESPONSE, "`exc_info` raises after output")
async def exc_info_after_output(build: Build) -> bool:
    raised = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"a"
        try:
            raise ValueError("planned")
        except ValueError:
            try:
                start_response("500 Error", [], sys.exc_info())
            except ValueError:
                raised.append(True)
                raise
        yield b"b"

    with contextlib.suppress(Exception):
        await drive(build(app))
    return bool(raised)


@probe(RESPONSE, "a second `start_response` is an error")
async def second_start(build: Build) -> bool:
    raised = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            start_response("404 Not Found", [])
        except Exception:
            raised.append(True)
        return [b""]

    with contextlib.suppress(Exception):
        await drive(build(app))
    return bool(raised)


@probe(RESPONSE, "headers wait for the first chunk that is not empty")
async def headers_wait(build: Build) -> bool:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b""
        try:
            raise ValueError("planned")
        except ValueError:
            start_response("404 Not Found", [], sys.exc_info())
        yield b"z"

    return status_of(await drive(build(app))) == 404


@probe(RESPONSE, "`write()`")
async def write(build: Build) -> bool:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"written, ")
        return [b"returned"]

    return body_of(await drive(build(app))) == b"written, returned"


@probe(RESPONSE, "a body without a byte (204)")
async def empty(build: Build) -> bool:
    sent = await drive(build(responding("204 No Content", body=())))
    return status_of(sent) == 204 and ended(sent)


@probe(RESPONSE, "a status without a reason")
async def bare_status(build: Build) -> bool:
    return status_of(await drive(build(responding("204", body=())))) == 204


@probe(RESPONSE, "header values beyond ASCII (latin-1)")
async def latin1(build: Build) -> bool:
    sent = await drive(build(responding(headers=[("X-Name", "caf\xe9")])))
    return headers_of(sent)[b"x-name"] == b"caf\xe9"


@probe(RESPONSE, "a line break in a header is refused")
async def line_break(build: Build) -> bool:
    sent: Any = []
    with contextlib.suppress(Exception):
        sent = await drive(build(responding(headers=[("X-A", "1\r\nX-B: 2")])))
    return not any(b"\n" in value for each in sent for _, value in each.get("headers", ()))


@probe(RESPONSE, "hop-by-hop headers do not pass")
async def hop_by_hop(build: Build) -> bool:
    sent = await drive(build(responding(headers=[("Connection", "close"), ("X-A", "1")])))
    return b"connection" not in headers_of(sent)


@probe(RESPONSE, "surplus beyond `Content-Length` is cut")
async def surplus(build: Build) -> bool:
    sent = await drive(build(responding(headers=[("Content-Length", "3")], body=(b"abc", b"def"))))
    return body_of(sent) == b"abc"


@probe(RESPONSE, "too little for `Content-Length` does not end as if whole")
async def shortfall(build: Build) -> bool:
    sent: list[Mapping[str, Any]] = []

    async def note(message: Mapping[str, Any]) -> None:
        sent.append(message)

    with contextlib.suppress(Exception):
        await drive(build(responding(headers=[("Content-Length", "9")], body=(b"abc", b"d"))), on_send=note)
    return status_of(sent) == 200 and not ended(sent)


@probe(RESPONSE, "an error before output is the server's 500")
async def error_first(build: Build) -> bool:
    sent: list[Mapping[str, Any]] = []

    async def note(message: Mapping[str, Any]) -> None:
        sent.append(message)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        raise ValueError("planned")

    try:
        await drive(build(app), on_send=note)
    except BaseException:
        return not sent
    return False


# --- bodies

BODIES = "Bodies and clients"


@probe(BODIES, "an upload reaches the application while it arrives")
async def upload_streams(build: Build) -> bool:
    first = threading.Event()
    loop = asyncio.get_running_loop()
    called = asyncio.Event()

    def app(environ: Any, start_response: Any) -> Any:
        loop.call_soon_threadsafe(called.set)
        data = environ["wsgi.input"].read(100_000)
        first.set()
        rest = environ["wsgi.input"].read(100_000)
        start_response("200 OK", [])
        return [b"%d" % (len(data) + len(rest))]

    pieces = 0

    async def receive() -> Any:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            await called.wait()
        if pieces > 2:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": pieces < 2}

    sent = await drive(build(app), receive=receive, method="POST", headers=[(b"content-length", b"200000")])
    return body_of(sent) == b"200000"


@probe(BODIES, "an upload that is cut short does not look complete")
async def truncated(build: Build) -> bool:
    complete = []

    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read()
        complete.append(True)
        start_response("200 OK", [])
        return [b"saved"]

    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
        {"type": "http.disconnect"},
    ]
    with contextlib.suppress(Exception, asyncio.TimeoutError):
        await asyncio.wait_for(
            drive(build(app), messages, method="POST", headers=[(b"content-length", b"100")]), 1
        )
    return not complete


@probe(BODIES, "Flask sees a chunked upload")
async def chunked(build: Build) -> bool:
    from flask import Flask, request

    site = Flask("compare")
    site.add_url_rule("/", view_func=lambda: request.get_data(), methods=["POST"])
    sent = await drive(
        build(site),
        [{"type": "http.request", "body": b"abc", "more_body": False}],
        method="POST",
        headers=[(b"host", b"h"), (b"transfer-encoding", b"chunked")],
    )
    return body_of(sent) == b"abc"


@probe(BODIES, "`readline(n)` and `readlines()`")
async def lines(build: Build) -> bool:
    found = []

    def app(environ: Any, start_response: Any) -> Any:
        found.append(environ["wsgi.input"].readline(100))
        found.extend(environ["wsgi.input"].readlines())
        start_response("200 OK", [])
        return [b""]

    messages = [
        {"type": "http.request", "body": b"o", "more_body": True},
        {"type": "http.request", "body": b"ne\ntwo", "more_body": False},
    ]
    await drive(build(app), messages, method="POST", headers=[(b"content-length", b"7")])
    return found == [b"one\n", b"two"]


@probe(BODIES, "chunks leave while the next is being made")
async def chunk_at_once(build: Build) -> bool:
    received = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"first"
        if received.wait(comparison.limit / 2):
            yield b"second"

    async def note(message: Mapping[str, Any]) -> None:
        if message.get("body") == b"first":
            received.set()

    return body_of(await drive(build(app), on_send=note)) == b"firstsecond"


@probe(BODIES, "a client that does not read stops the application")
async def back_pressure(build: Build) -> bool:
    made = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        for _ in range(1000):
            made.append(True)
            yield bytes(65536)

    async def stall(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    task = asyncio.ensure_future(drive(build(app), on_send=stall))
    before = -1
    while before != len(made) or not made:
        before = len(made)
        await asyncio.sleep(0.2)
    task.cancel()
    return len(made) < 100


@probe(BODIES, "a client that leaves ends the generator")
async def departure(build: Build) -> bool:
    streaming = asyncio.Event()
    closed = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            while True:
                yield b"tick"
                time.sleep(0.01)
        finally:
            closed.set()

    first = True

    async def receive() -> Any:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await streaming.wait()
        return {"type": "http.disconnect"}

    async def note(message: Mapping[str, Any]) -> None:
        if message.get("body"):
            streaming.set()

    task = asyncio.ensure_future(drive(build(app), receive=receive, on_send=note))
    done = await asyncio.get_running_loop().run_in_executor(
        concurrent.futures.ThreadPoolExecutor(1), closed.wait, comparison.limit / 2
    )
    task.cancel()
    return done


@probe(BODIES, "an error from `send` ends the request")
async def send_fails(build: Build) -> bool:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        for _ in range(100):
            yield b"x"

    async def fail(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError("planned")

    with contextlib.suppress(OSError):
        try:
            await drive(build(app), on_send=fail)
        except Exception as error:  # Starlette's comes in a group
            if not isinstance(error, OSError) and "ExceptionGroup" not in type(error).__name__:
                raise
    return True


# --- environ

ENVIRON = "Environ"


@probe(ENVIRON, "`wsgiref.validate` finds nothing")
async def valid(build: Build) -> bool:
    def app(environ: Any, start_response: Any) -> Any:
        environ["wsgi.input"].read(3)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    with contextlib.redirect_stderr(io.StringIO()) as said:
        sent = await drive(
            build(validator(app)),
            [{"type": "http.request", "body": b"abc", "more_body": False}],
            method="POST",
            headers=[(b"host", b"h"), (b"content-length", b"3"), (b"content-type", b"text/plain")],
        )
    return status_of(sent) == 200 and "Assertion" not in said.getvalue()


@probe(ENVIRON, "a header `X_User` cannot forge `X-User`")
async def underscore(build: Build) -> bool:
    environ = await environ_of(build, headers=[(b"x-user", b"ada"), (b"x_user", b"root")])
    return bool(environ["HTTP_X_USER"] == "ada")


@probe(ENVIRON, "`Proxy` is dropped")
async def proxy(build: Build) -> bool:
    return "HTTP_PROXY" not in await environ_of(build, headers=[(b"proxy", b"http://evil.example")])


@probe(ENVIRON, "contradicting lengths are refused")
async def lengths(build: Build) -> bool:
    app = build(responding())
    headers = [(b"content-length", b"3"), (b"content-length", b"4")]
    messages = [{"type": "http.request", "body": b"abc", "more_body": False}]
    return status_of(await drive(app, messages, method="POST", headers=headers)) == 400


@probe(ENVIRON, "two `Cookie` headers are joined by `;`")
async def cookies(build: Build) -> bool:
    environ = await environ_of(build, headers=[(b"cookie", b"a=1"), (b"cookie", b"b=2")])
    return bool(environ["HTTP_COOKIE"] == "a=1; b=2")


@probe(ENVIRON, "root path `/api` is not taken off `/apix`")
async def boundary(build: Build) -> bool:
    environ = await environ_of(build, root_path="/api", path="/apix", raw_path=b"/apix")
    return bool(environ["PATH_INFO"] == "/apix")


@probe(ENVIRON, "a query string beyond ASCII")
async def query(build: Build) -> bool:
    environ = await environ_of(build, query_string=b"name=caf\xe9")
    return bool(environ["QUERY_STRING"] == "name=caf\xe9")


@probe(ENVIRON, "path bytes that are no UTF-8 survive")
async def path_bytes(build: Build) -> bool:
    environ = await environ_of(build, path="/\ufffd", raw_path=b"/%FF")
    return bool(environ["PATH_INFO"] == "/\xff")


@probe(ENVIRON, "the raw target (`REQUEST_URI` or `RAW_URI`)")
async def raw_target(build: Build) -> bool:
    environ = await environ_of(build, path="/a/b", raw_path=b"/a%2Fb")
    return "/a%2Fb" in (environ.get("REQUEST_URI"), environ.get("RAW_URI"))


@probe(ENVIRON, "80 000 repeats of a header take less than a second")
async def many_headers(build: Build) -> bool:
    headers = [(b"x-a", b"v" * 20)] * 80_000
    app = build(responding())
    begun = time.perf_counter()
    status = status_of(await drive(app, headers=headers))
    return status in (200, 400, 431) and time.perf_counter() - begun < 1


@probe(ENVIRON, "`wsgi.errors` is standard error")
async def errors(build: Build) -> bool:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        environ = await environ_of(build)
        environ["wsgi.errors"].write("planned")
    return said.getvalue() == "planned"


@probe(ENVIRON, "`wsgi.file_wrapper`")
async def file_wrapper(build: Build) -> bool:
    return callable((await environ_of(build)).get("wsgi.file_wrapper"))


@probe(ENVIRON, "the ASGI scope can be reached")
async def scope_in_environ(build: Build) -> bool:
    environ = await environ_of(build, path="/here")
    return any(isinstance(value, dict) and value.get("path") == "/here" for value in environ.values())


# --- threads and the rest

RUNNING = "Running"


async def meet(build: Build, requests: int, threads: int | None) -> bool:
    """Whether so many requests can be in the application at a time."""
    barrier = threading.Barrier(requests, timeout=comparison.limit / 2)

    def app(environ: Any, start_response: Any) -> Any:
        barrier.wait()
        start_response("200 OK", [])
        return [b"ok"]

    adapter = build(app, threads)
    answers = await asyncio.gather(*(drive(adapter) for _ in range(requests)))
    return [status_of(answer) for answer in answers] == [200] * requests


@probe(RUNNING, "several requests run at a time")
async def together(build: Build) -> bool:
    return await meet(build, 3, None)


@probe(RUNNING, "how many is an argument")
async def together_as_asked(build: Build) -> bool:
    return await meet(build, 50, 50)


@probe(RUNNING, "context variables of middleware are seen by the application")
async def context_in(build: Build) -> bool:
    variable.set("middleware")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield variable.get().encode()

    return body_of(await drive(build(app))) == b"middleware"


@probe(RUNNING, "… and those of the application by middleware")
async def context_out(build: Build) -> bool:
    def app(environ: Any, start_response: Any) -> Any:
        variable.set("application")
        start_response("200 OK", [])
        return [b"ok"]

    await drive(build(app))
    return variable.get() == "application"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@probe(RUNNING, "`async_to_sync` runs on the server's loop")
async def same_loop(build: Build) -> bool:
    from asgiref.sync import async_to_sync

    loops = []

    async def look() -> None:
        loops.append(asyncio.get_running_loop())

    def app(environ: Any, start_response: Any) -> Any:
        async_to_sync(look)()
        start_response("200 OK", [])
        return [b"ok"]

    await drive(build(app))
    return loops == [asyncio.get_running_loop()]


@probe(RUNNING, "lifespan is answered")
async def lifespan(build: Build) -> bool:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = await drive(build(responding()), messages, type="lifespan")
    return [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@probe(RUNNING, "a WebSocket is refused without an exception")
async def websocket(build: Build) -> bool:
    sent = await drive(build(responding()), [{"type": "websocket.connect"}], type="websocket", scheme="ws")
    return bool(sent)


@probe(RUNNING, "trio")
async def on_trio(build: Build) -> bool:
    raise NotImplementedError("answered by `ask`, which runs it on trio")


async def trio_exchange(app: Any) -> bool:
    import trio

    sent: list[Any] = []

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-length", b"0")],
    }
    with trio.move_on_after(comparison.limit):
        await app(scope, receive, send)
    return status_of(sent) == 200


# --- asking, and writing down


def ask(adapter: str, name: str) -> str:
    """The answer of one adapter to one probe, in this process. Leaves blocked threads behind, perhaps."""
    from benchmarks.wsgi_under_asgi.adapters import BY_NAME

    warnings.simplefilter("ignore")

    def build(app: Any, threads: int | None = None, /) -> Any:
        return BY_NAME[adapter].build(app, threads)

    try:
        if name == "on_trio":
            import trio

            app = build(responding())
            if adapter == "hypercorn":  # it has a class for each library
                from hypercorn.middleware import TrioWSGIMiddleware

                app = TrioWSGIMiddleware(responding())
            return "yes" if trio.run(trio_exchange, app) else "no"
        loop = asyncio.new_event_loop()
        answer = loop.run_until_complete(asyncio.wait_for(PROBES[name].ask(build), comparison.limit))
    except (Exception, AssertionError):
        answer = False
    return "yes" if answer else "no"


if __name__ == "__main__":
    comparison.main(__doc__.partition("\n")[0], f"Asked of {versions(*list(ADAPTERS)[1:])}", ask)
