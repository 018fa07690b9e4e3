"""What is Hypercorn's alone: its configuration, and its processes."""

from __future__ import annotations

import os
import pickle
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from hypercorn.utils import load_application
from support.bridge_command import PATIENCE, serving
from support.processes import alive, handles
from support.serve_apps import SHOP, asking, write
from support.served import wait_until

from bridge import WSGIToASGI
from bridge.exceptions import TargetError, UsageError
from bridge.serving import report
from bridge.serving.hypercorn_server import _configuration
from bridge.serving.settings import Settings
from bridge.serving.worker import ENVIRONMENT, Order

DEFAULTS = {
    "bind": ["127.0.0.1:8000"],
    "workers": 1,
    "graceful_timeout": 8,
    "use_reloader": False,
    "root_path": "",
    "accesslog": None,
    "loglevel": "INFO",
    "certfile": None,
    "keyfile": None,
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {}),
        (Settings(host="::1", port=0), {"bind": ["[::1]:0"]}),
        (Settings(uds="x.sock"), {"bind": ["unix:x.sock"]}),
        (Settings(workers=3, reload=True), {"workers": 3, "use_reloader": True}),
        (Settings(root_path="/x/", log_level="debug"), {"root_path": "/x", "loglevel": "debug"}),
        (Settings(access_log=True), {"accesslog": "-"}),
        # Without a key Hypercorn would serve in clear text, and say nothing.
        (Settings(ssl_certfile="c"), {"certfile": "c", "keyfile": "c"}),
        (Settings(ssl_certfile="c", ssl_keyfile="k"), {"certfile": "c", "keyfile": "k"}),
        (Settings(timeout_graceful_shutdown=0), {"graceful_timeout": 0}),
        (Settings(further=("--graceful-timeout=20",)), {"graceful_timeout": 20}),
        (Settings(further=("-b", "x:1", "-w", "3", "-k", "trio")), {"bind": ["x:1"], "worker_class": "trio"}),
    ],
)
def test_the_configuration(settings: Settings, expected: dict[str, Any]) -> None:
    config = _configuration(settings)
    wanted = {**DEFAULTS, **expected, "workers": config.workers}
    assert {name: getattr(config, name) for name in wanted} == wanted
    assert config.workers == (3 if settings.workers or "-w" in settings.further else 1)
    assert vars(pickle.loads(pickle.dumps(config))) == vars(config)  # it travels to processes


def test_where_settings_come_from(folder: Path) -> None:
    """Ours win over a file, which wins over our defaults."""
    write(folder / "h.toml", "bind = 'file:1'\nworkers = 2\ngraceful_timeout = 2\naccesslog = 'x.log'\n")
    config = _configuration(Settings(workers=5, access_log=False, further=("-c", "h.toml")))
    assert (config.bind, config.workers, config.graceful_timeout, config.accesslog) == (
        ["file:1"],
        5,
        2,
        None,
    )
    assert _configuration(Settings(port=9, further=("-c", "h.toml"))).bind == ["127.0.0.1:9"]


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        (Settings(port=80, further=("-b", "x:1")), "_bind"),
        (Settings(workers=2, further=("-w", "2")), "workers"),
        (Settings(root_path="/x", further=("--root-path", "/x")), "_root_path"),
    ],
)
def test_the_same_twice(settings: Settings, theirs: str) -> None:
    with pytest.raises(UsageError, match=theirs):
        _configuration(settings)


@pytest.mark.parametrize("arguments", [("--no-such",), ("shop:app",), ("--backlog",)])
def test_what_hypercorns_parser_refuses(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as caught:
        _configuration(Settings(further=arguments))
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("hypercorn: error: ")


def test_hypercorn_finds_the_app(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first process, which looks for files to watch, an error is for the command to report."""
    write(folder / "hyper_a.py")
    monkeypatch.setenv(ENVIRONMENT, "")
    monkeypatch.setenv(report.ENVIRONMENT, "")
    Order("hyper_a:app", threads=3).to_environment()
    path = _configuration(Settings()).application_path
    app: Any = load_application(path, 0)
    assert isinstance(app.app, WSGIToASGI)
    assert app.app.pool.threads == 3
    Order("hyper_a:nope").to_environment()
    with pytest.raises(TargetError):
        load_application(path, 0)


def test_it_listens_before_a_process_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients wait for a moment instead of being refused, once the address is known."""
    monkeypatch.setenv(report.ENVIRONMENT, "")
    config = _configuration(Settings(port=0))
    config.report = report.Report("Hypercorn")
    (listener,) = config.create_sockets().insecure_sockets
    with listener:
        address = report.Report.from_environment().address
        assert address == f"http://127.0.0.1:{listener.getsockname()[1]}"
        socket.create_connection(listener.getsockname(), 30).close()


def test_a_process_that_is_replaced(tmp_path: Path) -> None:
    """One that has had its requests makes way for another. When one is killed, Hypercorn ends: a failure."""
    write(tmp_path / "shop.py", SHOP)
    arguments = ("shop:asgi", "--server", "hypercorn", "--port", "0", "--", "--max-requests", "1")
    with serving(*arguments, cwd=tmp_path, port=None) as server:
        for _ in range(2):
            server.get()
        server.announcement(count=2)
        first, second = re.findall(r"^startup (\d+)$", server.output, re.MULTILINE)
        assert first != second
        os.kill(int(second), signal.SIGKILL)
        assert server.wait() == 1


def test_no_process_is_terminated_before_it_has_ended(tmp_path: Path) -> None:
    """Though another one has, which has nothing to wait for."""
    write(tmp_path / "shop.py", SHOP)
    options = (
        *("--server", "hypercorn", "--workers", "2", "--uds", "x.sock"),
        *("--timeout-graceful-shutdown", str(int(PATIENCE))),
    )
    with serving("shop:asgi", *options, cwd=tmp_path, port=None) as server:
        server.wait_for(r"startup \d+", count=2)
        with asking(str(tmp_path / "x.sock"), "/slow") as client:
            busy = server.wait_for(r"in progress (\d+)")[1]
            # The last of the handlers that Hypercorn's first process has, some time after it has spawned.
            wait_until(lambda: handles(server.process.pid, signal.SIGHUP), PATIENCE, "there are handlers")
            server.process.send_signal(signal.SIGTERM)
            idle = server.wait_for(r"shutdown (\d+)")[1]
            assert idle != busy
            wait_until(lambda: not alive(int(idle)), PATIENCE, "the idle process has ended")
            (tmp_path / "go").touch()
            with client.makefile("rb") as answer:
                assert b'"interface": "asgi"' in answer.read()
        server.wait_for(f"shutdown {busy}")
        assert server.wait() == 0
