"""A short storm of faulty requests: nothing hangs, nothing truncated looks whole, nothing is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import uvloop
from support.faults import FAILS_FIRST, FAILS_LATE, NEVER_ENDS, WHOLE, Storm

THREADS = 16
REQUESTS = 150


@pytest.mark.req("A-01", "A-10", "A-25", "A-26", "A-27", "A-29")
@pytest.mark.parametrize(
    ("loop_factory", "seed"),
    [(asyncio.new_event_loop, 1), (uvloop.new_event_loop, 2)],
    ids=["asyncio", "uvloop"],
)
def test_a_storm_of_faults_leaves_nothing(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="bridge")  # the errors of the requests are on purpose
    result = Storm(THREADS, seed, loop_factory).run(requests=REQUESTS)
    assert result.faults == []
    assert result.requests == THREADS * REQUESTS
    paths = {kind.split()[0] for kind in result.kinds}
    assert paths == {*WHOLE, *FAILS_FIRST, *FAILS_LATE, *NEVER_ENDS}
