"""The ratios that bridge promises, and whether a run met them.

A budget relates bridge to another contender of the same case in the same run; only the memory budget
is absolute. A budget is a floor, not a goal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import contenders
from benchmarks.contenders import BRIDGE, CROSSING, FLOOR
from benchmarks.measure import Result

TIMES = "\u00d7"


@dataclass(frozen=True)
class Budget:
    """One promise: in `scenario`, `case`, bridge's figure divided by `reference`'s keeps to `bound`."""

    scenario: str
    case: str
    reference: str | None
    """The contender that bridge is divided by; `None`: bridge's figure itself is bounded."""
    bound: float
    at_most: bool = False
    """Whether the bound is the greatest value allowed rather than the least."""
    unit: str = ""
    """Of an absolute bound."""
    loop: str = ""
    """Which of several loops it is about; empty: the usual one."""

    @property
    def subject(self) -> str:
        """What it is about, in words."""
        return ", ".join(filter(None, (self.scenario, self.case, self.loop)))


@dataclass(frozen=True)
class Verdict:
    """What a run says of a budget."""

    budget: Budget
    value: float | None
    """`None`: not measured in this run."""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        if self.budget.at_most:
            return self.value <= self.budget.bound
        return self.value >= self.budget.bound

    @property
    def promise(self) -> str:
        """The budget in words."""
        budget = self.budget
        sign = "\u2264" if budget.at_most else "\u2265"
        if budget.reference is None:
            return f"{sign} {budget.bound:g} {budget.unit}"
        return f"{sign} {budget.bound:g} {TIMES} {contenders.label(budget.reference)}"

    @property
    def word(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


CALLERS = ("1 thread", "8 threads", "32 threads")
LOOPS = ("", "uvloop")

BUDGETS = (
    Budget("hello", "concurrency 1", FLOOR, 0.95),
    Budget("hello", "concurrency 1", "a2wsgi", 4),
    Budget("hello", "concurrency 10", FLOOR, 1.3),
    Budget("hello", "concurrency 10", "a2wsgi", 8),
    Budget("hello", "concurrency 50", FLOOR, 1.5),
    Budget("hello", "concurrency 50", "a2wsgi", 10),
    Budget("hello", "concurrency 200", FLOOR, 1.6),
    Budget("hello", "concurrency 200", "a2wsgi", 9),
    Budget("sleep", "concurrency 40", "pool40", 0.95),
    Budget("chunks", "100 bytes", "a2wsgi", 20),
    Budget("down", "64 KiB pieces", "a2wsgi", 5),
    Budget("up", "64 KiB pieces", "a2wsgi", 4),
    Budget("readline", "64 KiB pieces", "a2wsgi", 2.5),
    Budget("memory", "down", None, 4, at_most=True, unit="MiB"),
    Budget("memory", "down, slow reader", None, 4, at_most=True, unit="MiB"),
    Budget("memory", "up", None, 4, at_most=True, unit="MiB"),
    Budget("memory", "up, slow reader", None, 4, at_most=True, unit="MiB"),
    Budget("convoy", "median latency", "a2wsgi", 0.5, at_most=True),
    Budget("http-convoy", "median latency", "a2wsgi", 0.5, at_most=True),
    Budget("http-flask", "32 connections", "gunicorn", 1.9),
    Budget("http-flask", "32 connections", "a2wsgi", 2.3),
    Budget("http-django", "32 connections", "gunicorn", 1.5),
    Budget("http-django", "32 connections", "django-asgi", 15),
    *(Budget("asgi-hello", callers, CROSSING, 1.2, loop=loop) for callers in CALLERS for loop in LOOPS),
    *(Budget("asgi-starlette", callers, "a2wsgi", 4, loop=loop) for callers in CALLERS for loop in LOOPS),
    Budget("asgi-down", "64 KiB pieces", "a2wsgi", 3),
    Budget("asgi-up", "64 KiB pieces", "a2wsgi", 2.5),
    Budget("asgi-memory", "down", None, 4, at_most=True, unit="MiB"),
    Budget("asgi-memory", "down, slow reader", None, 4, at_most=True, unit="MiB"),
    Budget("asgi-memory", "up", None, 4, at_most=True, unit="MiB"),
    Budget("asgi-memory", "up, slow reader", None, 4, at_most=True, unit="MiB"),
    *(
        Budget("to-async", f"concurrency {concurrency}", FLOOR, bound, loop=loop)
        for concurrency, bound in ((1, 1.3), (10, 2.5), (50, 3.5))
        for loop in LOOPS
    ),
    *(
        Budget(scenario, callers, CROSSING, 1.2, loop=loop)
        for scenario in ("to-sync", "to-sync-worker")
        for callers in CALLERS
        for loop in LOOPS
    ),
    *(Budget("client", case, "testclient", 1) for case in ("GET, ASGI app", "POST of 64 KiB, ASGI app")),
    Budget("import", "in a new interpreter", "a2wsgi", 1, at_most=True),
)


def judge(results: Iterable[Result], budgets: Iterable[Budget] = BUDGETS) -> list[Verdict]:
    """The verdicts on all budgets of the scenarios that were run."""
    by_name = {result.name: result for result in results}
    return [
        Verdict(budget, _value(by_name[budget.scenario], budget))
        for budget in budgets
        if budget.scenario in by_name
    ]


def _value(result: Result, budget: Budget) -> float | None:
    case = result.case(budget.case)
    own = contenders.on_loop(BRIDGE, budget.loop)
    if case is None or own not in case.series:
        return None
    if budget.reference is None:
        return case.series[own].median
    other = case.series.get(contenders.on_loop(budget.reference, budget.loop))
    return None if other is None else case.series[own].ratio_to(other)
