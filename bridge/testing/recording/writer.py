"""The thread that writes recorded exchanges to a file, and the file that several processes share.

Lines are appended with one `write()` each to a descriptor in append mode. A HAR file has an end that
must stay behind the last entry, so an entry is written over that end, and the end anew behind it.
Both happen under a lock of the file (flock, or locking on Windows), so that the workers of a server
may share one file; where a file system knows no locks, JSON Lines still hold, HAR does not.

Whoever offers an exchange never waits: there is a lock around a few assignments, and a queue whose
`put` does not block. All that takes time happens in the thread: `write` of the recorder is called
there, and the file is opened, locked and written.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ...exceptions import UsageError
from . import har
from .recordings import Recorded, line

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger("bridge.testing")

T = TypeVar("T")

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""How much may wait to be written, in bytes of bodies, besides the bound on exchanges."""

# How long interpreter exit waits for what is left, in seconds.
_EXIT_TIMEOUT = 5.0
# What a recording and a HAR begin with; other files are not written to.
_BEGINNINGS = (b'{"recording":', har.PREFIX)
_MODE = 0o600


@dataclass(frozen=True)
class RecorderStats:
    """What a recorder did in this process.

    Attributes:
        written: exchanges in the file.
        dropped: exchanges that are not, since the queue was full or the file could not be written.
        skipped: exchanges that were not to be: not sampled, not among the paths, beyond a limit, or
            with a request that no recording can hold.
    """

    written: int = 0
    dropped: int = 0
    skipped: int = 0


def check_target(path: str) -> None:
    """Refuse a file that exists and is something else than a recording.

    Raises:
        UsageError: it is; or it is a folder.
    """
    if os.path.isdir(path):
        raise UsageError(f"a recording is a file; {path} is a folder")
    try:
        with open(path, "rb") as file:
            beginning = file.read(max(map(len, _BEGINNINGS)))
    except OSError:
        return  # not there, or not to be read: the first write will tell
    expected = _BEGINNINGS[is_har(path)]
    if beginning and not beginning.startswith(expected):
        raise UsageError(f"{path} exists and is no recording of bridge; choose another name, or remove it")


def is_har(path: str) -> bool:
    """Whether the suffix asks for HAR."""
    return path.lower().endswith(".har")


class Full(Exception):
    """The file is as large as it may become."""


class RecordingFile:
    """A recording that is added to. Used by one thread; other processes may use the same file."""

    def __init__(self, path: str, max_bytes: int | None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._har = is_har(path)
        self._descriptor: int | None = None

    def add(self, item: Recorded) -> None:
        """Write one exchange behind the others, all of it or nothing.

        Raises:
            Full: the file would exceed its limit.
            OSError: it cannot be written.
        """
        data = har.entry(item) if self._har else line(item)
        descriptor = self._open()
        _lock(descriptor)
        try:
            if self._har:
                self._add_entry(descriptor, data)
            else:
                self._add_line(descriptor, data)
        finally:
            _unlock(descriptor)

    def close(self) -> None:
        """Close the file, if it is open."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        """The descriptor of what is under the path now: someone may have removed or renamed the file."""
        if self._descriptor is not None:
            try:
                there = os.stat(self._path)
            except FileNotFoundError:
                there = None
            here = os.fstat(self._descriptor)
            if there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
                return self._descriptor
            self.close()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        # Only for its owner: a recording may hold what redaction could not know.
        self._descriptor = os.open(self._path, flags | (0 if self._har else os.O_APPEND), _MODE)
        return self._descriptor

    def _add_line(self, descriptor: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size:
            size = self._without_fragment(descriptor, size)
        if self._max_bytes is not None and size + len(data) > self._max_bytes:
            raise Full
        try:
            written = os.write(descriptor, data)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        if written < len(data):
            os.ftruncate(descriptor, size)
            raise OSError(f"only {written} of {len(data)} bytes could be written")

    def _without_fragment(self, descriptor: int, size: int) -> int:
        """Remove a last line that has no end, which a crash has left, and give the size then."""
        end = size
        while end:
            start = max(0, end - 65536)
            os.lseek(descriptor, start, os.SEEK_SET)
            found = os.read(descriptor, end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            os.ftruncate(descriptor, end)
        return end

    def _add_entry(self, descriptor: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size < len(har.HEAD) + len(har.TAIL):
            start, data = 0, har.HEAD + data + har.TAIL
        else:
            start = size - len(har.TAIL)
            os.lseek(descriptor, start, os.SEEK_SET)
            if os.read(descriptor, len(har.TAIL)) != har.TAIL:
                raise OSError("the file has another end than the recorder writes")
            between = b"" if start == len(har.HEAD) else b",\n"
            data = between + data + har.TAIL
        if self._max_bytes is not None and start + len(data) > self._max_bytes:
            raise Full
        try:
            os.lseek(descriptor, start, os.SEEK_SET)
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
        except OSError:
            # What was there before fits there again.
            os.ftruncate(descriptor, start)
            if start:
                os.lseek(descriptor, start, os.SEEK_SET)
                os.write(descriptor, har.TAIL)
            raise


def _lock(descriptor: int) -> None:
    """Wait for the lock of the file.

    Another process holds it for one write, and the system takes it from a process that dies. If one
    hangs in its write nevertheless, this thread waits, the queue fills up, and exchanges are dropped.
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        pass  # the file system has no locks


def _unlock(descriptor: int) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        pass


class Writer(Generic[T]):
    """A thread that takes what is offered, and the counts of what became of it. For one process.

    Args:
        write: called in the thread with each thing; what it raises is counted and reported once.
        close: called in the thread at the end.
        max_waiting: how many things may wait.
        name: of the thread.
    """

    def __init__(
        self, write: Callable[[T], None], close: Callable[[], None], max_waiting: int, name: str
    ) -> None:
        self._write = write
        self._close = close
        self._max_waiting = max_waiting
        self._name = name
        self.pid = os.getpid()
        self._queue: queue.SimpleQueue[tuple[T, int] | threading.Event | None] = queue.SimpleQueue()
        # Held for a few assignments only, never during a write.
        self._lock = threading.Lock()
        self._waiting = 0
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._ended = False
        self._written = 0
        self._dropped = 0
        self._skipped = 0
        self._reported: set[str] = set()

    @property
    def stats(self) -> RecorderStats:
        """The counts so far."""
        with self._lock:
            return RecorderStats(self._written, self._dropped, self._skipped)

    def skip(self) -> None:
        """Count something that is not to be written."""
        with self._lock:
            self._skipped += 1

    def drop(self, what: str, error: BaseException | None = None) -> None:
        """Count something that should have been written; the first time for each reason, log a warning."""
        with self._lock:
            self._dropped += 1
            first = what not in self._reported
            self._reported.add(what)
        if first:
            logger.warning("%s%s; this is said once", what, f": {error}" if error is not None else "")

    def offer(self, thing: T, size: int) -> None:
        """Have something written soon; never waits. `size` is what it takes in memory, in bytes.

        Any thread may call it.
        """
        with self._lock:
            full = self._waiting >= self._max_waiting or self._bytes + size > MAX_WAITING_BYTES
            if not full and not self._ended:
                self._waiting += 1
                self._bytes += size
                if self._thread is None:
                    try:
                        self._thread = self._started()
                    except RuntimeError:  # no thread can be started any more: the interpreter ends
                        full = True
                if not full:
                    self._queue.put((thing, size))
        if self._ended:
            self.drop("the recorder is closed, and records no further exchanges")
        elif full:
            self.drop("exchanges come faster than they can be recorded, and some are left out")

    def flush(self, timeout: float) -> bool:
        """Wait until all that was offered is written; whether it was within `timeout` seconds.

        A thread that hangs in a write is waited for no longer than that.
        """
        thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        reached = threading.Event()
        self._queue.put(reached)
        return reached.wait(timeout)

    def end_soon(self) -> None:
        """Let the thread end once all is written; takes no lock, so that a finalizer may call it."""
        self._ended = True
        self._queue.put(None)

    def close(self, timeout: float) -> bool:
        """Have the rest written, and the thread ended; whether that was done within `timeout` seconds.

        What is offered from now on is dropped.
        """
        with self._lock:
            self._ended = True
            thread = self._thread
        self._queue.put(None)
        if thread is None or thread is threading.current_thread():
            return True
        # A thread that hangs in a write is left behind; it is a daemon.
        thread.join(timeout)
        return not thread.is_alive()

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        _writers.add(self)
        return thread

    def _run(self) -> None:
        while (taken := self._queue.get()) is not None:
            if isinstance(taken, threading.Event):
                taken.set()
                continue
            thing, size = taken
            try:
                self._write(thing)
            except Full:
                self.skip()
                self._report_full()
            except Exception as error:
                self.drop("an exchange could not be recorded", error)
            else:
                with self._lock:
                    self._written += 1
            finally:
                with self._lock:
                    self._waiting -= 1
                    self._bytes -= size
            # Not to be held while waiting.
            del taken, thing
        self._close()

    def _report_full(self) -> None:
        with self._lock:
            first = "full" not in self._reported
            self._reported.add("full")
        if first:
            logger.warning("the recording has reached its limit; no further exchanges are recorded")


_writers: weakref.WeakSet[Writer[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At interpreter exit, write what is left, within a bound for all writers together."""
    deadline = time.monotonic() + _EXIT_TIMEOUT
    for writer in list(_writers):
        if writer.pid != os.getpid():
            continue  # of the process that forked this one; its lock may be held for ever here
        writer.close(max(0.0, deadline - time.monotonic()))
