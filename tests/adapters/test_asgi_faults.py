"""A short storm of faulty requests: nothing hangs, nothing truncated looks whole, nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.timeout(150)  # for a busy machine; it takes a second
@pytest.mark.req("A-01", "A-10", "A-25", "A-26", "A-27", "A-29")
@pytest.mark.parametrize(("loop", "seed"), [("asyncio", 1), ("uvloop", 2)], ids=["asyncio", "uvloop"])
def test_a_storm_of_faults_leaves_nothing(command: Callable[..., list[str]], loop: str, seed: int) -> None:
    lines = command(
        "soak_asgi.py", "--loop", loop, "--seed", str(seed), "--threads", "16", "--requests", "150"
    )
    assert lines[0].startswith("2400 requests of ")
    assert lines[1:] == ["nothing is left behind"]
