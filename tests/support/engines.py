"""What the tests of the engines share: jobs that tell what becomes of them, a clock that stands still.

Nothing here sleeps to let something happen. Where an engine gives no event to wait for (a thread has
ended, a worker has gone idle), `eventually` asks again and again, with a bound.
"""

from __future__ import annotations

import contextvars
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import bridge
from bridge.engines.running import running_port
from bridge.engines.thread_pool import Job, ThreadPool, Worker
from bridge.exceptions import LoopGone, PoolError

PATIENCE = 10.0
"""What takes longer than this (seconds) hangs."""

T = TypeVar("T")


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait in a thread until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"did not come about in {PATIENCE} s: {what or condition}"
        time.sleep(0.0005)


class MakePool(Protocol):
    """Makes a `ThreadPool` that the fixture `make_pool` looks after."""

    def __call__(self, threads: int = 2, **options: Any) -> ThreadPool: ...


class Log:
    """What jobs have done, in order: `(what, name)`. Any thread may write."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, object]] = []
        self._lock = threading.Lock()
        self.running = 0
        self.most_running = 0

    def add(self, what: str, name: object) -> None:
        with self._lock:
            self.entries.append((what, name))

    def began(self, name: object) -> None:
        with self._lock:
            self.entries.append(("run", name))
            self.running += 1
            self.most_running = max(self.most_running, self.running)

    def ended(self) -> None:
        with self._lock:
            self.running -= 1

    def names(self, what: str = "run") -> list[object]:
        """The names of those that did `what`, in order."""
        return [name for did, name in self.entries if did == what]


_living: weakref.WeakSet[Task] = weakref.WeakSet()


def let_all_go() -> None:
    """Let every held task go, for the case that a test failed before it did."""
    for task in list(_living):
        task.let_go()


class Task(Job):
    """A job that notes its run or its refusal, and that runs until it is let go.

    Args:
        log: where to note.
        name: what to note.
        work: called in the worker with it, once the job is let go.
        held: the job waits for `let_go` before it works.
    """

    __slots__ = (
        "__weakref__",
        "_free",
        "_log",
        "_work",
        "began",
        "error",
        "name",
        "over",
        "thread",
        "worker",
    )

    def __init__(
        self,
        log: Log | None = None,
        name: object = "job",
        work: Callable[[Worker], object] | None = None,
        *,
        held: bool = False,
    ) -> None:
        super().__init__()
        self._log = log or Log()
        self.name = name
        self._work = work
        self._free = threading.Event()
        _living.add(self)
        if not held:
            self._free.set()
        self.began = threading.Event()
        self.over = threading.Event()  # run to its end, or refused
        self.error: PoolError | None = None
        self.thread: threading.Thread | None = None
        self.worker: Worker | None = None

    def run(self, worker: Worker) -> None:
        self.worker = worker
        self.thread = threading.current_thread()
        self._log.began(self.name)
        self.began.set()
        try:
            assert self._free.wait(PATIENCE), "nobody let the job go"
            if self._work is not None:
                self._work(worker)
        finally:
            self._log.ended()
            self.over.set()

    def refuse(self, error: PoolError) -> None:
        self.error = error
        self._log.add("refuse", self.name)
        self.over.set()

    def describe(self) -> str:
        return f"task {self.name}"

    def let_go(self) -> None:
        self._free.set()

    def wait_begin(self) -> None:
        assert self.began.wait(PATIENCE), f"{self.name} did not begin"

    def wait(self) -> None:
        assert self.over.wait(PATIENCE), f"{self.name} neither ended nor was refused"


class Clock:
    """Stands in for the module `time`: time passes when the test says so.

    A governor's `sleep` ends when the test calls `step`, which also waits until it sleeps again (or
    has gone to rest), so what it did in between has happened. Others' sleeps end at once.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.process_cpu = 0.0
        self.sleeps: list[float] = []  # of governors
        self.breaths: list[float] = []  # of workers
        self._changed = threading.Condition()
        self._sleeping = 0
        self._steps = 0
        self.real = False  # the test is over: sleep for real

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.process_cpu

    def sleep(self, seconds: float) -> None:
        if not threading.current_thread().name.endswith("-governor"):
            self.breaths.append(seconds)
            return None
        if self.real:
            return time.sleep(seconds)
        with self._changed:
            self.sleeps.append(seconds)
            self._sleeping += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._steps > 0 or self.real, PATIENCE)
            self._steps = max(0, self._steps - 1)
            self._sleeping -= 1
            self._changed.notify_all()
        return None

    def wait_for_sleeper(self) -> None:
        """Wait until a thread sleeps."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._sleeping > 0, PATIENCE), "nobody sleeps"

    def step(self, seconds: float = 0.0, at_rest: Callable[[], bool] = lambda: False) -> None:
        """Let `seconds` pass, wake the sleeper, and wait until it sleeps anew or `at_rest` holds."""
        self.wait_for_sleeper()
        self.now += seconds
        with self._changed:
            slept = len(self.sleeps)
            self._steps += 1
            self._changed.notify_all()
        eventually(lambda: len(self.sleeps) > slept or at_rest(), "the sleeper looks and sleeps again")

    def release(self) -> None:
        """Sleep for real from now on."""
        with self._changed:
            self.real = True
            self._changed.notify_all()


class FixedMeter:
    """Stands in for `LoadMeter`: the workers burn CPU if the test says so."""

    def __init__(self) -> None:
        self.was_burning = False

    def burning(self, now: float, *, submitting: bool = False) -> bool:
        return self.was_burning


def fill(pool: ThreadPool, count: int, log: Log | None = None) -> list[Task]:
    """Submit `count` held tasks and wait until all of them run."""
    tasks = [Task(log, f"held {number}", held=True) for number in range(count)]
    for task in tasks:
        pool.submit(task)
    for task in tasks:
        task.wait_begin()
    return tasks


def threads_named(prefix: str) -> list[threading.Thread]:
    """The living threads whose name begins so."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]


async def checkpoint(count: int = 1) -> None:
    """Let the loop turn."""
    port = running_port()
    for _ in range(count):
        flag = port.flag()
        port.wake(flag)
        await flag


async def in_thread(function: Callable[[], T]) -> T:
    """Await a function in a thread of its own, without the engines under test in between."""
    port = running_port()
    flag = port.flag()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((True, function()))
        except BaseException as error:
            outcome.append((False, error))
        port.wake(flag)

    threading.Thread(target=run, name="in-thread", daemon=True).start()
    await flag
    succeeded, value = outcome[0]
    if not succeeded:
        raise value
    result: T = value
    return result


class FakePort:
    """A port without a loop: the test is the task, and flags are `threading.Event`s."""

    loop = None

    @property
    def port(self) -> FakePort:
        return self

    def __init__(self) -> None:
        self.is_alive = True
        self.is_closed = False
        self.woken: list[Any] = []
        self.looks = 0
        self.on_look: Callable[[], object] = lambda: None

    def flag(self) -> threading.Event:
        return threading.Event()

    def raise_flag(self, flag: threading.Event) -> None:
        flag.set()

    def wake(self, flag: threading.Event) -> None:
        if self.is_closed:
            raise LoopGone("the event loop is closed")
        self.woken.append(flag)
        flag.set()

    def call_soon(self, callback: Callable[[], object]) -> None:
        callback()

    def alive(self) -> bool:
        self.looks += 1
        self.on_look()
        return self.is_alive

    def is_current(self) -> bool:
        return True

    def mind(self, flag: threading.Event) -> set[threading.Event]:
        return {flag}

    async def shielded(self, flag: threading.Event) -> None:
        flag.wait(PATIENCE)

    def start(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> Any:
        raise AssertionError("nothing is started here")

    async def run_beside(
        self, main: Callable[[], Awaitable[None]], companion: Callable[[], Awaitable[None]]
    ) -> None:
        await main()


class Thread:
    """A function in a thread, whose outcome can be waited for."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="beside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self) -> Any:
        """What the function returned; raises what it raised."""
        self._thread.join(PATIENCE)
        assert self.over, "the thread hangs"
        if self.error is not None:
            raise self.error
        return self.result


def script(code: str, *, timeout: float = 30.0, expect: int = 0) -> str:
    """What a program prints that runs in an interpreter of its own, with the same `bridge`.

    It must exit with the code `expect` within `timeout` seconds: a process that does not exit fails.
    """
    places = [str(Path(str(bridge.__file__)).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", code],
        # Elsewhere: `-c` puts the current directory first, where a checkout would hide what is installed.
        cwd=tempfile.gettempdir(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# -- a loop thread without thread and loop


class HandFlag:
    """A flag that a coroutine awaits which is stepped by hand; see `Coro`."""

    def __init__(self) -> None:
        self._set = False

    def done(self) -> bool:
        return self._set

    def set_result(self, result: None) -> None:
        assert not self._set
        self._set = True

    def cancel(self) -> None:
        self._set = True

    def __await__(self) -> Generator[HandFlag, None, None]:
        if not self._set:
            yield self


class Coro:
    """A coroutine that is stepped by hand: it may await nothing but `HandFlag`s.

    Attributes:
        over: it has ended.
        result: what it returned.
    """

    def __init__(self, coroutine: Coroutine[HandFlag, None, Any]) -> None:
        self._coroutine = coroutine
        self._flag: HandFlag | None = None
        self.over = False
        self.result: Any = None

    def ready(self) -> bool:
        """Whether a step would get it further."""
        return not self.over and (self._flag is None or self._flag.done())

    def step(self) -> bool:
        """Run it until it waits again; return whether it has ended. Raises what it raises."""
        if self.ready():
            try:
                self._flag = self._coroutine.send(None)
            except StopIteration as stop:
                self.over, self.result = True, stop.value
            except BaseException:
                self.over = True
                raise
        return self.over

    def throw(self, error: BaseException) -> None:
        """End it where it waits."""
        if self._flag is not None:
            self._flag.cancel()
        self.over = True
        self._coroutine.throw(error)

    def close(self) -> None:
        """Give it up."""
        self.over = True
        self._coroutine.close()


class FakeLoopThread:
    """Stands in for a `LoopThread`: what is submitted waits until the test calls `turn`.

    Args:
        allocate_lock: makes the locks of those who meet here.

    Attributes:
        submitted: what waits.
        submissions: how often anything was submitted.
    """

    def __init__(self, allocate_lock: Callable[[], Any] = threading.Lock) -> None:
        self.allocate_lock = allocate_lock
        self.submitted: list[Callable[[], object]] = []
        self.submissions = 0
        self.is_alive = True
        self.is_closed = False
        self.looks = 0

    @property
    def port(self) -> FakeLoopThread:
        return self

    def flag(self) -> HandFlag:
        return HandFlag()

    def alive(self) -> bool:
        self.looks += 1
        return self.is_alive

    def submit(self, callback: Callable[[], object]) -> None:
        if self.is_closed:
            raise LoopGone("the event loop is closed")
        self.submitted.append(callback)
        self.submissions += 1

    def turn(self) -> int:
        """Run what was submitted so far; return how many that were."""
        submitted, self.submitted = self.submitted, []
        for callback in submitted:
            callback()
        return len(submitted)


class ScriptedGate:
    """A gate in a test of one thread: whenever somebody waits at it, the next step of the script happens.

    If that does not open the gate, the wait has timed out.

    Attributes:
        opened: how often somebody opened it, or tried to although it was open.
        waits: the time-outs of those who waited.
    """

    def __init__(self, *script: Callable[[], object]) -> None:
        self.script = list(script)
        self.open = False
        self.opened = 0
        self.waits: list[float] = []

    def release(self) -> None:
        self.opened += 1
        if self.open:
            raise RuntimeError("release unlocked lock")
        self.open = True

    def acquire(self, blocking: bool, timeout: float, /) -> bool:
        self.waits.append(timeout)
        if not self.open and self.script:
            self.script.pop(0)()
        was_open, self.open = self.open, False
        return was_open


# -- threads that run one at a time, in an order that a seed determines


class Hang(BaseException):
    """All actors wait, each for another. No `Exception`, lest what is tested handles it."""


class Actor:
    """A thread that runs when it has the baton."""

    def __init__(self, name: str, function: Callable[[], object]) -> None:
        self.name = name
        self.function = function
        self.baton = threading.Semaphore(0)
        self.waits_for: Callable[[], object] | None = None
        self.over = False
        self.error: BaseException | None = None


class Scheduler:
    """Runs functions in threads of which one runs at a time, and chooses which whenever one of them pauses.

    They pause at the locks that `lock` makes, wherever else `point` is called, and in `wait`. The same
    seed leads to the same order. If all wait, they hang, and `run` raises.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._actors: list[Actor] = []
        self._current: Actor | None = None
        self._all_over = threading.Event()
        self._hang: Hang | None = None

    def run(self, **functions: Callable[[], object]) -> None:
        """Run the functions to their ends; raise what the first of them raised."""
        self._actors = [Actor(name, function) for name, function in functions.items()]
        for actor in self._actors:
            threading.Thread(target=self._run, args=(actor,), name=actor.name, daemon=True).start()
        self._pass_on()
        assert self._all_over.wait(PATIENCE), f"they run on: {[a.name for a in self._actors if not a.over]}"
        if self._hang is not None:
            raise self._hang
        for actor in self._actors:
            if actor.error is not None:
                raise actor.error

    def point(self) -> None:
        """Let another one run, maybe. Does nothing outside of `run`."""
        self.wait(lambda: True)

    def wait(self, condition: Callable[[], object]) -> None:
        """Let others run until the condition holds."""
        actor = self._current
        if actor is None:
            assert condition(), "this would wait for ever"
            return
        actor.waits_for = condition
        self._pass_on()
        actor.baton.acquire()
        actor.waits_for = None
        if self._hang is not None:
            raise self._hang
        self._current = actor

    def _run(self, actor: Actor) -> None:
        actor.baton.acquire()
        if self._hang is None:
            self._current = actor
            try:
                actor.function()
            except BaseException as error:
                actor.error = error
        actor.over = True
        self._pass_on()

    def _pass_on(self) -> None:
        self._current = None
        actors = [actor for actor in self._actors if not actor.over]
        ready = [actor for actor in actors if actor.waits_for is None or actor.waits_for()]
        if not actors:
            self._all_over.set()
        elif self._hang is None and ready:
            self.random.choice(ready).baton.release()
        else:
            if self._hang is None:
                self._hang = Hang(f"all wait: {[actor.name for actor in actors]}")
            actors[0].baton.release()  # one after the other comes to its end

    def lock(self) -> ScheduledLock:
        """A lock whose users pause before and after they have it."""
        return ScheduledLock(self)


class ScheduledLock:
    """A lock among the threads of a `Scheduler`.

    Attributes:
        expires: whether a wait with a time-out may end before the lock is free.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._locked = False
        self.expires: Callable[[], object] = lambda: False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._scheduler.wait(lambda: not self._locked or (timeout >= 0 and self.expires()))
        if self._locked:
            return False
        self._locked = True
        return True

    def release(self) -> None:
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False
        self._scheduler.point()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()
