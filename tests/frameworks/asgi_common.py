"""What the ASGI sites of these tests have in common: a resource that lives as long as they, files, errors."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

BLOB = bytes(range(256)) * 1024
"""What the sites send as a file: 256 KiB that tell their position."""

HERE = Path(__file__).resolve().parent
"""What the sites serve under `/static`."""

# A fixed time, so that the file's tag and date are the same in every process.
_MODIFIED = 1_700_000_000

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
"""Set by the sites' middleware from `X-Tenant`; read further in, and in threads."""


_visits = threading.local()


def count_visit() -> int:
    """How often this was called in this thread. (Its ident may be that of an earlier one.)"""
    _visits.count = count = getattr(_visits, "count", 0) + 1
    return count


class Planned(Exception):
    """Raised by the sites on purpose."""


class Refused(Exception):
    """Raised by the sites on purpose; they have a handler for it."""


@dataclass
class Life:
    """What the lifespans of a site have done so far, in order."""

    events: list[str] = field(default_factory=list)


class Pool:
    """A pool of connections as database libraries have them: bound to the loop that opened it.

    Attributes:
        loop: that loop.
        blob: the file that the site sends.
    """

    def __init__(self, blob: Path, size: int = 2) -> None:
        self.loop = asyncio.get_running_loop()
        self.blob = blob
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for number in range(size):
            self._free.put_nowait(number)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[int]:
        """One of the connections, waited for."""
        assert asyncio.get_running_loop() is self.loop, "the pool is used on another loop"
        number = await self._free.get()
        try:
            yield number
        finally:
            self._free.put_nowait(number)

    @property
    def free(self) -> int:
        return self._free.qsize()


@asynccontextmanager
async def open_pool(life: Life) -> AsyncIterator[Pool]:
    """What a site's lifespan opens and closes."""
    life.events.append("startup")
    yield Pool(_blob())
    # Closing is work for the loop as well.
    await asyncio.sleep(0)
    life.events.append("shutdown")


@cache
def _blob() -> Path:
    """A file with `BLOB`; one a process, as a file's name may be part of its tag."""
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    blob = Path(directory, "blob.bin")
    blob.write_bytes(BLOB)
    os.utime(blob, (_MODIFIED, _MODIFIED))
    return blob
