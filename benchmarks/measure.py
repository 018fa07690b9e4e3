"""Rounds of small slices, one contender after the other, and what is made of their figures.

A machine's speed drifts, and other work on it comes and goes. So no contender is measured in one
piece: each round gives every contender one short slice, in an order shuffled anew (from a fixed seed),
and ratios are taken within a round, where both sides saw the same machine. Reported are medians over
rounds: of the figures, and of the ratios.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks import contenders
from benchmarks.contenders import BRIDGE

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
    """The contender that the table relates all others to, each to the one on its own loop; `None`: ratios
    would say nothing."""
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

    def ratio(self, case: Case, name: str) -> float | None:
        """A contender's figure by that of the reference, if both were measured."""
        return None if self.reference is None else ratio(case, name, self.reference)

    def own_ratio(self, case: Case, name: str) -> float | None:
        """Bridge's figure by that of a contender."""
        own = contenders.same_loop(name, BRIDGE, case.series)
        series = case.series.get(own)
        return None if series is None else series.ratio_to(case.series[name])

    def label(self, name: str) -> str:
        """What the tables of this result call a contender."""
        return self.labels.get(name) or contenders.label(name)

    @property
    def by_reference(self) -> str:
        """The head of the column of ratios."""
        if self.reference is None:
            return ""
        names = {name for case in self.cases for name in case.series}
        if any(name != self.reference and contenders.split(name)[0] == self.reference for name in names):
            return f"÷ {contenders.brief(self.reference)}, same loop"
        return f"÷ {self.label(self.reference)}"


def ratio(case: Case, name: str, reference: str) -> float | None:
    """The median ratio of a contender to the reference, on the same loop if that was measured."""
    series = case.series.get(name)
    other = case.series.get(contenders.same_loop(name, reference, case.series))
    return None if series is None or other is None else series.ratio_to(other)


@dataclass(frozen=True)
class Settings:
    """How long and how often; made from the command line."""

    rounds: int | None = None
    """Rounds of each scenario; `None`: the scenario's own number."""
    smoke: bool = False
    """Tiny slices, only to see that everything runs; the figures mean nothing."""
    loop: str = "uvloop"

    @property
    def loops(self) -> tuple[str, ...]:
        """The loops of a scenario that is measured on several: the default first."""
        return ("asyncio",) if self.loop == "asyncio" else ("asyncio", self.loop)

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
