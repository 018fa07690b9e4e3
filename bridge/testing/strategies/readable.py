"""The repr of generated values: what differs from the simplest one, as an expression to paste."""

from __future__ import annotations

import dataclasses
from typing import Any

# Longer runs of one byte are written as a product.
_LONGEST_RUN = 40


class Readable:
    """A dataclass that is written with those of its fields only that differ from their defaults."""

    def __repr__(self) -> str:
        told = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value: Any = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                told.append(f"{field.name}={expression(value)}")
        return f"{type(self).__name__}({', '.join(told)})"


def expression(value: object) -> str:
    """The value as Python reads it, with long runs of one byte or character shortened.

    Tuples are looked into; everything else is written by its own repr.
    """
    if isinstance(value, tuple) and type(value) is tuple:
        inner = ", ".join(map(expression, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, (bytes, str)) and len(value) > _LONGEST_RUN:
        first = value[:1]
        rest = value.lstrip(first)  # type: ignore[arg-type]
        run = len(value) - len(rest)
        if run > _LONGEST_RUN:
            shortened = f"{first!r} * {run}"
            return f"{shortened} + {rest!r}" if rest else shortened
    return repr(value)
