"""Fixtures of the adapters' tests: the three loops, and adapters that must leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.bridge_command import environment
from support.drive import LOOPS
from support.engines import eventually, threads_named
from support.wsgi_apps import Adapt

from bridge import WSGIToASGI

# Pools get this long to come to rest, in seconds.
_GRACE = 20.0


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each of the async libraries in turn."""
    return str(request.param)


@pytest.fixture
def command() -> Callable[..., list[str]]:
    """Runs a command of this folder in a process of its own; returns the lines that it has printed.

    There nobody else's threads, descriptors and objects can be counted among its own. It must end well
    and leave the standard error empty, where Python tells of what was not closed, awaited or caught.
    """

    def run(name: str, *arguments: str) -> list[str]:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error::ResourceWarning", "-W", "error::RuntimeWarning"),
                *(str(Path(__file__).with_name(name)), *arguments),
            ],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture
def adapt() -> Iterator[Adapt]:
    """`WSGIToASGI`; after the test, each adapter's pool must be at rest and its threads must end."""
    made: list[WSGIToASGI] = []

    def workers() -> set[threading.Thread]:
        return {each for each in threads_named("bridge-") if not each.name.endswith("-governor")}

    before = workers()  # other tests' pools are theirs to look after

    def make(app: Any, **options: Any) -> WSGIToASGI:
        adapter = WSGIToASGI(app, **options)
        made.append(adapter)
        return adapter

    yield make
    for adapter in made:
        assert adapter.pool.drain(_GRACE), f"workers are stuck:\n{adapter.pool.dump(0.0)}"
    eventually(lambda: workers() <= before, "no thread outlives its pool")
