"""The examples behave behind an adapter as they do by themselves: asked of `bridge compare`, page by page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bridge

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# What is new in each answer, or tells of the server; the pages that show nothing else are left out.
ASKED = {
    "flask_on_uvicorn": [
        *("--via", "native,asgi", "--exclude", "^/(suppliers|stats|live)"),
        *("--ignore-cookie", "session", "--ignore-text", r"[\w-]{32}"),
    ],
    "asgi_on_gunicorn": [
        *("--via", "native,wsgi", "--exclude", "^/$", "--request", "/static/style.css"),
        *("--ignore-header", "x-request-id", "--ignore-header", "server-timing"),
    ],
}

# Where what is shown depends on the time: a second may begin between two requests.
TIME_STANDS_STILL = {
    "asgi_on_gunicorn": """
import sys
from datetime import datetime, timezone

sys.path.insert(0, {folder!r})
import book

book.now = lambda: datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
from app import app
""",
}


@pytest.mark.parametrize("name", ASKED)
def test_natively_and_in_the_adapter(name: str, tmp_path: Path) -> None:
    target = str(EXAMPLES / name / "app.py")
    if name in TIME_STANDS_STILL:
        target = str(tmp_path / "at_noon.py")
        Path(target).write_text(TIME_STANDS_STILL[name].format(folder=str(EXAMPLES / name)))
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "compare", target, target, "--crawl", "/", *ASKED[name]],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(str(bridge.__file__)).parent.parent),
            "SHOP_INSTANCE": str(tmp_path / "shop"),
            "FROST_INSTANCE": str(tmp_path / "frost"),
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.rpartition(": ")[2].split()[0]) >= 5, done.stdout
