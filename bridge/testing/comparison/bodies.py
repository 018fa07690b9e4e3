"""Bodies compared as what they are: JSON, HTML, XML, forms, multipart, text, or plain bytes.

A body is compared with its content coding undone and its charset decoded, so that another level of
compression or another charset is no difference of the body; the headers show it. Pure.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from ...exceptions import UsageError
from ..exchange import Response
from .headers import ContentType, charset_name, content_type, header_differences
from .html_bodies import html_differences
from .json_bodies import Unreadable, json_differences, parse_json, parse_json_lines
from .result import ABSENT, Difference
from .rules import RuleFailed, Rules
from .text_bodies import binary_differences, form_differences, text_differences
from .xml_bodies import xml_differences

_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_TEXTUAL = frozenset(
    {
        "application/ecmascript",
        "application/graphql",
        "application/http",
        "application/javascript",
        "application/sql",
        "application/toml",
        "application/x-javascript",
        "application/x-sh",
        "application/yaml",
        "application/x-yaml",
    }
)
_JSON_LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/x-jsonlines"})
# Control characters that no text has: what holds one is binary, whatever else it could be.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# What says the charset in the document itself, and how far from its start it may stand (HTML
# section 13.2.3.2, XML section 4.3.3).
_DECLARATIONS = {
    "html": re.compile(rb"""<meta[^>]+charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE),
    "xml": re.compile(rb"""\A\s*<\?xml[^>]+encoding\s*=\s*["']([\w.:-]+)"""),
}
_HEAD = 1024
# Parts within parts deeper than this are compared as bytes.
_DEEPEST_PARTS = 5


@dataclass(frozen=True)
class Payload:
    """A body to be compared: its bytes without content coding, and what it says it is."""

    body: bytes
    kind: ContentType


def body_differences(old: Response, new: Response, rules: Rules) -> list[Difference]:
    """What differs between the bodies of two responses; the chunks that they came in mean nothing."""
    if old.body == new.body and _says(old) == _says(new):
        return []
    if rules.body_exact:
        return _presence(old.body, new.body) or binary_differences(old.body, new.body)
    found: list[Difference] = []
    payloads = []
    for response in (old, new):
        body, broken = undone(response)
        payloads.append(Payload(body, content_type(response.header("content-type"))))
        if broken:
            detail = f"the {'old' if response is old else 'new'} side: {broken}"
            codings = [each.header("content-encoding") or ABSENT for each in (old, new)]
            found.append(Difference.of("body/encoding", "Content-Encoding", codings, detail))
    if len(found) == 2:  # broken on both sides
        return _presence(old.body, new.body) or binary_differences(old.body, new.body)
    if found:
        return found
    try:
        return _compared(old, payloads[0], payloads[1], rules)
    except RuleFailed as failed:
        return [Difference("rule/failed", "body", old.body, new.body, str(failed))]


def _says(response: Response) -> tuple[str | None, str | None]:
    return response.header("content-type"), response.header("content-encoding")


def undone(response: Response) -> tuple[bytes, str]:
    """A body without its content coding (RFC 9110 section 8.4), and why that failed, if it did.

    gzip and deflate are undone. A body with another coding is given as it is.
    """
    codings = [
        each.strip().lower() for value in response.all("content-encoding") for each in value.split(",")
    ]
    body = response.body
    for coding in reversed([each for each in codings if each not in ("", "identity")]):
        if not body:
            break
        try:
            if coding in ("gzip", "x-gzip"):
                body = gzip.decompress(body)
            elif coding == "deflate":
                # RFC 9110 section 8.4.1.2: with zlib's wrapper; some senders leave it out.
                raw = (body[0] & 0x0F) != 8 or int.from_bytes(body[:2], "big") % 31
                body = zlib.decompress(body, -zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
            else:
                break
        except (OSError, EOFError, zlib.error) as exc:
            return response.body, f"the body is no {coding}: {exc}"
    return body, ""


def _presence(old: bytes, new: bytes) -> list[Difference]:
    """One of the two has a body and the other has none."""
    if old and not new:
        return [Difference("body/missing", "body", old, ABSENT, f"{len(old)} bytes became none")]
    if new and not old:
        return [Difference("body/extra", "body", ABSENT, new, f"none became {len(new)} bytes")]
    return []


def _compared(response: Response, old: Payload, new: Payload, rules: Rules) -> list[Difference]:
    comparer = rules.comparer_for(response, old.kind.media_type)
    if comparer is not None:
        return _custom(comparer(old.body, new.body))
    before = Payload(rules.clean_body(old.body), old.kind)
    after = Payload(rules.clean_body(new.body), new.kind)
    return _presence(before.body, after.body) or payload_differences(before, after, rules)


def _custom(said: object) -> list[Difference]:
    if said is None:
        return []
    if isinstance(said, str):
        return [Difference("body/custom", "body", detail=said)]
    given = list(said) if isinstance(said, Iterable) else [said]
    found = [each for each in given if isinstance(each, Difference)]
    if len(found) != len(given):
        raise UsageError(
            "a comparer gives None if the bodies are alike, else a text or Differences that say what is not; "
            f"got {said!r}"
        )
    return found


def payload_differences(old: Payload, new: Payload, rules: Rules, depth: int = 0) -> list[Difference]:
    """What differs between two bodies that both have something in them.

    Raises:
        RuleFailed: a function of a rule raised.
    """
    sorts = sort_of(old), sort_of(new)
    sort = sorts[0] if sorts[0] == sorts[1] else "mixed"
    if sort == "multipart" and depth < _DEEPEST_PARTS:
        return _multipart(old, new, rules, depth)
    if sort in ("binary", "multipart") or "binary" in sorts:
        return binary_differences(old.body, new.body)
    (before, marked), (after, also_marked) = decoded(old), decoded(new)
    found = []
    if marked != also_marked:
        found.append(Difference("body/bom", "body", marked, also_marked, "a byte order mark"))
    return found + _of_text(sort, before, after, rules)


def _of_text(sort: str, old: str, new: str, rules: Rules) -> list[Difference]:
    try:
        if sort in ("json", "json lines"):
            return _json(old, new, rules, lines=sort == "json lines")
        if sort == "html":
            return html_differences(old, new, rules)
        if sort == "xml":
            return xml_differences(old, new, rules)
        if sort == "form":
            return form_differences(old, new, rules)
    except RecursionError:
        pass  # nested deeper than Python can walk; the texts can still be compared
    return text_differences(old, new, rules)


def _json(old: str, new: str, rules: Rules, *, lines: bool) -> list[Difference]:
    read = parse_json_lines if lines else parse_json
    values, reasons = [], []
    for text in (old, new):
        try:
            values.append(read(text))
        except Unreadable as exc:
            reasons.append(f"{'old' if text is old else 'new'} side: {exc}")
    if len(reasons) == 2 or (old is new and reasons):
        return text_differences(old, new, rules)
    if reasons:
        return [Difference("json/invalid", "$", old, new, reasons[0])]
    return json_differences(values[0], values[1], rules)


def sort_of(payload: Payload) -> str:
    """How a body is compared: by its media type, or by how it looks if it has none."""
    kind = payload.kind.media_type
    if kind in ("application/json", "text/json") or kind.endswith("+json"):
        return "json"
    if kind in _JSON_LINES:
        return "json lines"
    if kind == "text/html":
        return "html"
    if kind in ("application/xml", "text/xml") or kind.endswith("+xml"):
        return "xml"
    if kind == "application/x-www-form-urlencoded":
        return "form"
    if kind.startswith("multipart/") and payload.kind.parameters.get("boundary"):
        return "multipart"
    if kind.startswith("text/") or kind in _TEXTUAL:
        return "text"
    if kind:
        return "binary"
    return "binary" if _BINARY.search(payload.body) or not _is_utf8(payload.body) else "text"


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def decoded(payload: Payload) -> tuple[str, bool]:
    """A body as text, and whether a byte order mark began it.

    By the mark, else by the charset that its type names, else by the one that HTML or XML declares in
    itself, else UTF-8. What cannot be decoded is kept
    apart, so that different bytes never become the same text.
    """
    for mark, charset in _BOMS:
        if payload.body.startswith(mark):
            return _decoded(payload.body[len(mark) :], charset), True
    charset = payload.kind.charset
    if not charset and (declares := _DECLARATIONS.get(sort_of(payload))):
        found = declares.search(payload.body, 0, _HEAD)
        charset = charset_name(found[1].decode("ascii")) if found else ""
    return _decoded(payload.body, charset or "utf-8"), False


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset)
    except (LookupError, ValueError):
        return body.decode("utf-8", "surrogateescape") if charset == "utf-8" else body.decode("latin-1")


def _multipart(old: Payload, new: Payload, rules: Rules, depth: int) -> list[Difference]:
    before, after = parts_of(old), parts_of(new)
    if before is None or after is None:
        return binary_differences(old.body, new.body)
    if len(before) != len(after):
        return [Difference("part/count", "body", len(before), len(after))]
    found = []
    for number, (one, other) in enumerate(zip(before, after, strict=True), 1):
        inner = header_differences(one.headers, other.headers, rules, family="header")
        payloads = [Payload(each.body, content_type(each.header("content-type"))) for each in (one, other)]
        if payloads[0].body != payloads[1].body:
            inner += _presence(one.body, other.body) or payload_differences(
                payloads[0], payloads[1], rules, depth + 1
            )
        found += [each.within(f"part {number}") for each in inner]
    return found


def parts_of(payload: Payload) -> list[Response] | None:
    """The parts of a multipart body (RFC 2046 section 5.1), as responses; `None` if it is none."""
    line = b"--" + payload.kind.parameters["boundary"].encode("latin-1", "replace")
    pieces = re.split(rb"(?:\A|\r?\n)" + re.escape(line) + rb"(--)?[ \t]*(?:\r?\n|\Z)", payload.body)
    # Preamble, then for each boundary whether it is the last and what follows it.
    if len(pieces) < 5 or pieces[-2] != b"--":
        return None
    parts = []
    for piece in pieces[2:-2:2]:
        # A part without headers begins with the empty line.
        head, *rest = re.split(rb"\r?\n\r?\n", b"\r\n" + piece, maxsplit=1)
        body = rest[0] if rest else b""
        headers = []
        for each in head.decode("latin-1").splitlines():
            name, colon, value = each.partition(":")
            if colon:
                headers.append((name.strip(), value.strip()))
        parts.append(Response(200, headers=tuple(headers), chunks=(body,)))
    return parts
