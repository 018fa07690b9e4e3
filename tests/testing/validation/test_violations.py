"""What becomes of a violation: raised, kept, logged, handed to a function, or ignored."""

from __future__ import annotations

import logging
import pickle
import threading
from typing import Any

import pytest

from bridge.exceptions import BridgeError, ProtocolViolation, UsageError
from bridge.testing.validation.violations import Violation, Violations


def violation(rule: str = "status/form", **fields: Any) -> Violation:
    values = {
        "side": "app",
        "clause": "PEP 3333",
        "expected": "a reason",
        "came": "'200'",
        "where": "GET /, start_response()",
    }
    return Violation(rule, **{**values, **fields})


def test_a_violation_tells_everything() -> None:
    assert str(violation(side="server")) == (
        "GET /, start_response(): the server broke status/form (PEP 3333)\n"
        "  expected: a reason\n"
        "  came:     '200'"
    )


def test_a_violation_is_a_must_unless_it_is_said() -> None:
    assert violation().level == "MUST"
    assert violation(level="SHOULD").level == "SHOULD"


def test_it_is_raised_and_kept() -> None:
    seen = Violations()
    with pytest.raises(ProtocolViolation, match="broke status/form") as caught:
        seen.add(violation())
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, BridgeError)
    assert caught.value.violation == violation()
    assert (seen.seen, seen.count) == ([violation()], 1)


def test_the_exception_survives_a_process_boundary() -> None:
    """Such as that between the processes of a parallel test run."""
    again = pickle.loads(pickle.dumps(ProtocolViolation(violation())))
    assert (type(again), again.violation, str(again)) == (ProtocolViolation, violation(), str(violation()))


def test_it_may_only_be_kept() -> None:
    seen = Violations("collect")
    seen.add(violation())
    seen.add(violation("body/head"))
    assert [each.rule for each in seen.seen] == ["status/form", "body/head"]


def test_it_may_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    seen = Violations("log")
    with caplog.at_level(logging.WARNING):
        seen.add(violation())
    assert [(each.name, each.getMessage()) for each in caplog.records] == [
        ("bridge.testing", str(violation()))
    ]
    assert seen.count == 1


def test_a_function_gets_it() -> None:
    got: list[Violation] = []
    seen = Violations(got.append)
    seen.add(violation())
    assert got == seen.seen == [violation()]


@pytest.mark.parametrize(
    ("ignore", "kept"),
    [
        ((), ["status/form", "status/type", "statuses"]),
        (("status/form",), ["status/type", "statuses"]),
        (("status/",), ["statuses"]),
        (("status",), ["status/form", "status/type", "statuses"]),
        (("status/", "statuses"), []),
    ],
    ids=lambda each: "+".join(each) or "none",
)
def test_rules_may_be_ignored(ignore: tuple[str, ...], kept: list[str]) -> None:
    """By their whole name, or all below a name with a slash at its end."""
    seen = Violations("collect", ignore)
    for rule in ("status/form", "status/type", "statuses"):
        seen.add(violation(rule))
    assert [each.rule for each in seen.seen] == kept
    assert seen.count == len(kept)


def test_what_is_ignored_is_not_raised() -> None:
    Violations("raise", ("status/form",)).add(violation())


def test_only_so_many_are_kept_and_all_are_counted() -> None:
    seen = Violations("collect", limit=2)
    for number in range(5):
        seen.add(violation(f"rule/{number}"))
    assert ([each.rule for each in seen.seen], seen.count) == (["rule/0", "rule/1"], 5)


def test_what_was_seen_is_a_copy() -> None:
    seen = Violations("collect")
    seen.add(violation())
    seen.seen.clear()
    assert seen.seen == [violation()]


def test_none_is_lost_among_threads() -> None:
    seen = Violations("collect", limit=10_000)
    together = threading.Barrier(4)

    def add() -> None:
        together.wait(10)
        for _ in range(500):
            seen.add(violation())

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (seen.count, len(seen.seen)) == (2000, 2000)


@pytest.mark.parametrize("action", ["shout", None, 1], ids=str)
def test_an_unknown_action_is_refused(action: Any) -> None:
    with pytest.raises(UsageError, match="one of raise, collect, log or a function; got"):
        Violations(action)
