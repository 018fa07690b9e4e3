"""Peak memory of long bodies of ASGI apps: see benchmarks/memory.py."""

from __future__ import annotations

from typing import Any

from benchmarks import memory
from benchmarks.asgi_under_wsgi import adapters
from benchmarks.asgi_under_wsgi.streams import Transfer, download, downloader, upload, uploader
from benchmarks.bodies import MIB, fresh, repeated
from benchmarks.memory import Order, Peak

SCENARIO = memory.Scenario(
    "asgi-memory",
    module="benchmarks.asgi_under_wsgi.memory",
    contenders=lambda: [contender.name for contender in adapters.available()],
    loop=lambda settings: adapters.ASYNCIO,
)


def _begin(order: Order, mebibytes: int) -> tuple[Any, Transfer]:
    if order.down:
        return downloader(mebibytes, copies=True), download(mebibytes * MIB, order.pause)
    return uploader(order.pause), upload(fresh(repeated(mebibytes)), mebibytes * MIB)


def _transfer(order: Order, peak: Peak) -> None:
    current: Any = None

    # One adapter for both transfers, so that its threads exist before the baseline is taken.
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (current or downloader(0))(scope, receive, send)

    served = adapters.BY_NAME[order.contender].build(app, order.loop)
    for mebibytes in (memory.WARM_UP, order.size):
        current, transfer = _begin(order, mebibytes)
        peak.reset()
        transfer.make(served.app)


if __name__ == "__main__":
    memory.child(list(adapters.BY_NAME), _transfer)
