"""A `bridge serve` process for a test: its address, output, failures and end."""

from __future__ import annotations

import http.client
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.leftovers import no_thread_left
from support.served import wait_until

from bridge.exceptions import MissingDependency, StartupFailed, UsageError
from bridge.serving.servers import SERVERS
from bridge.testing.client import Client
from bridge.testing.served import start
from bridge.testing.servers import process as process_module
from bridge.testing.servers import running as running_module
from bridge.testing.servers.process import InProcess
from bridge.testing.servers.running import listen

PATIENCE = 20.0

SHOP = """
import os, sys, time

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            print("seen", kind, flush=True)
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    body = scope["path"].encode() + b" " + str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

def make():
    return app

async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

def loud(environ, start_response):
    print("x" * 3000, flush=True)
    start_response("200 OK", [])
    return [b"loud"]

async def stuck(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                time.sleep(1000)
            await send({"type": kind + ".complete"})
"""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder with the module `shop_of_process`."""
    (tmp_path / "shop_of_process.py").write_text(SHOP)
    return str(tmp_path)


def get(url: str, path: str = "/") -> bytes:
    """The body of the answer to a GET."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def is_there(pid: int) -> bool:
    """Whether a process runs, or is yet to be collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# One of each kind: a single process, forked workers, spawned workers, a program around the interpreter. What
# all of them announce is tested where `bridge serve` is.
@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "granian", "uwsgi"])
def test_a_target_is_served(server: str, folder: str) -> None:
    """Its processes are gone afterwards, and what they printed is kept."""
    pytest.importorskip("pyuwsgi" if server == "uwsgi" else SERVERS[server].library)
    with start("shop_of_process:app", server, app_dir=folder, grace=10) as running:
        path, pid = get(running.url, "/caf%C3%A9").decode().split()
        assert path == "/caf\u00e9"
        assert f"at {running.url}" in running.output
    # Whoever inherits a worker collects it in its own time.
    wait_until(lambda: not is_there(int(pid)), PATIENCE, "the process is gone")
    assert "seen lifespan.shutdown" in running.output


def test_options_are_those_of_the_command(folder: str) -> None:
    """Flags, values, and options that may come several times; a client can be made of it directly."""
    options: dict[str, Any] = {
        "app_dir": folder,
        "factory": True,
        "header": ["X-One:1", "X-Two:2"],
        "server_header": False,
    }
    with Client.served("shop_of_process:make", **options) as client:
        response = client.get("/")
    assert (response.headers["x-one"], response.headers["x-two"]) == ("1", "2")
    assert "server" not in response.headers


FAILURES: dict[str, tuple[str, type[Exception], str]] = {
    "module": ("no_such_shop:app", UsageError, "exit code 2.*there is no module 'no_such_shop'"),
    "lifespan": ("shop_of_process:failing", StartupFailed, "exit code 1.*no database"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_target_that_cannot_be_served_is_an_error_at_once(case: str, folder: str) -> None:
    """With all that the process said."""
    target, kind, words = FAILURES[case]
    with pytest.raises(kind, match=f"(?s){words}"):
        start(target, app_dir=folder)


def test_a_port_that_is_taken_is_an_error_at_once(folder: str) -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(StartupFailed, match=r"(?si)exit code 1.*in use"):
        start("shop_of_process:app", app_dir=folder, port=taken.getsockname()[1])


def test_a_process_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """And ended; the error says what it printed."""
    server = InProcess("a:b", "uvicorn", host="127.0.0.1", port=0, grace=1.0, options={})
    server._command = [sys.executable, "-c", "print('hm', flush=True)\nimport time; time.sleep(1000)"]
    launch = InProcess._launch

    def launch_and_hear(self: InProcess) -> None:
        launch(self)
        wait_until(lambda: "hm" in self.output, PATIENCE, "it has printed something")

    monkeypatch.setattr(InProcess, "_launch", launch_and_hear)
    with pytest.raises(StartupFailed, match=r"(?s)did not serve within 0\.01 seconds\. It printed:\nhm"):
        server.start(0.01)
    assert server._process is not None
    assert server._process.returncode == -signal.SIGTERM


def test_a_process_that_ends_in_silence_is_told_of() -> None:
    server = InProcess("a:b", "uvicorn", host="127.0.0.1", port=0, grace=1.0, options={})
    server._command = [sys.executable, "-c", "import os; os._exit(7)"]
    with pytest.raises(StartupFailed, match=r"exit code 7\. It printed nothing"):
        server.start(PATIENCE)


def test_a_process_that_does_not_end_is_killed(
    folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the grace and a little more."""
    monkeypatch.setattr(running_module, "ENDING", 0.5)
    running = start("shop_of_process:stuck", app_dir=folder, grace=0.1)
    assert isinstance(running, InProcess)
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < PATIENCE
    assert "has not ended" in caplog.text
    assert running._process is not None
    running._process.wait(PATIENCE)
    assert running._process.returncode == -signal.SIGKILL


def test_a_process_that_dies_is_told_of(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    running = start("shop_of_process:app", app_dir=folder)
    assert isinstance(running, InProcess)
    assert running._process is not None
    running._process.send_signal(signal.SIGABRT)
    wait_until(running._ended.is_set, PATIENCE, "its end is known")
    running.close()
    assert "ended with exit code -6" in caplog.text


def test_the_output_that_is_kept_is_bounded(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is."""
    monkeypatch.setattr(process_module, "_KEPT", 5000)
    with start("shop_of_process:loud", "waitress", app_dir=folder) as running:
        for _ in range(4):
            assert get(running.url) == b"loud"
        wait_until(lambda: running.output.endswith("x\n"), PATIENCE, "the last line has come")
    assert 3000 < len(running.output) <= 5000


@no_thread_left()
def test_its_thread_ends_with_it(folder: str) -> None:
    start("shop_of_process:loud", "waitress", app_dir=folder).close()


def test_the_message_of_a_missing_click_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without_click(name: str, *arguments: Any) -> Any:
        return None if name == "click" else find(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", without_click)
    with pytest.raises(MissingDependency, match=r"needs click: pip install 'wsgi-asgi-bridge\[testing\]'"):
        start("shop:app")
