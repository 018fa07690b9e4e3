"""What is Gunicorn's alone: its settings and where they come from, its worker classes, its hooks."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.errors import HaltServer  # type: ignore[import-untyped]
from support.bridge_command import command, serving
from support.serve_apps import SHOP, write
from support.served import wait_until

from bridge.exceptions import UsageError
from bridge.serving.gunicorn_server import _Application, serve
from bridge.serving.report import Report
from bridge.serving.settings import Settings
from bridge.serving.worker import Order


@pytest.fixture
def configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., _Application]:
    """Gunicorn's configuration, and the order, for some settings."""
    for name in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT"):
        monkeypatch.delenv(name, raising=False)

    def configure(settings: Settings) -> _Application:
        order = Order("shop:app", threads=settings.threads)
        application = _Application(order, settings, Report("Gunicorn"), [])
        os.chdir(folder)  # Gunicorn goes to where it was when it was imported
        return application

    return configure


DEFAULTS = {
    "bind": ["127.0.0.1:8000"],
    "worker_class_str": "gthread",
    "threads": 40,
    "workers": 1,
    "graceful_timeout": 10,  # 8 for requests, and 2 to close
    "reload": False,
    "accesslog": None,
    "loglevel": "info",
    "certfile": None,
    "keyfile": None,
    "env": {},
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {}),
        (Settings(host="::1", port=0), {"bind": ["[::1]:0"]}),
        (Settings(uds="x.sock"), {"bind": ["unix:x.sock"]}),
        (Settings(workers=3, threads=5), {"workers": 3, "threads": 5}),
        (Settings(reload=True, log_level="debug"), {"reload": True, "loglevel": "debug"}),
        (Settings(access_log=True), {"accesslog": "-"}),
        (Settings(access_log=False, further=("--name=x",)), {"accesslog": None, "proc_name": "x"}),
        (Settings(ssl_certfile="c", ssl_keyfile="k"), {"certfile": "c", "keyfile": "k"}),
        (Settings(ssl_certfile="c"), {"certfile": "c", "keyfile": "c"}),
        (Settings(root_path="/x"), {"env": {"SCRIPT_NAME": "/x"}, "root_path": "/x"}),
        (Settings(timeout_graceful_shutdown=0), {"graceful_timeout": 2}),
        (Settings(further=("--graceful-timeout=20",)), {"graceful_timeout": 22}),
        (Settings(further=("-b", "x:1", "-w", "3")), {"bind": ["x:1"], "workers": 3}),
        (Settings(further=("--threads", "1")), {"threads": 1}),
        # As Gunicorn has it: `sync` is not a worker class of threads unless they are asked for.
        (Settings(further=("-k", "sync")), {"threads": 1, "worker_class_str": "sync"}),
        (Settings(threads=3, further=("-k", "sync")), {"threads": 3, "worker_class_str": "gthread"}),
        (Settings(further=("-k", "asgi")), {"threads": 1, "worker_class_str": "asgi"}),
    ],
)
def test_settings(
    configured: Callable[..., _Application], settings: Settings, expected: dict[str, Any]
) -> None:
    cfg = configured(settings).cfg
    assert {name: getattr(cfg, name) for name in {**DEFAULTS, **expected}} == {**DEFAULTS, **expected}


def test_where_settings_come_from(
    configured: Callable[..., _Application], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours win, then those behind `--`, then the environment, the file, and our defaults."""
    write(
        folder / "gunicorn.conf.py", "bind = 'file:1'\nworkers = 2\nthreads = 2\nbacklog = 2\ntimeout = 2\n"
    )
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 3 --threads 3 --backlog 3")
    cfg = configured(Settings(workers=5, further=("--threads", "4"))).cfg
    assert cfg.bind == ["file:1"]
    assert (cfg.timeout, cfg.backlog, cfg.threads, cfg.workers) == (2, 3, 4, 5)
    cfg = configured(Settings(port=9, further=("-c", "gunicorn.conf.py"))).cfg
    assert cfg.bind == ["127.0.0.1:9"]


@pytest.mark.parametrize(
    ("kind", "speaks"),
    [
        ("gthread", "wsgi"),
        ("sync", "wsgi"),
        ("gevent", "wsgi"),
        ("asgi", "asgi"),
        ("gunicorn.workers.gasgi.ASGIWorker", "asgi"),
    ],
)
def test_what_a_worker_class_calls(configured: Callable[..., _Application], kind: str, speaks: str) -> None:
    application = configured(Settings(workers=2, further=("-k", kind)))
    assert application._order == Order("shop:app", speaks=speaks, multiprocess=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(further=("shop:app",)), "got 'shop:app'"),
        (Settings(port=80, further=("-b", "x:1")), "--port was given, .* 'bind'"),
        (Settings(threads=3, further=("--threads", "3")), "'threads'"),
        (Settings(threads=3, further=("-k", "gevent")), "not about gevent"),
    ],
)
def test_options_that_are_wrong(configured: object, settings: Settings, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        serve(Order("shop:app", threads=settings.threads), settings)


@pytest.mark.parametrize("error", [HaltServer("Worker failed to boot.", 3), SystemExit(3)])
def test_workers_that_fail_are_a_failure(
    configured: object, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """When several do at the same time, Gunicorn fails itself."""

    def run(self: _Application) -> None:
        raise error

    monkeypatch.setattr(_Application, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert serve(Order("shop:app"), Settings()) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("kind", ["tornado", "nowhere.Worker", "gunicorn.workers.sync.Nothing"])
def test_a_worker_class_that_is_not_there(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "shop.py", SHOP)
    done = command("serve", "shop:asgi", "--server", "gunicorn", "--", "-k", kind, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"bridge: Gunicorn cannot use the worker class {kind!r}: ")


def test_threads_of_an_asgi_worker_are_the_adapters(tmp_path: Path) -> None:
    """It calls ASGI apps, so here it is the WSGI app that is adapted."""
    write(tmp_path / "shop.py", SHOP)
    further = ("--no-control-socket", "--worker-class", "asgi")
    options = ("--server", "gunicorn", "--threads", "3", "--root-path", "/x")
    with serving("shop:wsgi", *options, "--port", "0", "--", *further, cwd=tmp_path, port=None) as server:
        line = server.announcement()
        assert line["summary"].endswith("serving it through WSGIToASGI (3 threads)")
        assert line["rest"] == " with 1 asgi worker"
        assert '"root": "/x"' in server.get("/x/")
        assert server.stop() == 0


def test_preload_and_the_users_own_hooks(tmp_path: Path) -> None:
    """The app is loaded before the fork and started after it; a worker that is replaced starts it anew."""
    write(tmp_path / "shop.py", SHOP + "\nsay('loaded')\n")
    write(
        tmp_path / "gunicorn.conf.py",
        """
        control_socket_disable = True
        preload_app = True

        def post_worker_init(worker):
            print("post_worker_init", worker.pid, flush=True)

        def worker_exit(server, worker):
            print("worker_exit", worker.pid, flush=True)
        """,
    )
    with serving("shop:asgi", "--server", "gunicorn", cwd=tmp_path) as server:
        first = int(server.wait_for(r"startup (\d+)")[1])
        os.kill(first, signal.SIGTERM)
        second = int(server.wait_for(r"startup (\d+)", count=2)[1])
        wait_until(lambda: f"worker_exit {first}" in server.output, 30, "the first worker has ended")
        assert server.stop() == 0
    assert first != second
    said = re.findall(r"^(loaded|startup|shutdown|post_worker_init|worker_exit) (\d+)$", server.output, re.M)
    assert [word for word, _ in said if word == "loaded"] == ["loaded"]
    for pid in (str(first), str(second)):
        events = [word for word, of in said if of == pid]
        assert events == ["startup", "post_worker_init", "worker_exit", "shutdown"]
    assert str(server.process.pid) == next(pid for word, pid in said if word == "loaded")
