"""Bodies of type multipart/form-data and the like, taken apart and put together again (RFC 7578, RFC 2046).

Taken apart so that nothing is lost: a body whose parts are not changed comes out byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

_PARAMETER = re.compile(
    r""";\s*([\w!#$%&'*+.^`|~\-]+?)(\*\d*\*?)?\s*=\s*("(?:[^"\\]|\\.)*"?|[^\s;]*)""", re.DOTALL
)
_LOOKS_LIKE_PART = re.compile(
    rb"(?:\A|\n)--([^\r\n]{1,200})\r?\n(?:[^\r\n]+\r?\n){0,5}?content-disposition[ \t]*:", re.IGNORECASE
)
# Parts end their head with an empty line; some clients write bare line feeds.
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n|\A\r?\n")


@dataclass(frozen=True)
class Part:
    """One part: its head with the empty line, and its content without the line break before the boundary."""

    head: bytes
    content: bytes

    def header(self, name: str) -> str:
        """A header's value; empty if there is none."""
        # A line that begins with a space goes on from the one before.
        unfolded = re.sub(rb"\r?\n[ \t]+", b" ", self.head)
        for line in unfolded.splitlines():
            key, colon, value = line.partition(b":")
            if colon and key.strip().lower() == name.encode("ascii"):
                return value.strip().decode("latin-1")
        return ""

    @property
    def names(self) -> list[str]:
        """All names that a reader could take for that of the field."""
        return [value for key, value in parameters(self.header("content-disposition")) if key == "name"]


def parameters(value: str) -> list[tuple[str, str]]:
    """The parameters of a header such as `Content-Type`, by lower-case name, unquoted and decoded."""
    found = []
    for name, extended, raw in _PARAMETER.findall(value):
        given = raw
        if given.startswith('"'):
            given = re.sub(
                r"\\(.)", r"\1", given[1:-1] if len(given) > 1 and given.endswith('"') else given[1:]
            )
        if "*" in extended[-1:]:
            # RFC 8187: charset'language'escaped
            given = unquote(given.rpartition("'")[2])
        found.append((name.lower(), given))
    return found


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a `multipart/...` type announces."""
    if not content_type.strip().lower().startswith("multipart/"):
        return None
    for name, value in parameters(content_type):
        if name == "boundary" and value:
            return value.encode("latin-1", "replace")
    return None


def guessed_boundary(body: bytes) -> bytes | None:
    """The boundary of a body that looks like a form of several parts, whatever its type says."""
    match = _LOOKS_LIKE_PART.search(body)
    return match[1].rstrip() if match else None


def split(body: bytes, boundary: bytes) -> list[bytes | Part] | None:
    """What stands between parts (bytes), and the parts, in order; `None` if the boundary is not in it.

    A last part without a boundary after it, as in a body that was cut off, is a part all the same.
    """
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    matches = list(delimiter.finditer(body))
    if not matches:
        return None
    pieces: list[bytes | Part] = [body[: matches[0].start()]]
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        pieces.append(match[0])
        rest = body[match.end() : following.start() if following else len(body)]
        if match[1]:
            pieces.append(rest)
        elif rest or following:
            end = _END_OF_HEAD.search(rest)
            pieces.append(Part(rest[: end.end()], rest[end.end() :]) if end else Part(rest, b""))
    return pieces


def join(pieces: list[bytes | Part]) -> bytes:
    """The reverse of `split`."""
    return b"".join(each.head + each.content if isinstance(each, Part) else each for each in pieces)
