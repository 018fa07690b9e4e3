"""Peak memory of long bodies of WSGI apps: see benchmarks/memory.py."""

from __future__ import annotations

from typing import Any

from benchmarks import memory
from benchmarks.bodies import MIB, fresh, repeated
from benchmarks.eventloop import run
from benchmarks.memory import Order, Peak
from benchmarks.wsgi_under_asgi import adapters
from benchmarks.wsgi_under_asgi.streams import (
    Transfer,
    download,
    downloader,
    slow_uploader,
    upload,
    uploader,
)

SCENARIO = memory.Scenario(
    "memory",
    module="benchmarks.wsgi_under_asgi.memory",
    contenders=lambda: [contender.name for contender in adapters.available()],
    loop=lambda settings: settings.loop,
    smaller={("starlette", "up"): 16, ("starlette", "up, slow reader"): 16},
)


def _begin(order: Order, mebibytes: int) -> tuple[Any, Transfer]:
    if order.down:
        return downloader(mebibytes, copies=True), download(mebibytes * MIB, order.pause)
    pieces = fresh(repeated(mebibytes))
    told = str(mebibytes * MIB)
    return slow_uploader if order.pause else uploader, upload(pieces, mebibytes * MIB, told)


async def _transfer(order: Order, peak: Peak) -> None:
    current: Any = None

    # One adapter for both transfers, so that its threads exist before the baseline is taken.
    def app(environ: Any, start_response: Any) -> Any:
        return current(environ, start_response)

    adapter = adapters.BY_NAME[order.contender].build(app, None)
    for mebibytes in (memory.WARM_UP, order.size):
        current, transfer = _begin(order, mebibytes)
        peak.reset()
        await transfer.make(adapter)


if __name__ == "__main__":
    memory.child(list(adapters.BY_NAME), lambda order, peak: run(_transfer(order, peak), order.loop))
