"""The loop that a process keeps: one of a kind, replaced when it is gone, ended with the interpreter."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.drive import LOOPS
from support.engines import PATIENCE, Thread, eventually, script
from support.shim_calls import PATIENT

from bridge import async_to_sync
from bridge.engines.loop_thread import LoopFactory, LoopThread
from bridge.exceptions import LoopGone, UsageError
from bridge.shim import persistent
from bridge.shim.persistent import persistent_loop

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def end(factory: LoopFactory) -> None:
    """Give the loop back that is kept for a factory of the test's own."""
    thread = persistent._threads.pop(factory, None)
    if thread is not None and thread.alive():
        thread.release()
        assert thread.join(PATIENCE), "somebody else has it as well"


@pytest.fixture
def factory() -> Iterator[LoopFactory]:
    """A kind of loop that nobody else asks for; it must be given back once for it to end."""

    def make() -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    yield make
    end(make)


def test_it_is_the_same_each_time_and_in_each_thread(factory: LoopFactory) -> None:
    first = persistent_loop(factory)
    assert first.alive()
    assert persistent_loop(factory) is first
    assert Thread(lambda: persistent_loop(factory)).outcome() is first


def test_without_a_factory_it_is_asyncio_s_own_kind() -> None:
    assert persistent_loop() is persistent_loop(asyncio.new_event_loop)
    assert isinstance(persistent_loop().port.loop, asyncio.AbstractEventLoop)


def test_each_kind_has_its_own(factory: LoopFactory) -> None:
    assert persistent_loop(factory) is not persistent_loop()


def test_it_is_not_the_one_that_adapters_share(factory: LoopFactory) -> None:
    """An `ASGIToWSGI` ends its loop, and what its app has left there, by `close` (L-09)."""
    kept = persistent_loop(factory)
    shared = LoopThread.shared(factory)
    shared.start()
    assert persistent_loop(factory) is kept is not shared
    shared.release()
    assert shared.join(PATIENCE)
    assert kept.alive()
    assert persistent_loop(factory) is kept


def test_objects_of_the_loop_survive_from_call_to_call(factory: LoopFactory) -> None:
    """As a client with its connections: a lock is bound to the loop of its first contended use."""
    lock = asyncio.Lock()

    async def use() -> int:
        async with lock:
            await asyncio.sleep(0)
            return id(asyncio.get_running_loop())

    async def twice() -> set[int]:
        return set(await asyncio.gather(use(), use()))

    call = async_to_sync(twice, loop_factory=factory)
    found = [call(), Thread(call).outcome(), call()]
    assert found == [{id(persistent_loop(factory).port.loop)}] * 3


def test_many_threads_that_come_first_at_once_have_one_loop_and_one_share_in_it(factory: LoopFactory) -> None:
    """Or giving it back once would not end it, at the interpreter's exit."""
    barrier = threading.Barrier(8)

    def first() -> LoopThread:
        barrier.wait(PATIENCE)
        return persistent_loop(factory)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [Thread(first) for _ in range(8)]
        found = {thread.outcome() for thread in threads}
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 1
    (thread,) = found
    end(factory)
    assert not thread.alive()


class ClosingLoop(asyncio.SelectorEventLoop):
    """What runs cannot be closed, but between two runs of it there is a moment."""

    closes = False

    def run_forever(self) -> None:
        super().run_forever()
        if self.closes:
            self.close()


@pytest.mark.parametrize("threads", [1, 6])
def test_one_that_somebody_has_closed_is_replaced(threads: int, caplog: pytest.LogCaptureFixture) -> None:
    def factory() -> asyncio.AbstractEventLoop:
        return ClosingLoop()

    first = persistent_loop(factory)

    def close() -> None:
        loop: Any = first.port.loop
        loop.closes = True
        loop.stop()

    first.submit(close)
    eventually(lambda: not first.alive())
    barrier = threading.Barrier(threads)

    def ask() -> LoopThread:
        barrier.wait(PATIENCE)
        return persistent_loop(factory)

    found = {thread.outcome() for thread in [Thread(ask) for _ in range(threads)]}
    assert len(found) == 1
    (second,) = found
    assert second is not first
    assert second.alive()

    async def one() -> int:
        return 1

    assert async_to_sync(one, loop_factory=factory)() == 1
    end(factory)
    assert not second.alive()


def test_a_factory_that_makes_no_loop_is_told_each_time_and_can_be_mended() -> None:
    made: list[Any] = [object(), LookupError("not yet")]

    def factory() -> Any:
        if not made:
            return asyncio.new_event_loop()
        found = made.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    with pytest.raises(UsageError, match="must return an asyncio event loop"):
        persistent_loop(factory)
    with pytest.raises(UsageError, match="LookupError: not yet"):
        persistent_loop(factory)
    assert persistent_loop(factory).alive()
    end(factory)


def test_a_thread_that_can_not_be_started_is_told(
    factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.engines import loop_thread

    def fail(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(loop_thread, "start_native_thread", fail)
        with pytest.raises(LoopGone, match="can't start new thread"):
            persistent_loop(factory)
    assert persistent_loop(factory).alive()


# -- the interpreter's exit


ENDS = (
    PATIENT
    + """
import asyncio, sys, threading
from bridge import async_to_sync

async def generator():
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        print("generator closed", flush=True)

async def background():
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        print("task cancelled", flush=True)
        raise

kept = []
async def begin():
    found = generator()
    await found.__anext__()
    kept.append(found)
    kept.append(asyncio.get_running_loop().create_task(background()))
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, int)
"""
)


@pytest.mark.parametrize("kind", ["None", *[f'"{name}"' for name in LOOPS if name == "uvloop"]])
@pytest.mark.parametrize("threads", [1, 6])
def test_at_the_exit_tasks_are_cancelled_and_generators_closed(kind: str, threads: int) -> None:
    """Whichever thread has come first, and however many at once."""
    out = script(
        f"""{ENDS}
kind = {kind}
if kind:
    import uvloop
    factory = uvloop.new_event_loop
else:
    factory = None
sys.setswitchinterval(1e-5)
barrier = threading.Barrier({threads})
async def nothing(): ...
def first():
    barrier.wait(20)
    async_to_sync(nothing, loop_factory=factory)()
threads = [threading.Thread(target=first) for _ in range({threads})]
for thread in threads: thread.start()
for thread in threads: thread.join()
async_to_sync(begin, loop_factory=factory)()
print("exits", flush=True)
"""
    )
    assert out.splitlines()[0] == "exits"
    assert sorted(out.splitlines()[1:]) == ["generator closed", "task cancelled"]


@pytest.mark.parametrize(
    "start", ["threading.Thread(target=work).start()", "ThreadPoolExecutor(1).submit(work)"]
)
def test_threads_that_work_on_after_the_main_thread_keep_their_loop(start: str) -> None:
    """The interpreter waits for them; the loop ends after the last."""
    out = script(
        f"""{ENDS}
import time
from concurrent.futures import ThreadPoolExecutor
began, loops = threading.Event(), set()
async def call():
    began.set()
    loops.add(asyncio.get_running_loop())
    await asyncio.sleep(0.05)
def work():
    async_to_sync(begin)()
    for _ in range(3):
        async_to_sync(call)()
        time.sleep(0.05)
    print("worked", len(loops), flush=True)
{start}
began.wait(20)
print("exits", flush=True)
"""
    )
    assert out.splitlines()[:2] == ["exits", "worked 1"]
    assert sorted(out.splitlines()[2:]) == ["generator closed", "task cancelled"]


def test_threads_of_executors_that_rest_do_not_keep_it() -> None:
    """So what a task does when it is cancelled may still use an executor."""
    out = script(
        PATIENT
        + """
import asyncio
from concurrent.futures import ThreadPoolExecutor
from bridge import async_to_sync
kept = []
async def background():
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.get_running_loop().run_in_executor(None, print, "saved")
async def begin():
    await asyncio.get_running_loop().run_in_executor(None, int)  # no thread can be started later on
    kept.append(asyncio.get_running_loop().create_task(background()))
    await asyncio.sleep(0)
executor = ThreadPoolExecutor(2)
executor.submit(async_to_sync(begin)).result(20)
executor.submit(int).result(20)
"""
    )
    assert out == "saved\n"


def test_each_kind_of_loop_is_ended() -> None:
    out = script(
        f"""{ENDS}
async_to_sync(begin)()
async_to_sync(begin, loop_factory=asyncio.SelectorEventLoop)()
"""
    )
    assert sorted(out.splitlines()) == ["generator closed"] * 2 + ["task cancelled"] * 2


def test_a_task_that_will_not_end_holds_the_exit_up_for_a_moment_only() -> None:
    out = script(
        """
import asyncio
from bridge import async_to_sync
from bridge.engines import loop_thread
loop_thread._LAST_STEPS = 0.2
async def stubborn():
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            print("refused", flush=True)
kept = []
async def begin():
    kept.append(asyncio.get_running_loop().create_task(stubborn()))
    await asyncio.sleep(0)
async_to_sync(begin)()
""",
    )
    assert "refused" in out


def test_an_exit_while_a_daemon_thread_waits_ends() -> None:
    out = script(
        """
import asyncio, threading
from bridge import async_to_sync
began = threading.Event()
async def waits():
    began.set()
    await asyncio.sleep(1000)
threading.Thread(target=lambda: async_to_sync(waits)(), daemon=True).start()
began.wait(20)
print("exits")
"""
    )
    assert out.strip() == "exits"


def test_calls_at_the_exit_work_until_the_loop_has_ended_and_are_told_then() -> None:
    """An `atexit` function comes after the end of the loop; it gets a new one, or an error: no wait."""
    script(
        """
import asyncio, atexit
from bridge import async_to_sync
async def one(): return 1
def late():
    try:
        assert async_to_sync(one)() == 1
    except Exception as error:
        print("told", error)
atexit.register(late)
assert async_to_sync(one)() == 1
"""
    )


# -- forks


@forks
def test_a_forked_child_has_its_own_and_ends_it_at_its_exit() -> None:
    out = script(
        f"""{ENDS}
import multiprocessing, os
async def where(): return os.getpid(), id(asyncio.get_running_loop())
def child():
    assert async_to_sync(where)()[0] == os.getpid()
    async_to_sync(begin)()
async_to_sync(begin)()
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(20)
print(process.exitcode, async_to_sync(where)()[0] == os.getpid(), flush=True)
"""
    )
    lines = out.splitlines()
    at = lines.index("0 True")
    assert sorted(lines[:at]) == ["generator closed", "task cancelled"], "of the child, at its exit"
    assert sorted(lines[at + 1 :]) == ["generator closed", "task cancelled"]


@forks
def test_a_fork_that_python_is_not_told_of_is_noticed() -> None:
    """uWSGI forks so: no hook runs in the child."""
    script(
        """
import asyncio, ctypes, os
from bridge import async_to_sync, sync_to_async
async def where(): return os.getpid(), await sync_to_async(os.getpid)()
async_to_sync(where)()
fork = ctypes.PyDLL(None).fork
pid = fork()
if not pid:
    ok = async_to_sync(where)() == (os.getpid(),) * 2
    os._exit(7 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert async_to_sync(where)() == (os.getpid(),) * 2
"""
    )


# -- gevent


# Found, not imported: that alone would change how threads of this process wait.
greenlets = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")


@greenlets
def test_under_gevent_greenlets_that_come_first_at_once_have_one_loop() -> None:
    """One waits for its start through the hub; the others must not hold up the thread meanwhile."""
    script(
        """
from gevent import monkey
monkey.patch_all()
import asyncio, gevent, threading
from bridge import async_to_sync, sync_to_async
from bridge.shim import persistent
async def where():
    await asyncio.sleep(0)
    return id(asyncio.get_running_loop()), await sync_to_async(threading.get_ident)()
def call():
    loop, thread = async_to_sync(where)()
    assert thread == threading.get_ident()
    return loop
greenlets = [gevent.spawn(call) for _ in range(5)]
gevent.joinall(greenlets, timeout=10, raise_error=True)
assert len({greenlet.value for greenlet in greenlets}) == 1
(thread,) = persistent._threads.values()
assert thread._users == 1
"""
    )


@greenlets
def test_under_gevent_a_greenlet_that_is_killed_cancels_its_coroutine() -> None:
    out = script(
        """
from gevent import monkey
monkey.patch_all()
import asyncio, gevent, gevent.event
from bridge import async_to_sync
began = []
async def waits():
    began.append(1)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled")
        raise
greenlet = gevent.spawn(async_to_sync(waits))
with gevent.Timeout(10):
    while not began:
        gevent.sleep(0.001)
    greenlet.kill()
print(repr(greenlet.value))
"""
    )
    assert out.split() == ["cancelled", "GreenletExit()"]
