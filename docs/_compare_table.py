"""What the scripts that compare share: how their questions are asked, each in a process, and the table.

`_compare.py`, `_compare_asgi.py` and `_compare_shim.py` have the questions.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).resolve().parent / "explanation" / "comparison.md"

HUNG = 3
"""Exit code of a process whose answer has not come; the script may use it, and counts as having said no."""


class NotOffered(Exception):
    """Raised by a probe, or what it uses: the library does not have the thing at all."""


class Probe(NamedTuple):
    """One question. `ask` answers it, in the way of its script; what it raises means no."""

    section: str
    question: str
    ask: Callable[..., Any]


class Comparison:
    """The questions of one script, and its table on the page.

    Args:
        script: its path.
        marks: what the comments around its table say.
        columns: the adapters, by the names that the script takes, with their titles.
        limit: seconds after which a probe has failed.

    Attributes:
        limit: the same; ten times as much for who is asked everything, and so is expected to answer.
    """

    def __init__(self, script: str, marks: str, columns: Mapping[str, str], limit: float) -> None:
        self.script = script
        self.begin, self.end = f"<!-- {marks}: begin -->", f"<!-- {marks}: end -->"
        self.columns = columns
        self.limit = limit
        self.probes: dict[str, Probe] = {}

    def probe(self, section: str, question: str) -> Callable[[Callable[..., Any]], Any]:
        """Register a function as a probe."""

        def register(ask: Callable[..., Any]) -> Any:
            self.probes[ask.__name__] = Probe(section, question, ask)
            return ask

        return register

    def ask_apart(self, adapter: str, name: str) -> str:
        """The answer of one adapter to one probe, from a process of its own, which ends if none comes."""
        command = [sys.executable, self.script, adapter, name]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=5 * self.limit, env=environment
            )
        except subprocess.TimeoutExpired:
            return "no"
        if done.returncode == HUNG:
            return "no"
        if done.returncode:
            raise RuntimeError(f"{adapter}, {name}: {done.stderr}")
        return done.stdout.split()[-1]

    def answers(self, adapters: Iterable[str]) -> dict[tuple[str, str], str]:
        """All their answers, by adapter and probe."""
        pairs = [(adapter, name) for name in self.probes for adapter in adapters]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return dict(zip(pairs, pool.map(lambda pair: self.ask_apart(*pair), pairs), strict=True))

    def table(self, heading: str) -> str:
        """The page's text between the marks: what was asked, and a table for each section."""
        found = self.answers(self.columns)
        marks = {"yes": "yes", "no": "**no**", "absent": "–"}  # noqa: RUF001
        lines = [f"{heading}; CPython {sys.version.split()[0]}."]
        section = ""
        for name, each in self.probes.items():
            if each.section != section:
                section = each.section
                lines += ["", f"### {section}", "", "| | " + " | ".join(self.columns.values()) + " |"]
                lines.append("|---|" + ":-:|" * len(self.columns))
            row = [marks[found[adapter, name]] for adapter in self.columns]
            lines.append(f"| {each.question} | " + " | ".join(row) + " |")
        return "\n".join(lines)

    def main(self, summary: str, heading: str, ask: Callable[[str, str], str]) -> None:
        """Do what the command line asks for.

        Args:
            summary: for the help.
            heading: the first line below the mark, without the version of Python.
            ask: answers one probe for one adapter, here.
        """
        parser = argparse.ArgumentParser(description=summary)
        parser.add_argument("adapter", nargs="?", choices=list(self.columns))
        parser.add_argument("probe", nargs="?", choices=list(self.probes))
        parser.add_argument("--write", action="store_true", help="write the page")
        options = parser.parse_args()
        if options.adapter is None:
            text = self.table(heading)
            self.write_page(text) if options.write else print(text)
            return
        if options.probe is None:
            self.limit *= 10
        for name in [options.probe] if options.probe else self.probes:
            print(name, ask(options.adapter, name), flush=True)
        os._exit(0)  # not waiting for threads that are blocked for ever

    def write_page(self, text: str) -> None:
        """Put the text between the marks."""
        page = PAGE.read_text(encoding="utf-8")
        pattern = re.compile(f"{re.escape(self.begin)}.*{re.escape(self.end)}", re.S)
        PAGE.write_text(
            pattern.sub(lambda _: f"{self.begin}\n\n{text}\n\n{self.end}", page), encoding="utf-8"
        )


def versions(*distributions: str) -> str:
    """Their names and installed versions, to be read."""
    titles = {"starlette": "Starlette", "uvicorn": "Uvicorn", "hypercorn": "Hypercorn", "anyio": "AnyIO"}
    return ", ".join(f"{titles.get(each, each)} {importlib.metadata.version(each)}" for each in distributions)
