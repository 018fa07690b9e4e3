"""The kinds of values that ASGI knows, as pure checks: byte strings, Unicode strings, header lists.

The specification speaks of two exact types, `bytes` and `str`. What is no such string at all breaks a
MUST; an instance of a subclass breaks a SHOULD, since all servers known take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from .header_rules import (
    Broken,
    Level,
    Pair,
    content_length_rules,
    field_rules,
    lower_case_rules,
    shortened,
)

CORE_STRINGS = "ASGI 3.0, Strings and Unicode"
CORE_EVENTS = "ASGI 3.0, Events"


class Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""Stands for a key that is not there, where `None` is a value."""

_NAMES: dict[type, str] = {bytes: "bytes", str: "str", int: "an int", bool: "a bool", dict: "a dict"}


def typed(
    rule: str,
    value: object,
    kind: type,
    clause: str,
    *,
    none: bool = False,
    optional: bool = True,
) -> Iterator[Broken]:
    """Whether the value of a key is of the type that it has to be.

    Args:
        rule: what the rules begin with; `rule/missing`, `rule/type` or `rule/exact-type` is broken.
        value: the value, `ABSENT` if there is no such key.
        kind: bytes, str, int, bool or dict. A bool is no int here.
        none: whether `None` is a value as well.
        optional: whether the key may be missing.
    """
    if type(value) is kind:
        return
    if value is ABSENT:
        if not optional:
            yield Broken(f"{rule}/missing", clause, f"{_NAMES[kind]} under this key", "no such key")
        return
    if value is None and none:
        return
    expected = _NAMES[kind] + (" or None" if none else "")
    if not isinstance(value, kind) or isinstance(value, bool):
        yield Broken(f"{rule}/type", clause, expected, _described(value))
    elif kind in (bytes, str):
        yield Broken(f"{rule}/exact-type", CORE_STRINGS, f"exactly {expected}", _described(value), "SHOULD")


def _described(value: object) -> str:
    return f"{type(value).__name__}: {shortened(value)}"


def get(mapping: Mapping[str, Any], key: str) -> Any:
    """The value of a key, `ABSENT` if there is none."""
    return mapping.get(key, ABSENT)


def is_one_shot(value: object) -> bool:
    """Whether reading the iterable empties it, as with a generator."""
    return hasattr(value, "__next__")


def items_of(value: object, rule: str, clause: str, what: str) -> tuple[list[Any], list[Broken]]:
    """The items of an iterable, and what is wrong with it as a whole.

    Args:
        rule: what the rule begins with; `rule/type` is broken by what cannot be iterated.
        what: what it should have been, in words.
    """
    if type(value) is list or type(value) is tuple:
        return list(value), []
    # A single string is an iterable too, but never a list of what is wanted.
    if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Iterable):
        return [], [Broken(f"{rule}/type", clause, what, _described(value))]
    return list(value), []


def pairs_of(headers: object, rule: str, clause: str) -> tuple[list[Pair], list[Broken]]:
    """The headers that are pairs of bytes, and what is wrong with the others.

    Rules: `rule/type`, `rule/pair`, `rule/name/type`, `rule/value/type` and their `exact-type`.
    """
    items, broken = items_of(headers, rule, clause, "an iterable of (name, value) pairs of bytes")
    pairs: list[Pair] = []
    for item in items:
        if type(item) is tuple and len(item) == 2 and type(item[0]) is type(item[1]) is bytes:
            pairs.append(item)
            continue
        if type(item) is tuple or type(item) is list:
            pair = item
        elif isinstance(item, (str, bytes)) or not isinstance(item, Iterable):
            pair = ()
        else:
            pair = tuple(item)
        if len(pair) != 2:
            broken.append(Broken(f"{rule}/pair", clause, "a pair (name, value)", _described(item)))
            continue
        name, value = pair
        wrong = [
            *typed(f"{rule}/name", name, bytes, clause),
            # A value may be a secret, so only its type is told.
            *(
                each._replace(came=f"{type(value).__name__} as the value of {shortened(name)}")
                for each in typed(f"{rule}/value", value, bytes, clause)
            ),
        ]
        broken += wrong
        if isinstance(name, bytes) and isinstance(value, bytes):
            pairs.append((name, value))
    return pairs, broken


def good_pairs(headers: object) -> list[Pair]:
    """The pairs of bytes in a list of headers that is checked elsewhere; reads no one-shot iterator."""
    if not isinstance(headers, (list, tuple)):
        return []
    return [
        (pair[0], pair[1])
        for pair in headers
        if isinstance(pair, (tuple, list))
        and len(pair) == 2
        and isinstance(pair[0], bytes)
        and isinstance(pair[1], bytes)
    ]


def header_rules(
    headers: object, rule: str, clause: str, lower: Level = "MUST"
) -> tuple[list[Pair], list[Broken]]:
    """The good pairs of a list of headers, and every rule that the list breaks.

    Args:
        headers: what stands under the key, no one-shot iterator.
        rule: what the rules begin with, such as "http.response.start/headers".
        clause: where the shape of the headers is specified.
        lower: how strongly lower-case names are asked for.
    """
    pairs, broken = pairs_of(headers, rule, clause)
    for each in field_rules(pairs):
        broken.append(each.under(rule))
    for each in lower_case_rules(pairs, clause, lower):
        broken.append(each.under(rule))
    for each in content_length_rules(pairs):
        broken.append(each.under(rule))
    return pairs, broken


def version_of(text: object) -> tuple[int, ...] | None:
    """`"2.4"` as `(2, 4)`; `None` if it is no version."""
    if not isinstance(text, str):
        return None
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
        return None
    return tuple(int(part) for part in parts)
