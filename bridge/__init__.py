"""The adapter toolkit between Python's two web interfaces, WSGI and ASGI.

General layout, each part importing only those above it:

    types, exceptions    the vocabulary, and who broke which contract
    translate/           pure: scope -> environ, WSGI responses -> ASGI messages, lengths, headers
    engines/             threads and loops: the pool, the hand-over between thread and task, ports
                         to asyncio and trio; they know nothing of HTTP
    adapters/            thin: one machine of translate joined to one engine; WSGIToASGI is here
    compat               the names and signatures of a2wsgi and asgiref
    serving/, cli        the `bridge` command
"""

from __future__ import annotations

from ._version import __version__
from .adapters.as_asgi import as_asgi
from .adapters.wsgi_to_asgi import WSGIToASGI
from .engines.thread_pool import PoolStats, ThreadPool

__all__ = ["PoolStats", "ThreadPool", "WSGIToASGI", "__version__", "as_asgi"]
