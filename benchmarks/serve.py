"""What runs in a server's process: `python -m benchmarks.serve SERVER APP PORT LOOP`.

APP decides the direction. For a WSGI app, SERVER is `gunicorn`, `waitress`, `hypercorn-server`, `granian`,
`django-asgi` (Django's own handler on Uvicorn), or the name of an adapter, which then runs on Uvicorn. For an
ASGI app it is `native` (Uvicorn), the name of an adapter, which then runs on Gunicorn, perhaps with a loop
behind it (`bridge/uvloop`), or `gunicorn`, where a bare WSGI hello-world stands for the app: nothing on that
server is quicker. One process serves, on loopback. It ends when its standard input does, so that no server
outlives the command that started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from benchmarks import contenders
from benchmarks.asgi_under_wsgi import adapters as to_wsgi
from benchmarks.asgi_under_wsgi import apps as asgi_apps
from benchmarks.eventloop import new_loop
from benchmarks.wsgi_under_asgi import adapters as to_asgi
from benchmarks.wsgi_under_asgi import apps as wsgi_apps

HOST = "127.0.0.1"
GTHREAD_THREADS = 10
WAITRESS_THREADS = 10

WSGI_APPS = {"flask": "flask_hello", "django": "django_wsgi"}
"""Names of functions in `wsgi_under_asgi.apps` that make the WSGI app."""

ASGI_APPS = {"starlette": "starlette_hello", "fastapi": "fastapi_hello"}
"""Names of functions in `asgi_under_wsgi.apps` that make the ASGI app."""


def _mixed(adapter: Any) -> Any:
    """A native endpoint at /native beside the WSGI app at every other path."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/native":
            await wsgi_apps.native_hello(scope, receive, send)
        else:
            await adapter(scope, receive, send)

    return app


def _app_for_uvicorn(server: str, app: str) -> Any:
    if app in ASGI_APPS:
        return _asgi_app(app)
    if server == "django-asgi":
        return wsgi_apps.django_asgi()
    build = to_asgi.BY_NAME[server].build
    if app == "convoy":
        wsgi_apps.calibrate()
        return _mixed(build(wsgi_apps.burn, None))
    return build(_wsgi_app(app), None)


def _app_for_gunicorn(server: str, app: str) -> Any:
    if app in WSGI_APPS:
        return _wsgi_app(app)
    plain, loop = contenders.split(server)
    if plain == "gunicorn":
        return wsgi_apps.hello
    return to_wsgi.BY_NAME[plain].build(_asgi_app(app), loop or to_wsgi.ASYNCIO).app


def _wsgi_app(app: str) -> Any:
    return getattr(wsgi_apps, WSGI_APPS[app])()


def _asgi_app(app: str) -> Any:
    return getattr(asgi_apps, ASGI_APPS[app])()


def _serve_uvicorn(app: Any, port: int, loop: str) -> None:
    import uvicorn

    uvicorn.run(app, host=HOST, port=port, loop=loop, log_level="error", access_log=False, lifespan="off")


def _serve_gunicorn(load_app: Callable[[], Any], port: int) -> None:
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
            # In the worker, after the fork.
            return load_app()

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
        f"benchmarks.wsgi_under_asgi.apps:{WSGI_APPS[app]}",
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
    if server == "gunicorn" or (app in ASGI_APPS and server != contenders.NATIVE):
        # Its master forks; the worker watches stdin (see post_fork).
        _serve_gunicorn(lambda: _app_for_gunicorn(server, app), port)
        return
    _end_with_stdin()
    if server == "waitress":
        _serve_waitress(app, port)
    elif server == "hypercorn-server":
        _serve_hypercorn(app, port, loop)
    elif server == "granian":
        _serve_granian(app, port)
    else:
        _serve_uvicorn(_app_for_uvicorn(server, app), port, loop)


if __name__ == "__main__":
    main()
