"""`python -m benchmarks`: run the scenarios, print the tables, and write results when asked."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import budgets, contenders, convoy, docs_page, endtoend, inprocess, report, streams
from benchmarks.contenders import BRIDGE, LABELS
from benchmarks.measure import ROOT, Result, Settings

DOCS = ROOT / "docs"

BUSY = 0.05
"""The share of CPU time taken by other work from which on a run is called disturbed."""

Scenario = Callable[[Settings], Result]

SCENARIOS: dict[str, Scenario] = {}


def _register() -> None:
    def in_process(scenario: inprocess.Scenario) -> Scenario:
        return lambda settings: inprocess.measure(scenario, settings)

    def stream(scenario: streams.Scenario) -> Scenario:
        return lambda settings: streams.measure(scenario, settings)

    def over_http(scenario: endtoend.Scenario) -> Scenario:
        return lambda settings: endtoend.measure(scenario, settings)

    SCENARIOS.update({scenario.name: in_process(scenario) for scenario in inprocess.SCENARIOS})
    SCENARIOS.update({scenario.name: stream(scenario) for scenario in streams.SCENARIOS})
    SCENARIOS["memory"] = streams.measure_memory
    SCENARIOS["convoy"] = convoy.measure
    SCENARIOS["http-convoy"] = convoy.measure_http
    SCENARIOS.update({scenario.name: over_http(scenario) for scenario in endtoend.SCENARIOS})


_register()


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure bridge beside its rivals in interleaved slices; every answer is checked.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(SCENARIOS),
        metavar="SCENARIO",
        help=f"run this scenario only; may be repeated ({', '.join(SCENARIOS)})",
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of each scenario (default: its own number)")
    parser.add_argument("--smoke", action="store_true", help="tiny slices: does everything run?")
    parser.add_argument(
        "--loop", choices=["uvloop", "asyncio"], help="event loop (default: uvloop if installed)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md and its figures")
    return parser


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
    notes = [f"{LABELS[name]} is not measured: {reason}" for name, reason in contenders.missing().items()]
    loop = arguments.loop or ("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")
    settings = Settings(rounds=arguments.rounds, smoke=arguments.smoke, loop=loop)
    others = report.Others()
    for note in notes:
        report.say(note)
    begun = time.monotonic()
    results = []
    for name in arguments.only or SCENARIOS:
        result = SCENARIOS[name](settings)
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
    return any(case.series[BRIDGE].failures for case in result.cases if BRIDGE in case.series)


if __name__ == "__main__":
    sys.exit(main())
