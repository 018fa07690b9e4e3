"""Gates: for threads, for greenlets, and the latch that many of either wait for.

What gevent does is tested in processes of their own, since its patches cannot be taken back.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
import types

import pytest
from support.engines import PATIENCE, ScheduledLock, Scheduler, Thread, eventually, script

from bridge.engines import gates
from bridge.engines.gates import (
    HubGate,
    Latch,
    native,
    new_gate,
    patched_late,
    thread_local_class,
    threads_are_greenlets,
)


def yes() -> bool:
    return True


# -- gates of threads


def test_a_gate_is_closed_when_it_is_made_and_after_each_passing() -> None:
    gate = new_gate(_thread.allocate_lock)
    for _ in range(3):
        assert not gate.acquire(True, 0.001)
        gate.release()
        assert gate.acquire(True, PATIENCE)
    assert not gate.acquire(True, 0.001)


def test_a_gate_of_a_thread_is_a_lock() -> None:
    """Nothing is faster, and there is one for each request."""
    made = _thread.allocate_lock()
    assert new_gate(lambda: made) is made
    assert made.locked()


def test_another_thread_lets_the_waiter_through() -> None:
    gate = new_gate(_thread.allocate_lock)
    waiter = Thread(lambda: gate.acquire(True, PATIENCE))
    assert not waiter.over
    gate.release()
    assert waiter.outcome() is True


def test_an_open_gate_may_refuse_to_be_opened() -> None:
    gate = new_gate(_thread.allocate_lock)
    gate.release()
    with pytest.raises(RuntimeError):
        gate.release()
    assert gate.acquire(True, PATIENCE)


def test_the_gate_of_a_greenlet_can_be_opened_twice_and_is_passed_once() -> None:
    gate = HubGate()
    gate.release()
    gate.release()
    assert gate.acquire(True, PATIENCE), "it need not wait, so it needs no gevent"
    assert not gate._take()


# -- without gevent


def test_primitives_are_pythons_own() -> None:
    for name in ("allocate_lock", "start_new_thread", "get_ident"):
        assert native(name) is getattr(_thread, name)
    assert not threads_are_greenlets()
    assert not patched_late()
    assert not patched_late(thread_local_class())
    assert not patched_late(object()), "whoever has replaced it, it was not gevent"


def test_gevent_is_not_imported() -> None:
    script(
        """
import sys
import bridge
from bridge.engines.gates import Latch, native, new_gate, patched_late
new_gate(native("allocate_lock"))
assert not patched_late()
assert not Latch().wait(0.001, lambda: True)
assert not [name for name in sys.modules if "gevent" in name or "greenlet" in name]
"""
    )


def test_gevent_that_is_just_being_imported_by_another_thread_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its modules are there, but empty."""
    for name in ("gevent", "gevent.monkey"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.delitem(sys.modules, "gevent.hub", raising=False)
    assert native("allocate_lock") is _thread.allocate_lock
    assert not isinstance(new_gate(_thread.allocate_lock), HubGate)
    monkeypatch.setitem(sys.modules, "gevent.hub", types.ModuleType("gevent.hub"))
    assert not isinstance(new_gate(_thread.allocate_lock), HubGate)
    assert not threads_are_greenlets()
    assert not patched_late()


# -- latches


def test_a_latch_that_is_set_lets_all_through() -> None:
    latch = Latch()
    states = [latch.is_set]
    latch.set()
    states.append(latch.is_set)
    assert states == [False, True]
    for timeout in (None, 0, PATIENCE):
        assert latch.wait(timeout, yes)
        assert latch.wait(timeout, lambda: False)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_setting_it_lets_all_through_that_wait(timeout: float | None) -> None:
    latch = Latch()
    waiters = [Thread(lambda: latch.wait(timeout, yes)) for _ in range(10)]
    eventually(lambda: len(latch._gates) == 10, "all wait")
    assert not any(waiter.over for waiter in waiters)
    latch.set()
    latch.set()
    assert [waiter.outcome() for waiter in waiters] == [True] * 10
    assert latch._gates == []


@pytest.mark.parametrize("timeout", [0.0, -1.0, 0.001, 0.02])
def test_a_wait_ends_with_its_time(monkeypatch: pytest.MonkeyPatch, timeout: float) -> None:
    for look in (0.004, 1.0):
        monkeypatch.setattr(Latch, "LOOK", look)
        latch = Latch()
        begun = time.monotonic()
        assert not latch.wait(timeout, yes)
        assert timeout <= time.monotonic() - begun < PATIENCE
        assert latch._gates == [], "nothing of it is left"


def test_a_wait_ends_when_whoever_was_to_set_it_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Latch, "LOOK", 0.002)
    latch = Latch()
    looks = 0

    def alive() -> bool:
        nonlocal looks
        looks += 1
        return looks < 5

    assert not latch.wait(None, alive)
    assert looks == 5
    assert latch._gates == []


def test_the_last_look_does_not_overlook_that_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set between the time-out and the look: what was waited for has happened."""
    monkeypatch.setattr(Latch, "LOOK", 0.002)
    latch = Latch()

    def alive() -> bool:
        latch.set()
        return False

    assert latch.wait(None, alive)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_wait_that_raises_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(Latch, "LOOK", 0.002)
    latch = Latch()

    def alive() -> bool:
        raise error

    with pytest.raises(error):
        latch.wait(None, alive)
    assert latch._gates == []
    latch.set()


def test_a_thread_that_waits_looks_about_once_a_second() -> None:
    assert Latch.LOOK == 1.0
    looked = threading.Event()

    def alive() -> bool:
        looked.set()
        return False

    begun = time.monotonic()
    assert not Latch().wait(None, alive)
    assert looked.is_set()
    assert 1.0 <= time.monotonic() - begun < PATIENCE


def test_in_no_order_of_steps_is_a_waiter_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(300):
        scheduler = Scheduler(seed)
        monkeypatch.setattr(gates, "native", lambda name, scheduler=scheduler: scheduler.lock)
        latch = Latch()
        passed: list[bool] = []

        def wait(latch: Latch = latch, passed: list[bool] = passed) -> None:
            passed.append(latch.wait(None, yes))

        # No wait ends by itself there: a waiter that is forgotten hangs.
        scheduler.run(a=wait, b=wait, c=wait, setter=latch.set, other=latch.set)
        assert passed == [True] * 3
        assert latch._gates == []


class FakeWatcher:
    """What wakes a hub; its callback runs when the hub does, which is when the greenlet waits."""

    def __init__(self, made: list[FakeWatcher]) -> None:
        made.append(self)
        self.sent = self.started = self.closed = False

    def start(self, callback: object, *args: object) -> None:
        self.started = True

    def send(self) -> None:
        assert not self.closed, "that would crash"
        self.sent = True

    def stop(self) -> None:
        self.started = False

    def close(self) -> None:
        self.closed = True


def fake_gevent(scheduler: Scheduler, made: list[FakeWatcher]) -> types.SimpleNamespace:
    """As much of gevent as a gate needs, whose hub is a `Scheduler`; its timers never end."""

    class Waiter:
        def __init__(self, hub: object) -> None:
            self.switch = None

        def get(self) -> None:
            scheduler.wait(lambda: any(watcher.sent and watcher.started for watcher in made))

    loop = types.SimpleNamespace(async_=lambda: FakeWatcher(made), timer=lambda timeout: FakeWatcher(made))
    return types.SimpleNamespace(
        get_hub=lambda: types.SimpleNamespace(loop=loop), hub=types.SimpleNamespace(Waiter=Waiter)
    )


@pytest.mark.req("A-03")
def test_in_no_order_of_steps_is_a_greenlet_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread opens the gate just when the greenlet goes to wait, or has been through."""
    for seed in range(300):
        scheduler = Scheduler(seed)
        made: list[FakeWatcher] = []
        monkeypatch.setattr(gates, "native", lambda name, scheduler=scheduler: scheduler.lock)
        monkeypatch.setitem(sys.modules, "gevent", fake_gevent(scheduler, made))
        there, back = HubGate(), scheduler.lock()
        back.acquire()

        def wait(gate: HubGate = there, back: ScheduledLock = back) -> None:
            for _ in range(3):
                assert gate.acquire(True, 1.0)
                back.release()

        def release(gate: HubGate = there, back: ScheduledLock = back) -> None:
            for _ in range(3):
                gate.release()
                back.acquire()

        scheduler.run(greenlet=wait, thread=release)
        assert all(watcher.closed and not watcher.started for watcher in made)


# -- gevent

UNPATCHED = """
import gevent
from bridge.engines.gates import HubGate, Latch, native, new_gate, patched_late
PATCHED_LATE = False
"""
PATCHED = """
from gevent import monkey
monkey.patch_all()
import gevent
from bridge.engines.gates import HubGate, Latch, native, new_gate, patched_late
PATCHED_LATE = False
"""
PATCHED_LATE = """
from bridge.engines.gates import HubGate, Latch, native, new_gate, patched_late
from gevent import monkey
monkey.patch_all()
import gevent
PATCHED_LATE = True
"""
TOOLS = """
import _thread, random, sys, time
import gevent.hub, gevent.monkey, gevent.threadpool

allocate = native("allocate_lock")
sleep_really = gevent.monkey.get_original("time", "sleep")

def in_thread(function):
    '''Run it in a thread of the operating system; the result is a list that is filled at the end.'''
    result = []
    def run():
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)
    native("start_new_thread")(run, ())
    return result

def outcome(result):
    with gevent.Timeout(10):
        while not result:
            gevent.sleep(0.001)
    return result[0]

def in_greenlet(function, *args):
    return gevent.spawn(function, *args).get(timeout=10)

def make():
    return new_gate(allocate)
"""

HOW_TO_PATCH = {"unpatched": UNPATCHED, "patched": PATCHED, "patched late": PATCHED_LATE}


def patches(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("patch", [HOW_TO_PATCH[name] for name in names], ids=names)


each_way = patches(*HOW_TO_PATCH)


@pytest.mark.req("A-03")
@each_way
def test_primitives_are_those_before_gevents_patches(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
lock = native("allocate_lock")()
assert type(lock).__module__ == "_thread", type(lock)
patched = gevent.monkey.is_module_patched("threading")
assert (native("allocate_lock") is not _thread.allocate_lock) == patched
assert (native("start_new_thread") is not _thread.start_new_thread) == patched
assert outcome(in_thread(_thread.get_native_id)) != _thread.get_native_id()
from bridge.engines.gates import thread_local_class, threads_are_greenlets
assert threads_are_greenlets() == patched
assert patched_late() == PATCHED_LATE
assert not patched_late(thread_local_class()), "not since now"
"""
    )


@pytest.mark.req("A-03")
def test_patches_are_late_for_what_was_made_before_them() -> None:
    script(
        """
from bridge.engines.gates import patched_late, thread_local_class
first = thread_local_class()
from gevent import monkey
second = thread_local_class()
assert not patched_late(first)
monkey.patch_all()
assert patched_late(first) and patched_late(second)
assert not patched_late(thread_local_class())
"""
    )


@pytest.mark.req("A-03")
@each_way
def test_a_greenlet_gets_a_gate_of_its_hub_and_a_thread_a_lock(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
import greenlet
def kind():
    return type(make()).__name__
assert kind() == "lock", "the main greenlet has no hub to go on with"
assert in_greenlet(kind) == "HubGate"
assert outcome(in_thread(kind)) == "lock"
assert outcome(in_thread(lambda: in_greenlet(kind))) == "HubGate", "each thread may have a hub"
# A greenlet of somebody's own, in one of gevent's: its wait goes through the hub as well.
assert in_greenlet(lambda: greenlet.greenlet(kind).switch()) == "HubGate"
assert gevent.get_hub().threadpool.apply(kind) == "lock", "threads of its pool run one thing at a time"
assert kind() == "lock", "also once there is a hub"
"""
    )


@pytest.mark.req("A-03")
@patches("unpatched", "patched")
def test_the_gate_of_a_greenlet_is_a_gate(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
def closed_open_closed():
    gate = make()
    assert not gate.acquire(True, 0.001)
    gate.release()
    assert gate.acquire(True, 10), "opened before"
    assert not gate.acquire(True, 0.001), "it was passed"
    gate.release()
    gate.release()
    assert gate.acquire(True, 10)
    assert not gate.acquire(True, 0.001), "opened twice is open once"

    gevent.spawn(gate.release)
    assert gate.acquire(True, 10), "opened by another greenlet"

    released = in_thread(lambda: (sleep_really(0.01), gate.release()))
    assert gate.acquire(True, 10), "opened by a thread"
    outcome(released)
    assert not gate.acquire(True, 0.001)

    begun = time.monotonic()
    assert not gate.acquire(True, 0.02)
    assert 0.015 <= time.monotonic() - begun < 10
    gate.release()
    assert gate.acquire(True, 10), "opened after a wait that was given up"
    return True

assert in_greenlet(closed_open_closed)
"""
    )


@pytest.mark.req("A-03")
@patches("patched")
def test_a_hub_goes_on_while_its_greenlets_wait(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
chance = random.Random(1)
gates, passed, ticks = [], [], 0

def wait(number):
    gate = make()
    gates.append((number, gate))
    assert gate.acquire(True, 10)
    passed.append(number)

def tick():
    global ticks
    while len(passed) < 50:
        ticks += 1
        gevent.sleep(0.001)

waiting = [gevent.spawn(wait, number) for number in range(50)]
ticking = gevent.spawn(tick)
while len(gates) < 50:
    gevent.sleep(0.001)
seen = ticks
while ticks < seen + 10:
    gevent.sleep(0.001)
assert passed == []
chance.shuffle(gates)
def release_all():
    for number, gate in gates:
        gate.release()
        sleep_really(0.0005)
outcome(in_thread(release_all))
gevent.joinall(waiting, timeout=10, raise_error=True)
assert sorted(passed) == list(range(50))
"""
    )


@pytest.mark.req("A-03")
@patches("patched")
def test_a_greenlet_that_is_killed_while_it_waits_leaves_nothing(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
import os
gate = in_greenlet(make)
raised = []
def wait():
    try:
        gate.acquire(True, 10)
    except BaseException as error:
        raised.append(type(error).__name__)
        raise

def count():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

def kill():
    waiting = gevent.spawn(wait)
    gevent.sleep(0)
    assert gate._watcher is not None, "it waits"
    waiting.kill()
    assert gate._watcher is None

def time_out():
    try:
        with gevent.Timeout(0.001):
            gate.acquire(True, 10)
    except gevent.Timeout as error:
        raised.append("Timeout")

for _ in range(2):
    in_greenlet(kill)
    in_greenlet(time_out)
assert raised == ["GreenletExit", "Timeout"] * 2
before, active = count(), gevent.get_hub().loop.activecnt
for _ in range(50):
    in_greenlet(kill)
    in_greenlet(time_out)
assert (count(), gevent.get_hub().loop.activecnt) == (before, active)
outcome(in_thread(gate.release))   # nobody waits any more
assert in_greenlet(gate.acquire, True, 10)
"""
    )


@pytest.mark.req("A-03")
@patches("unpatched", "patched")
def test_no_opening_is_lost_among_greenlets_and_threads(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
sys.setswitchinterval(1e-5)
COUNT = 400

def play(chance):
    there, back = allocate(), make()
    there.acquire()
    def answer():
        for _ in range(COUNT):
            assert there.acquire(True, 10)
            back.release()
        return "answered"
    answering = in_thread(answer)
    for _ in range(COUNT):
        there.release()
        if chance.random() < 0.1:
            gevent.sleep(0)
        assert back.acquire(True, 5), "it was opened, and the greenlet not woken"
    assert outcome(answering) == "answered", answering

players = [gevent.spawn(play, random.Random(seed)) for seed in range(5)]
elsewhere = in_thread(lambda: gevent.joinall(
    [gevent.spawn(play, random.Random(seed)) for seed in range(3)], timeout=20, raise_error=True))
gevent.joinall(players, timeout=20, raise_error=True)
assert all(player.successful() for player in players)
others = outcome(elsewhere)
assert len(others) == 3 and all(player.successful() for player in others), others
"""
    )


@pytest.mark.req("A-03")
@patches("patched")
def test_greenlets_and_threads_wait_for_the_same_latch(patch: str) -> None:
    script(
        patch
        + TOOLS
        + """
latch, ticks = Latch(), []
yes = lambda: True
greenlets = [gevent.spawn(latch.wait, timeout, yes) for timeout in (None, 10) * 10]
threads = [in_thread(lambda: latch.wait(10, yes)) for _ in range(5)]
with gevent.Timeout(10):
    while len(latch._gates) < 25:
        ticks.append(None)
        gevent.sleep(0.001)
assert not in_greenlet(latch.wait, 0.01, yes), "not yet"
assert len(latch._gates) == 25
in_thread(latch.set)
gevent.joinall(greenlets, timeout=10, raise_error=True)
assert [greenlet.value for greenlet in greenlets] == [True] * 20
assert [outcome(thread) for thread in threads] == [True] * 5
assert latch._gates == []

# A greenlet looks as well whether what it waits for can still come.
Latch.LOOK = 0.002
looks = []
def alive():
    looks.append(None)
    return len(looks) < 5
assert not in_greenlet(Latch().wait, None, alive)
assert len(looks) == 5
"""
    )


@pytest.mark.req("A-03")
def test_gevent_that_patches_late_is_noticed_however_bridge_was_imported() -> None:
    script(
        """
import bridge
from bridge import ASGIToWSGI
from gevent import monkey
monkey.patch_all()
from bridge.engines.gates import patched_late
assert patched_late()
"""
    )


@pytest.mark.req("A-03")
def test_patches_that_leave_threads_alone_are_not_late() -> None:
    script(
        """
from bridge.engines.gates import Latch, native, patched_late
from gevent import monkey
monkey.patch_all(thread=False)
import _thread
assert not patched_late()
assert native("allocate_lock") is _thread.allocate_lock
assert not Latch().wait(0.001, lambda: True)
"""
    )
