"""Mypy and Pyright as users run them, in a place without settings of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bridge

# Seconds that a checker may take, which reads the frameworks' sources the first time.
TIMEOUT = 280.0

PACKAGE = Path(str(bridge.__file__)).resolve().parent
"""The package that is tested."""

# The folder that holds it, if it is not installed: then checkers have to be told of it.
_CHECKOUT = None if "site-packages" in PACKAGE.parts else PACKAGE.parent


def mypy(files: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy strict.

    In a checkout, what it has found out of other files is kept there from run to run.
    """
    arguments = ["mypy", "--strict", "--warn-unreachable", "--config-file="]
    if _CHECKOUT is None:
        return _run([*arguments, *files], cwd)
    cache = _CHECKOUT / ".mypy_cache" / "of_users"
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        return _run([*arguments, f"--cache-dir={cache}", *files], cwd)


def pyright(files: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Pyright with its own defaults."""
    return _run(["pyright", "--pythonpath", sys.executable, *files], cwd)


def _run(command: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    if _CHECKOUT is not None:
        env |= {"MYPYPATH": str(_CHECKOUT), "PYTHONPATH": str(_CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Have one test run use a folder at a time."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
