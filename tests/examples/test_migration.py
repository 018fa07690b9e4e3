"""The migration example: its suite passes at every step, and the tutorial shows what is in its files."""

from __future__ import annotations

import difflib
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.doc_pages import Block, blocks_on, environment

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "migration"
PAGE = "docs/tutorial-migration.md"

# One run of the suite for all tests of this module, which a busy machine may keep long.
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("migration")]

STEPS = sorted(path.name for path in EXAMPLE.glob("step*"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example by itself, as a reader has it, away from this project's settings."""
    ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3*")
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("reader") / "migration", ignore=ignored))


@pytest.fixture(scope="module")
def printed(copied: Path) -> str:
    """What one run of the whole suite prints."""
    return run_suite(copied, "-rA").stdout


def run_suite(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in a folder, as the README says."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=140,
        check=False,
    )


# So many tests are for every step: six of the repository, three of the site.
FOR_EVERY_STEP = 9


@pytest.mark.parametrize(
    ("step", "more"), [("step0", 0), ("step1", 1), ("step2", 2), ("step3", 2), ("step4", 2)]
)
def test_the_suite_passes_at_every_step(step: str, more: int, printed: str) -> None:
    """The same tests each time, and those of what is better by then."""
    outcomes = re.findall(rf"^(\w+) test_parcels\.py::\w+\[{step}\]", printed, re.M)
    assert outcomes == ["PASSED"] * (FOR_EVERY_STEP + more), printed


def test_the_suite_has_nothing_else(printed: str) -> None:
    """Each test is for some step, so none is overlooked above; and there are no warnings."""
    every = sum((FOR_EVERY_STEP * len(STEPS), 1 + 2 + 2 + 2))
    assert re.search(rf"^{every} passed in ", printed, re.M), printed


def test_without_the_lock_the_suite_fails(copied: Path, tmp_path: Path) -> None:
    """As the tutorial says: the test of moves at the same time does find transactions that mix."""
    broken = Path(shutil.copytree(copied, tmp_path / "broken"))
    database = broken / "step4" / "database.py"
    text = database.read_text(encoding="utf-8")
    assert text.count("async with self._lock:") == 2
    database.write_text(text.replace("async with self._lock:", "if True:"), encoding="utf-8")
    done = run_suite(broken, "-k", "step4 and chain")
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout, done.stdout


# --- the tutorial


def shown() -> list[Block]:
    return blocks_on(PAGE)


def read(path: str) -> str:
    return (EXAMPLE / path).read_text(encoding="utf-8")


def difference(old: str, new: str) -> str:
    """What `diff -u` says of two files of the example."""
    lines = difflib.unified_diff(read(old).splitlines(), read(new).splitlines(), old, new, lineterm="")
    return "\n".join(lines) + "\n"


def test_files_in_the_tutorial_are_those_of_the_example() -> None:
    titles = [block.title for block in shown() if block.title]
    assert titles == [
        "step0/parcels.py",
        "step0/app.py",
        "step1/protocol.py",
        "step1/app.py",
        "step4/database.py",
    ]
    for block in shown():
        if block.title:
            assert block.text == read(block.title), block.title


def test_what_else_is_shown_is_a_part_of_the_suite() -> None:
    suite = read("test_parcels.py")
    parts = [block for block in shown() if block.kind == "python" and not block.title]
    assert len(parts) == 6
    for block in parts:
        assert block.text.strip() in suite, f"line {block.line}"


def test_the_differences_in_the_tutorial_are_all_there_are() -> None:
    diffs = [block.text for block in shown() if block.kind == "diff"]
    expected = []
    for old, new in itertools.pairwise(STEPS[1:]):
        for path in sorted((EXAMPLE / new).glob("*.py"), reverse=True):
            before = f"{old}/{path.name}"
            if not (EXAMPLE / before).exists():
                assert f"{new}/{path.name}" == "step4/database.py"  # which is shown as a whole
            elif read(before) != read(f"{new}/{path.name}"):
                expected.append(difference(before, f"{new}/{path.name}"))
    assert diffs == expected
    assert read("step0/parcels.py") == read("step1/parcels.py")
