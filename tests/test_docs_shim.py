"""What the documentation says of the shim: of bridge, the comparison with other libraries says what is so."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support.doc_pages import DOCS, PAGE_TIMEOUT, environment, load

ANSWERS = {"yes": "yes", "**no**": "no", "–": "absent"}  # noqa: RUF001 - as in the table


@pytest.mark.timeout(PAGE_TIMEOUT)
def test_the_comparison_of_shims_says_of_bridge_what_bridge_does() -> None:
    """What it says of the others was true of the versions that it names; that is not asked again here."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "_compare_shim.py"), "bridge"],
        env={**environment(), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PAGE_TIMEOUT / 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    module = load("bridge_docs_compare_shim", DOCS / "_compare_shim.py")
    answers = dict(re.findall(r"^(\w+) (yes|no|absent)$", done.stdout, re.M))
    assert answers.keys() == module.PROBES.keys(), done.stdout

    page = (DOCS / "explanation" / "comparison.md").read_text(encoding="utf-8")
    table = page.partition(module.BEGIN)[2].partition(module.END)[0]
    shown = [
        (question, ANSWERS[answer])
        for question, answer in re.findall(r"^\| (.+?) \| (yes|\*\*no\*\*|–) \| ", table, re.M)  # noqa: RUF001
    ]
    # Not a dict: two sections have questions of the same words.
    asked = [(each.question, answers[name]) for name, each in module.PROBES.items()]
    assert shown == asked, "run docs/_compare_shim.py --write"
