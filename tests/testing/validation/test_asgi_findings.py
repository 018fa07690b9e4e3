"""What real servers break under `ASGIValidator`, exactly as the documentation publishes it.

Each server runs in processes of its own and is asked the questions of `asgi_probing`. If a release of a
server mends something, or breaks something new, its test fails, and the page has to be changed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from served.servers import SERVERS, Limit, Server
from support.served import HOST, run_server
from testing.validation.asgi_probing import (
    HTTP1_QUESTIONS,
    QUESTIONS,
    STARTED,
    Probe,
    ask,
    found_on_unix_socket,
)

PAGE = Path(__file__).parents[3] / "docs" / "project" / "validator-findings.md"

HTTP = frozenset(QUESTIONS) | {"a method in lower case", "HTTP/1.0", "an absolute target", "OPTIONS *"}
WEBSOCKETS = frozenset(HTTP1_QUESTIONS) - HTTP

LOWER_CASE = ("http.scope/method/upper-case", "MUST")
LIFESPAN_VERSION = ("lifespan.scope/asgi/spec_version/known", "SHOULD")
CLIENT_PORT = ("http.scope/client/port/type", "MUST")
SERVER_PORT = ("http.scope/server/port/type", "MUST")

# By question: the rules that the server breaks, and their level.
Findings = dict[str, set[tuple[str, str]]]

_GRANIAN: Findings = {
    STARTED: {LIFESPAN_VERSION},
    **{question: {CLIENT_PORT, SERVER_PORT} for question in QUESTIONS},
}

PUBLISHED: dict[str, Findings] = {
    "uvicorn-h11": {"a method in lower case": {LOWER_CASE}},
    "uvicorn-httptools": {},
    "uvicorn-websockets": {
        question: {("send/disconnected/error", "SHOULD")}
        for question in (
            "a WebSocket closed by the client",
            "a WebSocket closed without a code",
            "a WebSocket whose client vanishes",
        )
    },
    "hypercorn": {},
    "hypercorn-trio": {},
    "hypercorn-h2": {},
    "daphne": {
        "a method in lower case": {LOWER_CASE},
        "a WebSocket closed without a code": {("websocket.disconnect/code/type", "MUST")},
    },
    "granian": {
        **{question: {CLIENT_PORT, SERVER_PORT} for question in HTTP},
        **{
            question: {
                ("websocket.scope/client/port/type", "MUST"),
                ("websocket.scope/server/port/type", "MUST"),
            }
            for question in WEBSOCKETS
        },
        STARTED: {LIFESPAN_VERSION},
        "a method in lower case": {CLIENT_PORT, SERVER_PORT, LOWER_CASE},
        "HTTP/1.0": {CLIENT_PORT, SERVER_PORT, ("http.scope/http_version/known", "MUST")},
    },
    "granian-h2": _GRANIAN,
    "gunicorn": {
        STARTED: {LIFESPAN_VERSION},
        "a client that leaves": {("send/disconnected/silent", "SHOULD")},
    },
}


def _uvicorn_on_websockets(target: str, port: int, grace: int) -> Sequence[str]:
    """The only WebSocket implementation of Uvicorn that the others of the table do not use."""
    return [
        *(sys.executable, "-m", "uvicorn", target, "--host", HOST, "--port", str(port)),
        *("--ws", "websockets", "--lifespan", "on", "--log-level", "warning", "--no-access-log"),
    ]


ALL = [*SERVERS, Server("uvicorn-websockets", _uvicorn_on_websockets)]


@pytest.fixture(params=ALL, ids=lambda each: each.name)
def probe(request: pytest.FixtureRequest) -> Iterator[tuple[str, Probe]]:
    server: Server = request.param
    with (
        tempfile.TemporaryDirectory() as directory,
        run_server(
            lambda port: server.argv("testing.validation.asgi_probe:app", port, 1), Path(directory)
        ) as running,
    ):
        yield server.name, Probe(running, server.client, server.lacks(Limit.WHOLE_UPLOADS))


@pytest.mark.skipif(sys.platform != "linux", reason="servers are started and ended by means of Linux")
def test_a_server_breaks_what_is_published_and_nothing_else(probe: tuple[str, Probe]) -> None:
    name, running = probe
    found = {
        question: {(rule, level) for rule, side, level, came, where in violations}
        for question, violations in ask(running).items()
        if violations
    }
    assert found == PUBLISHED[name]


TARGET = "testing.validation.asgi_probe:app"
_PYTHON = (sys.executable, "-m")
UNIX: dict[str, tuple[Callable[[Path], Sequence[str]], set[tuple[str, str]]]] = {
    "uvicorn": (lambda path: [*_PYTHON, "uvicorn", "--uds", str(path), TARGET], set()),
    "hypercorn": (lambda path: [*_PYTHON, "hypercorn", "--bind", f"unix:{path}", TARGET], set()),
    "daphne": (lambda path: [*_PYTHON, "daphne", "-u", str(path), TARGET], set()),
    "granian": (
        lambda path: [*_PYTHON, "granian", "--interface", "asgi", "--uds", str(path), TARGET],
        {LIFESPAN_VERSION, CLIENT_PORT, SERVER_PORT},
    ),
    "gunicorn": (
        lambda path: [
            *(*_PYTHON, "gunicorn", "--worker-class", "asgi", "--no-control-socket"),
            *("--bind", f"unix:{path}", TARGET),
        ],
        {LIFESPAN_VERSION, SERVER_PORT},
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="servers are started and ended by means of Linux")
@pytest.mark.parametrize("name", UNIX)
def test_a_server_on_a_unix_socket_breaks_what_is_published(name: str) -> None:
    argv, expected = UNIX[name]
    # A short path: that of a unix socket is bounded by 108 bytes.
    with tempfile.TemporaryDirectory() as directory:
        found = found_on_unix_socket(argv, Path(directory))
    assert {(rule, level) for rule, side, level, came, where in found} == expected


def test_every_server_is_published() -> None:
    assert {each.name for each in ALL} == set(PUBLISHED)


# The name of a server in the page's table -> the names here.
_ROWS = {
    "Uvicorn": ["uvicorn-h11", "uvicorn-httptools", "uvicorn-websockets"],
    "Hypercorn": ["hypercorn", "hypercorn-trio", "hypercorn-h2"],
    "Daphne": ["daphne"],
    "Granian": ["granian", "granian-h2"],
    "Gunicorn": ["gunicorn"],
}


def _published_rows() -> set[tuple[str, str, str]]:
    text = PAGE.read_text()
    table = text.partition("## Servers")[2].partition("\n## ")[0]
    rows = set()
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) > 3 and cells[0].split(" ")[0] in _ROWS:
            rows |= {
                (cells[0].split(" ")[0], rule, cells[2]) for rule in re.findall(r"`([^`]+/[^`]+)`", cells[1])
            }
    return rows


def test_the_page_says_what_is_asserted_here() -> None:
    asserted = {
        (row, rule, level)
        for row, names in _ROWS.items()
        for name in names
        for findings in PUBLISHED[name].values()
        for rule, level in findings
    }
    asserted |= {(name.title(), *finding) for name, (_, findings) in UNIX.items() for finding in findings}
    assert _published_rows() == asserted
