"""Rounds of small slices, one contender after the other, and what is made of their figures.

A machine's speed drifts, and other work on it comes and goes. So no contender is measured in one
piece: each round gives every contender one short slice, in an order shuffled anew (from a fixed seed),
and ratios are taken within a round, where both sides saw the same machine. Reported are medians over
rounds: of the figures, and of the ratios.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
"""The folder that holds this package; child processes run there, to find it too."""


@dataclass
class Series:
    """The figures of one contender in one case, a figure a round; `None` where a round gave none."""

    values: list[float | None] = field(default_factory=list)
    answers: int = 0
    failures: int = 0
    failure: str = ""
    """What the first failure was."""
    note: str = ""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds an answer, where they were taken."""

    @property
    def figures(self) -> list[float]:
        return [value for value in self.values if value is not None]

    @property
    def median(self) -> float | None:
        return statistics.median(self.figures) if self.figures else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The first and the third quartile."""
        if len(self.figures) < 2:
            return None
        low, _, high = statistics.quantiles(self.figures, n=4, method="inclusive")
        return low, high

    def ratio_to(self, other: Series) -> float | None:
        """The median over rounds of own figure / other's figure."""
        ratios = [
            mine / theirs
            for mine, theirs in zip(self.values, other.values, strict=False)
            if mine is not None and theirs
        ]
        return statistics.median(ratios) if ratios else None

    def add(self, slice_: Slice) -> None:
        self.values.append(slice_.value)
        self.answers += slice_.answers
        self.failures += slice_.failures
        self.failure = self.failure or slice_.failure
        if slice_.cpu is not None:
            self.cpu.append(slice_.cpu)


@dataclass
class Slice:
    """What one slice gave."""

    value: float | None
    answers: int = 0
    failures: int = 0
    failure: str = ""
    cpu: float | None = None
    """CPU seconds of this process an answer."""


@dataclass
class Case:
    """One line of questions within a scenario, such as one concurrency."""

    name: str
    series: dict[str, Series] = field(default_factory=dict)
    """By contender."""
    unit: str | None = None
    """Where it is not the result's."""
    higher_is_better: bool | None = None
    """Where it is not as in the rest of the result."""


@dataclass
class Result:
    """What a scenario gave."""

    name: str
    title: str
    unit: str
    reference: str | None
    """The contender that the table relates all others to; `None`: ratios would say nothing."""
    higher_is_better: bool = True
    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a reader of the tables has to know."""
    labels: dict[str, str] = field(default_factory=dict)

    def unit_of(self, case: Case) -> str:
        return self.unit if case.unit is None else case.unit

    def ranked(self, case: Case) -> list[tuple[str, Series]]:
        """The contenders of a case, best median first; those without any figure last."""
        higher = self.higher_is_better if case.higher_is_better is None else case.higher_is_better

        def rank(item: tuple[str, Series]) -> tuple[bool, float]:
            median = item[1].median
            if median is None:
                return True, 0.0
            return False, -median if higher else median

        return sorted(case.series.items(), key=rank)

    def case(self, name: str) -> Case | None:
        return next((case for case in self.cases if case.name == name), None)


@dataclass(frozen=True)
class Settings:
    """How long and how often; made from the command line."""

    rounds: int | None = None
    """Rounds of each scenario; `None`: the scenario's own number."""
    smoke: bool = False
    """Tiny slices, only to see that everything runs; the figures mean nothing."""
    loop: str = "uvloop"

    def rounds_or(self, usual: int) -> int:
        if self.rounds is not None:
            return self.rounds
        return 1 if self.smoke else usual


def progress(text: str) -> None:
    """A line about what goes on, to stderr so that stdout holds the report alone."""
    print(f"  {text}", file=sys.stderr, flush=True)


def shuffled(items: Sequence[T], round_number: int) -> list[T]:
    """The items in this round's order."""
    order = list(items)
    random.Random(round_number).shuffle(order)
    return order


class Progress:
    """Says every few seconds how far the rounds are."""

    def __init__(self, name: str, rounds: int, every: float = 5.0) -> None:
        self._name = name
        self._rounds = rounds
        self._every = every
        self._begun = self._said = time.monotonic()
        progress(f"{name}: {rounds} round{'s' * (rounds != 1)}")

    def round_done(self, number: int) -> None:
        now = time.monotonic()
        if now - self._said >= self._every:
            self._said = now
            progress(f"{self._name}: round {number + 1} of {self._rounds}, {now - self._begun:.0f} s")


STUCK = 20.0
"""Seconds after which a request in process counts as never answered."""

Request = Callable[[], Awaitable[None]]


async def closed_loop(request: Request, concurrency: int, seconds: float) -> Slice:
    """Keep `concurrency` requests going for about `seconds`, each client asking again when answered.

    `request` makes one request, checks the answer and raises if it is wrong. Only right answers count.
    """
    answers = failures = 0
    failure = ""
    clock = time.perf_counter
    cpu = time.process_time()
    begun = clock()
    deadline = begun + seconds

    async def client() -> None:
        nonlocal answers, failures, failure
        right = 0
        while True:
            try:
                await request()
                right += 1
            except Exception as exc:
                failures += 1
                failure = failure or f"{type(exc).__name__}: {exc}"
            if clock() >= deadline:
                break
        answers += right

    try:
        await asyncio.wait_for(asyncio.gather(*(client() for _ in range(concurrency))), seconds + STUCK)
    except asyncio.TimeoutError:
        return Slice(None, answers, failures + 1, f"no answer within {STUCK:g} s")
    value = answers / (clock() - begun)
    cpu = time.process_time() - cpu
    return Slice(value, answers, failures, failure, cpu / answers if answers else None)


def settle() -> None:
    """Clear up after the last slice, so that its garbage is not charged to the next."""
    gc.collect()


def run(main: Coroutine[Any, Any, T], loop_name: str) -> T:
    """Run a coroutine in a new loop of the kind asked for."""
    loop = new_loop(loop_name)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def new_loop(loop_name: str) -> asyncio.AbstractEventLoop:
    if loop_name == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()
