"""`python -m benchmarks`: run the scenarios, print the tables, and write results when asked."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import budgets, docs_page, report, scenarios
from benchmarks.asgi_under_wsgi import adapters as to_wsgi
from benchmarks.contenders import is_own, label
from benchmarks.eventloop import has_uvloop
from benchmarks.measure import ROOT, Result, Settings
from benchmarks.wsgi_under_asgi import adapters as to_asgi

DOCS = ROOT / "docs"

BUSY = 0.05
"""The share of CPU time taken by other work from which on a run is called disturbed."""


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure bridge beside its rivals in interleaved slices; every answer is checked.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=[*scenarios.DIRECTIONS, *scenarios.BY_NAME],
        metavar="NAME",
        help=f"run this direction or scenario only; may be repeated. {_names()}",
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of each scenario (default: its own number)")
    parser.add_argument("--smoke", action="store_true", help="tiny slices: does everything run?")
    parser.add_argument(
        "--loop",
        choices=["uvloop", "asyncio"],
        help="event loop (default: uvloop if installed); ASGI under WSGI is measured on asyncio's too",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md and its figures")
    return parser


def _names() -> str:
    return " ".join(f"{direction}: {', '.join(names)}." for direction, names in scenarios.DIRECTIONS.items())


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _shown_command(arguments: Sequence[str]) -> str:
    """The command as the page names it: where the figures were kept besides is nobody's business."""
    shown = ["python -m benchmarks"]
    words = iter(arguments)
    for word in words:
        if word == "--json":
            next(words, None)
        elif not word.startswith("--json="):
            shown.append(word)
    return " ".join(shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if bridge gave a wrong answer anywhere."""
    options = parser()
    arguments = options.parse_args(argv)
    if arguments.write_docs and (arguments.only or arguments.smoke):
        options.error("--write-docs needs a whole run: figures of different runs must not share a page")
    # Ended from outside, the servers of the run have to be ended too: leave by an exception.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    absent = {**to_wsgi.missing(), **to_asgi.missing()}
    notes = [f"{label(name)} is not measured: {reason}" for name, reason in absent.items()]
    loop = arguments.loop or ("uvloop" if has_uvloop() else "asyncio")
    settings = Settings(rounds=arguments.rounds, smoke=arguments.smoke, loop=loop)
    others = report.Others()
    for note in notes:
        report.say(note)
    begun = time.monotonic()
    results = []
    for measure in scenarios.chosen(arguments.only).values():
        result = measure(settings)
        report.say(report.text(result) + "\n")
        results.append(result)
    verdicts = budgets.judge(results)
    if verdicts:
        report.say(report.budgets_text(verdicts))
    if settings.smoke:
        report.say("A smoke run: it shows that everything runs; its figures mean nothing.")
    finished = report.Report(
        command=_shown_command(sys.argv[1:] if argv is None else argv),
        settings=settings,
        results=results,
        verdicts=verdicts,
        notes=notes,
        seconds=time.monotonic() - begun,
        others=others.share(),
        date=datetime.datetime.now(datetime.timezone.utc),
    )
    if finished.others is not None and finished.others > BUSY and not settings.smoke:
        report.say(f"Disturbed: other work took {finished.others:.0%} of the CPU time. Even ratios suffer.")
    if arguments.json is not None:
        report.write_json(finished, arguments.json)
    if arguments.write_docs:
        for path in docs_page.write(finished, DOCS):
            report.say(f"wrote {path}")
    return int(any(_bridge_failed(result) for result in results))


def _bridge_failed(result: Result) -> bool:
    return any(
        series.failures for case in result.cases for name, series in case.series.items() if is_own(name)
    )


if __name__ == "__main__":
    sys.exit(main())
