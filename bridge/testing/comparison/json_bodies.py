"""JSON values compared, with the path of each difference.

The order of members means nothing; the order of items does. A number's spelling means nothing, its
type does: 1, 1.0, "1" and true are four values, since programs that read them take them for such.
Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable
from typing import Any

from .json_paths import Place, path_text
from .result import ABSENT, Difference
from .rules import RuleFailed, Rules


class Unreadable(Exception):
    """A text that is no JSON, or that is nested deeper than can be read."""


class Object(dict[str, Any]):
    """A JSON object that remembers which names came more than once; the last value counts."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: tuple[str, ...] = ()
        if len(self) != len(pairs):
            self.repeated = tuple(
                sorted(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
            )


def parse_json(text: str) -> Any:
    """The value of a JSON text; NaN and Infinity are read as Python does.

    Raises:
        Unreadable: it has none.
    """
    try:
        return json.loads(text, object_pairs_hook=Object)
    except (ValueError, RecursionError) as exc:
        raise Unreadable(str(exc)) from exc


def parse_json_lines(text: str) -> Any:
    """The values of a text with one JSON value a line, as an array.

    Raises:
        Unreadable: a line has none.
    """
    return [parse_json(line) for line in text.split("\n") if line.strip()]


def type_of(value: Any) -> str:
    """The JSON type of a value, floats apart from integers; "nothing" of what is absent."""
    if value is ABSENT:
        return "nothing"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (list, tuple)):
        return "array"
    return "object" if isinstance(value, dict) else type(value).__name__


def json_differences(old: Any, new: Any, rules: Rules, family: str = "json") -> list[Difference]:
    """What differs between two JSON values.

    Args:
        old: the old value; tuples are arrays, and what JSON has no type for is compared by `==`.
        new: the new value.
        rules: those for the request.
        family: the first part of the kinds.
    """
    walk = _Walk(rules, family)
    walk.compare((), old, new)
    return walk.found


class _Walk:
    """One way through two documents at once."""

    def __init__(self, rules: Rules, family: str) -> None:
        self.rules = rules
        self.family = family
        self.found: list[Difference] = []

    def add(self, kind: str, place: Place, old: Any, new: Any, detail: str = "") -> None:
        self.found.append(Difference(f"{self.family}/{kind}", path_text(place), old, new, detail))

    def compare(self, place: Place, old: Any, new: Any) -> None:
        rules = self.rules
        if rules.ignores_json(place):
            return
        if old is ABSENT or new is ABSENT:
            self.add("missing" if new is ABSENT else "extra", place, old, new)
            return
        try:
            old, new = rules.clean_json(place, old), rules.clean_json(place, new)
        except RuleFailed as failed:
            self.found.append(Difference("rule/failed", path_text(place), old, new, str(failed)))
            return
        types = type_of(old), type_of(new)
        numbers = all(each in ("integer", "number") for each in types)
        if numbers and rules.approximations and _is_close(rules, place, old, new):
            return
        if types[0] != types[1]:
            self.add("type", place, old, new, f"{types[0]} became {types[1]}")
        elif types[0] == "object":
            self._objects(place, old, new)
        elif types[0] == "array":
            self._arrays(place, list(old), list(new))
        elif old != new and not (old != old and new != new):  # NaN is like NaN
            self.add("value", place, old, new, _how_far(old, new) if numbers else "")

    def _objects(self, place: Place, old: dict[str, Any], new: dict[str, Any]) -> None:
        repeated = tuple(getattr(each, "repeated", ()) for each in (old, new))
        if repeated[0] != repeated[1]:
            shown = [", ".join(names) or ABSENT for names in repeated]
            self.add("duplicate", place, shown[0], shown[1], "names that come more than once in one object")
        for name in dict.fromkeys((*old, *new)):
            self.compare((*place, str(name)), old.get(name, ABSENT), new.get(name, ABSENT))

    def _arrays(self, place: Place, old: list[Any], new: list[Any]) -> None:
        if self.rules.is_unordered(place):
            self._bags(place, old, new)
            return
        if len(old) == len(new):
            before, differing = len(self.found), 0
            for index, (one, other) in enumerate(zip(old, new, strict=True)):
                known = len(self.found)
                self.compare((*place, index), one, other)
                differing += len(self.found) > known
            if differing > 1 and self._is_rearranged(place, old, new):
                del self.found[before:]
                self.add("order", place, old, new, "the same items in another order; see Rules.unordered()")
            return
        self.add("length", place, len(old), len(new))
        # What was put in or left out in the middle should not make all that follows differ.
        start, shorter = 0, min(len(old), len(new))
        while start < shorter and self._same((*place, start), old[start], new[start]):
            start += 1
        end = 0
        while end < shorter - start and self._same(
            (*place, len(old) - 1 - end), old[-1 - end], new[-1 - end]
        ):
            end += 1
        for index in range(start, max(len(old), len(new)) - end):
            one = old[index] if index < len(old) - end else ABSENT
            other = new[index] if index < len(new) - end else ABSENT
            self.compare((*place, index), one, other)

    def _is_rearranged(self, place: Place, old: list[Any], new: list[Any]) -> bool:
        before, after = (
            Counter(self._key((*place, index), item) for index, item in enumerate(side))
            for side in (old, new)
        )
        return before == after

    def _bags(self, place: Place, old: list[Any], new: list[Any]) -> None:
        left: dict[Hashable, list[int]] = {}
        for index, item in enumerate(new):
            left.setdefault(self._key((*place, index), item), []).append(index)
        missing = []
        for index, item in enumerate(old):
            partners = left.get(self._key((*place, index), item))
            if partners:
                partners.pop(0)
            else:
                missing.append(index)
        extra = sorted(index for partners in left.values() for index in partners)
        if self.rules.approximations:  # which no key can express
            for index in tuple(missing):
                for partner in extra:
                    if self._same((*place, index), old[index], new[partner]):
                        missing.remove(index)
                        extra.remove(partner)
                        break
        if len(old) != len(new):
            self.add("length", place, len(old), len(new))
        if len(missing) == len(extra) == 1:
            self.compare((*place, missing[0]), old[missing[0]], new[extra[0]])
            return
        for index in missing:
            self.compare((*place, index), old[index], ABSENT)
        for index in extra:
            self.compare((*place, index), ABSENT, new[index])

    def _same(self, place: Place, old: Any, new: Any) -> bool:
        if not self.rules.approximations:
            return self._key(place, old) == self._key(place, new)
        inner = _Walk(self.rules, self.family)
        inner.compare(place, old, new)
        return not inner.found

    def _key(self, place: Place, value: Any) -> Hashable:
        """The same for values that compare as alike, numbers that are only close to each other aside."""
        rules = self.rules
        if rules.ignores_json(place):
            return None
        try:
            value = rules.clean_json(place, value)
        except RuleFailed:
            return ("failed", id(value))
        kind = type_of(value)
        if kind == "object":
            members = ((name, self._key((*place, str(name)), item)) for name, item in value.items())
            return (
                kind,
                getattr(value, "repeated", ()),
                frozenset(each for each in members if not rules.ignores_json((*place, str(each[0])))),
            )
        if kind == "array":
            keys = [self._key((*place, index), item) for index, item in enumerate(value)]
            return (kind, frozenset(Counter(keys).items()) if rules.is_unordered(place) else tuple(keys))
        if isinstance(value, float) and value != value:
            return (kind, "NaN")
        return (kind, value if isinstance(value, Hashable) else repr(value))


def _is_close(rules: Rules, place: Place, old: float, new: float) -> bool:
    try:
        return rules.is_close(place, old, new)
    except OverflowError:  # an integer beyond every float
        return False


def _how_far(old: float, new: float) -> str:
    try:
        return f"by {new - old:+.3g}"
    except (OverflowError, ValueError):
        return ""
