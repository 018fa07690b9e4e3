"""Redaction: secrets are taken out of an exchange before anything of it is written.

By default these are marked, each value on its own, so that all around it stays readable:

- values of cookies (`Cookie`, `Set-Cookie`) and credentials (`Authorization`, `Proxy-Authorization`);
- headers, query parameters, fields of forms and of JSON, attributes and elements of HTML and XML
  whose name says that they hold a secret: password, token, secret, api_key, csrf, session id and
  the like, in any case, spelling and escaping (`names`);
- user and password in URLs, bearer tokens and keys that are known by their looks, wherever they stand;
- every value found in one of these ways, wherever else in the same exchange it stands.

Compressed bodies (gzip, deflate) are searched decoded. What cannot be searched is dropped: other
content codings, damaged ones, and binary bodies that are no image, audio, video or font.

What no program can know is a secret without a telling name or look, such as a token in a path, a name
or an address in a text. `fields`, `headers` and `patterns` are for those.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from ...exceptions import UsageError
from ..exchange import Headers, Request, Response
from . import codings, csv_text, multipart
from .marks import Marker
from .names import Names
from .recordings import BodyState, Recorded, RecordedError
from .scanning import Scanner, worth_knowing

_SHORTEST_KEY = 16
_CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
# The attributes of a cookie, whose values are no secrets (RFC 6265 section 5.2, and its successor).
_COOKIE_ATTRIBUTES = frozenset(
    {"expires", "max-age", "domain", "path", "secure", "httponly", "samesite", "priority", "partitioned"}
)
# Fields of framing and negotiation: no secret is in them, and their looks matter.
_PLAIN_HEADERS = frozenset(
    {"content-length", "content-encoding", "transfer-encoding", "date", "content-type"}
)
_MEDIA = ("image/", "audio/", "video/", "font/")
_FORM = "application/x-www-form-urlencoded"
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_UNSENDABLE = re.compile("[^\t\x20-\x7e\x80-\xff]")
# A secret that the cut has shortened to less than this tells nothing.
_SHORTEST_REST = 3
# How long a cookie's value must be to be marked elsewhere too: "accepted" and "en-US" are words.
_LONG_COOKIE = 16


class _Body(NamedTuple):
    """A redacted body: what is left of it, and what it is now."""

    data: bytes
    state: BodyState


class Redaction:
    """Takes secrets out of exchanges. Immutable, and safe under threads.

    A secret is replaced by a mark such as `[redacted:0123456789abcdef]`, a hash of it with a key that
    is random for each `Redaction` and each process that makes one, and that is never written: equal
    secrets have equal marks within what one process writes, and cannot be guessed from them. JSON
    keeps its structure; `null`, `true`, `false` and empty texts stay.

    Args:
        fields: names of further fields, parameters, attributes and headers whose values are secrets,
            in any spelling (`"iban"` means `IBAN` and `i-ban` too); a compiled pattern is searched
            for in the name as it is written.
        headers: names of further headers whose values are secrets, and of no field of this name.
        patterns: regular expressions for secrets in any text; where one has groups, the first group
            is the secret.
        keep: names of headers and fields that are no secrets, whatever else says so, such as
            `"max_tokens"`. Cookies and credentials are marked in any case.
        binary: "drop" bodies that are neither text nor media, or "keep" them as they are.
        key: of the hash, at least 16 bytes: for several processes whose marks shall be the same.

    Raises:
        UsageError: a name, pattern or key is not usable.
    """

    def __init__(
        self,
        *,
        fields: Iterable[str | re.Pattern[str]] = (),
        headers: Iterable[str] = (),
        patterns: Iterable[str | re.Pattern[str]] = (),
        keep: Iterable[str | re.Pattern[str]] = (),
        binary: Literal["drop", "keep"] = "drop",
        key: bytes | None = None,
    ) -> None:
        if binary not in ("drop", "keep"):
            raise UsageError(f"binary must be 'drop' or 'keep'; got {binary!r}")
        if key is not None and len(key) < _SHORTEST_KEY:
            raise UsageError(f"key must be at least {_SHORTEST_KEY} bytes")
        self._names = Names(fields, keep)
        self._headers = frozenset(name.lower() for name in _texts("headers", headers))
        self._patterns = tuple(_compiled(each) for each in _texts("patterns", patterns))
        self._keep_binary = binary == "keep"
        self._marker = Marker(key)

    def exchange(self, item: Recorded) -> Recorded:
        """The exchange without its secrets.

        Takes some milliseconds for bodies of some kilobytes; a `Recorder` calls it in its own thread.
        """
        first = self._scanner()
        clean = self._pass(item, first)
        known = {secret for secret in first.found if worth_knowing(secret)}
        known -= _short_cookies(item)
        if known:
            # Once more from the start, now that the values are known: each may stand elsewhere too.
            clean = self._pass(item, self._scanner(known))
        changed = clean != item
        return replace(clean, redacted=item.redacted or changed)

    def text(self, text: str) -> str:
        """Any text without the secrets that show by their names or looks."""
        return self._scanner().text(text)

    def target(self, target: str) -> str:
        """Path and query without their secrets."""
        return self._scanner().target(target)

    def headers(self, headers: Headers) -> Headers:
        """Headers without their secrets: names, order and repetitions stay."""
        return self._all_headers(headers, self._scanner())

    def _scanner(self, known: Iterable[str] = ()) -> Scanner:
        return Scanner(self._names, self._marker, self._patterns, known)

    # -- an exchange

    def _pass(self, item: Recorded, scan: Scanner) -> Recorded:
        request = item.request
        body = self._body(request.content, request.headers, item.request_state, scan)
        clean = Request(
            request.method,
            scan.target(request.target),
            self._all_headers(request.headers, scan),
            request.body if body.data == request.content else body.data,
            scan.text(request.name),
        )
        response, state = self._response(item.response, item.response_state, scan)
        return replace(
            item,
            request=clean,
            response=response,
            request_state=body.state,
            response_state=state,
            origin=scan.text(item.origin),
        )

    def _response(self, response: Response, state: BodyState, scan: Scanner) -> tuple[Response, BodyState]:
        body = self._body(response.body, response.headers, state, scan)
        error = response.error
        if error is not None:
            told = (
                error if isinstance(error, RecordedError) else RecordedError(type(error).__name__, str(error))
            )
            message = scan.text(told.args[0], lines=True)
            error = error if message == told.args[0] else RecordedError(told.kind, message)
        clean = replace(
            response,
            reason=scan.text(response.reason),
            headers=self._all_headers(response.headers, scan),
            chunks=response.chunks if body.data == response.body else (body.data,) if body.data else (),
            trailers=self._all_headers(response.trailers, scan),
            error=error,
            history=tuple(self._response(each, "whole", scan)[0] for each in response.history),
        )
        return clean, body.state

    # -- headers

    def _all_headers(self, headers: Headers, scan: Scanner) -> Headers:
        return tuple(
            (_sendable(scan.text(name), scan), self._header(name, value, scan)) for name, value in headers
        )

    def _header(self, name: str, value: str, scan: Scanner) -> str:
        plain = name.strip().lower()
        if plain == "cookie":
            return _cookies(value, scan)
        if plain == "set-cookie":
            return _set_cookie(value, scan)
        if plain in _CREDENTIALS:
            return scan.credentials(value)
        if plain in _PLAIN_HEADERS:
            # A boundary or charset may hold anything, a secret that is known for one.
            return _sendable(scan.text(value), scan, value)
        if plain in self._headers or scan.is_secret(plain):
            return scan.credentials(value)
        return _sendable(self._urls(value, scan), scan, value)

    def _urls(self, value: str, scan: Scanner) -> str:
        """The value of `Location`, `Referer` and all others; of a URL, each query value on its own."""
        out = scan.url(value) if "?" in value and not re.search(r"[\s<>,;]", value) else value
        return scan.text(out)

    # -- bodies

    def _body(self, data: bytes, headers: Headers, state: BodyState, scan: Scanner) -> _Body:
        if not data or state == "dropped":
            return _Body(b"", state)
        coded = codings.codings_of(headers)
        whole = state == "whole"
        decoded = data
        if coded:
            try:
                decoded, ended = codings.decode(data, coded)
            except codings.CannotDecode:
                return _Body(b"", "dropped")
            whole = whole and ended
            if len(decoded) >= codings.MAX_DECODED:
                return _Body(b"", "dropped")  # its end cannot be searched
        kinds = [value for name, value in headers if name.lower() == "content-type"] or [""]
        clean: bytes | None = decoded
        for kind in kinds:
            clean = self._content(clean, kind, whole, scan) if clean is not None else None
        if clean is None:
            return _Body(b"", "dropped")
        if clean == decoded:
            return _Body(data, state)
        return _Body(codings.encode(clean, coded), state)

    def _content(self, data: bytes, kind: str, whole: bool, scan: Scanner) -> bytes | None:
        """A decoded body without its secrets; `None` if they cannot be found."""
        media = kind.partition(";")[0].strip().lower()
        boundary = multipart.boundary_of(kind)
        for each in (boundary, multipart.guessed_boundary(data)):
            pieces = None if each is None else multipart.split(data, each)
            if pieces is not None:
                return self._multipart(pieces, whole, scan)
        charset = dict(multipart.parameters(kind)).get("charset", "")
        codecs_to_try = _codecs(data, charset)
        if not self._keep_binary and not media.startswith(_MEDIA) and _is_binary(data, codecs_to_try, whole):
            return None
        for codec in codecs_to_try:
            try:
                text = data.decode(codec, "surrogateescape")
            except (UnicodeError, LookupError):
                continue
            clean = self._document(text, media, whole, scan)
            if clean != text:
                data = _encoded(clean, codec)
        return data

    def _document(self, text: str, media: str, whole: bool, scan: Scanner) -> str:
        if media == _FORM or _looks_like_form(text):
            text = scan.query(text)
        if media in ("text/csv", "text/tab-separated-values"):
            text = csv_text.redact_csv(text, scan.is_secret, scan.mark)
        text = scan.text(text, lines=media == "text/plain")
        return text if whole else _without_rest(text, scan)

    def _multipart(self, pieces: list[bytes | multipart.Part], whole: bool, scan: Scanner) -> bytes | None:
        out: list[bytes | multipart.Part] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                # Before the first and after the last boundary nothing should stand, but anything can.
                out.append(_bytes_text(piece, scan))
                continue
            content: bytes | None = piece.content
            if any(scan.is_secret(name) for name in piece.names):
                content = scan.mark(piece.content.decode("utf-8", "surrogateescape")).encode(
                    "utf-8", "surrogateescape"
                )
            elif piece.header("content-transfer-encoding").lower() in ("base64", "quoted-printable"):
                return None  # no browser does this any more
            else:
                kind = piece.header("content-type") or "text/plain"
                content = self._content(piece.content, kind, whole and piece is not pieces[-1], scan)
            if content is None:
                return None
            out.append(multipart.Part(_bytes_text(piece.head, scan), content))
        return multipart.join(out)


def _texts(what: str, given: Any) -> tuple[Any, ...]:
    """The argument as a tuple; one text is no list of letters."""
    values = (given,) if isinstance(given, (str, re.Pattern)) else tuple(given)
    for each in values:
        if not isinstance(each, (str, re.Pattern)) or (what == "headers" and not isinstance(each, str)):
            raise UsageError(f"{what} must be texts; got {each!r}")
    return values


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"patterns must be regular expressions; {pattern!r}: {error}") from None


def _cookies(value: str, scan: Scanner) -> str:
    """`Cookie`: the names stay."""
    parts = []
    for part in value.split(";"):
        name, sign, content = part.partition("=")
        space = part[: len(part) - len(part.lstrip())]
        if sign:
            parts.append(f"{scan.text(name)}={scan.mark(_unquoted(content))}")
        else:
            # A cookie without a name: all of it is the value.
            parts.append(space + scan.mark(part.strip()))
    return ";".join(parts)


def _set_cookie(value: str, scan: Scanner) -> str:
    """`Set-Cookie`: name and known attributes stay."""
    cookie, *attributes = value.split(";")
    parts = [_cookies(cookie, scan)]
    for attribute in attributes:
        name, sign, content = attribute.partition("=")
        if name.strip().lower() in _COOKIE_ATTRIBUTES:
            parts.append(name + sign + scan.text(content))
        elif attribute.strip():
            parts.append(
                name + sign + scan.mark(_unquoted(content)) if sign else " " + scan.mark(name.strip())
            )
        else:
            parts.append(attribute)
    return ";".join(parts)


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _short_cookies(item: Recorded) -> set[str]:
    """The values of cookies that are so short that they may be common words."""
    values = set()
    for name, value in (*item.request.headers, *item.response.headers):
        if name.strip().lower() in ("cookie", "set-cookie"):
            for part in value.split(";"):
                key, sign, content = part.partition("=")
                value_of_cookie = _unquoted(content if sign else key)
                if len(value_of_cookie) < _LONG_COOKIE:
                    values.add(value_of_cookie)
    return values


def _sendable(value: str, scan: Scanner, before: str | None = None) -> str:
    """A header's value; one that decoding has made unfit for a header is marked as a whole."""
    if value != before and _UNSENDABLE.search(value):
        return scan.mark(value if before is None else before)
    return value


def _bytes_text(data: bytes, scan: Scanner) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    clean = scan.text(text)
    return data if clean == text else _encoded(clean, "utf-8")


def _codecs(data: bytes, charset: str) -> list[str]:
    """The ways in which the bytes may be text, the plain one last: an app may not heed what is declared."""
    found = []
    if charset:
        try:
            # A codec that makes no text, such as "hex", is refused by `decode`.
            found.append(codecs.lookup(charset).name)
        except (LookupError, ValueError):
            pass
    head = data[:4]
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        found.append("utf-32")
    elif head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        found.append("utf-16")
    elif b"\0" in data:
        found += ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
    found.append("utf-8")
    return list(dict.fromkeys(found))


def _is_binary(data: bytes, codecs_to_try: list[str], whole: bool) -> bool:
    """Whether the bytes are no text in any of these codecs."""
    for codec in codecs_to_try:
        try:
            # What was cut may end within a character.
            text = codecs.getincrementaldecoder(codec)().decode(data, final=whole)
        except (UnicodeError, LookupError, AttributeError):
            continue
        wide = codec.startswith(("utf-16-", "utf-32-"))
        if not _CONTROLS.search(text) and not (wide and _is_noise(text)):
            return False
    return True


def _is_noise(text: str) -> bool:
    """Whether what was decoded on suspicion only is mostly no letters of European languages."""
    return 2 * sum(each < "\u0250" for each in text) < len(text)


def _encoded(text: str, codec: str) -> bytes:
    """Text in a codec; what the codec cannot hold becomes "?"."""
    for errors in ("surrogateescape", "replace"):
        try:
            return text.encode(codec, errors)
        except UnicodeError:
            continue
    return text.encode("ascii", "replace")


def _looks_like_form(text: str) -> bool:
    """Whether the text may be a form that is not declared as one: no space, and pairs."""
    return "=" in text and not re.search(r"[\s<>{}\"]", text)


def _without_rest(text: str, scan: Scanner) -> str:
    """Text that breaks off, without the beginning of a known secret at its end."""
    for secret in scan.known:
        for length in range(min(len(secret) - 1, len(text)), _SHORTEST_REST, -1):
            if text.endswith(secret[:length]):
                return text[:-length] + scan.mark(secret)
    return text
