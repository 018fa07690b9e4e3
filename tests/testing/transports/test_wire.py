"""What both kinds of transport have in common."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from bridge.exceptions import UsageError
from bridge.testing.transports import wire


def request(url: str = "http://host/a?b", **options: Any) -> httpx2.Request:
    return httpx2.Request("GET", url, **options)


def test_the_target_of_the_extension_goes_before_that_of_the_url() -> None:
    assert wire.target_of(request()) == b"/a?b"
    assert wire.target_of(request(extensions={"target": b"/%2e/../x"})) == b"/%2e/../x"


def test_a_target_is_bytes() -> None:
    with pytest.raises(UsageError, match="is bytes"):
        wire.target_of(request(extensions={"target": "/text"}))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://host/", ("host", 80)),
        ("https://host/", ("host", 443)),
        ("http://host:8080/", ("host", 8080)),
        ("http://[::1]:81/", ("::1", 81)),
    ],
)
def test_the_server_is_host_and_port(url: str, server: tuple[str, int]) -> None:
    assert wire.server_of(httpx2.URL(url)) == server


def test_the_time_out_is_that_for_reading() -> None:
    assert wire.read_timeout_of(request()) is None
    assert wire.read_timeout_of(request(extensions={"timeout": {"read": 2.5, "connect": 1}})) == 2.5


@pytest.mark.parametrize(("value", "length"), [(None, None), ("0", 0), ("12", 12)])
def test_a_declared_length(value: str | None, length: int | None) -> None:
    headers = httpx2.Headers({} if value is None else {"Content-Length": value})
    assert wire.declared_length(headers) == length


@pytest.mark.parametrize("value", ["-1", "1e3", "²", ""])
def test_a_length_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(httpx2.LocalProtocolError):
        wire.declared_length(httpx2.Headers([(b"Content-Length", value.encode())]))


@pytest.mark.parametrize(("left", "ended", "words"), [(-1, False, "longer"), (2, True, "2 bytes shorter")])
def test_a_body_has_the_length_that_was_declared(left: int, ended: bool, words: str) -> None:
    wire.check_length(0, True)
    wire.check_length(3, False)
    with pytest.raises(httpx2.LocalProtocolError, match=words):
        wire.check_length(left, ended)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError(), True), (SystemExit(), True), (GeneratorExit(), True), (KeyboardInterrupt(), False)],
    ids=["Exception", "SystemExit", "GeneratorExit", "KeyboardInterrupt"],
)
def test_which_errors_are_a_failed_request(error: BaseException, expected: bool) -> None:
    assert wire.is_app_error(error) is expected
    if expected:
        assert wire.instead_of_failure(error, error, False).status_code == 500
    for failure, raises in ((error, True), (None, False)):
        with pytest.raises(type(error)):
            wire.instead_of_failure(error, failure, raises)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((None, None, None), "root_path is text"),
        (("app", None, None), "begins with a slash"),
        (("/app/", None, None), "ends with none"),
        (("", "127.0.0.1", None), "client is None or a pair"),
        (("", ("127.0.0.1", "80"), None), "client is None or a pair"),
        (("", None, ["key"]), "extra is a mapping"),
    ],
)
def test_options_that_are_not_usable_are_refused(options: tuple[Any, Any, Any], words: str) -> None:
    wire.check_options("/app", ("::1", 1), {"key": 1})
    with pytest.raises(UsageError, match=words):
        wire.check_options(*options)
