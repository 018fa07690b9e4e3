"""Serve a site of `tests/frameworks` on a real Uvicorn in a process of its own, and talk to it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

import bridge
from support.frameworks_probes import PATIENCE, Facts

TESTS = Path(__file__).resolve().parent.parent
_START = 30.0  # seconds that a server may take to import its site
_STOP = 15.0  # … and to stop after SIGTERM, its own limit on open requests being 5


class Site:
    """A site that is being served.

    Attributes:
        url: its root, without a slash at the end.
        client: a client for it; keeps cookies, follows no redirects.
    """

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self.client = self.new_client()

    def new_client(self, **options: Any) -> httpx2.Client:
        """Another client, with no cookies yet. The caller closes it."""
        # There is no TLS, and to read the certificates takes longer than most requests.
        return httpx2.Client(
            base_url=self.url, timeout=PATIENCE + 5, trust_env=False, verify=False, **options
        )

    def log(self) -> str:
        """What the server has written to standard error so far."""
        return self._log.read_text("utf-8", "replace")

    def facts(self, request: str, await_: str = "", count: int = 1) -> list[Facts]:
        """What the site noted about a request, once there are `count` facts of the kind `await_`."""
        answer = self.client.get("/probe", params={"of": request, "await": await_, "count": count})
        assert answer.status_code == 200, answer.text
        facts: list[Facts] = answer.json()
        return facts

    def open_gate(self, name: str) -> None:
        """Let the request go on that waits at this gate."""
        assert self.client.get("/open", params={"gate": name}).status_code == 200


def request_id() -> str:
    """A new name for a request, to be sent as `X-Request-Id`."""
    return uuid.uuid4().hex


def of_kind(facts: list[Facts], what: str) -> list[Facts]:
    """Those facts that tell of `what`."""
    return [fact for fact in facts if fact["what"] == what]


@contextmanager
def serve(target: str, *, environ: Mapping[str, str] | None = None, **options: Any) -> Iterator[Site]:
    """Serve `module:app` on Uvicorn until the block ends; the server must then stop by itself, cleanly.

    Args:
        target: what `uvicorn` gets; `tests/` is on its path.
        environ: environment variables added to ours.
        options: further options of `uvicorn.Config`.

    Raises:
        AssertionError: the server did not start, or did not stop on SIGTERM, or logged a traceback.
    """
    # The child serves the `bridge` that is tested here, wherever that is.
    assert bridge.__file__ is not None
    paths = [str(TESTS), str(Path(bridge.__file__).resolve().parent.parent)]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "stderr")
        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "support.frameworks_server", target, json.dumps(options)],
                # `-m` puts the working directory first on the path: it must not hold another `bridge`.
                cwd=TESTS,
                env={**os.environ, **(environ or {}), "PYTHONPATH": os.pathsep.join(paths)},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as process,
        ):
            try:
                site = Site(_port(process, log), log)
                with site.client:
                    yield site
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_STOP)
                except subprocess.TimeoutExpired:
                    raise AssertionError(f"the server did not stop on SIGTERM:\n{site.log()}") from None
            finally:
                process.kill()
        assert process.returncode in (0, -signal.SIGTERM), f"exit {process.returncode}:\n{site.log()}"
        assert "Traceback" not in site.log(), site.log()


def _port(process: subprocess.Popen[str], log: Path) -> int:
    """The port that the server prints, within a bounded time."""
    assert process.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread of its own, as a pipe cannot be read with a time limit everywhere. It ends with the
    # line or with the process.
    threading.Thread(target=lambda stream: lines.put(stream.readline()), args=(process.stdout,)).start()
    try:
        line = lines.get(timeout=_START)
    except queue.Empty:
        line = ""
    assert line.strip().isdigit(), f"the server did not start:\n{log.read_text('utf-8', 'replace')}"
    return int(line)
