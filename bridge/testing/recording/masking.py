"""Recorded responses beside live ones: what was redacted or cut off is no difference, and is learned.

A recorded value with a mark in it matches any live value in the same place. Where the two match, the
live value is replaced by the recorded one, so that a comparison finds them equal; and what stood for
the mark is remembered, so that later requests can send it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from ..exchange import Headers, Response
from . import codings
from .marks import MARK
from .recordings import BodyState, RecordedError

# Depend on the body byte for byte, so that they say nothing where it was redacted or cut off.
_OF_THE_BODY = frozenset({"etag", "content-md5", "digest", "content-digest", "repr-digest"})
# If one of these follows a mark, it ends the value: a live value that holds it is two.
_ENDS_VALUE = frozenset("\"'<>&;\n")
_MARK = b"[redacted:"
# What `Recorder` calls an app's failure to complete its response; clients call it otherwise.
_INCOMPLETE = "IncompleteResponse"


def recorded_side(old: Response, state: BodyState) -> Response:
    """A recorded response without what cannot be compared; `state` is what was kept of its body."""
    return replace(
        old,
        headers=_without_length(old.headers) if _partial(old, state) else old.headers,
        history=tuple(recorded_side(each, "whole") for each in old.history),
    )


def live_side(old: Response, new: Response, state: BodyState, learned: MutableMapping[str, str]) -> Response:
    """A live response with the recorded values where it matches them.

    Args:
        old: the recorded one, as it was loaded.
        new: the live one.
        state: what was kept of the recorded body.
        learned: is given what the marks stand for.
    """
    hops = [
        live_side(one, other, "whole", learned) for one, other in zip(old.history, new.history, strict=False)
    ]
    headers = _headers(old.headers, new.headers, learned)
    chunks = new.chunks
    if _partial(old, state):
        headers = _without_length(_of_the_body(old.headers, headers))
        body = _body(old, new, state, learned)
        chunks = (body,) if body else ()
    return replace(
        new,
        headers=headers,
        chunks=chunks,
        trailers=_headers(old.trailers, new.trailers, learned),
        error=_error(old.error, new.error, learned),
        history=(*hops, *new.history[len(hops) :]),
    )


def _partial(old: Response, state: BodyState) -> bool:
    """Whether the recorded body is not the one that was sent."""
    if state != "whole":
        return True
    body = _decoded(old.body, codings.codings_of(old.headers))
    return _MARK in (old.body if body is None else body)


def text_matches(old: str, new: str, learned: MutableMapping[str, str], *, beginning: bool = False) -> bool:
    """Whether a live text is a recorded one with something in the place of each mark.

    With `beginning`, the recorded text may be the beginning of the live one.
    """
    between = MARK.split(old)
    marks = MARK.findall(old)
    if not new.startswith(between[0]):
        return False
    position = len(between[0])
    found = []
    for index, mark in enumerate(marks):
        following = between[index + 1]
        if index == len(marks) - 1 and not beginning:
            end = len(new) - len(following) if new.endswith(following) else -1
        elif not following:
            # Two marks side by side, or one at the end of what was cut: all there is, or nothing to tell.
            end = len(new) if index == len(marks) - 1 else position
        else:
            end = new.find(following, position)
        if end < position or (following[:1] in _ENDS_VALUE and following[:1] in new[position:end]):
            return False
        found.append((mark, new[position:end]))
        position = end + len(following)
    if not beginning and position != len(new):
        return False
    learned.update((mark, value) for mark, value in found if value)
    return True


def filled_in(text: str, learned: Mapping[str, str]) -> tuple[str, bool]:
    """A text with what is known in the place of marks, and whether all of them are known."""
    unknown = [mark for mark in MARK.findall(text) if mark not in learned]
    return MARK.sub(lambda match: learned.get(match[0], match[0]), text), not unknown


def _headers(old: Headers, new: Headers, learned: MutableMapping[str, str]) -> Headers:
    """The live headers, with the recorded value where it matches."""
    waiting: dict[str, list[str]] = {}
    for name, value in old:
        if MARK.search(value):
            waiting.setdefault(name.lower(), []).append(value)
    out = []
    for name, value in new:
        candidates = waiting.get(name.lower(), [])
        # Of a cookie, name and value alone: its attributes are compared whatever the value is.
        rest = "".join(value.partition(";")[1:]) if name.lower() == "set-cookie" else ""
        for candidate in candidates:
            wanted = candidate.partition(";")[0] if name.lower() == "set-cookie" else candidate
            if text_matches(wanted, value.removesuffix(rest), learned):
                candidates.remove(candidate)
                value = wanted + rest
                break
        out.append((name, value))
    return tuple(out)


def _without_length(headers: Headers) -> Headers:
    return tuple(pair for pair in headers if pair[0].lower() != "content-length")


def _of_the_body(old: Headers, new: Headers) -> Headers:
    """The live headers, with the recorded values of those that depend on the body byte for byte."""
    recorded = {name.lower(): value for name, value in old if name.lower() in _OF_THE_BODY}
    return tuple((name, recorded.get(name.lower(), value)) for name, value in new)


def _error(
    old: BaseException | None, new: BaseException | None, learned: MutableMapping[str, str]
) -> BaseException | None:
    """The live error, in the form of a recorded one if it is of the same kind."""
    if new is None or not isinstance(old, RecordedError):
        return new
    if old.kind == _INCOMPLETE:
        return old
    if type(new).__name__ != old.kind:
        return new
    message = str(new)
    return old if text_matches(old.args[0], message, learned) else RecordedError(old.kind, message)


def _body(old: Response, new: Response, state: BodyState, learned: MutableMapping[str, str]) -> bytes:
    """What the live body is to be compared as, beside a recorded one that is not what was sent."""
    if state == "dropped":
        # All that is known is that there was one.
        return b""
    coded_old, coded_new = codings.codings_of(old.headers), codings.codings_of(new.headers)
    before, after = _decoded(old.body, coded_old), _decoded(new.body, coded_new)
    if before is None or after is None:
        before, after, coded_new = old.body, new.body, ()
    old_text, new_text = _text(before), _text(after)
    if state != "whole":
        matches = text_matches(old_text, new_text, learned, beginning=True)
        # A difference is shown as far as the recording goes. Both in one coding: headers tell of others.
        return codings.encode(before if matches else after[: len(before)], coded_new)
    # Of JSON each value on its own: in the text, what stands for a mark could reach into the next value.
    masked = _json_masked(old_text, new_text, learned)
    if masked is None and text_matches(old_text, new_text, learned):
        masked = old_text
    if masked is None:
        return new.body
    return codings.encode(masked.encode("utf-8", "surrogateescape"), coded_new)


def _decoded(body: bytes, coded: tuple[str, ...]) -> bytes | None:
    try:
        return codings.decode(body, coded)[0]
    except codings.CannotDecode:
        return None


def _text(body: bytes) -> str:
    """Any bytes as text, a character at least for each byte that is no UTF-8."""
    return body.decode("utf-8", "surrogateescape")


def _json_masked(old: str, new: str, learned: MutableMapping[str, str]) -> str | None:
    """The live text with recorded values where marks are; `None` if one of the two is no JSON."""
    try:
        recorded, live = json.loads(old), json.loads(new)
    except (ValueError, RecursionError):
        return None
    masked = _masked(recorded, live, learned)
    # Text and structure are both the same then, for whatever compares them.
    return old if json.dumps(masked) == json.dumps(recorded) else json.dumps(masked)


def _masked(old: Any, new: Any, learned: MutableMapping[str, str]) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _masked(old[key], value, learned) if key in old else value for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        paired = [_masked(one, other, learned) for one, other in zip(old, new, strict=False)]
        return [*paired, *new[len(paired) :]]
    if isinstance(old, str) and MARK.search(old) and new is not None:
        # Of what is no text only the presence counts.
        shown = new if isinstance(new, str) else json.dumps(new)
        if text_matches(old, shown, learned):
            return old
    return new
