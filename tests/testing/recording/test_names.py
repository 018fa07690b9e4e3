"""Which names stand for secrets."""

from __future__ import annotations

import re

import pytest

from bridge.exceptions import UsageError
from bridge.testing.recording.names import Names, plain

SECRET = [
    "password",
    "Password",
    "PASSWORD",
    "passWord",
    "userPassword",
    "user-password",
    "user[password]",
    "user.password",
    "new_password_2",
    "%70assword",
    "%2570assword",
    "p%61ss%77ord",
    "pass+word",
    "\uff50\uff41\uff53\uff53word",
    "pwd",
    "user_pwd",
    "PIN",
    "X-Api-Key",
    "x_api_key",
    "apiKey",
    "api key",
    "access_token",
    "accessToken",
    "refresh_token",
    "id_token",
    "client_secret",
    "X-CSRFToken",
    "csrfmiddlewaretoken",
    "_xsrf",
    "authenticity_token",
    "__RequestVerificationToken",
    "PHPSESSID",
    "JSESSIONID",
    "sessionId",
    "session",
    "sid",
    "connect.sid",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "sig",
    "cvv",
    "private_key",
    "aws_secret_access_key",
    "Proxy-Authorization",
    "wsse:Password",
    "db_credentials",
]
HARMLESS = [
    "user",
    "name",
    "page",
    "compass",
    "pinned",
    "passenger",
    "signal",
    "keyboard",
    "key",
    "author",
    "%2575ser",
    "x",
    "",
]


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets(name: str) -> None:
    assert Names().is_secret(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_other_names(name: str) -> None:
    assert not Names().is_secret(name)


def test_a_key_is_a_secret_in_a_query_only() -> None:
    assert Names().is_secret("key", True)
    assert not Names().is_secret("key")


def test_a_name_that_was_escaped_without_end_is_a_secret() -> None:
    name = "%" + "25" * 20 + "41"
    assert plain(name) is None
    assert Names().is_secret(name)


def test_further_names_in_any_spelling_and_patterns() -> None:
    names = Names(["iban", re.compile("^X-Acme-")])
    assert names.is_secret("IBAN")
    assert names.is_secret("i-ban")
    assert names.is_secret("X-Acme-Anything")
    assert not names.is_secret("ibanez")


def test_names_that_are_harmless_whatever_else_is_said() -> None:
    names = Names(harmless=["max_tokens", re.compile("^total")])
    assert not names.is_secret("maxTokens")
    assert not names.is_secret("total_tokens")
    assert names.is_secret("token")


def test_one_text_is_one_name() -> None:
    assert Names("iban").is_secret("iban")
    assert not Names("iban").is_secret("i")


@pytest.mark.parametrize("wrong", [[1], ["-"], [b"x"]])
def test_what_is_no_name_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="a name is text"):
        Names(wrong)  # type: ignore[arg-type]
