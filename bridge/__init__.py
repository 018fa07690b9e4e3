"""The adapter toolkit between Python's two web interfaces, WSGI and ASGI.

General layout, each part importing only those above it:

    types, exceptions    the vocabulary, and who broke which contract
    lazy_names           names that are imported when they are asked for
    translate/           pure: scope <-> environ, responses of either interface -> the other, lifespan
    engines/             threads and loops: the pool, the loop thread, the hand-over between thread
                         and task, ports to asyncio and trio; they know nothing of HTTP
    adapters/            thin: one machine of translate joined to one engine; WSGIToASGI and
                         ASGIToWSGI are here
    shim/                sync_to_async and async_to_sync, facades, iterators; asgiref's meaning
    compat               the names and signatures of a2wsgi and asgiref
    serving/, cli        the `bridge` command
"""

from __future__ import annotations

import typing

from ._version import __version__
from .adapters.as_asgi import as_asgi
from .adapters.as_wsgi import as_wsgi
from .adapters.asgi_to_wsgi import ASGIToWSGI
from .adapters.wsgi_to_asgi import WSGIToASGI
from .engines.thread_pool import PoolStats, ThreadPool
from .lazy_names import lazily as _lazily

if typing.TYPE_CHECKING:
    from .shim.to_async import sync_to_async as sync_to_async
    from .shim.to_sync import async_to_sync as async_to_sync

__all__ = [
    "ASGIToWSGI",
    "PoolStats",
    "ThreadPool",
    "WSGIToASGI",
    "__version__",
    "as_asgi",
    "as_wsgi",
    "async_to_sync",
    "sync_to_async",
]

# Serving an app does without these.
__getattr__, __dir__ = _lazily(__name__, {"async_to_sync": "shim.to_sync", "sync_to_async": "shim.to_async"})
