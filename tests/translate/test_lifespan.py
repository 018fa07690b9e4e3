"""The order of lifespan messages."""

from __future__ import annotations

import pytest

from bridge.exceptions import ServerError
from bridge.translate.lifespan import LifespanAnswers, Phase

STARTUP = {"type": "lifespan.startup"}
SHUTDOWN = {"type": "lifespan.shutdown"}


@pytest.mark.req("L-01")
def test_startup_and_shutdown_are_answered_in_order() -> None:
    answers = LifespanAnswers()
    phases = [answers.phase]
    assert answers.receive(STARTUP) is Phase.STARTING
    assert answers.complete() == {"type": "lifespan.startup.complete"}
    phases.append(answers.phase)
    assert answers.receive(SHUTDOWN) is Phase.STOPPING
    assert answers.complete() == {"type": "lifespan.shutdown.complete"}
    phases.append(answers.phase)
    assert phases == [Phase.WAITING, Phase.RUNNING, Phase.ENDED]


@pytest.mark.req("L-02")
def test_a_failed_startup_says_why_and_ends_the_lifespan() -> None:
    answers = LifespanAnswers()
    answers.receive(STARTUP)
    assert answers.failed("no database") == {"type": "lifespan.startup.failed", "message": "no database"}
    assert answers.phase is Phase.ENDED


@pytest.mark.req("L-02")
def test_a_failed_shutdown_says_why_and_ends_the_lifespan() -> None:
    answers = LifespanAnswers()
    answers.receive(STARTUP)
    answers.complete()
    answers.receive(SHUTDOWN)
    assert answers.failed("stuck") == {"type": "lifespan.shutdown.failed", "message": "stuck"}
    assert answers.phase is Phase.ENDED


def machine_in(phase: Phase) -> LifespanAnswers:
    """A machine that was brought to `phase`."""
    answers = LifespanAnswers()
    steps = [
        lambda: answers.receive(STARTUP),
        answers.complete,
        lambda: answers.receive(SHUTDOWN),
        answers.complete,
    ]
    for step, reached in zip(steps, list(Phase)[1:], strict=True):
        if answers.phase is phase:
            break
        step()
        assert answers.phase is reached
    assert answers.phase is phase
    return answers


@pytest.mark.req("L-01")
@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (phase, kind)
        for phase in Phase
        for kind in ("lifespan.startup", "lifespan.shutdown", "http.request", "")
        if (phase, kind) not in {(Phase.WAITING, "lifespan.startup"), (Phase.RUNNING, "lifespan.shutdown")}
    ],
)
def test_a_message_out_of_order_raises_and_changes_nothing(phase: Phase, kind: str) -> None:
    answers = machine_in(phase)
    with pytest.raises(ServerError, match=phase.name) as caught:
        answers.receive({"type": kind})
    assert repr(kind) in str(caught.value)
    assert answers.phase is phase


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.RUNNING, Phase.ENDED])
def test_there_is_no_answer_where_nothing_was_asked(phase: Phase) -> None:
    answers = machine_in(phase)
    with pytest.raises(LookupError):
        answers.complete()
    with pytest.raises(LookupError):
        answers.failed("why")
    assert answers.phase is phase
