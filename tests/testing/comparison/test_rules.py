"""Rules as values: what they hold, how they join, what they answer, what they refuse."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest

from bridge.exceptions import UsageError
from bridge.testing.comparison.rules import DEFAULT_CLOCK, DEFAULT_IGNORED_HEADERS, RuleFailed, Rules
from bridge.testing.exchange import Request, Response

BUILDERS: dict[str, Callable[[Rules], Rules]] = {
    "ignore_header": lambda rules: rules.ignore_header("X-A"),
    "ignore_cookie": lambda rules: rules.ignore_cookie("a"),
    "ignore_json": lambda rules: rules.ignore_json("$.a"),
    "ignore_text": lambda rules: rules.ignore_text("a+"),
    "normalise_header": lambda rules: rules.normalise_header("X-A", str.lower),
    "normalise_json": lambda rules: rules.normalise_json("$.a", str),
    "normalise_text": lambda rules: rules.normalise_text("a", "b"),
    "normalise_body": lambda rules: rules.normalise_body(bytes.lower),
    "unordered": lambda rules: rules.unordered("$.a"),
    "approx": lambda rules: rules.approx("$.a", 0.1),
    "allow_clock": lambda rules: rules.allow_clock(60),
    "exact_headers": Rules.exact_headers,
    "exact_body": Rules.exact_body,
    "exact_reason": Rules.exact_reason,
    "body": lambda rules: rules.body("image/*", lambda old, new: None),
    "for_request": lambda rules: rules.for_request("/a", Rules()),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_each_method_makes_new_rules(name: str) -> None:
    before = Rules()
    after = BUILDERS[name](before)
    assert after != before
    assert before == Rules()


def test_every_method_that_builds_is_in_this_table() -> None:
    made = {
        name
        for name, value in vars(Rules).items()
        if not name.startswith("_") and getattr(value, "__annotations__", {}).get("return") == "Rules"
    }
    assert made - {"default", "of_request", "strict"} == set(BUILDERS)


def test_rules_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Rules().clock = 3.0  # type: ignore[misc]


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("join", [Rules.__or__, Rules.__add__])
def test_joined_rules_hold_both(name: str, join: Callable[[Rules, Rules], Rules]) -> None:
    changed = BUILDERS[name](Rules())
    other = Rules().ignore_header("X-Other")
    for joined in (join(changed, other), join(other, changed)):
        assert joined.ignores_header("x-other")
        for each in dataclasses.fields(Rules):
            mine, theirs = getattr(changed, each.name), getattr(joined, each.name)
            assert set(mine) <= set(theirs) if isinstance(mine, tuple) else theirs == mine


def test_rules_join_with_rules_only() -> None:
    with pytest.raises(TypeError):
        Rules() | {"ignore": "Date"}  # type: ignore[operator]


def test_what_is_forgiven_unasked_is_little_and_has_its_reasons() -> None:
    assert Rules.default() == Rules()
    assert [name for name in DEFAULT_IGNORED_HEADERS if not Rules().ignores_header(name.lower())] == []
    assert all(DEFAULT_IGNORED_HEADERS.values())
    assert len(DEFAULT_IGNORED_HEADERS) == 5
    assert not Rules().ignores_header("Content-Type")


def test_strict_rules_forgive_nothing() -> None:
    strict = Rules.strict()
    assert not strict.ignores_header("Date")
    assert (strict.clock, Rules().clock) == (0.0, DEFAULT_CLOCK)
    assert strict.ignore_header("Date").ignores_header("date")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("X-A", "x-a", True),
        ("x-*", "X-Anything", True),
        ("X-A", "X-AB", False),
        ("X-?", "x-b", True),
        ("[x]", "x", False),
    ],
)
def test_headers_are_named_in_any_case(pattern: str, name: str, expected: bool) -> None:
    assert Rules().ignore_header(pattern).ignores_header(name) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "attribute", "expected"),
    [
        ("sid", "sid", "", True),
        ("sid", "SID", "", False),
        ("s*", "sid", "", True),
        ("sid", "sid", "path", False),
        ("sid; Path", "sid", "path", True),
        ("a[1]", "a[1]", "", True),
        ("*;expires", "any", "expires", True),
        ("sid; Path", "sid", "", False),
    ],
)
def test_cookies_are_named_as_they_are(pattern: str, name: str, attribute: str, expected: bool) -> None:
    assert Rules().ignore_cookie(pattern).ignores_cookie(name, attribute) is expected


def test_text_is_cleaned_in_order_and_headers_only_if_asked() -> None:
    rules = Rules().ignore_text(r"token=\w+", headers=True).normalise_text(r"v(\d)", r"v-\1")
    assert rules.clean("a token=x v1") == "a  v-1"
    assert rules.clean("a token=x v1", header=True) == "a  v1"


def test_a_replacement_may_be_a_function() -> None:
    assert Rules().normalise_text("[a-z]+", lambda found: found[0].upper()).clean("1 ab") == "1 AB"


def test_values_pass_their_functions() -> None:
    rules = (
        Rules()
        .normalise_header("X-A", str.strip)
        .normalise_header("x-a", str.lower)
        .normalise_json("$.a", abs)
        .normalise_body(bytes.upper)
    )
    assert rules.clean_header("X-a", " A ") == "a"
    assert rules.clean_header("X-B", " A ") == " A "
    assert (rules.clean_json(("a",), -1), rules.clean_json(("b",), -1)) == (1, -1)
    assert rules.clean_body(b"a") == b"A"


def _fail(*args: Any) -> Any:
    raise LookupError("no such thing")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Rules().normalise_header("X-A", _fail).clean_header("X-A", ""), "normalise_header('X-A')"),
        (lambda: Rules().normalise_json("$.a", _fail).clean_json(("a",), 1), "normalise_json('$.a')"),
        (lambda: Rules().normalise_body(_fail).clean_body(b""), "normalise_body()"),
        (lambda: Rules().normalise_text("a", _fail).clean("a"), "normalise_text('a')"),
    ],
    ids=["header", "json", "body", "text"],
)
def test_a_function_that_fails_is_named(call: Callable[[], Any], name: str) -> None:
    with pytest.raises(RuleFailed, match=re.escape(f"{name} raised LookupError: no such thing")):
        call()


@pytest.mark.parametrize(
    ("path", "absolute", "relative", "old", "new", "expected"),
    [
        ("$.a", 0.1, None, 1, 1.05, True),
        ("$.a", 0.1, None, 1, 1.2, False),
        ("$.b", 0.1, None, 1, 1.05, False),
        ("$.a", None, 0.01, 1000, 1009.0, True),
        ("$.a", None, 0.01, 1000, 1020.0, False),
        ("$.a", 30, 0.01, 1000, 1020.0, True),
        ("$.a", 0.0, None, 1, 1.0, True),
        ("$.a", None, 7.0, 1, 5, True),
        ("$.a", 1, None, float("nan"), 1.0, False),
    ],
)
def test_numbers_may_be_close(
    path: str, absolute: float | None, relative: float | None, old: float, new: float, expected: bool
) -> None:
    assert Rules().approx(path, absolute, relative=relative).is_close(("a",), old, new) is expected


@pytest.mark.parametrize(
    ("pattern", "request_", "expected"),
    [
        ("/api/*", "/api/a/b?c", True),
        ("/api/*", "/ap", False),
        ("POST /api/*", "POST /api/a", True),
        ("POST /api/*", "/api/a", False),
        ("* /api/?", "PUT /api/a", True),
        (re.compile(r"^GET .*page="), "/a?page=1", True),
        (re.compile(r"^GET .*page="), "POST /a?page=1", False),
        (lambda request: request.method == "PUT", "PUT /", True),
    ],
    ids=["path", "other", "method", "other method", "any method", "expression", "not found", "function"],
)
def test_rules_may_hold_for_some_requests(pattern: Any, request_: str, expected: bool) -> None:
    rules = Rules().ignore_json("$.a").for_request(pattern, Rules().ignore_header("X-A"))
    found = rules.of_request(Request.of(request_))
    assert found.ignores_header("X-A") is expected
    assert found.ignores_json(("a",))
    assert not rules.of_request(None).ignores_header("X-A")


def test_rules_for_some_requests_may_hold_others() -> None:
    inner = Rules().for_request("*.png", Rules().exact_body())
    rules = Rules().for_request("/static/*", inner)
    assert rules.of_request(Request.of("/static/a.png")).body_exact
    assert not rules.of_request(Request.of("/static/a.txt")).body_exact
    assert not rules.of_request(Request.of("/a.png")).body_exact


def test_a_comparer_is_chosen_by_type_or_function_and_the_last_wins() -> None:
    def first(old: bytes, new: bytes) -> None: ...

    def second(old: bytes, new: bytes) -> None: ...

    rules = Rules().body("image/*", first).body(lambda response: response.status == 404, second)
    assert rules.comparer_for(Response(200), "image/png") is first
    assert rules.comparer_for(Response(404), "image/png") is second
    assert rules.comparer_for(Response(200), "text/plain") is None


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "header": (lambda: Rules().ignore_header(3), "a header is named by a text; got 3"),  # type: ignore[arg-type]
    "no header": (lambda: Rules().ignore_header(""), "a header is named"),
    "cookie": (lambda: Rules().ignore_cookie(b"a"), "a cookie is named"),  # type: ignore[arg-type]
    "path": (lambda: Rules().ignore_json("a.b"), "begins with"),
    "expression": (lambda: Rules().ignore_text("("), "regular expression"),
    "bytes": (lambda: Rules().ignore_text(re.compile(b"a")), "regular expression"),  # type: ignore[arg-type]
    "replacement": (lambda: Rules().normalise_text("a", r"\2"), "replacement"),
    "function": (lambda: Rules().normalise_json("$.a", "int"), "expected a function; got 'int'"),  # type: ignore[arg-type]
    "no bound": (lambda: Rules().approx("$.a"), "needs a bound"),
    "bound": (lambda: Rules().approx("$.a", -1), "0 or more; got -1"),
    "text bound": (lambda: Rules().approx("$.a", relative="1%"), "0 or more; got '1%'"),  # type: ignore[arg-type]
    "clock": (lambda: Rules().allow_clock(float("nan")), "0 or more"),
    "comparer": (lambda: Rules().body("image/*", None), "expected a function"),  # type: ignore[arg-type]
    "which": (lambda: Rules().body(3, lambda old, new: None), "expected a function"),  # type: ignore[arg-type]
    "rules": (lambda: Rules().for_request("/", "x"), "takes Rules"),  # type: ignore[arg-type]
    "pattern": (lambda: Rules().for_request(3, Rules()), "expected a function"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_rule_is_refused(name: str) -> None:
    call, said = REFUSED[name]
    with pytest.raises(UsageError, match=said):
        call()
