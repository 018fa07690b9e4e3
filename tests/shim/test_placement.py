"""Which thread, which loop: every combination of facts, and what is asked to find out."""

from __future__ import annotations

import itertools

import pytest

from bridge.shim.placement import Loop, Thread, loop_for, thread_for


class Facts:
    """Answers as the test says, and notes what was asked, in order."""

    def __init__(self, **facts: bool) -> None:
        self._facts = facts
        self.asked: list[str] = []

    def _ask(self, question: str) -> bool:
        self.asked.append(question)
        return self._facts[question]

    def has_waiting_thread(self) -> bool:
        return self._ask("waiting")

    def has_context(self) -> bool:
        return self._ask("context")

    def has_loop_executor(self) -> bool:
        return self._ask("loop")

    def runs_a_loop(self) -> bool:
        return self._ask("runs")

    def is_awaited(self) -> bool:
        return self._ask("awaited")

    def is_lent(self) -> bool:
        return self._ask("lent")


ORDER = [("waiting", Thread.WAITING), ("context", Thread.CONTEXT), ("loop", Thread.LOOP)]
ALL_THREE = list(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize("facts", ALL_THREE)
def test_thread_sensitive_code_goes_to_the_first_place_that_there_is(facts: tuple[bool, bool, bool]) -> None:
    """The thread that waits, then the context's, then the loop's, then the one that all share."""
    here = Facts(**{question: fact for (question, _), fact in zip(ORDER, facts, strict=True)})
    expected, asked = Thread.SHARED, []
    for question, place in ORDER:
        asked.append(question)
        if here._facts[question]:
            expected = place
            break
    assert thread_for(True, False, here) is expected
    assert here.asked == asked, "each question is asked once, and none after the answer is known"


@pytest.mark.parametrize("facts", ALL_THREE)
@pytest.mark.parametrize("executor", [False, True])
def test_other_code_goes_to_the_executor_or_the_pool_and_nothing_is_asked(
    facts: tuple[bool, bool, bool], executor: bool
) -> None:
    here = Facts(**{question: fact for (question, _), fact in zip(ORDER, facts, strict=True)})
    assert thread_for(False, executor, here) is (Thread.EXECUTOR if executor else Thread.POOL)
    assert here.asked == []


LOOPS = [
    (own, chosen, runs, awaited, lent)
    for own, chosen, runs, awaited, lent in itertools.product([False, True], repeat=5)
]


@pytest.mark.parametrize(("own", "chosen", "runs", "awaited", "lent"), LOOPS)
def test_the_loop_for_a_coroutine(own: bool, chosen: bool, runs: bool, awaited: bool, lent: bool) -> None:
    thread = Facts(runs=runs, awaited=awaited, lent=lent)
    found = loop_for(own, chosen, thread)
    if runs:
        assert (found, thread.asked) == (Loop.HERE, ["runs"]), "whatever was asked for: it could never end"
    elif own:
        assert (found, thread.asked) == (Loop.NEW, ["runs"])
    elif chosen:
        assert (found, thread.asked) == (Loop.PERSISTENT, ["runs"])
    elif awaited:
        assert (found, thread.asked) == (Loop.AWAITING, ["runs", "awaited"])
    elif lent:
        assert (found, thread.asked) == (Loop.LENDING, ["runs", "awaited", "lent"])
    else:
        assert (found, thread.asked) == (Loop.PERSISTENT, ["runs", "awaited", "lent"])
