"""The table of rules, and the report of one request."""

from __future__ import annotations

import re

import pytest

from bridge.testing.validation.header_rules import Broken
from bridge.testing.validation.violations import Violation
from bridge.testing.validation.wsgi_rules import RULES, Report

# What a clause may name.
CLAUSE = re.compile(r"PEP 3333, \"[A-Za-z_().\- ]+\"|RFC \d{4} \d+(\.\d+)*( and \d+(\.\d+)*)?|PEP 342|\(.+\)")


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_says_what_is_asked_where(name: str) -> None:
    rule = RULES[name]
    assert re.fullmatch(r"[a-z_\-]+(/[A-Za-z0-9_.\-]+)+", name)
    assert CLAUSE.sub("", rule.clause).replace("; ", "").strip() == ""
    assert rule.expected
    assert not rule.expected.endswith(".")


def test_a_report_is_a_violation_of_the_table() -> None:
    seen: list[Violation] = []
    Report(seen.append, "GET /notes", should=False)("status/interim", "'100 Continue'", "start_response()")
    assert seen == [
        Violation(
            "status/interim",
            "app",
            "RFC 9110 15.2",
            "a final status: interim ones (1xx) are the server's",
            "'100 Continue'",
            "GET /notes, start_response()",
        )
    ]


@pytest.mark.parametrize("should", [False, True])
def test_advice_is_told_only_if_it_is_wanted(should: bool) -> None:
    seen: list[Violation] = []
    report = Report(seen.append, "GET /", should)
    report("write/used", "a call of write()", "write() 1")
    report.header(Broken("value/white-space", "RFC 9110 5.5", "none", "some", "SHOULD"), "start_response()")
    report.header(Broken("name/token", "RFC 9110 5.1", "a token", "none"), "start_response()")
    told = [(each.rule, each.side, each.level) for each in seen]
    assert told == [
        *(
            [("write/used", "app", "SHOULD"), ("headers/value/white-space", "app", "SHOULD")]
            if should
            else []
        ),
        ("headers/name/token", "app", "MUST"),
    ]


def test_an_unknown_rule_is_a_mistake_of_the_validator() -> None:
    with pytest.raises(KeyError):
        Report(print, "GET /", should=True)("no/such/rule", "", "")


def test_what_was_raised_is_raised_again_once() -> None:
    """For an application that went on in spite of it."""

    def refuse(violation: Violation) -> None:
        raise LookupError(violation.rule)

    report = Report(refuse, "GET /", should=False)
    report.again()
    with pytest.raises(LookupError):
        report("body/too-long", "", "")
    with pytest.raises(LookupError, match="body/too-long"):
        report.again()
    report.again()
