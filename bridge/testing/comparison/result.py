"""What a comparison found, as values: differences, the result of each request, all results.

Reports are made from them in `report_text` and `report_html`. The kinds of differences:

    status, reason                        the status line; the reason only with `Rules.exact_reason()`
    error/raised, error/not-raised        the new app raised and the old answered; the reverse. In the place
                                          "request": the request could not be made from the new answers
    error/type, error/message             both raised, but not the same
    incomplete                            one of the two broke off after its response had begun
    header/missing, extra, value,         headers, by their names
      repeated, case, order               (case and order with `Rules.exact_headers()`)
    content-type, charset                 the two parts of Content-Type that clients act upon
    redirect, redirect/count              Location, resolved; how many redirects were followed
    cookie/missing, extra, value,         cookies that are set, each by its name
      attribute, deleted, repeated
    body/missing, extra                   one body is empty and the other is not
    body/length                           Content-Length does not agree with the body on one side only
    body/encoding                         a content coding that cannot be undone on one side only
    body/bytes                            bytes that differ, of a body that is no text or that is compared
                                          exactly
    body/bom                              a byte order mark on one side only
    body/custom                           what a comparer of the user's said
    json/missing, extra, type, value,     by the path in the document
      length, order, duplicate, invalid
    html/..., xml/...: text, attribute,   by the path of elements
      element, missing, extra, comment, doctype, invalid
    form/missing, extra, value            fields of a form
    text, text/whitespace,                text; differences in white space only, in line endings only
      text/line-endings
    part/count                            parts of a multipart body
    trailer/...                           as header/...
    effects/...                           what the hook `effects` read, as json/...
    time                                  with `slower=` only
    rule/failed                           a function of a rule raised
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Final

from ...exceptions import BehaviourDiffers
from ..exchange import Request, Response

# A body in `to_json()` longer than this many characters is cut: the file is for programs that count and
# sort, the whole body is in the responses.
_LONGEST_VALUE = 2000


class Absent:
    """The type of `ABSENT`, which stands for a value that is not there: other than null."""

    def __repr__(self) -> str:
        return "(absent)"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True)
class Difference:
    """One thing that is not alike.

    Attributes:
        kind: what sort of thing; see the table at the top of this module.
        where: a header's or cookie's name, a JSON path, a path of elements, a line, a byte.
        old: the value on the old side, `ABSENT` if there is none.
        new: the value on the new side.
        detail: what more there is to say, in words; may be empty.
    """

    kind: str
    where: str
    old: Any = ABSENT
    new: Any = ABSENT
    detail: str = ""

    @classmethod
    def of(cls, kind: str, where: str, sides: Sequence[Any], detail: str = "") -> Difference:
        """The same as the constructor, with the old and the new value as a pair."""
        old, new = sides
        return cls(kind, where, old, new, detail)

    def within(self, place: str) -> Difference:
        """The same, of a part of something larger."""
        return replace(self, where=f"{place}: {self.where}" if self.where else place)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; a side that has no value has no key."""
        sides = {"old": self.old, "new": self.new}
        return {
            "kind": self.kind,
            "where": self.where,
            **{side: _jsonable(value) for side, value in sides.items() if value is not ABSENT},
            **({"detail": self.detail} if self.detail else {}),
        }

    def __str__(self) -> str:
        from .report_text import difference_line

        return difference_line(self)


@dataclass(frozen=True)
class Result:
    """One request, and what came of it on both sides.

    Attributes:
        request: as it was sent to the old side.
        old: the old side's answer.
        new: the new side's answer.
        differences: empty if both behaved alike.
        effects: what the hook `effects` read after the request, the old side's and the new side's;
            `None` without the hook.
        new_request: as it was sent to the new side, if that is another one (it depended on an answer).
    """

    request: Request
    old: Response
    new: Response
    differences: tuple[Difference, ...] = ()
    effects: tuple[Any, Any] | None = None
    new_request: Request | None = None

    @property
    def same(self) -> bool:
        """Whether both behaved alike."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the request, both statuses and times, the differences."""
        return {
            "request": {
                "name": self.request.label,
                "method": self.request.method,
                "target": self.request.target,
            },
            "same": self.same,
            "old": {"status": self.old.status, "seconds": self.old.elapsed},
            "new": {"status": self.new.status, "seconds": self.new.elapsed},
            "differences": [each.to_json() for each in self.differences],
        }


@dataclass(frozen=True, repr=False)
class Comparison:
    """The results of all requests; true in a condition if all are alike.

    Attributes:
        results: in the order of the requests.
        old_name: what reports call the old side.
        new_name: what reports call the new side.
        stopped: why not all requests were sent; empty if they were.
    """

    results: tuple[Result, ...]
    old_name: str = "old"
    new_name: str = "new"
    stopped: str = ""

    @property
    def same(self) -> bool:
        """Whether no request showed a difference."""
        return all(result.same for result in self.results)

    def __bool__(self) -> bool:
        return self.same

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    @property
    def different(self) -> list[Result]:
        """The results that show differences."""
        return [result for result in self.results if not result.same]

    @property
    def differences(self) -> list[Difference]:
        """The differences of all requests, in order."""
        return [each for result in self.results for each in result.differences]

    def text(self, color: bool | None = None) -> str:
        """The report for people who read text.

        Args:
            color: whether with the colours of a terminal, which needs `rich`. `None`: if the standard
                output is a terminal, `rich` is installed and nothing in the environment forbids it.

        Raises:
            MissingDependency: colours were asked for and `rich` is not installed.
        """
        from .report_text import comparison_text

        return comparison_text(self, color)

    def html(self, title: str = "") -> str:
        """The report as one HTML page that needs nothing else; by default its title is the two names."""
        from .report_html import comparison_html

        return comparison_html(self, title)

    def write_html(self, path: str | PathLike[str], title: str = "") -> None:
        """Write the report to a file, in UTF-8.

        Raises:
            OSError: it cannot be written.
        """
        # A response may hold what no encoding has, such as half of a surrogate pair in JSON.
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(self.html(title))

    def to_json(self) -> dict[str, Any]:
        """All of it as a JSON object, for programs; long values are cut."""
        return {
            "old": self.old_name,
            "new": self.new_name,
            "same": self.same,
            "requests": len(self.results),
            "different": len(self.different),
            "stopped": self.stopped,
            "results": [result.to_json() for result in self.results],
        }

    def assert_same(self) -> None:
        """Do nothing if all is alike.

        Raises:
            BehaviourDiffers: something is not; the message is the report.
        """
        __tracebackhide__ = True  # pytest then shows the caller's line
        if not self.same:
            raise BehaviourDiffers(self.text(color=False))

    def __repr__(self) -> str:
        from .report_text import summary

        return f"<Comparison of {summary(self)}>"

    def __str__(self) -> str:
        return self.text(color=False)

    def __rich__(self) -> Any:
        from .report_text import comparison_rich

        return comparison_rich(self)


def _jsonable(value: Any) -> Any:
    """A value of a difference as JSON has it; what JSON has no form for as text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return (
            value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}… ({len(value)} characters)"
        )
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _jsonable(str(value))
    return value if len(text) <= _LONGEST_VALUE else _jsonable(text)
