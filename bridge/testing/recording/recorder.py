"""Recorder: middleware that writes down what an app is asked and answers.

It stands around an app of either interface and is called as the app is. Everything passes through
it as it comes, in the same calls and in the same order; what it keeps are copies of the first
`max_body` bytes of each body. Redaction and writing happen in a thread of their own (`writer`).
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.parse import quote_from_bytes

from ...exceptions import RequestError, UsageError
from ...translate.interface import Interface, describe, interface_of
from ...translate.scope import ScopeBuilder
from ...translate.text import path_bytes, unquote_path, wsgi_bytes
from ...types import ASGIApp, Environ, Message, Receive, Scope, Send, WSGIApp
from ..exchange import Headers, Request, Response
from .recordings import BodyState, Recorded, RecordedError, error_json
from .redaction import Redaction
from .writer import RecorderStats, RecordingFile, Writer, check_target

logger = logging.getLogger("bridge.testing")

_Self = TypeVar("_Self", bound="Recorder")

DEFAULT_MAX_BODY = 64 * 1024
"""What is kept of each body, in bytes: whole pages and JSON answers, the beginning of downloads."""

DEFAULT_MAX_BYTES = 100 * 1024 * 1024
"""How large the file may become: what an editor and a test run still load."""

DEFAULT_MAX_WAITING = 1000
"""How many exchanges may wait to be written: some seconds of a busy worker."""

_CLOSE_TIMEOUT = 10.0
# As in `Request`: what may stand in a target as it is.
_SAFE_IN_TARGET = "%/?&=;:@!$'()*+,-._~[]"
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# Reads beyond PEP 3333 that some frameworks use if the server's file has them.
_FURTHER_READS = frozenset({"read1", "readinto", "readinto1"})


class Recorder:
    """Records the exchanges of an app in a file, without secrets.

        app = Recorder(app, "recording.jsonl")          # a WSGI or an ASGI application, as app is

    The object is an application of the same interface as `app`, and passes everything through
    unchanged and at once. It never fails a request: if an exchange cannot be recorded, a warning is
    logged once in `bridge.testing`, and `stats` counts it.

    WebSocket and lifespan scopes of ASGI pass through and are not recorded. Requests that WSGI or
    ASGI hand over, but that `Request` cannot hold (`CONNECT`), are skipped.

    Any number of threads, tasks and processes may use it: each process has its own thread for
    writing, started with the first exchange and anew after a fork, and all may share one file.

    Args:
        app: a WSGI, ASGI 3 or ASGI 2 application.
        path: the file to add to; HAR if it ends in ".har", otherwise JSON Lines (see `recordings`).
            It is made when it is needed, readable for its owner only.
        sample: the share of exchanges to record, from 0 to 1.
        seed: makes the sample the same in every run and every process. By default it differs.
        redact: takes out secrets; `None` records them, which is for made-up data only.
        max_body: how many bytes of each body are kept (64 KiB); an exchange with a longer one is
            recorded with its beginning, and says so.
        max_bytes: the size in bytes at which the file is full (100 MiB); `None`: no limit.
        max_exchanges: how many exchanges each process records; `None`: no limit.
        include: regular expressions, searched for in the path (with its percent escapes, without
            the query); only paths with one of them are recorded. `None`: all.
        exclude: the same, for paths that are not recorded, whatever `include` says.
        max_waiting: how many exchanges may wait to be written (1000); more are dropped and counted.

    Attributes:
        app: the application.
        path: the file.

    Raises:
        UsageError: an argument is not usable, `app` is no application, or `path` is a file that is
            no recording.
    """

    app: Any
    path: str

    def __new__(cls, app: Any, *args: Any, **options: Any) -> Recorder:
        if cls is not Recorder:
            return super().__new__(cls)
        verdict = interface_of(app)
        if not verdict.is_app:
            raise UsageError(
                f"Recorder expects a WSGI or ASGI application; got {describe(app)}, which {verdict.reason}"
            )
        # A class for each interface, so that servers and frameworks see which one it is.
        kind = _WSGIRecorder if verdict.interface is Interface.WSGI else _ASGIRecorder
        return super().__new__(kind)

    def __init__(
        self,
        app: ASGIApp | WSGIApp,
        path: str | os.PathLike[str],
        *,
        sample: float = 1.0,
        seed: int | None = None,
        redact: Redaction | None = Redaction(),  # noqa: B008  # immutable; one key for all of a process
        max_body: int = DEFAULT_MAX_BODY,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        max_exchanges: int | None = None,
        include: str | re.Pattern[str] | Iterable[str | re.Pattern[str]] | None = None,
        exclude: str | re.Pattern[str] | Iterable[str | re.Pattern[str]] = (),
        max_waiting: int = DEFAULT_MAX_WAITING,
    ) -> None:
        if not _is_share(sample):
            raise UsageError(f"sample must be a number from 0 to 1; got {sample!r}")
        if redact is not None and not isinstance(redact, Redaction):
            raise UsageError(f"redact must be a Redaction or None; got {redact!r}")
        _require_count("max_body", max_body, at_least=0)
        _require_count("max_waiting", max_waiting, at_least=1)
        if max_bytes is not None:
            _require_count("max_bytes", max_bytes, at_least=1)
        if max_exchanges is not None:
            _require_count("max_exchanges", max_exchanges, at_least=1)
        if not isinstance(path, (str, os.PathLike)):
            raise UsageError(f"path must be the name of a file; got {path!r}")
        self.app = app
        # A server may change its directory later.
        self.path = os.path.abspath(os.fspath(path))
        check_target(self.path)
        self._sample = sample
        self._seed = seed
        self._redact = redact
        self._max_body = max_body
        self._max_bytes = max_bytes
        self._max_exchanges = max_exchanges
        self._include = None if include is None else _patterns("include", include)
        self._exclude = _patterns("exclude", exclude)
        self._max_waiting = max_waiting
        self._closed = False
        # By process: what a fork has copied is never used.
        self._states: dict[int, _State] = {}

    def __call__(self, *args: Any) -> Any:
        """Serve one request, or one connection, as `app` does."""
        raise NotImplementedError  # each interface has its own

    @property
    def stats(self) -> RecorderStats:
        """What was recorded in this process so far."""
        return self._state().writer.stats

    def flush(self, timeout: float = _CLOSE_TIMEOUT) -> bool:
        """Wait until all exchanges that have ended are in the file.

        Blocks the calling thread, for `timeout` seconds at most. Returns whether all were written.
        """
        return self._state().writer.flush(timeout)

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> bool:
        """Write what is left, and end the thread of this process. Requests still pass, unrecorded.

        Blocks the calling thread, for `timeout` seconds at most. Returns whether all was written. At
        interpreter exit the same happens by itself, for 5 seconds at most.
        """
        self._closed = True
        return self._state().writer.close(timeout)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        for state in getattr(self, "_states", {}).values():
            state.writer.end_soon()

    def __repr__(self) -> str:
        return f"<Recorder of {self.app!r} in {self.path}>"

    # -- recording

    def _state(self) -> _State:
        """What belongs to this process."""
        pid = os.getpid()
        state = self._states.get(pid)
        if state is None:
            state = self._states.setdefault(pid, _State(self))
        return state

    def _begin(self, scope: Scope, length: int | None, *, on_http1: bool) -> _Tape | None:
        """Begin to record a request, unless it is not to be; never raises."""
        state = self._state()
        try:
            if self._closed:
                return None
            target = _target(scope)
            path = target.partition("?")[0]
            included = self._include is None or any(each.search(path) for each in self._include)
            if not included or any(each.search(path) for each in self._exclude) or not state.takes(self):
                state.writer.skip()
                return None
            return _Tape(self, state.writer, Request(scope["method"], target), scope, length, on_http1)
        except UsageError:
            state.writer.skip()  # no recording can hold it
        except Exception as error:
            state.writer.drop("a request could not be recorded", error)
        return None


class _State:
    """What a recorder has in one process."""

    def __init__(self, recorder: Recorder) -> None:
        file = RecordingFile(recorder.path, recorder._max_bytes)
        redact = recorder._redact

        def write(tape: _Tape) -> None:
            item = tape.recorded()
            file.add(item if redact is None else redact.exchange(item))

        # The thread must not keep the recorder alive: its end is that of the thread.
        self.writer: Writer[_Tape] = Writer(write, file.close, recorder._max_waiting, "bridge-recorder")
        self._random = random.Random(recorder._seed)
        self._left = recorder._max_exchanges

    def takes(self, recorder: Recorder) -> bool:
        """Whether the next exchange is to be recorded."""
        if recorder._sample < 1 and self._random.random() >= recorder._sample:
            return False
        if self._left is not None:
            if self._left <= 0:
                return False
            self._left -= 1
        return True


class _Tape:
    """One exchange while it happens: what has come so far.

    Used by one request, whose calls come one after the other, in whichever thread. After `end` it is
    the writer's thread that reads it, so that what comes then is left out.
    """

    def __init__(
        self,
        recorder: Recorder,
        writer: Writer[_Tape],
        request: Request,
        scope: Scope,
        length: int | None,
        on_http1: bool,
    ) -> None:
        # The recorder lives, and with it the writer's thread, until its last exchange is written.
        self._recorder = recorder
        self._writer = writer
        self._request = request
        self._headers = tuple(scope["headers"])
        self._scheme = scope.get("scheme") or "http"
        self._server = scope.get("server")
        self._started = time.time()
        self._clock = time.perf_counter()
        self._elapsed = 0.0
        self._sent = _Copy(recorder._max_body)
        self._answer = _Copy(recorder._max_body)
        announced = length is not None or any(name == b"transfer-encoding" for name, _ in self._headers)
        # HTTP/2 has bodies without any announcement.
        self._has_body = announced or (not on_http1 and request.method in _METHODS_WITH_BODY)
        self._length = length
        self._read_all = not self._has_body or length == 0
        self._status = 0
        self._reason = ""
        self._response_headers: Any = ()
        self._trailers: list[Any] = []
        self._error: RecordedError | None = None
        self._broken_off = False
        self._unseen = False
        self._done = False

    # -- what comes

    def received(self, data: Any, ended: bool = False) -> None:
        """A piece of the request's body was handed to the app."""
        if self._done:
            return
        self._sent.add(data)
        if ended or (self._length is not None and self._sent.size >= self._length):
            self._read_all = True

    def head(self, status: int, reason: str, headers: Any) -> None:
        """The response begins; a later call replaces what an earlier one said."""
        if not self._done:
            self._status, self._reason, self._response_headers = status, reason, headers

    def sent(self, data: Any) -> None:
        """A piece of the response's body was handed over."""
        if not self._done:
            self._answer.add(data)

    def trailers(self, headers: Any) -> None:
        """Trailers were handed over."""
        if not self._done:
            self._trailers.extend(headers)

    def unseen(self) -> None:
        """The body goes a way on which it cannot be seen."""
        self._unseen = True

    def failed(self, error: BaseException) -> None:
        """The app raised."""
        try:
            told = error_json(error)
        except Exception:  # its text cannot be had
            told = {"type": type(error).__name__, "message": ""}
        self._error = RecordedError(told["type"], told["message"])

    def broke_off(self) -> None:
        """The response ends before its end, as nobody wants it any more; nothing after its end."""
        if not self._done:
            self._broken_off = True

    def incomplete(self) -> None:
        """The app has returned before its response was complete, and nothing else says why."""
        if not self._done and self._error is None and not self._broken_off:
            self.failed(RecordedError("IncompleteResponse", "the app ended before its response did"))

    def end(self) -> None:
        """The exchange is over; hand it to the writer, once."""
        if self._done:
            return
        self._done = True
        self._elapsed = time.perf_counter() - self._clock
        self._writer.offer(self, self._sent.kept + self._answer.kept)

    # -- in the writer's thread

    def recorded(self) -> Recorded:
        """The exchange as a value."""
        request_state: BodyState = "cut" if self._sent.cut else "whole" if self._read_all else "unread"
        response_state: BodyState = (
            "cut" if self._answer.cut or self._unseen else "unread" if self._broken_off else "whole"
        )
        headers = _pairs(self._headers)
        return Recorded(
            replace(self._request, headers=headers, body=b"".join(self._sent.pieces)),
            Response(
                self._status,
                self._reason,
                _pairs(self._response_headers),
                tuple(self._answer.pieces),
                _pairs(self._trailers),
                self._error,
                self._elapsed,
            ),
            datetime.fromtimestamp(self._started, timezone.utc),
            request_state,
            response_state,
            origin=self._origin(headers),
        )

    def _origin(self, headers: Headers) -> str:
        host = next((value for name, value in headers if name == "host"), "")
        if not host and self._server:
            name, port = self._server
            host = f"{name}:{port}" if port else ""
        return f"{self._scheme}://{host}" if host else ""


class _Copy:
    """The beginning of a body, in its pieces."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.pieces: list[bytes] = []
        self.size = 0
        self.kept = 0

    @property
    def cut(self) -> bool:
        return self.size > self.kept

    def add(self, data: Any) -> None:
        length = len(data)
        if not length:
            return
        self.size += length
        room = self._room - self.kept
        if room > 0:
            piece = bytes(data if length <= room else data[:room])
            self.kept += len(piece)
            self.pieces.append(piece)


def _pairs(headers: Iterable[Any]) -> Headers:
    """Headers of either interface with one character a byte."""
    return tuple((_latin1(pair[0]), _latin1(pair[1])) for pair in headers)


def _latin1(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode("latin-1")


def _target(scope: Scope) -> str:
    """Path and query as the client sent them, as far as the scope tells."""
    path = path_bytes(scope["path"])
    raw = scope.get("raw_path")
    if raw is not None:
        raw = raw.partition(b"?")[0]
        # A middleware may have rewritten the path, and not the raw one.
        escaped = raw if unquote_path(raw) == path else _escaped(path)
    else:
        escaped = _escaped(path)
    query = scope.get("query_string") or b""
    target = quote_from_bytes(escaped + (b"?" + query if query else b""), _SAFE_IN_TARGET)
    return target or "/"


def _escaped(path: bytes) -> bytes:
    """A decoded path in percent-encoding."""
    return quote_from_bytes(path, "/:@!$&'()*+,;=-._~").encode("ascii") or b"/"


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _require_count(name: str, value: object, *, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise UsageError(f"{name} must be a whole number of at least {at_least}; got {value!r}")


def _patterns(name: str, given: Any) -> tuple[re.Pattern[str], ...]:
    values = (given,) if isinstance(given, (str, re.Pattern)) else given
    try:
        return tuple(re.compile(each) for each in values)
    except (re.error, TypeError) as error:
        raise UsageError(f"{name} must be regular expressions; got {given!r}: {error}") from None


# -- ASGI


class _ASGIRecorder(Recorder):
    def __init__(self, app: ASGIApp | WSGIApp, path: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(app, path, **options)
        self._asgi3 = cast(ASGIApp, app)
        if interface_of(app).interface is Interface.ASGI2:
            from ...adapters.as_asgi import single_callable

            self._asgi3 = single_callable(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._asgi3(scope, receive, send)
            return
        tape = self._begin(scope, _length(scope), on_http1=str(scope.get("http_version", "1.1"))[:1] == "1")
        if tape is None:
            await self._asgi3(scope, receive, send)
            return
        watch = _ASGIWatch(tape, receive, send)
        try:
            await self._asgi3(scope, watch.receive, watch.send)
        except Exception as error:
            tape.failed(error)
            raise
        except BaseException:  # cancelled: nobody waits for the response
            tape.broke_off()
            raise
        finally:
            watch.ended()


class _ASGIWatch:
    """`receive` and `send` of one request, seen by its tape."""

    def __init__(self, tape: _Tape, receive: Receive, send: Send) -> None:
        self._tape = tape
        self._receive = receive
        self._send = send
        self._gone = False
        self._trailers_follow = False
        self._over = False

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            if message["type"] == "http.request":
                self._tape.received(message.get("body") or b"", not message.get("more_body", False))
            elif message["type"] == "http.disconnect":
                self._gone = True
        except Exception:  # a malformed message is the app's affair
            self._tape.unseen()
        return message

    async def send(self, message: Message) -> None:
        try:
            self._look(message)
        except Exception:
            self._tape.unseen()
        try:
            await self._send(message)
        except BaseException:
            self._gone = True
            raise
        if self._over:
            # Work that the app does after its response is no part of the exchange.
            self._tape.end()

    def _look(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._tape.head(message["status"], "", list(message.get("headers") or ()))
            self._trailers_follow = bool(message.get("trailers", False))
        elif kind == "http.response.body":
            self._tape.sent(message.get("body") or b"")
            if not message.get("more_body", False):
                self._over = not self._trailers_follow
        elif kind == "http.response.trailers":
            self._tape.trailers(message.get("headers") or ())
            self._over = not message.get("more_trailers", False)
        elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
            self._tape.unseen()
            if kind.endswith("pathsend") or not message.get("more_body", False):
                self._over = not self._trailers_follow

    def ended(self) -> None:
        """The app has returned, or raised."""
        if not self._over:
            if self._gone:
                self._tape.broke_off()
            else:
                self._tape.incomplete()
        self._tape.end()


def _length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and bytes(value).isdigit():
            return int(value)
    return None


# -- WSGI


class _WSGIRecorder(Recorder):
    def __init__(self, app: ASGIApp | WSGIApp, path: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(app, path, **options)
        self._wsgi = cast(WSGIApp, app)
        self._scopes = ScopeBuilder()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        tape = self._tape(environ)
        if tape is None:
            return self._wsgi(environ, start_response)
        body = environ.get("wsgi.input")
        if body is not None:
            environ["wsgi.input"] = _Input(body, tape)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            write = start_response(status, headers, *exc_info)
            try:
                tape.head(int(status[:3]), status[4:], list(headers))
            except Exception:  # the server has let it pass
                tape.unseen()

            def recorded_write(data: bytes) -> object:
                result = write(data)
                tape.sent(data)
                return result

            return recorded_write

        try:
            result = self._wsgi(environ, start)
        except Exception as error:
            tape.failed(error)
            tape.end()
            raise
        except BaseException:
            tape.broke_off()
            tape.end()
            raise
        if type(result) in (list, tuple):
            # Servers learn the length of the response from that of a list: it goes on as it is.
            for chunk in result:
                if isinstance(chunk, bytes):
                    tape.sent(chunk)
            tape.end()
            return result
        return _SizedBody(result, tape) if hasattr(result, "__len__") else _Body(result, tape)

    def _tape(self, environ: Environ) -> _Tape | None:
        try:
            scope, length = self._scopes.build(environ)
        except RequestError:
            self._state().writer.skip()
            return None
        except Exception as error:
            self._state().writer.drop("a request could not be recorded", error)
            return None
        raw = environ.get("REQUEST_URI") or environ.get("RAW_URI")
        if isinstance(raw, str) and wsgi_bytes(raw).startswith(scope["raw_path"] + b"?"):
            scope["query_string"] = wsgi_bytes(raw).partition(b"?")[2].partition(b"#")[0]
        return self._begin(scope, length, on_http1=scope["http_version"][:1] == "1")


class _Input:
    """`wsgi.input`, seen by a tape. What is not a read is asked of the server's own file."""

    def __init__(self, file: Any, tape: _Tape) -> None:
        self._file = file
        self._seen = tape.received

    def read(self, *size: Any) -> bytes:
        data: bytes = self._file.read(*size)
        asked = size[0] if size else -1
        self._seen(data, asked is None or asked < 0 or (not data and asked != 0))
        return data

    def readline(self, *size: Any) -> bytes:
        line: bytes = self._file.readline(*size)
        self._seen(line, not line and (not size or size[0] != 0))
        return line

    def readlines(self, *hint: Any) -> list[bytes]:
        lines: list[bytes] = self._file.readlines(*hint)
        for each in lines:
            self._seen(each)
        if not lines or not hint:
            self._seen(b"", True)
        return lines

    def __iter__(self) -> Iterator[bytes]:
        for each in self._file:
            self._seen(each)
            yield each
        self._seen(b"", True)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        if name not in _FURTHER_READS:
            return value
        if name == "read1":
            return self._read1
        return self._into(value)

    def _read1(self, *size: Any) -> bytes:
        data: bytes = self._file.read1(*size)
        self._seen(data, not data and (not size or size[0] != 0))
        return data

    def _into(self, read: Callable[[Any], int | None]) -> Callable[[Any], int | None]:
        def readinto(buffer: Any) -> int | None:
            count = read(buffer)
            view = memoryview(buffer).cast("B")
            self._seen(view[: count or 0], not count and len(view) > 0)
            return count

        return readinto


class _Body:
    """The iterable of a response, seen by a tape."""

    def __init__(self, result: Any, tape: _Tape) -> None:
        self._result = result
        self._iterator: Iterator[bytes] | None = None
        self._tape = tape

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = iter(self._result)
            chunk = next(self._iterator)
        except StopIteration:
            self._tape.end()
            raise
        except Exception as error:
            self._tape.failed(error)
            self._tape.end()
            raise
        try:
            self._tape.sent(chunk)
        except Exception:  # no bytes: the server will say so
            self._tape.unseen()
        return chunk

    def close(self) -> None:
        """The server is done with the response, at its end or before."""
        try:
            if hasattr(self._result, "close"):
                self._result.close()
        finally:
            # Does nothing if the end has been seen.
            self._tape.broke_off()
            self._tape.end()


class _SizedBody(_Body):
    """The same with a length, from which servers learn that there is a single piece."""

    def __len__(self) -> int:
        return len(self._result)
