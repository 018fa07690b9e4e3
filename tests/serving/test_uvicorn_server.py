"""`bridge serve` as its users run it: real processes, real sockets, real signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from support.bridge_command import PATIENCE, Serving, command, serving
from support.serve_apps import certificate, write
from support.served import wait_until

from bridge.serving import uvicorn_server
from bridge.serving.settings import GRACE
from bridge.serving.uvicorn_server import GRACE_WITH_RELOAD, serve
from bridge.serving.worker import SHUTDOWN_TIMEOUT, Order

# The same facts told by Flask, and by an app that is sooner imported.
FACTS_OF = """
import json, os

def facts_of(environ):
    return {
        "multiprocess": environ["wsgi.multiprocess"],
        "script_name": environ["SCRIPT_NAME"],
        "scheme": environ["wsgi.url_scheme"],
        "variable": os.environ.get("SHOP_VARIABLE"),
    }
"""
FACTS = f"""{FACTS_OF}
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts_of(environ)).encode()]
"""
FLASK = f"""{FACTS_OF}
from flask import Flask, request
app = Flask(__name__)

@app.get("/")
def facts():
    return facts_of(request.environ)
"""

STREAMS = """
import time

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return stuck() if environ["PATH_INFO"] == "/stuck" else ticking()

def ticking():
    try:
        while True:
            yield b"data: tick\\n\\n"
            time.sleep(0.02)
    finally:
        print("the stream was closed", flush=True)

def stuck():
    yield b"data: tick\\n\\n"
    time.sleep(3600)
"""

# An import that cannot happen on a running event loop.
RUNS_A_LOOP = "import asyncio\nasyncio.run(asyncio.sleep(0))\n"

ANSWERS_ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"asgi", "more_body": False})
"""

# The supervisor kills a worker that does not answer for so many seconds; on a busy machine one may not have
# begun within the five that are the default.
WORKERS = ("--workers", "2", "--timeout-worker-healthcheck", str(int(PATIENCE)))
# Not as long: the supervisor may wait all the time for the answer of one that has just ended.
WORKERS_THAT_END = ("--workers", "2", "--timeout-worker-healthcheck", "10")

PROCESSES = [
    pytest.param((), id="one process"),
    pytest.param(WORKERS, id="workers"),
    pytest.param(("--reload",), id="reload"),
]


def shop(folder: Path, text: str) -> Path:
    return write(folder / "shop.py", text)


@contextmanager
def streaming(server: Serving, path: str = "/") -> Iterator[socket.socket]:
    """A client that has received the first event of a stream."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while b"data: tick" not in received:
            chunk = client.recv(65536)
            assert chunk, f"the stream ended: {received!r}\n{server.output}"
            received += chunk
        yield client


def group_is_gone(pid: int) -> bool:
    """Whether no process of the group is left, once those that are ending have ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


# --- what is said and served


def test_a_flask_app(tmp_path: Path) -> None:
    shop(tmp_path, FLASK)
    with serving("shop:app", cwd=tmp_path) as server:
        line = server.announcement()
        assert line["summary"] == (
            "shop:app is a WSGI app (flask.Flask); serving it through WSGIToASGI (40 threads)"
        )
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+", line["address"])
        assert line["rest"] == ""
        # The line is there only when connections are accepted; the facts are those of one process.
        assert '"multiprocess":false' in server.get()
        assert "GET / HTTP/1.1" in server.wait_for(r".*GET / HTTP/1\.1.*")[0]
        assert server.stop() == 0
        assert "Traceback" not in server.output


def test_an_asgi_app(tmp_path: Path) -> None:
    shop(tmp_path, ANSWERS_ASGI)
    with serving("shop", "--threads", "3", cwd=tmp_path) as server:
        line = server.announcement()
        assert (
            line["summary"] == "shop:app (picked by its name) is an ASGI app (coroutine function); serving it"
        )
        assert line["rest"] == " (--threads has no effect on an ASGI app)"
        assert server.get() == "asgi"
        assert server.stop() == 0


def test_an_asgi_app_that_takes_anything_is_no_factory(tmp_path: Path) -> None:
    """Uvicorn calls an app without arguments to see whether it is one."""
    named, anything = "(scope, receive, send):", "(*args):\n    scope, receive, send = args"
    shop(tmp_path, ANSWERS_ASGI.replace(named, anything))
    with serving("shop:app", cwd=tmp_path) as server:
        assert server.get() == "asgi"
        assert server.stop() == 0
        assert "factory" not in server.output
        assert "never awaited" not in server.output


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("web/shop.py", ()),
        ("web/shop.py:make_shop()", ()),
        ("shop:make_shop", ("--app-dir", "web", "--factory")),
    ],
)
def test_every_form_of_target_is_served(tmp_path: Path, target: str, arguments: tuple[str, ...]) -> None:
    write(tmp_path / "web/shop.py", FACTS + "\ndef make_shop(*args):\n    return app\n")
    with serving(target, *arguments, cwd=tmp_path) as server:
        assert "a WSGI app (function)" in server.announcement()["summary"]
        assert "multiprocess" in server.get()


def test_a_django_project(tmp_path: Path) -> None:
    write(tmp_path / "project/__init__.py", "")
    write(
        tmp_path / "project/settings.py",
        """
        ALLOWED_HOSTS = ["*"]
        ROOT_URLCONF = "project.urls"
        """,
    )
    write(
        tmp_path / "project/urls.py",
        """
        from django.http import HttpResponse
        from django.urls import path
        urlpatterns = [path("", lambda request: HttpResponse("hello from Django"))]
        """,
    )
    write(
        tmp_path / "project/wsgi.py",
        """
        import os
        from django.core.wsgi import get_wsgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        application = get_wsgi_application()
        """,
    )
    with serving("project.wsgi", cwd=tmp_path) as server:
        summary = server.announcement()["summary"]
        assert summary.startswith("project.wsgi:application (picked by its name) is a WSGI app")
        assert "(django.core.handlers.wsgi.WSGIHandler)" in summary
        assert server.get() == "hello from Django"
        assert server.stop() == 0


# --- options that Uvicorn acts on


def test_options_of_uvicorn_have_their_effect(tmp_path: Path) -> None:
    shop(tmp_path, FACTS)
    write(tmp_path / "shop.env", "SHOP_VARIABLE=from-the-file\n")
    arguments = "--root-path /root --log-level warning --no-access-log --threads 3 --env-file shop.env"
    with serving("shop", *arguments.split(), cwd=tmp_path) as server:
        assert "(3 threads)" in server.announcement()["summary"]
        body = server.get()
        assert '"script_name": "/root"' in body
        assert '"variable": "from-the-file"' in body
        assert server.stop() == 0
        # Our one line is all: no information of Uvicorn's, no access log.
        assert len(server.output.splitlines()) == 1


def test_a_unix_socket(tmp_path: Path) -> None:
    shop(tmp_path, ANSWERS_ASGI)
    with serving("shop", "--uds", "x.sock", cwd=tmp_path, port=None) as server:
        assert server.announcement()["address"] == "unix:x.sock"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "x.sock"))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.makefile("rb").read().endswith(b"asgi")
        assert server.stop() == 0
    assert not (tmp_path / "x.sock").exists()


def test_a_file_descriptor(tmp_path: Path) -> None:
    shop(tmp_path, ANSWERS_ASGI)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with serving("shop", "--fd", str(number), cwd=tmp_path, port=None, pass_fds=(number,)) as server:
            assert server.announcement()["address"] == "file"
            assert server.announcement()["rest"] == f" descriptor {number}"
            with socket.create_connection(listener.getsockname(), PATIENCE) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert client.makefile("rb").read().endswith(b"asgi")
            assert server.stop() == 0


def test_tls(tmp_path: Path) -> None:
    shop(tmp_path, FACTS)
    key, cert = certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / cert))
    with serving("shop", "--ssl-keyfile", key, "--ssl-certfile", cert, cwd=tmp_path) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with (
            socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
        ):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b'"scheme": "https"' in client.makefile("rb").read()
        assert server.stop() == 0


# --- several processes


def test_workers(tmp_path: Path) -> None:
    shop(tmp_path, FACTS)
    with serving("shop:app", *WORKERS, cwd=tmp_path) as server:
        assert server.announcement()["rest"] == " with 2 workers"
        server.wait_for("Application startup complete", count=2)
        assert '"multiprocess": true' in server.get()
        assert server.stop() == 0
        assert server.output.count("bridge: ") == 1
        assert len(set(re.findall(r"Finished server process \[(\d+)\]", server.output))) == 2
        assert group_is_gone(server.process.pid)


def test_the_number_of_workers_may_come_from_the_environment(tmp_path: Path) -> None:
    shop(tmp_path, FACTS)
    with serving("shop:app", cwd=tmp_path, env={"WEB_CONCURRENCY": "2"}) as server:
        assert server.announcement()["rest"] == " with 2 workers"
        assert server.stop() == 0


def test_connections_are_accepted_while_workers_start(tmp_path: Path) -> None:
    """Nobody is refused once the address is known: here before any worker has the app."""
    shop(
        tmp_path, "import time\nwhile not __import__('os').path.exists('go'):\n    time.sleep(0.01)\n" + FACTS
    )
    with serving("shop:app", *WORKERS, cwd=tmp_path) as server:
        port = int(server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")[1])
        # Uvicorn prints its line when the socket is bound; a moment later it listens.
        server.wait_for("Started parent process")
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            (tmp_path / "go").touch()
            assert b"200 OK" in client.makefile("rb").read()
        assert server.stop() == 0


# A module that can be imported once it is told, in a process that says when it has answered a health check.
ANSWERS_CHECKS = """
import os, time
from uvicorn.supervisors.multiprocess import Process

pong = Process.pong

def tell(self):
    pong(self)
    os.write(1, b"a check was answered\\n")

Process.pong = tell
while not os.path.exists("go"):
    time.sleep(0.01)
"""


def test_an_import_may_take_longer_than_a_health_check(tmp_path: Path) -> None:
    """The supervisor kills a worker that does not answer for so long; one that imports must answer."""
    shop(tmp_path, ANSWERS_CHECKS + FACTS)
    with serving("shop:app", *WORKERS, cwd=tmp_path) as server:
        server.wait_for("a check was answered", count=4)
        assert "Application startup complete" not in server.output
        (tmp_path / "go").touch()
        server.wait_for("Application startup complete", count=2)
        assert "died" not in server.output
        assert server.stop() == 0


def test_a_worker_that_fails_when_it_is_started_anew_says_why(tmp_path: Path) -> None:
    """Though the first ones have reported already."""
    shop(tmp_path, FACTS)
    with serving("shop:app", *WORKERS_THAT_END, cwd=tmp_path) as server:
        server.wait_for("Application startup complete", count=2)
        shop(tmp_path, "1 / 0\n")
        os.kill(int(server.wait_for(r"Started server process \[(\d+)\]")[1]), signal.SIGKILL)
        server.wait_for("bridge: importing shop raised ZeroDivisionError")
        assert server.wait() == 1


def answers(server: Serving, text: str) -> bool:
    """Whether that is the answer now; a process that is being replaced may take a connection with it."""
    try:
        return server.get() == text
    except (ConnectionError, HTTPException):
        return False


def test_reload(tmp_path: Path) -> None:
    """A change is served, a broken one is reported, and the next one is served again."""
    answering = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{}']\n"
    shop(tmp_path, answering.format("one"))
    with serving("shop:app", "--reload", cwd=tmp_path) as server:
        assert server.announcement()["rest"] == " with reload"
        assert server.get() == "one"
        for attempt in range(100):
            # Uvicorn begins to watch a moment after the app is there, and does not say when.
            shop(tmp_path, answering.format("two") + f"# {attempt}\n")
            if server.look_for("Reloading", within=0.3):
                break
        wait_until(lambda: answers(server, "two"), PATIENCE, "the change is served")
        shop(tmp_path, "1 / 0\n")
        server.wait_for("bridge: waiting for a file to change")
        assert "bridge: importing shop raised ZeroDivisionError" in server.output
        assert "never awaited" not in server.output
        shop(tmp_path, answering.format("three"))
        wait_until(lambda: answers(server, "three"), PATIENCE, "the repaired app is served")
        assert server.stop() == 0
        assert group_is_gone(server.process.pid)


def test_reload_watches_a_target_outside_of_the_current_directory(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/shop.py")
    (tmp_path / "here").mkdir()
    with serving("../elsewhere/shop.py", "--reload", cwd=tmp_path / "here") as server:
        watched = server.wait_for(r"Will watch for changes in these directories: (.*)")[1]
        assert str(tmp_path / "elsewhere") in watched
        assert str(tmp_path / "here") in watched
        server.announcement()
        assert server.stop() == 0


@pytest.mark.parametrize("arguments", PROCESSES)
def test_the_app_is_imported_before_the_loop_runs(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    shop(tmp_path, RUNS_A_LOOP + FACTS)
    with serving("shop:app", *arguments, cwd=tmp_path) as server:
        assert "multiprocess" in server.get()


# --- the end


@pytest.mark.parametrize(
    ("arguments", "number", "path"),
    [
        pytest.param((), signal.SIGTERM, "/ticking", id="one process, SIGTERM"),
        pytest.param((), signal.SIGINT, "/stuck", id="one process, SIGINT, stuck"),
        pytest.param(WORKERS, signal.SIGTERM, "/stuck", id="workers, SIGTERM, stuck"),
        pytest.param(("--reload",), signal.SIGINT, "/ticking", id="reload, SIGINT"),
    ],
)
def test_an_endless_stream_does_not_keep_the_process(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals, path: str
) -> None:
    shop(tmp_path, STREAMS)
    with serving("shop:app", *arguments, "--timeout-graceful-shutdown", "1", cwd=tmp_path) as server:
        with streaming(server, path) as client:
            assert server.stop(number) == 0
            client.settimeout(PATIENCE)
            while client.recv(65536):
                pass
        if path == "/ticking":
            assert "the stream was closed" in server.output
        assert group_is_gone(server.process.pid)


def test_a_request_in_progress_is_finished_first(tmp_path: Path) -> None:
    shop(
        tmp_path,
        """
        import os, time

        def app(environ, start_response):
            print("the request is here", flush=True)
            while not os.path.exists("go"):
                time.sleep(0.01)
            start_response("200 OK", [])
            return [b"finished"]
        """,
    )
    with serving("shop:app", cwd=tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            server.wait_for("the request is here")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("Waiting for connections to close")
            (tmp_path / "go").touch()
            assert client.makefile("rb").read().endswith(b"finished")
        assert server.wait() == 0
        assert "Traceback" not in server.output


def test_the_time_for_requests_in_progress_is_bounded_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uvicorn's default is no bound. Docker kills ten seconds after SIGTERM."""
    assert GRACE + SHUTDOWN_TIMEOUT < 10
    seen: list[Any] = []

    def note(order: Order, config: Any) -> int:
        seen.append(config.timeout_graceful_shutdown)
        return 0

    for name in ("_serve_here", "_serve_with_reload"):
        monkeypatch.setattr(uvicorn_server, name, note)
    for options in (
        {},
        {"timeout_graceful_shutdown": None},
        {"reload": True},
        {"timeout_graceful_shutdown": 30},
        {"timeout_graceful_shutdown": 30, "reload": True},
        {"timeout_graceful_shutdown": 0},
    ):
        assert serve(Order("shop"), {"log_config": None, **options}) == 0
    assert seen == [GRACE, GRACE, GRACE_WITH_RELOAD, 30, 30, 0]


# --- what cannot be served


@pytest.mark.parametrize("arguments", [(), WORKERS_THAT_END], ids=["one process", "workers"])
@pytest.mark.parametrize(
    ("target", "code", "said"),
    [
        pytest.param(
            "shop:nope", 2, r"^bridge: shop \(shop.py\) has no attribute 'nope'$", id="no such attribute"
        ),
        pytest.param("zebra", 2, r"^bridge: there is no module 'zebra'", id="no such module"),
        pytest.param(
            "broken", 1, r"^bridge: importing broken raised ZeroDivisionError", id="an import that raises"
        ),
        pytest.param("failing", 1, r"Application startup failed", id="a lifespan that fails"),
    ],
)
def test_a_target_that_cannot_be_served_ends_it(
    tmp_path: Path, target: str, code: int, said: str, arguments: tuple[str, ...]
) -> None:
    """With one message, however many workers find out."""
    shop(tmp_path, FACTS)
    write(tmp_path / "broken.py", "1 / 0\n")
    write(
        tmp_path / "failing.py",
        """
        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})
        """,
    )
    done = command("serve", target, "--port", "0", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    found = re.findall(said, done.stderr, re.MULTILINE)
    assert len(found) == 1 or (target == "failing" and found), done.stderr


def test_a_port_that_is_taken_is_a_failure(tmp_path: Path) -> None:
    shop(tmp_path, ANSWERS_ASGI)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        for arguments in ((), ("--workers", "2"), ("--reload",)):
            done = command("serve", "shop", "--port", port, *arguments, cwd=tmp_path)
            assert done.returncode == 1, done.stderr
            assert "ddress already in use" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_wsgi_app_forced_to_be_what_it_is_not(tmp_path: Path) -> None:
    shop(tmp_path, ANSWERS_ASGI)
    done = command("serve", "shop", "--port", "0", "--interface", "wsgi", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("bridge: ")
    assert "Traceback" not in done.stderr
