"""Places in a JSON document, and patterns that stand for many of them.

A small part of JSONPath (RFC 9535), enough to name what a rule is about:

    $                 the whole document
    $.a.b             the member "b" of the member "a"
    $['odd key']      a member with any name; quotes and backslashes in it after a backslash
    $.items[0]        the first item of an array
    $.items[*].id     the "id" of each item; `[*]` and `.*` stand for each item or member
    $..token          every "token" at any depth; also `$..[0]` and `$..*`

Filters, slices, unions and positions from the end are refused: they would need the document. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from ...exceptions import UsageError

Place: TypeAlias = "tuple[str | int, ...]"
"""Where a value stands: member names and positions, from the outside in."""

_EACH: Final = "*"
_DEEP: Final = ".."

# One step: a dotted name, a quoted name, a position or "*" in brackets.
_NAME = re.compile(r"[^\W\d][\w-]*")
_QUOTED = re.compile(r"""\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]""", re.DOTALL)
_POSITION = re.compile(r"\[\s*(\d+|\*)\s*\]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_FORMS = "$.a.b, $.items[*].id, $.items[0], $..token, $['odd key']"


@dataclass(frozen=True)
class JsonPath:
    """A pattern for places.

    Attributes:
        text: as the user wrote it.
        steps: pairs of a sort ("name", "position", "each" or "deep") and what it looks for.
    """

    text: str
    steps: tuple[tuple[str, str | int], ...]

    @classmethod
    def parse(cls, text: str) -> JsonPath:
        """The pattern that a text stands for.

        Raises:
            UsageError: it is none that this module reads; the message names the column.
        """
        if not (_is_text(text) and text.startswith("$")):
            raise UsageError(f"a JSON path begins with $, as in {_FORMS}; got {text!r}")
        steps: list[tuple[str, str | int]] = []
        at = 1
        while at < len(text):
            deep = text.startswith("..", at)
            if deep:
                steps.append(("deep", _DEEP))
                at += 2
            step, at = _step(text, at, bare=deep)
            steps.append(step)
        return cls(text, tuple(steps))

    def matches(self, place: Place) -> bool:
        """Whether the place is one that the pattern stands for."""
        return _matches(self.steps, place)

    def __str__(self) -> str:
        return self.text


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _step(text: str, at: int, *, bare: bool) -> tuple[tuple[str, str | int], int]:
    """The step that begins at a column, and the column after it; `bare`: the dots were read already."""
    if quoted := _QUOTED.match(text, at):
        name = quoted[1] if quoted[1] is not None else quoted[2]
        return ("name", _ESCAPED.sub(r"\1", name)), quoted.end()
    if position := _POSITION.match(text, at):
        found = position[1]
        return (("each", _EACH) if found == "*" else ("position", int(found))), position.end()
    if not bare:
        if not text.startswith(".", at):
            raise _unreadable(text, at)
        at += 1
    if text.startswith("*", at):
        return ("each", _EACH), at + 1
    if name_found := _NAME.match(text, at):
        return ("name", name_found[0]), name_found.end()
    raise _unreadable(text, at)


def _unreadable(text: str, at: int) -> UsageError:
    rest = text[at:]
    if re.match(r"\[\s*-", rest):
        why = "positions count from the start"
    elif rest.startswith("[?"):
        why = "filters are not supported; normalise_json() takes a function"
    elif re.match(r"\[[^'\"\]]*[:,]", rest):
        why = "slices and unions are not supported; [*] stands for each item"
    elif not rest:
        why = "a name, [position] or [*] should follow"
    else:
        why = "a name that is no identifier is written ['in quotes']"
    return UsageError(
        f"cannot read the JSON path {text!r} from column {at + 1} ({rest!r}): {why}. Forms: {_FORMS}"
    )


def _matches(steps: tuple[tuple[str, str | int], ...], place: Place) -> bool:
    for index, (sort, wanted) in enumerate(steps):
        if sort == "deep":
            rest = steps[index + 1 :]
            return any(_matches(rest, place[start:]) for start in range(len(place)))
        if not place:
            return False
        if sort != "each" and not (place[0] == wanted and isinstance(place[0], type(wanted))):
            return False
        place = place[1:]
    return not place


def path_text(place: Place) -> str:
    """A place as a path of the same notation."""
    parts = ["$"]
    for step in place:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _NAME.fullmatch(step):
            parts.append(f".{step}")
        else:
            escaped = step.replace("\\", "\\\\").replace("'", "\\'")
            parts.append(f"['{escaped}']")
    return "".join(parts)
