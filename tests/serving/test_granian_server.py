"""What is Granian's alone: its options, finding out what the app is, and the address for its workers."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from granian.constants import Interfaces
from support.bridge_command import command, serving
from support.serve_apps import ASGI, SHOP, write

from bridge.exceptions import UsageError
from bridge.serving.granian_server import (
    _COMMAND,
    _arguments,
    _interface,
    _reserved,
    _wait_until_it_accepts,
    _where,
    serve,
)
from bridge.serving.settings import Settings
from bridge.serving.worker import Order


@pytest.mark.parametrize(
    ("settings", "interface", "expected"),
    [
        (Settings(), "asgi", {"interface": "asgi", "workers_kill_timeout": 8, "blocking_threads": None}),
        (Settings(), "wsgi", {"interface": "wsgi", "blocking_threads": 40}),
        (Settings(threads=3), "wsgi", {"blocking_threads": 3}),
        (Settings(threads=3), "asgi", {"blocking_threads": None}),
        (Settings(host="::1", port=9), "asgi", {"host": "::1", "port": 9, "uds": None}),
        (Settings(uds="x.sock"), "asgi", {"uds": Path("x.sock")}),
        (Settings(workers=3, reload=True), "asgi", {"workers": 3, "reload": True}),
        (Settings(root_path="/x"), "asgi", {"url_path_prefix": "/x"}),
        (
            Settings(log_level="debug", access_log=True),
            "asgi",
            {"log_level": "debug", "log_access_enabled": True},
        ),
        (Settings(access_log=False), "asgi", {"log_access_enabled": False}),
        (Settings(timeout_graceful_shutdown=3), "asgi", {"workers_kill_timeout": 3}),
        (Settings(further=("--blocking-threads=5",)), "wsgi", {"blocking_threads": 5}),
    ],
)
def test_options(settings: Settings, interface: str, expected: dict[str, Any]) -> None:
    said = {"blocking_threads"} if settings.further else set()
    ours = _arguments(settings, said, Interfaces(interface), None)
    found = _COMMAND.make_context("granian", [*settings.further, *ours, "--", "shop:app"]).params
    assert {name: getattr(found[name], "value", found[name]) for name in expected} == expected


def test_the_options_for_tls(tmp_path: Path) -> None:
    for name in ("c", "k"):
        write(tmp_path / name, "")
    cert, key = str(tmp_path / "c"), str(tmp_path / "k")
    ours = _arguments(Settings(ssl_certfile=cert, ssl_keyfile=key), set(), Interfaces.ASGI, 7)
    assert {f"--ssl-certificate={cert}", f"--ssl-keyfile={key}", "--port=7"} <= set(ours)
    assert f"--ssl-keyfile={cert}" in _arguments(Settings(ssl_certfile=cert), set(), Interfaces.ASGI, None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(further=("--interface", "wsgi")), "--interface is for bridge to know"),
        (Settings(further=("--factory",)), "--factory is for bridge to know"),
        (Settings(workers=2, further=("--workers", "2")), "--workers was given"),
        (Settings(threads=2, further=("--blocking-threads", "2")), "'blocking_threads'"),
    ],
)
def test_options_that_are_wrong(settings: Settings, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        serve(Order("shop:app"), settings)


PARAMS = {"host": "127.0.0.1", "port": 8000, "uds": None}


@pytest.mark.parametrize(
    ("settings", "params", "expected"),
    [
        (Settings(), PARAMS, ("127.0.0.1", 8000)),
        (Settings(port=0), {**PARAMS, "host": "::1"}, ("::1", 0)),
        (Settings(), {**PARAMS, "uds": Path("x")}, "x"),
        (Settings(port=9), {**PARAMS, "uds": Path("x")}, ("127.0.0.1", 9)),
        (Settings(uds="y"), PARAMS, "y"),
    ],
)
def test_where_it_will_listen(settings: Settings, params: dict[str, Any], expected: object) -> None:
    assert _where(settings, params) == expected


def test_a_port_is_kept_for_the_workers() -> None:
    with _reserved(("127.0.0.1", 0)) as port, socket.socket() as worker:
        assert port
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", port))
        worker.listen()
        with _reserved(("127.0.0.1", port)) as same:
            assert same is None  # it is known already
    with _reserved("x.sock") as port:
        assert port is None


@pytest.mark.parametrize(("name", "interface"), [("site", Interfaces.WSGI), ("app", Interfaces.ASGI)])
def test_what_an_app_is_is_found_out_elsewhere(folder: Path, name: str, interface: Interfaces) -> None:
    """This process must not import it, as it will be forked."""
    write(folder / "gran_a.py", ASGI.format(name="app") + "def site(environ, start_response): pass\n")
    assert _interface(Order(f"gran_a:{name}")) is interface
    assert _interface(Order("nowhere", interface=interface.value)) is interface  # it need not be found out


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", 2, "has no attribute 'app'"),
        ("1 / 0", 1, "importing gran_b raised ZeroDivisionError"),
        ("import os; os._exit(7)", 1, r"importing gran_b:app ended the process (exit code 7)"),
    ],
)
def test_an_app_that_is_not_there(
    folder: Path, capfd: pytest.CaptureFixture[str], text: str, code: int, said: str
) -> None:
    write(folder / "gran_b.py", text)
    assert _interface(Order("gran_b:app")) == code
    assert said in capfd.readouterr().err


def test_variables_of_granian_count(tmp_path: Path) -> None:
    """More than our defaults, less than what is written."""
    write(tmp_path / "shop.py", SHOP)
    env = {"GRANIAN_WORKERS": "2", "GRANIAN_BLOCKING_THREADS": "3", "GRANIAN_PORT": "0"}
    with serving("shop:wsgi", "--server", "granian", cwd=tmp_path, port=None, env=env) as server:
        assert server.announcement()["rest"] == " with 2 workers of 3 threads"
        assert '"interface": "wsgi"' in server.get()
        server.wait_for("Started worker-", count=2)  # else one may not hear the signal, and is waited for
        assert server.stop() == 0


def test_a_target_that_fails_in_the_worker_only(tmp_path: Path) -> None:
    write(tmp_path / "shop.py", "1 / 0\n")
    arguments = ("shop:app", "--server", "granian", "--interface", "asgi", "--port", "0")
    done = command("serve", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "bridge: importing shop raised ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_nothing_is_said_before_it_accepts(tmp_path: Path, family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "x.sock"))
        waiting = threading.Thread(target=_wait_until_it_accepts, args=(listener.getsockname(),), daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        listener.listen()
        waiting.join(30)
        assert not waiting.is_alive()
