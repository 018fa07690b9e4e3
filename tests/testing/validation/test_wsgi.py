"""WSGIValidator: faults that were planted are found, and what is right passes.

`PLANTED` has one row for each fault: the rule that has to be broken, a play with the fault, and the same
play mended, which has to be clean. The last column says whether `wsgiref.validate` objects to the play
with the fault; docs/project/validator-findings-wsgi.md counts it.
"""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from wsgiref import util, validate

import pytest
from support.drive import requests, serve
from support.leftovers import own_garbage
from support.scopes import ABSENT, http_scope
from support.wsgi_drive import ClosingInput, make_environ

import bridge
from bridge import ASGIToWSGI, WSGIToASGI
from bridge.exceptions import ProtocolViolation, UsageError
from bridge.testing.validation.violations import Violation
from bridge.testing.validation.wsgi import WSGIValidator
from bridge.testing.validation.wsgi_rules import RULES
from bridge.translate.interface import Interface, interface_of

App = Callable[..., Any]
Wrap = Callable[[App], App]
Play = Callable[[Wrap], object]
TEXT = ("Content-Type", "text/plain")


class Boom(Exception):
    """What the apps of these tests raise."""


# -- a good app, a good environ, a good server; each play replaces one of them


def good_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [TEXT])
    return [b"ok"]


def good_start_response(output: list[bytes]) -> Any:
    """The `start_response` of a server that puts what was written into `output`."""

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info and output:
            try:
                raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        return output.append

    return start_response


def good_server(app: App, environ: dict[str, Any]) -> None:
    output: list[bytes] = []
    body = app(environ, good_start_response(output))
    try:
        for chunk in body:
            if chunk:
                output.append(chunk)
    finally:
        if hasattr(body, "close"):
            body.close()


def play(app: App = good_app, server: Any = good_server, make: Any = make_environ, **environ: Any) -> Play:
    """One request: `server` calls `app`, wrapped in a validator, with a good environ and these keys."""

    def run(wrap: Wrap) -> None:
        made = make(**environ)
        server(wrap(app), made)

    return run


def says(
    status: Any = "200 OK",
    headers: Any = (TEXT,),
    body: Any = (b"ok",),
    *args: Any,
    **kwargs: Any,
) -> App:
    """An app that says this; a tuple stands for a list of the same, so that the default is one each."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(headers) if type(headers) is tuple else headers, *args, **kwargs)
        return list(body) if type(body) is tuple else body() if callable(body) else body

    return app


def with_header(name: Any, value: Any) -> App:
    return says(headers=(TEXT, (name, value)))


def reads(use: Callable[[Any], object], key: str = "wsgi.input") -> App:
    """An app that does something with a stream of the environ."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        use(environ[key])
        return good_app(environ, start_response)

    return app


class Subclass(bytes):
    """Bytes, but not exactly."""


class Text(str):
    """A str, but not exactly."""


class Table(dict[str, Any]):
    """A dict, but not exactly."""


class Sized:
    """An iterable with a `len()` that may not be right, and with `close()`."""

    def __init__(self, length: int, *chunks: bytes) -> None:
        self._length = length
        self._chunks = chunks

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        pass


class Stream(ClosingInput):
    """A `wsgi.input` with one method replaced."""

    def __init__(self, content: bytes = b"", **methods: Any) -> None:
        super().__init__(content)
        vars(self).update(methods)


class Revived(ClosingInput):
    """A `wsgi.input` that gives more after its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        ended = self.taken == 4 and len(self.asked) > 1
        return b"more" if ended else super().read(size)


def calls_twice(*args: Any) -> App:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [TEXT])
        start_response("500 Internal Server Error", [TEXT], *args)
        return [b"sorry"]

    return app


def fails_and_tells(environ: dict[str, Any], start_response: Any) -> Any:
    try:
        raise Boom
    except Boom:
        start_response("500 Internal Server Error", [TEXT], sys.exc_info())
    return [b"sorry"]


def fails_late(after: Callable[[], object] = lambda: None, trap: bool = False) -> App:
    """Sends a chunk, fails, tells of it, and traps what `start_response` raises or not."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [TEXT])
        yield b"first"
        try:
            raise Boom
        except Boom:
            try:
                start_response("500 Internal Server Error", [TEXT], sys.exc_info())
            except Boom:
                if not trap:
                    raise
        yield b"more"

    return app


def expecting(error: type[BaseException], server: Any = good_server) -> Any:
    """A server that knows that the app fails."""

    def run(app: App, environ: dict[str, Any]) -> None:
        with pytest.raises(error):
            server(app, environ)

    return run


def starting_with(start_response: Any) -> Any:
    """A server with this `start_response`, good otherwise."""

    def run(app: App, environ: dict[str, Any]) -> None:
        body = app(environ, start_response)
        for _ in body:
            pass
        if hasattr(body, "close"):
            body.close()

    return run


def raises_always(status: str, headers: Any, exc_info: Any = None) -> Any:
    if exc_info:
        raise exc_info[1]
    return list[bytes]().append


def never_raises(status: str, headers: Any, exc_info: Any = None) -> Any:
    return list[bytes]().append


def generated(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    yield b"one"
    yield b"two"


def stubborn(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """A generator that does not end when it is closed."""
    start_response("200 OK", [TEXT])
    try:
        yield b"one"
    except GeneratorExit:
        yield b"two"


def writes(*calls: Callable[[Any], object], rest: Any = (b"ok",)) -> App:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [TEXT])
        for call in calls:
            call(write)
        return list(rest)

    return app


def writes_late(environ: dict[str, Any], start_response: Any) -> Any:
    write = start_response("200 OK", [TEXT])

    def chunks() -> Iterator[bytes]:
        write(b"too late")
        yield b"ok"

    return chunks()


def starts_late(before: bytes, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    if before:
        yield before
    start_response("200 OK", [TEXT])
    yield b"ok"


def reads_after_close(read: bool) -> App:
    """An app whose iterable keeps the stream; the server that goes with it is `asks_afterwards`."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        body = Sized(1, b"ok")
        body.read = lambda: environ["wsgi.input"].read(1) if read else None  # type: ignore[attr-defined]
        environ["test.body"] = body
        start_response("200 OK", [TEXT])
        return body

    return app


def asks_afterwards(app: App, environ: dict[str, Any]) -> None:
    good_server(app, environ)
    environ["test.body"].read()


# -- servers with faults


def calls_with(*args: Any, **kwargs: Any) -> Any:
    def run(app: App, environ: dict[str, Any]) -> None:
        body = app(environ, *args, **kwargs)
        for _ in body:
            pass
        body.close()

    return run


def steps(*names: str) -> Any:
    """A server that takes these steps: `iter`, `next`, `bare next`, `end`, `close`, `drop`."""

    def run(app: App, environ: dict[str, Any]) -> None:
        body = app(environ, good_start_response([]))
        iterator: Any = None
        for name in names:
            if name == "iter":
                iterator = iter(body)
            elif name == "next":
                next(iterator, None)
            elif name == "bare next":
                next(body)
            elif name == "end":
                for _ in iterator:
                    pass
            elif name == "close":
                body.close()
            elif name == "drop":
                del iterator, body
                gc.collect()
            elif name == "ask":
                getattr(body, "fileno", None)

    return run


def in_another_thread(step: str) -> Any:
    """A server that takes one step in a thread of its own."""

    def run(app: App, environ: dict[str, Any]) -> None:
        body = app(environ, good_start_response([]))
        errors: list[BaseException] = []

        def take(function: Callable[[], object]) -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        for name, function in (("iterate", lambda: list(body)), ("close", body.close)):
            if name == step:
                thread = threading.Thread(target=take, args=(function,))
                thread.start()
                thread.join()
            else:
                take(function)
        if errors:
            raise errors[0]

    return run


def reenters(when: str) -> Play:
    """A server that takes a step while the app is in another one."""

    def run(wrap: Wrap) -> None:
        body: Any = None
        inside: list[str] = []

        class Nested(Sized):
            def __iter__(self) -> Any:
                return self

            def __next__(self) -> bytes:
                inside.append("next")
                if len(inside) > 2:
                    raise StopIteration
                if len(inside) == 1 and when == "within":
                    next(iterator)
                return b"ok"

        body = wrap(says(body=lambda: Nested(2)))(make_environ(), good_start_response([]))
        iterator = iter(body)
        for _ in iterator:
            pass
        body.close()

    return run


def at_once(**environ: Any) -> Play:
    """A server that calls the app in two threads at a time."""

    def run(wrap: Wrap) -> None:
        entered, leave = threading.Event(), threading.Event()

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            if not entered.is_set():
                entered.set()
                assert leave.wait(10)
            return good_app(environ, start_response)

        wrapped = wrap(app)
        thread = threading.Thread(target=good_server, args=(wrapped, make_environ(**environ)))
        thread.start()
        try:
            assert entered.wait(10)
            good_server(wrapped, make_environ(**environ))
        finally:
            leave.set()
            thread.join()

    return run


# -- file wrappers


class FileWrapper:
    """A server's file wrapper."""

    def __init__(self, file: Any, size: int = 8192) -> None:
        self.file = file
        self.size = size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self.size), b"")


def wraps(*args: Any, **kwargs: Any) -> App:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [TEXT])
        return environ["wsgi.file_wrapper"](*args, **kwargs)

    return app


def wraps_silently(environ: dict[str, Any], start_response: Any) -> Any:
    return environ["wsgi.file_wrapper"](io.BytesIO(b"ok"))


wraps_well = play(wraps(io.BytesIO(b"ok"), 10), **{"wsgi.file_wrapper": FileWrapper})


class Unclosable(FileWrapper):
    """One that forgets the file's `close()`."""

    def __init__(self, file: Any, size: int = 8192) -> None:
        super().__init__(file, size)
        del self.close


@dataclass(frozen=True)
class Planted:
    """A fault, its mended twin, and whether `wsgiref.validate` objects to the fault."""

    rule: str
    bad: Play
    good: Play
    wsgiref: bool
    name: str = ""

    def __str__(self) -> str:
        return f"{self.rule}{' ' if self.name else ''}{self.name}".replace(" ", "_")


OK = play()
HEAD_OK = play(says(body=(b"",)), method="HEAD")
NO_CONTENT = play(says("204 No Content", (), ()))
LENGTH_2 = play(with_header("Content-Length", "2"))
UPLOAD = play(reads(lambda stream: stream.read(4)), method="POST", body=b"text")
LINE = play(reads(lambda stream: stream.readline(4)), method="POST", body=b"text")
LINES = play(reads(lambda stream: (stream.readlines(), list(stream))), method="POST", body=b"text")
LOGS = play(reads(lambda stream: (stream.write("text"), stream.writelines(["a"])), "wsgi.errors"))
GENERATED = play(generated)


def post(use: Callable[[Any], object], stream: Callable[[], Any] | None = None, **environ: Any) -> Play:
    """A request with the body "text", of which the app makes this use.

    Args:
        stream: makes the `wsgi.input`, anew for each request, if it is no ordinary one.
    """

    def make(**given: Any) -> dict[str, Any]:
        return make_environ(**given, **({} if stream is None else {"wsgi.input": stream()}))

    return play(reads(use), make=make, method="POST", **{"body": b"text", **environ})


def environ_with(**keys: Any) -> Play:
    return play(**keys)


def replaced(key: str, value: Any) -> Play:
    return play(**{key: value})


PLANTED = [
    # -- the call
    Planted("call/arguments", play(server=calls_with()), OK, True, "one argument"),
    Planted(
        "call/arguments", play(server=calls_with(start_response=never_raises)), OK, True, "given by name"
    ),
    Planted("call/start_response", play(server=calls_with(None)), OK, False),
    Planted("call/multithread", at_once(**{"wsgi.multithread": False}), at_once(), False),
    Planted(
        "call/thread", play(generated, in_another_thread("iterate")), GENERATED, False, "of the iteration"
    ),
    Planted("call/thread", play(generated, in_another_thread("close")), GENERATED, False, "of close()"),
    # -- environ
    Planted("environ/type", play(make=lambda: Table(make_environ())), OK, True),
    Planted("environ/keys", play(make=lambda: dict[Any, Any](make_environ()) | {b"X": "x"}), OK, False),
    Planted("environ/names", replaced("Server.Thing", 1), replaced("server.thing", 1), False),
    Planted("environ/missing", replaced("SERVER_PROTOCOL", ABSENT), OK, False, "protocol"),
    Planted("environ/missing", replaced("wsgi.run_once", ABSENT), OK, True, "run_once"),
    Planted("environ/str", replaced("SERVER_PORT", 8000), OK, True),
    Planted("environ/str", replaced("REMOTE_USER", None), OK, True, "None"),
    Planted("environ/str", replaced("HTTP_X", Text("x")), replaced("HTTP_X", "x"), True, "subclass"),
    Planted("environ/latin-1", replaced("PATH_INFO", "/\u20ac"), play(path="/\u20ac"), False),
    Planted("environ/empty", replaced("SERVER_NAME", ""), OK, False),
    Planted("environ/header-value", replaced("HTTP_X", "a\r\nb"), replaced("HTTP_X", "a\tb"), False),
    Planted("environ/content-header", replaced("HTTP_CONTENT_TYPE", "a/b"), OK, True),
    Planted("environ/REQUEST_METHOD", replaced("REQUEST_METHOD", "GE T"), OK, True),
    Planted("environ/REQUEST_METHOD/case", replaced("REQUEST_METHOD", "get"), OK, True),
    Planted("environ/SCRIPT_NAME", replaced("SCRIPT_NAME", "/"), OK, True, "slash"),
    Planted(
        "environ/SCRIPT_NAME", replaced("SCRIPT_NAME", "app"), replaced("SCRIPT_NAME", "/app"), True, "bare"
    ),
    Planted(
        "environ/SCRIPT_NAME/slash", replaced("SCRIPT_NAME", "/app/"), replaced("SCRIPT_NAME", "/app"), False
    ),
    Planted("environ/PATH_INFO", replaced("PATH_INFO", "notes"), replaced("PATH_INFO", "/notes"), True),
    Planted(
        "environ/PATH_INFO", replaced("PATH_INFO", "*"), play(method="OPTIONS", PATH_INFO="*"), True, "star"
    ),
    Planted(
        "environ/PATH_INFO/empty",
        replaced("PATH_INFO", ""),
        play(SCRIPT_NAME="/app", PATH_INFO=""),
        False,
    ),
    Planted("environ/CONTENT_LENGTH", replaced("CONTENT_LENGTH", "+3"), OK, False, "plus"),
    Planted("environ/CONTENT_LENGTH", replaced("CONTENT_LENGTH", "-1"), OK, True, "minus"),
    Planted(
        "environ/SERVER_NAME", replaced("SERVER_NAME", "a/b"), replaced("SERVER_NAME", "[::1]"), False
    ),
    Planted("environ/SERVER_PORT", replaced("SERVER_PORT", "/run/a.sock"), OK, False),
    Planted("environ/SERVER_PROTOCOL", replaced("SERVER_PROTOCOL", "HTTP/2"), OK, False),
    Planted("environ/wsgi.version", replaced("wsgi.version", (1, 1)), OK, False, "1.1"),
    Planted("environ/wsgi.version", replaced("wsgi.version", [1, 0]), OK, True, "list"),
    Planted("environ/wsgi.url_scheme", replaced("wsgi.url_scheme", b"http"), OK, True),
    Planted(
        "environ/wsgi.url_scheme/other",
        replaced("wsgi.url_scheme", "ws"),
        replaced("wsgi.url_scheme", "https"),
        True,
    ),
    Planted("environ/wsgi.input", replaced("wsgi.input", None), OK, True),
    Planted("environ/wsgi.errors", replaced("wsgi.errors", None), OK, True),
    Planted("environ/wsgi.file_wrapper", replaced("wsgi.file_wrapper", None), wraps_well, False),
    # -- start_response
    Planted(
        "start_response/arguments",
        play(lambda environ, start_response: start_response(status="200 OK", headers=[TEXT]) or []),
        OK,
        True,
    ),
    Planted("start_response/never", play(lambda environ, start_response: []), OK, False),
    Planted(
        "start_response/late",
        play(lambda e, s: starts_late(b"early", e, s)),
        play(lambda e, s: starts_late(b"", e, s)),
        True,
    ),
    Planted("start_response/twice", play(calls_twice()), play(fails_and_tells), False),
    Planted("start_response/exc-info", play(calls_twice("error")), play(fails_and_tells), True, "text"),
    Planted(
        "start_response/exc-info", play(calls_twice((1, 2, 3))), play(fails_and_tells), False, "tuple"
    ),
    Planted(
        "start_response/exc-info/empty", play(says("200 OK", (TEXT,), (b"ok",), (None, None, None)),
        server=starting_with(never_raises)), play(fails_and_tells), False
    ),
    Planted(
        "start_response/trapped",
        play(fails_late(trap=True)),
        play(fails_late(), expecting(Boom)),
        False,
    ),
    Planted(
        "start_response/write", play(server=starting_with(lambda *_: None)), OK, False
    ),
    Planted(
        "start_response/not-raised",
        play(fails_late(), starting_with(never_raises)),
        play(fails_late(), expecting(Boom)),
        False,
    ),
    Planted(
        "start_response/raised-too-soon",
        play(fails_and_tells, starting_with(raises_always)),
        play(fails_and_tells),
        False,
    ),
    # -- status
    Planted("status/type", play(says(Text("200 OK"))), OK, True, "subclass"),
    Planted("status/type", play(says(200)), OK, True, "number"),
    Planted("status/form", play(says("200")), OK, True, "no reason"),
    Planted("status/form", play(says("200  OK")), OK, False, "two spaces"),
    Planted("status/form", play(says("2000 OK")), OK, True, "four digits"),
    Planted("status/control", play(says("200 OK\r\n")), OK, False),
    Planted("status/latin-1", play(says("200 \u20ac")), play(says("200 \xa3")), False),
    Planted("status/interim", play(says("100 Continue")), OK, False),
    Planted("status/range", play(says("999 Go Away")), OK, False),
    # -- headers
    Planted("headers/list", play(says(headers=iter([TEXT]))), OK, True),
    Planted("headers/tuple", play(says(headers=[list(TEXT)])), OK, True),
    Planted("headers/str", play(with_header("X-A", 1)), play(with_header("X-A", "1")), True),
    Planted("headers/latin-1", play(with_header("X-A", "\u20ac")), play(with_header("X-A", "\xa3")), False),
    Planted("headers/name/token", play(with_header("X A", "1")), play(with_header("X-A", "1")), True),
    Planted("headers/name/pseudo", play(with_header(":status", "1")), OK, True),
    Planted(
        "headers/name/punctuation", play(with_header("X-A!", "1")), play(with_header("X!A", "1")), True
    ),
    Planted("headers/name/status", play(with_header("Status", "404")), OK, True),
    Planted("headers/value/splitting", play(with_header("X-A", "a\r\nX-B: b")), OK, True),
    Planted("headers/value/control", play(with_header("X-A", "a\x7fb")), OK, False, "DEL"),
    Planted("headers/value/control", play(with_header("X-A", "a\tb")), OK, True, "tab"),
    Planted("headers/value/white-space", play(with_header("X-A", " a")), OK, False),
    Planted("headers/hop-by-hop", play(with_header("Connection", "close")), OK, False),
    Planted("headers/hop-by-hop", play(with_header("Transfer-Encoding", "chunked")), OK, False, "coding"),
    Planted("headers/content-length/digits", play(with_header("Content-Length", "+2")), LENGTH_2, False),
    Planted(
        "headers/content-length/differing",
        play(says(headers=(TEXT, ("Content-Length", "2"), ("content-length", "3")))),
        LENGTH_2,
        False,
    ),
    Planted(
        "headers/content-length/repeated",
        play(says(headers=(TEXT, ("Content-Length", "2"), ("content-length", "2")))),
        LENGTH_2,
        False,
    ),
    Planted(
        "headers/content-length/forbidden",
        play(says("204 No Content", (("Content-Length", "0"),), ())),
        NO_CONTENT,
        False,
    ),
    Planted(
        "headers/content-type/forbidden", play(says("304 Not Modified", (TEXT,), ())), NO_CONTENT, True
    ),
    Planted("headers/content-type/missing", play(says(headers=())), OK, True),
    # -- body
    Planted("body/too-long", play(with_header("Content-Length", "1")), LENGTH_2, False),
    Planted("body/too-short", play(with_header("Content-Length", "3")), LENGTH_2, False),
    Planted("body/forbidden", play(says("204 No Content", (), (b"x",))), NO_CONTENT, False),
    Planted("body/head", play(method="HEAD"), HEAD_OK, False),
    # -- the iterable
    Planted("iterable/type", play(says(body=None), server=expecting(TypeError)), OK, True, "None"),
    Planted(
        "iterable/type", play(says(body=object()), server=expecting(TypeError)), OK, False, "no iterable"
    ),
    Planted("iterable/string", play(says(body="ok")), OK, True, "str"),
    Planted("iterable/string", play(says(body=bytearray(b"ok"))), OK, True, "bytearray"),
    Planted("iterable/bytes", play(says(body=("ok",))), OK, True, "str"),
    Planted("iterable/bytes", play(says(body=(Subclass(b"ok"),))), OK, True, "subclass"),
    Planted(
        "iterable/len",
        play(says(body=lambda: Sized(2, b"one"))),
        play(says(body=lambda: Sized(1, b"one"))),
        False,
    ),
    Planted("iterable/iter", play(generated, steps("bare next", "close")), GENERATED, False),
    Planted(
        "iterable/again",
        play(says(body=lambda: Sized(2, b"one", b"two")), steps("iter", "next", "iter", "end", "close")),
        play(says(body=lambda: Sized(2, b"one", b"two"))),
        False,
    ),
    Planted("iterable/reentered", reenters("within"), reenters("never"), False),
    Planted(
        "iterable/after-end",
        play(generated, steps("iter", "end", "next", "close")),
        play(generated, steps("iter", "end", "close")),
        False,
    ),
    Planted(
        "iterable/after-close",
        play(generated, steps("iter", "next", "close", "next")),
        play(generated, steps("iter", "next", "close")),
        True,
    ),
    Planted(
        "iterable/attribute",
        play(generated, steps("ask", "iter", "end", "close")),
        play(generated, steps("iter", "end", "close")),
        False,
    ),
    Planted(
        "close/never",
        play(generated, steps("iter", "end", "drop")),
        play(generated, steps("iter", "end", "close", "drop")),
        True,
    ),
    Planted(
        "close/twice", play(generated, steps("iter", "end", "close", "close")), GENERATED, False
    ),
    Planted(
        "close/ignored",
        play(stubborn, expecting(RuntimeError, steps("iter", "next", "close"))),
        play(generated, steps("iter", "next", "close")),
        False,
    ),
    # -- write()
    Planted(
        "write/arguments",
        play(writes(lambda write: write(data=b"x")), expecting(TypeError)),
        play(writes(lambda write: write(b"x"))),
        False,
    ),
    Planted("write/bytes", play(writes(lambda write: write("x"))), play(writes(lambda w: w(b"x"))), True),
    Planted("write/after-return", play(writes_late), play(writes(lambda write: write(b"x"))), False),
    Planted("write/used", play(writes(lambda write: write(b"x"))), OK, False),
    # -- wsgi.input
    Planted(
        "input/arguments",
        post(lambda stream: stream.read("4"), lambda: Stream(read=lambda _: b"text")),
        UPLOAD,
        False,
    ),
    Planted(
        "input/unbounded",
        post(lambda stream: stream.read()),
        UPLOAD,
        True,
    ),
    Planted("input/beyond-length", post(lambda stream: stream.read(5)), UPLOAD, False),
    Planted("input/close", post(lambda stream: stream.close(), lambda: io.BytesIO(b"text")), UPLOAD, True),
    Planted(
        "input/attribute",
        post(lambda stream: getattr(stream, "seek", None), lambda: io.BytesIO(b"text")),
        UPLOAD,
        False,
    ),
    Planted(
        "input/after-close",
        play(reads_after_close(True), asks_afterwards, method="POST", body=b"text"),
        play(reads_after_close(False), asks_afterwards, method="POST", body=b"text"),
        False,
    ),
    Planted(
        "input/bytes",
        post(lambda stream: stream.read(4), lambda: Stream(read=lambda _: "text")),
        UPLOAD,
        True,
    ),
    Planted(
        "input/too-much",
        post(lambda stream: stream.read(2), lambda: Stream(read=lambda _: b"text")),
        UPLOAD,
        False,
    ),
    Planted(
        "input/line",
        post(lambda stream: stream.readline(), lambda: Stream(readline=lambda: b"a\nbc")),
        LINE,
        False,
    ),
    Planted(
        "input/lines",
        post(lambda stream: stream.readlines(), lambda: Stream(readlines=lambda: (b"text",))),
        LINES,
        True,
    ),
    Planted(
        "input/readline-size",
        play(
            reads(lambda stream: stream.readline(4)),
            expecting(TypeError),
            method="POST",
            body=b"text",
            **{"wsgi.input": Stream(readline=lambda: b"text")},
        ),
        LINE,
        False,
    ),
    Planted(
        "input/surplus",
        post(lambda stream: stream.read(6), lambda: Stream(b"text +"), CONTENT_LENGTH="4"),
        UPLOAD,
        False,
    ),
    Planted(
        "input/end",
        post(lambda stream: [stream.read(4) for _ in range(3)], lambda: Revived(b"text")),
        UPLOAD,
        False,
    ),
    Planted(
        "input/truncated",
        post(lambda stream: (stream.read(4), stream.read(4)), lambda: Stream(b"text"), CONTENT_LENGTH="8"),
        UPLOAD,
        False,
    ),
    # -- wsgi.errors
    Planted(
        "errors/text",
        play(reads(lambda s: s.write(b"x"), "wsgi.errors"), expecting(TypeError)),
        LOGS,
        True,
    ),
    Planted(
        "errors/text",
        play(reads(lambda s: s.writelines([b"x"]), "wsgi.errors"), expecting(TypeError)),
        LOGS,
        True,
        "in lines",
    ),
    Planted(
        "errors/arguments",
        play(reads(lambda s: s.write("a", "b"), "wsgi.errors"), expecting(TypeError)),
        LOGS,
        False,
    ),
    Planted("errors/close", play(reads(lambda s: s.close(), "wsgi.errors")), LOGS, True),
    Planted(
        "errors/attribute", play(reads(lambda s: getattr(s, "encoding", None), "wsgi.errors")), LOGS, False
    ),
    Planted(
        "errors/refused",
        play(
            reads(lambda s: (s.write("\u20ac"), s.flush()), "wsgi.errors"),
            expecting(UnicodeEncodeError),
            **{"wsgi.errors": io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)},
        ),
        LOGS,
        False,
    ),
    # -- wsgi.file_wrapper
    Planted(
        "file-wrapper/arguments",
        play(wraps(io.BytesIO(b"ok"), size=10), **{"wsgi.file_wrapper": FileWrapper}),
        wraps_well,
        False,
    ),
    Planted(
        "file-wrapper/read",
        play(wraps(iter([b"ok"])), expecting(AttributeError), **{"wsgi.file_wrapper": FileWrapper}),
        wraps_well,
        False,
    ),
    Planted(
        "file-wrapper/iterable",
        play(wraps(io.BytesIO()), expecting(TypeError), **{"wsgi.file_wrapper": lambda file: object()}),
        wraps_well,
        False,
    ),
    Planted(
        "file-wrapper/close",
        play(wraps(io.BytesIO(b"ok")), **{"wsgi.file_wrapper": Unclosable}),
        wraps_well,
        False,
    ),
    Planted(
        "start_response/never",
        play(wraps_silently, **{"wsgi.file_wrapper": FileWrapper}),
        wraps_well,
        True,
        "with a file",
    ),
]  # fmt: skip


@own_garbage()
def found(what: Play) -> list[Violation]:
    """What the validator finds in a play, without stopping it; what else is raised is of no interest."""
    validators: list[WSGIValidator] = []

    def wrap(app: App) -> App:
        validators.append(WSGIValidator(app, on_violation="collect", level="SHOULD"))
        return validators[0]

    with suppress(Exception):
        what(wrap)
    gc.collect()
    return validators[0].violations


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_what_was_planted_is_found(planted: Planted) -> None:
    """The rule is told of, and with it the side, the clause, what was expected and what came."""
    hits = [each for each in found(planted.bad) if each.rule == planted.rule]
    assert hits, found(planted.bad)
    rule = RULES.get(planted.rule)
    if rule is not None:
        assert (hits[0].side, hits[0].clause, hits[0].expected, hits[0].level) == (
            rule.side,
            rule.clause,
            rule.expected,
            rule.level,
        )
    assert hits[0].came
    assert ", " in hits[0].where


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_the_mended_twin_is_clean(planted: Planted) -> None:
    """Apart from what is only advised against and not what the row is about."""
    musts = {each.rule for each in found(planted.good) if each.level == "MUST"}
    assert (musts, planted.rule in {each.rule for each in found(planted.good)}) == (set(), False)


@own_garbage()
def objects(what: Play) -> bool:
    """Whether `wsgiref.validate` objects: by an assertion of its own, a warning, or both at deletion.

    An exception that comes by itself, such as a TypeError, is no objection.
    """
    complaints: list[object] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: complaints.append(unraisable.exc_value)
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", validate.WSGIWarning)
            what(validate.validator)
    except Exception as error:
        complaints.append(error)
        del error
    finally:
        gc.collect()
        sys.stderr = stderr
        sys.unraisablehook = before
    return any(
        isinstance(each, validate.WSGIWarning)
        or (
            isinstance(each, AssertionError)
            and traceback.extract_tb(each.__traceback__)[-1].filename == validate.__file__
        )
        for each in complaints
    )


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_what_wsgiref_says_of_it(planted: Planted) -> None:
    """The column `wsgiref` of the table is true; and it has no objection to what has no fault."""
    assert objects(planted.bad) == planted.wsgiref


def test_every_rule_of_the_table_is_planted() -> None:
    """And with it the ones of header fields; no row names a rule that is not there."""
    planted = {each.rule for each in PLANTED}
    of_headers = {
        "headers/name/token",
        "headers/name/pseudo",
        "headers/value/splitting",
        "headers/value/white-space",
        "headers/content-length/digits",
        "headers/content-length/differing",
        "headers/content-length/repeated",
    }
    assert planted == RULES.keys() | of_headers


PAGE = Path(__file__).resolve().parents[3] / "docs" / "project" / "validator-findings-wsgi.md"


def level_of(rule: str) -> str:
    """Its level; of the rules of header fields, two are advice."""
    advice = ("headers/value/white-space", "headers/content-length/repeated")
    return RULES[rule].level if rule in RULES else "SHOULD" if rule in advice else "MUST"


def test_the_documentation_counts_what_wsgiref_misses() -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    missed = [each for each in PLANTED if not each.wsgiref]
    musts = [each for each in PLANTED if level_of(each.rule) == "MUST"]
    missed_musts = [each for each in musts if not each.wsgiref]
    assert f"The tests plant {len(PLANTED)} faults" in page
    assert f"does not object to {len(missed)} of {len(PLANTED)}" in page
    assert f"Of the {len(musts)} that are a MUST, these {len(missed_musts)}" in page


# -- what is raised, kept, ignored

BAD_STATUS = says("200")


def run(app: App, **environ: Any) -> None:
    good_server(app, make_environ(**environ))


def test_a_fault_of_the_app_is_raised_in_the_app() -> None:
    """Out of `start_response`, so that the app's own frames are in the traceback."""
    seen: list[Violation] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        with pytest.raises(ProtocolViolation) as caught:
            start_response("200", [TEXT])
        assert isinstance(caught.value.violation, Violation)
        seen.append(caught.value.violation)
        raise Boom

    with pytest.raises(Boom):
        run(WSGIValidator(app), path="/notes")
    assert seen[0] == Violation(
        "status/form",
        "app",
        'PEP 3333, "The start_response() Callable"',
        'three digits, one space and a reason, such as "404 Not Found"',
        "'200'",
        "GET /notes, start_response()",
    )


def test_a_fault_that_the_app_swallows_is_raised_to_the_server() -> None:
    """So that a framework that catches everything does not hide it; what it returned is closed."""
    closed: list[str] = []

    class Body(Sized):
        def close(self) -> None:
            closed.append("closed")

    def swallows(environ: dict[str, Any], start_response: Any) -> Any:
        with pytest.raises(ProtocolViolation):
            start_response("200", [TEXT])
        return Body(0)

    def swallows_later(environ: dict[str, Any], start_response: Any) -> Any:
        yield from swallows(environ, start_response)

    with pytest.raises(ProtocolViolation, match="status/form"):
        run(WSGIValidator(swallows))
    assert closed == ["closed"]
    with pytest.raises(ProtocolViolation, match="status/form"):
        run(WSGIValidator(swallows_later))


def test_a_fault_of_the_server_is_raised_to_the_server() -> None:
    called: list[object] = []
    validator = WSGIValidator(lambda *args: called.append(args))  # type: ignore[arg-type]
    with pytest.raises(ProtocolViolation, match="the server broke environ/str"):
        run(validator, SERVER_PORT=8000)
    assert called == []


def test_what_is_wrong_with_the_return_is_raised_to_the_server_and_closed() -> None:
    """The server never sees the iterable, so the validator closes it."""

    class Strange(bytearray):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    body = Strange(b"ok")
    with pytest.raises(ProtocolViolation, match="iterable/string"):
        run(WSGIValidator(says(body=body)))
    assert body.closed == 1


def test_collect_lets_everything_pass() -> None:
    validator = WSGIValidator(BAD_STATUS, on_violation="collect")
    run(validator)
    assert [each.rule for each in validator.violations] == ["status/form"]
    with pytest.raises(ProtocolViolation, match="broke status/form"):
        validator.assert_clean()
    validator.reset()
    assert validator.violations == []
    validator.assert_clean()


def test_assert_clean_tells_all() -> None:
    validator = WSGIValidator(with_header("Connection", "close"), on_violation="collect")
    run(validator, path="/a", SERVER_PORT=8000)
    with pytest.raises(ProtocolViolation) as caught:
        validator.assert_clean()
    assert "headers/hop-by-hop" in str(caught.value)
    assert "environ/str" in str(caught.value)


def test_log_warns(caplog: pytest.LogCaptureFixture) -> None:
    run(WSGIValidator(BAD_STATUS, on_violation="log"))
    assert [(each.name, each.levelname) for each in caplog.records] == [("bridge.testing", "WARNING")]
    assert "the app broke status/form" in caplog.text


def test_a_function_gets_each() -> None:
    seen: list[Violation] = []
    run(WSGIValidator(BAD_STATUS, on_violation=seen.append))
    assert [each.rule for each in seen] == ["status/form"]


@pytest.mark.parametrize("ignore", [("status/form",), ["status/"]])
def test_rules_may_be_ignored(ignore: list[str]) -> None:
    validator = WSGIValidator(BAD_STATUS, ignore=ignore)
    run(validator)
    validator.assert_clean()


def test_advice_is_told_only_if_asked_for() -> None:
    run(WSGIValidator(writes(lambda write: write(b"x"))))
    with pytest.raises(ProtocolViolation, match="write/used"):
        run(WSGIValidator(writes(lambda write: write(b"x")), level="SHOULD"))


@own_garbage()
def test_an_iterable_that_was_not_closed_is_reported_with_the_next_request() -> None:
    """Nothing can be raised where it is found; until then it is in `violations`."""
    validator = WSGIValidator(generated)
    steps("iter", "end", "drop")(validator, make_environ(path="/lost"))
    with pytest.raises(ProtocolViolation, match="GET /lost, the end of the request: the server broke close/"):
        run(validator, path="/next")
    assert [each.rule for each in validator.violations] == ["close/never"]
    validator.reset()
    steps("iter", "end", "drop")(validator, make_environ())
    assert [each.rule for each in validator.violations] == ["close/never"]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Not WSGI."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"app": None}, "expected a WSGI application, a callable; got NoneType"),
        ({"app": asgi_app}, "is an ASGI application"),
        ({"ignore": "status/"}, "a collection of rule names"),
        ({"level": "MAY"}, "level is one of MUST, SHOULD; got 'MAY'"),
        ({"on_violation": "shout"}, "on_violation is one of"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WSGIValidator(**{"app": good_app, **arguments})


# -- what does not change


def test_everything_passes_as_it_is() -> None:
    """The environ, the arguments of `start_response`, what it returns and chunks: the same objects."""
    headers = [TEXT]
    chunks = [b"one", b"two"]
    given: list[Any] = []
    written: list[bytes] = []
    environ = make_environ()

    def app(got: dict[str, Any], start_response: Any) -> Any:
        assert got is environ
        write = start_response("200 OK", headers)
        write(b"zero")
        return chunks

    def start_response(*args: Any) -> Any:
        given.extend(args)
        return written.append

    body = WSGIValidator(app)(environ, start_response)
    assert given[1] is headers
    assert written == [b"zero"]
    assert [a is b for a, b in zip(body, chunks, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("make", "abilities"),
    [
        (lambda: [b"ok"], (True, False)),
        (lambda: iter([b"ok"]), (False, False)),
        (lambda: Sized(1, b"ok"), (True, True)),
        (lambda: (each for each in [b"ok"]), (False, True)),
    ],
    ids=["list", "iterator", "sized", "generator"],
)
def test_the_server_gets_an_iterable_of_the_same_abilities(
    make: Callable[[], Any], abilities: tuple[bool, bool]
) -> None:
    """`len()` by which a server knows the length of a single chunk, and `close()`."""
    body = WSGIValidator(says(body=make))(make_environ(), good_start_response([]))
    assert (hasattr(body, "__len__"), hasattr(body, "close")) == abilities
    if hasattr(body, "__len__"):
        assert len(body) == 1
    assert list(body) == [b"ok"]
    if hasattr(body, "close"):
        body.close()


def test_exceptions_pass() -> None:
    def failing() -> Iterator[bytes]:
        yield b"one"
        raise Boom

    def raising(environ: Any, start_response: Any) -> Any:
        raise Boom

    for app in (says(body=failing), raising):
        validator = WSGIValidator(app)
        with pytest.raises(Boom):
            run(validator)
        validator.assert_clean()


def test_what_the_file_wrapper_made_is_returned_as_it_is() -> None:
    """A server sends files fast only if it knows its own object again."""
    made: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [TEXT])
        made.append(environ["wsgi.file_wrapper"](io.BytesIO(b"ok")))
        assert isinstance(made[0], environ["wsgi.file_wrapper"])
        return made[0]

    extra: dict[str, Any] = {"wsgi.file_wrapper": util.FileWrapper}
    environ = make_environ(**extra)
    body = WSGIValidator(app)(environ, good_start_response([]))
    assert body is made[0]
    assert type(body) is util.FileWrapper


def test_it_is_known_as_a_wsgi_app() -> None:
    """So that what tells interfaces apart, such as `bridge serve`, takes it for what it is."""
    validator = WSGIValidator(good_app)
    assert interface_of(validator).interface is Interface.WSGI
    assert isinstance(bridge.as_asgi(validator), WSGIToASGI)
    assert bridge.as_wsgi(validator) is validator


def test_a_report_is_of_one_line_whatever_the_client_has_sent() -> None:
    validator = WSGIValidator(BAD_STATUS, on_violation="collect")
    run(validator, REQUEST_METHOD="G\r\nT", SCRIPT_NAME="/a b", PATH_INFO="/\r\n\xe9/" + "x" * 200)
    assert validator.violations[-1].where == f"G%0D%0AT /a%20b/%0D%0A%E9/{'x' * 83}..., start_response()"


def test_validators_may_be_nested() -> None:
    outer = WSGIValidator(inner := WSGIValidator(fails_and_tells))
    run(outer, method="POST", body=b"text")
    inner.assert_clean()
    outer.assert_clean()


# -- applications that are in order


def flask_app() -> App:
    from flask import Flask, Response, request

    app = Flask("clean")

    @app.route("/", methods=["GET", "POST"])
    def index() -> Any:
        return request.get_data() or "hello"

    @app.route("/nothing")
    def nothing() -> Any:
        return "", 204

    @app.route("/stream")
    def stream() -> Any:
        return Response(iter([b"one", b"two"]), mimetype="text/plain")

    @app.route("/form", methods=["POST"])
    def form() -> Any:
        return {
            "form": dict(request.form),
            "files": [file.read().decode() for file in request.files.values()],
        }

    @app.route("/broken")
    def broken() -> Any:
        raise Boom

    return app


def django_app() -> App:
    """Settings are of the process, so this is called in one of its own."""
    import types

    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    settings.configure(
        SECRET_KEY="key",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="clean_urls",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        LOGGING_CONFIG=None,
    )

    def form(request: Any) -> Any:
        files = [file.read().decode() for file in request.FILES.values()]
        return JsonResponse({"form": request.POST.dict(), "files": files})

    def broken(request: Any) -> Any:
        raise Boom

    urls = types.ModuleType("clean_urls")
    vars(urls)["urlpatterns"] = [
        path("", lambda request: HttpResponse(request.body or b"hello")),
        path("stream", lambda request: StreamingHttpResponse(iter([b"one", b"two"]))),
        path("form", form),
        path("broken", broken),
    ]
    sys.modules["clean_urls"] = urls
    django.setup()
    return WSGIHandler()


def bare_app() -> App:
    """As small frameworks do it: one callable, a list, an error page with exc_info."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        try:
            if path == "/broken":
                raise Boom
            if path == "/form":
                environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length) if path == "/" and length else b"hello"
            start_response("200 OK", [TEXT, ("Content-Length", str(len(body)))])
        except Boom:
            body = b"sorry"
            start_response("500 Internal Server Error", [TEXT], sys.exc_info())
        return [body] if environ["REQUEST_METHOD"] != "HEAD" else []

    return app


FORM = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nfile\r\n--x--\r\n'
)
REQUESTS: list[dict[str, Any]] = [
    {"path": "/"},
    {"path": "/?a=%20%C3%A9"},
    {"path": "/", "method": "HEAD"},
    {"path": "/", "method": "POST", "body": b"text"},
    {"path": "/absent/\u00e9"},
    {"path": "/stream"},
    {"path": "/nothing"},
    {"path": "/broken"},
    {
        "path": "/form",
        "method": "POST",
        "body": FORM,
        "headers": [("Content-Type", "multipart/form-data; boundary=x")],
    },
]


def served_by_wsgi(make: Callable[[], App]) -> None:
    """Have a good server serve all requests, and find nothing."""
    validator = WSGIValidator(make())
    for request in REQUESTS:
        run(validator, **request)
    validator.assert_clean()


def served_by_our_adapter(make: Callable[[], App]) -> None:
    """The same with `WSGIToASGI` as the server, which has to heed all advice to servers."""
    validator = WSGIValidator(make(), on_violation="collect", level="SHOULD")
    adapter = WSGIToASGI(validator)
    for request in REQUESTS:
        path, _, query = request["path"].partition("?")
        body = request.get("body", b"")
        headers = [(name.lower().encode(), value.encode()) for name, value in request.get("headers", ())]
        if body:
            headers.append((b"content-length", b"%d" % len(body)))
        scope = http_scope(
            method=request.get("method", "GET"),
            path=path,
            query_string=query.encode(),
            headers=[(b"host", b"testserver"), *headers],
        )
        serve(adapter, scope, requests(body))
    assert [each for each in validator.violations if each.side == "server" or each.level == "MUST"] == []
    assert adapter.pool.drain(5.0)


APPS = {"flask": flask_app, "bare": bare_app, "generated": lambda: generated}
CHECKS = {"wsgi": served_by_wsgi, "our adapter": served_by_our_adapter}


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
@pytest.mark.parametrize("make", APPS.values(), ids=list(APPS))
def test_apps_are_clean(make: Callable[[], App], check: Callable[[Callable[[], App]], None]) -> None:
    check(make)


def test_django_is_clean() -> None:
    """With both servers, in a process of its own."""
    paths = [str(Path(__file__).resolve().parents[2]), str(Path(str(bridge.__file__)).resolve().parents[1])]
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "clean\n"), done.stderr


def starlette_app() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route

    async def index(request: Any) -> Any:
        return PlainTextResponse(await request.body() or b"hello")

    async def stream(request: Any) -> Any:
        async def chunks() -> Any:
            yield b"one"
            yield b"two"

        return StreamingResponse(chunks(), media_type="text/plain")

    async def nothing(request: Any) -> Any:
        return Response(status_code=204)

    async def form(request: Any) -> Any:
        async with request.form() as data:
            return PlainTextResponse(str(data["a"]))

    return Starlette(
        routes=[
            Route("/", index, methods=["GET", "POST"]),
            Route("/stream", stream),
            Route("/nothing", nothing),
            Route("/form", form, methods=["POST"]),
        ]
    )


def fastapi_app() -> Any:
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.api_route("/", methods=["GET", "HEAD", "POST"])
    async def index(request: Request) -> Any:
        return {"body": (await request.body()).decode()}

    return app


@pytest.mark.parametrize("make", [starlette_app, fastapi_app], ids=["starlette", "fastapi"])
def test_asgi_apps_through_our_adapter_are_clean(make: Callable[[], Any]) -> None:
    """Also where only advice is not followed, with a server that gives what is asked for."""
    with ASGIToWSGI(make()) as adapter:
        validator = WSGIValidator(adapter, level="SHOULD", ignore=("headers/content-type/missing",))
        for request in REQUESTS:
            run(validator, **request)
        validator.assert_clean()


if __name__ == "__main__":
    django = django_app()
    for each in CHECKS.values():
        each(lambda: django)
    print("clean")
