"""The options that the commands share, and what they come to: requests, rules, reports.

Each group is a list of click options; beside it stands the function that reads what click made of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import UsageError
from .progress import progress

if TYPE_CHECKING:
    from ..testing.client import Client
    from ..testing.comparison.result import Comparison
    from ..testing.comparison.rules import Rules
    from ..testing.exchange import Request

OK, FOUND = 0, 1
"""Exit codes: nothing was found; something was."""

INTERFACES = ("auto", "wsgi", "asgi")

BASE_URL = "http://localhost"
"""What apps in this process are asked under: a name that frameworks trust while one develops."""

FILE = click.Path(exists=True, dir_okay=False)


def several(flag: str, metavar: str, help: str) -> click.Option:
    """An option that may be given several times.

    Args:
        flag: its name, such as `--exclude`.
        metavar: what it takes, as the help has it: `REGEX`, `NAME`.
    """
    return click.Option([flag], metavar=metavar, multiple=True, help=help)


LOADING = [
    click.Option(
        ["--interface"],
        type=click.Choice(INTERFACES),
        default="auto",
        show_default=True,
        help="What the app is, if it cannot be told.",
    ),
    click.Option(
        ["--factory"],
        is_flag=True,
        help="A target names a function that makes the app, whatever it looks like.",
    ),
    click.Option(
        ["--app-dir"],
        metavar="PATH",
        default="",
        help="Look for targets in this folder first.  [default: the current one]",
    ),
]
"""How an app is found."""

CALLING = [
    click.Option(
        ["--header", "headers"],
        metavar="'NAME: VALUE'",
        multiple=True,
        help="Send this header with every request. May be given several times.",
    ),
    click.Option(
        ["--timeout"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=30.0,
        show_default=True,
        help="How long an answer may take, and how long it may go on: an endless stream is broken off. "
        "A WSGI app that is silent cannot be interrupted in this process.",
    ),
    click.Option(
        ["--base-url"],
        metavar="URL",
        help="Scheme and host that apps are asked under, as links and the Host header have them.  "
        f"[default: {BASE_URL}]",
    ),
    click.Option(["--insecure"], is_flag=True, help="Accept any certificate of an https:// address."),
]
"""How it is called."""

SOURCES = [
    click.Option(
        ["--request", "-r", "request"],
        metavar="'METHOD /PATH'",
        multiple=True,
        help="A request: /path, 'POST /path', or a JSON object with url, method, headers, json, data and "
        "content. May be given several times.",
    ),
    click.Option(
        ["--requests"],
        type=FILE,
        help="A file of requests: a line each, JSON, JSON Lines, a recording, or HAR as browsers save it.",
    ),
    click.Option(["--har"], type=FILE, help="The same for HAR, whatever the file is called."),
    click.Option(
        ["--openapi"],
        metavar="FILE|PATH",
        help="Make requests for the operations of an OpenAPI description: a file, or where the app has it, "
        "such as /openapi.json. GET and the like only, unless --all-methods is given.",
    ),
    click.Option(
        ["--all-methods"], is_flag=True, help="With --openapi: POST, PUT, PATCH and DELETE as well."
    ),
    click.Option(
        ["--crawl"],
        metavar="PATH",
        help="Follow the links of the app from here. Links that look like logout or delete are left alone.",
    ),
    click.Option(
        ["--limit"],
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="With --crawl: how many addresses at most.  [default: 200]",
    ),
    several("--exclude", "REGEX", "Do not ask for addresses in which this is found, such as '^/admin/'."),
]
"""Where requests come from."""

RULES = [
    several("--ignore-header", "NAME", "Leave a header out; * and ? are understood."),
    several("--ignore-cookie", "NAME", "Leave a cookie out."),
    several(
        "--ignore-json", "PATH", "Leave out what stands here in JSON, such as '$.token' or '$.items[*].id'."
    ),
    several("--ignore-text", "REGEX", "Leave out what this finds in text, such as 'csrf=\\w+'."),
    several("--unordered", "PATH", "The array here in JSON has no order, such as '$.tags'."),
    click.Option(["--exact-headers"], is_flag=True, help="The order and spelling of headers count as well."),
]
"""What is no difference. Date, Server and what concerns the connection never is."""

FOLLOWING = [
    click.Option(["--follow-redirects"], is_flag=True, help="Go where redirects lead, and compare each step.")
]

SLOWER = [
    click.Option(
        ["--slower"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATIO",
        help="A request that takes the new side more than this many times as long is a difference.",
    )
]

REPORTS = [
    click.Option(["--html"], metavar="FILE", help="Write the report as a page of HTML as well."),
    click.Option(
        ["--json", "json_file"],
        metavar="FILE",
        help="Write the result as JSON as well; - prints it instead of the report.",
    ),
]
"""Where results go besides the terminal."""


def parameters(*groups: Iterable[click.Parameter]) -> list[click.Parameter]:
    """The parameters of a command, of several groups."""
    return list(chain(*groups))


# --- what they come to


def rules_from(values: Mapping[str, Any]) -> Rules:
    """The rules that the options of `RULES` stand for; takes them by their names.

    Raises:
        UsageError: a path or an expression cannot be understood.
    """
    from ..testing.comparison.rules import Rules

    rules = (
        Rules()
        .ignore_header(*values["ignore_header"])
        .ignore_cookie(*values["ignore_cookie"])
        .ignore_json(*values["ignore_json"])
        .ignore_text(*values["ignore_text"])
        .unordered(*values["unordered"])
    )
    return rules.exact_headers() if values["exact_headers"] else rules


def headers_from(given: Iterable[str]) -> list[tuple[str, str]]:
    """The headers that `--header` names.

    Raises:
        UsageError: one is not as `Name: value`.
    """
    pairs = []
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise UsageError(
                f"--header takes a name and a value, as in 'Authorization: Bearer x'; got {text!r}"
            )
        pairs.append((name.strip(), value.strip()))
    return pairs


def requests_from(values: Mapping[str, Any], client: Client) -> list[Request]:
    """The requests that the options of `SOURCES` stand for, each once.

    Args:
        values: of the options, by their names.
        client: is asked for a description, and crawled.

    Raises:
        UsageError: a file cannot be read as what it should be; a request is none; an option lacks the
            one that it is about.
    """
    return distinct(
        [*requests_given(values), *described_by(values, client), *crawled(values, client)], values
    )


def requests_given(values: Mapping[str, Any]) -> list[Request]:
    """Those for which nobody has to be asked.

    Raises:
        UsageError: as of `requests_from`.
    """
    from ..testing.sources.openapi import from_openapi

    if values["limit"] is not None and values["crawl"] is None:
        raise UsageError("--limit is about --crawl: give that too, as in --crawl /")
    if values["all_methods"] and values["openapi"] is None:
        raise UsageError("--all-methods is about --openapi: give that too")
    found = [_request(text) for text in values["request"]]
    files = [path for path in (values["requests"], values["har"]) if path is not None]
    if files:
        from ..testing.sources.files import from_file

        found += chain.from_iterable(map(from_file, files))
    if values["openapi"] is not None and not _is_path_of_app(values["openapi"]):
        found += from_openapi(values["openapi"], safe_only=not values["all_methods"])
    return found


def _is_path_of_app(text: str) -> bool:
    return text.startswith("/") and not Path(text).is_file()


def described_by(values: Mapping[str, Any], client: Client) -> list[Request]:
    """Those of the description that an app itself has.

    Raises:
        UsageError: it has none there.
    """
    from ..testing.sources.openapi import from_openapi

    if values["openapi"] is None or not _is_path_of_app(values["openapi"]):
        return []
    found = from_openapi(client, url=values["openapi"], safe_only=not values["all_methods"])
    client.cookies.clear()  # see `crawled`
    return found


def crawled(values: Mapping[str, Any], client: Client) -> list[Request]:
    """Those that a crawl finds."""
    from ..testing.sources.crawl import LIMIT, crawl

    if values["crawl"] is None:
        return []
    limit = values["limit"] or LIMIT
    found = []
    with progress("crawling", limit) as step:
        for request in crawl(client, values["crawl"], limit=limit, exclude=expressions(values, "exclude")):
            found.append(request)
            if step is not None:
                step(len(found), limit, request)
    # What it was sent on the way would make this side another visitor than the other one.
    client.cookies.clear()
    return found


def _request(text: str) -> Request:
    from ..testing.exchange import Request

    if not text.lstrip().startswith("{"):
        return Request.of(text)
    try:
        return Request.of(json.loads(text))
    except ValueError as error:
        raise UsageError(f"--request {text!r} is no JSON: {error}") from None


def distinct(requests: Sequence[Request], values: Mapping[str, Any]) -> list[Request]:
    """Without those that `--exclude` means, and without repetitions of what changes nothing.

    Who repeats a POST means it.

    Raises:
        UsageError: `--exclude` is no regular expression.
    """
    excluded = expressions(values, "exclude")
    found: list[Request] = []
    seen: set[Request] = set()
    for request in requests:
        if any(pattern.search(request.target) for pattern in excluded):
            continue
        if request.method not in ("GET", "HEAD", "OPTIONS") or request not in seen:
            seen.add(request)
            found.append(request)
    return found


def expressions(values: Mapping[str, Any], name: str) -> list[re.Pattern[str]]:
    """The regular expressions that an option was given, such as `--redact-text` by the name `redact_text`.

    Raises:
        UsageError: one is none.
    """
    return [expression(text, f"--{name.replace('_', '-')}") for text in values[name]]


def expression(text: str, option: str) -> re.Pattern[str]:
    """A regular expression that an option was given.

    Raises:
        UsageError: it is none.
    """
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"{option} takes a regular expression; got {text!r}: {error}") from None


def report(comparison: Comparison, *, html: str | None, json_file: str | None, title: str = "") -> int:
    """Print the comparison, write the files that were asked for, and return the exit code.

    Raises:
        UsageError: a file cannot be written.
    """
    if json_file != "-":
        echo(comparison.text())
    if html is not None:
        _write(html, lambda: comparison.write_html(html, title))
    if json_file is not None:
        write_json(json_file, comparison.to_json())
    return OK if comparison.same else FOUND


def write_json(path: str, value: Any) -> None:
    """Write a JSON value to a file, or print it if the path is `-`.

    Raises:
        UsageError: the file cannot be written.
    """
    text = json.dumps(value, indent=2)
    if path == "-":
        echo(text)
    else:
        write_text(path, f"{text}\n")


def write_text(path: str, text: str) -> None:
    """Write a file in UTF-8.

    Raises:
        UsageError: it cannot be written.
    """
    _write(path, lambda: Path(path).write_text(text, encoding="utf-8", errors="backslashreplace"))


def _write(path: str, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def check_writable(*paths: str | None) -> None:
    """See that files can be written, before there is work that would be lost.

    Raises:
        UsageError: the folder of one is not there, or is no folder.
    """
    for path in paths:
        if path is not None and path != "-" and not Path(path).resolve().parent.is_dir():
            raise UsageError(f"cannot write {path}: there is no folder {Path(path).resolve().parent}")


def echo(text: str) -> None:
    """Print to the standard output, whatever its encoding cannot hold."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with suppress(LookupError):
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(text, color=None if sys.stdout.isatty() else False)
