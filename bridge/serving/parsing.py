"""Other programs' parsers, used as the programs themselves do.

What stands behind `--` belongs to the server: its own parser knows names, checks and defaults, those
of versions to come included. Some of these parsers exist only inside a `main` function that then
starts the server; such a function is called here with a stand-in for what it would start.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def program(name: str) -> Iterator[None]:
    """While the block lasts, parsers call the program so in their messages."""
    before = sys.argv[0]
    sys.argv[0] = name
    try:
        yield
    finally:
        sys.argv[0] = before


@contextmanager
def replaced(holder: Any, name: str, value: Any) -> Iterator[None]:
    """While the block lasts, `holder` has another value under `name`, which it must have."""
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before)
