"""Headers compared: names in any case, values with their meaning where they have one.

What has one meaning in two spellings is no difference unless `Rules.exact_headers()` is asked for:

- the case of names, and the order of different headers (RFC 9110 sections 5.1 and 5.3);
- of `Content-Type`: the case of the type, quotes, the order of parameters, spellings of one charset,
  and the boundary of a multipart type, which is random;
- of lists that are sets, such as `Vary` and `Allow`: their order, the case where it has no meaning, and
  whether they come in one header or several;
- `Location`: an absolute and a relative reference to the same (RFC 9110 section 10.2.2);
- `Expires`: a few seconds;
- `Content-Length` beside a body: the bodies are compared, and whether the length is true. Where there
  is no body, as after HEAD, it is compared.

Cookies are compared in `cookies`. Pure.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from ..exchange import Headers
from .result import ABSENT, Difference
from .rules import RuleFailed, Rules

# Headers that hold a set -> whether the case of its members has no meaning. RFC 9110 sections 10.2.1,
# 12.5.5 and 14.3; RFC 9111 section 5.2; the Fetch standard, section 3.3.
_SETS = {
    "accept-ranges": True,
    "access-control-allow-headers": True,
    "access-control-allow-methods": False,
    "access-control-expose-headers": True,
    "allow": False,
    "cache-control": True,
    "vary": True,
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MEMBER = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_WHOLE_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_ESCAPED = re.compile(r"\\(.)")


class ContentType(NamedTuple):
    """A `Content-Type`, read: the type in lower case, and the parameters by their names in lower case."""

    media_type: str
    parameters: dict[str, str]

    @property
    def charset(self) -> str:
        """The charset as Python calls it; as it came if Python does not know it; empty without one."""
        given = self.parameters.get("charset", "")
        return charset_name(given) if given else ""


def charset_name(given: str) -> str:
    """One name for all spellings of a charset."""
    try:
        return codecs.lookup(given).name
    except (LookupError, ValueError):
        return given.lower()


def content_type(value: str | None) -> ContentType:
    """What a `Content-Type` says (RFC 9110 section 8.3.1); nothing of what cannot be read."""
    kind, semicolon, rest = (value or "").partition(";")
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(semicolon + rest):
        text = found[2].strip()
        if text.startswith('"') and text.endswith('"') and len(text) > 1:
            text = _ESCAPED.sub(r"\1", text[1:-1])
        parameters.setdefault(found[1].lower(), text)
    return ContentType(kind.strip().lower(), parameters)


def http_date(value: str) -> datetime | None:
    """The moment that a header or cookie names, in UTC; `None` if it cannot be read."""
    # Cookies still have the dashes of the first specification: "Wed, 21-Oct-2015 07:28:00 GMT".
    text = re.sub(r"(\d{1,2})-([A-Za-z]{3})-(\d{2,4})", r"\1 \2 \3", value)
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found.astimezone(timezone.utc)


def resolved(location: str, base: str) -> str:
    """The target of a redirect, without the origin if it is that of the base, which is a whole URL."""
    try:
        here, there = urlsplit(base), urlsplit(urljoin(base, location))
        same = _origin(here.scheme, here.netloc) == _origin(there.scheme, there.netloc)
        path = there.path or "/" if there.netloc else there.path
        return urlunsplit(("", "", path, there.query, there.fragment) if same else there._replace(path=path))
    except ValueError:
        return location


def _origin(scheme: str, authority: str) -> tuple[str, str]:
    ending = f":{_DEFAULT_PORTS.get(scheme)}"
    return scheme, authority.lower().removesuffix(ending)


def values_by_name(headers: Headers, rules: Rules) -> dict[str, list[tuple[str, str]]]:
    """The headers that count: by their names in lower case, each name as it came with its value."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, value in headers:
        if not rules.ignores_header(name):
            found.setdefault(name.lower(), []).append((name, value))
    return found


def header_differences(
    old: Headers,
    new: Headers,
    rules: Rules,
    *,
    skip: Iterable[str] = (),
    bases: tuple[str, str] = ("", ""),
    family: str = "header",
) -> list[Difference]:
    """What differs between the headers of two responses.

    Args:
        old: the old response's.
        new: the new response's.
        rules: those for the request.
        skip: names in lower case that are compared elsewhere.
        bases: the URLs that a `Location` is relative to, on each side.
        family: the first part of the kinds, "header" or "trailer".
    """
    before, after = values_by_name(old, rules), values_by_name(new, rules)
    found: list[Difference] = []
    for name in dict.fromkeys((*before, *after)):
        if name in skip:
            continue
        title = (before.get(name) or after[name])[0][0]
        olds = [value for _, value in before.get(name, ())]
        news = [value for _, value in after.get(name, ())]
        found += _of_one_name(name, title, olds, news, rules, bases, family)
    if rules.headers_exact:
        found += _spelling(before, after, old, new, rules, family)
    return found


def _of_one_name(
    name: str, title: str, olds: list[str], news: list[str], rules: Rules, bases: tuple[str, str], family: str
) -> list[Difference]:
    if not news:
        return [Difference(f"{family}/missing", title, _shown(olds), ABSENT)]
    if not olds:
        return [Difference(f"{family}/extra", title, ABSENT, _shown(news))]
    try:
        cleaned = tuple([rules.clean_header(name, value) for value in side] for side in (olds, news))
    except RuleFailed as failed:
        return [Difference("rule/failed", title, _shown(olds), _shown(news), str(failed))]
    # The same relative reference leads elsewhere from another place.
    if cleaned[0] == cleaned[1] and not (name == "location" and bases[0] != bases[1]):
        return []
    if name == "content-type" and len(olds) == len(news) == 1:
        found = _of_content_type(cleaned[0][0], cleaned[1][0], title)
        if found or not rules.headers_exact:
            return found
    elif name == "location" and len(olds) == len(news) == 1:
        return _of_redirect(cleaned[0][0], cleaned[1][0], title, rules, bases)
    elif not rules.headers_exact and _means_the_same(name, cleaned[0], cleaned[1], rules):
        return []
    if len(olds) != len(news):
        detail = f"{len(olds)} times became {len(news)} times"
        return [Difference(f"{family}/repeated", title, _shown(olds), _shown(news), detail)]
    return [Difference(f"{family}/value", title, _shown(olds), _shown(news))]


def _shown(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _of_redirect(old: str, new: str, title: str, rules: Rules, bases: tuple[str, str]) -> list[Difference]:
    targets = resolved(old, bases[0]), resolved(new, bases[1])
    # One whole URL on both sides is one place, though it may be only one side's own.
    if targets[0] == targets[1] or (old == new and _WHOLE_URL.match(old)):
        return [] if old == new or not rules.headers_exact else [Difference("redirect", title, old, new)]
    detail = "" if old != new else f"{targets[0]} and {targets[1]}"
    return [Difference("redirect", title, old, new, detail)]


def _of_content_type(old: str, new: str, title: str) -> list[Difference]:
    before, after = content_type(old), content_type(new)
    found: list[Difference] = []
    if before.media_type != after.media_type:
        found.append(Difference("content-type", title, before.media_type, after.media_type))
    if before.charset != after.charset:
        given = [each.parameters.get("charset", ABSENT) for each in (before, after)]
        found.append(Difference.of("charset", title, given))
    for name in dict.fromkeys((*before.parameters, *after.parameters)):
        # A multipart boundary is made up for each response; the parts are compared.
        if name == "charset" or (name == "boundary" and before.media_type.startswith("multipart/")):
            continue
        was, now = before.parameters.get(name, ABSENT), after.parameters.get(name, ABSENT)
        if was != now:
            found.append(Difference("header/value", f"{title}; {name}", was, now))
    return found


def _means_the_same(name: str, olds: list[str], news: list[str], rules: Rules) -> bool:
    if name in _SETS:
        fold: Callable[[str], str] = str.lower if _SETS[name] else str
        return _members(olds, fold) == _members(news, fold)
    if name == "expires" and len(olds) == len(news) == 1:
        return dates_are_close(olds[0], news[0], rules)
    return False


def _members(values: list[str], fold: Callable[[str], str]) -> set[str]:
    return {fold(member.strip()) for value in values for member in _MEMBER.findall(value) if member.strip()}


def dates_are_close(old: str, new: str, rules: Rules) -> bool:
    """Whether two dates are within the seconds that the rules allow for the clock."""
    before, after = http_date(old), http_date(new)
    if before is None or after is None:
        return old == new
    return abs((after - before).total_seconds()) <= rules.clock


def _spelling(
    before: dict[str, list[tuple[str, str]]],
    after: dict[str, list[tuple[str, str]]],
    old: Headers,
    new: Headers,
    rules: Rules,
    family: str,
) -> list[Difference]:
    """With `exact_headers()`: the case of names and the order of those that both have."""
    found: list[Difference] = []
    common = before.keys() & after.keys()
    for name in before:
        if name in common:
            olds, news = ([key for key, _ in side[name]] for side in (before, after))
            if olds != news and len(olds) == len(news):
                found.append(Difference(f"{family}/case", olds[0], _shown(olds), _shown(news)))
    orders = [[name.lower() for name, _ in side if name.lower() in common] for side in (old, new)]
    if orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]):
        shown = [", ".join(name for name, _ in side if name.lower() in common) for side in (old, new)]
        found.append(Difference.of(f"{family}/order", "headers", shown))
    return found
