"""Signals for servers that do not handle them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from bridge.serving.stopping import Stop, end_on_sigterm


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Puts the handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_asks_and_the_second_hurries() -> None:
    woken = []
    with Stop() as stop:
        stop.wakes(lambda: woken.append(1))
        assert (stop.asked, stop.hurried) == (False, False)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.asked, stop.hurried) == (True, False)
        signal.raise_signal(signal.SIGINT)
        assert (stop.asked, stop.hurried) == (True, True)
    assert len(woken) == 2


def test_waiting_ends_with_a_signal() -> None:
    with Stop() as stop:
        stop.wakes(lambda: None)
        signal.raise_signal(signal.SIGINT)
        stop.wait(30)
        assert stop.asked


def test_waiting_ends_with_a_notice_or_after_its_time() -> None:
    with Stop() as stop:
        stop.wakes(lambda: None)
        threading.Timer(0.01, stop.notify).start()
        stop.wait(30)
        stop.wait(0.01)
        assert not stop.asked


def test_before_there_is_something_to_wake_a_signal_ends_the_program() -> None:
    """An app that takes long to start can be stopped all the same."""
    with pytest.raises(SystemExit) as caught, Stop():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 0


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_ends_the_program_until_a_server_handles_it() -> None:
    end_on_sigterm()
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 0
