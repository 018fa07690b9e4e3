"""What a command line names to be asked: a target, or the address of a site. From a text to a client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from ..adapters.as_asgi import single_callable
from ..exceptions import TargetError, UsageError
from ..serving.servers import SERVERS
from ..serving.target import Found, find
from ..translate.interface import Interface, interface_of
from .options import BASE_URL, headers_from

if TYPE_CHECKING:
    from ..testing.client import Client

WAYS = ("native", "asgi", "wsgi", "roundtrip")

WAYS_OF_BOTH = [
    click.Option(
        ["--via"],
        metavar="WAY[,WAY]",
        help="How apps are called: native, asgi, wsgi or roundtrip (through both adapters); for both sides, "
        "or one for each as in native,asgi.  [default: native]",
    )
]
"""The way to the apps of two sides; see `ways_from`."""

SERVERS_OF_BOTH = [
    click.Option(
        ["--served"],
        metavar="SERVER[,SERVER]",
        help="Run each app on a real server, in a process of its own: "
        f"{', '.join(SERVERS)}. For both sides, or one for each.",
    )
]
"""The servers of two sides; see `servers_from`."""

WAY = [
    click.Option(
        ["--via"],
        type=click.Choice(WAYS),
        default="native",
        show_default=True,
        help="How the app is called; roundtrip is through both adapters.",
    )
]
"""The way to the app of one side."""

SERVER = [
    click.Option(
        ["--served"],
        metavar="SERVER",
        help=f"Run the app on a real server, in a process of its own: {', '.join(SERVERS)}.",
    )
]
"""The server of one side; see `server_from`."""

WayName = Literal["native", "asgi", "wsgi", "roundtrip"]

_FORCED = {"auto": None, "wsgi": Interface.WSGI, "asgi": Interface.ASGI3}


@dataclass(frozen=True)
class Calling:
    """How sides are found and asked: the options of `LOADING` and `CALLING`."""

    interface: str = "auto"
    factory: bool = False
    app_dir: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float = 30.0
    insecure: bool = False
    base_url: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Calling:
        """From what click made of the options.

        Raises:
            UsageError: a header is none.
        """
        return cls(
            values["interface"],
            values["factory"],
            values["app_dir"],
            tuple(headers_from(values["headers"])),
            values["timeout"],
            values["insecure"],
            _base_url(values["base_url"]),
        )

    def common_options(self) -> dict[str, Any]:
        """Options of any client."""
        from ..testing.bounds import ends_within

        return {
            "timeout": self.timeout,
            "headers": list(self.headers),
            "event_hooks": {"response": [ends_within(self.timeout)]},
        }

    def client_options(self, base_url: str | None = BASE_URL) -> dict[str, Any]:
        """Options of a client of an app in this process; `base_url` is what holds if none was given."""
        options = self.common_options()
        chosen = self.base_url or base_url
        return {**options, "base_url": chosen} if chosen else options

    def find(self, target: str) -> Found:
        """The app that a target names.

        Raises:
            TargetError: there is none; see `bridge.serving.target.find`.
        """
        try:
            return find(
                target,
                factory=self.factory,
                interface=_FORCED[self.interface],
                directory=self.app_dir or None,
            )
        except TargetError as error:
            # What to type is told for `bridge serve`; the target in it is what matters here.
            message = str(error).replace("  type:  bridge serve ", "  type:  ")
            raise TargetError(message) from error.__cause__


def _base_url(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"https?://[^/?#\s]+/?", text):
        raise UsageError(f"--base-url is scheme and host, as in https://shop.example; got {text!r}")
    return text


def app_of(found: Found) -> Any:
    """The app as WSGI or ASGI 3, in a form that tells which if the user had to say it."""
    if found.interface is Interface.ASGI2:
        return single_callable(found.app)
    return telling(found.app, "wsgi" if found.interface is Interface.WSGI else "asgi")


def telling(app: Any, interface: str) -> Any:
    """The app in a form that tells its interface, "wsgi" or "asgi", as most apps do themselves."""
    expected = Interface.WSGI if interface == "wsgi" else Interface.ASGI3
    if interface_of(app).interface is expected:
        return app
    if expected is Interface.WSGI:

        def wsgi(environ: Any, start_response: Any) -> Any:
            return app(environ, start_response)

        return wsgi

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return asgi


def open_side(
    text: str, stack: ExitStack, calling: Calling, *, via: str = "native", served: str = ""
) -> Client:
    """A client of what `text` names, which is closed with `stack`.

    Args:
        text: a target, or an address such as `http://127.0.0.1:8000`.
        stack: what has to be ended.
        calling: how.
        via: the way to the app.
        served: the server to run it on; empty for none: the app is called in this process.

    Raises:
        TargetError, UsageError, StartupFailed: there is no such app or site, or it cannot be started.
    """
    from ..testing.client import Client
    from ..testing.remote import is_address, remote

    common = calling.common_options()
    if is_address(text):
        return stack.enter_context(remote(text, verify=not calling.insecure, **common))
    way = cast(WayName, via)
    if served and via == "native":
        options: dict[str, Any] = {"interface": calling.interface}
        if calling.factory:
            options["factory"] = True
        if calling.app_dir:
            options["app_dir"] = calling.app_dir
        return stack.enter_context(Client.served(text, served, **common, **options))
    app = app_of(calling.find(text))
    if served:
        return stack.enter_context(Client.served(app, served, via=way, **common))
    return stack.enter_context(Client(app, via=way, **calling.client_options()))


def open_both(
    old: str,
    new: str,
    stack: ExitStack,
    calling: Calling,
    vias: tuple[str, str] = ("native", "native"),
    served: tuple[str, str] = ("", ""),
) -> tuple[Client, Client]:
    """Clients of both sides; see `open_side`.

    Raises:
        those of `open_side`; of two files that cannot be imported together the message says what helps.
    """
    first = open_side(old, stack, calling, via=vias[0], served=served[0])
    try:
        return first, open_side(new, stack, calling, via=vias[1], served=served[1])
    except TargetError as error:
        if error.__cause__ is None and "is loaded from" in str(error) and not any(served):
            raise TargetError(
                f"{error}; or give --served uvicorn, which runs each side in a process of its own"
            ) from None
        raise


def names_of(
    old: str, new: str, vias: tuple[str, str] = ("native", "native"), served: tuple[str, str] = ("", "")
) -> tuple[str, str]:
    """What reports call the two sides. A site that is running has no ways and servers of ours."""
    from ..testing.remote import is_address

    names = []
    for text, via, server in zip((old, new), vias, served, strict=True):
        if is_address(text):
            names.append(text)
            continue
        words = [*([f"via {via}"] if via != "native" else []), *([f"on {server}"] if server else [])]
        names.append(f"{text} {' '.join(words)}" if words else text)
    if names[0] == names[1]:
        return f"{names[0]} (first)", f"{names[1]} (second)"
    return names[0], names[1]


def pair(text: str | None, option: str, default: str) -> tuple[str, str]:
    """Two values of an option, `A,B`; a single one stands for both.

    Raises:
        UsageError: there are more.
    """
    if text is None:
        return default, default
    values = [each.strip() for each in text.split(",")]
    if len(values) > 2 or not all(values):
        raise UsageError(f"{option} takes one value for both sides, or two as in A,B; got {text!r}")
    return values[0], values[-1]


def ways_from(text: str | None) -> tuple[str, str]:
    """The ways of `--via`, for the old side and the new one.

    Raises:
        UsageError: there is no such way.
    """
    vias = pair(text, "--via", "native")
    for via in vias:
        if via not in WAYS:
            raise UsageError(
                f"--via is one of {', '.join(WAYS)}, or two of them as in native,asgi; got {via!r}"
            )
    return vias


def servers_from(text: str | None) -> tuple[str, str]:
    """The servers of `--served`, for the old side and the new one; empty for none.

    Raises:
        UsageError: there is no such server.
    """
    old, new = pair(text, "--served", "")
    return server_from(old), server_from(new)


def server_from(text: str | None) -> str:
    """The server of `--served`; empty for none.

    Raises:
        UsageError: there is no such server.
    """
    from ..testing.served import IN_THREAD

    known = dict.fromkeys((*SERVERS, *IN_THREAD))
    if text and text not in known:
        raise UsageError(f"--served is one of {', '.join(known)}; got {text!r}")
    return text or ""
