"""Secrets in text of any kind, found by the names beside them or by their own looks, and marked.

What is searched is the text as it stands and, layer by layer, what it says once its escapes are
decoded (percent escapes, those of JSON and of HTML): a secret that only shows then is marked in the
decoded text, which takes the place of the original. Text without secrets is never changed.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from urllib.parse import quote, unquote, unquote_plus

from .json_text import is_header_name, redact_json, unescaped
from .marks import MARK, MARKS_ONLY, Marker
from .names import Names, plain

# How many escapes may lie over one another.
_MOST_LAYERS = 8
# How deep JSON, URLs and forms may be packed into one another; what lies deeper is marked as a whole.
_DEEPEST = 12
# Short values ("1", "test") stand everywhere, so that they are marked only where their name stands.
_SHORTEST_KNOWN = 6
# What may stand in a target beside letters and digits (see `Request`); "&", "=", "+" and "%" are escaped.
_SAFE_IN_VALUE = "/?,-._~"
_SAFE_IN_SEGMENT = ":@!$&'()*+,;=-._~[]"

# Of a secret these say whether there is one, not which.
_TELLS_NOTHING = frozenset({"true", "false", "null", "none", "None", "True", "False", "undefined"})
_BEFORE_JSON = "\ufeff \t\r\n"

_SCHEMES = r"Bearer|Basic|Token|Digest|Negotiate|NTLM|ApiKey|Api-Key|Key|OAuth|DPoP|JWT"
_SCHEME = re.compile(rf"((?:{_SCHEMES})\s+)(.*)", re.IGNORECASE | re.DOTALL)

# A name: what may be escaped in it stands for itself. It begins where a name can begin.
_NAME = r"(?<![\w.%\-\[\]$\\])([\w.%\-\[\]$\\]{1,200})"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_USERINFO = re.compile(r"""(?<=://)([^/\s?#@"'<>]+)(?=@)""")
_AUTHORISATION = re.compile(
    rf"\b(?:{_SCHEMES})\s+(?=[\w.~+/=\-]*\d|[\w.~+/=\-]{{20}})([\w.~+/=\-]{{8,}})", re.IGNORECASE
)
# What is known by its first letters: JSON Web Tokens (also cut, also without signature) and other
# base64 of JSON; keys of GitHub, GitLab, Slack, Stripe and OpenAI, AWS, Google.
_KNOWN_LOOKS = re.compile(
    r"(?<![A-Za-z0-9])("
    r"eyJ[A-Za-z0-9_\-]{10,}(?:\.[A-Za-z0-9_\-=]*){0,4}"
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w\-]{16,}|xox[a-z]-[\w\-]{8,}"
    r"|[srp]k[-_](?:live|test|proj|ant)[-_][\w\-]{8,}|sk-[A-Za-z0-9]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{12,}|AIza[\w\-]{20,}"
    r")"
)
_TAG = re.compile(
    r"""<(?:input|meta|textarea|button|param|option)\b(?:[^<>"']|"[^"]*"|'[^']*')*(?:"[^"]*\Z|'[^']*\Z)?>?""",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([\w:.\-]+)(\s*=\s*)("[^"]*"?|'[^']*'?|[^\s"'>]+)""")
_NAMING_ATTRIBUTES = frozenset({"name", "id", "property", "http-equiv", "type", "autocomplete", "itemprop"})
_VALUE_ATTRIBUTES = frozenset({"value", "content"})
_OPENING = re.compile(r"<([A-Za-z_][\w:.\-]*)((?:\s(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)?)>")
_TEXT_NODE = re.compile(r"(<!\[CDATA\[)(.*?)(?=\]\]>|\Z)|(\A|>)([^<>]+)", re.DOTALL)
# Elements that hold a value, of which an attribute is the name: <entry key="password">...</entry>.
_VALUE_ELEMENTS = frozenset(
    {"add", "attribute", "data", "entry", "field", "item", "param", "property", "setting", "string", "value"}
)
# A name in an element of its own, and its value in the next: property lists, XML-RPC, lists, tables.
_SIBLINGS = re.compile(
    r"<(?:key|name|dt|th|td)\b[^<>]*>([^<>]{1,100})</(?:key|name|dt|th|td)>\s*"
    r"<(?:string|value|integer|data|dd|td)\b[^<>]*>(?:\s*<\w+>)*([^<>]+)",
    re.IGNORECASE,
)
_TEXTAREA = re.compile(r"(<textarea\b[^<>]*\bname\s*=\s*[\"']?([^\s\"'<>]+)[^<>]*>)([^<]+)", re.IGNORECASE)
# "name", "value": of headers, in calls and in lists of pairs.
_COMMA_PAIR = re.compile(r"""(["'])([\w\-]+)\1\s*,\s*(["'])((?:(?!\3)(?:\\.|[^\\\n]))+)""")
# YAML: a value on the lines below its name, further to the right.
_BLOCK = re.compile(
    r"(?m)^([ \t]*)([\w.\-]+)[ \t]*:[ \t]*(?:[|>][+\-\d]*)?[ \t]*\r?\n((?:\1[ \t]+\S.*(?:\n|\Z)|[ \t]*\n)+)"
)
# A segment of a path that no person has thought of.
_RANDOM = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[\w\-.~=]{10,}")
_PAIR = re.compile(rf"""{_NAME}["'`\\\]]*\s*(?:=>|:=|[:=]|\((?=\s*["'`]))""")
_QUOTED_VALUE = re.compile(r"""\s*(\\?["'`])((?:(?!\1)(?:\\.|[^\\\n]))*)""", re.DOTALL)
_VALUE = re.compile(rf"""[ \t]*((?:(?:{_SCHEMES})[ \t]+)?[^\s&"'`<>{{}}(),]+)""", re.IGNORECASE)
_LINE = re.compile(r"(?m)^([ \t]*)([^\s=:<>\"'{}\[\]][^=:\n<>\"'{}]{0,80}?)([ \t]*[=:][ \t]*)([^\s].*)$")


# Without one of these signs there is no name with a value, no escape, no URL, no element, and no key
# that is known by its looks.
_SIGN = re.compile(
    rf"[=:%\\&<{{\[(]|[\"']\s*,|-----|eyJ|gh[pousr]_|github_pat|glpat|xox|[srp]k[-_]|AKIA|ASIA|AIza|\b(?i:{_SCHEMES})\s"
)


class Scanner:
    """Replaces secrets by marks. One is made for each exchange, and used by one thread.

    Args:
        names: tells the names of secrets.
        marker: makes the marks.
        patterns: further looks of secrets; of a pattern with groups, what the first group matched.
        known: secrets that were found elsewhere in the exchange; marked wherever they stand.

    Attributes:
        found: the secrets that were marked.
        known: those of the argument.
    """

    def __init__(
        self,
        names: Names,
        marker: Marker,
        patterns: Iterable[re.Pattern[str]] = (),
        known: Iterable[str] = (),
    ) -> None:
        self._names = names
        self._marker = marker
        self._patterns = tuple(patterns)
        self.found: set[str] = set()
        self.known = frozenset(known)
        self._known_forms = _forms(self.known)
        longest_first = sorted(self._known_forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    # -- what others ask for

    def is_secret(self, name: str, in_query: bool = False) -> bool:
        """Whether a name stands for a secret."""
        return self._names.is_secret(name, in_query)

    def mark(self, value: str) -> str:
        """The mark for a secret value; nothing for nothing."""
        if not value:
            return value
        if not MARKS_ONLY.fullmatch(value):
            self.found.add(value)
        return self._marker.mark(value)

    def credentials(self, value: str) -> str:
        """The value of `Authorization` and the like: the scheme stays, what follows it is marked."""
        match = _SCHEME.fullmatch(value.strip())
        if match is None:
            return self.mark(value)
        if match[1].lower().startswith("basic"):
            self._know_password(match[2])
        return match[1] + self.mark(match[2])

    def _know_password(self, encoded: str) -> None:
        """What `Basic` credentials say (RFC 7617), so that it is found elsewhere too."""
        try:
            decoded = base64.b64decode(encoded, validate=True).decode("utf-8", "replace")
        except ValueError:
            return
        self.found.add(decoded.partition(":")[2])

    def text(self, text: str, *, lines: bool = False, depth: int = 0) -> str:
        """Any text, JSON included.

        Args:
            text: what to search.
            lines: it is plain text, where a line such as `password: a b c` may be one field.
        """
        if not text or MARKS_ONLY.fullmatch(text) or self._is_plain(text):
            return text
        if depth > _DEEPEST:
            return self.mark(text)
        if text.lstrip(_BEFORE_JSON)[:1] in ("{", "[") or "\n{" in text:
            # Names, strings and what is within them are looked at one by one.
            text = redact_json(text, self._names.is_secret, self.mark, partial(self.text, depth=depth + 1))
            if _is_json(text):
                return text
        out = self._layer(text, lines)
        seen = {out}
        current = out
        for _ in range(_MOST_LAYERS):
            current = _decoded_once(current)
            if current in seen:
                break
            seen.add(current)
            scanned = self._layer(current, lines)
            if scanned != current:
                out = current = scanned
        else:
            return self.mark(text)
        return out

    def query(self, query: str, *, depth: int = 0) -> str:
        """The query of a URL, or a form in the same coding: each value on its own."""
        parts = query.split("&")
        names = {part.partition("=")[0].lower() for part in parts}
        if {"code", "state"} <= names:
            # What an OAuth server hands to an app by way of the browser (RFC 6749 section 4.1.2).
            parts = [
                part[:5] + self.mark(unquote_plus(part[5:])) if part[:5].lower() == "code=" else part
                for part in parts
            ]
        return "&".join(self._parameter(part, depth) for part in parts)

    def target(self, target: str) -> str:
        """Path and query, or a URL without scheme and host; a fragment counts as a query."""
        rest, hash_, fragment = target.partition("#")
        path, mark, query = rest.partition("?")
        if "://" in unquote(path):
            # A URL in the path: its user and password may hold any letter but a slash.
            path = self._segment(path, _SAFE_IN_SEGMENT + "/")
        segments: list[str] = []
        secret = False
        for segment in path.split("/"):
            if secret and _RANDOM.fullmatch(segment):
                segments.append(self.mark(segment))
            else:
                segments.append(self._segment(segment))
            secret = self._names.is_secret(segment)
        return "/".join(segments) + mark + self.query(query) + hash_ + self.query(fragment)

    def _is_plain(self, text: str) -> bool:
        """Whether nothing in a text can be a secret: most strings of JSON are so."""
        return not (
            _SIGN.search(text)
            or (self._known is not None and self._known.search(text))
            or any(pattern.search(text) for pattern in self._patterns)
        )

    # -- one layer

    def _layer(self, text: str, lines: bool) -> str:
        out = text
        if ":" in out and "\n" in out:
            out = self._blocks(out)
        if lines:
            out = _LINE.sub(self._line, out)
        if "-----BEGIN" in out:
            out = _PRIVATE_KEY.sub(lambda match: self.mark(match[0]), out)
        if "://" in out:
            out = _USERINFO.sub(lambda match: self.mark(match[0]), out)
        if "<" in out:
            out = _TAG.sub(self._tag, out)
            out = _TEXTAREA.sub(self._textarea, out)
            out = self._elements(out)
            out = _SIBLINGS.sub(self._siblings, out)
        if ":" in out or "=" in out or "(" in out:
            out = self._pairs(out)
        if "," in out:
            out = _COMMA_PAIR.sub(self._comma_pair, out)
        out = _AUTHORISATION.sub(self._group, out)
        out = _KNOWN_LOOKS.sub(self._group, out)
        for pattern in self._patterns:
            out = _outside_marks(out, partial(pattern.sub, self._by_pattern))
        if self._known is not None:
            out = _outside_marks(out, self._by_value)
        return out

    def _by_value(self, text: str) -> str:
        assert self._known is not None
        return self._known.sub(lambda match: self.mark(self._known_forms[match[0]]), text)

    def _by_pattern(self, match: re.Match[str]) -> str:
        return self._group(match) if match.re.groups else self.mark(match[0])

    def _group(self, match: re.Match[str]) -> str:
        """The match with its first group marked."""
        start, end = match.span(1)
        if start < 0:
            return match[0]
        before = match.start()
        return match[0][: start - before] + self.mark(match[1]) + match[0][end - before :]

    def _line(self, match: re.Match[str]) -> str:
        indent, name, sign, value = match.groups()
        if not self._names.is_secret(name.strip()):
            return match[0]
        stripped = value.rstrip()
        return indent + name + sign + self.credentials(stripped) + value[len(stripped) :]

    def _tag(self, match: re.Match[str]) -> str:
        attributes = [(name.lower(), _bare(value)) for name, _, value in _ATTRIBUTE.findall(match[0])]
        if not any(
            name in _NAMING_ATTRIBUTES and self._names.is_secret(html.unescape(value))
            for name, value in attributes
        ):
            return match[0]
        return _ATTRIBUTE.sub(self._attribute, match[0])

    def _attribute(self, match: re.Match[str]) -> str:
        name, sign, value = match.groups()
        if name.lower() not in _VALUE_ATTRIBUTES:
            return match[0]
        bare = _bare(value)
        return name + sign + value.replace(bare, self.mark(html.unescape(bare))) if bare else match[0]

    def _textarea(self, match: re.Match[str]) -> str:
        return match[1] + self.mark(html.unescape(match[3])) if self._names.is_secret(match[2]) else match[0]

    def _elements(self, text: str) -> str:
        """Elements with a telling name: all text within them, to the tag that closes them."""
        out: list[str] = []
        done = position = 0
        while (tag := _OPENING.search(text, position)) is not None:
            position = tag.end()
            name, attributes = tag[1], tag[2]
            if attributes.endswith("/") or not self._names_a_value(name.lower(), attributes):
                continue
            closing = re.compile(f"</{re.escape(name)}", re.IGNORECASE).search(text, position)
            end = closing.start() if closing else len(text)
            out += (text[done:position], _TEXT_NODE.sub(self._text_node, text[position:end]))
            done = position = end
        return "".join(out) + text[done:]

    def _names_a_value(self, name: str, attributes: str) -> bool:
        if name in _VALUE_ELEMENTS:
            return any(
                key.lower() in ("name", "key") and self._names.is_secret(html.unescape(_bare(value)))
                for key, _, value in _ATTRIBUTE.findall(attributes)
            )
        return self._names.is_secret(name)

    def _text_node(self, match: re.Match[str]) -> str:
        if match[1]:
            return match[1] + self.mark(match[2])
        return match[3] + self._around(match[4])

    def _siblings(self, match: re.Match[str]) -> str:
        if not self._names.is_secret(html.unescape(match[1]).strip()):
            return match[0]
        return match[0][: match.start(2) - match.start()] + self._around(match[2])

    def _around(self, text: str) -> str:
        """The text of an element marked, with the space around it as it was."""
        content = text.strip()
        return text.replace(content, self.mark(html.unescape(content))) if content else text

    def _blocks(self, text: str) -> str:
        """Names with values on the lines below; the block of another name may hold further ones."""
        out: list[str] = []
        done = position = 0
        while (match := _BLOCK.search(text, position)) is not None:
            position = start = match.start(3)
            content = match[3].strip()
            if content and self._names.is_secret(match[2]):
                start = text.index(content, start)
                out += (text[done:start], self.mark(content))
                done = position = start + len(content)
        return "".join(out) + text[done:]

    def _comma_pair(self, match: re.Match[str]) -> str:
        if not (is_header_name(match[2]) and self._names.is_secret(match[2])):
            return match[0]
        return match[0][: match.start(4) - match.start()] + self.credentials(unescaped(match[4]))

    def _pairs(self, text: str) -> str:
        """Names with values, however they are joined; a value that is no secret may hold further ones."""
        out: list[str] = []
        done = position = 0
        while (pair := _PAIR.search(text, position)) is not None:
            position = pair.end()
            mark = MARK.match(text, max(0, text.rfind("[", pair.start(), position)))
            if mark is not None:
                # What looked like a name and a colon is the beginning of a mark.
                position = mark.end()
                continue
            name = unescaped(html.unescape(pair[1]))
            if not self._names.is_secret(name, True):
                continue
            quoted = _QUOTED_VALUE.match(text, position)
            match = quoted or _VALUE.match(text, position)
            if match is None:
                continue
            start, position = match.span(match.lastindex or 0)
            value = text[start:position]
            if quoted is None and value in _TELLS_NOTHING:
                continue
            out += (text[done:start], self.credentials(unescaped(value) if quoted else value))
            done = position
        return "".join(out) + text[done:]

    # -- parts of a URL

    def _parameter(self, part: str, depth: int) -> str:
        name, sign, value = part.partition("=")
        decoded = unquote_plus(value, errors="surrogateescape")
        if not sign:
            decoded = unquote_plus(name, errors="surrogateescape")
            scanned = self.text(decoded, depth=depth + 1)
            if scanned == decoded:
                return name
            # What was not escaped need not be: it may be something else than a form.
            return scanned if name == decoded else _quoted(scanned)
        if self._names.is_secret(name, True):
            return f"{self._name(name)}={self.mark(decoded)}"
        scanned = self.text(decoded, depth=depth + 1)
        if scanned == decoded and "?" in decoded:
            scanned = self.url(decoded, depth=depth + 1)
        return f"{self._name(name)}={value if scanned == decoded else _quoted(scanned)}"

    def _name(self, name: str) -> str:
        decoded = unquote_plus(name, errors="surrogateescape")
        scanned = self.text(decoded, depth=_DEEPEST - 1)
        return name if scanned == decoded else _quoted(scanned)

    def url(self, url: str, *, depth: int = 0) -> str:
        """A URL of any form: its query value by value."""
        rest, hash_, fragment = url.partition("#")
        start, mark, query = rest.partition("?")
        if depth > _DEEPEST:
            return self.mark(url)
        return start + mark + self.query(query, depth=depth) + hash_ + self.query(fragment, depth=depth)

    def _segment(self, segment: str, safe: str = _SAFE_IN_SEGMENT) -> str:
        decoded = unquote(segment, errors="surrogateescape")
        scanned = self.text(decoded)
        return segment if scanned == decoded else _quoted(scanned, safe)


def _is_json(text: str) -> bool:
    try:
        json.loads(text.lstrip(_BEFORE_JSON))
    except (ValueError, RecursionError):
        return False
    return True


def _quoted(text: str, safe: str = _SAFE_IN_VALUE) -> str:
    """Percent-encoded, but for the marks."""
    return _outside_marks(text, lambda part: quote(part, safe=safe, errors="surrogateescape"))


def _outside_marks(text: str, change: Callable[[str], str]) -> str:
    """The text with everything between the marks changed."""
    parts = MARK.split(text)
    marks = MARK.findall(text)
    out = [change(parts[0])]
    for mark, part in zip(marks, parts[1:], strict=True):
        out += (mark, change(part))
    return "".join(out)


def _bare(value: str) -> str:
    """The value of an attribute without its quotes."""
    return value.strip(value[0]) if value[:1] in ("'", '"') else value


def _decoded_once(text: str) -> str:
    """The text with one layer of each kind of escape taken away."""
    if "\\" in text:
        text = unescaped(text)
    if "&" in text:
        text = html.unescape(text)
    if "%" in text:
        text = unquote(text, errors="surrogateescape")
    return text


def _forms(known: Iterable[str]) -> dict[str, str]:
    """The ways in which secrets may stand in decoded text, each with the secret."""
    forms = {}
    for secret in known:
        forms[secret] = secret
        encoded = base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii")
        if len(secret) > _SHORTEST_KNOWN:
            forms[encoded] = secret
            forms[encoded.rstrip("=")] = secret
            forms[encoded.replace("+", "-").replace("/", "_").rstrip("=")] = secret
        decoded = plain(secret)
        if decoded and len(decoded) >= _SHORTEST_KNOWN:
            forms.setdefault(decoded, secret)
    return forms


def worth_knowing(secret: str) -> bool:
    """Whether a secret is marked wherever it stands, not only beside its name."""
    return len(secret) >= _SHORTEST_KNOWN and not secret.isspace()
