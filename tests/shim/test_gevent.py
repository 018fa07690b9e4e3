"""Under gevent's monkey patches: a greenlet that waits holds up no other, and loops run in real threads.

In processes of their own, since the patches cannot be taken back.
"""

from __future__ import annotations

import pytest
from support.engines import script

pytest.importorskip("gevent")

BEGINNING = """
from gevent import monkey
monkey.patch_all()
import asyncio, threading, time
import gevent
from bridge import ThreadPool, async_to_sync, sync_to_async
"""


def test_other_greenlets_go_on_while_one_waits() -> None:
    """Of asgiref's function it is known that it does not return here (django/asgiref#443)."""
    out = script(
        BEGINNING
        + """
log = []
async def coroutine():
    loop_thread.append(threading.current_thread())
    while log.count("other") < 2:
        await asyncio.sleep(0.001)
    return "result"
loop_thread = []
def waits():
    log.append("begins")
    log.append(async_to_sync(coroutine)())
def others():
    while "result" not in log:
        log.append("other")
        gevent.sleep(0.001)
greenlets = [gevent.spawn(waits), gevent.spawn(others)]
gevent.joinall(greenlets, timeout=20, raise_error=True)
assert log[0] == "begins" and log[1] == "other", log
assert loop_thread[0] is not threading.main_thread()
print("done")
"""
    )
    assert out == "done\n"


def test_greenlets_wait_together_for_coroutines_that_meet() -> None:
    """All on one loop; and again, since it stays."""
    out = script(
        BEGINNING
        + """
arrived, loops = [], set()
async def meet(number):
    loops.add(asyncio.get_running_loop())
    arrived.append(number)
    while len(arrived) < 50:
        await asyncio.sleep(0.001)
    return number
for _ in range(2):
    arrived.clear()
    greenlets = [gevent.spawn(async_to_sync(meet), number) for number in range(50)]
    gevent.joinall(greenlets, timeout=20, raise_error=True)
    assert [greenlet.value for greenlet in greenlets] == list(range(50))
assert len(loops) == 1
print("done")
"""
    )
    assert out == "done\n"


def test_what_is_thread_sensitive_runs_in_the_greenlet_that_waits() -> None:
    """Nested several times, with greenlet-locals as its thread-locals."""
    out = script(
        BEGINNING
        + """
local = threading.local()
async def coroutine(depth):
    def function():
        assert gevent.getcurrent() is local.greenlet
        if depth:
            return async_to_sync(coroutine)(depth - 1) + 1
        return 1
    return await sync_to_async(function)()
def request():
    local.greenlet = gevent.getcurrent()
    return async_to_sync(coroutine)(4)
greenlets = [gevent.spawn(request) for _ in range(10)]
gevent.joinall(greenlets, timeout=20, raise_error=True)
assert [greenlet.value for greenlet in greenlets] == [5] * 10
print("done")
"""
    )
    assert out == "done\n"


def test_what_is_not_runs_beside_the_loop() -> None:
    """In a pool of one, nested; a function there may sleep as gevent has it."""
    out = script(
        BEGINNING
        + """
pool = ThreadPool(1)
async def coroutine(depth):
    def function():
        time.sleep(0.001)
        return async_to_sync(coroutine)(depth - 1) + 1 if depth else 1
    return await sync_to_async(function, thread_sensitive=False, pool=pool)()
greenlets = [gevent.spawn(async_to_sync(coroutine), 3) for _ in range(3)]
gevent.joinall(greenlets, timeout=20, raise_error=True)
print([greenlet.value for greenlet in greenlets])
"""
    )
    assert out == "[4, 4, 4]\n"


def test_errors_and_context_cross() -> None:
    out = script(
        BEGINNING
        + """
import contextvars
variable = contextvars.ContextVar("variable", default=0)
error = SystemExit(5)
async def coroutine():
    variable.set(variable.get() + 1)
    raise error
def request():
    variable.set(10)
    try:
        async_to_sync(coroutine)()
    except SystemExit as caught:
        return caught is error, variable.get()
greenlet = gevent.spawn(request)
greenlet.join(20)
print(greenlet.value)
"""
    )
    assert out == "(True, 11)\n"


def test_a_greenlet_that_is_killed_cancels_its_coroutine() -> None:
    out = script(
        BEGINNING
        + """
log = []
async def coroutine():
    log.append("began")
    try:
        await asyncio.Event().wait()
    finally:
        log.append("cancelled")
greenlet = gevent.spawn(async_to_sync(coroutine))
while not log:
    gevent.sleep(0.001)
greenlet.kill(timeout=20)
with gevent.Timeout(20):
    while len(log) < 2:
        gevent.sleep(0.001)
print(log, greenlet.dead)
"""
    )
    assert out == "['began', 'cancelled'] True\n"


def test_a_time_out_of_gevents_ends_the_wait() -> None:
    out = script(
        BEGINNING
        + """
def request():
    try:
        with gevent.Timeout(0.05):
            async_to_sync(asyncio.sleep)(100)
    except gevent.Timeout:
        return "timed out", async_to_sync(asyncio.sleep)(0, "goes on")
greenlet = gevent.spawn(request)
greenlet.join(20)
print(greenlet.value)
"""
    )
    assert out == "('timed out', 'goes on')\n"


def test_the_main_greenlet_may_call_it_too() -> None:
    out = script(BEGINNING + "print(async_to_sync(asyncio.sleep)(0.001, 'result'))")
    assert out == "result\n"
