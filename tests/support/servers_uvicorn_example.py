"""Starts the Flask example as its users do, in a process of its own, and reads its pages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

from .served import die_with_parent

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "flask_on_uvicorn"

#: Uvicorn's and Hypercorn's line that tells which port they got.
RUNNING = re.compile(r"running on http://127\.0\.0\.1:([1-9][0-9]*)", re.IGNORECASE)

#: Seconds that anything here may take before the test fails. Generous: a loaded machine is no bug.
PATIENCE = 30.0


class Served:
    """A running server process: where it listens and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = 0
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="server output", daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_output(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Return the first match of `pattern` in what the server prints; fail if it stops or stays silent."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                text = "".join(self._lines)
                if match := pattern.search(text):
                    return match
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"the server never printed {pattern.pattern!r}; it printed:\n{text}")
                self._changed.wait(left)

    def stop(self) -> None:
        """Ask the server to stop, as a service manager does; fail if it does not."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not stop when asked; it printed:\n{self.output}") from None

    def kill(self) -> None:
        """End the server, if it has not ended, and let go of everything that belongs to it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)


@contextmanager
def serve(*arguments: str, cwd: Path, env: Mapping[str, str]) -> Iterator[Served]:
    """Run `python -m ARGUMENTS` until the block is left; they must tell the server to take any free port."""
    merged = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **env}
    if "PYTHONPATH" in os.environ:  # relative entries mean the folder of the tests, not that of the server
        folders = os.environ["PYTHONPATH"].split(os.pathsep)
        merged["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in folders)
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=merged,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    served = Served(process)
    try:
        served.port = int(served.wait_for_output(RUNNING)[1])
        yield served
        served.stop()
    finally:
        served.kill()


class Form:
    """A form of a page: where it goes and what it sends unless it is changed."""

    def __init__(self, action: str, method: str) -> None:
        self.action = action
        self.method = method
        self.fields: dict[str, str] = {}


class Page(HTMLParser):
    """What a visitor sees of a page: its text, its addresses, its forms, its elements that have an id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.forms: list[Form] = []
        self.ids: dict[str, str] = {}
        self._words: list[str] = []
        self._id: str | None = None
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.addresses += [has[name] for name in ("href", "src", "action", "data-events") if name in has]
        if tag == "form":
            self.forms.append(Form(has["action"], has["method"]))
        elif tag == "input":
            self.forms[-1].fields[has["name"]] = has.get("value", "")
        self._id = has.get("id", self._id)

    def handle_data(self, data: str) -> None:
        self._words.append(data)
        if self._id is not None:
            self.ids[self._id] = data
            self._id = None

    def form(self, action: str) -> Form:
        """Return the first form whose address ends in `action`."""
        return next(form for form in self.forms if form.action.endswith(action))
