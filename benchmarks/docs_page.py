"""The benchmark page of the documentation, generated from a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import plot, prose, report, scenarios
from benchmarks.contenders import LIMIT, NATIVE
from benchmarks.measure import Result
from benchmarks.prose import Section
from benchmarks.report import Report, number
from benchmarks.serve import GTHREAD_THREADS, WAITRESS_THREADS

ASSETS = "assets/benchmarks"

METHOD = f"""\
## How it is measured

- **Interleaved.** Each round gives every contender one short slice, in a new order. Figures are medians over
  rounds. Ratios are taken within a round, where both sides saw the machine in the same state, and their
  median is shown; so a ratio is not quite the quotient of the two medians beside it.
- **Checked.** An answer counts only if its status, its headers and its body are right. Wrong answers are
  listed under the table.
- **As it comes.** Each adapter runs with its own defaults, unless a table says otherwise.
- In process there is no server: clients that ask again as soon as they are answered call the adapter. Over
  HTTP each server is one process on loopback, beside the load generator on the same machine. Gunicorn runs
  {GTHREAD_THREADS} threads and Waitress {WAITRESS_THREADS}.
- Peak memory is the greatest resident size during a transfer less the resident size before it, in a
  process of its own. A slow reader takes at most 100 MiB/s; for an upload that is the application.
"""

YOURSELF = """\
## Run it yourself

In a checkout, with the extra `bench` installed:

```console
$ python -m benchmarks                           # everything: about a quarter of an hour
$ python -m benchmarks --only asgi-under-wsgi    # one direction
$ python -m benchmarks --only hello              # one scenario
$ python -m benchmarks --help
```

Let nothing else run meanwhile; the command says at its end if something did. `--json FILE` keeps every
figure of every round. Over HTTP, the load comes from `wrk` if it is installed.
"""


def write(run: Report, docs: Path) -> list[Path]:
    """Write the page and its figures under `docs`; gives the files written."""
    assets = docs / ASSETS
    assets.mkdir(parents=True, exist_ok=True)
    figures = _figures(run, assets)
    page = docs / "benchmarks.md"
    page.write_text(_page(run, {name: path.name for name, path in figures.items()}), encoding="utf-8")
    return [page, *figures.values()]


def _figures(run: Report, assets: Path) -> dict[str, Path]:
    """Draws a figure for each scenario that has one; by scenario."""
    drawn: dict[str, Path] = {}
    for result in run.results:
        path = assets / f"{result.name}.svg"
        figure = prose.SECTIONS[result.name].figure
        if figure == prose.RATIOS:
            # So much quicker than all adapters that their bars would vanish beside it.
            plot.grouped(result, (NATIVE, LIMIT), path)
        elif figure == prose.BARS:
            plot.bars(result, result.cases[0], path)
        else:
            continue
        drawn[result.name] = path
    return drawn


def _page(run: Report, figures: dict[str, str]) -> str:
    parts = [
        "# Benchmarks",
        f"This page is written by `{run.command}`; edit nothing here. The run of "
        f"{run.date:%Y-%m-%d} took {run.seconds / 60:.0f} minutes.",
        METHOD,
        _circumstances(run),
        "## Budgets",
        "What bridge promises of itself, and whether this run kept it:",
        markdown_table(*report.budget_rows(run.verdicts)),
    ]
    parts.append(YOURSELF)
    results = {result.name: result for result in run.results}
    for direction, names in scenarios.DIRECTIONS.items():
        measured = [name for name in names if name in results]
        if measured:
            section = prose.DIRECTIONS[direction]
            parts += [f"## {section.heading}", section.about]
        for name in measured:
            parts += _scenario(prose.SECTIONS[name], results[name], figures.get(name))
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _circumstances(run: Report) -> str:
    facts = report.machine()
    libraries = ", ".join(f"{name} {version}" for name, version in report.versions().items())
    lines = [
        "## Where",
        "",
        f"- {facts['python']}, {facts['system']} on {facts['architecture']}, {facts['cpus']} CPUs",
        f"- Event loop: {run.settings.loop}, where no table or row says otherwise",
        *(
            [f"- Other work took {run.others:.0%} of the CPU time during the run"]
            if run.others is not None
            else []
        ),
        f"- {libraries}",
        *(f"- {note}" for note in run.notes),
    ]
    return "\n".join(lines)


def _scenario(section: Section, result: Result, figure: str | None) -> list[str]:
    parts = [f"### {section.heading}", f"{result.title}.\n{section.about}"]
    if figure is not None:
        parts.append(f"![{result.title}]({ASSETS}/{figure})")
    parts.append(markdown_table(*_matrix(result)))
    remarks = [*result.notes, *_wrong(result)]
    if remarks:
        parts.append("\n".join(f"- {remark}" for remark in remarks))
    return parts


def _matrix(result: Result) -> tuple[list[str], list[list[str]]]:
    """Contenders down, cases across; in a cell the median, and its ratio to the reference."""
    head = [""]
    for case in result.cases:
        name = f"{case.name}, {result.unit_of(case)}" if len(result.cases) > 1 else result.unit_of(case)
        head.append(name)
        if result.reference is not None:
            head.append(result.by_reference)
    body = []
    for name in _names(result):
        row = [result.label(name)]
        for case in result.cases:
            series = case.series.get(name)
            note = f" ({series.note})" if series is not None and series.note else ""
            row.append("" if series is None else number(series.median) + note)
            if result.reference is not None:
                quotient = result.ratio(case, name)
                row.append("" if quotient is None else number(quotient))
        body.append(row)
    return head, body


def _names(result: Result) -> list[str]:
    """The contenders in the order of the first case, then those that only later cases have."""
    names = [name for case in result.cases for name, _ in result.ranked(case)]
    return list(dict.fromkeys(names))


def _wrong(result: Result) -> list[str]:
    wrong = []
    for case in result.cases:
        for name, series in case.series.items():
            if series.failures:
                share = f"{series.failures} of {series.failures + series.answers}"
                first = f"the first: {series.failure}"
                wrong.append(f"{result.label(name)}, {case.name}: {share} answers were wrong ({first}).")
    return wrong


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: first column to the left, figures to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([line(head), rule, *map(line, body)])
