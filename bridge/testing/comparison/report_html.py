"""The report of a comparison as one HTML page.

It needs nothing else: no script, no font, no style from elsewhere, and its policy forbids all of
them, so that what an app answered can only be shown, never run. It follows the reader's choice of light
or dark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from ..exchange import Headers, Response
from .report_text import hex_diff, shown, summary, text_diff, visible
from .result import ABSENT, Comparison, Difference, Result

# A value longer than this many characters is folded away.
_FOLDED_FROM = 120
# More of a value than this is no help to a reader, and pages of many megabytes do not open.
_MOST_SHOWN = 20_000
_STYLE = """
:root { color-scheme: light dark; --text: #1d2330; --soft: #5b6475; --page: #fff; --panel: #f5f6f8;
  --line: #d9dde4; --old: #fdecea; --old-ink: #8f1d14; --new: #e5f5e8; --new-ink: #14562a;
  --bad: #b3261e; --good: #1a7335; --link: #1a56b8; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8ec; --soft: #a0a8b6; --page: #15181e;
  --panel: #1e222a; --line: #363c48; --old: #3a1d1c; --old-ink: #ffb4ab; --new: #16301d;
  --new-ink: #9fdcae; --bad: #ff8a80; --good: #7bd88f; --link: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, monospace; }
a { color: var(--link); } .soft { color: var(--soft); }
.sum { font-size: 1.1rem; font-weight: 600; margin: 0; }
.bad { color: var(--bad); } .good { color: var(--good); }
table { border-collapse: collapse; }
table.wide { width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 600; font-size: .875rem; } td.n, th.n { text-align: right;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow-x: auto; }
section.request { border: 1px solid var(--line); border-radius: .5rem; margin: 0 0 1.25rem;
  overflow: hidden; }
section.request > header { background: var(--panel); padding: .6rem .8rem; }
section.request > .body { padding: .25rem .8rem .8rem; }
table.differences { width: 100%; table-layout: fixed; min-width: 40rem; }
table.differences .kind { width: 11rem; } table.differences .where { width: 22%; }
table.differences td { overflow-wrap: anywhere; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; } code { overflow-wrap: anywhere; }
td.old { background: var(--old); } td.new { background: var(--new); }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { display: block; padding: 0 .4rem; min-height: 1.45em; }
pre .red { background: var(--old); color: var(--old-ink); }
pre .green { background: var(--new); color: var(--new-ink); } pre .cyan, pre .dim { color: var(--soft); }
details pre { max-height: 30rem; overflow: auto; }
summary { cursor: pointer; } details[open] > summary { margin-bottom: .4rem; }
.none { color: var(--soft); font-style: italic; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
h4 { margin: .25rem 0; font-size: .875rem; color: var(--soft); }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="sum {verdict}">{sum}</p>
</header>
<main>
{main}
</main>
</body>
</html>
"""


def comparison_html(comparison: Comparison, title: str = "") -> str:
    """The page; see `Comparison.html`."""
    return _PAGE.format(
        title=_text(title or f"{comparison.old_name} and {comparison.new_name} compared"),
        style=_STYLE,
        verdict="good" if comparison.same else "bad",
        sum=_text(summary(comparison)),
        main="\n".join(_main(comparison)),
    )


def _main(comparison: Comparison) -> Iterator[str]:
    if not comparison.same:
        yield "<h2>Kinds of differences</h2>"
        yield _kinds(comparison)
        yield "<h2>Requests with differences</h2>"
        for number, result in enumerate(comparison.results, 1):
            if not result.same:
                yield "\n".join(_request(number, result, comparison.old_name, comparison.new_name))
    if comparison.results:
        yield "<h2>All requests</h2>"
        yield _overview(comparison)


def _kinds(comparison: Comparison) -> str:
    counts = Counter(each.kind for each in comparison.differences)
    requests = Counter(kind for result in comparison for kind in {each.kind for each in result.differences})
    rows = (
        f"<tr><td><code>{_text(kind)}</code></td>{_number(count)}{_number(requests[kind])}</tr>"
        for kind, count in counts.most_common()
    )
    return _table(_column("Kind") + _column("Differences", "n") + _column("Requests", "n"), rows)


def _column(title: str, name: str = "") -> str:
    return f'<th scope="col" class="{name}">{title}</th>' if name else f'<th scope="col">{title}</th>'


def _number(text: object) -> str:
    return f'<td class="n">{text}</td>'


def _table(head: str, rows: Iterable[str], name: str = "") -> str:
    opening = f'<table class="{name}">' if name else "<table>"
    return (
        f'<div class="scroll">{opening}<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _overview(comparison: Comparison) -> str:
    old, new = _text(comparison.old_name), _text(comparison.new_name)
    numbers = (f"Status, {old}", f"Status, {new}", f"Time, {old}", f"Time, {new}")
    head = _column("No.", "n") + _column("Request") + _column("Result")
    head += "".join(_column(title, "n") for title in numbers)
    return _table(
        head, (_overview_row(number, result) for number, result in enumerate(comparison.results, 1)), "wide"
    )


def _overview_row(number: int, result: Result) -> str:
    count = len(result.differences)
    said = f"{count} difference{'s' if count > 1 else ''}"
    outcome = (
        f'<a class="bad" href="#request-{number}">{said}</a>' if count else '<span class="good">alike</span>'
    )
    numbers = (
        _number(text)
        for text in (*map(_status, (result.old, result.new)), *map(_time, (result.old, result.new)))
    )
    label = f"<td><code>{_text(result.request.label)}</code></td>"
    return f"<tr>{_number(number)}{label}<td>{outcome}</td>{''.join(numbers)}</tr>"


def _status(response: Response) -> str:
    if response.error is not None:
        raised = _text(type(response.error).__name__)
        return f"{response.status}, then {raised}" if response.status else raised
    return str(response.status)


def _time(response: Response) -> str:
    return f"{response.elapsed * 1000:.1f} ms"


def _request(number: int, result: Result, old_name: str, new_name: str) -> Iterator[str]:
    yield f'<section class="request" id="request-{number}">'
    line = f"{result.request.method} {result.request.target}"
    also = f'<div class="soft"><code>{_text(line)}</code></div>' if result.request.name else ""
    if result.new_request is not None:
        other = f"{new_name}: {result.new_request.method} {result.new_request.target}"
        also += f'<div class="soft"><code>{_text(other)}</code></div>'
    yield f"<header><h3>{_text(result.request.label)}</h3>{also}</header>"
    yield '<div class="body">'
    head = _column("Kind", "kind") + _column("Where", "where")
    head += _column(_text(old_name)) + _column(_text(new_name))
    yield _table(head, (_row(each, (old_name, new_name)) for each in result.differences), "differences")
    yield "<details><summary>Request and responses</summary>"
    yield _head("request", line, result.request.headers)
    yield '<div class="pair">'
    for name, response in ((old_name, result.old), (new_name, result.new)):
        first = f"{_status(response)} {_text(response.reason)}"
        yield f"<div>{_head(name, first, response.headers, ready=True)}"
        yield f"{_folded(response.body) if response.body else _none('no body')}</div>"
    yield "</div></details></div></section>"


def _head(title: str, first: str, headers: Headers, *, ready: bool = False) -> str:
    lines = [first if ready else _text(first), *(_text(f"{name}: {value}") for name, value in headers)]
    return f"<h4>{_text(title)}</h4><pre>" + "\n".join(lines) + "</pre>"


def _row(difference: Difference, names: tuple[str, str]) -> str:
    old, new = difference.old, difference.new
    note = f'<div class="soft">{_text(difference.detail)}</div>' if difference.detail else ""
    start = f'<tr><td class="kind"><code>{_text(difference.kind)}</code></td>'
    start += f'<td class="where"><code>{_text(difference.where)}</code>{note}</td>'
    if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        lines = text_diff(old, new, *map(visible, names))
    elif isinstance(old, bytes) and isinstance(new, bytes):
        lines = hex_diff(old, new)
    else:
        return f'{start}<td class="old">{_value(old)}</td><td class="new">{_value(new)}</td></tr>'
    diff = "".join(f'<span class="{style}">{escape(text)}</span>' for style, text in lines)
    whole = "".join(f"<div>{_folded(side)}</div>" for side in (old, new))
    return f'{start}<td colspan="2"><pre>{diff}</pre><div class="pair">{whole}</div></td></tr>'


def _value(value: Any) -> str:
    if value is ABSENT:
        return _none("absent")
    text = shown(value, _MOST_SHOWN)
    if len(text) <= _FOLDED_FROM:
        return f"<code>{escape(text)}</code>"
    start = escape(text[: _FOLDED_FROM // 2])
    return f"<details><summary><code>{start}…</code></summary><pre>{escape(text)}</pre></details>"


def _folded(value: str | bytes) -> str:
    """A body or text that can be opened: its lines as lines."""
    if isinstance(value, bytes):
        title = f"{len(value)} bytes"
        value = value[:_MOST_SHOWN].decode("utf-8", "backslashreplace")
    else:
        title = f"{len(value)} characters"
    lines = "\n".join(visible(line) for line in value[:_MOST_SHOWN].split("\n"))
    return f'<details><summary class="soft">{title}</summary><pre>{escape(lines)}</pre></details>'


def _none(text: str) -> str:
    return f'<span class="none">{text}</span>'


def _text(text: str) -> str:
    return escape(visible(text))
