"""The options that servers have in common."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.serving.settings import GRACE, Settings, bracketed, option, refuse_twice, url


@pytest.mark.parametrize(
    ("settings", "bind"),
    [
        (Settings(), "127.0.0.1:8000"),
        (Settings(host="0.0.0.0"), "0.0.0.0:8000"),
        (Settings(port=0), "127.0.0.1:0"),
        (Settings(host="::1", port=80), "[::1]:80"),
        (Settings(uds="/run/x.sock"), "unix:/run/x.sock"),
    ],
)
def test_where_to_listen(settings: Settings, bind: str) -> None:
    assert settings.bind == bind
    assert settings.says_where is (settings != Settings())


@pytest.mark.parametrize(
    "wrong", [{"uds": "x", "host": "::1"}, {"uds": "x", "port": 0}, {"ssl_keyfile": "key.pem"}]
)
def test_combinations_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Settings(**wrong)


def test_what_was_given() -> None:
    assert Settings().given == {}
    settings = Settings(port=0, access_log=False, further=("--x",))
    assert settings.given == {"port": 0, "access_log": False}


def test_a_key_may_be_in_the_file_of_the_certificate() -> None:
    assert Settings(ssl_certfile="both.pem").keyfile == "both.pem"
    assert Settings(ssl_certfile="c.pem", ssl_keyfile="k.pem").keyfile == "k.pem"


def test_the_time_for_requests_in_progress() -> None:
    assert Settings().grace == GRACE
    assert Settings(timeout_graceful_shutdown=0).grace == 0


def test_names_of_options() -> None:
    assert option("timeout_graceful_shutdown") == "--timeout-graceful-shutdown"
    assert (bracketed("::1"), bracketed("localhost")) == ("[::1]", "localhost")


@pytest.mark.parametrize(
    ("sockname", "secure", "expected"),
    [
        (("127.0.0.1", 80), False, "http://127.0.0.1:80"),
        (("::1", 443, 0, 0), True, "https://[::1]:443"),
        ("/run/x.sock", False, "unix:/run/x.sock"),
        (b"/run/x.sock", True, "unix:/run/x.sock"),
    ],
)
def test_an_address_as_users_see_it(sockname: Any, secure: bool, expected: str) -> None:
    assert url(sockname, secure) == expected


def test_the_same_option_before_and_behind_is_refused() -> None:
    same = {"host": "bind", "workers": "workers", "log_level": "loglevel"}
    settings = Settings(host="::1", access_log=True)
    refuse_twice(settings, "Server", same, {"workers", "loglevel", "accesslog"})
    with pytest.raises(UsageError, match="--host was given, and behind `--` what Server calls 'bind'"):
        refuse_twice(settings, "Server", same, {"bind"})
