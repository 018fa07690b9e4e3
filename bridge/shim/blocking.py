"""`detect_blocking`: calls that block an event loop, found in development.

    a thread of its own      looks, twice in `threshold` seconds, what the loop's thread is doing; if that
                             is running a callback, it asks the loop for a sign of life
    the loop's thread        answers as soon as it comes to it

While the answer is due and each look sees the same callback, that is the one that blocks. How long it
did is told when the answer has come; or while it lasts, should it take unusually long. While the loop
rests it is not asked, so nothing wakes it.

Who waits, and what ends the wait: nobody waits for the loop; the thread looks whether the answer has
come. It sleeps for half of `threshold` at a time, or until the block of the `with` is left, and ends
then, or when the loop is closed. Leaving waits for its last report, for `_FAREWELL` seconds at most. A
loop that rests between two runs owes no answer. A forked child has no such thread, nor has it the
loop, so leaving does nothing there. The thread is a daemon, so it does not hold up the exit.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import selectors
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import NamedTuple

from ..engines.asyncio_port import AsyncioPort
from ..engines.gates import Latch, native, threads_are_greenlets
from ..engines.ports import Port, in_trio_task
from ..engines.running import running_port
from ..engines.thread_pool import start_thread
from ..exceptions import LoopGone, UsageError

logger = logging.getLogger("bridge.blocking")

# What people notice, and asyncio's own debug mode takes as slow.
THRESHOLD = 0.1
# Threads take turns every 5 ms, so what is shorter is seen by chance.
LEAST_THRESHOLD = 0.01
# Locks take no time-out without bounds, and nobody waits for as long.
MOST_THRESHOLD = 3600.0
# Looks while a callback runs for `threshold`; two have to see it.
_LOOKS = 2
# What lasts as long (seconds) is told while it lasts: it may never end.
UNUSUAL = 2.0
# The same place is told of again after so many seconds, with how often it has blocked meanwhile.
AGAIN = 60.0
# So many places are kept in mind; the one told of longest ago is forgotten for another.
_MOST_PLACES = 1000
# How long (seconds) leaving waits for the last report.
_FAREWELL = 2.0

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE


@dataclass(frozen=True)
class Blocked:
    """A callback or a step of a task that kept an event loop from everything else.

    As a string: all of it in words, without the stack.
    """

    file: str
    """Of the line that blocked: the innermost one of the application; of a library or the standard
    library only if none of the application took part."""
    line: int
    function: str
    """Its function's name."""
    seconds: float
    """For how long, at least."""
    ended: bool
    """`False`: it lasted still, and will be told of again should it end."""
    times: int
    """How often this place has blocked since it was last told of; `seconds` is the longest of them."""
    stack: str
    """The stack of the loop's thread during it, from whoever runs the loop inwards, as in a traceback."""
    innermost: str
    """The innermost call of Python code, such as `socket.py:718 in readinto`."""
    thread: str
    """The name of the loop's thread."""

    @property
    def place(self) -> str:
        """The line: `file:line in function`."""
        return f"{self.file}:{self.line} in {self.function}"

    def __str__(self) -> str:
        inner = "" if self.place.endswith(self.innermost) else f", by {self.innermost}"
        verb = "blocked" if self.ended else "blocks"
        text = f"{self.place} {verb} the event loop for {self.seconds:.2f} s{inner} (thread {self.thread})"
        if not self.ended:
            text += "; it has not ended yet"
        return text if self.times == 1 else f"{text}; {self.times} times since it was last told of"


class detect_blocking:
    """A context manager during which blocking calls on an event loop are reported. For development.

        async def main():
            with detect_blocking():
                ...

    It watches the loop that runs the caller, asyncio's, uvloop or trio, and reports each callback and
    each step of a task that runs for longer than `threshold`: file, line, function, seconds and stack.
    Also `async with`. What is between `threshold` and 1.5 times as long may go unseen; shorter is
    never reported. It cannot stop a call that blocks. A built-in function that was given to the loop
    itself, as in `loop.call_soon(time.sleep, 1)`, has no line of Python, and is not seen.

    A place is reported at most once a minute, and again at the end if it has blocked in between.

    Args:
        threshold: seconds, from 0.01 to 3600. Default: 0.1.
        loop: an asyncio event loop that runs in another thread, instead of the caller's. It may rest
            between two runs.
        report: called with a `Blocked` each time, in the thread that watches; what it raises is
            logged. Default: a warning of the logger `bridge.blocking`, with the stack.

    Raises:
        UsageError: there is no loop to watch, or an argument is not what it has to be.
    """

    def __init__(
        self,
        threshold: float = THRESHOLD,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        report: Callable[[Blocked], object] | None = None,
    ) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise UsageError(f"threshold must be a number of seconds; got {threshold!r}")
        if not LEAST_THRESHOLD <= threshold <= MOST_THRESHOLD:
            raise UsageError(
                f"threshold must be at least {LEAST_THRESHOLD} seconds, since threads take turns every few "
                f"milliseconds, and at most an hour; got {threshold!r}"
            )
        if loop is not None and not isinstance(loop, asyncio.AbstractEventLoop):
            raise UsageError(f"loop must be an asyncio event loop; got {loop!r}")
        if report is not None and not callable(report):
            raise UsageError(f"report must be callable; got {report!r}")
        self._threshold = float(threshold)
        self._loop = loop
        self._report = _log if report is None else report
        self._watch: _Watch | None = None

    def __enter__(self) -> detect_blocking:
        if self._watch is not None:
            raise UsageError(
                "this detect_blocking() has been entered already; make one for each loop and each `with`"
            )
        watch = _Watch(self._port(), self._threshold, self._report)
        if self._loop is None:
            watch.meet(_caller_from_within(sys._getframe(1)))
        watch.start()
        self._watch = watch
        return self

    def __exit__(self, *exc_info: object) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    async def __aenter__(self) -> detect_blocking:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.__exit__()

    def _port(self) -> Port:
        if self._loop is not None:
            if self._loop.is_closed():
                raise UsageError("expected an event loop to watch; the given one is closed")
            return AsyncioPort(self._loop)
        if asyncio._get_running_loop() is None and not in_trio_task():
            raise UsageError(
                "no event loop runs here to be watched: enter detect_blocking() in async code (in the main "
                "coroutine, in the lifespan of an app), or give a loop that runs in another thread as loop"
            )
        return running_port()


# What a file is to the search for the line that blocks, best first.
_APPLICATION, _LIBRARY, _STANDARD, _MACHINERY = range(4)

_Line = tuple[str, int, str]
"""File, line and function of one call."""


class _Sample(NamedTuple):
    """What the loop's thread was doing at one moment: it ran a callback."""

    root: FrameType
    """The callback's outermost call, by which it is known again."""
    lines: list[_Line]
    """The thread's calls, innermost first."""
    inner: int
    """How many of them are the callback's."""

    def blamed(self) -> _Line:
        """The innermost call of the application, or else of what comes nearest to that."""
        return min(self.lines[: self.inner], key=lambda line: _kind_of(line[0]))  # the first of the best


class _Running:
    """A callback that the loop is in, while its answer is due.

    Args:
        sample: the first look at it.
        since: the time by which it ran.
    """

    __slots__ = ("_lines", "root", "since", "told")

    def __init__(self, sample: _Sample, since: float) -> None:
        self.root = sample.root
        self.since = since
        self.told = False
        # By the line that may be blamed: the last look at it, and for how long it was seen.
        self._lines: dict[_Line, tuple[_Sample, float]] = {}

    def add(self, sample: _Sample, seconds: float) -> None:
        """It was seen again, so many seconds after the last look."""
        line = sample.blamed()
        _, before = self._lines.get(line, (sample, 0.0))
        self._lines[line] = (sample, before + seconds)

    def worst(self) -> _Sample:
        """The look at the line at which it was for longest; the first of several."""
        return max(self._lines.values(), key=lambda each: each[1])[0]


class _Place:
    """A line that has blocked."""

    __slots__ = ("last", "longest", "times", "told_at")

    def __init__(self) -> None:
        self.told_at = -AGAIN
        self.times = 0
        self.longest = 0.0
        self.last: Blocked | None = None


class _Watch:
    """The thread that watches one loop, from `start` to `stop`.

    `_ident` is the loop's thread, 0 until it is known; `_caller` is the call in it that runs the loop: what
    is above that is a callback's, or the loop's own.
    """

    def __init__(self, port: Port, threshold: float, report: Callable[[Blocked], object]) -> None:
        self._get_ident: Callable[[], int] = native("get_ident")  # gevent's is of the greenlet
        self._ident = 0
        self._caller: FrameType | None = None
        self._clock: int | None = None  # tells how much CPU time the loop's thread has used
        self._port = port
        self._threshold = threshold
        self._report = report
        self._pid = os.getpid()
        self._stopped = self._left = False  # left: by the loop's thread itself
        self._gate = native("allocate_lock")()  # released to stop the thread
        self._gate.acquire()
        self._ended = Latch()
        # When the last question was answered; 0 while the answer is due. Set by the loop's thread.
        self._answered = 0.0
        self._places: dict[_Line, _Place] = {}

    def start(self) -> None:
        """Start the thread.

        Raises:
            LoopGone: the loop is closed.
            RuntimeError: the system gives no more threads.
        """
        self._ask()
        self._due = time.monotonic()
        self._used = self._cpu_time()
        if threads_are_greenlets():
            native("start_new_thread")(self._run, (None,))  # a greenlet would be blocked with the loop
        else:
            start_thread(self._run, None, "bridge-blocking")

    def stop(self) -> None:
        """End the thread after its last report."""
        if os.getpid() != self._pid:
            return
        self._left = self._get_ident() == self._ident
        if self._left and not self._answered:
            self._answered = time.monotonic()  # that the loop's thread has come here is an answer
        self._stopped = True
        try:
            self._gate.release()
        except RuntimeError:
            pass  # stopped already
        self._ended.wait(_FAREWELL, lambda: True)

    # -- on the loop's thread

    def meet(self, caller: FrameType | None) -> None:
        """This is the loop's thread, and the loop is run by `caller`."""
        ident = self._get_ident()
        if ident != self._ident:
            # Not on Windows and macOS. It is safe to ask for in the thread itself only.
            get_clock = getattr(time, "pthread_getcpuclockid", None)
            self._clock = None if get_clock is None else get_clock(ident)
        self._ident = ident
        self._caller = caller

    def _answer(self) -> None:
        self.meet(_beyond_machinery(sys._getframe(1)))
        self._answered = time.monotonic()

    # -- in the thread

    def _run(self, _: None) -> None:
        try:
            self._look_on()
        except LoopGone:
            pass  # nothing is left to watch
        except BaseException:
            logger.exception("the event loop is not watched any more")
        finally:
            self._caller = None
            self._tell_the_rest()
            self._ended.set()

    def _ask(self) -> None:
        self._answered = 0.0
        self._port.call_soon(self._answer)

    def _look_on(self) -> None:
        pause = self._threshold / _LOOKS
        unusual = max(UNUSUAL, self._threshold)
        running: _Running | None = None
        last = self._due
        rested = True  # no callback was seen at the last look
        while True:
            stopped = self._stopped
            now = time.monotonic()
            computed = self._computed(now)
            sample = self._sample()
            answered = self._answered  # read after the look, which so is not of a later callback
            if running is not None and (answered or sample is None or sample.root is not running.root):
                # It has ended; without an answer, at some time after the last look.
                self._tell(running, (answered or last) - running.since, True)
                running = None
            if sample is None:
                pass
            elif running is None:
                seconds = computed if rested else 0.0
                running = _Running(sample, now - seconds)
                running.add(sample, seconds)
                if answered and not stopped:
                    self._ask()
            else:
                running.add(sample, now - last)
                if now - running.since >= unusual and not running.told:
                    self._tell(running, now - running.since, False)
                    running.told = True
            if stopped:
                if running is not None:
                    self._tell(running, now - running.since, self._left)
                return
            rested = sample is None
            del sample  # it refers to a frame of the application
            last = now
            self._due = now + pause
            self._gate.acquire(True, pause)

    def _computed(self, now: float) -> float:
        """For how long, in seconds, the loop's thread may have kept this one from looking.

        That is how late this look is, if the loop's thread has computed for as long: then probably
        without letting go of the interpreter, as regular expressions do, and what parses or sorts much.
        """
        late = now - self._due
        before, self._used = self._used, self._cpu_time()
        if late < self._threshold:
            return 0.0
        return late if before is None or self._used is None else min(late, self._used - before)

    def _cpu_time(self) -> float | None:
        """What the loop's thread has used of it in all, in seconds; `None` if the system does not tell."""
        if self._clock is None:
            return None
        try:
            return time.clock_gettime(self._clock)
        except OSError:  # the thread has ended
            self._clock = None
            return None

    def _sample(self) -> _Sample | None:
        """What the loop's thread does at this moment; `None` if the loop runs no callback.

        Raises:
            LoopGone: the loop is closed.
        """
        loop = self._port.loop
        if loop is not None and loop.is_closed():
            raise LoopGone("the event loop is closed")
        frame: FrameType | None = sys._current_frames().get(self._ident)
        if frame is None:
            if self._answered:
                self._ask()  # in which thread is it now?
            return None
        lines: list[_Line] = []
        root = None
        inner = 0
        caller = self._caller
        try:
            while frame is not None:
                code = frame.f_code
                if frame is caller:
                    inner = len(lines)
                    if root is None:
                        return None
                elif not inner and _kind_of(code.co_filename) is not _MACHINERY:
                    root = frame
                lines.append((code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_name))
                frame = frame.f_back
        finally:
            del frame, caller
        if root is None:
            return None
        if not self._port.alive():
            if loop is None:
                raise LoopGone("the trio run has ended")
            return None  # between two runs
        return _Sample(root, lines, inner or len(lines))

    # -- reports

    def _tell(self, running: _Running, seconds: float, ended: bool) -> None:
        """Report a block, unless it was short or its place has been told of lately.

        Args:
            running: the callback.
            seconds: how long it was.
            ended: it is over.
        """
        if seconds < self._threshold:
            return
        blocked = self._describe(running.worst(), seconds, ended)
        key = (blocked.file, blocked.line, blocked.function)
        place = self._places.pop(key, None) or _Place()
        self._places[key] = place  # those told of lately are last
        if len(self._places) > _MOST_PLACES:
            self._tell_of(self._places.pop(next(iter(self._places))))
        place.times += 1
        place.longest = max(place.longest, seconds)
        place.last = blocked
        now = time.monotonic()
        if not ended or running.told or now - place.told_at >= AGAIN:
            place.told_at = now
            self._tell_of(place)

    def _tell_of(self, place: _Place) -> None:
        """Report what has not been reported of a place, if anything."""
        last, place.last = place.last, None
        if last is None:
            return
        blocked = replace(last, seconds=place.longest, times=place.times)
        place.times, place.longest = 0, 0.0
        try:
            self._report(blocked)
        except BaseException:
            logger.exception("the function that is to report what blocks an event loop raised")

    def _tell_the_rest(self) -> None:
        for place in self._places.values():
            self._tell_of(place)

    def _describe(self, sample: _Sample, seconds: float, ended: bool) -> Blocked:
        file, line, function = sample.blamed()
        innermost = sample.lines[0]
        frames = [traceback.FrameSummary(*each) for each in reversed(sample.lines[: sample.inner + 1])]
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return Blocked(
            file,
            line,
            function,
            seconds,
            ended,
            1,
            "".join(traceback.format_list(frames)),
            f"{os.path.basename(innermost[0])}:{innermost[1]} in {innermost[2]}",
            names.get(self._ident, str(self._ident)),
        )


def _log(blocked: Blocked) -> None:
    logger.warning("%s\n%s", blocked, blocked.stack)


# -- frames


def _beyond_machinery(frame: FrameType | None) -> FrameType | None:
    """The first call from here outwards that is not the event loop's own: whoever runs it."""
    while frame is not None and _kind_of(frame.f_code.co_filename) is _MACHINERY:
        frame = frame.f_back
    return frame


def _caller_from_within(frame: FrameType | None) -> FrameType | None:
    """Who runs the loop, seen from a coroutine that it runs; `None` if there is none on the stack."""
    while frame is not None:
        beyond = frame.f_back
        if frame.f_code.co_flags & _COROUTINE and not (
            beyond is not None and beyond.f_code.co_flags & _COROUTINE
        ):
            return _beyond_machinery(beyond)
        frame = beyond
    return None


_kinds: dict[str, int] = {}


def _kind_of(file: str) -> int:
    kind = _kinds.get(file)
    if kind is None:
        kind = _kinds[file] = _look_up_kind(file)
    return kind


def _look_up_kind(file: str) -> int:
    if file.startswith("<frozen "):
        return _STANDARD
    # None of these is imported for the question: whose frames are seen has been.
    packages = [sys.modules.get(name) for name in ("asyncio", "uvloop", "trio", "bridge")]
    own = [os.path.dirname(str(package.__file__)) for package in packages if package is not None]
    if file == selectors.__file__ or _is_in(file, own):
        return _MACHINERY
    if not {"site-packages", "dist-packages"}.isdisjoint(file.replace("\\", "/").split("/")):
        return _LIBRARY
    return (
        _STANDARD
        if _is_in(file, [sysconfig.get_path("stdlib"), os.path.dirname(os.__file__)])
        else _APPLICATION
    )


def _is_in(file: str, folders: list[str]) -> bool:
    return any(file.startswith(folder + os.sep) for folder in folders)
