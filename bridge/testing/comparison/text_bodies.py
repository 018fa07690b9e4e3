"""Texts, forms and plain bytes compared. Pure."""

from __future__ import annotations

from urllib.parse import parse_qsl

from .result import ABSENT, Difference
from .rules import Rules


def text_differences(old: str, new: str, rules: Rules, where: str = "") -> list[Difference]:
    """What differs between two texts: at most one difference, which says where it begins.

    Texts that differ in their line endings only, or only in white space, have kinds of their own.

    Args:
        old: the old text, before the replacements of the rules.
        new: the new text.
        rules: those for the request.
        where: what the texts are; by default the first line that differs.

    Raises:
        RuleFailed: a function that makes a replacement raised.
    """
    old, new = rules.clean(old), rules.clean(new)
    if old == new:
        return []
    place = where or f"line {first_line(old, new)}"
    if _plain_ends(old) == _plain_ends(new):
        return [Difference("text/line-endings", place, old, new, f"{_ends(old)} became {_ends(new)}")]
    if "".join(old.split()) == "".join(new.split()):
        return [Difference("text/whitespace", place, old, new)]
    return [Difference("text", place, old, new)]


def first_line(old: str, new: str) -> int:
    """The number of the first line that differs, from 1."""
    olds, news = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for number, (one, other) in enumerate(zip(olds, news, strict=False), 1):
        if one != other:
            return number
    return min(len(olds), len(news)) + 1


def _plain_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _ends(text: str) -> str:
    """How the lines of a text end, in words."""
    pairs = text.count("\r\n")
    counts = {"CRLF": pairs, "LF": text.count("\n") - pairs, "CR": text.count("\r") - pairs}
    return " and ".join(name for name, count in counts.items() if count)


def binary_differences(old: bytes, new: bytes, where: str = "") -> list[Difference]:
    """What differs between two bodies of bytes: at most one difference, at the first byte that differs."""
    if old == new:
        return []
    offset = first_byte(old, new)
    sizes = f"{len(old)} bytes" if len(old) == len(new) else f"{len(old)} bytes became {len(new)}"
    return [
        Difference(
            "body/bytes",
            where or f"byte {offset}",
            old,
            new,
            f"{sizes}; the first to differ is byte {offset}",
        )
    ]


def first_byte(old: bytes, new: bytes) -> int:
    """The offset of the first byte that differs, from 0; the length of the shorter if it is all there."""
    low, high = 0, min(len(old), len(new))
    # By halves, since slices are compared much faster than single bytes are.
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def form_differences(old: str, new: str, rules: Rules) -> list[Difference]:
    """What differs between two forms (application/x-www-form-urlencoded).

    The order of the values of one field counts, the order of different fields does not.

    Raises:
        RuleFailed: a function that makes a replacement raised.
    """
    before, after = _fields(old, rules), _fields(new, rules)
    found = []
    for name in dict.fromkeys((*before, *after)):
        olds, news = before.get(name), after.get(name)
        if news is None:
            found.append(Difference("form/missing", name, _shown(olds), ABSENT))
        elif olds is None:
            found.append(Difference("form/extra", name, ABSENT, _shown(news)))
        elif olds != news:
            found.append(Difference("form/value", name, _shown(olds), _shown(news)))
    return found


def _fields(text: str, rules: Rules) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    # What is no UTF-8 stays apart: no two broken values look alike.
    for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape"):
        found.setdefault(name, []).append(rules.clean(value))
    return found


def _shown(values: list[str] | None) -> str | list[str] | None:
    return values[0] if values is not None and len(values) == 1 else values
