"""replay(): recorded requests sent again, and the answers compared with the recorded ones.

    replay("recording.jsonl", new_app).assert_same()

What was redacted is put back where the replay can know it: the value that the app now gives in the
place of a mark (a token in a JSON answer, the hidden field of a form) is sent wherever later requests
have that mark. Cookies are not taken from the recording at all: each browser that the recording shows
has a cookie jar of its own, which keeps what the app sets. Passwords, and tokens that the recording
does not show being given, are known to the user alone: `prepare` and `client_options` are for those.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias, cast
from urllib.parse import quote, quote_plus, urljoin, urlsplit

from ...exceptions import UsageError
from ..comparison.compare import Progress, compare
from ..comparison.result import Comparison
from ..comparison.rules import Rules
from ..exchange import Headers, Request, Response
from ..ways import Via
from . import codings
from .marks import MARK
from .masking import filled_in, live_side, recorded_side
from .recordings import Recorded, load
from .sessions import sessions_of

logger = logging.getLogger("bridge.testing")

Only: TypeAlias = "str | re.Pattern[str] | Callable[[Recorded], bool]"
"""Which exchanges to replay: a pattern searched for in `"GET /notes?page=2"`, or a function."""

_FORM = "application/x-www-form-urlencoded"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
# Of the connection that was, or made anew from the body and the cookie jar.
_NOT_SENT = frozenset(
    {
        "connection",
        "content-length",
        "cookie",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def replay(
    recording: str | os.PathLike[str] | Iterable[Recorded],
    app: Any,
    *,
    rules: Rules | None = None,
    via: Via = "native",
    only: Only | None = None,
    reset: Callable[[Any], object] | None = None,
    prepare: Callable[[Request], Request] | None = None,
    follow_redirects: bool = False,
    client_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Send the requests of a recording to an app, and compare its answers with the recorded ones.

    Runs in the calling thread; requests are sent one at a time, in the order in which they came: that of
    `started`, if all exchanges of a file have it, else that of the recording. Where
    a value was redacted, any value but none will do; where a body was cut off, its beginning
    is compared; a body that was dropped is not compared. Requests whose own bodies were not kept
    are left out, which a warning in the logger `bridge.testing` and `Comparison.stopped` tell.

    Args:
        recording: a file (see `recordings.load`), or exchanges.
        app: an app of either interface, or a client (anything with `.exchange()`).
        rules: what is forgiven, as for `compare`.
        via: the way to the app.
        only: which exchanges; by default all. Sessions are made of all of them nevertheless.
        reset: called with `app` before each request.
        prepare: called with each request as it would be sent; gives the one that is. Marks that it
            still holds are unknown.
        follow_redirects: follow redirects where the recording shows that the browser did, and compare
            the whole way; the requests that were followed to are not sent again.
        client_options: of `Client`. The default of `base_url` is the origin of the first exchange;
            `cookies` are given to each browser at its start.
        progress: called after each request, as by `compare`.

    Raises:
        InvalidRecording: the file is no recording.
        UsageError: there is nothing to send, or an argument is not usable.
        StartupFailed: the app's lifespan did not start.
        Exception: what `reset`, `prepare`, `only` or `progress` raised.
    """
    if isinstance(recording, (str, os.PathLike)):
        items = _as_they_came(load(recording))
        where = os.fspath(recording)
    else:
        items, where = list(recording), "the recording"
    wanted = _wanted(only)
    steps = _steps(items, follow_redirects)
    chosen = [step for step in steps if wanted(step.item)]
    sent = [step for step in chosen if _sendable(step.item)]
    if not sent:
        raise UsageError(
            f"there is nothing to replay in {where}: it holds {len(items)} exchanges, of which {len(chosen)} "
            f"were chosen, and {len(chosen) - len(sent)} of these have request bodies that were not kept"
        )
    left_out = ""
    if len(sent) < len(chosen):
        left_out = (
            f"{len(chosen) - len(sent)} of {len(chosen)} requests were left out: their bodies were not kept"
        )
        logger.warning("%s: %s", where, left_out)
    origin = next((item.origin for item in items if item.origin), "")
    options = dict(client_options or {})
    if origin:
        options.setdefault("base_url", origin)
    given_client = hasattr(app, "exchange")
    if given_client and (client_options or via != "native"):
        raise UsageError("a client has its own way and options; via and client_options are for apps")
    client: Any = app
    if not given_client:
        from ..client import Client  # on use: a client of the user's own needs no HTTP library

        client = Client(app, via=via, **options)
    try:
        if not given_client:
            client.start()
        comparison = compare(
            _Recording(str(options.get("base_url", origin))),
            _Live(client, prepare, lambda: reset(app) if reset is not None else None),
            sent,
            rules=rules,
            progress=progress,
            names=("recorded", "new"),
        )
    finally:
        if not given_client:
            client.close()
    return replace(comparison, stopped=left_out) if left_out and not comparison.stopped else comparison


@dataclass(frozen=True)
class _Step(Request):
    """A recorded request on its way through a comparison, which hands it to both sides as it is."""

    item: Recorded = field(default=cast(Recorded, None), compare=False, repr=False)
    answer: Response = field(default=Response(0), compare=False, repr=False)
    session: int = 0
    follow: bool = False


class _Recording:
    """The old side: it answers with what was recorded."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def exchange(self, request: Any, *, follow_redirects: bool = False) -> Response:
        step = cast(_Step, request)
        return recorded_side(step.answer, step.item.response_state)


class _Live:
    """The new side: a client, for each browser of the recording with other cookies."""

    def __init__(
        self, client: Any, prepare: Callable[[Request], Request] | None, reset: Callable[[], object]
    ) -> None:
        self.base_url = getattr(client, "base_url", "")
        self._client = client
        self._prepare = prepare
        self._reset = reset
        self._learned: dict[str, str] = {}
        self._jars: dict[int, Any] = {}
        self._initial = _copied(getattr(client, "cookies", None))

    def exchange(self, request: Any, *, follow_redirects: bool = False) -> Response:
        step = cast(_Step, request)
        sent = _filled(step, self._learned)
        if self._prepare is not None:
            sent = self._prepare(sent)
        self._reset()
        if self._initial is not None:
            self._client.cookies = self._jars.get(step.session, self._initial)
        response: Response = self._client.exchange(sent, follow_redirects=step.follow)
        if self._initial is not None:
            self._jars[step.session] = self._client.cookies
        state = step.item.response_state
        return live_side(step.answer, response, state, self._learned)


def _copied(cookies: Any) -> Any:
    """A copy of a client's cookies; `None` if it has none that could be exchanged for others."""
    return None if cookies is None else type(cookies)(cookies)


# -- which requests


def _as_they_came(items: list[Recorded]) -> list[Recorded]:
    """In the order of the requests; a recorder writes each exchange when it has ended."""
    moments = [item.started for item in items]
    if any(moment is None or moment.tzinfo is None for moment in moments):
        return items
    return sorted(items, key=lambda item: cast(datetime, item.started))


def _wanted(only: Only | None) -> Callable[[Recorded], bool]:
    if only is None:
        return lambda item: True
    if isinstance(only, (str, re.Pattern)):
        try:
            pattern = re.compile(only)
        except re.error as error:
            raise UsageError(f"only must be a regular expression or a function; {only!r}: {error}") from None
        return lambda item: pattern.search(f"{item.request.method} {item.request.target}") is not None
    if callable(only):
        return only
    raise UsageError(f"only must be a regular expression or a function; got {only!r}")


def _sendable(item: Recorded) -> bool:
    """Whether the request is known well enough: all of its body, or that the app read none of it."""
    state = item.request_state
    return state == "whole" or (state == "unread" and not item.request.content)


def _steps(items: list[Recorded], follow: bool) -> list[_Step]:
    sessions = sessions_of(items)
    followed: set[int] = set()
    steps = []
    for index, item in enumerate(items):
        if index in followed:
            continue
        hops = _hops(items, sessions, index) if follow else []
        followed.update(hops)
        # The last one answers; the others led to it.
        way = [item, *(items[each] for each in hops)]
        last = way[-1]
        answer = replace(last.response, history=tuple(each.response for each in way[:-1]))
        request = item.request
        steps.append(
            _Step(
                request.method,
                request.target,
                request.headers,
                request.body,
                request.name,
                replace(item, response_state=last.response_state) if hops else item,
                answer if hops else item.response,
                sessions[index],
                bool(hops),
            )
        )
    return steps


def _hops(items: list[Recorded], sessions: list[int], index: int) -> list[int]:
    """Where the redirects of an exchange led, as far as they were recorded whole; empty if not to the end."""
    hops: list[int] = []
    current = index
    while items[current].response.status in _REDIRECTS:
        here = items[current]
        location = here.response.header("location")
        if not location or here.response_state != "whole":
            return []
        target = _target_of(here, location)
        method = _method_after(here)
        following = next(
            (
                each
                for each in range(current + 1, len(items))
                if sessions[each] == sessions[index]
                and (items[each].request.method, items[each].request.target) == (method, target)
            ),
            None,
        )
        if following is None:
            return []
        hops.append(following)
        current = following
    return hops


def _target_of(item: Recorded, location: str) -> str | None:
    """The target that a redirect leads to; `None` if it leads elsewhere."""
    base = item.origin or "http://localhost"
    # Brackets of marks are no brackets of an IPv6 address.
    url = urlsplit(urljoin(base + item.request.target, location))
    if f"{url.scheme}://{url.netloc}" != base:
        return None
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _method_after(item: Recorded) -> str:
    """The method of the request after a redirect (RFC 9110 section 15.4)."""
    method = item.request.method
    return method if item.response.status in _KEEP_METHOD or method == "HEAD" else "GET"


# -- what is sent


def _filled(step: _Step, learned: Mapping[str, str]) -> Request:
    """The request with what is known in the place of its marks."""
    target = _filled_text(step.target, learned, lambda value: quote(value, safe=""))
    return Request(
        step.method, target, _filled_headers(step.headers, learned), _filled_body(step, learned), step.name
    )


def _filled_headers(headers: Headers, learned: Mapping[str, str]) -> Headers:
    """Those that can be sent; what is not known is left to the client's own headers."""
    out = []
    for name, value in headers:
        if name.lower() in _NOT_SENT:
            continue
        filled, known = filled_in(value, learned)
        if known and _fits_header(filled):
            out.append((name, filled))
    return tuple(out)


def _fits_header(value: str) -> bool:
    """Whether a learned value, which may come from a page, can stand in a header."""
    return not any(each in "\r\n\0" or each > "\xff" for each in value)


def _filled_body(step: _Step, learned: Mapping[str, str]) -> bytes | tuple[bytes, ...]:
    coded = codings.codings_of(step.headers)
    try:
        body, _ = codings.decode(step.content, coded)
    except codings.CannotDecode:
        return step.body
    if b"[redacted:" not in body:
        return step.body
    kind = (step.header("content-type") or "").partition(";")[0].strip().lower()
    encode: Callable[[str], str] = str
    if kind == _FORM:
        encode = quote_plus
    elif kind.endswith("json"):
        encode = _json_escaped
    text = _filled_text(body.decode("utf-8", "surrogateescape"), learned, encode)
    return codings.encode(text.encode("utf-8", "surrogateescape"), coded)


def _json_escaped(value: str) -> str:
    return json.dumps(value)[1:-1]


def _filled_text(text: str, learned: Mapping[str, str], encode: Callable[[str], str]) -> str:
    return MARK.sub(lambda match: encode(learned[match[0]]) if match[0] in learned else match[0], text)
