"""What a run says: tables for the terminal, and JSON with every figure of every round."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.budgets import Verdict
from benchmarks.measure import Case, Result, Settings

LIBRARIES = (
    "wsgi-asgi-bridge",
    "a2wsgi",
    "asgiref",
    "starlette",
    "anyio",
    "hypercorn",
    "uvicorn",
    "uvloop",
    "httptools",
    "gunicorn",
    "waitress",
    "granian",
    "flask",
    "werkzeug",
    "django",
    "fastapi",
)


DASH = "\u2013"


@dataclass
class Report:
    """A finished run."""

    command: str
    settings: Settings
    results: list[Result]
    verdicts: list[Verdict]
    notes: list[str]
    seconds: float
    date: datetime.datetime
    others: float | None
    """The share of the machine's CPU time that other work took meanwhile, where the system tells."""


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """The facts about the machine that the figures depend on."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpus": cpus(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


class Others:
    """How much of the machine's CPU time goes to work that is not ours, from its making to `share`."""

    def __init__(self) -> None:
        self._begun = self._times()

    @staticmethod
    def _times() -> tuple[float, float, float] | None:
        """CPU seconds of the whole machine, those of them spent on anything, and those spent on us."""
        try:
            lines = Path("/proc/stat").read_text().splitlines()
        except OSError:
            return None
        if sum(line.startswith("cpu") for line in lines) - 1 != cpus():
            # We are confined to a part of the machine: what the rest of it does is of no account.
            return None
        ticks = [int(field) for field in lines[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        # The fourth and the fifth count idleness; children count once they have ended.
        return sum(ticks) / second, (sum(ticks) - ticks[3] - ticks[4]) / second, sum(os.times()[:4])

    def share(self) -> float | None:
        """Others' part of all CPU time since; children that still run count as others."""
        now = self._times()
        if now is None or self._begun is None:
            return None
        whole, busy, own = (after - before for after, before in zip(now, self._begun, strict=True))
        return max(0.0, busy - own) / whole if whole else 0.0


def cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """The versions of all libraries measured that are installed."""
    found = {name: _version(name) for name in LIBRARIES}
    if found["wsgi-asgi-bridge"] is None:
        # Run from a checkout that is not installed.
        try:
            from bridge._version import __version__
        except ImportError:
            pass
        else:
            found["wsgi-asgi-bridge"] = __version__
    return {name: version for name, version in found.items() if version is not None}


def number(value: float | None) -> str:
    """A figure with three or four digits that mean something."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def rows(result: Result, case: Case) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of one case's table."""
    head = ["", result.unit_of(case), "middle half"]
    if result.reference is not None:
        head += [result.by_reference, "bridge ÷ it"]
    timed = any(series.cpu for series in case.series.values())
    if timed:
        head.append("CPU \u00b5s each")
    head.append("wrong answers")
    body = []
    for name, series in result.ranked(case):
        spread = series.spread
        note = f" ({series.note})" if series.note else ""
        row = [result.label(name) + note, number(series.median)]
        row.append(f"{number(spread[0])} {DASH} {number(spread[1])}" if spread else "")
        if result.reference is not None:
            row += [number(result.ratio(case, name)), number(result.own_ratio(case, name))]
        if timed:
            row.append(number(statistics.median(series.cpu) * 1e6) if series.cpu else "-")
        row.append(f"{series.failures} of {series.answers + series.failures}" if series.failures else "0")
        body.append(row)
    return head, body


def text_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in plain text: first column to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  " + "  ".join(cells).rstrip()

    rule = "  " + "  ".join("-" * width for width in widths)
    return "\n".join([line(head), rule, *map(line, body)])


def text(result: Result) -> str:
    """One scenario for the terminal."""
    rounds = max((len(s.values) for case in result.cases for s in case.series.values()), default=0)
    better = "" if result.higher_is_better else "; less is better"
    parts = [f"{result.name}: {result.title} ({rounds} round{'s' * (rounds != 1)}{better})"]
    for case in result.cases:
        parts.append(f" {case.name}")
        parts.append(text_table(*rows(result, case)))
        parts += [
            f"  {result.label(name)}: first failure: {series.failure}"
            for name, series in case.series.items()
            if series.failure
        ]
    parts += [f"  {note}" for note in result.notes]
    return "\n".join(parts)


def budgets_text(verdicts: Sequence[Verdict]) -> str:
    """The budgets for the terminal."""
    head, body = budget_rows(verdicts)
    return "Budgets\n" + text_table(head, body)


def budget_rows(verdicts: Sequence[Verdict]) -> tuple[list[str], list[list[str]]]:
    head = ["scenario", "budget", "measured", "verdict"]
    body = [[v.budget.subject, v.promise, number(v.value), v.word] for v in verdicts]
    return head, body


def as_json(report: Report) -> dict[str, Any]:
    """The run as plain data; every figure of every round is in it."""
    return {
        "format": 1,
        "date": report.date.isoformat(timespec="seconds"),
        "command": report.command,
        "seconds": round(report.seconds, 1),
        "settings": {
            "rounds": report.settings.rounds,
            "smoke": report.settings.smoke,
            "loop": report.settings.loop,
        },
        "machine": {**machine(), "others": report.others},
        "versions": versions(),
        "notes": report.notes,
        "scenarios": [_result_json(result) for result in report.results],
        "budgets": [
            {
                "scenario": v.budget.scenario,
                "case": v.budget.case,
                "loop": v.budget.loop or None,
                "reference": v.budget.reference,
                "bound": v.budget.bound,
                "at_most": v.budget.at_most,
                "value": v.value,
                "met": v.met,
            }
            for v in report.verdicts
        ],
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "title": result.title,
        "unit": result.unit,
        "higher_is_better": result.higher_is_better,
        "reference": result.reference,
        "notes": result.notes,
        "cases": [
            {
                "name": case.name,
                "unit": result.unit_of(case),
                "contenders": {
                    name: {
                        "label": result.label(name),
                        "median": series.median,
                        "ratio_to_reference": result.ratio(case, name),
                        "values": series.values,
                        "cpu_seconds_an_answer": series.cpu,
                        "answers": series.answers,
                        "failures": series.failures,
                        "failure": series.failure,
                        "note": series.note,
                    }
                    for name, series in case.series.items()
                },
            }
            for case in result.cases
        ],
    }


def write_json(report: Report, path: Path) -> None:
    path.write_text(json.dumps(as_json(report), indent=1) + "\n", encoding="utf-8")


def say(text_: str) -> None:
    """Print at once, whatever stdout can encode."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text_.encode(encoding, "replace").decode(encoding), flush=True)
