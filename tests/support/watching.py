"""Looking at servers under test from outside, so that a busy machine makes a test late, not wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from support.served import RunningServer, wait_until

T = TypeVar("T")

# How long (seconds) to wait for what has to come. It costs nothing when all is well.
PATIENCE = 20.0
# Between two looks (seconds): each may be a request, which costs both sides more than a look at a variable.
_PAUSE = 0.02


def until(look: Callable[[], T], condition: Callable[[T], bool], what: str, timeout: float = PATIENCE) -> T:
    """Look again and again until what is seen meets a condition; return it.

    Raises:
        AssertionError: it did not within `timeout` seconds; the message says `what` was awaited, and what
            was seen last.
    """
    deadline = time.monotonic() + timeout
    while not condition(seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what}; last seen: {seen}")
        time.sleep(_PAUSE)
    return seen


def at_leisure(look: Callable[[], T]) -> Callable[[], T]:
    """The same look, with a pause before each, for those who would look without one."""

    def after_a_pause() -> T:
        time.sleep(_PAUSE)
        return look()

    return after_a_pause


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal (proc(5), SigCgt); not if there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return bool(caught >> (number - 1) & 1)


def terminate(running: RunningServer, workers: Iterable[int] = ()) -> None:
    """SIGTERM to the started process, once it and its workers have a handler for it.

    Hypercorn has a worker, which answers requests, before it handles signals; workers of uWSGI handle them
    only after their hooks for a new process.
    """
    for pid in (running.process.pid, *workers):
        wait_until(partial(_catches, pid, signal.SIGTERM), PATIENCE, f"process {pid} handles SIGTERM")
    running.terminate()


def processor_seconds(pids: Iterable[int]) -> float:
    """What processes have used of the machine's processors until now, which load does not change."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
