"""Answers an ASGI server's lifespan on behalf of a WSGI app, which has none (conformance L-01, L-02)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Sequence
from typing import cast

from ..engines.home import enter
from ..engines.offload import run_in_new_thread, run_in_pool
from ..engines.ports import Port
from ..engines.thread_pool import ThreadPool
from ..translate.lifespan import LifespanAnswers
from ..types import Hook, Receive, Send

logger = logging.getLogger("bridge.lifespan")


async def answer_lifespan(
    receive: Receive,
    send: Send,
    port: Port,
    pool: ThreadPool,
    *,
    on_startup: Sequence[Hook],
    on_shutdown: Sequence[Hook],
    drain: bool,
    drain_timeout: float | None,
) -> None:
    """Serve one lifespan scope: hooks, and the release of the pool's threads at shutdown.

    Args:
        drain: wait for the pool's running jobs, and let its threads end, before shutdown is complete.
        drain_timeout: the longest such wait in seconds; what still runs then is logged, and left.
    """
    answers = LifespanAnswers()

    answers.receive(await receive())
    try:
        for hook in on_startup:
            await _call_hook(hook, port, pool)
    except Exception as error:
        logger.exception("a start-up hook failed")
        await send(answers.failed(_reason(error)))
        return
    await send(answers.complete())

    answers.receive(await receive())
    failure: Exception | None = None
    for hook in on_shutdown:
        try:
            await _call_hook(hook, port, pool)
        except Exception as error:
            logger.exception("a shutdown hook failed")
            failure = failure or error
    if drain and not await run_in_new_thread(port, lambda: pool.drain(drain_timeout), "bridge-drain"):
        logger.warning(
            "after %s s these requests still run and are left to end with the process:\n%s",
            drain_timeout,
            pool.dump(older_than=0.0),
        )
    await send(answers.complete() if failure is None else answers.failed(_reason(failure)))


async def _call_hook(hook: Hook, port: Port, pool: ThreadPool) -> None:
    import inspect  # loaded already where a loop runs; not worth waiting for at import

    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
        await cast("Awaitable[object]", hook())
    else:
        await run_in_pool(pool, port, functools.partial(_in_worker, hook, port))


def _in_worker(hook: Hook, port: Port) -> None:
    enter(port)
    hook()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
