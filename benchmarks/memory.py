"""Peak memory of long bodies, the same in both directions but for who transfers them.

Each contender is measured in a process of its own, from `/proc`: the greatest resident size during the
transfer less the resident size before it, after a small transfer has warmed everything up. Every piece is
made afresh, as an app that reads a file makes them; otherwise a queue without a bound would hold a
thousand references to one piece and look innocent.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bodies import MIB
from benchmarks.contenders import BRIDGE
from benchmarks.measure import ROOT, Case, Progress, Result, Series, Settings, Slice, progress, shuffled

CASES = ("down", "down, slow reader", "up", "up, slow reader")
SIZE = 200
"""MiB of a transfer."""
WARM_UP = 2
"""MiB of the transfer before it."""
READER_PAUSE = 0.01
"""Seconds that a slow reader rests after each MiB: at most 100 MiB/s."""
CHILD_TIMEOUT = 120.0


@dataclass(frozen=True)
class Scenario:
    """The transfers of one direction."""

    name: str
    module: str
    """What a child process runs; it calls `child`."""
    contenders: Callable[[], Sequence[str]]
    loop: Callable[[Settings], str]
    smaller: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """MiB for contenders, in cases, that would take minutes."""


def measure(scenario: Scenario, settings: Settings) -> Result:
    """Peak memory of each contender."""
    loop = scenario.loop(settings)
    result = Result(
        scenario.name,
        f"Peak memory above idle during {SIZE} MiB in 64 KiB pieces ({loop})",
        "MiB",
        reference=None,
        higher_is_better=False,
    )
    names = list(scenario.contenders())
    if settings.smoke:
        names = [name for name in names if name in (BRIDGE, "a2wsgi")]
    rounds = settings.rounds_or(1)
    said = Progress(scenario.name, rounds)
    cases = CASES[:3:2] if settings.smoke else CASES
    result.cases = [Case(name, {contender: Series() for contender in names}) for name in cases]
    for number in range(rounds):
        for case in result.cases:
            for name in shuffled(names, number):
                size = 2 if settings.smoke else scenario.smaller.get((name, case.name), SIZE)
                if not settings.smoke and size != SIZE:
                    case.series[name].note = f"{size} MiB only"
                case.series[name].add(_in_child(scenario.module, name, case.name, size, loop))
            progress(f"{scenario.name}: {case.name} done")
        said.round_done(number)
    return result


def _in_child(module: str, contender: str, case: str, size: int, loop: str) -> Slice:
    command = [sys.executable, "-m", module, contender, case, str(size), loop]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CHILD_TIMEOUT, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired as exc:
        return Slice(None, failures=1, failure=str(exc))
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Slice(None, failures=1, failure=lines[-1] if lines else f"exit {done.returncode}")
    answer = json.loads(done.stdout)
    if answer["peak"] is None:
        return Slice(None, answers=1)
    return Slice(answer["peak"] / MIB, answers=1)


# -- in the child process


@dataclass(frozen=True)
class Order:
    """What a child is asked to measure."""

    contender: str
    case: str
    size: int
    loop: str

    @property
    def down(self) -> bool:
        return self.case.startswith("down")

    @property
    def pause(self) -> float:
        """Seconds that the reader rests after each MiB."""
        return READER_PAUSE if "slow" in self.case else 0.0


class Peak:
    """The greatest resident size of this process since `reset`, above the size at that moment."""

    def __init__(self) -> None:
        self._before: int | None = None

    def reset(self) -> None:
        gc.collect()
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")
        except OSError:
            self._before = None

    @property
    def size(self) -> int | None:
        """In bytes; `None` where the system does not tell."""
        return None if self._before is None else max(0, _status("VmHWM") - self._before)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def child(contenders: Sequence[str], transfer: Callable[[Order, Peak], Any]) -> None:
    """The main program of a child: `transfer` makes the transfers and resets the peak before the last."""
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=contenders)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("size", type=int)
    parser.add_argument("loop")
    arguments = parser.parse_args()
    order = Order(arguments.contender, arguments.case, arguments.size, arguments.loop)
    peak = Peak()
    transfer(order, peak)
    print(json.dumps({"peak": peak.size}))
