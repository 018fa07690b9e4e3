"""Apps with a fault: each has it, tells its name, and can be chosen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy

from bridge.exceptions import UsageError
from bridge.testing import ASGIValidator, Client, WSGIValidator
from bridge.testing.strategies import (
    ASGI_FAULTS,
    WSGI_FAULTS,
    FaultyASGI,
    FaultyWSGI,
    bad_asgi_apps,
    bad_wsgi_apps,
)
from bridge.translate.interface import Interface, interface_of

# Not a matter of the interface's rules: any code may raise.
RAISING = ("raises", "exits", "cancels")
# What ASGI lets a server do without a word.
TOLERATED = {"sends after the end", "hop-by-hop header"}
# Of a status the validators know what the interface says: three digits.
STATUSES = {"status of 100", "status of 700"}


@pytest.mark.parametrize("fault", [each for each in WSGI_FAULTS if not each.startswith(RAISING)])
def test_a_validator_sees_the_fault_of_a_wsgi_app(fault: str) -> None:
    validator = WSGIValidator(FaultyWSGI(fault, (b"abc", b"de")), on_violation="collect")

    def app(environ: Any, start_response: Any) -> Any:
        return validator(environ, start_response)

    with Client(app) as client:
        client.exchange("/")
    assert validator.violations or fault in STATUSES


@pytest.mark.parametrize("fault", [each for each in ASGI_FAULTS if not each.startswith(RAISING)])
def test_a_validator_sees_the_fault_of_an_asgi_app(fault: str) -> None:
    validator = ASGIValidator(FaultyASGI(fault, (b"abc", b"de")), on_violation="collect")
    with Client(validator) as client:
        client.exchange("/")
    assert validator.violations or fault in STATUSES | TOLERATED


@pytest.mark.parametrize("fault", [each for each in ASGI_FAULTS if each.startswith(RAISING)])
def test_an_asgi_app_raises(fault: str) -> None:
    with Client(FaultyASGI(fault)) as client:
        response = client.exchange("/")
    assert response.error is not None or ASGI_FAULTS[fault].mendable


@pytest.mark.parametrize("fault", [each for each in WSGI_FAULTS if each.startswith(RAISING)])
def test_a_wsgi_app_raises(fault: str) -> None:
    with Client(FaultyWSGI(fault)) as client:
        assert client.exchange("/").error is not None


def test_they_are_known_by_their_interfaces() -> None:
    assert interface_of(FaultyWSGI("raises")).interface is Interface.WSGI
    assert interface_of(FaultyASGI("raises")).interface is Interface.ASGI3


def test_they_name_their_fault() -> None:
    app = FaultyWSGI("too short", (b"ab",))
    assert repr(app) == "FaultyWSGI(fault='too short', chunks=(b'ab',))"
    assert app.described is WSGI_FAULTS["too short"]
    assert "Content-Length" in app.described.rule
    assert FaultyASGI("raises").described is ASGI_FAULTS["raises"]


@pytest.mark.parametrize("faults", [WSGI_FAULTS, ASGI_FAULTS], ids=["wsgi", "asgi"])
def test_each_fault_says_what_it_breaks(faults: dict[str, Any]) -> None:
    assert all(fault.name == name and len(fault.rule) > 10 for name, fault in faults.items())
    assert {fault.mendable for fault in faults.values()} == {True, False}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (bad_wsgi_apps(["too short"]), {"too short"}),
        (bad_asgi_apps(["raises", "exits"]), {"raises", "exits"}),
        (bad_wsgi_apps(["too short", "too long"], mendable=False), {"too short"}),
        (bad_asgi_apps(["raises", "too long"], mendable=False), {"raises"}),
    ],
    ids=["wsgi", "asgi", "wsgi-not-mendable", "asgi-not-mendable"],
)
def test_faults_are_chosen(strategy: SearchStrategy[Any], expected: set[str]) -> None:
    made = set()

    @settings(max_examples=30)
    @given(app=strategy)
    def collect(app: Any) -> None:
        made.add(app.fault)
        assert b"".join(app.chunks)

    collect()
    assert made == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: FaultyWSGI("sneezes"),
        lambda: FaultyASGI("sneezes"),
        lambda: bad_wsgi_apps(["sneezes"]),
        lambda: bad_asgi_apps(["sneezes"]),
        lambda: bad_asgi_apps([]),
        lambda: bad_wsgi_apps(["too long"], mendable=False),
    ],
    ids=["wsgi", "asgi", "wsgi-choice", "asgi-choice", "no-choice", "none-left"],
)
def test_unknown_faults_are_refused(make: Any) -> None:
    with pytest.raises(UsageError, match=r"a fault is one of raises|got none"):
        make()
