"""`python -m served_wsgi.serve SERVER TARGET PORT GRACE`: a WSGI server that is a library, as users run it.

None of them handles SIGTERM, which by itself ends a process without any clean-up. The script turns it
into SystemExit in the main thread, or into the server's own `stop()` where that would do harm, so that
the interpreter exits in good order and the adapter with it. GRACE is in seconds.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from support.served import HOST

# Requests at a time, where the server has threads; more than any test has waiting.
THREADS = 16


def exit_on_sigterm(before: Callable[[], object] = lambda: None) -> None:
    """Raise SystemExit in the main thread on SIGTERM, after calling `before`."""

    def stop(*_: object) -> None:
        before()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)


def load(module: str) -> Any:
    """A module whose types are not known."""
    return import_module(module)


def waitress(application: Any, port: int, grace: int) -> None:
    exit_on_sigterm()
    load("waitress").serve(application, host=HOST, port=port, threads=THREADS)


def cheroot(application: Any, port: int, grace: int) -> None:
    from cheroot.wsgi import Server

    # A client that reads nothing holds its thread, and with it the process, for `timeout`, which is also how
    # long a connection may idle.
    timeout = max(grace, 5)
    server = Server((HOST, port), application, numthreads=THREADS, shutdown_timeout=1, timeout=timeout)
    # SystemExit might come while the main thread hands a connection to the others, one of which would then
    # never be told to end. `stop()` waits for all of them without a bound; hence the one here.
    stopping = threading.Thread(target=server.stop)
    signal.signal(signal.SIGTERM, lambda *_: stopping.start())
    server.safe_start()
    stopping.join(grace)


def werkzeug(application: Any, port: int, grace: int) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    # Without it the server closes after each response, as it has HTTP/1.0 by default.
    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

    exit_on_sigterm()
    make_server(HOST, port, application, threaded=True, request_handler=Handler).serve_forever()


def wsgiref(application: Any, port: int, grace: int) -> None:
    from wsgiref.simple_server import make_server

    with make_server(HOST, port, application) as server:
        # SystemExit alone does not end it in the middle of a request: its handler takes it for an error of
        # the application.
        exit_on_sigterm(lambda: threading.Thread(target=server.shutdown, daemon=True).start())
        server.serve_forever()


def pywsgi(application: Any, port: int, grace: int) -> None:
    server = load("gevent.pywsgi").WSGIServer((HOST, port), application, log=None)

    def stop() -> None:
        server.stop(grace)

    # By gevent, in a greenlet of its own: what a handler of Python's raises may be lost in the hub.
    load("gevent").signal_handler(signal.SIGTERM, stop)
    server.serve_forever()


SERVERS: dict[str, Callable[[Any, int, int], None]] = {
    "waitress": waitress,
    "cheroot": cheroot,
    "werkzeug": werkzeug,
    "wsgiref": wsgiref,
    "pywsgi": pywsgi,
    "pywsgi-patched": pywsgi,
}


def main() -> None:
    name, target, port, grace = sys.argv[1:]
    if name == "pywsgi-patched":
        load("gevent.monkey").patch_all()
    module, _, attribute = target.partition(":")
    SERVERS[name](getattr(load(module), attribute), int(port), int(grace))


if __name__ == "__main__":
    main()
