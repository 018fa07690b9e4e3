"""What is Waitress's alone: its options, and its end."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from support.bridge_command import PATIENCE, serving
from support.serve_apps import SHOP, write
from support.served import reserve_port, wait_until
from waitress.adjustments import Adjustments  # type: ignore[import-untyped]

from bridge.exceptions import UsageError
from bridge.serving.settings import Settings
from bridge.serving.waitress_server import _adjustments


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {"host": "127.0.0.1", "port": 8000, "threads": 40}),
        (Settings(host="::1", port=0), {"host": "::1", "port": 0, "threads": 40}),
        (Settings(uds="x.sock"), {"unix_socket": "x.sock", "threads": 40}),
        (Settings(threads=3, root_path="/x"), {"threads": 3, "url_prefix": "/x"}),
        (Settings(further=("--threads=5", "--no-ipv6")), {"threads": "5", "ipv6": "false"}),
        (Settings(further=("--listen=127.0.0.1:80",)), {"listen": " 127.0.0.1:80", "threads": 40}),
        (Settings(further=("--unix-socket=x",)), {"unix_socket": "x", "threads": 40}),
    ],
)
def test_options(settings: Settings, expected: dict[str, Any]) -> None:
    found = _adjustments(settings)
    assert found is not None
    assert {**found, **expected} == found
    assert ("host" in found) is ("unix_socket" not in expected and "listen" not in expected)
    Adjustments(**found)  # Waitress takes them


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(further=("--no-such=3",)), "option --no-such not recognized"),
        (Settings(further=("shop:app",)), "got shop:app"),
        (Settings(further=("--call",)), "got --call"),
        (Settings(threads=3, further=("--threads=3",)), "what Waitress calls 'threads'"),
        (Settings(root_path="/x", further=("--url-prefix=/x",)), "'url_prefix'"),
        (Settings(port=80, further=("--listen=*:80",)), "Waitress's listen: leave one of the two out"),
    ],
)
def test_options_that_are_wrong(settings: Settings, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _adjustments(settings)
    assert said in str(caught.value)


def test_a_value_that_waitress_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "shop.py", SHOP)
    with serving("shop:wsgi", "--server", "waitress", "--", "--threads=many", cwd=tmp_path) as server:
        assert server.wait() == 1
        assert "bridge: Waitress does not start: invalid literal" in server.output


def test_several_sockets_and_a_second_signal(tmp_path: Path) -> None:
    """The second one ends it at once, whatever is in progress."""
    write(tmp_path / "shop.py", SHOP)
    arguments = ("shop:wsgi", "--server", "waitress", "--timeout-graceful-shutdown", "600", "--")
    with reserve_port() as reservation:
        other = reservation.getsockname()[1]
        listen = ("--listen=127.0.0.1:0", f"--listen=127.0.0.1:{other}")
        with serving(*arguments, *listen, cwd=tmp_path, port=None) as server:
            assert json.loads(server.get())["interface"] == "wsgi"
            with socket.create_connection(("127.0.0.1", other), PATIENCE) as client:
                client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                server.wait_for("in progress")
                server.process.send_signal(signal.SIGTERM)
                wait_until(lambda: refused(other), PATIENCE, "the first signal has arrived")
                server.process.send_signal(signal.SIGTERM)
                assert client.recv(1000) == b""
            assert server.wait() == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it came into the queue of a listener that was just being closed
        return False
    return False


def test_an_idle_connection_does_not_delay_the_end(tmp_path: Path) -> None:
    write(tmp_path / "shop.py", SHOP)
    arguments = ("shop:wsgi", "--server", "waitress", "--timeout-graceful-shutdown", "600")
    with (
        serving(*arguments, cwd=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in client.recv(1000)
        assert server.stop() == 0
