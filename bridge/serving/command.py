"""The command line of `bridge serve`: a few options of its own, and all of Uvicorn's.

Uvicorn's options are taken from its own command, as click objects: names, defaults, checks,
messages and environment variables (`UVICORN_…`) are Uvicorn's, also those of versions to come.
"""

from __future__ import annotations

import copy
from typing import Any

from ..engines.thread_pool import DEFAULT_THREADS
from ..exceptions import MissingDependency

try:
    import click
    from uvicorn.config import LOGGING_CONFIG
    from uvicorn.main import main as uvicorn_command
except ModuleNotFoundError as error:
    if error.name not in ("click", "uvicorn"):
        raise
    raise MissingDependency(
        f"`bridge serve` needs {error.name}, which is not installed: pip install 'wsgi-asgi-bridge[serve]'"
    ) from None

from .uvicorn_server import GRACE, GRACE_WITH_RELOAD, serve
from .worker import Order

# What this command has in a form of its own, or has no use for.
_REPLACED = frozenset({"app", "interface", "factory", "version"})

# Shown first, as what most people look for.
_FOREMOST = ("host", "port", "workers", "threads", "reload", "root_path", "log_level", "interface", "factory")


class _ServeCommand(click.Command):
    """A command whose help lists Uvicorn's further options in a section of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        names = {option.name: option for option in options}
        foremost = [names[name] for name in _FOREMOST]
        help_option = self.get_help_option(ctx)
        if help_option is not None:
            foremost.append(help_option)
        others = [option for option in options if option not in foremost]
        for title, group in (("Options", foremost), ("Options of Uvicorn", others)):
            records = [option.get_help_record(ctx) for option in group]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


def _uvicorn_options() -> list[click.Parameter]:
    options = []
    for parameter in uvicorn_command.params:
        if parameter.name not in _REPLACED:
            option = copy.copy(parameter)
            if option.name == "timeout_graceful_shutdown":
                option.help = f"{option.help}  [default: {GRACE}; with --reload {GRACE_WITH_RELOAD}]"
            options.append(option)
    return options


def _run(
    target: str, interface: str, factory: bool, threads: int | None, app_dir: str, **options: Any
) -> int:
    """Find the app that TARGET names, and serve it on Uvicorn.

    \b
    TARGET is one of
      module:attr         an app, or a function that makes one
      module:factory()    a function that makes the app; literal arguments are allowed
      module              its app, application, asgi, wsgi, create_app or make_app
      path/to/app.py      the same for a file; also path/to/app.py:attr

    Whether it is a WSGI or an ASGI app is found out. A WSGI app is served through WSGIToASGI.
    """
    for name in ("reload_dirs", "reload_includes", "reload_excludes"):
        options[name] = list(options.get(name) or ()) or None
    options["headers"] = [tuple(header.split(":", 1)) for header in options.get("headers") or ()]
    if options.get("log_config") is None:
        options["log_config"] = LOGGING_CONFIG
    order = Order(target, _INTERFACES[interface], factory, threads, app_dir or None)
    return serve(order, options)


# Beside our words, the ones that Uvicorn has for the same.
_INTERFACES = {"auto": "auto", "wsgi": "wsgi", "asgi": "asgi", "asgi2": "asgi", "asgi3": "asgi"}

command = _ServeCommand(
    "serve",
    callback=_run,
    help=_run.__doc__,
    # Uvicorn's own prefix, so that UVICORN_PORT and the like mean here what they mean there.
    context_settings={"auto_envvar_prefix": "UVICORN"},
    params=[
        click.Argument(["target"], metavar="TARGET"),
        click.Option(
            ["--threads"],
            type=click.IntRange(min=1),
            allow_from_autoenv=False,
            help="How many requests a WSGI app may handle at a time, in each worker process.  "
            f"[default: {DEFAULT_THREADS}]",
        ),
        click.Option(
            ["--interface"],
            type=click.Choice(list(_INTERFACES)),
            default="auto",
            show_default=True,
            help="What the app is, if it cannot be told.",
        ),
        click.Option(
            ["--factory"],
            is_flag=True,
            help="TARGET names a function that makes the app, whatever it looks like.",
        ),
        *_uvicorn_options(),
    ],
)
