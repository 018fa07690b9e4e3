"""Which recorded requests came from the same browser: told by the cookies that they bring and get.

Cookies are redacted, but equal ones have equal marks, so that a `Cookie` of one request is recognised as
the `Set-Cookie` of a response before. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..exchange import Headers
from .recordings import Recorded


def sessions_of(items: Iterable[Recorded]) -> list[int]:
    """For each exchange the number of its browser, from 0.

    Where no request has a cookie, all come from one browser: whoever recorded them has left cookies out.
    """
    items = list(items)
    brought = [_brought(item.request.headers) for item in items]
    if not any(brought):
        return [0] * len(items)
    owners: dict[tuple[str, str], int] = {}
    numbers = []
    count = 0
    for item, cookies in zip(items, brought, strict=True):
        known = [owners[cookie] for cookie in cookies if cookie in owners]
        if known:
            # The cookie that was set last says most.
            number = max(known)
        else:
            number, count = count, count + 1
        numbers.append(number)
        for cookie in (*cookies, *_given(item.response.headers)):
            owners[cookie] = number
    return numbers


def _brought(headers: Headers) -> list[tuple[str, str]]:
    """The cookies of a request, as name and value."""
    return [
        _pair(part)
        for name, value in headers
        if name.lower() == "cookie"
        for part in value.split(";")
        if part.strip()
    ]


def _given(headers: Headers) -> list[tuple[str, str]]:
    """The cookies that a response sets."""
    return [_pair(value.partition(";")[0]) for name, value in headers if name.lower() == "set-cookie"]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip().strip('"')
