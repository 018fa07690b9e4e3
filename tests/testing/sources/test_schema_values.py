"""Values for schemas: a table of schemas, and of what is made of each."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.testing.sources.schema_values import NoValue, Resolver, values_of

DOCUMENT: dict[str, Any] = {
    "components": {
        "schemas": {
            "Name": {"type": "string", "minLength": 3},
            "a/b~c": {"const": 7},
            "Tree": {
                "type": "object",
                "required": ["name", "children"],
                "properties": {
                    "name": {"$ref": "#/components/schemas/Name"},
                    "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
                    "parent": {"$ref": "#/components/schemas/Tree"},
                },
            },
            "Chain": {
                "type": "object",
                "required": ["next"],
                "properties": {"next": {"anyOf": [{"$ref": "#/components/schemas/Chain"}, {"type": "null"}]}},
            },
            "Endless": {
                "type": "object",
                "required": ["next"],
                "properties": {"next": {"$ref": "#/components/schemas/Endless"}},
            },
            "Circle": {"$ref": "#/components/schemas/Round"},
            "Round": {"$ref": "#/components/schemas/Circle"},
            "Cat": {"type": "object", "properties": {"lives": {"type": "integer", "maximum": 9}}},
            "Dog": {"type": "object", "properties": {"bark": {"type": "boolean"}}},
            "Pet": {
                "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
                "discriminator": {
                    "propertyName": "kind",
                    "mapping": {"hund": "#/components/schemas/Dog"},
                },
            },
        }
    }
}


def values(schema: Any) -> list[Any]:
    return values_of(schema, Resolver(DOCUMENT))


def ref(name: str, **beside: Any) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", **beside}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "string"}, ["string"]),
        ({}, ["string"]),
        (True, ["string"]),
        ({"type": "integer"}, [1]),
        ({"type": "number"}, [1]),
        ({"type": "boolean"}, [True, False]),
        ({"type": "null"}, [None]),
        # What the schema says itself comes before what is made up.
        ({"type": "integer", "example": 5}, [5]),
        ({"type": "integer", "default": 6}, [6]),
        ({"type": "integer", "example": 5, "default": 6, "enum": [5, 6, 7]}, [5, 6, 5, 6, 7]),
        ({"type": "integer", "examples": [8, 9]}, [8, 9]),
        ({"const": "x", "default": "y"}, ["x"]),
        ({"type": "boolean", "default": True}, [True, False]),
        ({"type": "boolean", "default": False}, [False, True]),
        ({"type": "boolean", "example": True}, [True]),
        ({"type": "integer", "default": 6, "minimum": 0, "maximum": 9}, [6, 0, 9]),
        ({"type": "integer", "enum": [6], "default": 6, "minimum": 0}, [6, 6]),
        ({"type": "string", "default": None}, ["string"]),
        # Bounds, and values at the ends of them.
        ({"type": "integer", "minimum": 5}, [5, 5]),
        ({"type": "integer", "maximum": 0}, [0, 0]),
        ({"type": "integer", "minimum": -3, "maximum": 3}, [1, -3, 3]),
        ({"type": "integer", "minimum": 5, "exclusiveMinimum": True}, [6, 6]),
        ({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 8}, [6, 6, 7]),
        ({"type": "integer", "minimum": 1.5}, [2, 2]),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, [0.5, 0.5, 0.5]),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, [0.25, 0.25, 0.25]),
        ({"type": "integer", "minimum": 5, "multipleOf": 4}, [8, 8]),
        ({"type": "integer", "maximum": 3, "multipleOf": 4}, [0, 0]),
        ({"type": "string", "minLength": 8}, ["stringaa", "aaaaaaaa"]),
        ({"type": "string", "maxLength": 3}, ["str", "aaa"]),
        ({"type": "string", "minLength": 2, "maxLength": 2}, ["st", "aa", "aa"]),
        # Formats and patterns.
        ({"type": "string", "format": "date"}, ["2024-02-29"]),
        ({"type": "string", "format": "ipv4"}, ["192.0.2.1"]),
        ({"format": "no-such"}, ["string"]),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, ["AAA"]),
        ({"type": "string", "pattern": r"^\d{5}$", "maxLength": 9}, ["11111"]),
        (
            {"type": "string", "pattern": "^[a-z0-9-]+$", "minLength": 4},
            ["2024-02-29"],
        ),
        ({"type": "string", "pattern": "^(not|so|simple)$"}, ["string"]),
        ({"type": "string", "pattern": "(?<=x"}, ["string"]),
        # Lists.
        ({"type": "array"}, [["string"]]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [[1, 1]]),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, [["a"], ["b"]]),
        ({"type": "array", "maxItems": 0}, [[]]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True}, [["a", "b"]]),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
            [["string", "string1"]],
        ),
        ({"prefixItems": [{"type": "integer"}, {"const": "x"}], "items": False}, [[1, "x"]]),
        # Objects.
        ({"type": "object"}, [{}]),
        ({"properties": {"a": {"type": "integer"}, "b": {"readOnly": True}}}, [{"a": 1}]),
        ({"type": "object", "required": ["x"]}, [{"x": "string"}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"key1": 1}]),
        ({"type": "object", "additionalProperties": False, "minProperties": 1}, [{}]),
        ({"type": "object", "minProperties": 2}, [{"key1": "string", "key2": "string"}]),
        # Alternatives.
        ({"type": ["null", "integer"]}, [1, None]),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, [1, None]),
        ({"oneOf": [{"const": "a"}, {"type": "integer"}]}, ["a", 1]),
        (
            {"oneOf": [{"minLength": 8}, {"maxLength": 2}], "type": "string"},
            ["stringaa", "aaaaaaaa", "st", "aa"],
        ),
        ({"allOf": [{"type": "integer", "minimum": 3}, {"minimum": 5, "maximum": 7}]}, [5, 5, 7]),
        (
            {
                "allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}],
                "type": "object",
            },
            [{"a": 1, "b": 2}],
        ),
        # References.
        (ref("Name"), ["string", "aaa"]),
        (ref("Name", minLength=7), ["stringa", "aaaaaaa"]),
        ({"$ref": "#/components/schemas/a~1b~0c"}, [7]),
        ({"$ref": "#/components/schemas/a~1b%7E0c"}, [7]),
        (ref("Tree"), [{"name": "string", "children": []}]),
        (ref("Chain"), [{"next": None}]),
        (
            {"allOf": [ref("Tree"), {"properties": {"x": {"const": 1}}}]},
            [
                {
                    "name": "string",
                    "children": [{"name": "string", "children": []}],
                    "parent": {"name": "string", "children": []},
                    "x": 1,
                }
            ],
        ),
        (ref("Pet"), [{"lives": 1, "kind": "Cat"}, {"bark": True, "kind": "hund"}]),
    ],
)
def test_the_values_of_a_schema(schema: Any, made: list[Any]) -> None:
    assert values(schema) == made
    assert values(schema) == made  # and always the same


@pytest.mark.parametrize(
    "schema",
    [
        False,
        ref("Endless"),
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "minimum": 5, "maximum": 7, "multipleOf": 4},
        {"type": "object", "required": ["a"], "properties": {"a": False}},
        {"type": "array", "items": False, "minItems": 1, "prefixItems": [False]},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True},
        {"oneOf": [False, ref("Endless")]},
    ],
)
def test_a_schema_that_nothing_fits_has_no_value(schema: Any) -> None:
    with pytest.raises(NoValue):
        values(schema)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("other.yaml#/Name", "is in another file"),
        ("#/components/schemas/Nobody", "points to nothing"),
        ("#/components/schemas/Name/type/x", "points to nothing"),
        ("#/components/schemas/Circle", "leads back to itself"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(reference: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        values({"$ref": reference})
    assert "#/" in str(caught.value)


def test_a_long_minimum_is_not_made() -> None:
    """A description may ask for a gigabyte."""
    assert len(values({"type": "string", "minLength": 10**9})[0]) == 100_000
    assert len(values({"type": "array", "minItems": 10**9})[0]) == 100_000


def test_there_are_not_many_values_of_one_schema() -> None:
    assert len(values({"enum": list(range(1000))})) == 12
