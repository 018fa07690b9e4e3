"""The table of what servers do not do; where the documentation has a table of its own, both must agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.commands.server_limits import HOSTS, Use, host_named, limits_of
from bridge.exceptions import UsageError
from bridge.serving.servers import SERVERS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "howto"

COLUMNS = {
    "servers": ("uvicorn", "hypercorn", "granian", "gunicorn-asgi", "daphne"),
    "asgi-hosts": (
        *("gunicorn", "uwsgi", "mod_wsgi", "waitress", "granian-wsgi", "cheroot", "werkzeug", "wsgiref"),
        "pywsgi",
    ),
}

# What a cell of the documentation says when there is no limit.
CLEAN = re.compile(r"^(yes\b(?!;)|$)")

ROWS = [
    ("servers", "start-up and shutdown hooks run (lifespan)", Use.LIFESPAN),
    ("servers", "an upload reaches the application while it arrives", Use.UPLOAD),
    ("servers", "waits for a client that reads slowly", Use.STREAM),
    ("servers", "a response that failed half-way breaks off", Use.BREAK_OFF),
    ("asgi-hosts", "an upload reaches the application while it arrives", Use.UPLOAD),
    ("asgi-hosts", "chunked uploads", Use.CHUNKED_UPLOAD),
    ("asgi-hosts", "a response that failed half-way breaks off", Use.BREAK_OFF),
    ("asgi-hosts", "takes the response in step with its client", Use.STREAM),
    ("asgi-hosts", "tells the raw path (`%2F`)", Use.ENCODED_SLASH),
]


def cells(page: str, row: str) -> list[str]:
    """The cells of a row of a page's table, without its first and without notes."""
    for line in (DOCS / page / "index.md").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"| {row}"):
            return [re.sub(r"\[\^\w+\]", "", cell).strip() for cell in line.strip("| ").split(" | ")[1:]]
    raise AssertionError(f"{page} has no row {row!r}")


@pytest.mark.parametrize(("page", "row", "use"), ROWS, ids=[f"{page}-{use.name}" for page, _, use in ROWS])
def test_the_table_agrees_with_the_documentation(page: str, row: str, use: Use) -> None:
    """A server has a limit here where its cell there says other than yes."""
    told = dict(zip(COLUMNS[page], cells(page, row), strict=True))
    limited = {name for name, cell in told.items() if not CLEAN.match(cell) or "with `--" in cell}
    assert {name for name in told if limits_of(HOSTS[name], {use})} == limited


def test_repeated_headers_agree_with_the_documentation() -> None:
    told = dict(zip(COLUMNS["asgi-hosts"], cells("asgi-hosts", "repeated request headers"), strict=True))
    limited = {name for name, cell in told.items() if cell != "joined"}
    assert {name for name in told if limits_of(HOSTS[name], {Use.REPEATED_HEADERS})} == limited


def test_trailers_agree_with_the_documentation() -> None:
    told = dict(zip(COLUMNS["servers"], cells("servers", "trailers over HTTP/2"), strict=True))
    for name, cell in told.items():
        (limit,) = limits_of(HOSTS[name], {Use.TRAILERS})
        assert limit.verdict == ("limits" if cell == "yes" else "breaks"), name


def test_every_server_of_bridge_serve_is_there() -> None:
    assert set(SERVERS) <= set(HOSTS)


def test_websockets_break_on_every_wsgi_server_and_on_no_other() -> None:
    for each in HOSTS.values():
        verdicts = [limit.verdict for limit in limits_of(each, {Use.WEBSOCKET})]
        assert verdicts == (["breaks"] if each.speaks == "wsgi" else []), each.name


def test_an_app_that_relies_on_nothing_has_no_limits() -> None:
    assert [host.name for host in HOSTS.values() if limits_of(host, set())] == []


@pytest.mark.parametrize("use", Use, ids=[use.name for use in Use])
def test_everything_that_is_looked_for_matters_somewhere(use: Use) -> None:
    assert any(limits_of(host, {use}) for host in HOSTS.values())


def test_limits_are_in_the_order_of_what_is_relied_on() -> None:
    found = [limit.use for limit in limits_of(HOSTS["daphne"], set(Use))]
    assert found == [use for use in Use if use in found]
    assert found[0] is Use.LIFESPAN


def test_reasons_are_sentences() -> None:
    for host in HOSTS.values():
        for limit in limits_of(host, set(Use)):
            assert limit.reason, (host.name, limit)
            assert not limit.reason.endswith("."), (host.name, limit)


def test_a_server_that_is_not_there() -> None:
    assert host_named("waitress").title == "Waitress"
    with pytest.raises(UsageError, match=r"--server is one of uvicorn, .*; got 'apache'"):
        host_named("apache")
