"""WSGI apps and iterables for tests: the ordinary ones, and ones that tell what was done to them."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from bridge import WSGIToASGI
from support.drive import Signal

App: TypeAlias = Callable[[dict[str, Any], Any], Any]
Headers: TypeAlias = list[tuple[str, str]]


class Adapt(Protocol):
    """Makes a `WSGIToASGI` of a WSGI app; the fixture of this name sees that nothing is left of it."""

    def __call__(self, app: Any, **options: Any) -> WSGIToASGI: ...


def answer(*chunks: bytes, status: str = "200 OK", headers: Headers | None = None) -> App:
    """An app that returns these chunks as a list."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, list(headers or []))
        return list(chunks)

    return app


def returning(
    make: Callable[[dict[str, Any]], Any], *, status: str = "200 OK", headers: Headers | None = None
) -> App:
    """An app that calls `start_response` and returns what `make(environ)` gives."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(headers or []))
        return make(environ)

    return app


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Reads the whole body and sends it back."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


def after(signal: Signal, chunk: bytes) -> Callable[[], bytes]:
    """An item for `Watched`: the chunk, made once the signal is set."""

    def make() -> bytes:
        signal.wait()
        return chunk

    return make


class Watched:
    """An iterable that counts what is done to it, and where.

    Args:
        chunks: what it yields; an exception among them is raised, a function is called for its chunk.
        close_error: what `close()` raises.

    Attributes:
        closed: how often `close()` was called.
        pulled: how often a chunk was asked for.
        threads, contexts: of each of those calls.
    """

    def __init__(self, chunks: Iterable[Any] = (), *, close_error: BaseException | None = None) -> None:
        self._chunks = iter(chunks)
        self._close_error = close_error
        self.closed = 0
        self.pulled = 0
        self.threads: list[int] = []
        self.contexts: list[dict[contextvars.ContextVar[Any], Any]] = []

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> Any:
        self.pulled += 1
        self._note()
        chunk = next(self._chunks)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk() if callable(chunk) else chunk

    def close(self) -> None:
        self.closed += 1
        self._note()
        if self._close_error is not None:
            raise self._close_error

    def _note(self) -> None:
        self.threads.append(threading.get_ident())
        self.contexts.append(dict(contextvars.copy_context()))


class Environs:
    """An app that answers 200 and keeps the environ of each request."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]
