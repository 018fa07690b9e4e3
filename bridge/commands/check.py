"""`bridge check TARGET`: the app under a validator, natively and through the adapter, and what servers do."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from ..exceptions import UsageError
from ..serving.target import Found
from ..translate.interface import Interface, interface_of
from .check_report import Outcome
from .observing import Notes, note_exchange, note_lifespan, note_websockets, observed, told
from .options import (
    CALLING,
    FOLLOWING,
    FOUND,
    LOADING,
    OK,
    REPORTS,
    RULES,
    SOURCES,
    check_writable,
    crawled,
    described_by,
    distinct,
    echo,
    parameters,
    requests_given,
    rules_from,
    several,
    write_json,
    write_text,
)
from .progress import progress
from .server_limits import HOSTS, Host, host_named
from .sides import Calling, WayName, app_of

if TYPE_CHECKING:
    from ..testing.comparison.rules import Rules
    from ..testing.exchange import Request, Response

_OTHER = {"asgi": "wsgi", "wsgi": "asgi"}

_SAFE = ("GET", "HEAD", "OPTIONS")

# How many requests are sent to the app without its lifespan; what they need of it the first ones show.
_MOST_BARE = 20


def _run(target: str, **values: Any) -> int:
    """Check the app that TARGET names against its interface, the adapter and the servers.

    \b
    TARGET is what `bridge serve` takes: module:attr, module, path/to/app.py.

    The app is asked for / and for what --request, --requests, --har, --openapi and --crawl name. A
    validator watches whether it keeps the rules of its interface (PEP 3333, ASGI). Then the same is
    asked through the adapter to the other interface, and the answers are compared. What the app relied
    on meanwhile, such as streams, is looked up in what is known of servers.

    \b
      bridge check shop:app --crawl /
      bridge check shop.asgi:application -r /events --server gunicorn --server daphne

    Requests are sent twice, and the lifespan of an ASGI app is run twice. What changes nothing is sent
    to an ASGI app once more, before its lifespan has been run at all.

    The exit code is 0 if nothing was found, 1 if something was, 2 if the command cannot be understood.
    What servers do counts for those that --server names.
    """
    from ..testing.remote import is_address

    if is_address(target):
        raise UsageError(f"an app is checked in this process: give a target such as shop:app; got {target!r}")
    rules = rules_from(values)
    servers = [host_named(name) for name in dict.fromkeys(values["server"])]
    check_writable(values["html"], values["json_file"])
    calling = Calling.of(values)
    found = calling.find(target)
    outcome = _outcome(found, calling, rules, servers, values)
    if values["json_file"] != "-":
        echo(outcome.text())
    if values["html"] is not None:
        write_text(values["html"], outcome.html())
    if values["json_file"] is not None:
        write_json(values["json_file"], outcome.to_json())
    return FOUND if outcome.found else OK


def _outcome(
    found: Found, calling: Calling, rules: Rules, servers: Sequence[Host], values: dict[str, Any]
) -> Outcome:
    """Ask the app natively and the other way, and gather what is found.

    Raises:
        UsageError: there is no such request.
        StartupFailed: the lifespan of the app did not start up.
    """
    from ..testing.client import Client
    from ..testing.comparison.compare import compare
    from ..testing.exchange import Request

    app = app_of(found)
    interface = "wsgi" if found.interface is Interface.WSGI else "asgi"
    via = cast(WayName, values["via"] or _OTHER[interface])
    options = calling.client_options()
    notes = Notes()
    with ExitStack() as stack:
        requests = [Request.of("/"), *requests_given(values)]
        # First of all: what a startup has set up stays, even in clients that run none.
        without = _ask_without_lifespan(app, requests, values, options) if interface == "asgi" else {}
        validators = [_validated(app, interface, values) for _ in range(2)]
        native = stack.enter_context(Client(observed(validators[0], interface, notes), **options))
        further = [*described_by(values, native), *crawled(values, native)]
        requests = distinct([*requests, *further], values)
        # Observed as well, so that the app has the same around it both ways.
        other = observed(validators[1], interface, Notes())
        adapted = stack.enter_context(Client(other, via=via, **options))
        with progress("checking", len(requests)) as step:
            comparison = compare(
                native,
                adapted,
                requests,
                rules=rules,
                follow_redirects=values["follow_redirects"],
                progress=step,
                names=("native", f"via {via}"),
            )
        if interface == "asgi":
            with _quiet():
                note_websockets(found.app, native, requests, notes)
    for result in comparison:
        note_exchange(result.request, result.old, notes)
        note_lifespan(result.request, without.get(result.request), result.old, notes)
    return Outcome(
        str(found),
        _evidence(found.app, values["interface"]),
        interface,
        len(requests),
        # What the server's side does wrong is no fault of this app.
        [each for validator in validators for each in validator.violations if each.side == "app"],
        [(result.request.label, _failure(result.old)) for result in comparison if _fails(result.old)],
        via,
        comparison,
        notes.seen,
        servers,
    )


def _evidence(app: Any, forced: str) -> str:
    """How the interface was found, as half a sentence."""
    return f"is called so because of --interface {forced}" if forced != "auto" else interface_of(app).reason


def _validated(app: Any, interface: str, values: dict[str, Any]) -> Any:
    """The app under the validator of its interface, which keeps what it finds."""
    from ..testing.validation.asgi import ASGIValidator
    from ..testing.validation.wsgi import WSGIValidator

    level: Literal["MUST", "SHOULD"] = "SHOULD" if values["advice"] else "MUST"
    validator = ASGIValidator if interface == "asgi" else WSGIValidator
    return validator(app, on_violation="collect", level=level, ignore=values["ignore_rule"])


def _ask_without_lifespan(
    app: Any, requests: Sequence[Request], values: dict[str, Any], options: dict[str, Any]
) -> dict[Request, Response]:
    """The answers of an app whose lifespan has not been run, to some requests that change nothing."""
    from ..testing.client import Client

    with _quiet(), Client(app, lifespan="off", **options) as client:
        try:
            described = described_by(values, client)
        except UsageError:  # it needs its lifespan even for that
            described = []
        bare = [each for each in distinct([*requests, *described], values) if each.method in _SAFE]
        return {each: client.exchange(each) for each in bare[:_MOST_BARE]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without logs: what fails here is an attempt, of which the report tells."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _fails(response: Response) -> bool:
    return response.error is not None or response.status >= 500


def _failure(response: Response) -> str:
    words = told(response)
    return f"{words}: {response.error}" if response.error is not None else words


command = click.Command(
    "check",
    callback=_run,
    help=_run.__doc__,
    params=parameters(
        [click.Argument(["target"], metavar="TARGET")],
        SOURCES,
        [
            click.Option(
                ["--via"],
                type=click.Choice(["asgi", "wsgi", "roundtrip"]),
                help="The other way to the app.  [default: through the adapter to the other interface]",
            ),
            several(
                "--server",
                "NAME",
                "A server that the app is meant for: what breaks there counts. May be given several "
                f"times. One of {', '.join(HOSTS)}.  [default: all are shown, and count for nothing]",
            ),
            several(
                "--ignore-rule",
                "NAME",
                "Do not report this rule; a name that ends in / stands for all that begin with it.",
            ),
            click.Option(
                ["--advice"],
                is_flag=True,
                help="Show what the specifications advise against, too; it never counts.",
            ),
        ],
        RULES,
        FOLLOWING,
        REPORTS,
        CALLING,
        LOADING,
    ),
)
