"""A strict WSGI server in process: it calls one app by hand or to its end, and watches the rules.

    def test_it():
        answer = drive(app, method="POST", path="/notes?page=2", body=b"text")
        assert (answer.status, answer.body) == (200, b"hello")

`drive` runs one request to its end. With `Exchange` a test takes the steps itself, and other things
between them:

    with Exchange(app, path="/stream") as exchange:
        exchange.call()
        assert exchange.next() == b"first"
        exchange.close()

Each exchange has a thread of its own, as a request has in a server, so that nothing hangs: a step that
does not end within its time fails the test. The app sees a copy of the test's Context.

What every exchange asserts, whatever the test is about: status, headers and chunks are such as PEP 3333
and HTTP allow; the body is as long as `Content-Length` says if it ended well, and empty where a response
has none; `wsgi.input` is read in the request's own thread, only through `read(size)`, and no longer once
the iterable is closed; `wsgiref.validate` has no objection. With `strict`, which is for what
`ASGIToWSGI` gives, also that: the environ is not touched; `start_response` is called before the app
returns; `write()` is not used; no chunk is empty; the iterable has `__next__` and `close()` and no
`__len__`, is exhausted once and for all, and may be closed twice.
"""

from __future__ import annotations

import contextvars
import io
import queue
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote, unquote_to_bytes
from wsgiref import validate

from support.drive import TIMEOUT, Signal
from support.scopes import ABSENT

T = TypeVar("T")
Environ: TypeAlias = dict[str, Any]
Headers: TypeAlias = list[tuple[str, str]]
App: TypeAlias = Callable[..., Any]
"""A WSGI application."""

# When a test has failed, the exchange's thread gets this long (seconds) to close the iterable.
_FAREWELL = 1.0
# What `wsgiref.validate` knows; it warns of others.
_KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PATCH", "PUT", "DELETE", "TRACE"})
_STATUS = re.compile(r"[2-5]\d\d [^\x00-\x1f\x7f]+")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)


class ClosingInput:
    """A `wsgi.input` that ends, breaks or waits where the script says so, as a socket does.

    Args:
        steps: in order: bytes are there to be read, an exception is raised, a `Signal` is waited for.
            After the last every read gives `b""`; an exception that is the last is raised by every
            read from then on.
        piece: the most that one read returns. No read goes across a step.

    Attributes:
        asked: the sizes that were asked for.
        taken: how many bytes were read.
        threads: those that have read.
        violations: what `ASGIToWSGI` may not do and did.
    """

    def __init__(self, *steps: bytes | BaseException | Signal, piece: int | None = None) -> None:
        # Views, so that a large body read in small pieces is not copied again and again.
        self._steps = deque(memoryview(step) if isinstance(step, bytes) else step for step in steps)
        self._piece = piece
        self._reading = threading.Lock()
        self._closed = False
        self.asked: list[int | None] = []
        self.taken = 0
        self.threads: set[int] = set()
        self.violations: list[str] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked.append(size)
        if size is None or size < 0:
            self.violations.append(f"read({size!r}): on some servers that waits for ever")
            return b"".join(iter(lambda: self._read(2**16), b""))
        return self._read(size)

    # The rest of a file is there for apps of other kinds.

    def readline(self, size: int = -1, /) -> bytes:
        self.violations.append("readline() was used, which some servers have wrong")
        line = b""
        while not line.endswith(b"\n") and len(line) != size and (byte := self._read(1)):
            line += byte
        return line

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _read(self, size: int) -> bytes:
        self.threads.add(threading.get_ident())
        if self._closed:
            self.violations.append("the body was read after the request")
        if not self._reading.acquire(blocking=False):
            self.violations.append("two reads went on at a time")
            return b""
        try:
            return self._step(size)
        finally:
            self._reading.release()

    def _step(self, size: int) -> bytes:
        while size and self._steps:
            step = self._steps[0]
            if isinstance(step, BaseException):
                if len(self._steps) > 1:
                    self._steps.popleft()
                raise step
            self._steps.popleft()
            if isinstance(step, Signal):
                self._await(step)
                continue
            part = step[: size if self._piece is None else min(size, self._piece)]
            if len(part) < len(step):
                self._steps.appendleft(step[len(part) :])
            if part:
                self.taken += len(part)
                return bytes(part)
        return b""

    def _await(self, signal: Signal) -> None:
        try:
            signal.wait()
        except AssertionError:
            self.violations.append("a read hangs")
            raise

    def no_more(self) -> None:
        """The request has ended: who reads now reads another one's body."""
        self._closed = True


def make_environ(
    method: str = "GET",
    path: str = "/",
    body: bytes = b"",
    *,
    headers: Iterable[tuple[str, str]] = (),
    script_name: str = "",
    **extra: Any,
) -> Environ:
    """A new environ as a good server makes it, with `extra` keys put over it; `ABSENT` removes one.

    Args:
        path: the request target below `script_name`, as on the wire: percent escapes are decoded, what
            is not ASCII stands for its UTF-8, and a query may follow. It becomes `PATH_INFO`,
            `QUERY_STRING` and `RAW_URI`; the last is left out if one of its parts is given in `extra`.
        body: gives `CONTENT_LENGTH` as well; an empty one does so for POST, PUT and PATCH.
        headers: further headers. Repeated ones are joined with a comma, cookies with a semicolon.
        script_name: in the same writing as `path`.
    """
    target = quote(script_name + path, safe="%/?&=;:@!$'()*+,-._~#[]")
    raw_path, _, query = quote(path, safe="%/?&=;:@!$'()*+,-._~#[]").partition("?")
    environ: Environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": unquote_to_bytes(script_name).decode("latin-1"),
        "PATH_INFO": unquote_to_bytes(raw_path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "HTTP_HOST": "testserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": ClosingInput(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if body or method in ("POST", "PUT", "PATCH"):
        environ["CONTENT_LENGTH"] = str(len(body))
    given: Environ = {}
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        between = "; " if key == "HTTP_COOKIE" else ","
        given[key] = given[key] + between + value if key in given else value
    environ.update(given)
    if extra.keys() & {"SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"}:
        del environ["RAW_URI"]
    environ.update(extra)
    return {key: value for key, value in environ.items() if value is not ABSENT}


@dataclass
class Answer:
    """What came of a request.

    Attributes:
        status, reason: of the status line; 0 and "" if the app never called `start_response`.
        headers: as the app gave them.
        chunks: what the iterable yielded, and what was written, as long as a server would send it.
        error: what the app or the iterable raised, upon which a server aborts the connection.
        errors: the text that went to `wsgi.errors`.
        iterable: what the app returned, `None` if it raised.
    """

    status: int = 0
    reason: str = ""
    headers: Headers = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    error: BaseException | None = None
    errors: str = ""
    iterable: Any = None

    @property
    def body(self) -> bytes:
        """All of the body that came."""
        return b"".join(self.chunks)

    def header(self, name: str) -> str | None:
        """The value of a header that occurs at most once."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def unwrap(self) -> Answer:
        """Raise what the app raised."""
        if self.error is not None:
            raise self.error
        return self


class Pending(Generic[T]):
    """A step that the exchange's thread takes or has taken."""

    def __init__(self, what: str, function: Callable[[], T], timeout: float) -> None:
        self._what = what
        self._function = function
        self._timeout = timeout
        self._done = threading.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._done.is_set()

    def result(self, timeout: float | None = None) -> T:
        """What the step gave; raises what it raised.

        Raises:
            AssertionError: it did not end within `timeout` seconds, by default those of the exchange.
        """
        if not self._done.wait(self._timeout if timeout is None else timeout):
            raise AssertionError(f"{self._what} hangs")
        if self._error is not None:
            raise self._error
        return self._value[0]

    def run(self) -> None:
        """Take the step; in the exchange's thread."""
        try:
            self._value.append(self._function())
        except BaseException as error:
            self._error = error
        self._done.set()


class Exchange:
    """One request to an app, step by step: `call`, then `next` as often as one likes, then `close`.

    Args:
        app: the WSGI app.
        environ: the environ it is called with, by default a new one from `make_environ`.
        strict: also assert what holds of `ASGIToWSGI` only; see the module.
        validated: put `wsgiref.validate` around the app. Its rule that every response with a body
            has a `Content-Type` is left out: that is the app's affair. An environ that itself breaks
            its rules, as those of some servers do, is given without it.
        timeout: of each step, in seconds.
        options: of `make_environ`; with an `environ`, keys to put over it.

    Attributes:
        environ: what the app is called with.
        answer: what has come so far.
        thread: the ident of the thread that all steps are taken in.
        exhausted, closed: how far the iterable is.
    """

    def __init__(
        self,
        app: App,
        environ: Environ | None = None,
        *,
        strict: bool = True,
        validated: bool = True,
        timeout: float = TIMEOUT,
        **options: Any,
    ) -> None:
        if environ is None:
            environ = make_environ(**options)
        else:
            environ.update(options)
        self.environ = environ
        self.answer = Answer()
        self.thread = 0
        self.exhausted = False
        self.closed = False
        self._app = app
        self._strict = strict
        self._validated = validated and _is_lawful(environ)
        self._timeout = timeout
        self._input = environ.get("wsgi.input")
        self._errors = environ.get("wsgi.errors")
        self._iterable: Any = None
        self._iterator: Any = None
        self._head: Headers = []
        self._started = False
        self._sent = 0
        self._violations: list[str] = []
        self._steps: queue.SimpleQueue[Pending[Any] | None] = queue.SimpleQueue()
        context = contextvars.copy_context()
        self._worker = threading.Thread(target=context.run, args=(self._work,), name="exchange", daemon=True)
        self._worker.start()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.end()
        else:
            # The test has failed already; what is wrong besides is of no interest, only what is left.
            self.close_soon()
            self._steps.put(None)
            self._worker.join(_FAREWELL)

    # -- the steps

    def call_soon(self) -> Pending[None]:
        """Call the app; return at once."""
        return self._take("the call of the app", self._call)

    def call(self) -> Answer:
        """Call the app; return once it has returned. Raises what it raises."""
        self.call_soon().result()
        return self.answer

    def next_soon(self) -> Pending[bytes | None]:
        """Ask for the next chunk; return at once."""
        return self._take("the next chunk", self._next)

    def next(self) -> bytes | None:
        """The next chunk, `None` at the end. Raises what the iterable raises."""
        return self.next_soon().result()

    def rest(self) -> bytes:
        """All that is left of the body. Raises what the iterable raises."""
        before = len(self.answer.chunks)
        while self.next() is not None:
            pass
        return b"".join(self.answer.chunks[before:])

    def close_soon(self) -> Pending[None]:
        """Close the iterable, which is what a server does at the end and when its client is gone."""
        return self._take("close()", self._close)

    def close(self) -> None:
        """The same; return once it is closed. Does nothing if there is no iterable, or it is closed."""
        self.close_soon().result()

    def end(self) -> Answer:
        """Close the iterable if that is still to be done, and assert that no rule was broken."""
        self.close()
        self._steps.put(None)
        self._check_input()
        assert self._violations == [], self._violations
        return self.answer

    def run(self) -> Answer:
        """Take all steps as a server does; what the app raises is in `answer.error`."""
        try:
            self.call()
            self.rest()
        except BaseException as error:
            if error is not self.answer.error:
                raise
        return self.end()

    def _take(self, what: str, function: Callable[[], T]) -> Pending[T]:
        pending = Pending(what, function, self._timeout)
        self._steps.put(pending)
        return pending

    # -- in the exchange's thread

    def _work(self) -> None:
        self.thread = threading.get_ident()
        while (step := self._steps.get()) is not None:
            step.run()

    def _call(self) -> None:
        try:
            app = validate.validator(self._watched) if self._validated else self._watched
            self._iterable = app(self.environ, self._start_response)
        except BaseException as error:
            self._note(error)
            raise
        finally:
            self._read_errors()
        if self._strict and not self._started:
            self._violations.append("start_response was not called before the app returned")

    def _next(self) -> bytes | None:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self._at_end()
            return None
        except BaseException as error:
            self._note(error)
            raise
        finally:
            self._read_errors()
        self._deliver(chunk)
        result: bytes = chunk
        return result

    def _at_end(self) -> None:
        first, self.exhausted = not self.exhausted, True
        if not first:
            return
        if self._strict:
            try:
                self._violations.append(f"a chunk came after the end: {next(self._iterator)!r}")
            except StopIteration:
                pass
        if not self._started:
            self._violations.append("the response ended without start_response")
        length = self.answer.header("content-length") if self._started else None
        if self._has_body and length is not None and int(length) != self._sent:
            self._violations.append(f"Content-Length is {length}, and {self._sent} bytes came")

    def _close(self) -> None:
        if self._iterable is None or self.closed:
            return
        self.closed = True
        try:
            if hasattr(self._iterable, "close"):
                self._iterable.close()
            if self._strict and hasattr(self.answer.iterable, "close"):
                self.answer.iterable.close()
        except BaseException as error:
            self.answer.error = self.answer.error or error
            raise
        finally:
            self._read_errors()
            if isinstance(self._input, ClosingInput):
                self._input.no_more()

    def _note(self, error: BaseException) -> None:
        """The app has failed, unless this is what the validator says of it."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None and trace.tb_frame.f_globals.get("__name__") == validate.__name__:
            self._violations.append(f"wsgiref.validate: {error}")
        self.answer.error = error

    def _read_errors(self) -> None:
        if isinstance(self._errors, io.StringIO):
            self.answer.errors = self._errors.getvalue()

    # -- as a server

    def _watched(self, environ: Environ, start_response: Any) -> Any:
        """The app, seen from inside the validator."""
        before = dict(environ)

        def start(status: str, headers: Headers, *exc_info: Any) -> Any:
            if threading.get_ident() != self.thread:
                self._violations.append("start_response was called in another thread")
            if type(headers) is not list:
                self._violations.append(f"the headers are no list: {headers!r}")
            self._head = list(headers)
            try:
                return start_response(status, _with_right_type(status, self._head), *exc_info)
            except AssertionError as error:
                self._note(error)
                raise

        iterable = self._app(environ, start)
        self.answer.iterable = iterable
        if self._strict:
            if environ.keys() != before.keys() or any(environ[key] is not before[key] for key in before):
                self._violations.append("the environ was changed")
            if not hasattr(iterable, "__next__") or not hasattr(iterable, "close"):
                self._violations.append(f"no __next__, or no close(): {iterable!r}")
            if hasattr(iterable, "__len__"):
                self._violations.append("the iterable has a length, of which servers make what they like")
        return iterable

    def _start_response(self, status: str, shown: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        """What the app is given, or its validator, whose headers are not quite those of the app."""
        if self._started and exc_info is None:
            self._violations.append("start_response was called twice")
        if exc_info is not None and self._sent:
            try:
                raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        self._started = True
        self._check_head(status, self._head)
        self.answer.status = int(status[:3])
        self.answer.reason = status[4:]
        self.answer.headers = self._head
        return self._write

    def _check_head(self, status: Any, headers: list[Any]) -> None:
        if type(status) is not str or not _STATUS.fullmatch(status):
            self._violations.append(f"not a status line: {status!r}")
        lengths = []
        for pair in headers:
            if type(pair) is not tuple or len(pair) != 2 or {type(each) for each in pair} != {str}:
                self._violations.append(f"not a header: {pair!r}")
                continue
            name, value = pair
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
                self._violations.append(f"not a header: {pair!r}")
            if name.lower() in _HOP_BY_HOP:
                self._violations.append(f"a hop-by-hop header: {pair!r}")
            if name.lower() == "content-length":
                lengths.append(value)
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]+", value) for value in lengths):
            self._violations.append(f"not a length: {lengths!r}")
        if status.startswith("204") and lengths:
            self._violations.append("a 204 has a Content-Length")

    @property
    def _has_body(self) -> bool:
        return self.environ.get("REQUEST_METHOD", "").upper() != "HEAD" and self.answer.status not in (
            204,
            304,
        )

    def _write(self, data: bytes) -> None:
        if self._strict:
            self._violations.append("write() was used")
        self._deliver(data)

    def _deliver(self, chunk: Any) -> None:
        if type(chunk) is not bytes:
            self._violations.append(f"not a chunk: {chunk!r}")
            return
        if not self._started:
            self._violations.append("a chunk came before start_response")
        if self._strict and not chunk:
            self._violations.append("an empty chunk came")
        if chunk and not self._has_body and self._strict:
            self._violations.append(f"a response without body has one: {chunk!r}")
        self._sent += len(chunk)
        self.answer.chunks.append(chunk)

    def _check_input(self) -> None:
        if isinstance(self._input, ClosingInput):
            if self._input.threads - {self.thread}:
                self._violations.append("wsgi.input was read in another thread than the request's")
            if self._strict:
                self._violations += self._input.violations

    def __repr__(self) -> str:
        return f"<Exchange: exhausted={self.exhausted}, closed={self.closed}, {self.answer!r}>"


def _with_right_type(status: str, headers: Headers) -> Headers:
    """The headers with or without a `Content-Type`, as the validator wants it for this status."""
    types = [pair for pair in headers if pair[0].lower() == "content-type"]
    if status[:3] in ("204", "304"):
        return [pair for pair in headers if pair not in types]
    return headers if types else [*headers, ("Content-Type", "application/x-none")]


def _is_lawful(environ: Environ) -> bool:
    """Whether `wsgiref.validate` accepts the environ; servers make others."""
    if environ.get("REQUEST_METHOD") not in _KNOWN_METHODS or "QUERY_STRING" not in environ:
        return False  # it would warn
    try:
        validate.check_environ(environ)  # type: ignore[attr-defined]
    except (AssertionError, KeyError, ValueError):
        return False
    return True


def drive(app: App, environ: Environ | None = None, **options: Any) -> Answer:
    """Run one request to its end, as a server does. `options` are those of `Exchange` and `make_environ`.

    Raises:
        AssertionError: the app broke a rule, or a step of it hangs.
    """
    return Exchange(app, environ, **options).run()


if sys.flags.optimize:
    raise RuntimeError("the checks of this module are asserts; run the tests without -O")
