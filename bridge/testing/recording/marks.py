"""What stands in a recording where a secret was: a mark with a keyed hash of it.

Equal secrets get equal marks, so that a reader sees that the token of one response is that of the
next request. The key is random and never written, so nobody can try out likely secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

MARK = re.compile(r"\[redacted:[0-9a-f]{16}\]")
"""One mark."""

MARKS_ONLY = re.compile(r"(?:\[redacted:[0-9a-f]{16}\])+")
"""For `fullmatch`: nothing but marks."""

# 64 bits: two secrets of one recording do not meet by accident.
_DIGITS = 16
_KEY_BYTES = 32


class Marker:
    """Makes marks; safe under threads.

    Args:
        key: of the hash, at least 16 bytes; by default a random one.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES) if key is None else key

    def mark(self, secret: str) -> str:
        """The mark for a secret; what is nothing but marks stays as it is."""
        if MARKS_ONLY.fullmatch(secret):
            return secret
        data = secret.encode("utf-8", "surrogatepass")
        return f"[redacted:{hmac.new(self._key, data, hashlib.sha256).hexdigest()[:_DIGITS]}]"
