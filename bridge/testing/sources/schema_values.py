"""Values that a JSON schema allows, made up without chance: the same schema gives the same values.

Understood is what OpenAPI 3.0, 3.1 and Swagger 2.0 have in common with JSON Schema, references to
schemas that contain themselves included. Patterns are met for the simple kinds only (see `_fitting`);
`not`, `if`, `dependentSchemas` and `contains` are not looked at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ...exceptions import UsageError

# How deep optional properties are filled in; below it there are the required ones only.
_DEEPEST_OPTION = 4

# Lists and texts are not made longer than this to reach a minimum: it would take longer than it proves.
_LONGEST = 100_000

# How many values of one schema there are at most.
_MOST = 12

_STRINGS = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T12:30:00Z",
    "time": "12:30:00Z",
    "duration": "P1DT2H",
    "uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "email": "ada@example.com",
    "idn-email": "ada@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/a?b=c",
    "url": "https://example.com/a?b=c",
    "uri-reference": "/a?b=c",
    "iri": "https://example.com/a?b=c",
    "json-pointer": "/a/0",
    "regex": "^a+$",
    "byte": "YnJpZGdl",
    "binary": "bridge",
    "password": "correct horse",
    "decimal": "1.50",
}
"""A value for each format."""

_CHARACTERS = ("a", "A", "1", "a1", "A1", "-", "_", ".", "+1", " ")

_SHAPES: dict[str, str] = {
    "properties": "object",
    "additionalProperties": "object",
    "required": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
}
"""What a schema without a type is about, by the keyword that it has."""


class NoValue(Exception):
    """The schema allows nothing, or nothing that ends."""


class Resolver:
    """Follows `$ref`s within a document.

    Args:
        document: the whole description, in which they point.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def resolve(self, value: Any) -> Any:
        """What a reference stands for; anything else is returned as it is.

        Raises:
            UsageError: it points to another file, to nothing, or in a circle.
        """
        seen: set[str] = set()
        while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
            reference = value["$ref"]
            if reference in seen:
                raise UsageError(f"the reference {reference!r} leads back to itself")
            seen.add(reference)
            value = self._look_up(reference)
        return value

    def _look_up(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise UsageError(
                f"the description refers to {reference!r}, which is in another file: put them together "
                "into one file first, as `redocly bundle` does"
            )
        value: Any = self._document
        for part in reference[1:].split("/")[1:]:
            part = _unescaped(part)
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise UsageError(
                    f"the reference {reference!r} points to nothing in the description"
                ) from None
        return value


def _unescaped(part: str) -> str:
    part = re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), part)
    return part.replace("~1", "/").replace("~0", "~")


def values_of(schema: Any, resolver: Resolver) -> list[Any]:
    """Several values that a schema allows, the most ordinary one first.

    The first is an example of the schema if it has one. The others are further examples and members
    of an enumeration, or the ends of a range, or values for the other alternatives.

    Raises:
        NoValue: there is none.
        UsageError: a reference cannot be followed.
    """
    return _Maker(resolver).several(schema)[:_MOST]


class _Maker:
    """Makes values for one schema; `_open` are the references that it is within."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._open: list[str] = []

    def several(self, schema: Any) -> list[Any]:
        reference = _reference(schema)
        if reference is not None:
            found: list[Any] = self._within(reference, schema, self.several)
            return found
        schema = self._merged(schema)
        if given := _given(schema):
            # A default is one value of many; examples and enumerations say which there are.
            return [*given, *(self._ends(schema) if given == [schema.get("default")] else ())]
        found = []
        for alternative in self._alternatives(schema):
            try:
                found += [self.one(alternative), *self._ends(alternative)]
            except NoValue:
                continue
        if not found:
            raise NoValue
        return found

    def one(self, schema: Any) -> Any:
        """One value.

        Raises:
            NoValue: there is none, or only one that contains itself.
        """
        reference = _reference(schema)
        if reference is not None:
            return self._within(reference, schema, self.one)
        if given := _given(schema):
            return given[0]
        schema = self._merged(schema)
        if given := _given(schema):
            return given[0]
        last: NoValue | None = None
        for alternative in self._alternatives(schema):
            try:
                return self._by_type(alternative)
            except NoValue as error:
                last = error
        raise last or NoValue

    def _within(self, reference: str, schema: Mapping[str, Any], make: Callable[[Any], Any]) -> Any:
        """Make what a reference stands for, unless it is being made already."""
        if reference in self._open:
            raise NoValue
        self._open.append(reference)
        try:
            target = self._resolver.resolve({"$ref": reference})
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            # Beside a reference other keywords count as well, since 3.1; those that say nothing of
            # the value have no part in it.
            return make({**target, **beside} if beside and isinstance(target, Mapping) else target)
        finally:
            self._open.pop()

    def _merged(self, schema: Any) -> Mapping[str, Any]:
        """The schema with what `allOf` adds to it.

        Raises:
            NoValue: one of them is `false`, or is being made already.
        """
        if schema is False:
            raise NoValue
        if not isinstance(schema, Mapping):
            return {}
        parts = schema.get("allOf")
        if not isinstance(parts, list):
            return schema
        merged: dict[str, Any] = {}
        for part in (*parts, {key: value for key, value in schema.items() if key != "allOf"}):
            reference = _reference(part)
            if reference is not None and reference in self._open:
                raise NoValue
            resolved = self._merged(self._resolver.resolve(part))
            for key, value in resolved.items():
                merged[key] = _joined(key, merged[key], value) if key in merged else value
        return merged

    def _alternatives(self, schema: Mapping[str, Any]) -> list[Any]:
        """The schemas of `oneOf`, `anyOf` and of several types, each with what stands beside it."""
        for key in ("oneOf", "anyOf"):
            options = schema.get(key)
            if isinstance(options, list) and options:
                rest = {name: value for name, value in schema.items() if name != key}
                found = []
                for option in options:
                    try:
                        found += self._alternatives(self._beside(option, rest))
                    except NoValue:
                        continue
                # `null` is what is left out elsewhere, so it comes last.
                return sorted(found, key=lambda each: each.get("type") == "null")
        kinds = schema.get("type")
        if isinstance(kinds, list):
            ordered = sorted(kinds, key=lambda kind: kind == "null")
            return [{**schema, "type": kind} for kind in ordered]
        return [schema]

    def _beside(self, option: Any, rest: Mapping[str, Any]) -> Mapping[str, Any]:
        """An alternative with what stands beside it, and the mark that tells it from the others."""
        reference = _reference(option)
        discriminator = rest.get("discriminator")
        plain = {key: value for key, value in rest.items() if key != "discriminator"}
        if reference is None:
            return self._merged({**plain, "allOf": [option]} if plain else option)
        if reference in self._open:
            return {"$ref": reference}
        parts: list[Any] = [option]
        if isinstance(discriminator, Mapping) and "propertyName" in discriminator:
            names = {value: key for key, value in (discriminator.get("mapping") or {}).items()}
            name = names.get(reference, reference.rpartition("/")[2])
            marked = {str(discriminator["propertyName"]): {"const": name}}
            parts.append({"properties": marked, "required": list(marked)})
        if len(parts) == 1 and not plain:
            return {"$ref": reference}
        return self._merged({**plain, "allOf": parts})

    def _by_type(self, schema: Mapping[str, Any]) -> Any:
        if _reference(schema) is not None or "allOf" in schema or _given(schema):
            return self.one(schema)
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        return _simple(kind, schema)

    def _ends(self, schema: Mapping[str, Any]) -> list[Any]:
        """Values at the ends of what a schema allows, beside the ordinary one."""
        kind = _kind(schema)
        if kind in ("integer", "number"):
            low, high = _range(schema, kind == "integer")
            return [_stepped(end, schema, kind == "integer") for end in (low, high) if end is not None]
        if kind == "boolean":
            return [not schema.get("default", True)]
        if kind == "string" and not {"format", "pattern"} & schema.keys():
            lengths = (schema.get("minLength"), schema.get("maxLength"))
            return ["a" * int(length) for length in lengths if length is not None and length <= 1000]
        if kind == "array" and "items" in schema:
            try:
                members = self.several(schema["items"])[1:4]
            except NoValue:
                return []
            least = int(schema.get("minItems") or 0)
            return [[member] for member in members] if least <= 1 else []
        return []

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties")
        required = schema.get("required")
        wanted = set(required) if isinstance(required, list) else set()
        made: dict[str, Any] = {}
        for name, part in (properties if isinstance(properties, Mapping) else {}).items():
            if name not in wanted and len(self._open) > _DEEPEST_OPTION:
                continue
            resolved = part if _reference(part) in self._open else self._resolver.resolve(part)
            if isinstance(resolved, Mapping) and resolved.get("readOnly"):
                continue  # it is the server's to say
            try:
                made[name] = self.one(part)
            except NoValue:
                if name in wanted:
                    raise
        further = schema.get("additionalProperties", True)
        for name in sorted(wanted - made.keys()):
            if not isinstance(properties, Mapping) or name not in properties:
                made[name] = self.one(further if isinstance(further, Mapping) else {})
        if further is not False:
            while len(made) < min(int(schema.get("minProperties") or 0), _LONGEST):
                made[f"key{len(made) + 1}"] = self.one(further if isinstance(further, Mapping) else {})
            if not made and isinstance(further, Mapping):
                try:
                    made["key1"] = self.one(further)
                except NoValue:
                    pass
        return made

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        made = [self.one(part) for part in schema.get("prefixItems") or ()]
        least, most = int(schema.get("minItems") or 0), schema.get("maxItems")
        wanted = min(max(least, len(made) or 1), _LONGEST)
        if most is not None:
            wanted = min(wanted, int(most))
        items = schema.get("items", {})
        if items is False or len(made) >= wanted:
            return made[:wanted] if most is not None else made
        try:
            members = self.several(items)
        except NoValue:
            if len(made) < least:
                raise
            return made
        if schema.get("uniqueItems"):
            return made + _distinct_members(members, wanted - len(made))
        return made + [members[0]] * (wanted - len(made))


def _reference(schema: Any) -> str | None:
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    return reference if isinstance(reference, str) else None


def _given(schema: Any) -> list[Any]:
    """The values that a schema names itself."""
    if not isinstance(schema, Mapping):
        return []
    if "const" in schema:
        return [schema["const"]]
    found = [schema[key] for key in ("example", "x-example") if key in schema]
    if isinstance(schema.get("examples"), list):
        found += schema["examples"]
    if "default" in schema and schema["default"] is not None:
        found.append(schema["default"])
    if isinstance(schema.get("enum"), list):
        found += schema["enum"]
    return found


def _joined(key: str, one: Any, other: Any) -> Any:
    """Two values of a keyword that both hold."""
    if key == "properties" and isinstance(one, Mapping) and isinstance(other, Mapping):
        both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other}
        return {**one, **other, **both}
    if key == "required" and isinstance(one, list) and isinstance(other, list):
        return [*one, *(name for name in other if name not in one)]
    if key in ("minimum", "minLength", "minItems", "minProperties"):
        return max(one, other)
    if key in ("maximum", "maxLength", "maxItems", "maxProperties"):
        return min(one, other)
    return other


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    return next((shape for keyword, shape in _SHAPES.items() if keyword in schema), "string")


def _simple(kind: str, schema: Mapping[str, Any]) -> Any:
    if kind in ("integer", "number"):
        low, high = _range(schema, kind == "integer")
        if low is not None and high is not None and low > high:
            raise NoValue
        value: float = 1
        if low is not None and value < low:
            value = low
        elif high is not None and value > high:
            value = high
        return _stepped(value, schema, kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    if kind == "file":
        return _STRINGS["binary"]
    return _string(schema)


def _range(schema: Mapping[str, Any], whole: bool) -> tuple[float | None, float | None]:
    """The least and the greatest number that a schema allows."""
    low, high = _number(schema.get("minimum")), _number(schema.get("maximum"))
    step: float = 1 if whole else 0.5
    # In 3.0 these are flags that belong to the bounds, in 3.1 bounds themselves.
    below, above = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if below is True and low is not None:
        low += step
    elif (edge := _number(below)) is not None:
        low = edge + step if low is None else max(low, edge + step)
    if above is True and high is not None:
        high -= step
    elif (edge := _number(above)) is not None:
        high = edge - step if high is None else min(high, edge - step)
    if whole:
        return None if low is None else math.ceil(low), None if high is None else math.floor(high)
    if low is not None and high is not None and low > high:  # a range that is narrower than the step
        low = high = (low + high) / 2
    return low, high


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _stepped(value: float, schema: Mapping[str, Any], whole: bool) -> float:
    """The number itself, or one beside it that is a multiple of what it has to be."""
    step = _number(schema.get("multipleOf"))
    if step:
        low, high = _range(schema, whole)
        value = math.ceil(value / step) * step
        if high is not None and value > high:
            value = math.floor(high / step) * step
        if low is not None and value < low:
            raise NoValue
    return int(value) if whole else value


def _string(schema: Mapping[str, Any]) -> str:
    least, most = int(schema.get("minLength") or 0), schema.get("maxLength")
    pattern = schema.get("pattern")
    text = _STRINGS.get(str(schema.get("format") or ""), "string")
    if isinstance(pattern, str):
        found = _fitting(pattern, least, most)
        return text if found is None else found
    if len(text) < least:
        text += "a" * (min(least, _LONGEST) - len(text))
    return text if most is None else text[: int(most)]


def _fitting(pattern: str, least: int, most: Any) -> str | None:
    """A text that a pattern is found in; `None` for one that is not as simple as most are.

    Tried are the values of all formats and repetitions of a few characters, so `^[A-Z]{3}$`,
    `^[a-z0-9-]+$` and the patterns of dates and identifiers are met.
    """
    try:
        expression = re.compile(pattern)
    except re.error:
        return None  # it is of another dialect
    longest = 64 if most is None else min(int(most), 64)
    candidates = [
        *_STRINGS.values(),
        "string",
        *(
            (characters * longest)[:length]
            for length in range(max(least, 0), longest + 1)
            for characters in _CHARACTERS
        ),
    ]
    for text in candidates:
        if least <= len(text) and (most is None or len(text) <= most) and expression.search(text):
            return text
    return None


def _distinct_members(members: list[Any], wanted: int) -> list[Any]:
    """So many different values, the given ones first."""
    found: list[Any] = []
    for member in members:
        if member not in found:
            found.append(member)
    first = members[0]
    number = 1
    while len(found) < wanted:
        if isinstance(first, str):
            found.append(f"{first}{number}")
        elif isinstance(first, (int, float)) and not isinstance(first, bool):
            found.append(first + number)
        else:
            raise NoValue
        number += 1
    return found[:wanted]
