"""The figures of the documentation's benchmark page, drawn with matplotlib as SVG."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from benchmarks.contenders import is_own
from benchmarks.measure import Case, Result
from benchmarks.report import number

OWN = ("#00695c", "#4db6ac")
OTHERS = ("#90a4ae", "#b0bec5", "#78909c", "#cfd8dc", "#607d8b", "#a1887f", "#bcaaa4", "#8d6e63")


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file: fixed ids, no date.
    matplotlib.rcParams.update({"svg.hashsalt": "bridge", "svg.fonttype": "none", "font.size": 10})
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    _pyplot().close(figure)
    # matplotlib leaves spaces at the ends of lines.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def bars(result: Result, case: Case, path: Path) -> None:
    """One bar for each contender, best on top."""
    ranked = [(name, series.median) for name, series in result.ranked(case) if series.median is not None]
    figure, axes = _pyplot().subplots(figsize=(7.5, 0.38 * len(ranked) + 1.1))
    names = [result.label(name) for name, _ in ranked]
    values = [median for _, median in ranked]
    colours = [OWN[0] if is_own(name) else OTHERS[0] for name, _ in ranked]
    drawn = axes.barh(names, values, color=colours)
    axes.bar_label(drawn, [number(value) for value in values], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(result.unit_of(case))
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def grouped(result: Result, leave_out: Container[str], path: Path) -> None:
    """Ratios to the reference: a group of bars for each case, a bar for each contender."""
    names = [
        name
        for name, _ in result.ranked(result.cases[0])
        if name not in leave_out and all(name in case.series for case in result.cases)
    ]
    names.sort(key=lambda name: not is_own(name))
    figure, axes = _pyplot().subplots(figsize=(7.5, 4.2))
    width = 0.84 / len(names)
    for place, name in enumerate(names):
        heights = [result.ratio(case, name) or 0 for case in result.cases]
        at = [group + (place - (len(names) - 1) / 2) * width for group in range(len(result.cases))]
        # Bridge comes first, once for each loop.
        colour = OWN[place % len(OWN)] if is_own(name) else OTHERS[place % len(OTHERS)]
        axes.bar(at, heights, width, label=result.label(name), color=colour)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(result.cases)), [case.name for case in result.cases])
    axes.set_ylabel(result.by_reference)
    axes.legend(frameon=False, ncols=4, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
