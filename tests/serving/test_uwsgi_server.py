"""What is uWSGI's alone: its options, and its being a program of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest
from support.bridge_command import PATIENCE, serving
from support.serve_apps import SHOP, write

from bridge.exceptions import UsageError
from bridge.serving.settings import Settings
from bridge.serving.uwsgi_server import _arguments, _executable


def options(settings: Settings) -> dict[str, str]:
    """What uWSGI is told, but for what it is always told."""
    found = dict(argument.partition("=")[::2] for argument in _arguments(settings))
    replaced = ("--http=x", "--processes=1", "--threads=1", "--worker-reload-mercy=1")
    always = {argument.partition("=")[0] for argument in _arguments(Settings(further=replaced))}
    return {name: value for name, value in found.items() if name not in always or name == "--module"}


TARGET = "bridge.serving.uwsgi_server:load_here()"
DEFAULTS = {
    "--http-socket": "127.0.0.1:8000",
    "--processes": "1",
    "--threads": "40",
    "--worker-reload-mercy": "8",
    "--module": TARGET,
}


def test_defaults() -> None:
    assert options(Settings()) == DEFAULTS


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(host="::1", port=0), {"--http-socket": "[::1]:0"}),
        (Settings(uds="/run/x.sock"), {"--http-socket": "/run/x.sock"}),
        (Settings(workers=3, threads=5), {"--processes": "3", "--threads": "5"}),
        (Settings(timeout_graceful_shutdown=0), {"--worker-reload-mercy": "0"}),
        (Settings(access_log=False), {"--disable-logging": ""}),
        (Settings(access_log=True), {}),
    ],
)
def test_options(settings: Settings, expected: dict[str, str]) -> None:
    assert options(settings) == {**DEFAULTS, **expected}


def test_an_app_may_be_mounted() -> None:
    found = options(Settings(root_path="/x"))
    assert found["--mount"] == f"/x={TARGET}"
    assert "--manage-script-name" in found
    assert "--module" not in found


@pytest.mark.parametrize(
    ("settings", "ours"),
    [
        (Settings(further=("--http", ":80")), "--http-socket"),
        (Settings(further=("--socket=x",)), "--http-socket"),
        (Settings(further=("-p", "3")), "--processes"),
        (Settings(further=("--threads=3",)), "--threads"),
    ],
)
def test_what_stands_behind_replaces_our_defaults(settings: Settings, ours: str) -> None:
    assert ours not in options(settings)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(port=80, further=("--http", ":80")),
        Settings(workers=3, further=("-p", "3")),
        Settings(threads=3, further=("--threads=3",)),
        Settings(timeout_graceful_shutdown=3, further=("--worker-reload-mercy=3",)),
        Settings(root_path="/x", further=("--mount=/x=y",)),
    ],
)
def test_the_same_twice(settings: Settings) -> None:
    with pytest.raises(UsageError, match="leave one out"):
        _arguments(settings)


def test_the_program_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(_executable()).parent == Path(sys.executable).parent
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        _executable()
    assert caught.value.name == "uwsgi"


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    write(tmp_path / "shop.py", SHOP)
    arguments = ("shop:wsgi", "--server", "uwsgi", "--timeout-graceful-shutdown", "600")
    with (
        serving(*arguments, cwd=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client,
    ):
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for("in progress")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("graceful shutdown triggered")
        assert server.stop(signal.SIGTERM) == 0
