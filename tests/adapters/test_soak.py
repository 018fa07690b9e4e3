"""A short soak: a thousand requests of every kind in one process leave it as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.soaking import KINDS


@pytest.mark.timeout(150)  # for a busy machine; it takes four seconds, two of them at rest
@pytest.mark.req("W-24", "W-27")
def test_nothing_grows(command: Callable[..., list[str]], loop: str) -> None:
    """Memory, objects, threads, descriptors, garbage."""
    lines = command(
        "soak.py", "--loop", loop, "--warm-up", str(10 * len(KINDS)), "--requests", str(50 * len(KINDS))
    )
    assert lines[-1] == "nothing has grown"
