"""Runs small apps natively and through adapters, compares what comes, and writes down where it differs.

    python docs/_differences.py              print the tables, with what is installed
    python docs/_differences.py --write      write them into docs/explanation/differences.md

Each behaviour is an app, a request, and what the app keeps (`effects`); `bridge.testing.compare` sends the
request to the app itself and to the app in an adapter. Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from bridge import ASGIToWSGI, WSGIToASGI
from bridge.testing import Comparison, Request, Rules, compare

PAGE = Path(__file__).resolve().parent / "explanation" / "differences.md"
BEGIN, END = "<!-- differences: begin -->", "<!-- differences: end -->"

WSGI, ASGI = "WSGI apps on ASGI servers", "ASGI apps on WSGI servers"

PATIENCE = 5.0
"""Seconds for one answer; none of the apps waits for anything."""

# The words of the page that a server makes of an exception are the server's own.
RULES = Rules().body(lambda response: response.status == 500, lambda old, new: None)

effects: list[str] = []
"""What an app leaves behind."""


class Behaviour(NamedTuple):
    """One app, one request."""

    direction: str
    title: str
    app: Callable[..., Any]
    request: Request
    options: dict[str, Any]


BEHAVIOURS: list[Behaviour] = []


def behaviour(direction: str, title: str, request: Any = "/", **options: Any) -> Callable[[Any], Any]:
    def register(app: Any) -> Any:
        BEHAVIOURS.append(Behaviour(direction, title, app, Request.of(request), options))
        return app

    return register


def also(direction: str, title: str, app: Any, request: Any, **options: Any) -> None:
    """The same app with another request."""
    behaviour(direction, title, request, **options)(app)


# --- WSGI: what the app is told

PLAIN = [("Content-Type", "text/plain")]
JSON = [("Content-Type", "application/json")]


def environ_echo(environ: Any, start_response: Any) -> Any:
    """Every variable of CGI and HTTP that a server sets in the same way everywhere."""
    told = {
        key: value
        for key, value in environ.items()
        if key.startswith("HTTP_")
        or key in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE")
        or key in ("CONTENT_LENGTH", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "REMOTE_ADDR")
        or key == "wsgi.url_scheme"
    }
    start_response("200 OK", JSON)
    return [json.dumps(told).encode()]


also(WSGI, "a plain GET", environ_echo, "/notes?page=2&q=a+b")
also(WSGI, "a path in UTF-8, escaped", environ_echo, "/caf%C3%A9")
also(WSGI, "a path that is no UTF-8", environ_echo, "/caf%E9/%FF")
also(WSGI, "an escaped slash, an empty segment", environ_echo, "//a%2Fb//c")
also(WSGI, "below a root path", environ_echo, "/apix", root_path="/api")
also(
    WSGI,
    "a header twice, two `Cookie` headers",
    environ_echo,
    {"url": "/", "headers": [("X-A", "1"), ("X-A", "2"), ("Cookie", "a=1"), ("Cookie", "b=2")]},
)
also(WSGI, "a header in Latin-1", environ_echo, {"url": "/", "headers": [("X-A", "caf\xe9")]})
also(WSGI, "an empty POST", environ_echo, Request("POST", "/", (("Content-Length", "0"),)))
also(WSGI, "an unknown method", environ_echo, "PURGE /a")


@behaviour(WSGI, "an upload with a length", {"method": "POST", "url": "/", "content": b"a\nbc\n" * 9000})
def upload(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"]
    lines = [body.readline(), body.readline(2), body.readlines(3)]
    start_response("200 OK", PLAIN)
    return [repr((lines, len(body.read()), body.read())).encode()]


@behaviour(
    WSGI, "an upload without a length", {"method": "POST", "url": "/", "content": [b"ab", b"c\n", b"d"]}
)
def upload_in_pieces(environ: Any, start_response: Any) -> Any:
    from werkzeug.wsgi import get_input_stream

    start_response("200 OK", PLAIN)
    return [get_input_stream(environ).read()]


@behaviour(WSGI, "an upload that is not read", {"method": "POST", "url": "/", "content": b"a" * 300_000})
def upload_unread(environ: Any, start_response: Any) -> Any:
    start_response("413 Too Large", PLAIN)
    return [b"too large"]


# --- WSGI: what the app answers


@behaviour(WSGI, "`write()`, then an iterable")
def writes(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", PLAIN)
    write(b"written, ")
    return [b"then ", b"", b"yielded"]


@behaviour(WSGI, "a generator whose headers are set at its first chunk")
def late(environ: Any, start_response: Any) -> Any:
    headers = [*PLAIN, ("X-Late", "no")]
    start_response("200 OK", headers)
    yield b""
    headers[1] = ("X-Late", "yes")
    start_response("202 Accepted", headers, (ValueError, ValueError("changed"), None))
    yield b"late"


@behaviour(WSGI, "an error page instead of a response that has not begun")
def error_page(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    try:
        raise LookupError("planned")
    except LookupError:
        start_response("500 Oh", [*PLAIN, ("X-Error", "planned")], sys.exc_info())
    return [b"an error page"]


@behaviour(WSGI, "two cookies, a header in Latin-1")
def headers(environ: Any, start_response: Any) -> Any:
    start_response(
        "200 OK",
        [*PLAIN, ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly"), ("X-Name", "caf\xe9")],
    )
    return [b"headers"]


@behaviour(WSGI, "a status of one's own")
def own_status(environ: Any, start_response: Any) -> Any:
    start_response("299 Fine", PLAIN)
    return [b"fine"]


@behaviour(WSGI, "a status without a reason")
def bare_status(environ: Any, start_response: Any) -> Any:
    start_response("200 ", PLAIN)
    return [b"fine"]


@behaviour(WSGI, "204 without a body")
def no_content(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [("X-A", "1")])
    return []


@behaviour(WSGI, "304 with a validator")
def not_modified(environ: Any, start_response: Any) -> Any:
    start_response("304 Not Modified", [("ETag", '"a"')])
    return []


@behaviour(WSGI, "HEAD with a length, and a body all the same", "HEAD /")
def head(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
    return [b"body"]


@behaviour(WSGI, "less than `Content-Length`")
def too_little(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN, ("Content-Length", "9")])
    return [b"body"]


@behaviour(WSGI, "more than `Content-Length`")
def too_much(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
    return [b"body", b" and more"]


@behaviour(WSGI, "an error before the response")
def error_before(environ: Any, start_response: Any) -> Any:
    raise LookupError("planned")


@behaviour(WSGI, "an error amid the body")
def error_amid(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    yield b"begun"
    raise LookupError("planned")


class Closing:
    """An iterable that keeps a record of what is done with it."""

    def __init__(self, chunks: list[bytes], error: BaseException | None = None) -> None:
        self._chunks = iter(chunks)
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        effects.append("iter")
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            if self._error is not None:
                raise self._error from None
            raise

    def close(self) -> None:
        effects.append("close")


@behaviour(WSGI, "an error after `write()`")
def error_after_write(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)(b"begun")
    raise LookupError("planned")


@behaviour(WSGI, "`close()` is called once")
def closes(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    return Closing([b"a", b"b"])


@behaviour(WSGI, "`close()` after an error")
def closes_after_error(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    return Closing([b"a"], LookupError("planned"))


# --- WSGI: frameworks


@cache
def flask_app() -> Any:
    import flask

    app = flask.Flask("differences")
    app.secret_key = "differences"

    @app.get("/session")
    def session() -> Any:
        flask.session["seen"] = 1
        return flask.redirect("/whoami?a=b")

    @app.post("/form")
    def form() -> Any:
        uploaded = flask.request.files["file"].read()
        return {"form": flask.request.form["name"], "size": len(uploaded)}

    @app.get("/stream")
    def stream() -> Any:
        @flask.stream_with_context
        def lines() -> Iterator[str]:
            for number in range(3):
                yield f"{flask.request.path} {number}\n"

        return lines(), {"Content-Type": "text/plain"}

    @app.get("/file")
    def file() -> Any:
        return flask.send_file(io.BytesIO(b"0123456789"), download_name="digits.txt")

    @app.get("/fail")
    def fail() -> Any:
        raise LookupError("planned")

    return app


def flask_(environ: Any, start_response: Any) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        return flask_app()(environ, start_response)


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\ncaf\xc3\xa9\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 90_000 + b"\r\n--b--"
)
for title, request in {
    "Flask: a session and a redirect": "/session",
    "Flask: a form with a file": {
        "method": "POST",
        "url": "/form",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        "content": MULTIPART,
    },
    "Flask: a streamed response": "/stream",
    "Flask: a range of a file": {"url": "/file", "headers": {"Range": "bytes=2-5"}},
    "Flask: HEAD of a file": "HEAD /file",
    "Flask: 404, 405 and 500 pages": "/fail",
}.items():
    also(WSGI, title, flask_, request)


# --- ASGI: what the app is told


async def answer(send: Any, body: bytes = b"ok", status: int = 200, headers: Any = ()) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": list(headers) or [(b"content-type", b"text/plain")],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def whole(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError("the client left")
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def scope_echo(scope: Any, receive: Any, send: Any) -> None:
    """What every server tells in the same way."""
    assert scope["type"] == "http"
    told = {
        key: scope[key]
        for key in ("method", "path", "root_path", "scheme", "http_version", "client", "server")
        if key in scope
    }
    for key in ("raw_path", "query_string"):
        told[key] = (scope.get(key) or b"").decode("latin-1")
    told["headers"] = sorted(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    await answer(send, json.dumps(told).encode(), headers=[(b"content-type", b"application/json")])


also(ASGI, "a plain GET", scope_echo, "/notes?page=2&q=a+b")
also(ASGI, "a path in UTF-8, escaped", scope_echo, "/caf%C3%A9")
also(ASGI, "a path that is no UTF-8", scope_echo, "/caf%E9/%FF")
also(ASGI, "an escaped slash, an empty segment", scope_echo, "//a%2Fb//c")
also(ASGI, "below a root path", scope_echo, "/apix", root_path="/api")
also(ASGI, "a header in Latin-1", scope_echo, {"url": "/", "headers": [("X-A", "caf\xe9")]})
also(ASGI, "an empty POST", scope_echo, Request("POST", "/", (("Content-Length", "0"),)))
also(ASGI, "an unknown method", scope_echo, "PURGE /a")


@behaviour(ASGI, "an upload with a length", {"method": "POST", "url": "/", "content": b"ab" * 90_000})
@behaviour(
    ASGI, "an upload without a length", {"method": "POST", "url": "/", "content": [b"a", b"b" * 70_000]}
)
async def asgi_upload(scope: Any, receive: Any, send: Any) -> None:
    body = await whole(receive)
    await answer(send, f"{len(body)} {body[:3]!r}".encode())


@behaviour(ASGI, "an upload that is not read", {"method": "POST", "url": "/", "content": b"a" * 300_000})
async def asgi_unread(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"too large", 413)


@behaviour(ASGI, "the lifespan's state")
async def lifespan_state(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["database"] = "connected"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await answer(send, str(scope.get("state")).encode())


# --- ASGI: what the app answers


@behaviour(ASGI, "a body in pieces, some of them empty")
async def pieces(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for piece in (b"", b"a", b"", b"b" * 70_000, b"c"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


@behaviour(ASGI, "two cookies, a header in Latin-1")
async def asgi_headers(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    values = [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; HttpOnly"), (b"x-name", b"caf\xe9")]
    await answer(send, headers=values)


@behaviour(ASGI, "a status of one's own")
async def asgi_status(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, status=299)


@behaviour(ASGI, "204 without a body")
async def asgi_no_content(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, b"", 204, [(b"x-a", b"1")])


@behaviour(ASGI, "HEAD with a length, and a body all the same", "HEAD /")
async def asgi_head(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, b"body", headers=[(b"content-length", b"4")])


@behaviour(ASGI, "less than `Content-Length`")
async def asgi_too_little(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, b"body", headers=[(b"content-length", b"9")])


@behaviour(ASGI, "an error before the response")
async def asgi_error_before(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    raise LookupError("planned")


@behaviour(ASGI, "an error amid the body")
async def asgi_error_amid(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise LookupError("planned")


@behaviour(ASGI, "the app returns amid the body")
async def asgi_incomplete(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})


@behaviour(ASGI, "no response at all")
async def asgi_nothing(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"


# --- ASGI: frameworks


@cache
def fastapi_app() -> Any:
    import fastapi
    from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse

    app = fastapi.FastAPI()

    @app.get("/redirect")
    async def redirect() -> Any:
        response = RedirectResponse("/whoami?a=b")
        response.set_cookie("seen", "1", httponly=True)
        return response

    @app.post("/form")
    def form(file: fastapi.UploadFile, name: str = fastapi.Form()) -> Any:
        return {"form": name, "size": len(file.file.read())}

    @app.get("/items/{number}")
    async def item(number: int) -> Any:
        return {"number": number, "price": 1.5, "name": "caf\xe9"}

    @app.get("/stream")
    async def stream() -> Any:
        async def lines() -> Any:
            for number in range(3):
                yield f"{number}\n"

        return StreamingResponse(lines(), media_type="text/plain")

    @app.get("/file")
    async def file() -> Any:
        return FileResponse(__file__, filename="differences.txt", media_type="text/plain")

    @app.get("/fail")
    async def fail() -> Any:
        raise LookupError("planned")

    return app


async def fastapi_(scope: Any, receive: Any, send: Any) -> None:
    await fastapi_app()(scope, receive, send)


for title, request in {
    "FastAPI: JSON": "/items/5",
    "FastAPI: a value that is refused": "/items/five",
    "FastAPI: a cookie and a redirect": "/redirect",
    "FastAPI: a form with a file": {
        "method": "POST",
        "url": "/form",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        "content": MULTIPART,
    },
    "FastAPI: a streamed response": "/stream",
    "FastAPI: a range of a file": {"url": "/file", "headers": {"Range": "bytes=2-5"}},
    "FastAPI: 404": "/nowhere",
    "FastAPI: 405": "PUT /stream",
    "FastAPI: an exception": "/fail",
}.items():
    also(ASGI, title, fastapi_, request)


# --- comparing


def _a2wsgi(direction: str) -> Callable[[Any], Any]:
    import a2wsgi

    if direction == WSGI:
        return a2wsgi.WSGIMiddleware
    return lambda app: a2wsgi.ASGIMiddleware(app, wait_time=PATIENCE)


def adapters(direction: str) -> dict[str, Any]:
    """By name, the adapters of a direction, each a function that wraps an app."""
    own: Any = WSGIToASGI if direction == WSGI else ASGIToWSGI
    return {"bridge": own, "a2wsgi": _a2wsgi(direction)}


def compared(item: Behaviour, adapter: Callable[[Any], Any]) -> Comparison:
    """The app natively against the app in an adapter."""
    before = [*effects]

    def kept(_: Any) -> list[str]:
        kept, effects[:] = [*effects], before
        return kept

    with _quiet():
        return compare(
            item.app,
            item.app,
            [item.request],
            via=("native", adapter),
            rules=RULES,
            effects=kept,
            # What a client would see on the wire: 500, or a response that breaks off.
            client_options={"timeout": PATIENCE, "raise_app_exceptions": False, **item.options},
            names=("native", "in the adapter"),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Apps fail on purpose, and are reported by their frameworks and adapters."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def in_time(item: Behaviour, adapter: Callable[[Any], Any]) -> Comparison | None:
    """The comparison, or `None` if it does not end; then its thread is left behind."""
    done: list[Comparison] = []
    thread = threading.Thread(target=lambda: done.append(compared(item, adapter)), daemon=True)
    thread.start()
    thread.join(3 * PATIENCE)
    return done[0] if done else None


def verdict(comparison: Comparison | None) -> str:
    """A cell of the table."""
    if comparison is None:
        return "**no answer, for ever**"
    # In which words an HTTP library complains of a broken response is nobody's behaviour.
    found = [_brief(each) for each in comparison.differences if each.kind != "error/message"]
    return f"**{'; '.join(dict.fromkeys(found))}**" if found else "same"


WORDS = {
    "status": "status",
    "header": "header {where}",
    "content-type": "type",
    "charset": "type",
    "json": "{where}",
    "text": "body",
    "body": "body {end}",
    "incomplete": "breaks off",
    "error": "error",
    "effects": "what the app keeps",
}
"""What the table says of a kind of difference, by the part before its slash."""


def _brief(difference: Any) -> str:
    family, _, end = difference.kind.partition("/")
    where = f"`{difference.where.removeprefix('$.')}`"
    return WORDS.get(family, "{where}").format(where=where, end=end).strip()


def table(direction: str) -> str:
    """The table of one direction."""
    named = adapters(direction)
    lines = [f"## {direction}", "", "| | " + " | ".join(named) + " |", "|---|" + "---|" * len(named)]
    for item in (each for each in BEHAVIOURS if each.direction == direction):
        cells = [verdict(in_time(item, adapter)).replace("|", "\\|") for adapter in named.values()]
        lines.append(f"| {item.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def versions() -> str:
    names = {"a2wsgi": "a2wsgi", "flask": "Flask", "fastapi": "FastAPI"}
    listed = ", ".join(f"{title} {importlib.metadata.version(name)}" for name, title in names.items())
    return f"Compared with {listed}; CPython {sys.version.split()[0]}."


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Where an app behaves differently in an adapter.")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    parser.add_argument("--show", metavar="TITLE", help="print the whole difference of one behaviour")
    chosen = parser.parse_args(arguments)
    if chosen.show:
        for item in BEHAVIOURS:
            if chosen.show in item.title:
                for name, adapter in adapters(item.direction).items():
                    print(f"{name}:", compared(item, adapter).text(color=False))
        return
    text = "\n\n".join([versions(), table(WSGI), table(ASGI)])
    if chosen.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
