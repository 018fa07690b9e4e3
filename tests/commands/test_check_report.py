"""The report of `bridge check` from made-up findings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.commands.check_report import Outcome
from bridge.commands.server_limits import HOSTS, Use
from bridge.testing.comparison.result import Comparison, Difference, Result
from bridge.testing.exchange import Request, Response
from bridge.testing.validation.violations import Violation

BROKEN = Violation("status/format", "app", "PEP 3333", "a <status>", "'OK'", "GET /")
ADVICE = replace(BROKEN, rule="scope/changed", level="SHOULD")
SAME = Comparison((Result(Request(), Response(200), Response(200)),), "native", "via asgi")
DIFFERENT = Comparison(
    (Result(Request(), Response(200), Response(201), (Difference("status", "", 200, 201),)),)
)

CLEAN = Outcome("shop:app is a WSGI app (Flask)", "is called so", "wsgi", 1, [], [], "asgi", SAME, {})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, False),
        ({"violations": [BROKEN]}, True),
        ({"violations": [ADVICE]}, False),
        ({"failures": [("GET /", "answers 500")]}, True),
        ({"comparison": DIFFERENT}, True),
        ({"uses": {Use.CHUNKED_UPLOAD: "POST /"}}, False),
        ({"uses": {Use.CHUNKED_UPLOAD: "POST /"}, "servers": [HOSTS["uwsgi"]]}, True),
        ({"uses": {Use.CHUNKED_UPLOAD: "POST /"}, "servers": [HOSTS["waitress"]]}, False),
        ({"uses": {Use.UPLOAD: "POST /"}, "servers": [HOSTS["waitress"]]}, False),
    ],
)
def test_what_counts(changes: dict[str, Any], found: bool) -> None:
    outcome = replace(CLEAN, **changes)
    assert outcome.found is found
    assert outcome.to_json()["clean"] is not found
    assert ("something was found" in outcome.html()) is found


def test_a_clean_app_in_text() -> None:
    assert CLEAN.text() == (
        "shop:app is a WSGI app (Flask): it is called so\n\n"
        "1 request, and no rule of its interface was broken\n\n"
        "native and via asgi: 1 request, all alike\n\n"
        "On every server: nothing of what it relies on is known to make trouble"
    )


def test_a_rule_that_is_broken_often_is_told_once() -> None:
    violations = [replace(BROKEN, where=f"GET /{number}") for number in range(5)]
    text = replace(CLEAN, violations=violations).text()
    assert text.count("status/format") == 1
    assert "in:       GET /0; GET /1; GET /2 and 2 more" in text
    assert "no rule of its interface was broken" not in text


def test_servers_with_the_same_limit_stand_together() -> None:
    text = replace(CLEAN, uses={Use.WEBSOCKET: "/ws", Use.ENCODED_SLASH: "GET /a%2Fb"}).text()
    assert text.endswith(
        "On servers, of what it relies on\n"
        "  breaks  WebSockets: WSGI has no WebSockets: a handshake arrives as an ordinary GET\n"
        "          on every WSGI server\n"
        "  breaks  %2F in paths: Apache answers 404, unless AllowEncodedSlashes is on\n"
        "          on mod_wsgi\n"
        "  limits  %2F in paths: it does not tell the raw path: %2F arrives as a slash\n"
        "          on Granian (WSGI), wsgiref, gevent's pywsgi\n"
        "  limits  %2F in paths: %2F stays in the path as it is\n"
        "          on Cheroot\n"
        "  nothing known on every ASGI server"
    )


def test_servers_that_are_named_are_the_only_ones() -> None:
    outcome = replace(CLEAN, servers=[HOSTS["daphne"]], uses={Use.STREAM: "GET /"})
    assert [(host.name, how) for host, how, _ in outcome.rows()] == [("daphne", "in WSGIToASGI")]
    assert (
        replace(outcome, uses={})
        .text()
        .endswith("On Daphne: nothing of what it relies on is known to make trouble")
    )


def test_all_of_it_is_json() -> None:
    outcome = replace(
        CLEAN,
        violations=[BROKEN, ADVICE],
        failures=[("GET /", "answers 500")],
        comparison=DIFFERENT,
        uses={Use.STREAM: "GET /"},
    )
    value = json.loads(json.dumps(outcome.to_json()))
    assert [each["level"] for each in value["violations"]] == ["MUST", "SHOULD"]
    assert value["failures"] == [{"request": "GET /", "outcome": "answers 500"}]
    assert value["comparison"]["same"] is False
    assert value["relies_on"] == {"stream": "GET /"}
    assert len(value["servers"]) == len(HOSTS)


def test_what_is_found_is_escaped_in_the_page() -> None:
    page = replace(CLEAN, app="<script>", violations=[BROKEN]).html()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &lt;status&gt;" in page
