"""The options that `bridge serve` has on every server but Uvicorn, which has all of its own.

`None` means that an option was not given: then the server's own default holds, or the one that is
documented here because servers differ where users would not expect it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..engines.thread_pool import DEFAULT_THREADS
from ..exceptions import UsageError

HOST, PORT = "127.0.0.1", 8000
"""Where a server listens if nothing else is said, as Uvicorn does."""

THREADS = DEFAULT_THREADS
"""How many threads a WSGI server gets: as many as `WSGIToASGI` has, since each of them is one request."""

GRACE = 8
"""How many seconds requests in progress may take after SIGTERM, if the user does not say.

Servers' own defaults reach from 3 seconds to no limit. Docker kills 10 seconds after SIGTERM, others
later; the time to end lifespan must fit in as well.
"""


@dataclass(frozen=True)
class Settings:
    """What was given on the command line, apart from what is served and how it is adapted.

    The names are those of the options. `further` is what stands behind `--`: options of the server
    itself, for its own parser.
    """

    host: str | None = None
    port: int | None = None
    uds: str | None = None
    workers: int | None = None
    threads: int | None = None
    reload: bool | None = None
    root_path: str | None = None
    log_level: str | None = None
    access_log: bool | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    timeout_graceful_shutdown: int | None = None
    further: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.uds is not None and (self.host is not None or self.port is not None):
            raise UsageError(
                "--uds names a Unix socket, --host and --port another address: give one of the two"
            )
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise UsageError(
                "--ssl-keyfile is of no use without --ssl-certfile: give the certificate as well"
            )

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given, by the names of the attributes, with their values."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "further"}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def says_where(self) -> bool:
        """Whether an address was given."""
        return self.host is not None or self.port is not None or self.uds is not None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on, if it is not a Unix socket."""
        return HOST if self.host is None else self.host, PORT if self.port is None else self.port

    @property
    def bind(self) -> str:
        """The same as one word: `127.0.0.1:8000`, `[::1]:8000`, `unix:/run/x.sock`."""
        if self.uds is not None:
            return f"unix:{self.uds}"
        host, port = self.address
        return f"{bracketed(host)}:{port}"

    @property
    def keyfile(self) -> str | None:
        """The file with the private key; the certificate's own if none was given."""
        return self.ssl_certfile if self.ssl_keyfile is None else self.ssl_keyfile

    @property
    def grace(self) -> int:
        """Seconds for requests in progress at the end."""
        return GRACE if self.timeout_graceful_shutdown is None else self.timeout_graceful_shutdown


def option(name: str) -> str:
    """How an attribute of `Settings` is written on the command line."""
    return f"--{name.replace('_', '-')}"


def bracketed(host: str) -> str:
    """A host as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def url(sockname: Any, secure: bool) -> str:
    """Where clients find a listening socket: `http://127.0.0.1:8000`, or `unix:/run/x.sock`."""
    if isinstance(sockname, bytes):
        sockname = sockname.decode(errors="replace")
    if isinstance(sockname, str):
        return f"unix:{sockname}"
    return f"{'https' if secure else 'http'}://{bracketed(sockname[0])}:{sockname[1]}"


def refuse_twice(settings: Settings, title: str, same: Mapping[str, str], further: Container[str]) -> None:
    """An option that stands before `--` and, under the server's own name, behind it as well is an error.

    Args:
        settings: the former.
        title: the server's name.
        same: the server's setting for each of our options, by attribute.
        further: the settings that were given behind `--`.

    Raises:
        UsageError: naming both.
    """
    for name in settings.given:
        if same.get(name) in further:
            raise UsageError(
                f"{option(name)} was given, and behind `--` what {title} calls {same[name]!r}, which is the "
                "same: leave one of the two out"
            )
