"""Checks of the arguments that several functions of the shim share."""

from __future__ import annotations

from concurrent.futures import Executor

from ..engines.thread_pool import ThreadPool
from ..exceptions import UsageError


def require_pool(pool: object) -> None:
    """Raise `UsageError` unless it is a `ThreadPool` or `None`."""
    if pool is not None and not isinstance(pool, ThreadPool):
        instead = "; sync_to_async takes an Executor as executor=" if isinstance(pool, Executor) else ""
        raise UsageError(f"pool must be a bridge.ThreadPool; got {pool!r}{instead}")


def require_executor(executor: object) -> None:
    """Raise `UsageError` unless it can be used as a `concurrent.futures.Executor`, or is `None`."""
    if isinstance(executor, ThreadPool):
        raise UsageError(f"executor must be a concurrent.futures.Executor; give {executor!r} as pool=")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise UsageError(f"executor must be a concurrent.futures.Executor; got {executor!r}")


def require_read_ahead(read_ahead: object) -> None:
    """Raise `UsageError` unless it is a number of items."""
    if not isinstance(read_ahead, int) or isinstance(read_ahead, bool) or read_ahead < 0:
        raise UsageError(f"read_ahead must be a number of items, 0 or more; got {read_ahead!r}")
