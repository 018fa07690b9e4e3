"""What is Cheroot's alone: its options, its log, and its end."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from support.bridge_command import serving
from support.serve_apps import SHOP, asking, write

from bridge.exceptions import UsageError
from bridge.serving.cheroot_server import _arguments, _in_daemon, _Server
from bridge.serving.settings import Settings

EXITS = """
def app(environ, start_response):
    raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {"bind_addr": ("127.0.0.1", 8000), "numthreads": 40, "shutdown_timeout": 8}),
        (
            Settings(host="::1", port=0, threads=3, timeout_graceful_shutdown=1),
            {"bind_addr": ("::1", 0), "numthreads": 3, "shutdown_timeout": 1},
        ),
        (Settings(uds="x"), {"bind_addr": "x", "numthreads": 40, "shutdown_timeout": 8}),
        (
            Settings(further=("--bind", "[::1]:80", "--threads=5", "--max-threads=9", "--timeout=4")),
            {"bind_addr": ("::1", 80), "numthreads": 5, "max": 9, "timeout": 4, "shutdown_timeout": 8},
        ),
    ],
)
def test_options(settings: Settings, expected: dict[str, Any]) -> None:
    assert _arguments(settings) == expected
    _Server(wsgi_app=print, **expected)  # Cheroot takes them


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        (Settings(port=80, further=("--bind=x",)), "bind_addr"),
        (Settings(threads=3, further=("--threads=3",)), "numthreads"),
        (Settings(timeout_graceful_shutdown=3, further=("--shutdown-timeout=3",)), "shutdown_timeout"),
    ],
)
def test_the_same_twice(settings: Settings, theirs: str) -> None:
    with pytest.raises(UsageError, match=theirs):
        _arguments(settings)


def test_what_cheroot_prints_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = _Server(("127.0.0.1", 0), print)
    with caplog.at_level(logging.INFO, "cheroot"):
        server.error_log("100 % wrong", logging.WARNING)
        try:
            raise KeyError("x")
        except KeyError:
            server.error_log("and this", traceback=True)
    first, second = caplog.records
    assert (first.levelname, first.getMessage(), bool(first.exc_info)) == ("WARNING", "100 % wrong", False)
    assert (second.levelname, bool(second.exc_info)) == ("INFO", True)


def test_threads_that_are_started_in_a_daemon_are_daemons() -> None:
    found = []
    _in_daemon(lambda: found.append(threading.Thread(target=print).daemon))
    assert found == [True]
    with pytest.raises(ZeroDivisionError):
        _in_daemon(lambda: 1 // 0)


def test_an_app_that_ends_the_server(tmp_path: Path) -> None:
    """Cheroot takes SystemExit of an app for its own end: which is a failure, not success."""
    write(tmp_path / "shop.py", EXITS)
    with serving("shop:app", "--server", "cheroot", cwd=tmp_path) as server:
        with pytest.raises((OSError, Exception)):
            server.get()
        assert server.wait() == 1
        assert "bridge: Cheroot has ended: SystemExit" in server.output


def test_a_thread_that_never_ends_does_not_keep_the_process(tmp_path: Path) -> None:
    """Though Cheroot itself would wait for it for ever."""
    write(tmp_path / "shop.py", SHOP)
    options = ("--timeout-graceful-shutdown", "0", "--uds", "x.sock")
    with serving("shop:wsgi", "--server", "cheroot", *options, cwd=tmp_path, port=None) as server:
        server.announcement()
        with asking(str(tmp_path / "x.sock"), "/slow"):
            server.wait_for("in progress")
            assert server.stop() == 0
    assert not os.path.exists(tmp_path / "x.sock")
