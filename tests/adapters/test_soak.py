"""A short soak: thousands of requests of every kind in one process leave it as it was."""

from __future__ import annotations

import logging

import pytest
from support.soaking import Soak, growth

REQUESTS = {"asyncio": 2_000, "uvloop": 600, "trio": 300}


@pytest.mark.req("W-24", "W-27")
@pytest.mark.parametrize("loop_and_count", REQUESTS.items(), ids=list(REQUESTS))
def test_nothing_grows(loop_and_count: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    """Memory, objects, threads, descriptors, garbage."""
    caplog.set_level(logging.CRITICAL, "bridge")  # the errors of the requests are on purpose
    loop, count = loop_and_count
    before, after = Soak(loop).run(count, warm_up=300)
    assert growth(before, after) == []
