"""`bridge replay FILE TARGET`: recorded requests again, and what is answered otherwise than it was."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import Any, cast

import click

from .options import (
    CALLING,
    FILE,
    FOLLOWING,
    LOADING,
    REPORTS,
    RULES,
    check_writable,
    expression,
    parameters,
    report,
    rules_from,
)
from .progress import progress
from .sides import SERVER, WAY, Calling, WayName, app_of, open_side, server_from


def _run(recording: str, target: str, **values: Any) -> int:
    """Send the requests of a recording to TARGET, and say what it answers otherwise.

    FILE is what `bridge record` has written, or a HAR that a browser has saved. TARGET is an app, as
    `bridge serve` takes it, or the address of a site that is running: http://host:port.

    Each browser of the recording has cookies of its own. What was taken out of the recording is put
    back where the app gives it anew, such as the token of a form; passwords are for --header, or for
    `replay()` in Python.

    \b
      bridge replay traffic.jsonl shop:app
      bridge replay traffic.har http://127.0.0.1:8000 --only '^GET ' --ignore-json '$.id'

    The exit code is 0 if all is answered as it was, 1 if something is not, 2 if the command cannot be
    understood.
    """
    from ..testing.recording.replay import replay
    from ..testing.remote import is_address

    rules = rules_from(values)
    via, served = values["via"], server_from(values["served"])
    only = None if values["only"] is None else expression(values["only"], "--only")
    check_writable(values["html"], values["json_file"])
    calling = Calling.of(values)
    options: dict[str, Any] = {}
    with ExitStack() as stack:
        if is_address(target) or served:
            subject = open_side(target, stack, calling, via=via, served=served)
        else:
            # The client is made there, as the recording tells the host that the app was asked for.
            subject = app_of(calling.find(target))
            options["via"] = cast(WayName, via)
            options["client_options"] = calling.client_options(base_url=None)
        with progress("replaying") as step:
            comparison = replay(
                recording,
                subject,
                rules=rules,
                only=only,
                follow_redirects=values["follow_redirects"],
                progress=step,
                **options,
            )
    comparison = dataclasses.replace(comparison, old_name=recording, new_name=target)
    return report(comparison, html=values["html"], json_file=values["json_file"])


command = click.Command(
    "replay",
    callback=_run,
    help=_run.__doc__,
    params=parameters(
        [
            click.Argument(["recording"], metavar="FILE", type=FILE),
            click.Argument(["target"], metavar="TARGET"),
            click.Option(
                ["--only"],
                metavar="REGEX",
                help="Send only requests in which this is found, such as '^GET /api/'.",
            ),
        ],
        RULES,
        FOLLOWING,
        WAY,
        SERVER,
        REPORTS,
        CALLING,
        LOADING,
    ),
)
