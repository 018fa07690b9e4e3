"""Secrets in tables of text (CSV): the columns whose names stand for secrets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

_DELIMITERS = (",", ";", "\t", "|")


def redact_csv(text: str, is_secret: Callable[[str], bool], mark: Callable[[str], str]) -> str:
    """The table with marks in the columns of secret names; as it was if there are none.

    The first row holds the names. The delimiter is the one that occurs most in it.
    """
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return mark(text)
    columns = {index for index, name in enumerate(rows[0] if rows else ()) if is_secret(name)}
    if not columns:
        return text
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n" if "\r\n" in text else "\n")
    writer.writerow(rows[0])
    for row in rows[1:]:
        writer.writerow([mark(cell) if index in columns else cell for index, cell in enumerate(row)])
    return out.getvalue()
