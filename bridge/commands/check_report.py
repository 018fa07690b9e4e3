"""What `bridge check` has found, as a value, and as text, JSON and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .server_limits import HOSTS, Host, Limit, Use, limits_of

if TYPE_CHECKING:
    from ..testing.comparison.result import Comparison
    from ..testing.validation.violations import Violation

_ADAPTERS = {"asgi": "ASGIToWSGI", "wsgi": "WSGIToASGI"}

# As many places are named of a rule that is broken again and again.
_MOST_PLACES = 3


@dataclass(frozen=True)
class Outcome:
    """All that one check has found.

    Attributes:
        app: what the app is, as in "shop:app is a WSGI app (flask.Flask)".
        evidence: how that was found, as half a sentence.
        interface: "asgi" or "wsgi".
        count: how many requests were sent.
        violations: rules that the app broke.
        failures: requests that it fails to answer by itself, with what became of them.
        through: what the other way is called.
        comparison: the app natively and that way.
        uses: what it relies on, and where that was seen.
        servers: those that were asked about; empty for all, which then count for nothing.
    """

    app: str
    evidence: str
    interface: str
    count: int
    violations: Sequence[Violation]
    failures: Sequence[tuple[str, str]]
    through: str
    comparison: Comparison
    uses: Mapping[Use, str]
    servers: Sequence[Host] = field(default=())

    @property
    def broken(self) -> list[Violation]:
        """The violations of what the specification demands; the others are advice."""
        return [each for each in self.violations if each.level == "MUST"]

    @property
    def found(self) -> bool:
        """Whether something is wrong. Of servers only those count that were asked about."""
        breaks = any(
            limit.verdict == "breaks" for host in self.servers for limit in limits_of(host, self.uses)
        )
        return bool(self.broken or self.failures or breaks or not self.comparison.same)

    def rows(self) -> list[tuple[Host, str, list[Limit]]]:
        """The servers: how the app is run there, and what does not work, or not quite."""
        return [
            (
                host,
                "as it is" if host.speaks == self.interface else f"in {_ADAPTERS[self.interface]}",
                limits_of(host, self.uses),
            )
            for host in self.servers or HOSTS.values()
        ]

    # -- text

    def text(self) -> str:
        """The report for people."""
        parts = [
            f"{self.app}: it {self.evidence}",
            self._of_violations("Broken rules", self.broken)
            or f"{_requests(self.count)}, and no rule of its interface was broken",
            self._of_violations("Advice", [each for each in self.violations if each.level != "MUST"]),
            _section("Requests that fail", [f"{label} {what}" for label, what in self.failures]),
            self.comparison.text(color=False),
            _section("It relies on", [f"{use.value}: {where}" for use, where in self.uses.items()]),
            self._of_servers(),
        ]
        return "\n\n".join(part for part in parts if part)

    def _of_violations(self, title: str, violations: Iterable[Violation]) -> str:
        lines = []
        for found in _gathered(violations):
            first = found[0]
            places = list(dict.fromkeys(each.where for each in found))
            more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
            lines.append(
                f"{first.rule} ({first.clause})\n"
                f"    expected: {first.expected}\n"
                f"    came:     {first.came}\n"
                f"    in:       {'; '.join(places[:_MOST_PLACES])}{more}"
            )
        return _section(title, lines)

    def _of_servers(self) -> str:
        hosts = self.servers or tuple(HOSTS.values())
        gathered: dict[Limit, list[Host]] = {}
        for host in hosts:
            for limit in limits_of(host, self.uses):
                gathered.setdefault(limit, []).append(host)
        if not gathered:
            return f"On {_named(hosts, hosts)}: nothing of what it relies on is known to make trouble"
        lines = [
            f"{limit.verdict}  {limit.use.value}: {limit.reason}\n          on {_named(found, hosts)}"
            for limit, found in sorted(gathered.items(), key=lambda pair: pair[0].verdict)
        ]
        limited = {host.name for found in gathered.values() for host in found}
        free = [host for host in hosts if host.name not in limited]
        if free:
            lines.append(f"nothing known on {_named(free, hosts)}")
        return _section("On servers, of what it relies on", lines)

    # -- for programs

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {
            "app": self.app,
            "evidence": self.evidence,
            "interface": self.interface,
            "requests": self.count,
            "clean": not self.found,
            "violations": [
                {
                    "rule": each.rule,
                    "level": each.level,
                    "clause": each.clause,
                    "expected": each.expected,
                    "came": each.came,
                    "where": each.where,
                }
                for each in self.violations
            ],
            "failures": [{"request": label, "outcome": what} for label, what in self.failures],
            "through": self.through,
            "comparison": self.comparison.to_json(),
            "relies_on": {use.name.lower(): where for use, where in self.uses.items()},
            "servers": [
                {
                    "server": host.name,
                    "how": how,
                    "limits": [
                        {"use": limit.use.name.lower(), "verdict": limit.verdict, "reason": limit.reason}
                        for limit in limits
                    ],
                }
                for host, how, limits in self.rows()
            ],
        }

    def html(self) -> str:
        """The report as a page that needs nothing else."""
        rows = "".join(
            f"<tr><th>{_html(host.title)}</th><td>{_html(how)}</td><td>"
            + (
                "".join(f'<p class="{limit.verdict}">{_limit(limit)}</p>' for limit in limits)
                or "nothing known"
            )
            + "</td></tr>"
            for host, how, limits in self.rows()
        )
        sections = [
            self._of_violations("Broken rules", self.broken),
            self._of_violations("Advice", [each for each in self.violations if each.level != "MUST"]),
            _section("Requests that fail", [f"{label} {what}" for label, what in self.failures]),
            self.comparison.text(color=False),
            _section("It relies on", [f"{use.value}: {where}" for use, where in self.uses.items()]),
        ]
        bodies = "".join(f"<pre>{_html(section)}</pre>" for section in sections if section)
        verdict = "something was found" if self.found else "nothing was found"
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_html(self.app)}</title>'
            f"<style>{_STYLE}</style><h1>{_html(self.app)}</h1>"
            f"<p>It {_html(self.evidence)}. {_requests(self.count)}: {verdict}.</p>{bodies}"
            "<h2>On servers, of what it relies on</h2>"
            f"<table><tr><th>server</th><th>how</th><th>limits</th></tr>{rows}</table></html>\n"
        )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222;"
    "background:#fff}pre{background:#f4f4f4;padding:1em;overflow:auto}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}p{margin:0 0 .5em}"
    ".breaks{color:#a00}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre{background:#242424}"
    "td,th{border-color:#444}.breaks{color:#f77}}"
)


def _named(found: Sequence[Host], hosts: Sequence[Host]) -> str:
    """The names of some servers, or that they are all there are of an interface."""
    if len(found) == len(hosts) > 1:
        return "every server"
    parts = []
    for speaks in ("asgi", "wsgi"):
        some = [host for host in found if host.speaks == speaks]
        every = [host for host in hosts if host.speaks == speaks]
        if some == every and len(some) > 1:
            parts.append(f"every {speaks.upper()} server")
        else:
            parts += [host.title for host in some]
    return ", ".join(parts)


def _html(text: str) -> str:
    return html.escape(text, quote=True)


def _limit(limit: Limit) -> str:
    text = _html(f"{limit.verdict}: {limit.use.value}: {limit.reason}")
    return f'<p class="{limit.verdict}">{text}</p>'


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)]) if lines else ""


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _gathered(violations: Iterable[Violation]) -> list[list[Violation]]:
    """By what is alike about them, in the order of the first of each."""
    found: dict[tuple[str, str, str], list[Violation]] = {}
    for each in violations:
        found.setdefault((each.rule, each.expected, each.came), []).append(each)
    return list(found.values())
