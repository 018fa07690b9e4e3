"""The servers that `bridge serve` can run, as a table: a row here and a module for each.

The rows say what has to be known of a server whether it is installed or not. The modules import it,
and do the rest: translate our few options into the server's own, have the server's own parser read
what stands behind `--`, load the app where the server loads apps, and run.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, cast

from ..exceptions import MissingDependency, UsageError
from .settings import Settings, option
from .worker import Order

DISTRIBUTION = "wsgi-asgi-bridge"


class Runner(Protocol):
    """What the module of a server other than Uvicorn has; Uvicorn's takes all of its options."""

    def serve(self, order: Order, settings: Settings) -> int:
        """Serve until a signal ends it, and return the exit code. To be called in the main thread.

        Raises:
            UsageError: what was asked for cannot be; among them `TargetError`, if there is no such app.
            StartupFailed: the app's lifespan did not start up.
        """


@dataclass(frozen=True)
class Server:
    """A server that `bridge serve` can run.

    Attributes:
        name: what `--server` takes, and the name of the extra.
        title: what it is called in messages.
        speaks: what it can call, as in `Order.speaks`.
        library: what must be importable.
        program: whose `--help` lists its further options.
        lacks: options that it has not, by the attributes of `Settings`, and what is the case instead.
        posix: it runs on POSIX systems only.
    """

    name: str
    title: str
    speaks: str
    library: str
    program: str
    lacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    posix: bool = False

    @property
    def module(self) -> str:
        """The module of bridge that runs it."""
        return f"{__package__}.{self.name}_server"

    @property
    def extra(self) -> str:
        """What installs it along with bridge."""
        return "serve" if self.name == DEFAULT else self.name

    def runner(self) -> Runner:
        """The module that runs it.

        Raises:
            MissingDependency: it is not installed; the message says what to type.
            UsageError: it does not run on this system.
        """
        if self.posix and os.name != "posix":
            raise UsageError(
                f"{self.title} does not run on this system; of the other servers these do: "
                f"{_listed([other.name for other in SERVERS.values() if not other.posix])}"
            )
        try:
            return cast(Runner, importlib.import_module(self.module))
        except ModuleNotFoundError as error:
            if error.name != self.library:
                raise  # a broken installation
            command = "`bridge serve`" if self.name == DEFAULT else f"`bridge serve --server {self.name}`"
            raise MissingDependency(
                f"{command} needs {self.library}, which is not installed: "
                f"pip install '{DISTRIBUTION}[{self.extra}]'{_alternatives(self)}"
            ) from None

    def check(self, settings: Settings) -> None:
        """See that the server has the options that were given.

        Raises:
            UsageError: it has not; the message says which servers have, and what is the case here.
        """
        for name, value in settings.given.items():
            # That there be one process, and no access log, is true without the option.
            if name in self.lacks and not (name == "workers" and value == 1) and value is not False:
                have = [other.name for other in SERVERS.values() if name not in other.lacks]
                raise UsageError(
                    f"{option(name)} has no meaning on {self.title}: {self.lacks[name]}. Leave it out, or "
                    f"choose a server that has it by --server ({_listed(have)})"
                )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _alternatives(missing: Server) -> str:
    """What to type instead, if another server is installed."""
    for server in SERVERS.values():
        if server is not missing and importlib.util.find_spec(server.library) is not None:
            return f"; or use what is installed: --server {server.name}"
    return ""


DEFAULT = "uvicorn"

_ONE_PROCESS = "it serves in one process"
_NO_RELOAD = "it does not watch files"
_NO_ACCESS_LOG = "it writes none"

SERVERS: Mapping[str, Server] = MappingProxyType(
    {
        server.name: server
        for server in (
            Server(DEFAULT, "Uvicorn", "asgi", "uvicorn", "uvicorn"),
            Server("gunicorn", "Gunicorn", "wsgi", "gunicorn", "gunicorn", posix=True),
            Server("hypercorn", "Hypercorn", "asgi", "hypercorn", "hypercorn"),
            Server("granian", "Granian", "both", "granian", "granian"),
            Server(
                "waitress",
                "Waitress",
                "wsgi",
                "waitress",
                "waitress-serve",
                {
                    "workers": _ONE_PROCESS,
                    "reload": _NO_RELOAD,
                    "access_log": _NO_ACCESS_LOG,
                    "ssl_certfile": "it has no TLS, which is left to a proxy",
                    "ssl_keyfile": "it has no TLS, which is left to a proxy",
                },
            ),
            Server(
                "cheroot",
                "Cheroot",
                "wsgi",
                "cheroot",
                "cheroot",
                {
                    "workers": _ONE_PROCESS,
                    "reload": _NO_RELOAD,
                    "access_log": _NO_ACCESS_LOG,
                    "root_path": "it passes every path on as it came",
                },
            ),
            Server(
                "daphne",
                "Daphne",
                "asgi",
                "daphne",
                "daphne",
                {
                    "workers": _ONE_PROCESS,
                    "reload": _NO_RELOAD,
                    "timeout_graceful_shutdown": "it cancels what is in progress when it ends",
                },
            ),
            Server(
                "uwsgi",
                "uWSGI",
                "wsgi",
                "uwsgi",
                "uwsgi",
                {
                    "reload": "what it has instead is --py-autoreload, behind `--`",
                    "log_level": "it has a switch for each kind of message instead, behind `--`",
                    "ssl_certfile": "what it may have instead is --https-socket, behind `--`",
                    "ssl_keyfile": "what it may have instead is --https-socket, behind `--`",
                },
                posix=True,
            ),
        )
    }
)
"""By name, in the order in which they are shown."""
