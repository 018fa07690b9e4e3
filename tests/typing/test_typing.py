"""Users who check their code with mypy strict need no ignores: apps go in, and adapters come out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.type_checkers import PACKAGE, mypy

SAMPLE = Path(__file__).with_name("sample_usage.py")

# All files are checked in one run of mypy, and a first one reads the frameworks' sources.
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("mypy")]

# What must be refused: every line that says so, and no other.
WRONG = """\
from bridge import ASGIToWSGI, ThreadPool, WSGIToASGI

def app(environ: dict[str, object], start_response: object) -> list[bytes]:
    return []

def text(environ: dict[str, object], start_response: object) -> list[str]:
    return []

async def asgi(scope: object, receive: object, send: object) -> None:
    pass

WSGIToASGI(text)  # wrong
WSGIToASGI(asgi)  # wrong
WSGIToASGI("module:app")  # wrong
WSGIToASGI(app, 4)  # wrong
WSGIToASGI(app, workers=4)  # wrong
WSGIToASGI(app, pool=4)  # wrong
ASGIToWSGI(app)  # wrong
ASGIToWSGI("module:app")  # wrong
ASGIToWSGI(asgi, "on")  # wrong
ASGIToWSGI(asgi, lifespan="maybe")  # wrong
ASGIToWSGI(asgi, loop_factory=3)  # wrong
ASGIToWSGI(asgi, disconnect_grace=None)  # wrong
ThreadPool(2, 3)  # wrong
ThreadPool(streams="many")  # wrong
ThreadPool().stats().busy = 3  # wrong
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The sample and the wrong code, checked together."""
    place = tmp_path_factory.mktemp("typing")
    wrong = place / "wrong_usage.py"
    wrong.write_text(WRONG, encoding="utf-8")
    return mypy([str(SAMPLE), str(wrong)], place), wrong


def test_code_as_users_write_it_passes_mypy_strict(
    checked: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, _ = checked
    about_sample = [line for line in done.stdout.splitlines() if SAMPLE.name in line]
    assert about_sample == [], "\n".join(about_sample)
    assert "error:" in done.stdout, f"mypy did not run: {done.stdout}{done.stderr}"


def test_the_sample_has_no_ignores() -> None:
    assert "type: " + "ignore" not in SAMPLE.read_text(encoding="utf-8")


def test_wrong_use_is_an_error_where_it_stands(
    checked: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Types that let everything pass would prove nothing."""
    done, wrong = checked
    found = {int(number) for number in re.findall(rf"{re.escape(wrong.name)}:(\d+): error:", done.stdout)}
    wanted = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wanted, done.stdout


def test_bridge_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
