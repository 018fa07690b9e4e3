"""The benchmark page of the documentation, generated from a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import plot, report
from benchmarks.contenders import FLOOR, NATIVE
from benchmarks.measure import Result
from benchmarks.report import Report, label, number, ratio
from benchmarks.serve import GTHREAD_THREADS, WAITRESS_THREADS

ASSETS = "assets/benchmarks"

METHOD = f"""\
## How it is measured

- **Interleaved.** Each round gives every contender one short slice, in a new order. Figures are medians over
  rounds. Ratios are taken within a round, where both sides saw the machine in the same state, and their
  median is shown; so a ratio is not quite the quotient of the two medians beside it.
- **Checked.** An answer counts only if its status, its headers and its body are right. Wrong answers are
  listed under the table.
- **As it comes.** Each adapter runs with its own default number of threads, unless a table says otherwise.
  Hypercorn's adapter refuses request bodies above 64 KiB by default; that limit is lifted here.
- **The floor** is `loop.run_in_executor` of a function that does nothing, on ten threads: what one hop to
  a thread and back costs with the standard library.
- In process there is no server: clients that ask again as soon as they are answered call the adapter with
  `scope`, `receive` and `send`. Over HTTP each server is one process on loopback, beside the load
  generator on the same machine. Gunicorn runs {GTHREAD_THREADS} threads and Waitress {WAITRESS_THREADS}.
- Peak memory is the greatest resident size during a transfer less the resident size before it, in a
  process of its own. A slow reader takes at most 100 MiB/s; for an upload that is the application.
"""

YOURSELF = """\
## Run it yourself

In a checkout, with the extra `bench` installed:

```console
$ python -m benchmarks                  # everything: about ten minutes
$ python -m benchmarks --only hello     # one scenario
$ python -m benchmarks --help
```

Let nothing else run meanwhile; the command says at its end if something did. `--json FILE` keeps every
figure of every round. Over HTTP, the load comes from `wrk` if it is installed.
"""

ABOUT = {
    "hello": "The least that an application can do; what is left is the adapter.",
    "environ": "What a browser sends through a proxy; building the environ costs more here.",
    "flask": "The direct call is the Flask application called in an executor with a ready environ: what it "
    "costs with no adapter at all.",
    "django": "A sync view without middleware. Django's own ASGI handler serves the same view.",
    "sleep": "Handlers that wait, as on a database. The plain pool calls the application directly in an "
    "executor of 40 threads. asgiref has one thread for all.",
    "chunks": "10 000 chunks, each yielded by the application. Uvicorn's adapter puts them into a queue "
    "without a bound.",
    "down": "A response of unknown length. Some adapters queue it without a bound: see "
    "[peak memory](#peak-memory).",
    "up": "asgiref writes the whole body to a temporary file first; Starlette's, Hypercorn's and Uvicorn's "
    "adapters collect it in memory.",
    "readline": "The application reads the body with `readline()`.",
    "memory": "What a transfer of 200 MiB takes beyond the process at rest.",
    "convoy": "A thread that computes lets others run only every few milliseconds. The time runs from the "
    "moment at which a request is due on the loop to its answer.",
    "http-convoy": "The same over HTTP, where Uvicorn turns its loop twice for a request.",
    "http-flask": "The same Flask application everywhere.",
    "http-django": "The same Django project everywhere: one sync view, no middleware.",
}

HEADINGS = {
    "hello": "Hello-world",
    "environ": "A browser's request",
    "flask": "Flask",
    "django": "Django",
    "sleep": "Handlers that wait",
    "chunks": "Small chunks",
    "down": "Downloads",
    "up": "Uploads",
    "readline": "Uploads, line by line",
    "memory": "Peak memory",
    "convoy": "A native endpoint beside CPU-heavy handlers",
    "http-convoy": "A native endpoint beside CPU-heavy handlers, over HTTP",
    "http-flask": "Flask over HTTP",
    "http-django": "Django over HTTP",
}


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
        if result.name == "hello":
            columns = [(case.name, result, case) for case in result.cases]
            plot.grouped(columns, FLOOR, NATIVE, path)
        elif result.name in ("http-flask", "http-django", "http-convoy"):
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
    for result in run.results:
        parts += _scenario(result, figures.get(result.name))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _circumstances(run: Report) -> str:
    facts = report.machine()
    libraries = ", ".join(f"{name} {version}" for name, version in report.versions().items())
    lines = [
        "## Where",
        "",
        f"- {facts['python']}, {facts['system']} on {facts['architecture']}, {facts['cpus']} CPUs",
        f"- Event loop: {run.settings.loop}",
        *(
            [f"- Other work took {run.others:.0%} of the CPU time during the run"]
            if run.others is not None
            else []
        ),
        f"- {libraries}",
        *(f"- {note}" for note in run.notes),
    ]
    return "\n".join(lines)


def _scenario(result: Result, figure: str | None) -> list[str]:
    parts = [f"## {HEADINGS.get(result.name, result.name)}", f"{result.title}. {ABOUT.get(result.name, '')}"]
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
            head.append(f"÷ {label(result, result.reference)}")
    body = []
    for name in _names(result):
        row = [label(result, name)]
        for case in result.cases:
            series = case.series.get(name)
            note = f" ({series.note})" if series is not None and series.note else ""
            row.append("" if series is None else number(series.median) + note)
            if result.reference is not None:
                quotient = ratio(series, case.series.get(result.reference))
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
                wrong.append(f"{label(result, name)}, {case.name}: {share} answers were wrong ({first}).")
    return wrong


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown: first column to the left, figures to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([line(head), rule, *map(line, body)])
