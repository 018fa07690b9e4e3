"""Run an app on Daphne: in this process. Daphne knows no lifespan, so that of an app is not run."""

from __future__ import annotations

import logging
import os
from typing import Any

from daphne.cli import CommandLineInterface  # type: ignore[import-untyped]
from daphne.server import Server  # type: ignore[import-untyped]
from twisted.internet.endpoints import quoteStringArgument

from ..exceptions import UsageError
from ..translate.interface import Interface
from ..types import ASGIApp
from .parsing import program
from .report import FAILURE, OK, Report
from .settings import Settings, refuse_twice, url
from .stopping import end_on_sigterm
from .worker import Order, load

# Daphne's parser wants one; bridge knows it.
_APPLICATION = "TARGET"

_SAME = {"root_path": "root_path", "log_level": "verbosity", "access_log": "access_log"}
"""What Daphne calls our options."""

# The settings that say where it listens.
_WHERE = frozenset({"host", "port", "unix_socket", "file_descriptor", "socket_strings"})

_VERBOSITY = {"critical": 0, "error": 0, "warning": 0, "info": 1, "debug": 2}


def serve(order: Order, settings: Settings) -> int:
    """Serve until a signal ends it; see `servers.Runner`."""
    command = _Command(order, settings)
    arguments = _arguments(settings, command)
    end_on_sigterm()
    try:
        command.run([*arguments, *settings.further, _APPLICATION])
    except SystemExit as exit:
        return OK if exit.code in (None, OK) else FAILURE
    finally:
        if settings.uds is not None and os.path.exists(settings.uds):
            os.remove(settings.uds)
    return OK


class _Command(CommandLineInterface):  # type: ignore[misc]
    """Daphne's command, with an app that bridge loads."""

    def __init__(self, order: Order, settings: Settings) -> None:
        with program("daphne"):
            super().__init__()
        self._order = order
        self._settings = settings

    def load_asgi_app(self, asgi_app_path: str) -> ASGIApp:
        """Called once logging is configured, before there is a socket."""
        if self._settings.log_level is not None:
            logging.getLogger("daphne").setLevel(self._settings.log_level.upper())
        self._loaded = load(self._order)
        app: ASGIApp = self._loaded.app
        return app

    def server_class(self, **options: Any) -> Server:
        """Called for the server that is then run."""
        if self._settings.access_log is False:
            options["action_logger"] = None
        from twisted.internet import reactor  # the one that Daphne has installed

        server = Server(**options)
        # Not earlier: this is when the reactor has its handlers for signals.
        reactor.callWhenRunning(self._listening, server)
        return server

    def _listening(self, server: Server) -> None:
        secure = self._settings.ssl_certfile is not None
        if server.listening_addresses:
            address = url(server.listening_addresses[0], secure)
        else:
            address = self._settings.bind if self._settings.uds else ", ".join(server.endpoints)
        circumstances = ""
        if self._loaded.found.interface is not Interface.WSGI:
            circumstances = ", which runs no lifespan"
        Report("Daphne", address, circumstances).served(self._loaded, self._order)


def _arguments(settings: Settings, command: _Command) -> list[str]:
    """Our options as Daphne's command takes them.

    Its parser ends the program if what stands behind `--` is wrong.
    """
    parser = command.parser
    parsed = vars(parser.parse_args([*settings.further, _APPLICATION]))
    further = {name for name, value in parsed.items() if value != parser.get_default(name)}
    refuse_twice(settings, "Daphne", _SAME, further)
    arguments = [*_where(settings, further)]
    if settings.root_path is not None:
        arguments += ["--root-path", settings.root_path]
    if settings.log_level is not None:
        arguments += ["--verbosity", str(_VERBOSITY[settings.log_level])]
    if settings.access_log:
        arguments += ["--access-log", "-"]
    return arguments


def _quoted(text: str | None) -> str:
    quoted: str = quoteStringArgument(text)  # type: ignore[no-untyped-call]
    return quoted


def _where(settings: Settings, further: set[str]) -> list[str]:
    """Where to listen, unless that stands behind `--`."""
    elsewhere = _WHERE & further
    if elsewhere:
        if settings.says_where or settings.ssl_certfile is not None:
            raise UsageError(
                "an address or certificate was given, and behind `--` Daphne's "
                f"{', '.join(sorted(elsewhere))}: leave one of the two out"
            )
        return []
    if settings.uds is not None:
        return ["--unix-socket", settings.uds]
    host, port = settings.address
    if settings.ssl_certfile is None:
        return ["--bind", host, "--port", str(port)]
    parts = {"privateKey": settings.keyfile, "certKey": settings.ssl_certfile, "interface": host}
    quoted = [f"{name}={_quoted(value)}" for name, value in parts.items()]
    return ["--endpoint", ":".join(["ssl", str(port), *quoted])]
