"""The order of lifespan messages, for whoever answers them and for whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.exceptions import InvalidMessage, ServerError
from bridge.translate.lifespan import LifespanAnswers, LifespanQuestions, Phase

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
        for kind in ("lifespan.startup", "lifespan.shutdown", "http.request", "", "nothing")
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


# -- the server's side

STARTUP_COMPLETE = {"type": "lifespan.startup.complete"}
STARTUP_FAILED = {"type": "lifespan.startup.failed", "message": "no database"}
SHUTDOWN_COMPLETE = {"type": "lifespan.shutdown.complete"}
SHUTDOWN_FAILED = {"type": "lifespan.shutdown.failed", "message": "stuck"}


def questions_in(phase: Phase) -> LifespanQuestions:
    """A server's machine that was brought to `phase`."""
    questions = LifespanQuestions()
    steps: list[Callable[[], object]] = [
        questions.startup,
        lambda: questions.answer(STARTUP_COMPLETE),
        questions.shutdown,
        lambda: questions.answer(SHUTDOWN_COMPLETE),
    ]
    for step, reached in zip(steps, list(Phase)[1:], strict=True):
        if questions.phase is phase:
            break
        step()
        assert questions.phase is reached
    assert questions.phase is phase
    return questions


@pytest.mark.req("L-04", "L-09")
def test_startup_and_shutdown_are_asked_for_in_order() -> None:
    questions = LifespanQuestions()
    phases = [questions.phase]
    assert questions.startup() == {"type": "lifespan.startup"}
    phases.append(questions.phase)
    assert questions.answer(STARTUP_COMPLETE) is Phase.RUNNING
    assert questions.shutdown() == {"type": "lifespan.shutdown"}
    phases.append(questions.phase)
    assert questions.answer(SHUTDOWN_COMPLETE) is Phase.ENDED
    assert phases == [Phase.WAITING, Phase.STARTING, Phase.STOPPING]
    assert questions.failure is None


@pytest.mark.req("L-07", "L-11")
@pytest.mark.parametrize(
    ("phase", "message", "following", "failure"),
    [
        (Phase.STARTING, STARTUP_COMPLETE, Phase.RUNNING, None),
        (Phase.STARTING, STARTUP_FAILED, Phase.ENDED, "no database"),
        (Phase.STARTING, {"type": "lifespan.startup.failed"}, Phase.ENDED, ""),
        (Phase.STARTING, {"type": "lifespan.startup.failed", "message": 5}, Phase.ENDED, "5"),
        (Phase.STARTING, {**STARTUP_COMPLETE, "message": "extra"}, Phase.RUNNING, None),
        (Phase.STOPPING, SHUTDOWN_COMPLETE, Phase.ENDED, None),
        (Phase.STOPPING, SHUTDOWN_FAILED, Phase.ENDED, "stuck"),
        (Phase.STOPPING, {"type": "lifespan.shutdown.failed"}, Phase.ENDED, ""),
    ],
)
def test_an_answer_leads_on(
    phase: Phase, message: dict[str, object], following: Phase, failure: str | None
) -> None:
    questions = questions_in(phase)
    assert questions.answer(message) is following
    assert questions.phase is following
    assert questions.failure == failure


@pytest.mark.req("L-11")
@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (phase, message)
        for phase in Phase
        for message in (
            STARTUP_COMPLETE,
            STARTUP_FAILED,
            SHUTDOWN_COMPLETE,
            SHUTDOWN_FAILED,
            {"type": "lifespan.startup"},
            {"type": "lifespan.startup.completed"},
            {"type": "http.response.start", "status": 200},
            {"type": "nothing.complete"},
            {"type": "nothing.failed", "message": "why"},
            {"type": ""},
            {"type": None},
            {},
        )
        if not (phase is Phase.STARTING and message in (STARTUP_COMPLETE, STARTUP_FAILED))
        and not (phase is Phase.STOPPING and message in (SHUTDOWN_COMPLETE, SHUTDOWN_FAILED))
    ],
)
def test_what_is_no_answer_raises_and_changes_nothing(phase: Phase, message: dict[str, object]) -> None:
    """Among them: an answer given a second time, and one to what was not asked."""
    questions = questions_in(phase)
    with pytest.raises(InvalidMessage) as caught:
        questions.answer(message)
    assert repr(message.get("type")) in str(caught.value)
    assert questions.phase is phase
    assert questions.failure is None


@pytest.mark.req("L-11")
@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (Phase.WAITING, "no lifespan event waited"),
        (Phase.STARTING, "expected lifespan.startup.complete or lifespan.startup.failed"),
        (Phase.RUNNING, "no lifespan event waited"),
        (Phase.STOPPING, "expected lifespan.shutdown.complete or lifespan.shutdown.failed"),
        (Phase.ENDED, "no lifespan event waited"),
    ],
)
def test_the_error_says_what_was_expected(phase: Phase, words: str) -> None:
    with pytest.raises(InvalidMessage, match=words):
        questions_in(phase).answer({"type": "lifespan.other"})


@pytest.mark.req("L-11")
def test_an_answer_may_follow_one_that_was_refused() -> None:
    questions = questions_in(Phase.STARTING)
    with pytest.raises(InvalidMessage):
        questions.answer(SHUTDOWN_COMPLETE)
    assert questions.answer(STARTUP_COMPLETE) is Phase.RUNNING


@pytest.mark.req("L-01", "L-09")
@pytest.mark.parametrize("startup_fails", [False, True])
@pytest.mark.parametrize("shutdown_fails", [False, True])
def test_the_two_sides_understand_each_other(startup_fails: bool, shutdown_fails: bool) -> None:
    answers, questions = LifespanAnswers(), LifespanQuestions()
    phases = []
    for ask, fails in ((questions.startup, startup_fails), (questions.shutdown, shutdown_fails)):
        answers.receive(ask())
        assert answers.phase is questions.phase
        questions.answer(answers.failed("why") if fails else answers.complete())
        assert answers.phase is questions.phase
        assert questions.failure == ("why" if fails else None)
        phases.append(questions.phase)
        if fails:
            break
    expected = [Phase.ENDED] if startup_fails else [Phase.RUNNING, Phase.ENDED]
    assert phases == expected
