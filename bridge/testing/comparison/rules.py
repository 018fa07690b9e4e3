"""Rules: what a comparison forgives, and where it is stricter than usual.

    rules = Rules().ignore_header("X-Request-Id").ignore_json("$..updated_at").unordered("$.tags")
    compare(old, new, requests, rules=rules)

Rules are values: each method returns new ones, and `|` joins two. This module only holds and answers
them; `differences` acts on them. Pure: no I/O, no clock.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ...exceptions import UsageError
from ..exchange import Request, Response
from .json_paths import JsonPath, Place

if TYPE_CHECKING:
    from .result import Difference

Comparer: TypeAlias = "Callable[[bytes, bytes], str | Iterable[Difference] | None]"
"""Compares two bodies, their content coding undone: `None` if they are alike, else what differs."""

RequestPattern: TypeAlias = "str | re.Pattern[str] | Callable[[Request], bool]"
"""Which requests: "/api/*" or "POST /api/*" (with * and ?), a regular expression, or a function."""

_T = TypeVar("_T")

# What is not compared unless `Rules.strict()` is where one begins.
DEFAULT_IGNORED_HEADERS: dict[str, str] = {
    "Date": "the moment of the response, which no two responses share",
    "Server": "the name of the server program, not of the app",
    "Connection": "about the connection, not about the response (RFC 9110 section 7.6.1)",
    "Keep-Alive": "as Connection",
    "Transfer-Encoding": "how the server framed the body; the bodies themselves are compared",
}
# Two responses of one comparison are made one after the other; dates that are reckoned from now, such
# as the Expires of a cookie, differ by the seconds between them.
DEFAULT_CLOCK = 5.0


class RuleFailed(Exception):
    """A function of a rule raised; the comparison reports it as a difference of the kind "rule/failed".

    It goes on, since the function may have met what only one of the two apps answers.
    """

    def __init__(self, rule: str, cause: Exception) -> None:
        super().__init__(f"{rule} raised {type(cause).__name__}: {cause}")


@dataclass(frozen=True)
class Replacement:
    """Text that is replaced before texts are compared; `headers`: in header values as well."""

    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]
    headers: bool = False


@dataclass(frozen=True)
class Approximation:
    """Numbers at these places may differ by this much."""

    path: JsonPath
    absolute: float
    relative: float


@dataclass(frozen=True)
class Rules:
    """What does not count as a difference; immutable.

    `Rules()` forgives what always differs: the headers `Date`, `Server`, `Connection`, `Keep-Alive`
    and `Transfer-Encoding`, and dates in `Expires`, of a header or a cookie, that are within 5 seconds
    of each other. `Rules.strict()` forgives none of it. What has one meaning in two spellings is no
    difference in any case, unless `exact_headers()` or `exact_body()` is asked for: see `differences`.

    The attributes are what the methods have gathered; use the methods.
    """

    ignored_headers: tuple[str, ...] = tuple(DEFAULT_IGNORED_HEADERS)
    ignored_cookies: tuple[str, ...] = ()
    ignored_json: tuple[JsonPath, ...] = ()
    replacements: tuple[Replacement, ...] = ()
    header_functions: tuple[tuple[str, Callable[[str], str]], ...] = ()
    json_functions: tuple[tuple[JsonPath, Callable[[Any], Any]], ...] = ()
    body_functions: tuple[Callable[[bytes], bytes], ...] = ()
    unordered_json: tuple[JsonPath, ...] = ()
    approximations: tuple[Approximation, ...] = ()
    comparers: tuple[tuple[str | Callable[[Response], bool], Comparer], ...] = ()
    scoped: tuple[tuple[RequestPattern, Rules], ...] = ()
    clock: float = DEFAULT_CLOCK
    headers_exact: bool = False
    body_exact: bool = False
    reason_exact: bool = False

    @classmethod
    def default(cls) -> Rules:
        """What `compare()` uses if it is given none: the same as `Rules()`."""
        return cls()

    @classmethod
    def strict(cls) -> Rules:
        """Rules that forgive nothing, to build upon."""
        return cls(ignored_headers=(), clock=0.0)

    # What is left out

    def ignore_header(self, *names: str) -> Rules:
        """Leave headers out, by their names in any case; `*` and `?` stand for what follows.

        Trailers are headers too. `ignore_header("Set-Cookie")` leaves all cookies out.
        """
        return replace(self, ignored_headers=_added(self.ignored_headers, _texts("header", names)))

    def ignore_cookie(self, *names: str) -> Rules:
        """Leave cookies out: `"session"`, or one attribute of them: `"session; Expires"`, `"*; Domain"`."""
        return replace(self, ignored_cookies=_added(self.ignored_cookies, _texts("cookie", names)))

    def ignore_json(self, *paths: str) -> Rules:
        """Leave out what stands at these places of JSON documents, and whether it is there at all.

        Args:
            paths: such as `$.token`, `$.items[*].id`, `$..updated`; see `json_paths`. They hold for what
                the hook `effects` reads as well.
        """
        return replace(self, ignored_json=_added(self.ignored_json, map(JsonPath.parse, paths)))

    def ignore_text(self, *patterns: str | re.Pattern[str], headers: bool = False) -> Rules:
        """Leave out what these regular expressions find.

        They are searched in text, HTML and XML as it came, in each string of JSON, in the fields of a
        form, and in messages of exceptions.

        Args:
            patterns: regular expressions.
            headers: search header and cookie values too.
        """
        found = [Replacement(_compiled(each), "", headers) for each in patterns]
        return replace(self, replacements=_added(self.replacements, found))

    # What is made alike first

    def normalise_header(self, name: str, function: Callable[[str], str]) -> Rules:
        """Compare what a function makes of each value of a header; for `Set-Cookie`, of each whole line."""
        _require_function(function)
        (checked,) = _texts("header", (name,))
        return replace(self, header_functions=(*self.header_functions, (checked, function)))

    def normalise_json(self, path: str, function: Callable[[Any], Any]) -> Rules:
        """Compare what a function makes of the values at these places of JSON documents."""
        _require_function(function)
        return replace(self, json_functions=(*self.json_functions, (JsonPath.parse(path), function)))

    def normalise_text(
        self,
        pattern: str | re.Pattern[str],
        replacement: str | Callable[[re.Match[str]], str],
        *,
        headers: bool = False,
    ) -> Rules:
        """Replace what a regular expression finds, as `re.sub` does, where `ignore_text` would search."""
        compiled = _compiled(pattern)
        if not callable(replacement):
            try:
                compiled.sub(replacement, "")
            except (re.error, TypeError, IndexError) as exc:
                raise UsageError(
                    f"expected a replacement as re.sub takes it; got {replacement!r}: {exc}"
                ) from exc
        found = Replacement(compiled, replacement, headers)
        return replace(self, replacements=(*self.replacements, found))

    def normalise_body(self, function: Callable[[bytes], bytes]) -> Rules:
        """Compare what a function makes of each body, its content coding undone."""
        _require_function(function)
        return replace(self, body_functions=(*self.body_functions, function))

    # What counts less

    def unordered(self, *paths: str) -> Rules:
        """Compare the arrays at these places of JSON documents without regard to their order."""
        return replace(self, unordered_json=_added(self.unordered_json, map(JsonPath.parse, paths)))

    def approx(self, path: str, absolute: float | None = None, *, relative: float | None = None) -> Rules:
        """Let numbers at these places differ a little, an integer from a float as well.

        Args:
            path: the places.
            absolute: by how much, at most.
            relative: by how much of the larger of the two, at most; 0.01 is a hundredth.

        Raises:
            UsageError: neither is given, or one is no number of 0 or more.
        """
        if absolute is None and relative is None:
            raise UsageError(
                f"approx({path!r}) needs a bound: approx(path, 0.01) or approx(path, relative=0.01)"
            )
        for bound in (absolute, relative):
            if bound is not None and not _is_bound(bound):
                raise UsageError(f"a bound of approx() is a number of 0 or more; got {bound!r}")
        found = Approximation(JsonPath.parse(path), float(absolute or 0), float(relative or 0))
        return replace(self, approximations=(*self.approximations, found))

    def allow_clock(self, seconds: float) -> Rules:
        """Let dates in `Expires`, of a header or a cookie, differ by this many seconds (5)."""
        if not _is_bound(seconds):
            raise UsageError(f"allow_clock() takes seconds, 0 or more; got {seconds!r}")
        return replace(self, clock=float(seconds))

    # What counts more

    def exact_headers(self) -> Rules:
        """Let every character of the headers count: the case of names, the order of different headers,
        spellings of one meaning. Headers that are ignored stay so."""
        return replace(self, headers_exact=True)

    def exact_body(self) -> Rules:
        """Compare bodies byte by byte as they came, content coding and all; rules for bodies rest."""
        return replace(self, body_exact=True)

    def exact_reason(self) -> Rules:
        """Compare the reason phrase too. It is left out otherwise: HTTP/2 and ASGI have none."""
        return replace(self, reason_exact=True)

    # What else

    def body(self, which: str | Callable[[Response], bool], comparer: Comparer) -> Rules:
        """Compare some bodies with a function.

        Args:
            which: a media type such as `image/png`, `image/*` or `*`, or a function that is given the
                old response. A later rule wins over an earlier one.
            comparer: is given both bodies, their content coding undone; `None` means alike, a text says
                what differs, or `Difference`s do.
        """
        if not isinstance(which, str):
            _require_function(which)
        _require_function(comparer)
        return replace(self, comparers=(*self.comparers, (which, comparer)))

    def for_request(self, pattern: RequestPattern, rules: Rules) -> Rules:
        """Add rules for some requests only.

        Args:
            pattern: `"/api/*"` is matched with the path, `"POST /api/*"` with method and path (`*` stands for
                anything, slashes too, `?` for one character); a regular expression is searched in method
                and target (`"GET /notes?page=2"`); a function is given the `Request`.
            rules: what holds for them beside these.
        """
        if not isinstance(pattern, (str, re.Pattern)):
            _require_function(pattern)
        if not isinstance(rules, Rules):
            raise UsageError(f"for_request() takes Rules, such as Rules().ignore_json('$.id'); got {rules!r}")
        return replace(self, scoped=(*self.scoped, (pattern, rules)))

    def __or__(self, other: Rules) -> Rules:
        """Rules that forgive what either forgives, and are as exact as either is."""
        if not isinstance(other, Rules):
            return NotImplemented
        joined: dict[str, Any] = {}
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            joined[each.name] = _added(mine, theirs) if isinstance(mine, tuple) else max(mine, theirs)
        return Rules(**joined)

    __add__ = __or__

    # What the comparison asks

    def of_request(self, request: Request | None) -> Rules:
        """The rules that hold for one request: those for some requests resolved."""
        if not self.scoped:
            return self
        found = replace(self, scoped=())
        for pattern, rules in self.scoped:
            if request is not None and _is_meant(pattern, request):
                found = found | rules.of_request(request)
        return found

    def ignores_header(self, name: str) -> bool:
        """Whether a header is left out."""
        return _named(self.ignored_headers, name.lower())

    def ignores_cookie(self, name: str, attribute: str = "") -> bool:
        """Whether a cookie, or one attribute of it, is left out."""
        for each in self.ignored_cookies:
            wanted, _, part = each.partition(";")
            if _fits(name, wanted.strip()) and part.strip().lower() == attribute.lower():
                return True
        return False

    def clean(self, text: str, *, header: bool = False) -> str:
        """A text after all replacements; `header`: a header's value, for which only some are meant.

        Raises:
            RuleFailed: a function that makes a replacement raised.
        """
        for each in self.replacements:
            if each.headers or not header:
                try:
                    text = each.pattern.sub(each.replacement, text)
                except Exception as exc:
                    raise RuleFailed(f"normalise_text({each.pattern.pattern!r})", exc) from exc
        return text

    def clean_header(self, name: str, value: str) -> str:
        """A header's value after the functions and replacements.

        Raises:
            RuleFailed: one of the functions raised.
        """
        for wanted, function in self.header_functions:
            if wanted.lower() == name.lower():
                try:
                    value = function(value)
                except Exception as exc:
                    raise RuleFailed(f"normalise_header({wanted!r})", exc) from exc
        return self.clean(value, header=True)

    def clean_json(self, place: Place, value: Any) -> Any:
        """A JSON value after the functions for its place, and the replacements if it is a string.

        Raises:
            RuleFailed: one of the functions raised.
        """
        for path, function in self.json_functions:
            if path.matches(place):
                try:
                    value = function(value)
                except Exception as exc:
                    raise RuleFailed(f"normalise_json({path.text!r})", exc) from exc
        return self.clean(value) if isinstance(value, str) else value

    def clean_body(self, body: bytes) -> bytes:
        """A body after the functions.

        Raises:
            RuleFailed: one of them raised.
        """
        for function in self.body_functions:
            try:
                body = function(body)
            except Exception as exc:
                raise RuleFailed("normalise_body()", exc) from exc
        return body

    def ignores_json(self, place: Place) -> bool:
        """Whether what stands at a place is left out."""
        return any(path.matches(place) for path in self.ignored_json)

    def is_unordered(self, place: Place) -> bool:
        """Whether the array at a place is a bag."""
        return any(path.matches(place) for path in self.unordered_json)

    def is_close(self, place: Place, old: float, new: float) -> bool:
        """Whether two numbers at a place are near enough to each other."""
        return any(
            math.isclose(old, new, rel_tol=min(each.relative, 1.0), abs_tol=each.absolute)
            for each in self.approximations
            if each.path.matches(place)
        )

    def comparer_for(self, response: Response, media_type: str) -> Comparer | None:
        """The user's comparer for a body, if there is one."""
        for which, comparer in reversed(self.comparers):
            if _fits(media_type, which.lower()) if isinstance(which, str) else which(response):
                return comparer
        return None


def _added(old: tuple[_T, ...], new: Iterable[_T]) -> tuple[_T, ...]:
    """Both, without what is there already; what a user's function is may have no hash."""
    both = list(old)
    for each in new:
        if each not in both:
            both.append(each)
    return tuple(both)


@lru_cache(maxsize=1000)
def _pattern(text: str) -> re.Pattern[str]:
    """A name in which `*` stands for anything and `?` for one character; all else for itself."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _fits(name: str, pattern: str) -> bool:
    return _pattern(pattern).fullmatch(name) is not None


def _texts(what: str, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _is_text(name):
            raise UsageError(f"a {what} is named by a text; got {name!r}")
    return names


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_bound(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < math.inf


def _named(patterns: Iterable[str], name: str) -> bool:
    return any(_fits(name, each.lower()) for each in patterns)


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
        compiled.search("")  # one for bytes refuses text
        return compiled
    except (re.error, TypeError) as exc:
        raise UsageError(f"expected a regular expression; got {pattern!r}: {exc}") from exc


def _require_function(function: object) -> None:
    if not callable(function):
        raise UsageError(f"expected a function; got {function!r}")


def _is_meant(pattern: RequestPattern, request: Request) -> bool:
    if isinstance(pattern, str):
        whole = f"{request.method} {request.path}" if " " in pattern else request.path
        return _fits(whole, pattern)
    if isinstance(pattern, re.Pattern):
        return pattern.search(f"{request.method} {request.target}") is not None
    return bool(pattern(request))
