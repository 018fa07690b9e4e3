"""The command line of `bridge serve`: a few options of its own, and the server's.

On Uvicorn, the default, all of Uvicorn's options are options of this command. On another server those
that servers have in common are, and the server's own stand behind `--`. Which it is decides what is
parsed, so that is looked up first.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from ..engines.thread_pool import DEFAULT_THREADS
from ..exceptions import UsageError
from .servers import DEFAULT, SERVERS, Server
from .settings import GRACE, HOST, PORT, Settings, option
from .worker import Around, Order

# Shown first, as what most people look for.
_FOREMOST = (
    *("server", "host", "port", "workers", "threads", "reload"),
    *("root_path", "log_level", "interface", "factory"),
)

# Beside our words, the ones that Uvicorn has for the same.
_INTERFACES = {"auto": "auto", "wsgi": "wsgi", "asgi": "asgi", "asgi2": "asgi", "asgi3": "asgi"}

_LOG_LEVELS = ("critical", "error", "warning", "info", "debug")

_SERVER = f"{__name__}.server"
_FURTHER = f"{__name__}.further"


class ServeCommand(click.Command):
    """A command whose options depend on the value of `--server`.

    Args:
        first: names of further options that are shown first.
    """

    def __init__(self, *args: Any, first: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self._first = tuple(first)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, further = _split(args)
        _choose(ctx, own)
        ctx.meta[_FURTHER] = further
        try:
            return super().parse_args(ctx, own)
        except click.NoSuchOption as error:
            server = _server(ctx)
            if server.name != DEFAULT:
                raise click.NoSuchOption(
                    error.option_name,
                    f"{error.message} This is none that servers have in common. Those of {server.title} "
                    f"stand behind `--`, and `{server.program} --help` lists them.",
                    error.possibilities,
                    error.ctx,
                ) from None
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_options_of(_server(ctx))]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What most people look for comes first, and Uvicorn's further options in a section of their own."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        names = {option.name: option for option in options}
        foremost = [names[name] for name in (*self._first, *_FOREMOST)]
        others = [option for option in options if option not in foremost]
        help_option = self.get_help_option(ctx)
        if help_option is not None:
            foremost.append(help_option)
            others = [option for option in others if option.name != help_option.name]
        server = _server(ctx)
        if server.name == DEFAULT:
            _write(ctx, formatter, "Options", foremost)
            _write(ctx, formatter, f"Options of {server.title}", others)
        else:
            _write(ctx, formatter, "Options", [*foremost, *others])
            with formatter.section(f"Options of {server.title}"):
                formatter.write_text(f"Behind `--`. `{server.program} --help` lists them.")


def _write(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Sequence[click.Option]
) -> None:
    records = [option.get_help_record(ctx) for option in options]
    with formatter.section(title):
        formatter.write_dl([record for record in records if record is not None])


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    """What is for this command, and what stands behind `--`."""
    if "--" not in args:
        return args, []
    place = args.index("--")
    return args[:place], args[place + 1 :]


def _choose(ctx: click.Context, args: Sequence[str]) -> None:
    """Note in the context which server the command line names."""
    name = DEFAULT
    for place, argument in enumerate(args):
        if argument == "--server":
            name = "".join(args[place + 1 : place + 2])
        elif argument.startswith("--server="):
            name = argument.partition("=")[2]
    if name in SERVERS:  # else the option will say that it is no server
        ctx.meta[_SERVER] = SERVERS[name]
        if name != DEFAULT:
            ctx.auto_envvar_prefix = None


def _server(ctx: click.Context) -> Server:
    server: Server = ctx.meta.get(_SERVER, SERVERS[DEFAULT])
    return server


def _options_of(server: Server) -> list[click.Parameter]:
    if server.name == DEFAULT:
        found: list[click.Parameter] = _uvicorn().options()
        return found
    options: list[click.Parameter] = []
    for common in _COMMON:
        own = copy.copy(common)
        # Known all the same, so that using it gets more of an answer than "no such option".
        own.hidden = own.name in server.lacks
        options.append(own)
    return options


def _uvicorn() -> Any:
    """The module that runs Uvicorn, whose `serve` takes Uvicorn's own options."""
    return SERVERS[DEFAULT].runner()


def _run(**options: Any) -> int:
    """Find the app that TARGET names, and serve it.

    \b
    TARGET is one of
      module:attr         an app, or a function that makes one
      module:factory()    a function that makes the app; literal arguments are allowed
      module              its app, application, asgi, wsgi, create_app or make_app
      path/to/app.py      the same for a file; also path/to/app.py:attr

    Whether it is a WSGI or an ASGI app is found out, and an adapter is put around it if the server
    speaks the other: WSGIToASGI around a WSGI app on Uvicorn, ASGIToWSGI around an ASGI app on Gunicorn.

    Options of the server that are not listed here stand behind `--`:

      bridge serve shop:app --server gunicorn -- --max-requests 1000
    """
    return serve(None, **options)


def serve(
    around: Around | None,
    *,
    target: str,
    server: str,
    interface: str,
    factory: bool,
    threads: int | None,
    app_dir: str,
    **options: Any,
) -> int:
    """Serve what the command line of a `ServeCommand` with `PARAMETERS` names; returns the exit code.

    Args:
        around: what goes around the app.
        options: the values of the other parameters, as click has made them.
    """
    context = click.get_current_context()
    further: list[str] = context.meta[_FURTHER]
    chosen = SERVERS[server]
    if chosen.name == DEFAULT:
        options["app_dir"] = app_dir
        options.update(_behind(context, chosen, further))
        app_dir = options.pop("app_dir")
    order = Order(target, _INTERFACES[interface], factory, threads, app_dir or None, around=around)
    if chosen.name == DEFAULT:
        uvicorn = _uvicorn()
        code: int = uvicorn.serve(order, uvicorn.arguments_of_config(options))
        return code
    settings = Settings(**options, threads=threads, further=tuple(further))
    chosen.check(settings)
    return chosen.runner().serve(order, settings)


def _behind(context: click.Context, server: Server, further: Sequence[str]) -> dict[str, Any]:
    """The options of Uvicorn that stand behind `--`, where they may stand as well."""
    parser = click.Command(server.program, params=_options_of(server))
    inner = parser.make_context(server.program, list(further))
    given = {
        name: value
        for name, value in inner.params.items()
        if inner.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    for name in given:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option(name)} stands before `--` and behind it: leave one of the two out")
    return given


_COMMON = (
    click.Option(["--host"], help=f"Address to listen on.  [default: {HOST}]"),
    click.Option(
        ["--port"],
        type=click.IntRange(0, 65535),
        help=f"Port to listen on; 0 for any that is free.  [default: {PORT}]",
    ),
    click.Option(["--uds"], metavar="PATH", help="Unix socket to listen on, instead of an address."),
    click.Option(["--workers"], type=click.IntRange(min=1), help="How many processes serve the app."),
    # `None` unless it is given, as everywhere in Settings.
    click.Option(["--reload"], is_flag=True, default=None, help="Start anew when a file changes."),
    click.Option(["--root-path"], metavar="PATH", help="Where the app is mounted, such as /shop."),
    click.Option(["--log-level"], type=click.Choice(_LOG_LEVELS), help="What the server logs."),
    click.Option(["--access-log/--no-access-log"], default=None, help="Whether it logs each request."),
    click.Option(
        ["--ssl-certfile"],
        type=click.Path(exists=True, dir_okay=False),
        help="File with the certificate: serves https.",
    ),
    click.Option(
        ["--ssl-keyfile"],
        type=click.Path(exists=True, dir_okay=False),
        help="File with its private key, if that is another one.",
    ),
    click.Option(
        ["--timeout-graceful-shutdown"],
        type=click.IntRange(min=0),
        metavar="SECONDS",
        help=f"How long requests in progress may take at the end.  [default: {GRACE}]",
    ),
    click.Option(
        ["--app-dir"],
        metavar="PATH",
        default="",
        help="Look for TARGET in this folder first.  [default: the current one]",
    ),
)

# Uvicorn's own prefix, so that UVICORN_PORT and the like mean here what they mean there.
CONTEXT = {"auto_envvar_prefix": "UVICORN"}
"""Settings of a `ServeCommand`."""

PARAMETERS: list[click.Parameter] = [
    click.Argument(["target"], metavar="TARGET"),
    click.Option(
        ["--server"],
        type=click.Choice(list(SERVERS)),
        default=DEFAULT,
        show_default=True,
        allow_from_autoenv=False,
        help="What serves the app. With --help it shows the options for that server.",
    ),
    click.Option(
        ["--threads"],
        type=click.IntRange(min=1),
        allow_from_autoenv=False,
        help="How many requests may be handled at a time in each worker process: by a WSGI app behind an "
        "ASGI server, in the adapter's threads; by any app on a WSGI server, in the server's.  "
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
]
"""The parameters of a `ServeCommand`, to which those of the server are added."""

command = ServeCommand("serve", callback=_run, help=_run.__doc__, context_settings=CONTEXT, params=PARAMETERS)
