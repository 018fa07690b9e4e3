"""What it costs to import bridge, beside its rival: CPU time of new interpreters, one after the other.

Only the import itself counts, not the start of the interpreter. Everything is compiled beforehand, as it is
where packages are installed, into a folder of the run's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.contenders import BRIDGE
from benchmarks.measure import ROOT, Case, Progress, Result, Series, Settings, Slice, shuffled

ROUNDS = 15
CHILD_TIMEOUT = 30.0

COLD = "in a new interpreter"
WARM = "where asyncio is loaded"

BEFORE = {COLD: "", WARM: "import asyncio"}

STATEMENTS = {
    BRIDGE: "import bridge",
    "a2wsgi": "import a2wsgi",
    "asgiref": "import asgiref.wsgi",
}

_PROGRAM = """
import time
{before}
begun = time.process_time()
{statement}
print(time.process_time() - begun)
"""


def measure(settings: Settings) -> Result:
    """CPU milliseconds of each import."""
    result = Result(
        "import", "CPU time of an import", "ms", reference="a2wsgi", higher_is_better=False, labels=STATEMENTS
    )
    result.cases = [Case(case, {name: Series() for name in STATEMENTS}) for case in BEFORE]
    rounds = settings.rounds_or(ROUNDS)
    said = Progress(result.name, rounds)
    with tempfile.TemporaryDirectory() as cache:
        # Round -1 compiles, and does not count.
        for number in range(-1, rounds):
            for case in result.cases:
                for name in shuffled(list(STATEMENTS), number):
                    slice_ = _import(BEFORE[case.name], STATEMENTS[name], cache)
                    if number >= 0:
                        case.series[name].add(slice_)
            said.round_done(number)
    return result


def _import(before: str, statement: str, cache: str) -> Slice:
    # Set empty is as good as not set.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
    program = _PROGRAM.format(before=before, statement=statement)
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return Slice(None, failures=1, failure=lines[-1] if lines else f"exit {done.returncode}")
    return Slice(float(done.stdout) * 1000, answers=1)
