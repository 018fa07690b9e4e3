"""Cookies that responses set, compared by what they make a browser do.

Each `Set-Cookie` line is one cookie, never joined with others (RFC 6265 section 3). Attributes are
compared one by one, in any case and order. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from .headers import dates_are_close, http_date
from .result import ABSENT, Difference
from .rules import RuleFailed, Rules

# Expires before this is meant to delete, whatever the clock says.
_LONG_AGO = datetime(1980, 1, 1, tzinfo=timezone.utc)
# What says when a cookie ends; of no interest where both sides delete it.
_ENDS = frozenset({"max-age", "expires"})


@dataclass(frozen=True)
class Cookie:
    """One `Set-Cookie` line, read as RFC 6265 section 5.2 has it.

    Attributes:
        name: case counts.
        value: as it came, quotes and all.
        attributes: names in lower case; the last one of a name counts; "" without a value.
        titles: the names as they came.
        line: all of it.
    """

    name: str
    value: str
    attributes: dict[str, str]
    titles: dict[str, str]
    line: str

    @classmethod
    def parse(cls, line: str) -> Cookie:
        """The cookie of a line; one without "=" is a value without a name."""
        pair, *rest = line.split(";")
        name, equals, value = pair.partition("=")
        if not equals:
            name, value = "", pair
        attributes: dict[str, str] = {}
        titles: dict[str, str] = {}
        for each in rest:
            key, _, text = each.partition("=")
            key = key.strip()
            if key:
                attributes[key.lower()] = text.strip()
                titles[key.lower()] = key
        return cls(name.strip(), value.strip(), attributes, titles, line)

    def deletes(self, moment: datetime | None) -> bool:
        """Whether a browser forgets the cookie; `moment` is when the response was made, if known."""
        if "max-age" in self.attributes:
            try:
                return int(self.attributes["max-age"]) <= 0
            except ValueError:
                pass  # RFC 6265 section 5.2.2: ignored
        ends = http_date(self.attributes.get("expires", ""))
        return ends is not None and ends <= max(_LONG_AGO, moment or _LONG_AGO)


def cookie_differences(
    old: list[str],
    new: list[str],
    rules: Rules,
    moments: tuple[datetime | None, datetime | None] = (None, None),
) -> list[Difference]:
    """What differs between the cookies of two responses.

    Args:
        old: the values of `Set-Cookie` on the old side, in order.
        new: those on the new side.
        rules: those for the request.
        moments: what `Date` says on each side.
    """
    if rules.ignores_header("Set-Cookie"):
        return []
    try:
        before, after = (_by_name(lines, rules) for lines in (old, new))
    except RuleFailed as failed:
        return [Difference("rule/failed", "Set-Cookie", old, new, str(failed))]
    found: list[Difference] = []
    for name in dict.fromkeys((*before, *after)):
        olds, news = before.get(name, []), after.get(name, [])
        if not news:
            found.append(Difference("cookie/missing", name, _lines(olds), ABSENT))
        elif not olds:
            found.append(Difference("cookie/extra", name, ABSENT, _lines(news)))
        elif len(olds) != len(news):
            detail = f"{len(olds)} times became {len(news)} times"
            found.append(Difference("cookie/repeated", name, _lines(olds), _lines(news), detail))
        else:
            for one, other in zip(olds, news, strict=True):
                found += _of_one(one, other, rules, moments)
    return found


def _by_name(lines: list[str], rules: Rules) -> dict[str, list[Cookie]]:
    found: dict[str, list[Cookie]] = {}
    for line in lines:
        cookie = Cookie.parse(rules.clean_header("Set-Cookie", line))
        if not rules.ignores_cookie(cookie.name):
            found.setdefault(cookie.name, []).append(cookie)
    return found


def _lines(cookies: list[Cookie]) -> str | list[str]:
    return cookies[0].line if len(cookies) == 1 else [each.line for each in cookies]


def _of_one(
    old: Cookie, new: Cookie, rules: Rules, moments: tuple[datetime | None, datetime | None]
) -> list[Difference]:
    if rules.headers_exact:
        return [] if old.line == new.line else [Difference("cookie/value", old.name, old.line, new.line)]
    deleted = old.deletes(moments[0]), new.deletes(moments[1])
    if deleted[0] != deleted[1]:
        detail = f"only the {'old' if deleted[0] else 'new'} side deletes it"
        return [Difference("cookie/deleted", old.name, old.line, new.line, detail)]
    found: list[Difference] = []
    if old.value != new.value and not deleted[0]:
        found.append(Difference("cookie/value", old.name, old.value, new.value))
    for key in dict.fromkeys((*old.attributes, *new.attributes)):
        if rules.ignores_cookie(old.name, key) or (deleted[0] and key in _ENDS):
            continue
        was, now = old.attributes.get(key), new.attributes.get(key)
        if was is None or now is None or not _alike(key, was, now, rules):
            where = f"{old.name}; {old.titles.get(key) or new.titles[key]}"
            sides = [ABSENT if value is None else value or True for value in (was, now)]
            found.append(Difference.of("cookie/attribute", where, sides))
    return found


def _alike(key: str, old: str, new: str, rules: Rules) -> bool:
    if key == "expires":
        return dates_are_close(old, new, rules)
    if key == "samesite":
        return old.lower() == new.lower()
    if key == "domain":
        # RFC 6265 section 5.2.3: a leading dot says nothing.
        return old.lower().removeprefix(".") == new.lower().removeprefix(".")
    return old == new
