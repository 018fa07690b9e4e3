"""What all servers share: the wait for the start, the end, and addresses."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import pytest
from support.served import wait_until

from bridge.exceptions import StartupFailed, UsageError
from bridge.testing.servers import running as running_module
from bridge.testing.servers.running import Running, listen, refuse_own, url_of

PATIENCE = 20.0


class Fake(Running):
    """A server that does what it is told.

    Args:
        says: "serves", "ends", "nothing", or an exception that it ends by, or that `_launch` raises.
        obeys: it ends when it is asked to.
    """

    def __init__(self, says: Any = "serves", *, obeys: bool = True, grace: float = 0.0) -> None:
        super().__init__("fake", grace)
        self._says = says
        self._obeys = obeys
        self.stops = 0
        self.abandoned = 0

    def _launch(self) -> None:
        if isinstance(self._says, KeyboardInterrupt):
            raise self._says
        if isinstance(self._says, BaseException):
            self._is_over(self._says)
        elif self._says == "serves":
            self._serves("http://fake")
        elif self._says == "ends":
            self._is_over(None)

    def _words(self) -> str:
        return ", as it says"

    def _stop(self) -> None:
        self.stops += 1
        if self._obeys:
            self._is_over(None)

    def _abandon(self) -> None:
        self.abandoned += 1
        super()._abandon()


def test_a_server_that_serves_is_started_and_closed_once() -> None:
    called: list[str] = []
    fake = Fake()
    fake.afterwards(lambda: called.append("first given"))
    fake.afterwards(lambda: called.append("last given"))
    with fake as entered:
        entered.start(PATIENCE)
        assert entered.url == "http://fake"
        assert "fake at http://fake" in repr(entered)
        assert fake.stops == 0
    fake.close()
    assert fake.stops == 1
    assert called == ["last given", "first given"]


ENDS: dict[str, tuple[Any, type[Exception], str]] = {
    "an-error": (ValueError("bad"), StartupFailed, "did not start: .*bad.*, as it says"),
    "in-silence": ("ends", StartupFailed, "ended without serving, as it says"),
    "by-exit": (SystemExit(3), StartupFailed, "SystemExit"),
    "lifespan": (StartupFailed("no database"), StartupFailed, "^no database$"),
    "misuse": (UsageError("no such thing"), UsageError, "^no such thing$"),
    "address": (OSError("in use"), UsageError, "cannot listen: in use"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_server_that_ends_instead_of_serving_is_an_error(case: str) -> None:
    says, kind, words = ENDS[case]
    fake = Fake(says)
    with pytest.raises(kind, match=words):
        fake.start(PATIENCE)


def test_a_server_that_says_nothing_is_given_up_and_ended() -> None:
    fake = Fake("nothing")
    with pytest.raises(StartupFailed, match=r"did not serve within 0\.01 seconds, as it says"):
        fake.start(0.01)
    assert fake.stops == 1


def test_a_start_that_is_interrupted_ends_the_server() -> None:
    """Ctrl-C while it starts."""
    fake = Fake(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fake.start(PATIENCE)
    assert fake.stops == 1


def test_a_server_that_does_not_end_is_left_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is to be done afterwards is done all the same."""
    monkeypatch.setattr(running_module, "ENDING", 0.01)
    called: list[str] = []
    fake = Fake(obeys=False)
    fake.afterwards(lambda: called.append("afterwards"))
    fake.start(PATIENCE)
    with caplog.at_level(logging.WARNING, "bridge.testing"):
        fake.close()
    assert (fake.abandoned, called) == (1, ["afterwards"])
    assert "has not ended within 0.01 seconds" in caplog.text


def test_a_server_that_dies_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Its clients only see that nobody listens."""
    with Fake() as fake:
        fake.start(PATIENCE)
        fake._is_over(RuntimeError("died"))
    assert "has ended by itself" in caplog.text


def test_threads_that_close_at_a_time_wait_for_the_one_end() -> None:
    fake = Fake(obeys=False, grace=PATIENCE)
    fake.start(PATIENCE)
    closers = [threading.Thread(target=fake.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    wait_until(lambda: fake.stops > 0, PATIENCE, "it is asked to end")
    fake._is_over(None)
    for closer in closers:
        closer.join(PATIENCE)
    assert [closer.is_alive() for closer in closers] == [False, False, False]
    assert (fake.stops, fake.abandoned) == (1, 0)


def test_what_is_open_is_closed_at_exit() -> None:
    """And only that."""
    first, second = Fake(), Fake()
    first.start(PATIENCE)
    second.start(PATIENCE)
    second.close()
    running_module._close_all()
    assert (first.stops, second.stops) == (1, 1)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80"),
        (("::1", 8000), "http://[::1]:8000"),
        (("0.0.0.0", 8000), "http://127.0.0.1:8000"),
        (("::", 8000), "http://[::1]:8000"),
        (("::", 8000, 0, 0), "http://[::1]:8000"),
    ],
    ids=str,
)
def test_the_url_is_one_to_connect_to(address: Any, url: str) -> None:
    assert url_of(address) == url
    assert url_of(address, secure=True) == url.replace("http:", "https:")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_listening_socket_accepts(host: str) -> None:
    with listen(host, 0) as listener:
        socket.create_connection(listener.getsockname()[:2], PATIENCE).close()


def test_an_address_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}: "):
            listen("127.0.0.1", port)


def test_options_that_bridge_sets_are_refused() -> None:
    refuse_own("fake", {"other": 1}, frozenset({"own"}))
    with pytest.raises(UsageError, match="own is for bridge to set on fake"):
        refuse_own("fake", {"other": 1, "own": 2}, frozenset({"own"}))
