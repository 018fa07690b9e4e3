"""The report of a comparison as text: plain, or with the colours of a terminal through `rich`.

What apps answered is never written to a terminal as it came: control characters are shown as escapes.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from difflib import unified_diff
from typing import TYPE_CHECKING, Any, NamedTuple

from ...exceptions import MissingDependency
from .result import ABSENT, Comparison, Difference, Result
from .text_bodies import first_byte

if TYPE_CHECKING:
    from rich.text import Text

# A value longer than this many characters is cut in the report; the difference holds all of it.
_WIDEST = 200
# Lines of one diff that are shown; more of them are not read.
_MOST_LINES = 30
# difflib's time grows with the product of the lengths: more lines than this are not matched.
_MOST_DIFFED = 2000
# Lines of agreement around a difference, and bytes around the first byte that differs.
_CONTEXT = 2
_HEX = 16


class Line(NamedTuple):
    """A piece of the report with the style that it has on a terminal."""

    style: str
    text: str


def comparison_lines(comparison: Comparison) -> Iterator[Line]:
    """The report, line by line: each request with differences, then the sum."""
    for result in comparison.different:
        yield from result_lines(result, comparison.old_name, comparison.new_name)
        yield Line("", "")
    yield Line("bold green" if comparison.same else "bold red", summary(comparison))


def summary(comparison: Comparison) -> str:
    """One sentence: how many requests, how many differ."""
    count, different = len(comparison), len(comparison.different)
    if not count:
        said = "no request was compared"
    elif not different:
        said = f"{_many(count, 'request')}, all alike"
    else:
        found = _many(len(comparison.differences), "difference")
        said = f"{found} in {different} of {_many(count, 'request')}"
    names = f"{comparison.old_name} and {comparison.new_name}: "
    return visible(names) + said + (f"; {visible(comparison.stopped)}" if comparison.stopped else "")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def result_lines(result: Result, old_name: str = "old", new_name: str = "new") -> Iterator[Line]:
    """One request with its differences."""
    yield Line("bold", visible(result.request.label))
    if result.new_request is not None:
        yield Line("dim", f"  {visible(new_name)}: {visible(result.new_request.label)}")
    for difference in result.differences:
        yield from difference_lines(difference, old_name, new_name)


def difference_line(difference: Difference) -> str:
    """A difference in one line."""
    detail = f" ({visible(difference.detail)})" if difference.detail else ""
    place = " ".join(_place(difference))
    if difference.old is ABSENT and difference.new is ABSENT:
        return place + detail
    sides = " → ".join(shown(side) for side in (difference.old, difference.new))
    return f"{place}: {sides}{detail}"


def _place(difference: Difference) -> list[str]:
    """Kind and place, the latter if it says more."""
    where = visible(difference.where)
    return [difference.kind] if where == difference.kind else [difference.kind, where]


def difference_lines(difference: Difference, old_name: str = "old", new_name: str = "new") -> Iterator[Line]:
    """A difference with both values below each other, or with a diff of them if they are texts."""
    old_name, new_name = visible(old_name), visible(new_name)
    detail = f"  ({visible(difference.detail)})" if difference.detail else ""
    yield Line("yellow", f"  {'  '.join(_place(difference))}{detail}")
    old, new = difference.old, difference.new
    if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        yield from (Line(style, f"    {text}") for style, text in text_diff(old, new, old_name, new_name))
    elif isinstance(old, bytes) and isinstance(new, bytes):
        yield from (Line(style, f"    {text}") for style, text in hex_diff(old, new))
    elif not (old is ABSENT and new is ABSENT):
        width = max(len(old_name), len(new_name))
        yield Line("red", f"    - {old_name:{width}}  {shown(old)}")
        yield Line("green", f"    + {new_name:{width}}  {shown(new)}")


def text_diff(old: str, new: str, old_name: str = "old", new_name: str = "new") -> list[Line]:
    """A unified diff of two texts, at most some dozens of lines of it.

    Line endings other than LF are shown, since they may be all that differs.
    """
    olds, news = ([visible(line) for line in _split(text)] for text in (old, new))
    start = 0
    while start < min(len(olds), len(news)) and olds[start] == news[start]:
        start += 1
    end = 0
    while end < min(len(olds), len(news)) - start and olds[-1 - end] == news[-1 - end]:
        end += 1
    middle = olds[start : len(olds) - end], news[start : len(news) - end]
    if max(map(len, middle)) > _MOST_DIFFED:
        half = _MOST_LINES // 2
        lines = [f"@@ line {start + 1} @@"]
        lines += [f"-{line}" for line in middle[0][:half]] + [f"+{line}" for line in middle[1][:half]]
        left = sum(max(0, len(side) - half) for side in middle)
    else:
        # Enough of what is alike to serve as context; positions stay right.
        diff = list(unified_diff(olds, news, old_name, new_name, lineterm="", n=_CONTEXT))
        lines, left = diff[:_MOST_LINES], max(0, len(diff) - _MOST_LINES)
    styles = {"-": "red", "+": "green", "@": "cyan"}
    found = [Line(styles.get(line[:1], ""), _cut(line)) for line in lines]
    return found + ([Line("dim", f"… {_many(left, 'more line')}")] if left else [])


def _split(text: str) -> list[str]:
    """The lines of a text without their LF; a last one that has none says so."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    else:
        lines[-1] += "  (no newline at the end)"
    return lines


def hex_diff(old: bytes, new: bytes) -> list[Line]:
    """The bytes around the first one that differs, of both bodies."""
    start = max(0, first_byte(old, new) - _HEX // 2)
    found = []
    for sign, style, body in (("-", "red", old), ("+", "green", new)):
        piece = body[start : start + _HEX]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        found.append(Line(style, f"{sign} {start:08x}  {piece.hex(' '):{_HEX * 3 - 1}}  {letters}".rstrip()))
    return found


def shown(value: Any, widest: int = _WIDEST) -> str:
    """A value in one line, cut if it is longer than that many characters."""
    if value is ABSENT:
        return "(absent)"
    if isinstance(value, (bytes, bytearray)):
        return _cut(f"{len(value)} bytes {bytes(value[:widest])!r}", widest)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return _cut(visible(repr(value) if isinstance(value, str) else _json(value)), widest)
    except RecursionError:
        return f"a {type(value).__name__}, nested deep"


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def visible(text: str) -> str:
    """A text with its control characters, and what no encoding has, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def _cut(text: str, widest: int = _WIDEST) -> str:
    return text if len(text) <= widest else f"{text[:widest]}… ({len(text)} characters)"


def comparison_text(comparison: Comparison, color: bool | None = None) -> str:
    """The report as one text; see `Comparison.text`."""
    lines = list(comparison_lines(comparison))
    if color is None:
        color = _terminal_has_colors()
    if not color:
        return "\n".join(text for _, text in lines)
    try:
        from rich.console import Console
    except ImportError:
        raise MissingDependency(
            "colours need rich: pip install 'wsgi-asgi-bridge[testing]', or ask for text(color=False)"
        ) from None
    output = io.StringIO()
    # Lines are not wrapped: a diff that is broken in the middle cannot be read.
    console = Console(
        file=output, force_terminal=True, color_system="standard", soft_wrap=True, legacy_windows=False
    )
    console.print(_rich_text(lines), end="")
    return output.getvalue()


def comparison_rich(comparison: Comparison) -> Text:
    """The report as what `rich` prints."""
    return _rich_text(list(comparison_lines(comparison)))


def _rich_text(lines: list[Line]) -> Text:
    from rich.text import Text

    return Text("\n").join(Text(text, style=style) for style, text in lines)


def _terminal_has_colors() -> bool:
    """Whether the standard output is a terminal that shows colours, and `rich` is there."""
    if not (sys.stdout is not None and sys.stdout.isatty()):
        return False
    try:
        from rich.console import Console
    except ImportError:
        return False
    console = Console()
    return console.color_system is not None and not console.no_color
