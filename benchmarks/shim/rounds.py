"""The rounds of the shim's scenarios: each contender is a function that gives one slice."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence

from benchmarks import contenders
from benchmarks.clients import settle
from benchmarks.measure import Case, Progress, Result, Series, Settings, Slice, shuffled

OneSlice = Callable[[int, float], Slice]
"""One slice of a contender: of so many clients, for about so many seconds."""


def rounds(
    result: Result,
    cases: Sequence[tuple[str, int]],
    slices: Mapping[str, OneSlice],
    settings: Settings,
    usual: int,
    seconds: float,
) -> Result:
    """Fill a result.

    Args:
        result: what to fill.
        cases: each with its number of clients. A smoke run takes the first two.
        slices: by contender.
        settings: those of the command line.
        usual: rounds, unless the command line says otherwise.
        seconds: of one slice.
    """
    chosen = cases[:2] if settings.smoke else cases
    result.cases = [Case(name, {each: Series() for each in slices}) for name, _ in chosen]
    # Threads start and caches fill before anything counts.
    for take in slices.values():
        take(max(clients for _, clients in chosen), seconds)
    number = settings.rounds_or(usual)
    progress = Progress(result.name, number)
    gc.freeze()
    try:
        for each in range(number):
            for (_, clients), case in zip(chosen, result.cases, strict=True):
                for name in shuffled(list(slices), each):
                    settle()
                    case.series[name].add(slices[name](clients, seconds))
            progress.round_done(each)
    finally:
        gc.unfreeze()
    return result


def labels(names: Sequence[str], plain: Mapping[str, str], usual: str) -> dict[str, str]:
    """The labels of contenders, which name the loop of each.

    Args:
        names: with their loops behind them.
        plain: what the contenders are called in this scenario, without a loop.
        usual: the loop of those that name none.
    """
    split = {name: contenders.split(name) for name in names}
    return {name: f"{plain[short]}, {loop or usual}" for name, (short, loop) in split.items()}
