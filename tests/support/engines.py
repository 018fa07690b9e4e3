"""What the tests of the engines share: jobs that tell what becomes of them, a clock that stands still.

Nothing here sleeps to let something happen. Where an engine gives no event to wait for (a thread has
ended, a worker has gone idle), `eventually` asks again and again, with a bound.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
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
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
