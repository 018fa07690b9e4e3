"""The adapter toolkit between Python's two web interfaces, WSGI and ASGI.

General layout, each part importing only those above it:

    types, exceptions    the vocabulary, and who broke which contract
    translate/           pure: scope <-> environ, responses of either interface -> the other, lifespan
    engines/             threads and loops: the pool, the loop thread, the hand-over between thread
                         and task, ports to asyncio and trio; they know nothing of HTTP
    adapters/            thin: one machine of translate joined to one engine; WSGIToASGI and
                         ASGIToWSGI are here
    compat               the names and signatures of a2wsgi and asgiref
    serving/, cli        the `bridge` command
"""

from __future__ import annotations

from ._version import __version__
from .adapters.as_asgi import as_asgi
from .adapters.as_wsgi import as_wsgi
from .adapters.asgi_to_wsgi import ASGIToWSGI
from .adapters.wsgi_to_asgi import WSGIToASGI
from .engines.thread_pool import PoolStats, ThreadPool

__all__ = ["ASGIToWSGI", "PoolStats", "ThreadPool", "WSGIToASGI", "__version__", "as_asgi", "as_wsgi"]
