"""WSGI apps as values: any lawful way to answer by PEP 3333 that servers and middleware must bear."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ...types import Environ, StartResponse, Write
from .behaviour import PLAIN, Behaviour, Seen, acts
from .readable import Readable

Returns: TypeAlias = Literal["list", "tuple", "generator", "iterator", "iterable", "file"]
"""What the app gives back: a list or tuple; a generator; an object that is its own iterator and has
`close()`; an iterable that is no iterator, with `close()`; the server's `wsgi.file_wrapper`."""

ReadsBy: TypeAlias = Literal["read", "pieces", "lines", "iteration", "readlines"]
"""How the app reads: at once; a few bytes at a time; by `readline`; as an iterable; by `readlines`."""

Order: TypeAlias = Literal["read", "start", "chunks"]
"""What comes first: reading the request body; `start_response`; or the chunks, so that the request body
is read while the response is under way (as a proxy or an echo does)."""

_LAZY = ("generator", "iterator", "iterable")
# A piece that does not divide the usual sizes.
_PIECE = 3


@dataclass(frozen=True, repr=False)
class GeneratedWSGI(Readable):
    """A WSGI app (PEP 3333) that does what its fields say.

    Attributes:
        does: what a client can see of it.
        returns: the kind of its iterable.
        reads_by: how it reads the request body.
        order: what it does first.
        written: how many of its chunks go through `write()`; the rest is returned.
        starts_late: `start_response` is called from the first `next()`, if `returns` is lazy; nothing is
            written then, since `write()` may not be called from within the iterable.
        corrected: a first `start_response`, with another status and other headers, is taken back by one
            with `exc_info`, before anything was sent.
    """

    does: Behaviour = PLAIN
    returns: Returns = "list"
    reads_by: ReadsBy = "read"
    order: Order = "read"
    written: int = 0
    starts_late: bool = False
    corrected: bool = False

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        run = _Run(self, environ, start_response)
        if self.starts_late and self.returns in _LAZY:
            return run.wrapped(run.all())
        run.write(run.begin())
        return run.wrapped(run.rest())


class _Run:
    """One request to one app, in the server's thread."""

    def __init__(self, app: GeneratedWSGI, environ: Environ, start_response: StartResponse) -> None:
        self._app = app
        self._environ = environ
        self._start_response = start_response
        self._input: bytes | None = None
        self._written = 0

    def all(self) -> Iterator[bytes]:
        """Everything, from the first `next()` on."""
        self.begin()
        yield from self.rest()

    def begin(self) -> Write:
        """Up to the first chunk."""
        app = self._app
        if app.order == "read" or app.does.reads_first:
            self._read()
        write = self._start()
        if app.order == "start":
            self._read()
        return write

    def write(self, write: Write) -> None:
        """Send the chunks that are written."""
        for chunk in self._chunks()[: self._app.written]:
            write(chunk)
            self._written += 1

    def rest(self) -> Iterator[bytes]:
        """The chunks that are returned."""
        if self._input is None:
            early = self._chunks()[self._written :]
            yield from early
            self._written += len(early)
            self._read()
        yield from self._chunks()[self._written :]

    def wrapped(self, chunks: Iterator[bytes]) -> Iterable[bytes]:
        """The chunks as the kind of iterable that the app returns."""
        kind = self._app.returns
        if kind == "list":
            return list(chunks)
        if kind == "tuple":
            return tuple(chunks)
        if kind == "generator":
            return (chunk for chunk in chunks)
        if kind == "file":
            file = io.BytesIO(b"".join(chunks))
            wrapper = self._environ.get("wsgi.file_wrapper")
            return iter(lambda: file.read(_PIECE), b"") if wrapper is None else wrapper(file)
        return _Closing(chunks) if kind == "iterator" else _Iterable(chunks)

    def _chunks(self) -> tuple[bytes, ...]:
        """All chunks; without the last one, which tells of the request, as long as that is not read."""
        does = self._app.does if self._input is not None else replace(self._app.does, reflects=())
        return does.body(Seen.in_environ(self._environ, self._input or b""))

    def _start(self) -> Write:
        does = self._app.does
        if self._app.corrected:
            self._start_response("500 Draft", [("X-Draft", "yes"), ("Content-Length", "999")])
            try:
                raise ValueError("the draft was wrong")
            except ValueError:
                return self._call_start(does, sys.exc_info())
        return self._call_start(does)

    def _call_start(self, does: Behaviour, *exc_info: Any) -> Write:
        headers = does.head(Seen.in_environ(self._environ, self._input or b""))
        return self._start_response(does.status_line, headers, *exc_info)

    def _read(self) -> None:
        if self._input is None:
            self._input = read(self._environ, self._app.does.reads, self._app.reads_by)


class _Closing:
    """An iterator with `close()`, after which it gives nothing more."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """The server is done with it."""
        self._chunks = iter(())


class _Iterable:
    """An iterable that is no iterator: a server has to call `iter()`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """The server is done with it."""
        self._chunks = iter(())


def read(environ: Environ, limit: int | None, how: ReadsBy = "read") -> bytes:
    """Up to `limit` bytes of the request body (`None`: all), as a careful app reads: never beyond it.

    PEP 3333 forbids to read past `CONTENT_LENGTH`; without one, an app may read only what a server
    ends by itself, which `wsgi.input_terminated` says.
    """
    length = environ.get("CONTENT_LENGTH") or None
    if length is not None:
        limit = int(length) if limit is None else min(limit, int(length))
    elif not environ.get("wsgi.input_terminated"):
        return b""
    if limit == 0:
        return b""
    return _READERS[how](environ["wsgi.input"], limit)


def _read_at_once(stream: Any, limit: int | None) -> bytes:
    data: bytes = stream.read() if limit is None else stream.read(limit)
    return data


def _read_in_pieces(stream: Any, limit: int | None) -> bytes:
    return _collected(lambda size: stream.read(size), limit, _PIECE)


def _read_lines(stream: Any, limit: int | None) -> bytes:
    return _collected(lambda size: stream.readline(size), limit, 2**16)


def _iterate(stream: Any, limit: int | None) -> bytes:
    # Iteration has no bound, so it is for a body that is wanted whole.
    return b"".join(stream) if limit is None else _read_at_once(stream, limit)


def _read_all_lines(stream: Any, limit: int | None) -> bytes:
    return b"".join(stream.readlines()) if limit is None else _read_lines(stream, limit)


def _collected(take: Callable[[int], bytes], limit: int | None, piece: int) -> bytes:
    found = b""
    while limit is None or len(found) < limit:
        data = take(piece if limit is None else min(piece, limit - len(found)))
        if not data:
            break
        found += data
    return found


_READERS: dict[str, Callable[[Any, int | None], bytes]] = {
    "read": _read_at_once,
    "pieces": _read_in_pieces,
    "lines": _read_lines,
    "iteration": _iterate,
    "readlines": _read_all_lines,
}


def wsgi_apps(does: SearchStrategy[Behaviour] | None = None) -> SearchStrategy[GeneratedWSGI]:
    """Well-behaved WSGI apps, `GeneratedWSGI()` first.

    Args:
        does: what they do; by default anything.
    """
    return st.builds(
        GeneratedWSGI,
        does=acts() if does is None else does,
        returns=st.sampled_from(["list", "tuple", "generator", "iterator", "iterable", "file"]),
        reads_by=st.sampled_from(["read", "pieces", "lines", "iteration", "readlines"]),
        order=st.sampled_from(["read", "start", "chunks"]),
        written=st.integers(0, 2),
        starts_late=st.booleans(),
        corrected=st.booleans(),
    ).map(_without_idle_fields)


def _without_idle_fields(app: GeneratedWSGI) -> GeneratedWSGI:
    """What has no effect is not told of."""
    if app.does.reads == 0:
        app = replace(app, order="read", reads_by="read")
    if app.does.reads_first:
        app = replace(app, order="read")
    late = app.starts_late and app.returns in _LAZY
    return replace(app, starts_late=late, written=0 if late else app.written)
