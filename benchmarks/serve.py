"""What runs in a server's process: `python -m benchmarks.serve SERVER APP PORT LOOP`.

SERVER is `gunicorn`, `waitress`, `hypercorn-server`, `granian`, `django-asgi` (Django's own handler on
Uvicorn), or the name of an adapter, which then runs on Uvicorn. One process serves, on loopback. It ends
when its standard input does, so that no server outlives the command that started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from typing import Any

from benchmarks import apps, contenders
from benchmarks.measure import new_loop

HOST = "127.0.0.1"
GTHREAD_THREADS = 10
WAITRESS_THREADS = 10

WSGI_APPS = {"flask": "flask_hello", "django": "django_wsgi"}
"""Names of functions in `apps` that make the WSGI app."""


def _mixed(adapter: Any) -> Any:
    """A native endpoint at /native beside the WSGI app at every other path."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/native":
            await apps.native_hello(scope, receive, send)
        else:
            await adapter(scope, receive, send)

    return app


def _asgi_app(server: str, app: str) -> Any:
    if server == "django-asgi":
        return apps.django_asgi()
    if server == contenders.NATIVE:
        return apps.native_hello
    build = contenders.BY_NAME[server].build
    if app == "convoy":
        apps.calibrate()
        return _mixed(build(apps.burn, None))
    return build(_wsgi_app(app), None)


def _wsgi_app(app: str) -> Any:
    return getattr(apps, WSGI_APPS[app])()


def _serve_uvicorn(app: Any, port: int, loop: str) -> None:
    import uvicorn

    uvicorn.run(app, host=HOST, port=port, loop=loop, log_level="error", access_log=False, lifespan="off")


def _serve_gunicorn(app: str, port: int) -> None:
    from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            options: dict[str, Any] = {
                "bind": f"{HOST}:{port}",
                "workers": 1,
                "worker_class": "gthread",
                "threads": GTHREAD_THREADS,
                "loglevel": "error",
                "graceful_timeout": 1,
                "post_fork": lambda server, worker: _end_with_stdin(),
            }
            if "control_socket_disable" in self.cfg.settings:
                # Newer versions listen for commands on a socket in the home directory as well.
                options["control_socket_disable"] = True
            for name, value in options.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return _wsgi_app(app)

    Application().run()


def _serve_hypercorn(app: str, port: int, loop: str) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.errorlog = None
    running = new_loop(loop)
    asyncio.set_event_loop(running)
    running.run_until_complete(serve(_wsgi_app(app), config, mode="wsgi"))


def _serve_waitress(app: str, port: int) -> None:
    import waitress  # type: ignore[import-untyped]

    waitress.serve(_wsgi_app(app), host=HOST, port=port, threads=WAITRESS_THREADS, _quiet=True)


def _serve_granian(app: str, port: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    Granian(
        f"benchmarks.apps:{WSGI_APPS[app]}",
        factory=True,
        address=HOST,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        log_enabled=False,
    ).serve()


def _end_with_stdin() -> None:
    """Kill this process group once stdin ends: the command that started us is gone or wants no more."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        if hasattr(os, "killpg"):
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-stdin", daemon=True).start()


def main() -> None:
    server, app, port_text, loop = sys.argv[1:]
    port = int(port_text)
    if server == "gunicorn":
        # Its master forks; the worker watches stdin (see post_fork).
        _serve_gunicorn(app, port)
        return
    _end_with_stdin()
    if server == "waitress":
        _serve_waitress(app, port)
    elif server == "hypercorn-server":
        _serve_hypercorn(app, port, loop)
    elif server == "granian":
        _serve_granian(app, port)
    else:
        _serve_uvicorn(_asgi_app(server, app), port, loop)


if __name__ == "__main__":
    main()
