"""The servers that `bridge serve` can run: the table of them, and each of them at work, as users run it.

What one server alone has is tested in the file of its module.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from support.bridge_command import PATIENCE, Serving, command, serving
from support.processes import handles
from support.serve_apps import SHOP, asking, certificate, write
from support.served import wait_until

from bridge import cli
from bridge.exceptions import MissingDependency, UsageError
from bridge.serving import report
from bridge.serving.servers import DEFAULT, SERVERS, Server
from bridge.serving.settings import Settings
from bridge.serving.worker import ENVIRONMENT

# Uvicorn is tested in test_uvicorn_server.py: all that it has are options of the command.
OTHERS = [server for server in SERVERS.values() if server.name != DEFAULT]
EACH = pytest.mark.parametrize("server", OTHERS, ids=lambda server: server.name)
NO_LIFESPAN = "daphne"

# Options of the servers themselves, which stand behind `--`.
OWN = {
    "gunicorn": ("--no-control-socket", "--name", "shop"),
    "hypercorn": ("--max-requests", "1000"),
    "granian": ("--backlog", "200"),
    "waitress": ("--ident", "shop"),
    "cheroot": ("--server-name", "shop"),
    "daphne": ("--server-name", "shop"),
    "uwsgi": ("--harakiri", "60"),
}

# What the line says of an ASGI app, and at its end, with two workers where there may be several.
THROUGH = " through ASGIToWSGI"
SAID = {
    "gunicorn": (THROUGH, " with 2 gthread workers of 40 threads"),
    "hypercorn": ("", " with 2 workers"),
    "granian": ("", " with 2 workers"),
    "waitress": (THROUGH, " with 40 threads"),
    "cheroot": (THROUGH, " with 40 threads"),
    "daphne": ("", ", which runs no lifespan"),
    "uwsgi": (THROUGH, " with 2 workers of 40 threads"),
}

# The same of a WSGI app, with three threads.
SAID_OF_WSGI = {
    "gunicorn": ("", " with 1 gthread worker of 3 threads"),
    "hypercorn": (" through WSGIToASGI (3 threads)", " with 1 worker"),
    "granian": ("", " with 1 worker of 3 threads"),
    "waitress": ("", " with 3 threads"),
    "cheroot": ("", " with 3 threads"),
    "daphne": (" through WSGIToASGI (3 threads)", ""),
    "uwsgi": ("", " with 1 worker of 3 threads"),
}

# Servers that kill the worker of a request that does not end, so that its lifespan does not end either.
KILLS_THE_STUCK = ("granian", "uwsgi")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the apps to be served."""
    write(tmp_path / "shop.py", SHOP)
    return tmp_path


def workers(server: Server, number: int = 2) -> tuple[str, ...]:
    """Options for so many workers, if the server has them."""
    return () if "workers" in server.lacks else ("--workers", str(number))


@contextmanager
def running(
    server: Server, kind: str, shop: Path, *options: str, where: str = "--port=0"
) -> Iterator[Serving]:
    """One of the two apps of the shop, made by a factory, on a server."""
    target = f"shop:make('{kind}')"
    arguments = (target, "--server", server.name, where, *options, "--", *OWN[server.name])
    with serving(*arguments, cwd=shop, port=None) as process:
        yield process


def pids(process: Serving, word: str) -> list[str]:
    """The processes that have printed a word."""
    return sorted(re.findall(rf"^{word} (\d+)$", process.output, re.MULTILINE))


def answer(client: socket.socket) -> bytes:
    """All that comes, until the end."""
    with client.makefile("rb") as file:
        return file.read()


def facts(received: bytes) -> dict[str, Any]:
    """What the app told of a request, from the bytes of its response."""
    found = re.search(rb"\{.*\}", received)
    assert found, received
    values: dict[str, Any] = json.loads(found[0])
    return values


# --- at work


@EACH
def test_an_asgi_app(server: Server, shop: Path) -> None:
    """It is adapted if need be, and each process starts and ends its own lifespan."""
    # Granian waits so long for a worker that has not heard the signal, see below.
    options = ("--timeout-graceful-shutdown", "3") if server.name == "granian" else ()
    with running(server, "asgi", shop, *workers(server), *options) as process:
        line = process.announcement()
        through, circumstances = SAID[server.name]
        assert line["summary"] == (
            f"shop:make('asgi') made an ASGI app (coroutine function); serving it{through}"
        )
        assert line["server"] == server.title
        assert line["rest"] == circumstances
        count = 1 if "workers" in server.lacks else 2
        if server.name == NO_LIFESPAN:
            assert facts(process.get().encode())["started"] is None
            started = []
        else:
            process.wait_for(r"(?m)^startup \d+$", count=count)
            seen = facts(process.get().encode())
            assert seen["started"] == seen["pid"]
            started = pids(process, "startup")
            assert len(set(started)) == len(started) == count
        wait_until_it_hears(server, process, count)
        assert process.stop(signal.SIGTERM) == 0
        ended = pids(process, "shutdown")
        # Granian 2.8.7: a worker that is told to stop in the moment after that line does not hear it.
        deaf = process.output.count("after it refused to gracefully stop") if server.name == "granian" else 0
        assert set(ended) <= set(started)
        assert len(ended) == len(started) - deaf
        assert process.output.count("bridge: ") == 1
        assert "Traceback" not in process.output


def wait_until_it_hears(server: Server, process: Serving, workers: int = 1) -> None:
    """Until no signal is lost any more: some servers say that they serve a moment earlier."""
    if server.name == "uwsgi":
        process.wait_for(r"WSGI app .* ready in", count=workers)  # a worker that is loading hears none
    if server.name == "granian":
        process.wait_for(r"Started worker-", count=workers)  # one between startup and this loses it
    if server.name == "hypercorn":
        # Its first process spawns the others, and then gets its handlers, this one last.
        wait_until(lambda: handles(process.process.pid, signal.SIGHUP), PATIENCE, "there are handlers")


@EACH
def test_a_wsgi_app(server: Server, shop: Path) -> None:
    """With the options that the server has in common with others; ended by Ctrl-C."""
    options, scheme, root = ["--threads", "3"], "http", ""
    if "root_path" not in server.lacks:
        options += ["--root-path", "/shop"]
        root = "/shop"
    if "ssl_certfile" not in server.lacks:
        key, cert = certificate(shop)
        options += ["--ssl-keyfile", key, "--ssl-certfile", cert]
        scheme = "https"
    with running(server, "wsgi", shop, *options) as process:
        line = process.announcement()
        through, circumstances = SAID_OF_WSGI[server.name]
        assert line["summary"] == f"shop:make('wsgi') made a WSGI app (function); serving it{through}"
        assert line["address"].startswith(f"{scheme}://127.0.0.1:")
        assert line["rest"] == circumstances
        with (
            asking(("127.0.0.1", process.port), f"{root}/")
            if scheme == "http"
            else tls(process, root) as client
        ):
            seen = facts(answer(client))
        assert (seen["interface"], seen["root"], seen["scheme"]) == ("wsgi", root, scheme)
        wait_until_it_hears(server, process)
        assert process.stop(signal.SIGINT) == 0
        assert "Traceback" not in process.output


@contextmanager
def tls(process: Serving, root: str) -> Iterator[ssl.SSLSocket]:
    """A client that has sent a request over TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", process.port), PATIENCE) as plain,
        context.wrap_socket(plain) as client,
    ):
        client.sendall(f"GET {root}/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        yield client


# --- the end


@EACH
def test_a_request_in_progress_is_finished_first(server: Server, shop: Path) -> None:
    """Of the app that is adapted, on a Unix socket, whose file is gone afterwards."""
    kind = "wsgi" if server.speaks == "asgi" else "asgi"
    path = str(shop / "x.sock")
    with running(server, kind, shop, where=f"--uds={path}") as process:
        assert process.announcement()["address"] == f"unix:{path}"
        with asking(path, "/slow") as client:
            process.wait_for("in progress")
            wait_until_it_hears(server, process)
            process.process.send_signal(signal.SIGTERM)
            if "timeout_graceful_shutdown" in server.lacks:
                assert b"interface" not in answer(client)  # what it has instead is in the table
            else:
                wait_for_the_end_to_begin(path)
                (shop / "go").touch()
                assert facts(answer(client))["interface"] == kind
        assert process.wait() == 0
        assert pids(process, "shutdown") == pids(process, "startup")
    assert not os.path.exists(path)


def wait_for_the_end_to_begin(path: str) -> None:
    """Until nothing new is accepted; for a moment, on servers that accept to the end."""
    deadline = time.monotonic() + 0.3
    while not refused(path) and time.monotonic() < deadline:
        time.sleep(0.01)


def refused(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    except OSError:
        return True
    return False


@EACH
def test_an_endless_stream_does_not_keep_the_process(server: Server, shop: Path) -> None:
    """The app is told, and its lifespan ends, unless the server kills the process."""
    known = "timeout_graceful_shutdown" not in server.lacks
    options = ("--timeout-graceful-shutdown", "1") if known else ()
    with running(server, "asgi", shop, *options) as process:
        with asking(("127.0.0.1", process.port), "/endless") as client:
            received = b""
            while b"tick" not in received:
                piece = client.recv(1000)
                assert piece, process.output
                received += piece
            wait_until_it_hears(server, process)
            assert process.stop() == 0
        if server.name not in KILLS_THE_STUCK:
            assert len(pids(process, "stream ended")) == 1
            assert pids(process, "shutdown") == pids(process, "startup")


# --- what cannot be served


@EACH
def test_a_target_that_is_not_there(server: Server, shop: Path) -> None:
    """One message, however many processes find out, and the exit code for misuse."""
    arguments = (
        "shop:aap",
        "--server",
        server.name,
        "--port",
        "0",
        *workers(server),
        "--",
        *OWN[server.name],
    )
    done = command("serve", *arguments, cwd=shop)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("bridge: ") == 1, done.stderr
    assert "bridge: shop (shop.py) has no attribute 'aap'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.req("L-07")
@pytest.mark.parametrize(
    "server", [each for each in OTHERS if each.name != NO_LIFESPAN], ids=lambda each: each.name
)
def test_a_lifespan_that_fails_ends_the_server(server: Server, shop: Path) -> None:
    """With the reason, instead of a server that answers every request with an error."""
    (shop / "no-database").touch()
    arguments = (
        "shop:asgi",
        "--server",
        server.name,
        "--port",
        "0",
        *workers(server),
        "--",
        *OWN[server.name],
    )
    done = command("serve", *arguments, cwd=shop)
    assert done.returncode == 1, done.stderr
    found = re.findall(r"^bridge: .*lifespan startup.* failed: no database$", done.stderr, re.MULTILINE)
    assert len(found) == 1, done.stderr
    assert "serving it" not in done.stderr


# Gunicorn tries again for five seconds, and then says so.
@pytest.mark.parametrize(
    "server", [each for each in OTHERS if each.name != "gunicorn"], ids=lambda each: each.name
)
def test_a_port_that_is_taken_is_a_failure(server: Server, shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = command("serve", "shop:asgi", "--server", server.name, "--port", port, cwd=shop)
    assert done.returncode == 1, done.stderr
    assert "ddress already in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert "startup" not in done.stdout.replace("shutdown", "")


# --- options


@pytest.mark.parametrize(
    ("server", "settings"),
    [
        ("waitress", Settings(workers=2)),
        ("waitress", Settings(reload=True)),
        ("waitress", Settings(access_log=True)),
        ("waitress", Settings(ssl_certfile="c.pem")),
        ("cheroot", Settings(root_path="/x")),
        ("daphne", Settings(timeout_graceful_shutdown=1)),
        ("uwsgi", Settings(log_level="info")),
    ],
)
def test_an_option_that_a_server_has_not_is_refused(server: str, settings: Settings) -> None:
    """With the reason, and the servers that have it."""
    with pytest.raises(UsageError) as caught:
        SERVERS[server].check(settings)
    (name,) = settings.given
    message = str(caught.value)
    assert message.startswith(f"--{name.replace('_', '-')} has no meaning on {SERVERS[server].title}: ")
    assert SERVERS[server].lacks[name] in message
    for other in SERVERS.values():
        assert (other.name in message.partition("by --server")[2]) is (name not in other.lacks)


@EACH
def test_what_is_true_of_a_server_anyway_may_be_said(server: Server) -> None:
    server.check(Settings(workers=1, access_log=False))


def test_the_reasons_are_given_for_options_that_exist() -> None:
    known = {name for name in inspect.signature(Settings).parameters if name != "further"}
    for server in SERVERS.values():
        assert set(server.lacks) <= known


@pytest.fixture
def bridge_serve(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """Runs the command in this process, for what ends before a server starts; gives the exit code."""
    monkeypatch.chdir(shop)
    monkeypatch.setattr(sys, "path", list(sys.path))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def main(*arguments: str) -> object:
        try:
            return cli.main(["serve", *arguments])
        except SystemExit as exit:
            return exit.code

    yield main
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in (ENVIRONMENT, report.ENVIRONMENT):
        os.environ.pop(name, None)


@EACH
def test_the_servers_own_help_can_be_asked_for(
    server: Server, bridge_serve: Callable[..., object], capfd: pytest.CaptureFixture[str]
) -> None:
    """Behind `--`, as any other option; nothing is imported or served."""
    assert bridge_serve("nothing_of_this_name", "--server", server.name, "--", "--help") == 0
    captured = capfd.readouterr()
    assert OWN[server.name][0] in captured.out
    assert captured.err == ""


@EACH
def test_an_option_that_the_server_does_not_know(
    server: Server, bridge_serve: Callable[..., object], capfd: pytest.CaptureFixture[str]
) -> None:
    """It is the server's own parser that says so."""
    code = bridge_serve("shop:asgi", "--server", server.name, "--port=0", "--", "--no-such=1")
    assert code == (1 if server.name == "uwsgi" else 2)
    captured = capfd.readouterr()
    assert "no-such" in captured.err
    assert "serving it" not in captured.err


# --- the table


def test_a_server_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said, and what is there already."""

    def gone(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="cheroot")

    monkeypatch.setattr(importlib, "import_module", gone)
    with pytest.raises(MissingDependency) as caught:
        SERVERS["cheroot"].runner()
    assert str(caught.value) == (
        "`bridge serve --server cheroot` needs cheroot, which is not installed: "
        "pip install 'wsgi-asgi-bridge[cheroot]'; or use what is installed: --server uvicorn"
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency) as caught:
        SERVERS["cheroot"].runner()
    assert str(caught.value).endswith("[cheroot]'")


def test_a_broken_installation_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'more_itertools'", name="more_itertools")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError) as caught:
        SERVERS["cheroot"].runner()
    assert not isinstance(caught.value, MissingDependency)


def test_a_server_that_does_not_run_on_this_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(UsageError, match="Gunicorn does not run on this system") as caught:
        SERVERS["gunicorn"].runner()
    assert "waitress" in str(caught.value)
    assert "uwsgi" not in str(caught.value)


@EACH
def test_every_server_has_its_module(server: Server) -> None:
    runner = server.runner()
    assert runner is importlib.import_module(server.module)
    assert list(inspect.signature(runner.serve).parameters) == ["order", "settings"]


def test_the_table_cannot_be_changed() -> None:
    assert isinstance(SERVERS, MappingProxyType)
    assert next(iter(SERVERS)) == DEFAULT


def test_every_server_has_an_extra_that_installs_it() -> None:
    project = (Path(__file__).resolve().parent.parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    for server in SERVERS.values():
        assert re.search(rf"^{server.extra} = \[", project, re.MULTILINE), server.extra


# --- what is written about them

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference" / "command-line.md"


def table_of(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, as cells."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2]
    block = re.search(r"(^\|.*\n)+", text, re.MULTILINE)
    assert block
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block[0].splitlines()]
    return [rows[0], *rows[2:]]


def test_the_page_lists_every_server() -> None:
    adapted = {"asgi": ("through `WSGIToASGI`", "as it is"), "wsgi": ("as it is", "through `ASGIToWSGI`")}
    _, *rows = table_of("## Other servers")
    for server, (name, install, of_wsgi, of_asgi) in zip(SERVERS.values(), rows, strict=True):
        assert name == f"`{server.name}`"
        assert install == f"`wsgi-asgi-bridge[{server.extra}]`"
        expected = adapted.get(server.speaks, ("as it is", "as it is"))
        assert (of_wsgi, of_asgi.removesuffix(", without lifespan")) == expected


def test_the_page_lists_what_servers_have(
    bridge_serve: Callable[..., object], capfd: pytest.CaptureFixture[str]
) -> None:
    """Whether they have an option, and what they call it."""
    head, *rows = table_of("### Options")
    assert head[1:] == [server.title for server in OTHERS]
    listed = {name for row in rows for name in re.findall(r"`--([a-z-]+)`", row[0])}
    assert listed == {name.replace("_", "-") for name in inspect.signature(Settings).parameters} - {"further"}
    for column, server in enumerate(OTHERS, start=1):
        assert bridge_serve("shop:asgi", "--server", server.name, "--", "--help") == 0
        known = capfd.readouterr().out
        for row in rows:
            option = re.findall(r"`--([a-z-]+)`", row[0])[0].replace("-", "_")
            assert (row[column] == "no") is (option in server.lacks), (server.name, option)
            for theirs in re.findall(r"`(--[a-z-]+)`", row[column]):
                assert re.search(rf"{theirs}(?![a-z-])", known), (server.name, theirs)
