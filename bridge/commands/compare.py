"""`bridge compare OLD NEW`: the same requests to both, and what differs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click

from ..exceptions import UsageError
from .options import (
    CALLING,
    FOLLOWING,
    LOADING,
    REPORTS,
    RULES,
    SLOWER,
    SOURCES,
    check_writable,
    parameters,
    report,
    requests_from,
    rules_from,
)
from .progress import progress
from .sides import (
    SERVERS_OF_BOTH,
    WAYS_OF_BOTH,
    Calling,
    names_of,
    open_both,
    servers_from,
    ways_from,
)


def _run(old: str, new: str, **values: Any) -> int:
    """Send the same requests to OLD and NEW, and say what differs.

    \b
    OLD and NEW are each one of
      module:attr, module, path/to/app.py   a WSGI or ASGI app, as `bridge serve` takes it
      http://host:port, https://host        a site that is running

    Requests are given by --request, files (--requests, --har), an OpenAPI description or a crawl of
    OLD, or several of these. Each side has cookies of its own.

    \b
      bridge compare old.wsgi:app new.main:app --crawl /
      bridge compare shop:app shop:app --via native,asgi -r / -r /notes
      bridge compare https://shop.example new.main:app --requests urls.txt

    The exit code is 0 if both answer alike, 1 if they do not, 2 if the command cannot be understood.
    """
    from ..testing.comparison.compare import compare

    rules = rules_from(values)
    vias, served = ways_from(values["via"]), servers_from(values["served"])
    check_writable(values["html"], values["json_file"])
    with ExitStack() as stack:
        clients = open_both(old, new, stack, Calling.of(values), vias, served)
        requests = requests_from(values, clients[0])
        if not requests:
            raise UsageError(
                "there is nothing to ask: give --request, --requests, --har, --openapi or --crawl, as in "
                f"bridge compare {old} {new} --crawl /"
            )
        with progress("comparing", len(requests)) as step:
            comparison = compare(
                *clients,
                requests,
                rules=rules,
                follow_redirects=values["follow_redirects"],
                slower=values["slower"],
                progress=step,
                names=names_of(old, new, vias, served),
            )
    return report(comparison, html=values["html"], json_file=values["json_file"])


command = click.Command(
    "compare",
    callback=_run,
    help=_run.__doc__,
    params=parameters(
        [click.Argument(["old"], metavar="OLD"), click.Argument(["new"], metavar="NEW")],
        SOURCES,
        WAYS_OF_BOTH,
        SERVERS_OF_BOTH,
        RULES,
        FOLLOWING,
        SLOWER,
        REPORTS,
        CALLING,
        LOADING,
    ),
)
