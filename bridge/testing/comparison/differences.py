"""The differences between two responses, by what they mean to a client. Pure.

What is no difference, unless the rules say so: see `headers` for headers, `bodies` for bodies. The
chunks that a body comes in mean nothing; that a body is not whole does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

from ..exchange import Request, Response
from .bodies import body_differences
from .cookies import cookie_differences
from .headers import header_differences, http_date
from .json_bodies import json_differences
from .result import ABSENT, Difference
from .rules import RuleFailed, Rules

# What an in-process client calls the host.
DEFAULT_BASE = "http://testserver"
# Without a body by definition (RFC 9110 section 6.4.1); 1xx are none of an app's responses.
_BODILESS = frozenset({204, 304})
# A name -> compared apart from the other headers.
_APART = frozenset({"set-cookie", "content-length"})


def differences(
    old: Response,
    new: Response,
    rules: Rules | None = None,
    *,
    request: Request | None = None,
    bases: tuple[str, str] = (DEFAULT_BASE, DEFAULT_BASE),
) -> list[Difference]:
    """What differs between two responses to one request; empty if they are alike.

    Args:
        old: the old side's.
        new: the new side's.
        rules: what is forgiven; `None`: `Rules.default()`.
        request: what both answered: for its method, which decides on the body, and its target, which
            redirects are relative to.
        bases: the URL of each side's root, such as "http://127.0.0.1:8000": a redirect to
            one's own host is the same on both sides.
    """
    rules = (Rules.default() if rules is None else rules).of_request(request)
    found = _of_errors(old, new, rules)
    if not (old.status and new.status):
        return found
    urls = _url(bases[0], request), _url(bases[1], request)
    return found + _of_responses(old, new, rules, request, urls)


def _of_responses(
    old: Response, new: Response, rules: Rules, request: Request | None, urls: tuple[str, str]
) -> list[Difference]:
    found: list[Difference] = []
    if len(old.history) != len(new.history):
        shown = [[_hop(each) for each in side.history] for side in (old, new)]
        found.append(Difference.of("redirect/count", "redirects", shown))
    for number, (one, other) in enumerate(zip(old.history, new.history, strict=False), 1):
        inner = _of_one(one, other, rules, request, urls)
        found += [each.within(f"redirect {number}") for each in inner]
        urls = (
            urljoin(urls[0], one.header("location") or ""),
            urljoin(urls[1], other.header("location") or ""),
        )
    return found + _of_one(old, new, rules, request, urls)


def _of_one(
    old: Response, new: Response, rules: Rules, request: Request | None, urls: tuple[str, str]
) -> list[Difference]:
    found: list[Difference] = []
    if old.status != new.status:
        found.append(Difference("status", "status", old.status, new.status))
    if rules.reason_exact and old.reason != new.reason:
        found.append(Difference("reason", "reason", old.reason, new.reason))
    found += header_differences(old.headers, new.headers, rules, skip=_APART, bases=urls)
    found += _of_length(old, new, rules, request)
    moments = [http_date(each.header("date") or "") for each in (old, new)]
    cookies = [each.all("set-cookie") for each in (old, new)]
    found += cookie_differences(cookies[0], cookies[1], rules, (moments[0], moments[1]))
    # Half a body says nothing about the other half; that it broke off is reported already.
    if old.complete == new.complete:
        found += body_differences(old, new, rules)
    found += header_differences(old.trailers, new.trailers, rules, family="trailer")
    return found


def _of_errors(old: Response, new: Response, rules: Rules) -> list[Difference]:
    """Who raised, who broke off, and with what."""
    if old.error is None and new.error is None:
        if bool(old.status) == bool(new.status):
            return []
        return [Difference.of("error/raised", "response", [each.status or ABSENT for each in (old, new)])]
    shown = [_ending(each) for each in (old, new)]
    if old.error is None or new.error is None:
        broken = old if new.error is None else new
        if broken.status:
            return [Difference.of("incomplete", "body", shown)]
        return [Difference.of("error/raised" if broken is new else "error/not-raised", "exception", shown)]
    if bool(old.status) != bool(new.status):
        return [
            Difference.of("incomplete", "body", shown, "one side had begun its response, the other had not")
        ]
    types = [f"{type(each).__module__}.{type(each).__qualname__}" for each in (old.error, new.error)]
    if types[0] != types[1]:
        return [Difference.of("error/type", "exception", shown)]
    try:
        messages = [rules.clean(str(each)) for each in (old.error, new.error)]
    except RuleFailed as failed:
        return [Difference.of("rule/failed", "exception", shown, str(failed))]
    if messages[0] != messages[1]:
        return [Difference.of("error/message", "exception", shown)]
    return []


def _ending(response: Response) -> str:
    """How a response ended, in words."""
    if response.error is None:
        return f"{response.status}, complete with {len(response.body)} bytes"
    raised = f"{type(response.error).__name__}: {response.error}".removesuffix(": ")
    return f"{response.status}, then {raised} after {len(response.body)} bytes" if response.status else raised


def _of_length(old: Response, new: Response, rules: Rules, request: Request | None) -> list[Difference]:
    """`Content-Length` as metadata where there is no body; else whether it is true."""
    if rules.ignores_header("Content-Length"):
        return []
    head = request is not None and request.method == "HEAD"
    sides = (old, new)
    if rules.headers_exact or head or old.status in _BODILESS or new.status in _BODILESS:
        lengths = [
            tuple(pair for pair in each.headers if pair[0].lower() == "content-length") for each in sides
        ]
        # The case of its name was compared with that of all others.
        return header_differences(lengths[0], lengths[1], replace(rules, headers_exact=False))
    false = [not _is_true(each) for each in sides]
    if false[0] == false[1]:
        return []
    shown = [f"{each.header('content-length')}, body of {len(each.body)} bytes" for each in sides]
    return [Difference.of("body/length", "Content-Length", shown)]


def _is_true(response: Response) -> bool:
    if not response.complete:
        return True  # reported as such
    return all(value.strip() == str(len(response.body)) for value in response.all("content-length"))


def _hop(response: Response) -> str:
    return f"{response.status} {response.header('location') or ''}".strip()


def _url(base: str, request: Request | None) -> str:
    """The URL that was asked for. Not by `urljoin`, which takes a target such as "//a" for a host."""
    target = request.target if request and request.target != "*" else "/"
    host = request.header("host") if request else None
    return (f"{base.partition('://')[0]}://{host}" if host else base.rstrip("/")) + target


def effect_differences(old: Any, new: Any, rules: Rules) -> list[Difference]:
    """What differs between what a hook read on both sides, compared like JSON."""
    return json_differences(old, new, rules, family="effects")
