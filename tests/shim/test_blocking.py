"""What blocks an event loop: which line is named, for how long, how often, and what is not blamed.

What the watching thread makes of its looks is tested with scripted looks and a scripted clock. The rest
runs on real loops; there the blocking function returns once the report is there, or the block is many
times as long as the threshold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from support import drive
from support.drive import LOOPS, pause, run
from support.engines import PATIENCE, eventually, script, threads_named

from bridge.engines.loop_thread import LoopThread
from bridge.exceptions import LoopGone, UsageError
from bridge.shim import blocking
from bridge.shim.blocking import Blocked, detect_blocking

# Short, so that tests are.
QUICK = 0.02
# Where it matters that nothing else is taken for a block, on a machine that lets threads stand still.
CALM = 0.1

EVERY_LOOP = pytest.mark.parametrize("loop", LOOPS)
NAME = "bridge-blocking"


class Found(list[Blocked]):
    """Collects reports; `seen` is set by the first that tells of `block` while it lasts.

    On a busy machine, there may be others: of callbacks amid which their thread had to stand still.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Event()

    def __call__(self, blocked: Blocked) -> None:
        self.append(blocked)
        if not blocked.ended and " in block\n" in blocked.stack:
            self.seen.set()

    def block(self) -> None:
        """Block until it has been reported."""
        told = any(not each.ended for each in self)  # perhaps of this very callback, and that is told of once
        assert self.seen.wait(1.0 if told else PATIENCE) or told

    @property
    def blocks(self) -> list[Blocked]:
        """Those of `block`."""
        return [each for each in self if " in block\n" in each.stack]

    @property
    def functions(self) -> list[str]:
        return [each.function for each in self]


class Looks:
    """The looks of all who watch.

    Attributes:
        number: how many there were.
    """

    def __init__(self) -> None:
        self.number = 0

    def wait(self) -> None:
        """Do nothing but sleep until somebody has looked a few times."""
        until = self.number + 10
        deadline = time.monotonic() + PATIENCE
        while self.number < until:
            assert time.monotonic() < deadline, "nobody looks"
            time.sleep(QUICK)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Counted looks; whoever leaves a watch gives it the time that it needs for its last report."""
    looks = Looks()
    sample = blocking._Watch._sample

    def counted(watch: blocking._Watch) -> blocking._Sample | None:
        found = sample(watch)
        looks.number += 1
        return found

    monkeypatch.setattr(blocking._Watch, "_sample", counted)
    monkeypatch.setattr(blocking, "_FAREWELL", PATIENCE)
    return looks


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are told of as soon as they have lasted for the threshold, and so can wait for that."""
    monkeypatch.setattr(blocking, "UNUSUAL", 0.0)


@pytest.fixture(autouse=True)
def _all_threads_end() -> Iterator[None]:
    before = set(threads_named(NAME))
    yield
    eventually(lambda: set(threads_named(NAME)) <= before, "the threads that watch end")


# -- what is made of the looks


class Clock:
    """Stands still between looks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class ScriptedPort:
    """A loop that is asked, and answers when the script says so."""

    loop = None

    def __init__(self) -> None:
        self.asked = 0

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.asked += 1

    def alive(self) -> bool:
        return True


class NoGate:
    def acquire(self, blocking: bool, timeout: float) -> bool:
        return True


def new_frame() -> FrameType:
    """A frame unlike all others."""
    return sys._getframe()


class Look:
    """One look of the script, at `at` seconds.

    Args:
        root: the callback that is seen, if any: each name is one.
        line: where it is.
        answered: since the last look, the loop has answered at that time.
        used: the CPU time that the loop's thread has used by then, in seconds.
    """

    def __init__(
        self, at: float, root: str = "", line: int = 1, answered: float | None = None, used: float = 0.0
    ) -> None:
        self.at, self.root, self.line, self.answered, self.used = at, root, line, answered, used


class Scripted(blocking._Watch):
    """Makes the looks of a script, with a threshold of a second."""

    def __init__(self, clock: Clock, looks: list[Look], stop_at_end: bool = False) -> None:
        self.port = ScriptedPort()
        self.found = Found()
        super().__init__(self.port, 1.0, self.found)  # type: ignore[arg-type]
        self._clock_of_test = clock
        self._looks = looks
        self._frames: dict[str, FrameType] = {}
        self._gate = NoGate()
        self._stop_at_end = stop_at_end
        self._due = clock.now
        self._used = 0.0
        self._answered = clock.now
        self._look: Look
        self._next()

    def _next(self) -> None:
        self._look = self._looks.pop(0)
        self._clock_of_test.now = 1000.0 + self._look.at
        if self._look.answered is not None and not self._answered:
            self._answered = 1000.0 + self._look.answered

    def _cpu_time(self) -> float | None:
        return self._look.used

    def _sample(self) -> blocking._Sample | None:
        look = self._look
        if not look.root:
            return None
        root = self._frames.setdefault(look.root, new_frame())
        return blocking._Sample(root, [("/app/views.py", look.line, look.root)], 1)

    def go(self) -> list[tuple[str, int, float, bool, int]]:
        """Make all looks; what was reported."""

        class Gate:
            def acquire(gate, blocking: bool, timeout: float) -> bool:
                if not self._looks:
                    raise LoopGone("the end of the script")
                self._next()
                self._stopped = self._stop_at_end and not self._looks
                return True

        self._gate = Gate()
        self._run(None)
        return [(b.function, b.line, round(b.seconds, 3), b.ended, b.times) for b in self.found]


def steps(*times: float, root: str = "view", answered: float | None = None) -> list[Look]:
    """The same callback at all these looks, then the loop has answered and rests."""
    return [*(Look(at, root) for at in times), Look(times[-1] + 0.5, answered=answered)]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([Look(0), Look(0.5), Look(1), Look(9)], [], id="the loop rests"),
        pytest.param(steps(0, 0.5, answered=0.9), [], id="shorter than the threshold"),
        pytest.param(steps(0, 0.5, 1, answered=1.2), [("view", 1, 1.2, True, 1)], id="told when it ends"),
        pytest.param(
            steps(0, 0.5, 1, 1.5, answered=None),
            [("view", 1, 1.5, True, 1)],
            id="gone without an answer: until the last look at it",
        ),
        pytest.param(
            [Look(0, "a"), Look(0.5, "b", answered=0.1), Look(1, "a", answered=0.6), Look(1.5, answered=1.2)],
            [],
            id="many short callbacks",
        ),
        pytest.param(
            [Look(0, "a"), Look(0.5, "a", answered=0.1), Look(1, "a", answered=0.6), Look(1.5, answered=1.2)],
            [],
            id="many short steps of one task",
        ),
        pytest.param(
            [Look(0, "a"), Look(0.5, "b"), Look(1, "b"), Look(1.4, "b"), Look(2, answered=1.45)],
            [],
            id="callbacks in one turn of the loop are not added up",
        ),
        pytest.param(
            [Look(0, "a"), Look(0.5, "b"), Look(1, "b"), Look(1.5, "b"), Look(2, answered=1.6)],
            [("b", 1, 1.1, True, 1)],
            id="the one of several that blocks",
        ),
        pytest.param(
            [Look(0, "a", 1), Look(0.5, "a", 2), Look(1, "a", 2), Look(1.5, "a", 3), Look(2, answered=1.6)],
            [("a", 2, 1.6, True, 1)],
            id="the line where it was for longest",
        ),
        pytest.param(
            [*(Look(n / 2, "a") for n in range(12)), Look(6, answered=5.9)],
            [("a", 1, 2.0, False, 1), ("a", 1, 5.9, True, 1)],
            id="told while it lasts, and when it ends",
        ),
        pytest.param(
            [
                *steps(0, 0.5, 1, answered=1.1),
                *(Look(10 + n / 2, "view") for n in range(6)),
                Look(13, answered=12.9),
            ],
            [("view", 1, 1.1, True, 1), ("view", 1, 2.0, False, 1), ("view", 1, 2.9, True, 1)],
            id="also if the place was told of just before",
        ),
        pytest.param(
            [
                *steps(0, 0.5, 1, answered=1.1),
                *steps(10, 10.5, 11, answered=11.3),
                *steps(20, 20.5, 21, answered=21.2),
            ],
            [("view", 1, 1.1, True, 1), ("view", 1, 1.3, True, 2)],
            id="the same place soon after is told of at the end, with the longest",
        ),
        pytest.param(
            [
                look
                for n in range(5)
                for look in steps(n * 16, n * 16 + 0.5, n * 16 + 1, answered=n * 16 + 1.1)
            ],
            [("view", 1, 1.1, True, 1), ("view", 1, 1.1, True, 4)],
            id="and again after a minute, with how often",
        ),
        pytest.param(
            [Look(0), Look(3, "view", used=2.5), Look(3.5, answered=3.01)],
            [("view", 1, 2.51, True, 1)],
            id="computed without letting this thread look",
        ),
        pytest.param(
            [Look(0), Look(1.4, "view", used=0.9), Look(2.1, answered=2.0)],
            [],
            id="only a little late, which says nothing",
        ),
        pytest.param(
            [Look(0), Look(3, "view", used=0.1), Look(3.5, answered=3.01)],
            [],
            id="the process was suspended",
        ),
        pytest.param(
            [Look(0, "b"), Look(3, "view", answered=0.1, used=2.5), Look(3.5, answered=3.01)],
            [],
            id="a busy loop that had the processor to itself",
        ),
    ],
)
def test_what_is_told_of_a_series_of_looks(
    monkeypatch: pytest.MonkeyPatch, looks: list[Look], expected: list[Any]
) -> None:
    clock = Clock()
    monkeypatch.setattr(blocking, "time", clock)
    assert Scripted(clock, looks).go() == expected


def test_a_loop_that_rests_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """So watching never wakes it."""
    clock = Clock()
    monkeypatch.setattr(blocking, "time", clock)
    watch = Scripted(clock, [Look(n / 2) for n in range(20)])
    watch.go()
    assert watch.port.asked == 0


def test_one_answer_is_due_at_a_time_however_long_callbacks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(blocking, "time", clock)
    watch = Scripted(clock, [Look(n / 2, "view" if n > 2 else "before") for n in range(20)])
    watch.go()
    assert watch.port.asked == 1


def test_what_blocks_when_the_watch_is_left_from_elsewhere_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(blocking, "time", clock)
    looks = [Look(0, "view"), Look(0.5, "view"), Look(1.2, "view")]
    assert Scripted(clock, looks, stop_at_end=True).go() == [("view", 1, 1.2, False, 1)]


def test_what_is_kept_of_places_is_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(blocking, "time", clock)
    monkeypatch.setattr(blocking, "_MOST_PLACES", 3)
    looks: list[Look] = []
    for n, name in enumerate("abcabcde"):
        looks += steps(n * 4, n * 4 + 0.5, n * 4 + 1, root=name, answered=n * 4 + 1.1)
    watch = Scripted(clock, looks)
    watch.go()
    assert sorted(watch.found.functions) == sorted("abcabcde")
    assert len(watch._places) == 3


# -- the line that is named


@EVERY_LOOP
def test_the_line_that_blocks_is_named(loop: str, at_once: None) -> None:
    found = Found()

    def view() -> None:
        found.block()  # the line

    async def main() -> None:
        with detect_blocking(CALM, report=found):
            await pause(0)
            view()

    run(main, loop)
    told, ended = found.blocks
    # `block` is above `view`, but so is the application's own code: both are this file's.
    assert (told.file, told.function) == (__file__, "block")
    assert told.line == Found.block.__code__.co_firstlineno + 3
    assert told.place == f"{__file__}:{told.line} in block"
    assert (told.ended, ended.ended) == (False, True)
    assert ended.seconds >= told.seconds >= CALM
    assert told.thread == threading.current_thread().name
    assert "in view\n    found.block()  # the line\n" in told.stack
    assert told.stack.index("in main") < told.stack.index("in view") < told.stack.index("in block")
    assert told.innermost.startswith("threading.py:")
    assert str(told).startswith(f"{told.place} blocks the event loop for ")
    assert "it has not ended yet" in str(told)
    assert f"{ended.place} blocked the event loop for {ended.seconds:.2f} s, by threading.py" in str(ended)
    assert "2 times" in str(Blocked("f", 1, "g", 1.0, True, 2, "", "f:1 in g", "t"))


CODES = {
    "application": "/srv/shop/views.py",
    "library": "/srv/shop/.venv/lib/python3.11/site-packages/driver/connection.py",
    "standard": os.path.join(os.path.dirname(os.__file__), "socket.py"),
    "machinery": os.path.join(os.path.dirname(asyncio.__file__), "streams.py"),
}


def calling(kinds: tuple[str, ...], innermost: Callable[[], None]) -> Callable[[], None]:
    """A function that calls `innermost` through one of each of these kinds of files, outermost first."""
    function = innermost
    for kind in reversed(kinds):
        names: dict[str, Any] = {"inner": function}
        exec(compile(f"def {kind}(): inner()", CODES[kind], "exec"), names)
        function = names[kind]
    return function


@EVERY_LOOP
@pytest.mark.parametrize(
    ("kinds", "blamed"),
    [
        (("application", "library", "standard"), "application"),
        (("library", "application", "standard", "library"), "application"),
        (("standard", "library", "standard"), "library"),
        (("standard",), "standard"),
        (("library", "machinery"), "library"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, tuple) else None,
)
def test_the_applications_line_is_named_rather_than_a_librarys(
    loop: str, kinds: tuple[str, ...], blamed: str, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a callback; what runs the loop is the application's as well, and is never blamed."""
    for file in (__file__, str(drive.__file__), threading.__file__):
        monkeypatch.setitem(blocking._kinds, file, blocking._MACHINERY)
    found = Found()

    async def main() -> None:
        async with detect_blocking(CALM, report=found):
            calling(kinds, found.block)()

    run(main, loop)
    assert [(each.function, each.file) for each in found.blocks] == [(blamed, CODES[blamed])] * 2


def test_files_are_told_apart() -> None:
    kinds = [blocking._kind_of(file) for file in CODES.values()]
    assert kinds == [blocking._APPLICATION, blocking._LIBRARY, blocking._STANDARD, blocking._MACHINERY]
    assert blocking._kind_of("<frozen importlib._bootstrap>") == blocking._STANDARD
    assert blocking._kind_of("<stdin>") == blocking._APPLICATION
    assert blocking._kind_of(blocking.__file__) == blocking._MACHINERY


@EVERY_LOOP
def test_what_runs_the_loop_is_known_before_it_has_answered(loop: str) -> None:
    """So a block right at the beginning is not blamed on whoever has called `run`."""
    seen: list[FrameType | None] = []

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        seen.append(blocking._caller_from_within(sys._getframe()))
        yield

    async def main() -> None:
        async with lifespan():
            pass

    run(main, loop)
    assert seen[0] is not None
    assert seen[0].f_code.co_name in {"_run_on_asyncio", "run"}
    assert "drive" in seen[0].f_code.co_filename
    seen.clear()


@EVERY_LOOP
def test_a_callback_is_known_by_its_own_outermost_call(loop: str) -> None:
    """By what runs the loop, all callbacks would be one; and a loop that rests is not in any."""
    samples = []

    async def main() -> None:
        with detect_blocking() as watching:
            await pause(0)
            watch = watching._watch
            assert watch is not None
            samples.append(watch._sample())

    run(main, loop)
    (sample,) = samples
    assert sample is not None
    assert sample.root.f_code.co_name == ("_run_on_trio" if loop == "trio" else "main")
    functions = [function for _, _, function in sample.lines]
    assert sample.inner < functions.index("test_a_callback_is_known_by_its_own_outermost_call")


# -- on real loops


@EVERY_LOOP
def test_a_block_that_ends_with_the_with_is_reported_before_it_is_left(loop: str, looks: Looks) -> None:
    found = Found()

    async def main() -> int:
        with detect_blocking(QUICK, report=found):
            looks.wait()
        return len(found)

    assert run(main, loop) == 1
    assert found[0].ended
    assert found[0].seconds >= QUICK
    assert found[0].function == "wait"


@EVERY_LOOP
def test_a_loop_that_waits_is_not_blamed(loop: str) -> None:
    found = Found()

    async def main() -> None:
        with detect_blocking(QUICK, report=found):
            await pause(10 * QUICK)

    run(main, loop)
    # A machine that lets the thread stand still amid the coroutine's steps is not the loop's waiting.
    assert {each.function for each in found} <= {"main", "pause"}


@EVERY_LOOP
def test_what_computes_without_letting_other_threads_run_is_found(loop: str) -> None:
    """As regular expressions and parsers do: nobody can look meanwhile."""
    found = Found()

    async def main() -> None:
        deadline = time.monotonic() + PATIENCE
        while "compute" not in found.functions:
            assert time.monotonic() < deadline, "it was not found"
            with detect_blocking(QUICK, report=found):
                await pause(10 * QUICK)  # so that it is seen resting before
                compute()

    def compute() -> None:
        sum(range(6_000_000))

    run(main, loop)


@EVERY_LOOP
def test_the_default_is_a_warning_with_the_stack(
    loop: str, looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with detect_blocking(QUICK):
            looks.wait()

    with caplog.at_level(logging.WARNING, "bridge.blocking"):
        run(main, loop)
    (record,) = caplog.records
    assert record.name == "bridge.blocking"
    first, _, stack = record.getMessage().partition("\n")
    assert f"{__file__}:" in first
    assert "in wait blocked the event loop for " in first
    assert "in main\n    looks.wait()\n" in stack


def test_a_report_that_raises_is_logged_and_the_next_is_made(
    at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    seen = threading.Event()
    reports = []

    def report(blocked: Blocked) -> None:
        reports.append(blocked)
        seen.set()
        raise SystemExit

    async def main() -> None:
        with detect_blocking(CALM, report=report):
            assert seen.wait(PATIENCE)

    run(main)
    assert [each.ended for each in reports] == [False, True]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_what_the_block_raises_leaves_it() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            async with detect_blocking():
                raise ZeroDivisionError

    run(main)


@EVERY_LOOP
def test_nested_each_reports_by_its_own_threshold(loop: str, at_once: None) -> None:
    outer, inner, patient = Found(), Found(), Found()

    async def main() -> None:
        with (
            detect_blocking(QUICK, report=outer),
            detect_blocking(2 * QUICK, report=inner),
            detect_blocking(2 * PATIENCE, report=patient),
        ):
            inner.block()
            outer.block()

    run(main, loop)
    assert inner
    assert outer
    assert patient == []


def test_loops_in_two_threads_are_told_apart(at_once: None) -> None:
    found = {name: Found() for name in ("one", "two")}

    def one() -> None:
        found["one"].block()

    def two() -> None:
        found["two"].block()

    def start(function: Callable[[], None]) -> threading.Thread:
        async def main() -> None:
            with detect_blocking(CALM, report=found[function.__name__]):
                function()

        thread = threading.Thread(target=lambda: asyncio.run(main()), name=f"loop {function.__name__}")
        thread.start()
        return thread

    for thread in [start(one), start(two)]:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for name, reports in found.items():
        assert {each.thread for each in reports} == {f"loop {name}"}
        assert reports.blocks
        assert all(f"in {name}\n" in each.stack for each in reports.blocks)


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    made = LoopThread(asyncio.new_event_loop)
    made.start()
    made._users = 1
    yield made
    made.release()
    assert made.join(PATIENCE)


def test_a_loop_of_another_thread_is_watched_from_outside(loop_thread: LoopThread, at_once: None) -> None:
    found = Found()
    with detect_blocking(CALM, loop=loop_thread.port.loop, report=found):
        loop_thread.submit(found.block)
        assert found.seen.wait(PATIENCE)
    assert found.blocks[0].function == "block"
    assert found.blocks[0].thread == "bridge-loop"


def test_left_while_the_loop_is_blocked_the_watch_ends(loop_thread: LoopThread) -> None:
    found, begun, go_on = Found(), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    try:
        with detect_blocking(QUICK, loop=loop_thread.port.loop, report=found) as watching:
            loop_thread.submit(block)
            assert begun.wait(PATIENCE)
            watch = watching._watch
            assert watch is not None
        eventually(lambda: watch._ended.is_set, "the watch ends")
    finally:
        go_on.set()


def test_a_loop_that_rests_between_two_runs_is_not_blamed(looks: Looks) -> None:
    found = Found()
    loop = asyncio.new_event_loop()

    def rest() -> None:
        looks.wait()

    def work() -> None:
        until = looks.number + 10
        eventually(lambda: looks.number >= until)

    with detect_blocking(QUICK, loop=loop, report=found):
        loop.run_until_complete(asyncio.sleep(0))
        rest()
        loop.call_soon(work)
        loop.run_until_complete(asyncio.sleep(0))
    assert len(found) == 1
    assert "in work\n" in found[0].stack
    loop.close()


def test_the_watch_ends_with_its_loop() -> None:
    loop = asyncio.new_event_loop()
    watching = detect_blocking(QUICK, loop=loop).__enter__()
    watch = watching._watch
    assert watch is not None
    loop.run_until_complete(asyncio.sleep(0))
    assert not watch._ended.is_set
    loop.close()
    eventually(lambda: watch._ended.is_set, "the watch ends")
    watching.__exit__()
    with pytest.raises(UsageError, match="closed"):
        detect_blocking(loop=loop).__enter__()


@pytest.mark.skipif(len(LOOPS) < 3, reason="the run is trio's")
def test_the_watch_ends_with_its_trio_run() -> None:
    left = []

    async def main() -> None:
        left.append(detect_blocking(QUICK).__enter__())

    run(main, "trio")
    watch = left[0]._watch
    assert watch is not None
    eventually(lambda: watch._ended.is_set, "the watch ends")
    left[0].__exit__()


def test_a_report_that_never_returns_does_not_hold_up_the_loop(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_FAREWELL", 0.05)
    reported, go_on = threading.Event(), threading.Event()

    def report(blocked: Blocked) -> None:
        reported.set()
        go_on.wait(PATIENCE)

    async def main() -> None:
        with detect_blocking(QUICK, report=report):
            assert reported.wait(PATIENCE)

    try:
        run(main)
    finally:
        go_on.set()


def test_it_can_be_entered_again_once_it_was_left() -> None:
    async def main() -> None:
        watching = detect_blocking()
        for _ in range(2):
            with watching, pytest.raises(UsageError, match="entered already"):
                watching.__enter__()

    run(main)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"threshold": 0}, "at least 0.01"),
        ({"threshold": float("nan")}, "at least 0.01"),
        ({"threshold": float("inf")}, "at most an hour"),
        ({"threshold": "1"}, "number of seconds"),
        ({"threshold": True}, "number of seconds"),
        ({"loop": "asyncio"}, "asyncio event loop"),
        ({"report": 1}, "callable"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        detect_blocking(**arguments)


def test_without_a_running_loop_it_says_where_it_belongs() -> None:
    with pytest.raises(UsageError, match="main coroutine"), detect_blocking():
        pass


# -- processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_leaves_at_once() -> None:
    code = """
import asyncio, os, warnings
from bridge.shim import blocking, detect_blocking
warnings.simplefilter("ignore")

async def main():
    with detect_blocking(0.02):
        await asyncio.sleep(0.05)
        pid = os.fork()
        if not pid:
            blocking._FAREWELL = 1000  # who waits for the thread that watches does so for too long
    if not pid:
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

asyncio.run(main())
"""
    assert script(code) == "7\n"


def test_a_process_exits_while_its_loop_is_watched_and_blocked() -> None:
    code = """
import asyncio, threading
from bridge.shim import detect_blocking

async def main():
    detect_blocking(0.02).__enter__()
    begun.set()
    threading.Event().wait()

begun = threading.Event()
threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
begun.wait()
print("exits")
"""
    assert script(code) == "exits\n"


def test_under_gevent_a_loop_in_a_real_thread_is_watched() -> None:
    pytest.importorskip("gevent")
    code = """
from gevent import monkey
monkey.patch_all()
import asyncio, gevent
from bridge.engines.loop_thread import LoopThread
from bridge.shim import detect_blocking

found = []
sleep = monkey.get_original("time", "sleep")

def view():
    while not found:
        sleep(0.01)

thread = LoopThread(asyncio.new_event_loop)
thread.start()
import bridge.shim.blocking as blocking
blocking.UNUSUAL = 0
with detect_blocking(0.02, loop=thread.port.loop, report=found.append):
    thread.submit(view)
    with gevent.Timeout(20):
        while not found:
            gevent.sleep(0.01)
print(found[0].function)
"""
    assert script(code) == "view\n"
