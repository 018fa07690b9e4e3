"""The command `bridge`: `bridge serve TARGET`, `bridge compare OLD NEW` and others, `bridge --version`.

A further command is a line in `COMMANDS` and a module that holds it as a click command called
`command`, whose callback returns the exit code. It is imported when it is called, so that one
command needs nothing that only another one needs.

Exit codes: 0 all is well, 1 something failed, 2 the command line asks for what cannot be.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._version import __version__
from .exceptions import BridgeError, MissingDependency, TargetError, UsageError

if TYPE_CHECKING:
    import click

COMMANDS = {
    "serve": ("bridge.serving.command", "Serve a WSGI or ASGI app, on Uvicorn or another server."),
    "check": ("bridge.commands.check", "Check an app against its interface, the adapter and the servers."),
    "compare": (
        "bridge.commands.compare",
        "Send the same requests to two apps or sites: what differs?",
    ),
    "record": ("bridge.commands.record", "Serve an app, and write down what it is asked and answers."),
    "replay": ("bridge.commands.replay", "Send recorded requests again: what is answered otherwise?"),
}
"""By name: the module of a command, and what it does in one line."""

OK, FAILURE, MISUSE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, `sys.argv` by default, and return the exit code."""
    try:
        return _run(arguments)
    except TargetError as error:
        from .serving.target import explain

        print(f"bridge: {explain(error)}", file=sys.stderr)
        return MISUSE if error.__cause__ is None else FAILURE
    except MissingDependency as error:
        print(f"bridge: {error}", file=sys.stderr)
        return FAILURE
    except BridgeError as error:
        print(f"bridge: {error}", file=sys.stderr)
        return MISUSE if isinstance(error, UsageError) else FAILURE


def _run(arguments: Sequence[str] | None) -> int:
    try:
        import click
    except ModuleNotFoundError:
        raise MissingDependency(
            "the command `bridge` needs click, which is not installed: pip install 'wsgi-asgi-bridge[serve]'"
        ) from None
    try:
        code = _group()(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return FAILURE
    return code if isinstance(code, int) else OK


def _group() -> click.Group:
    import click

    class Bridge(click.Group):
        """A group that imports a command when it is called, not to list it."""

        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(COMMANDS)

        def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
            if name not in COMMANDS:
                return None
            command: click.Command = importlib.import_module(COMMANDS[name][0]).command
            return command

        def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    return Bridge(
        "bridge",
        help="Adapters between WSGI and ASGI, on the command line.",
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_print_version,
                help="Print the version and exit.",
            )
        ],
    )


def _print_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        print(f"bridge {__version__}")
        ctx.exit()
