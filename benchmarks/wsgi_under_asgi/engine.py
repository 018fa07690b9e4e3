"""Bridge's pool and hand-over alone, without HTTP: what the adapter stands on, to be set beside the floor.

What the adapter costs beyond this is translation and the app's call.
"""

from __future__ import annotations

from benchmarks.answers import HELLO, WrongAnswer
from benchmarks.clients import Request
from benchmarks.wsgi_under_asgi.apps import trivial
from bridge.engines.handoff import Outbound
from bridge.engines.running import running_port
from bridge.engines.thread_pool import Job, ThreadPool, Worker
from bridge.exceptions import PoolError

WRITE_AHEAD = 1 << 18


class Crossing(Job):
    """The least that a job of the pool can do: hand one item back and be over, as for a small response."""

    __slots__ = ("outbound",)

    def __init__(self, outbound: Outbound) -> None:
        super().__init__()
        self.outbound = outbound

    def run(self, worker: Worker) -> None:
        self.outbound.put_all([trivial()])

    def refuse(self, error: PoolError) -> None:
        self.outbound.abort(error)


def engine_request() -> Request:
    """A function that crosses to a pool of its own and back. Call it on the loop.

    The pool's threads end when the function is dropped.
    """
    pool = ThreadPool()
    port = running_port()

    async def request() -> None:
        outbound = Outbound(port, WRITE_AHEAD)
        pool.submit(Crossing(outbound))
        flag = outbound.park()
        if flag is not None:
            await flag
        if outbound.take() != [HELLO]:
            raise WrongAnswer("not what the function returns")

    return request
