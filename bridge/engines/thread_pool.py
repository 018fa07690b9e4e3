"""A bounded pool of daemon threads for blocking calls beside an event loop.

Jobs wait in one queue, first come, first served. A worker is in one of three states, and every
change is made under the pool's lock:

    idle       waits at its gate; the list of idle workers is a stack, so the warmest goes first
    busy       has a slot: there are at most `threads` of these
    lent       works on, but has lent its slot to others, since it waits for a slow client or has
               been streaming for a while; there are at most `streams` of these

What is safe to rely on:

- A job that was cancelled before it started never starts; otherwise exactly one of `run` and
  `refuse` is called, once.
- At most one worker is being woken at a time; a woken worker wakes the next if there is work left.
  Ten threads woken at once would queue for the GIL, and the event loop behind them.
- While the workers burn CPU (see `load`), no further one is woken unless the queue stands still:
  more runnable threads would slow the event loop down and finish nothing earlier. The *governor*,
  a thread that exists only while jobs wait, watches for that. It also expires jobs
  (`queue_timeout`) and finds long streams.
- Threads are started on demand, never at import or construction; they are daemons, so none holds
  up the exit of the interpreter. A forked child starts with an empty pool.
- A pool that is garbage collected lets its idle threads end.
"""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ..exceptions import PoolClosed, PoolError, PoolFull, QueueTimeout, UsageError
from .gates import native, threads_are_greenlets
from .load import WINDOW, LoadMeter, thread_cpu

logger = logging.getLogger("bridge.pool")

# Workers are threads of the operating system, whatever gevent has made of `threading`.
allocate_lock: Callable[[], Any] = native("allocate_lock")

# What users of Starlette and FastAPI know: enough to hide waits for databases, few enough that
# their stacks and connections do not matter.
DEFAULT_THREADS = 40
# A stream or slow upload costs a thread that mostly sleeps (some 50 KiB of touched stack); this
# bounds them at a few ten MiB.
DEFAULT_STREAMS = 512
# A response that has been streaming for this long (seconds) lends its slot when others need it.
STREAMING_LONG = 0.5
# The queue stands still if no job was taken from it for this long (seconds), or for as many times as
# long as jobs took lately: see `_wake_if_needed`.
_STANDSTILL = 0.02
_USUAL_RUNS = 3
# However many workers burn CPU and however long their jobs take: a job that nobody has taken for this
# long (seconds) while there is a free slot gets one.
_LONGEST_STANDSTILL = 1.0
# The governor's looks are this far apart at first, and at most, in seconds.
_FIRST_LOOK = 0.002
_SLOWEST_LOOK = 0.02
# The governor's thread ends after this long (seconds) without anything to watch.
_GOVERNOR_REST = 10.0
# Closing waits this long (seconds) for running jobs unless it is told otherwise.
CLOSE_TIMEOUT = 10.0
# After a job that burned CPU for at least as long, a worker pauses for a moment; both in seconds. The
# pause is 1 % of the job, and is when a waiting event loop gets its turn.
_LONG_RUN = 0.005
_BREATH = 0.00005
# Weight of the newest job in the running average of waits.
_AVERAGE = 0.05
# The governor acts if at least this share of the jobs burn CPU, by a running average in which the
# newest measured job has this weight; of short jobs, one in so many is measured.
_MOST_BURN = 0.5
_BURNERS_AVERAGE = 0.2
_SAMPLE = 8


class Job:
    """Something to run in a worker. Subclass it; a job is used once."""

    __slots__ = ("enqueued", "state")

    WAITING, RUNNING, CANCELLED, DONE = range(4)

    def __init__(self) -> None:
        self.state = Job.WAITING
        self.enqueued = 0.0

    def run(self, worker: Worker) -> None:
        """Do the work, in the worker's thread. What it raises is logged and dropped."""
        raise NotImplementedError

    def refuse(self, error: PoolError) -> None:
        """The pool will never run this job. Called once, from any thread; must not block."""
        raise NotImplementedError

    def describe(self) -> str:
        """What this job is, for `ThreadPool.dump()`. Any thread may call it while the job runs."""
        return type(self).__name__


class PoolStats(NamedTuple):
    """A pool at one moment."""

    threads: int
    """Threads alive, in whatever state."""
    busy: int
    """Workers that hold one of the slots."""
    streaming: int
    """Workers that have lent their slot: slow clients and long streams."""
    idle: int
    """Workers that wait for a job."""
    queued: int
    """Jobs that wait for a worker."""
    started: int
    """Jobs taken from the queue since the pool was made."""
    completed: int
    """Jobs that have ended."""
    rejected: int
    """Jobs that were refused: queue full, waited too long, or pool closed."""
    queue_wait: float
    """Running average of the time that jobs waited for a worker, in seconds."""
    oldest_wait: float
    """How long the oldest waiting job has waited, in seconds; 0 if none waits."""


class Worker:
    """One thread of a pool. A job gets the one that runs it, to give up its slot while it waits."""

    __slots__ = (
        "_core",
        "_gate",
        "cpu_at_start",
        "ident",
        "job",
        "lent",
        "name",
        "since",
        "streaming_since",
        "woken",
    )

    def __init__(self, core: _Core, name: str) -> None:
        self._core = core
        self._gate = allocate_lock()  # locked: the thread waits
        self._gate.acquire()
        self.name = name
        self.ident = 0
        self.job: Job | None = None
        self.since = 0.0  # when the job began
        self.lent = False
        self.streaming_since = 0.0  # 0: the job is not streaming
        self.woken = False
        self.cpu_at_start: float | None = None  # None: not measured

    def lend_slot(self) -> None:
        """Let another worker have this one's slot for the rest of the job, if the bound on streams allows.

        To be called by the job before it waits for a client. Costs nothing if it was done already.
        """
        if not self.lent:
            self._core.lend(self)

    def note_streaming(self) -> None:
        """The job sends a response in pieces; should that last, others may have its slot."""
        if not self.streaming_since:
            self.streaming_since = time.monotonic()


class _Core:
    """What workers share. It does not know the `ThreadPool`, so that can be collected while workers live."""

    def __init__(
        self, threads: int, streams: int, queue: int | None, queue_timeout: float | None, name: str
    ) -> None:
        self.threads = threads
        self.streams = streams
        self.queue_bound = queue
        self.queue_timeout = queue_timeout
        self.name = name
        self.closed = False
        self.reset()

    def after_fork(self) -> None:
        """Begin anew in a forked child, where the threads do not exist and the lock may be held."""
        for job in self.jobs:
            # The parent's. Their tasks may end here as well, and must find nothing to cancel.
            job.state = Job.CANCELLED
        self.reset()

    def reset(self) -> None:
        """Begin without threads and jobs. A pool that was closed stays closed."""
        self.lock = allocate_lock()
        self.jobs: deque[Job] = deque()
        self.waiting = 0  # jobs in the queue that are not cancelled
        self.idle: list[Worker] = []
        self.workers: set[Worker] = set()
        self.busy = 0
        self.lent = 0
        self.waking = False
        self.meter = LoadMeter()
        self.last_taken = 0.0
        self.hold_until = 0.0  # no further worker is woken before, as those that are awake burn CPU
        self.last_taker: Worker | None = None
        self.average_run = 0.0
        self.burners = 1.0  # share of the jobs lately that burned CPU; the worst is assumed at first
        self.numbered = 0
        self.started = self.completed = self.rejected = 0
        self.average_wait = 0.0
        self.governor_alive = False
        self.governor_rests = False
        self.governor_gate = allocate_lock()
        self.governor_gate.acquire()
        self.quiet: list[Any] = []  # locks to release once nothing runs and nothing waits

    # -- jobs come and go

    def submit(self, job: Job) -> None:
        now = job.enqueued = time.monotonic()
        worker = None
        with self.lock:
            if self.closed:
                job.state = Job.CANCELLED  # so that it is not taken for a waiting one later
                raise PoolClosed("the thread pool is closed")
            if self.queue_bound is not None and self._bound_is_reached():
                job.state = Job.CANCELLED
                self.rejected += 1
                raise PoolFull(
                    f"all threads ({self.threads}) are busy, and as many jobs wait as may ({self.waiting})"
                )
            if not self.waiting:
                self.last_taken = now  # the queue begins to stand still now, not when it last moved
            self.jobs.append(job)
            self.waiting += 1
            if not self.waking and now >= self.hold_until:
                worker = self._governed_wake(now, submitting=True) if self.busy else self._wake()
        if worker is not None:
            self._start(worker)

    def _bound_is_reached(self) -> bool:
        # Jobs for which there is a free slot do not wait for one; they are being woken for. Nor does
        # the job for which a slot has been taken, by a worker that is still waking up.
        excess = self.waiting - (self.threads - self.busy) - self.waking
        return self.queue_bound is not None and excess >= self.queue_bound

    def cancel(self, job: Job) -> bool:
        # Looked at before the lock is taken, since this may be a task that the garbage collector
        # ends in a thread that holds the lock. (The task of a waiting job is no garbage.)
        if job.state != Job.WAITING:
            return False
        if not job.enqueued:
            return True  # was never submitted
        swept = None
        with self.lock:
            if job.state != Job.WAITING:
                return False
            job.state = Job.CANCELLED
            self.waiting -= 1
            # The queue keeps the cancelled until their turn; when they are most of it, sweep.
            if len(self.jobs) > 64 and len(self.jobs) > 2 * self.waiting:
                swept = self.jobs
                self.jobs = deque(waiting for waiting in swept if waiting.state == Job.WAITING)
            self._maybe_quiet()
        del swept  # not under the lock: what ends with these jobs may run any code
        return True

    def _refuse(self, jobs: list[Job], error: type[PoolError], reason: str) -> None:
        """Tell jobs that they will not run, without the lock; one that raises costs the others nothing."""
        for job in jobs:
            try:
                job.refuse(error(reason))
            except BaseException:
                logger.exception("a job that the thread pool %r refused raised", self.name)

    def _pop(self) -> Job | None:
        """The next job, with the lock held."""
        while self.jobs:
            job = self.jobs.popleft()
            if job.state == Job.WAITING:
                self.waiting -= 1
                return job
        return None

    # -- waking

    def _wake(self) -> Worker | None:
        """Choose a worker to wake and give it a slot, with the lock held; `None` if none may be woken."""
        if self.waking or self.busy >= self.threads:
            if self.busy >= self.threads:
                self._arm_governor()
            return None
        self.busy += 1
        self.waking = True
        if self.idle:
            worker = self.idle.pop()
        else:
            self.numbered += 1
            worker = Worker(self, f"{self.name}-{self.numbered}")
            self.workers.add(worker)
        worker.woken = True
        return worker

    def _governed_wake(self, now: float, *, submitting: bool = False) -> Worker | None:
        """As `_wake`, but not while the workers that are awake burn CPU."""
        if self._burning(now, submitting=submitting) and self._arm_governor():
            # Until the next reading, the answer would be the same.
            self.hold_until = now + WINDOW
            return None
        return self._wake()

    def _burning(self, now: float, *, submitting: bool = False) -> bool:
        """Whether the interpreter is saturated, and by jobs that burn CPU rather than wait.

        One job that computes for seconds saturates it too; as long as most of the others wait for
        something, they are better off with threads of their own.
        """
        return self.meter.burning(now, submitting=submitting) and self.burners >= _MOST_BURN

    def _start(self, worker: Worker) -> None:
        """Let a chosen worker go, without the lock: open its gate, or start its thread."""
        if worker.ident:
            worker._gate.release()
            return
        worker.ident = -1  # being started
        try:
            start_native_thread(self._work, worker)
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            refused: list[Job] = []
            with self.lock:
                self.workers.discard(worker)
                self.busy -= 1
                self.hold_until = 0.0
                self.waking = False
                if self.busy:
                    # A busy worker will take what waits, or the governor tries again.
                    if self.waiting:
                        self._arm_governor()
                else:
                    while (job := self._pop()) is not None:
                        job.state = Job.CANCELLED
                        refused.append(job)
                    self.rejected += len(refused)
                    self._maybe_quiet()
            self._refuse(refused, PoolError, f"no worker thread could be started: {error}")

    # -- a worker's life

    def _work(self, worker: Worker) -> None:
        worker.ident = threading.get_ident()
        _current.worker = worker
        job: Job | None = None
        while True:
            next_worker = None
            with self.lock:
                now = time.monotonic()
                if job is not None:
                    if worker.lent or worker.cpu_at_start is not None or worker not in self.workers:
                        if not self._may_go_on(worker, job, now):
                            return
                    else:  # the same, of most jobs
                        job.state = Job.DONE
                        worker.job = None
                        worker.streaming_since = 0.0
                        self.completed += 1
                if worker.woken:
                    worker.woken = False
                    self.waking = False
                one_too_many = False
                if job is not None and self.waiting:
                    self.average_run += (now - worker.since - self.average_run) * _AVERAGE
                    one_too_many = self.busy > 1 and self._is_one_too_many(worker, now)
                job = None if one_too_many else self._pop()
                if job is None:
                    self.busy -= 1
                    self.hold_until = 0.0  # who submits next has to look whether anybody is awake
                    if self.quiet:
                        self._maybe_quiet()
                    if self.closed or len(self.idle) + self.busy >= self.threads:
                        self.workers.discard(worker)
                        return
                    self.idle.append(worker)
                else:
                    job.state = Job.RUNNING
                    self.started += 1
                    self.last_taken = now
                    self.last_taker = worker
                    self.average_wait += (now - job.enqueued - self.average_wait) * _AVERAGE
                    worker.job = job
                    worker.since = now
                    # Sampled, since reading the clock costs a system call and most jobs are short.
                    worker.cpu_at_start = (
                        thread_cpu()
                        if self.meter.was_burning
                        and (not self.started % _SAMPLE or self.average_run > _LONG_RUN)
                        else None
                    )
                    if self.waiting and not self.waking and now >= self.hold_until:
                        next_worker = self._governed_wake(now)
            if job is None:
                worker._gate.acquire()
                if not worker.woken:
                    return  # dismissed
                continue
            if next_worker is not None:
                self._start(next_worker)
            try:
                job.run(worker)
            except BaseException:
                logger.exception("a job of the thread pool %r raised", self.name)
            if self.meter.was_burning and time.monotonic() - worker.since > _LONG_RUN:
                # Long jobs back to back would leave the event loop nothing but forced switches of the
                # GIL. This is the cheapest way to really let go of it.
                time.sleep(_BREATH)

    def _is_one_too_many(self, worker: Worker, now: float) -> bool:
        """Whether the queue moves without this worker, which has ended a job and only costs the others time.

        With the lock held, if there is more than one. Only workers that burn CPU are in each other's way;
        of these, one is enough as long as another one takes jobs.
        """
        return (
            self.last_taker is not worker
            and now - self.last_taken < self._standstill()
            and self._burning(now)
        )

    def _standstill(self) -> float:
        """How long the queue may rest before it stands still: longer than jobs usually take."""
        # Not longer without end: the average contains streams, and jobs that were stuck.
        return min(max(_STANDSTILL, _USUAL_RUNS * self.average_run), _LONGEST_STANDSTILL)

    def _may_go_on(self, worker: Worker, job: Job, now: float) -> bool:
        """Account for the end of a job, with the lock held; return whether the worker may take another."""
        if worker not in self.workers:
            return False  # the child of a fork that the job made: the pool began anew, without this one
        job.state = Job.DONE
        worker.job = None
        worker.streaming_since = 0.0
        if worker.cpu_at_start is not None:
            # Of the time it took, a job that burns CPU had its share, as one of those that are busy.
            used = (thread_cpu() - worker.cpu_at_start) * self.busy
            self.burners += ((used >= (now - worker.since) / 2) - self.burners) * _BURNERS_AVERAGE
        self.completed += 1
        if worker.lent:
            worker.lent = False
            self.lent -= 1
            if self.busy >= self.threads:
                # Others have the slots: this thread is one too many.
                self._maybe_quiet()
                self.workers.discard(worker)
                return False
            self.busy += 1
        return True

    # -- slots

    def lend(self, worker: Worker) -> None:
        with self.lock:
            if worker.lent or self.lent >= self.streams or worker not in self.workers:
                return
            self._lend(worker)
            next_worker = self._wake() if self.waiting else None
        if next_worker is not None:
            self._start(next_worker)

    def _lend(self, worker: Worker) -> None:
        worker.lent = True
        self.lent += 1
        self.busy -= 1
        self.hold_until = 0.0

    # -- the governor

    def _arm_governor(self) -> bool:
        """See that the governor watches the queue, with the lock held; return whether it does."""
        if self.governor_rests:
            self.governor_rests = False
            self.governor_gate.release()
        elif not self.governor_alive:
            self.governor_alive = True
            try:
                start_native_thread(self._govern, None, f"{self.name}-governor")
            except RuntimeError:
                # Without it, jobs still run in turn; only the refinements are lost.
                self.governor_alive = False
        return self.governor_alive

    def _govern(self, _: None) -> None:
        pause = _FIRST_LOOK
        while True:
            time.sleep(pause)
            pause = min(2 * pause, _SLOWEST_LOOK)
            if not self._look():
                if not self._rest():
                    return
                pause = _FIRST_LOOK

    def _look(self) -> bool:
        """Do what is due; return whether there is anything left to watch."""
        # A function of its own, so that the governor holds no job while it sleeps.
        now = time.monotonic()
        expired: list[Job] = []
        worker = None
        with self.lock:
            if self.queue_timeout is not None:
                expired = self._expire(now - self.queue_timeout)
            watches = self.waiting > 0
            if watches:
                self._lend_long_streams(now)
                worker = self._wake_if_needed(now)
            else:
                self.governor_rests = not self.closed
                self.hold_until = 0.0  # without it, who holds back a worker has to arm it again
        self._refuse(expired, QueueTimeout, f"no thread was free within {self.queue_timeout} seconds")
        if worker is not None:
            self._start(worker)
        return watches

    def _rest(self) -> bool:
        """Wait until there is something to watch; return whether there is."""
        if self.closed:
            return False
        if self.governor_gate.acquire(timeout=_GOVERNOR_REST):
            return not self.closed
        with self.lock:
            if self.governor_rests:
                self.governor_rests = False
                self.governor_alive = False
                return False
        # Armed while the lock was being taken: the gate is open.
        self.governor_gate.acquire()
        return True

    def _wake_if_needed(self, now: float) -> Worker | None:
        """Wake a worker if the awake ones are blocked, or if the queue stands still all the same.

        Each worker that is added to burning ones makes the event loop's waits longer, and helps only
        if the others are stuck on something long. So each has to be justified by a standstill twice
        as long as the last: 20, 40, 80 ms, … up to a second, so that nothing waits for ever.
        """
        if self.waking:
            return None
        patience = 0.0
        if self.busy:
            patience = min(self._standstill() * (1 << min(self.busy - 1, 10)), _LONGEST_STANDSTILL)
        if now - self.last_taken < patience and self._burning(now):
            return None
        return self._wake() if self.busy < self.threads else None

    def _expire(self, deadline: float) -> list[Job]:
        """Take out the jobs that were enqueued before `deadline`, with the lock held."""
        expired = []
        while self.jobs and (self.jobs[0].enqueued <= deadline or self.jobs[0].state != Job.WAITING):
            job = self.jobs.popleft()
            if job.state == Job.WAITING:
                job.state = Job.CANCELLED
                self.waiting -= 1
                self.rejected += 1
                expired.append(job)
        return expired

    def _lend_long_streams(self, now: float) -> None:
        for worker in self.workers:
            if self.busy < self.threads or self.lent >= self.streams:
                return
            if (
                worker.streaming_since
                and not worker.lent
                and worker.job is not None
                and now - worker.streaming_since > STREAMING_LONG
            ):
                self._lend(worker)

    # -- looking and ending

    def _maybe_quiet(self) -> None:
        """Tell those who drain the pool, with the lock held, if nothing runs and nothing waits."""
        if self.quiet and not self.waiting and not self.busy and not self.lent:
            for gate in self.quiet:
                gate.release()
            self.quiet.clear()

    def wait_until_quiet(self, timeout: float | None) -> bool:
        gate = allocate_lock()
        gate.acquire()
        with self.lock:
            if not self.waiting and not self.busy and not self.lent:
                return True
            self.quiet.append(gate)
        if gate.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            return True
        with self.lock:
            if gate in self.quiet:
                self.quiet.remove(gate)
                return False
        return True

    def dismiss_idle(self) -> None:
        """Let the idle threads end."""
        with self.lock:
            idle, self.idle = self.idle, []
            self.workers.difference_update(idle)
        for worker in idle:
            worker._gate.release()  # not woken, so the thread ends

    def close(self) -> None:
        """Refuse what waits and what will come, and let idle threads end. Does not wait."""
        refused = []
        with self.lock:
            self.closed = True
            while (job := self._pop()) is not None:
                job.state = Job.CANCELLED
                refused.append(job)
            self.rejected += len(refused)
            self._maybe_quiet()
            if self.governor_rests:
                self.governor_rests = False
                self.governor_gate.release()
        self._refuse(refused, PoolClosed, "the thread pool was closed while the request waited")
        self.dismiss_idle()

    def abandon(self) -> None:
        """Close the pool that nobody refers to any more.

        The garbage collector calls this, in any thread at any point, so perhaps in one that holds the
        lock; then another thread has to wait for that.
        """
        self.closed = True
        if self.lock.acquire(blocking=False):
            self.lock.release()
            self.close()
        else:
            try:
                start_new_thread(self.close, ())
            except RuntimeError:
                pass  # workers that are idle already stay, as daemons


class _Current(threading.local):
    worker: Worker | None = None


_current = _Current()


def current_worker() -> Worker | None:
    """The worker whose thread calls this; `None` in a thread that is none."""
    return _current.worker


def start_thread(target: Callable[[Any], object], argument: Any, name: str | None = None) -> None:
    """Start a daemon thread in an empty context (Python 3.14 may let it inherit the caller's)."""
    if name is None:
        name = argument.name
    if sys.version_info >= (3, 14):
        thread = threading.Thread(
            target=target, args=(argument,), name=name, daemon=True, context=contextvars.Context()
        )
    else:
        thread = threading.Thread(target=target, args=(argument,), name=name, daemon=True)
    thread.start()


def start_native_thread(target: Callable[[Any], object], argument: Any, name: str | None = None) -> None:
    """The same, but a thread of the operating system also under gevent."""
    if threads_are_greenlets():
        native("start_new_thread")(target, (argument,))
    else:
        start_thread(target, argument, name)


_cores: weakref.WeakSet[_Core] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for core in list(_cores):
        core.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class ThreadPool:
    """A bounded pool of daemon threads that runs blocking WSGI calls beside the event loop.

    Share one among adapters to bound them together:

        pool = ThreadPool(20)
        shop, blog = WSGIToASGI(shop_app, pool=pool), WSGIToASGI(blog_app, pool=pool)

    Threads start when they are first needed. A worker that waits for a slow client, or has been
    streaming for longer than half a second while others wait, lends its slot, so a client's
    slowness does not starve the pool.

    Args:
        threads: how many jobs may run at a time, at least 1. Default 40.
        streams: how many further workers may wait for clients and stream beside them. `None`: no limit.
            `"auto"`: 512, but none beside a single thread, since an app that asks for one may
            not bear a second.
        queue: how many jobs may wait for a thread before more are refused (503). `None`: no limit.
        queue_timeout: how long a job may wait for a thread, in seconds, before it is refused (503).
            `None`: no limit.
        name: beginning of the threads' names.

    Raises:
        UsageError: a number is out of range.
    """

    def __init__(
        self,
        threads: int = DEFAULT_THREADS,
        *,
        streams: int | Literal["auto"] | None = "auto",
        queue: int | None = None,
        queue_timeout: float | None = None,
        name: str = "bridge",
    ) -> None:
        _require_number("threads", threads, at_least=1)
        if streams == "auto":
            streams = DEFAULT_STREAMS if threads > 1 else 0
        elif streams is not None:
            _require_number("streams", streams, at_least=0)
        if queue is not None:
            _require_number("queue", queue, at_least=0)
        if queue_timeout is not None:
            _require_seconds("queue_timeout", queue_timeout)
        self._core = _Core(threads, sys.maxsize if streams is None else streams, queue, queue_timeout, name)
        _cores.add(self._core)
        self._finalizer = weakref.finalize(self, self._core.abandon)
        self._finalizer.atexit = False  # at exit the threads are daemons; there is nothing to do

    @property
    def threads(self) -> int:
        """How many jobs may run at a time."""
        return self._core.threads

    @property
    def multithread(self) -> bool:
        """Whether more than one job may be running at a moment, streams among them."""
        return self._core.threads + self._core.streams > 1

    @property
    def saturated(self) -> bool:
        """Whether a job that is queued has to wait for another one's end. From any thread, without a lock."""
        core = self._core
        return core.waiting > core.threads - core.busy + core.waking

    def __contains__(self, worker: object) -> bool:
        """Whether a `Worker` is one of this pool's."""
        return isinstance(worker, Worker) and worker in self._core.workers

    def submit(self, job: Job) -> None:
        """Queue a job. Does not block; usually called on the event loop's thread.

        Raises:
            PoolFull: the queue is at its bound.
            PoolClosed: the pool was closed.
        """
        self._core.submit(job)

    def cancel(self, job: Job) -> bool:
        """Take a job back; return whether it will never run. `False`: it has started, or is over."""
        return self._core.cancel(job)

    def stats(self) -> PoolStats:
        """Counts of this moment. Cheap; any thread may call it."""
        core = self._core
        with core.lock:
            oldest = next((job.enqueued for job in core.jobs if job.state == Job.WAITING), None)
            return PoolStats(
                threads=len(core.workers),
                busy=core.busy,
                streaming=core.lent,
                idle=len(core.idle),
                queued=core.waiting,
                started=core.started,
                completed=core.completed,
                rejected=core.rejected,
                queue_wait=core.average_wait,
                oldest_wait=0.0 if oldest is None else max(0.0, time.monotonic() - oldest),
            )

    def dump(self, older_than: float = 1.0) -> str:
        """What the workers do that have been at one job for longer than `older_than` seconds.

        Returns:
            A paragraph a worker: its thread's name, the job, for how long, and the stack. Empty if
            there is none. Any thread may call it; it stops nothing.
        """
        now = time.monotonic()
        core = self._core
        # Without the lock, which whatever is stuck, or whatever a signal handler interrupts, may hold.
        found = []
        for worker in core.workers.copy():
            job = worker.job
            if job is not None and now - worker.since >= older_than:
                found.append((worker, job, now - worker.since))
        frames = sys._current_frames()
        paragraphs = []
        for worker, job, seconds in sorted(found, key=lambda item: -item[2]):
            lent = ", slot lent" if worker.lent else ""
            lines = [f"{worker.name}: {job.describe()}, for {seconds:.1f} s{lent}\n"]
            frame = frames.get(worker.ident)
            if frame is not None:
                lines += traceback.format_stack(frame)
            paragraphs.append("".join(lines))
            del frame  # it may be of this very function, if a worker asks
        del frames
        return "\n".join(paragraphs)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until no job runs or waits, then let the idle threads end. The pool stays usable.

        Blocks: do not call it on an event loop's thread.

        Args:
            timeout: the longest wait in seconds; `None` waits as long as it takes.

        Returns:
            Whether all jobs have ended.

        Raises:
            UsageError: the caller is one of the pool's own jobs, which would wait for itself.
        """
        ident = threading.get_ident()
        if any(worker.ident == ident and worker.job is not None for worker in self._core.workers.copy()):
            raise UsageError(
                "a job of the pool cannot wait for the pool to be drained: it would wait for itself"
            )
        quiet = self._core.wait_until_quiet(timeout)
        self._core.dismiss_idle()
        return quiet

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> bool:
        """Refuse new and waiting jobs for good, and wait for the running ones as `drain` does.

        Args:
            timeout: the longest wait in seconds, 10 by default, so that a stuck worker holds nobody up.

        Returns:
            Whether all jobs have ended.
        """
        self._core.close()
        return self.drain(timeout)

    def __enter__(self) -> ThreadPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        return (
            f"<ThreadPool {self._core.name!r}: {stats.busy} of {self.threads} threads busy, "
            f"{stats.streaming} streaming, {stats.queued} queued>"
        )


def _require_number(name: str, value: object, *, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UsageError(f"{name} must be a whole number of at least {at_least}; got {value!r}")


def _require_seconds(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
        raise UsageError(f"{name} must be more than 0 seconds, or None; got {value!r}")
