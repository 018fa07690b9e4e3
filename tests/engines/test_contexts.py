"""Context variables that come back: by identity, whatever the values are, and asgiref's Locals moved."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.local import Local
from support.engines import Thread

from bridge.engines import asgiref_notes, contexts
from bridge.engines.contexts import carry_back, has_movable, settle

one: contextvars.ContextVar[Any] = contextvars.ContextVar("one")
two: contextvars.ContextVar[Any] = contextvars.ContextVar("two", default="default")


class Raises:
    """A value that cannot be compared, as arrays of numpy."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    def __bool__(self) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Equal:
    """A value that is equal to all others of its kind."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def in_context(function: Callable[[], Any]) -> Any:
    """Run it where no variable is set."""
    return contextvars.Context().run(function)


def after(change: Callable[[], object], before: Callable[[], object] = lambda: None) -> contextvars.Context:
    """Set the current context up, and change a copy as a call in another thread does."""
    before()
    context = contextvars.copy_context()
    Thread(lambda: context.run(change)).outcome()
    return context


# -- carry_back


def test_what_was_set_there_is_set_here() -> None:
    def check() -> None:
        carry_back(after(lambda: (one.set(1), two.set(2))))
        assert (one.get(), two.get()) == (1, 2)

    in_context(check)


def test_what_was_unset_or_had_a_default_before_counts_as_different() -> None:
    def check() -> None:
        context = after(lambda: two.set("default"))
        carry_back(context)
        assert two in contextvars.copy_context(), "set to what is the default is not unset"

    in_context(check)


def test_what_was_not_touched_is_not_set_again() -> None:
    """Or a token of the caller's would restore a state that others have changed since."""

    def check() -> None:
        value = object()
        token = one.set(value)
        context = after(lambda: two.set(1))
        carry_back(context)
        assert one.get() is value
        one.reset(token)
        assert one not in contextvars.copy_context()

    in_context(check)


def test_what_was_set_here_meanwhile_and_not_there_is_put_back() -> None:
    """As in asgiref: the call's context is what counts."""

    def check() -> None:
        context = after(lambda: None, lambda: one.set("before"))
        one.set("meanwhile")
        carry_back(context)
        assert one.get() == "before"

    in_context(check)


@pytest.mark.parametrize("make", [Raises, Equal])
def test_values_are_told_apart_by_identity(make: type[Any]) -> None:
    def check() -> None:
        first, second = make(), make()
        context = after(lambda: one.set(second), lambda: one.set(first))
        carry_back(context)
        assert one.get() is second
        carry_back(context)
        assert one.get() is second

    in_context(check)


def test_variables_can_be_left_out() -> None:
    def check() -> None:
        context = after(lambda: (one.set(1), two.set(2)))
        carry_back(context, two, None)
        assert one.get() == 1
        assert two.get() == "default"

    in_context(check)


def test_an_empty_context_changes_nothing() -> None:
    def check() -> None:
        one.set(1)
        carry_back(contextvars.Context())
        assert one.get() == 1

    in_context(check)


def test_a_context_that_is_in_use_can_be_read() -> None:
    """A function that was given up runs on in it."""
    context = contextvars.Context()
    entered, free = threading.Event(), threading.Event()

    def run_on() -> None:
        one.set("there")
        entered.set()
        free.wait(10)

    thread = Thread(lambda: context.run(run_on))
    entered.wait(10)

    def check() -> None:
        carry_back(context)
        assert one.get() == "there"

    in_context(check)
    free.set()
    thread.outcome()


# -- values that belong to a thread


class Tagged:
    """A value that is good in one thread only."""

    def __init__(self, value: object) -> None:
        self.value = value
        self.ident = threading.get_ident()


@pytest.fixture
def tagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contexts.movers, Tagged, lambda old: Tagged(old.value))


@pytest.mark.usefixtures("tagged")
def test_a_value_that_belongs_to_a_thread_is_moved_into_the_one_it_comes_back_to() -> None:
    def check() -> None:
        carry_back(after(lambda: one.set(Tagged("there"))))
        assert (one.get().value, one.get().ident) == ("there", threading.get_ident())

    in_context(check)


@pytest.mark.usefixtures("tagged")
def test_settling_moves_the_values_of_the_current_context_and_no_others() -> None:
    other = object()

    def there() -> Any:
        assert has_movable(contextvars.copy_context())
        settle()
        return one.get(), two.get(), threading.get_ident()

    def check() -> None:
        one.set(Tagged("here"))
        two.set(other)
        context = contextvars.copy_context()
        value, second, ident = Thread(lambda: context.run(there)).outcome()
        assert (value.value, value.ident) == ("here", ident)
        assert second is other
        assert one.get().ident == threading.get_ident(), "the original stays where it was"

    in_context(check)


@pytest.mark.usefixtures("tagged")
def test_a_variable_can_be_left_alone_and_the_context_be_given() -> None:
    def check() -> None:
        one.set(Tagged("one"))
        two.set(Tagged("two"))
        context = contextvars.copy_context()

        def there() -> Any:
            settle(context, two)
            return one.get().ident, two.get().ident

        here = threading.get_ident()
        thread, left = Thread(lambda: context.run(there)).outcome()
        assert thread != here
        assert left == here

    in_context(check)


@pytest.mark.usefixtures("tagged")
def test_whether_there_is_anything_to_move() -> None:
    def check() -> None:
        one.set("plain")
        assert not has_movable(contextvars.copy_context())
        two.set(Tagged(1))
        assert has_movable(contextvars.copy_context())

    in_context(check)
    assert not has_movable(contextvars.Context())


def test_a_local_of_asgiref_goes_there_and_comes_back() -> None:
    """Its values are tagged with their thread in newer versions, and plain in older ones."""
    asgiref_notes.prepare()
    local = Local()

    def there() -> None:
        settle()
        seen.append(local.value)
        local.value = "there"
        local.second = 2

    def check() -> None:
        local.value = "here"
        context = contextvars.copy_context()
        Thread(lambda: context.run(there)).outcome()
        assert local.value == "here"
        carry_back(context)
        assert (local.value, local.second) == ("there", 2)

    seen: list[str] = []
    in_context(check)
    assert seen == ["here"]


def test_without_settling_a_local_would_not_be_seen_where_values_are_tagged() -> None:
    """This is why calls settle: the test fails if asgiref changes, and `settle` can go."""
    asgiref_notes.prepare()
    local = Local()

    def check() -> None:
        local.value = "here"
        context = contextvars.copy_context()
        seen = Thread(lambda: context.run(lambda: getattr(local, "value", "not seen"))).outcome()
        assert seen == ("not seen" if has_movable(context) else "here")

    in_context(check)
