"""Which names of headers, fields, parameters and attributes stand for a secret.

A name is read as a person would: `userPassword`, `user-password`, `user[password]`, `USER_PASSWORD`
and `user%5Fpassword` are the same two words. Nothing here does I/O.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

from ...exceptions import UsageError

# Wherever one of these stands in a name, written as one word.
_TELLING = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
    "authkey",
    "signingkey",
    "encryptionkey",
    "credential",
    "csrf",
    "xsrf",
    "authoriz",
    "authoris",
    "authenticationinfo",
    "sessionid",
    "sessionkey",
    "sessid",
    "jwt",
    "bearer",
    "creditcard",
    "cardnumber",
    "signature",
    "onetimecode",
    "samlresponse",
    "samlrequest",
    "clientassertion",
    "oauthverifier",
    "codeverifier",
)
# Too short to be looked for inside of words: these must be a word of the name.
_WORDS = frozenset(
    {
        "pass",
        "pwd",
        "pw",
        "pin",
        "otp",
        "totp",
        "auth",
        "session",
        "sid",
        "sig",
        "cvv",
        "cvc",
        "ssn",
        "cookie",
    }
)
# Secret in the query of a URL (keys of web services), but a common word elsewhere.
_QUERY_WORDS = frozenset({"key"})

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NOT_LETTERS = re.compile(r"[^a-z0-9]+")
# How many times a name may have been escaped; one that goes on for longer is taken for a secret.
_MOST_ESCAPES = 8
# Apps use a few hundred names; the bound is for clients that make them up.
_CACHE = 4096


def plain(name: str) -> str | None:
    """A name without percent escapes, however often it was escaped; `None` if that does not end."""
    for _ in range(_MOST_ESCAPES):
        decoded = unquote_plus(name)
        if decoded == name:
            return name
        name = decoded
    return None


class Names:
    """Tells names of secrets from others.

    Args:
        further: names that stand for secrets as well, in any spelling, or patterns searched for in
            the name as it is written.
        harmless: names that do not, whatever else is said.
    """

    def __init__(
        self, further: Iterable[str | re.Pattern[str]] = (), harmless: Iterable[str | re.Pattern[str]] = ()
    ) -> None:
        self._further = _split(further)
        self._harmless = _split(harmless)
        self.is_secret = lru_cache(_CACHE)(self._is_secret)

    def _is_secret(self, name: str, in_query: bool = False) -> bool:
        decoded = plain(name)
        if decoded is None:
            return True
        # Full-width letters and the like are letters to many frameworks.
        decoded = unicodedata.normalize("NFKC", decoded)
        joined = _joined(decoded)
        if _among(self._harmless, decoded, joined):
            return False
        if _among(self._further, decoded, joined) or any(word in joined for word in _TELLING):
            return True
        words = {word.lower() for word in _PARTS.findall(decoded)}
        return bool(words & _WORDS or (in_query and words & _QUERY_WORDS))


def _joined(name: str) -> str:
    return _NOT_LETTERS.sub("", name.lower())


def _split(given: Any) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Names, joined, and patterns."""
    if isinstance(given, (str, re.Pattern)):
        given = (given,)
    names, patterns = set(), []
    for each in given:
        if isinstance(each, re.Pattern):
            patterns.append(each)
        elif isinstance(each, str) and _joined(each):
            names.add(_joined(each))
        else:
            raise UsageError(f"a name is text with letters, or a compiled pattern; got {each!r}")
    return frozenset(names), tuple(patterns)


def _among(known: tuple[frozenset[str], tuple[re.Pattern[str], ...]], name: str, joined: str) -> bool:
    names, patterns = known
    # Headers of one's own were once to begin so (RFC 6648).
    bare = joined[1:] if name[:2].lower() in ("x-", "x_") else joined
    return joined in names or bare in names or any(pattern.search(name) for pattern in patterns)
