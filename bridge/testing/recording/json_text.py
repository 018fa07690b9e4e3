"""Secrets in JSON text, replaced in place.

The text is read token by token instead of parsed, so that everything else stays as it was written
(spaces, order, numbers, repeated names), and so that text which breaks off, several documents in a
row and text that is nearly JSON are handled the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from .marks import MARK

# A mark without quotes, as other ways of redaction leave it, is no list.
_TOKEN = re.compile(MARK.pattern + r'|"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\]:,]|\s+|[^\s{}\[\]:,"]+', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# In a list of pairs, `{"name": "password", "value": "..."}`, these hold the name.
_NAME_OF_PAIR = frozenset({"name", "key", "field", "header", "id", "path"})
_VALUE_OF_PAIR = frozenset({"value", "values", "val", "content", "data", "text", "default"})
# What tells nothing: whether there is a secret, not which.
_TELLS_NOTHING = frozenset({"true", "false", "null", '""'})


def redact_json(
    text: str, is_secret: Callable[[str], bool], mark: Callable[[str], str], leaf: Callable[[str], str]
) -> str:
    """The text with marks for the values of secret names, and for all within such values.

    Args:
        text: JSON, whole or cut off.
        is_secret: tells of a name whether its value is a secret.
        mark: gives the mark of a secret.
        leaf: redacts a string that is no value of a secret name, and names.
    """
    tokens = _TOKEN.findall(text)
    keys = _keys(tokens)
    pairs = _objects_of_secret_pairs(tokens, keys, is_secret)
    out: list[str] = []
    # For each open bracket: whether all within is secret, whether it is the object of a secret pair.
    frames: list[tuple[bool, bool]] = [(False, False)]
    secret = pair_of_array = False
    previous = ""
    for index, token in enumerate(tokens):
        if token in "{[":
            frames.append((secret, index in pairs))
        elif token in "}]":
            if len(frames) > 1:
                frames.pop()
            secret = frames[-1][0]
        elif token == ",":
            secret = frames[-1][0] or pair_of_array
            pair_of_array = False
        elif index in keys:
            name = decoded(token)
            inherited, in_pair = frames[-1]
            secret = inherited or is_secret(name) or (in_pair and name.lower() in _VALUE_OF_PAIR)
            token = _replaced(token, name, leaf(name))
        elif token != ":" and not token.isspace():
            if MARK.fullmatch(token):
                pass
            elif secret and token not in _TELLS_NOTHING:
                token = json.dumps(mark(decoded(token)))
            elif not secret:
                value = decoded(token)
                token = _replaced(token, value, leaf(value))
                # [["Authorization", "Bearer ..."], ...], as lists of headers are written.
                pair_of_array = previous == "[" and is_header_name(value) and is_secret(value)
        if not token.isspace():
            previous = token
        out.append(token)
    return "".join(out)


def is_header_name(name: str) -> bool:
    """Whether a name is that of a header rather than a word of another kind."""
    return "-" in name or name.lower() in ("authorization", "cookie")


def decoded(token: str) -> str:
    """What a string token says, be it damaged; another token is what it is."""
    if not token.startswith('"'):
        return token
    if "\\" not in token and len(token) > 1 and token[-1] == '"':
        return token[1:-1]
    try:
        return str(json.loads(token, strict=False))
    except ValueError:
        body = token[1:-1] if len(token) > 1 and token.endswith('"') else token[1:]
        return unescaped(body)


def unescaped(text: str) -> str:
    """Text with its JSON escapes decoded, wherever they stand."""
    if "\\" not in text:
        return text
    text = _ESCAPE.sub(_unescape, text)
    # A pair of escapes may have stood for one character.
    return (
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _has_surrogates(text) else text
    )


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= each <= "\udbff" for each in text)


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return _SHORT_ESCAPES.get(match[2], match[2])


def _replaced(token: str, before: str, after: str) -> str:
    return token if before == after else json.dumps(after)


def _keys(tokens: list[str]) -> set[int]:
    """The indexes of tokens that a colon follows."""
    keys = set()
    last = -1
    for index, token in enumerate(tokens):
        if token == ":":
            if last >= 0 and tokens[last] not in "{}[],:":
                keys.add(last)
            last = index
        elif not token.isspace():
            last = index
    return keys


def _objects_of_secret_pairs(tokens: list[str], keys: set[int], is_secret: Callable[[str], bool]) -> set[int]:
    """The indexes of brackets that open an object such as `{"value": "...", "name": "password"}`."""
    found = set()
    opened: list[int] = []
    name = ""
    for index, token in enumerate(tokens):
        if token in "{[":
            opened.append(index)
        elif token in "}]":
            if opened:
                opened.pop()
        elif index in keys:
            name = decoded(token).lower()
        elif token.startswith('"') and name in _NAME_OF_PAIR and opened and is_secret(decoded(token)):
            found.add(opened[-1])
        if token in "{}[],":
            name = ""
    return found
