"""`bridge record TARGET --to FILE`: `bridge serve`, with a recorder around the app.

The recorder is put around the app in each process that serves it, inside the adapter if there is one;
all of them add to the same file. So every server, several workers and reloading work as they do
without it.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

import click

from ..serving.command import CONTEXT, PARAMETERS, ServeCommand, serve
from ..serving.worker import Around
from .options import check_writable, expressions, several
from .sides import telling

# Of Redaction's key, which this process makes for all that serve the app.
_KEY_LENGTH = 32

_OWN = [
    click.Option(
        ["--to"],
        metavar="FILE",
        required=True,
        help="The file to add to: JSON Lines, or HAR if its name ends in .har.",
    ),
    click.Option(
        ["--sample"],
        type=click.FloatRange(0, 1),
        default=1.0,
        show_default=True,
        help="The share of exchanges that is recorded.",
    ),
    several(
        "--redact", "NAME", "Fields, parameters and headers of this name hold secrets, too, such as iban."
    ),
    several("--redact-text", "REGEX", "What this finds in any text is a secret."),
    several(
        "--keep",
        "NAME",
        "Fields and headers of this name hold none, whatever it sounds like, such as max_tokens.",
    ),
    several("--include", "REGEX", "Record only paths in which this is found."),
    several("--exclude", "REGEX", "Do not record paths in which this is found."),
    click.Option(
        ["--max-body"],
        type=click.IntRange(min=0),
        metavar="BYTES",
        help="How much of each body is kept.  [default: 65536]",
    ),
    click.Option(
        ["--max-bytes"],
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="How large the file may become.  [default: 104857600]",
    ),
]

_NAMES = tuple(str(each.name) for each in _OWN)

for _each in _OWN:  # the variables of Uvicorn are about Uvicorn's options
    _each.allow_from_autoenv = False


def _run(**values: Any) -> int:
    """Serve the app that TARGET names as `bridge serve` does, and record what it is asked and answers.

    The exchanges are added to a file. Cookies, credentials, and what has a name such as password,
    token or secret are taken out first; what has another name is for --redact. Look at the file before
    you give it away. `bridge replay` sends the requests again.

    \b
      bridge record shop:app --to traffic.jsonl
      bridge record shop:app --to traffic.har --server gunicorn --workers 2

    All further options are those of `bridge serve`.
    """
    options = {name: values.pop(name) for name in _NAMES}
    path = options.pop("to")
    arguments: dict[str, Any] = {
        "path": os.path.abspath(path),
        # One for all processes, so that a secret has the same mark whichever of them was asked.
        "key": secrets.token_hex(_KEY_LENGTH),
        **{
            name: list(value) if isinstance(value, tuple) else value
            for name, value in options.items()
            if value is not None
        },
    }
    _check(path, arguments)
    return serve(Around(f"{__name__}:recorded", arguments, f"recorded to {path}"), **values)


def _check(path: str, arguments: dict[str, Any]) -> None:
    """Find what is wrong now, rather than in each process."""
    from ..testing.recording.writer import check_target

    check_writable(path)
    check_target(arguments["path"])
    for name in ("redact_text", "include", "exclude"):
        expressions(arguments, name)


def recorded(
    app: Any,
    interface: str,
    *,
    path: str,
    key: str,
    redact: list[str],
    redact_text: list[str],
    keep: list[str],
    include: list[str],
    **bounds: Any,
) -> Any:
    """The app with a recorder around it; called in each process that serves it.

    Args:
        app: the app.
        interface: what it is, "wsgi" or "asgi".
        path: the file.
        key: of the redaction, in hexadecimal.
        redact, redact_text, keep, include: as on the command line.
        bounds: further arguments of `Recorder`.
    """
    from ..testing.recording.recorder import Recorder
    from ..testing.recording.redaction import Redaction

    redaction = Redaction(fields=redact, patterns=redact_text, keep=keep, key=bytes.fromhex(key))
    return Recorder(telling(app, interface), path, redact=redaction, include=include or None, **bounds)


command = ServeCommand(
    "record",
    callback=_run,
    help=_run.__doc__,
    context_settings=CONTEXT,
    params=[*PARAMETERS, *_OWN],
    first=_NAMES,
)
