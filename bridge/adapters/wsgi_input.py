"""`wsgi.input`, `wsgi.errors` and `wsgi.file_wrapper`: the files that a WSGI application gets.

`wsgi.input` is an `io.BytesIO` when the whole body has come before the app runs, as most have, and
an `io.BufferedReader` over `StreamedBody` otherwise. Both have the semantics of files in full, in C.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from ..engines.handoff import Inbound
from ..types import ErrorStream

# What is read from the raw stream at a time: the size of the messages that servers send.
_BUFFER = 65536
# A body that is spooled stays in memory up to this size, then moves to a temporary file.
_SPOOL_MEMORY = 1024 * 1024


class StreamedBody(io.RawIOBase):
    """A request body that is still arriving, as a raw stream read by the app's thread.

    The end is sticky (E-38). A body that is cut short raises on every read after what came (E-40).

    Args:
        inbound: where the request's task puts the chunks.
        before_wait: called before the thread waits for the client.
    """

    def __init__(self, inbound: Inbound, before_wait: Callable[[], object]) -> None:
        super().__init__()
        self._inbound = inbound
        self._before_wait = before_wait
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rest = self._rest
        if not rest:
            rest = memoryview(self._inbound.take(self._before_wait))
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(rest))
        target[:size] = rest[:size]
        self._rest = rest[size:]
        return size

    def readall(self) -> bytes:
        chunks: list[Any] = [self._rest]
        self._rest = memoryview(b"")
        while chunk := self._inbound.take(self._before_wait):
            chunks.append(chunk)
        return b"".join(chunks)


class _Reader(io.BufferedReader):
    """A buffered reader whose `readlines` takes its hint as `io.BytesIO` and PEP 3333 do."""

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        if hint is None or hint <= 0:
            return super().readlines()
        # The base class goes on until there is *more* than the hint (E-37).
        lines = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if size >= hint:
                break
        return lines


def streamed_input(inbound: Inbound, before_wait: Callable[[], object]) -> IO[bytes]:
    """A `wsgi.input` that reads from `inbound` on demand."""
    return _Reader(StreamedBody(inbound, before_wait), _BUFFER)


def spooled(stream: IO[bytes]) -> tuple[IO[bytes], int]:
    """Read a stream to its end into a temporary file; return that, rewound, and its size (E-42).

    The file is in memory up to 1 MiB. Runs in the app's thread; raises what reading raises.
    """
    import tempfile  # brings much with it, for what few apps ask for

    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        size = 0
        while chunk := stream.read(_BUFFER):
            size += spool.write(chunk)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool, size


class Errors:
    """`wsgi.errors`: a text stream that takes any str and never raises for its encoding (E-44).

    Args:
        stream: where to write; `None` looks `sys.stderr` up at each write, as tests and
            supervisors replace it.
    """

    def __init__(self, stream: ErrorStream | None = None) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        stream = sys.stderr if self._stream is None else self._stream
        if stream is not None:  # pythonw and some services have no stderr
            try:
                stream.write(text)
            except UnicodeError:
                encoding = getattr(stream, "encoding", None) or "ascii"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        stream = sys.stderr if self._stream is None else self._stream
        if stream is not None:
            stream.flush()


class FileWrapper:
    """`wsgi.file_wrapper`: an iterable over a file, which the adapter may have the server send whole.

    Args:
        filelike: anything with `read(size)`; read from its position at transmission time.
        block_size: how many bytes a piece has.
    """

    def __init__(self, filelike: Any, block_size: int = _BUFFER) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    # Its own iterator, not a generator: middleware that keeps only `iter(wrapper)`, as Werkzeug's
    # ranges do, closes that, and so the file.

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if chunk := self.filelike.read(self.block_size):
            return chunk  # type: ignore[no-any-return]
        raise StopIteration
