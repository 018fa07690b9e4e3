"""Real servers for the ASGI sites: WSGI servers for their adapters, and Uvicorn for the sites as they are."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.frameworks import Site
from support.served import HOST, STOP_TIMEOUT, run_server

THREADS = 8

Command = Callable[[str, int], Sequence[str]]


def gunicorn(target: str, port: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", str(THREADS)),
        *("--bind", f"{HOST}:{port}", "--no-control-socket", "--log-level", "warning", target),
    ]


def waitress(target: str, port: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "waitress", "--listen", f"{HOST}:{port}", "--threads", str(THREADS)),
        # Without it Waitress does not look whether a client is still there.
        *("--channel-request-lookahead", "1", target),
    ]


def uvicorn(target: str, port: int) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "--host", HOST, "--port", str(port)),
        *("--log-level", "warning", "--lifespan", "on", "--timeout-graceful-shutdown", "5", target),
    ]


WSGI_SERVERS: Mapping[str, Command] = {"gunicorn": gunicorn, "waitress": waitress}


@contextmanager
def served(command: Command, target: str, **environ: str) -> Iterator[Site]:
    """Serve `module:app` until the block ends; the server must then end on SIGTERM."""
    with (
        tempfile.TemporaryDirectory() as directory,
        run_server(lambda port: command(target, port), Path(directory), environ) as server,
    ):
        site = Site(server.address[1], server.log)
        with site.client:
            yield site
        server.terminate()
        server.wait(STOP_TIMEOUT)
