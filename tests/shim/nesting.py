"""Random trees of functions that call each other through `sync_to_async` and `async_to_sync`, run for real.

    python tests/shim/nesting.py --seconds 30              until the time is over, from a random seed on
    python tests/shim/nesting.py --seconds 30 --seed 7     from this seed on
    python tests/shim/nesting.py --seed 7 --trees 1        this one alone; `--shrink` looks for a smaller one

A seed makes a `Tree`: each `Node` is a blocking or an async function that calls others, one after the
other or at once, directly, through the shim with any of its options, through asgiref, in tasks, with
time-outs, and cancels some of them at a random step; some raise. What the threads do meanwhile is up to
the system, so a seed names the tree, not every switch.

What is checked, while it runs: a call returns what its function returned, or raises the very exception
that it raised; what must be refused is, and nothing else; thread-sensitive functions run in their
thread, coroutines on their loop; context variables go in and come back. Of what is cancelled only that
it ends, and how it may end. Afterwards: all functions have ended; no job, task or thread is left.

A tree that hangs has all stacks written to stderr, with its seed; the command then ends with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import faulthandler
import functools
import logging
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import trio
from asgiref import sync as asgiref
from support.drive import LOOPS, checkpoint, pause, poll, run

from bridge import ThreadPool, async_to_sync, sync_to_async
from bridge.exceptions import BridgeError, PoolError, WouldDeadlock
from bridge.shim.persistent import persistent_loop
from bridge.shim.shared_thread import shared_thread
from bridge.shim.to_async import default_pool

# A tree that has not ended after this long (seconds) hangs; they take milliseconds.
HANGS = 20.0
# What nothing but a cancellation ends takes longer than that.
_ENDLESS = 10 * HANGS
_LOST = 0.5
_MOST_NODES = 30
_MOST_LEVELS = 9
# asgiref's default executor has a few threads, which nesting may use up; with it, trees stay below that.
_MOST_IN_ASGIREFS_POOL = 3


class Planned(Exception):
    """What a node raises on purpose."""


class Fatal(BaseException):
    """The same, where nobody expects it."""


# How a blocking function calls: another one, or an async one.
SYNC_TO_SYNC = ("direct",)
SYNC_TO_ASYNC = ("to sync", "to sync", "to sync", "new loop", "factory", "asgiref to sync", "asyncio.run")
# How an async function calls: a blocking one, or another async one.
ASYNC_TO_SYNC = (
    "sensitive",
    "sensitive",
    "sensitive",
    "pool of 1",
    "pool of 1",
    "pool of 2",
    "waited for",
    "default pool",
    "executor",
    "context",
    "direct",
    "asgiref sensitive",
    "asgiref sensitive",
    "asgiref pool",
)
ASYNC_TO_ASYNC = ("direct",)
# A worker of these may be above and run a loop by asyncio.run: then it cannot help, and none is left.
SMALL_POOLS = ("pool of 1", "pool of 2", "waited for")
FATES = ("await", "await", "await", "task", "wait for", "cancel", "cancel twice", "time-out")
# With one of these, all below may end at any moment.
ENDING = ("cancel", "cancel twice", "time-out")


@dataclass(frozen=True)
class Call:
    """One node calls another."""

    way: str
    fate: str
    turns: int  # of the loop, before it is cancelled
    node: Node


@dataclass(frozen=True)
class Node:
    """One function: what it calls, in order, several at once if they are in one group."""

    number: int
    is_async: bool
    groups: tuple[tuple[Call, ...], ...] = ()
    nap: float = 0.0  # seconds for a blocking one, turns of the loop for an async one
    raises: str = ""
    catches: bool = True
    cleans: bool = False

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, how: str = "", indent: int = 0) -> Iterator[str]:
        """The tree as text."""
        traits = [f"raises {self.raises}" if self.raises else "", "" if self.catches else "lets errors go"]
        traits += ["cleans up" if self.cleans else "", f"nap {self.nap:g}" if self.nap else ""]
        kind = "async" if self.is_async else "sync"
        yield f"{'    ' * indent}{how}{kind} {self.number} {', '.join(filter(None, traits))}".rstrip()
        for number, group in enumerate(self.groups):
            for call in group:
                at_once = f"at once {number}, " if len(group) > 1 else ""
                turns = f" after {call.turns}" if call.fate in ENDING else ""
                yield from call.node.lines(f"{at_once}{call.fate}{turns}, {call.way}: ", indent + 1)


@dataclass(frozen=True)
class Tree:
    """What one seed makes."""

    seed: int
    loop: str  # "thread": the root is a blocking function in a plain thread
    root: Node
    queue: int | None  # of the pool of one


class Planner:
    """Makes the tree of a seed."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.seed = seed
        self.loop = LOOPS[seed % len(LOOPS)] if self.choice.random() < 0.8 else "thread"
        self.asgiref = self.loop != "trio" and self.choice.random() < 0.5
        self.ends = self.choice.random() < 0.6
        self.in_asgirefs_pool = 0
        self.nodes = 0
        # Where asgiref would wait for a loop that ends meanwhile, or run what it cannot.
        self.without = {"asyncio.run"} if self.asgiref else {"asgiref"}
        if self.asgiref and self.ends:
            self.without.add("new loop")

    def tree(self) -> Tree:
        """The tree."""
        queue = self.choice.choice([None] * 9 + [1])
        return Tree(self.seed, self.loop, self._node(self.loop != "thread", 0, False, frozenset()), queue)

    def _node(self, is_async: bool, level: int, endless: bool, within: frozenset[str]) -> Node:
        choice = self.choice
        self.nodes += 1
        number = self.nodes
        if endless and choice.random() < 0.3:
            return Node(number, is_async, nap=_ENDLESS, cleans=choice.random() < 0.5)
        groups: list[tuple[Call, ...]] = []
        while (
            level < _MOST_LEVELS and self.nodes < _MOST_NODES and choice.random() < 0.75 - 0.15 * len(groups)
        ):
            at_once = choice.choice([1, 1, 1, 2, 3, 5]) if is_async else 1
            groups.append(tuple(self._call(is_async, level, endless, within) for _ in range(at_once)))
        nap = choice.choice([0, 0, 1, 3]) if is_async else choice.choice([0, 0, 0, 0.0002, 0.001])
        raises = choice.choice([""] * 6 + ["Planned", "Fatal"])
        return Node(
            number,
            is_async,
            tuple(groups),
            nap,
            raises,
            choice.random() < 0.7,
            is_async and choice.random() < 0.3,
        )

    def _call(self, is_async: bool, level: int, endless: bool, within: frozenset[str]) -> Call:
        choice = self.choice
        to_async = choice.random() < (0.3 if is_async else 0.85)
        ways: tuple[str, ...]
        if is_async:
            ways = ASYNC_TO_ASYNC if to_async else ASYNC_TO_SYNC
        else:
            ways = SYNC_TO_ASYNC if to_async else SYNC_TO_SYNC
        way = choice.choice([way for way in ways if not self._is_without(way, within)])
        if way == "asgiref pool":
            self.in_asgirefs_pool += 1
        fates = FATES if is_async else ("await",)
        fate = choice.choice([fate for fate in fates if self.ends or fate not in ENDING])
        # A thread may be abandoned, and what it calls then is never cancelled.
        endless = is_async and to_async and (endless or fate in ENDING)
        below = within - {"on loop"} if way != "direct" else within | {"on loop"} if is_async else within
        node = self._node(to_async, level + 1, endless, below | {way} if way == "asyncio.run" else below)
        return Call(way, fate, choice.choice([0, 0, 1, 2, 3, 5, 10, 20, 50]), node)

    def _is_without(self, way: str, within: frozenset[str]) -> bool:
        if way == "asgiref pool" and self.in_asgirefs_pool >= _MOST_IN_ASGIREFS_POOL:
            return True
        if "asyncio.run" in within and way in SMALL_POOLS:
            return True
        if way == "asyncio.run" and "on loop" in within and self.loop == "trio":
            return True  # asyncio cannot tell that trio runs in the thread
        return way in self.without or ("asgiref" in self.without and way.startswith("asgiref"))


class Place(NamedTuple):
    """Where a function is called from, and what is expected of it."""

    path: tuple[int, ...]
    host: int  # the thread that waits further up; 0 if none does
    loop: object  # whose task waits for it, or runs it; `None` if that cannot be told
    calm: bool  # nothing above may end it
    on_loop: bool  # a blocking function that the loop's thread runs
    occupied: bool = False  # what is thread-sensitive belongs to a thread that runs what calls it
    thread: int | None = None  # where it must run; `None` if it may run anywhere


Outcome = tuple[Any, "BaseException | None"]

trail: contextvars.ContextVar[tuple[int, ...]] = contextvars.ContextVar("trail", default=())


def _loop_of_a_kind() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _running_loop() -> Any:
    return trio.lowlevel.current_trio_token() if trio.lowlevel.in_trio_task() else asyncio.get_running_loop()


def is_cancellation(error: BaseException | None) -> bool:
    """Whether it says that a task was cancelled, alone or in a group."""
    if isinstance(error, (asyncio.CancelledError, trio.Cancelled)):
        return True
    inner: Any = getattr(error, "exceptions", None)
    return bool(inner) and all(map(is_cancellation, inner))


class Runner:
    """Runs a tree once.

    Attributes:
        faults: what was wrong.
    """

    def __init__(self, tree: Tree, hangs: float = HANGS) -> None:
        self.tree = tree
        self.hangs = hangs
        self.faults: list[str] = []
        name = f"nesting-{tree.seed}"
        self.pools = {
            "pool of 1": ThreadPool(1, queue=tree.queue, name=f"{name}-one"),
            "pool of 2": ThreadPool(2, name=f"{name}-two"),
        }
        self.executor = ThreadPoolExecutor(2 * _MOST_NODES, f"{name}-executor")
        self._lock = threading.Lock()
        self._entered: dict[int, int] = {}
        self._ended: dict[int, Outcome] = {}
        self._live: dict[int, Any] = {}  # the functions that run, and their loops
        self._loops: set[Any] = set()

    def run(self) -> list[str]:
        """Run it, and return what was wrong."""
        # Until it has begun, nobody can tell which thread it is.
        asgiref.SyncToAsync.single_thread_executor.submit(int).result()
        for factory in (None, _loop_of_a_kind):
            _foreign.update(_tasks_of_trees(persistent_loop(factory).port.loop))
        tree, before = self.tree, set(threading.enumerate())
        try:
            if tree.loop == "thread":
                self._run_in_thread()
            else:
                run(self._main, tree.loop, timeout=self.hangs)
        except BaseException as error:
            self.fault(f"the run ended by {error!r}")
        self._look_for_leftovers(before)
        return self.faults

    def fault(self, what: str) -> None:
        self.faults.append(f"seed {self.tree.seed} on {self.tree.loop}: {what}")

    # -- the root

    async def _main(self) -> None:
        place = Place((), 0, _running_loop(), True, False)
        call = Call("direct", "await", 0, self.tree.root)
        await self._call_from_task(call, place)
        await poll(self._all_have_ended, self.hangs)

    def _all_have_ended(self) -> bool:
        # What an abandoned function begins on a loop that is about to end is left unfinished there.
        with self._lock:
            return all(loop is not None and loop.is_closed() for loop in self._live.values())

    def _run_in_thread(self) -> None:
        def main() -> None:
            place = Place((), 0, persistent_loop().port.loop, True, False)
            contextvars.Context().run(
                self._call_from_thread, Call("direct", "await", 0, self.tree.root), place
            )
            deadline = time.monotonic() + self.hangs
            while not self._all_have_ended() and time.monotonic() < deadline:
                time.sleep(0.0005)

        thread = threading.Thread(target=main, name=f"nesting-{self.tree.seed}-root", daemon=True)
        thread.start()
        thread.join(self.hangs)
        if thread.is_alive():
            self.fault("hangs")

    def _look_for_leftovers(self, before: set[threading.Thread]) -> None:
        # One that a worker has just taken may begin now, though its task has ended.
        if not _comes(self._all_have_ended, self.hangs / 4):
            self.fault(f"these have not ended: {sorted(self._live)}")
            self.executor.shutdown(wait=False)
            return
        for pool in (*self.pools.values(), default_pool()):
            if pool is default_pool():
                if not _comes(
                    lambda: default_pool().stats()[1:3] == (0, 0) and not default_pool().stats().queued
                ):
                    self.fault(f"the default pool does not come to rest: {default_pool().stats()}")
            elif not pool.drain(self.hangs):
                self.fault(f"a pool does not come to rest: {pool.stats()}")
        self.executor.shutdown()
        if not _comes(lambda: shared_thread.running() is None and not shared_thread.waiting()):
            self.fault("the shared thread does not come to rest")
        for factory in (None, _loop_of_a_kind):
            left = functools.partial(_tasks_of_trees, persistent_loop(factory).port.loop)
            if not _comes(lambda left=left: not left()):  # type: ignore[misc]
                self.fault(f"tasks are left: {left()}")
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith(f"nesting-{self.tree.seed}-") and not thread.name.endswith("-governor"):
                thread.join(self.hangs)
                if thread.is_alive():
                    self.fault(f"{thread.name} is left")
        if self._live and not self._all_have_ended():
            self.fault(f"these began at last, and have not ended: {sorted(self._live)}")
        kept = {persistent_loop(factory).port.loop for factory in (None, _loop_of_a_kind)}
        for loop in self._loops - kept:
            if not isinstance(loop, trio.lowlevel.TrioToken) and not _comes(loop.is_closed):
                self.fault(f"{loop} is left open")

    # -- a node, in its thread or task

    def _sync_body(self, node: Node, place: Place) -> int:
        path = self._enter(node, place)
        try:
            # What is abandoned may find the thread that waited for it gone, and goes to one further up.
            if place.calm and place.thread is not None and place.thread != get_ident():
                self.fault(f"{node.number} ran in {threading.current_thread().name}, not in its thread")
            if get_ident() == (place.host or _shared_ident()):
                place = place._replace(occupied=True)
            for group in node.groups:
                for call in group:
                    self._check_and_raise(node, [self._call_from_thread(call, place._replace(path=path))])
                    trail.set(path)
            time.sleep(node.nap)
            return self._end(node)
        except BaseException as error:
            self._leave(node, path, error)
            raise
        finally:
            self._left(node)

    async def _async_body(self, node: Node, place: Place) -> int:
        path = self._enter(node, place)
        try:
            loop = _running_loop()
            self._loops.add(loop)
            if place.loop is not None and place.calm and place.loop is not loop:
                self.fault(f"{node.number} ran on {loop!r} instead of {place.loop!r}")
            place = place._replace(path=path, loop=loop)
            for group in node.groups:
                if len(group) == 1:
                    outcomes = [await self._call_from_task(group[0], place)]
                else:
                    outcomes = await self._at_once(group, place)
                self._check_and_raise(node, outcomes)
                trail.set(path)
            await self._nap(node)
            return self._end(node)
        except BaseException as error:
            self._leave(node, path, error)
            raise
        finally:
            self._left(node)

    async def _nap(self, node: Node) -> None:
        try:
            if node.nap == _ENDLESS:
                await pause(_ENDLESS)
            for _ in range(int(node.nap)):
                await checkpoint()
        except asyncio.CancelledError:
            if node.cleans:
                await checkpoint()
                await checkpoint()
            raise

    def _enter(self, node: Node, place: Place) -> tuple[int, ...]:
        with self._lock:
            self._live[node.number] = asyncio._get_running_loop()
            self._entered[node.number] = self._entered.get(node.number, 0) + 1
            if self._entered[node.number] > 1:
                self.fault(f"{node.number} was called {self._entered[node.number]} times")
        if trail.get() != place.path:
            self.fault(f"{node.number} found {trail.get()} in the context, not {place.path}")
        path = (*place.path, node.number)
        trail.set(path)
        return path

    def _end(self, node: Node) -> int:
        if node.raises:
            raise (Planned if node.raises == "Planned" else Fatal)(node.number)
        self._ended[node.number] = (node.number, None)
        return node.number

    def _leave(self, node: Node, path: tuple[int, ...], error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            return  # left on a loop that has ended; the garbage collector is in anybody's context
        trail.set(path)
        self._ended[node.number] = (None, error)

    def _left(self, node: Node) -> None:
        with self._lock:
            self._live.pop(node.number, None)

    def _check_and_raise(self, node: Node, outcomes: list[Outcome]) -> None:
        for _, error in outcomes:
            if error is not None and not node.catches and isinstance(error, (Planned, Fatal)):
                raise error

    # -- calls of a thread

    def _call_from_thread(self, call: Call, place: Place) -> Outcome:
        way, node = call.way, call.node
        here = _running_loop_or_none()
        if way == "direct":
            function: Callable[..., Any] = self._sync_body
            below = place._replace(thread=None)
        else:
            function = self._to_sync(way)
            below = place._replace(thread=None, loop=self._loop_for(way, place), on_loop=False)
            if way != "asyncio.run":
                below = below._replace(host=get_ident(), occupied=False)
        try:
            outcome: Outcome = (function(node, below), None)
        except BaseException as error:
            outcome = (None, error)
            if is_cancellation(error) and not place.calm:
                raise
        refused = here is not None and way != "direct"
        self._check(call, place, outcome, refused)
        if not refused and place.calm and node.number in self._ended:
            carried = (*place.path, node.number) if way != "asyncio.run" else place.path
            if trail.get() != carried:
                self.fault(f"the context came back from {node.number} as {trail.get()}, not {carried}")
        trail.set(place.path)
        return outcome

    def _to_sync(self, way: str) -> Callable[..., Any]:
        if way == "asyncio.run":
            return self._asyncio_run
        if way == "asgiref to sync":
            return asgiref.async_to_sync(self._async_body)
        if way == "new loop":
            return async_to_sync(self._async_body, force_new_loop=True)
        if way == "factory":
            return async_to_sync(self._async_body, loop_factory=_loop_of_a_kind)
        return async_to_sync(self._async_body)

    def _asyncio_run(self, node: Node, place: Place) -> Any:
        coroutine = self._async_body(node, place)
        try:
            return asyncio.run(coroutine)
        finally:
            coroutine.close()  # if it was refused

    def _loop_for(self, way: str, place: Place) -> object:
        if way == "factory":
            return persistent_loop(_loop_of_a_kind).port.loop
        if way == "to sync":
            return place.loop
        if way == "asgiref to sync" and self.tree.loop != "thread":
            return place.loop
        return None

    # -- calls of a task

    async def _at_once(self, group: tuple[Call, ...], place: Place) -> list[Outcome]:
        if not trio.lowlevel.in_trio_task():
            return await asyncio.gather(*(self._call_from_task(call, place, task=True) for call in group))
        outcomes: list[Outcome] = []

        async def one(call: Call) -> None:
            outcomes.append(await self._call_from_task(call, place, task=True))

        async with trio.open_nursery() as nursery:
            for call in group:
                nursery.start_soon(one, call)
        return outcomes

    async def _call_from_task(self, call: Call, place: Place, task: bool = False) -> Outcome:
        ending = call.fate in ENDING
        below = place._replace(calm=place.calm and not ending, thread=None)
        refused = self._is_refused(call, place)
        if trio.lowlevel.in_trio_task():
            outcome = await self._by_trio(call, below)
        else:
            outcome = await self._by_asyncio(call, below)
        self._check(call, below, outcome, refused)
        if below.calm and call.fate == "await" and call.node.number in self._ended:
            carried = place.path if call.way == "context" else (*place.path, call.node.number)
            if trail.get() != carried:
                self.fault(f"the context came back from {call.node.number} as {trail.get()}, not {carried}")
        trail.set(place.path)
        return outcome

    def _is_refused(self, call: Call, place: Place) -> bool:
        """Whether the call belongs to a thread that runs this very loop, or waits for it."""
        if call.way != "sensitive":
            return False
        return place.occupied

    async def _reach(self, call: Call, place: Place) -> Outcome:
        """Call it, and have what it raises as a value, unless this task is cancelled."""
        node = call.node
        try:
            if node.is_async:
                return await self._async_body(node, place), None
            if call.way == "direct":
                return self._sync_body(node, place._replace(on_loop=True)), None
            if call.way.endswith("sensitive"):
                thread = place.host or _shared_ident() or None
                place = place._replace(thread=thread)
            return await self._to_async(call.way)(node, place), None
        except BaseException as error:
            if is_cancellation(error):
                raise
            return None, error

    def _to_async(self, way: str) -> Callable[..., Awaitable[Any]]:
        body = self._sync_body
        if way == "asgiref sensitive":
            return asgiref.sync_to_async(body)
        if way == "asgiref pool":
            return asgiref.sync_to_async(body, thread_sensitive=False)
        if way == "context":
            return sync_to_async(body, thread_sensitive=False, context=contextvars.copy_context())
        if way == "sensitive":
            return sync_to_async(body)
        if way == "executor":
            return sync_to_async(body, thread_sensitive=False, executor=self.executor)
        return sync_to_async(
            body,
            thread_sensitive=False,
            pool=self.pools.get("pool of 1" if way == "waited for" else way),
            abandon_on_cancel=way != "waited for",
        )

    async def _by_asyncio(self, call: Call, place: Place) -> Outcome:
        if call.fate == "await":
            return await self._reach(call, place)
        if call.fate == "wait for":
            return await asyncio.wait_for(self._reach(call, place), _ENDLESS)
        if call.fate == "time-out":
            try:
                return await asyncio.wait_for(self._reach(call, place), call.turns * 0.0001)
            except (TimeoutError, asyncio.TimeoutError) as error:
                return None, error
        task = asyncio.create_task(self._reach(call, place))
        if call.fate == "task":
            return await task
        try:
            for _ in range(2 if call.fate == "cancel twice" else 1):
                for _turn in range(call.turns):
                    await checkpoint()
                task.cancel()
        except GeneratorExit:
            raise  # left on a loop that has ended
        except BaseException:
            await self._end_of(task)
            raise
        await self._end_of(task)
        if task.cancelled():
            return None, asyncio.CancelledError()
        return task.result()

    async def _end_of(self, task: asyncio.Task[Outcome]) -> None:
        task.cancel()
        # Before Python 3.12, asyncio.wait_for may lose a cancellation.
        while not (await asyncio.wait((task,), timeout=_LOST))[0] and sys.version_info < (3, 12):
            task.cancel()
        await asyncio.wait((task,))

    async def _by_trio(self, call: Call, place: Place) -> Outcome:
        if call.fate == "await":
            return await self._reach(call, place)
        found: list[Outcome] = []
        with trio.CancelScope() as scope:
            if call.fate == "wait for":
                found.append(await self._reach(call, place))
            elif call.fate == "time-out":
                scope.deadline = trio.current_time() + call.turns * 0.0001
                found.append(await self._reach(call, place))
            else:
                await self._by_nursery(call, place, scope, found)
        return found[0] if found else (None, asyncio.CancelledError())

    async def _by_nursery(
        self, call: Call, place: Place, scope: trio.CancelScope, found: list[Outcome]
    ) -> None:
        async def task() -> None:
            found.append(await self._reach(call, place))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            if call.fate != "task":
                for _ in range(call.turns):
                    await checkpoint()
                scope.cancel()

    # -- what came of a call

    def _check(self, call: Call, place: Place, outcome: Outcome, refused: bool) -> None:
        node, (value, error) = call.node, outcome
        if refused:
            if isinstance(error, RuntimeError):
                return
            if place.calm:  # or else what runs above may have been abandoned
                self.fault(f"{node.number} ought to be refused, but came to {outcome}")
                return
        ended = self._ended.get(node.number)
        if error is None:
            if value != node.number or ended != outcome:
                self.fault(f"{node.number} came to {outcome}, but its function to {ended}")
        elif (ended is not None and error is ended[1]) or (
            self.tree.queue is not None and isinstance(error, PoolError)
        ):
            pass
        elif place.calm or not (
            is_cancellation(error) or isinstance(error, (TimeoutError, asyncio.TimeoutError))
        ):
            if not place.calm and isinstance(error, BridgeError) and not isinstance(error, WouldDeadlock):
                return  # the loop has ended under it
            self.fault(f"{node.number} came to {outcome}, but its function to {ended}")


def _running_loop_or_none() -> object:
    return asyncio._get_running_loop() or (trio.lowlevel.in_trio_task() or None)


def _shared_ident() -> int:
    """The thread that thread-sensitive code shares; 0 if it has not begun."""
    threads = list(asgiref.SyncToAsync.single_thread_executor._threads)
    return (threads[0].ident or 0) if threads else 0


_foreign: weakref.WeakSet[Any] = weakref.WeakSet()


def _tasks_of_trees(loop: asyncio.AbstractEventLoop) -> set[Any]:
    """The tasks of a loop that are neither its own nor were there before the first tree."""
    return {
        task for task in asyncio.all_tasks(loop) if task not in _foreign and task.get_name() != "bridge-loop"
    }


def _comes(condition: Callable[[], object], seconds: float = HANGS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0002)
    return True


class Watchdog:
    """Writes all stacks should one tree take too long, and by choice ends the process.

    Args:
        ends: whether it ends it.
    """

    def __init__(self, ends: bool) -> None:
        self._ends = ends
        self._tree: Tree | None = None
        self._timer: threading.Timer | None = None

    def watch(self, tree: Tree) -> None:
        """Another tree begins."""
        self.stop()
        self._timer = threading.Timer(3 * HANGS, self._bark, [tree])
        self._timer.daemon = True
        self._timer.start()
        # Should no thread of Python's run any more, this one does.
        faulthandler.dump_traceback_later(4 * HANGS, exit=self._ends)

    def stop(self) -> None:
        """There is nothing to watch."""
        if self._timer is not None:
            self._timer.cancel()
        faulthandler.cancel_dump_traceback_later()

    def _bark(self, tree: Tree) -> None:
        print(f"seed {tree.seed} on {tree.loop} hangs:\n{tree.root}", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(all_threads=True)
        if self._ends:
            os._exit(1)


def run_seed(seed: int, hangs: float = HANGS) -> list[str]:
    """Run the tree of a seed once, and return what was wrong with it; all stacks go to stderr if it hangs."""
    tree = Planner(seed).tree()
    return run_tree(tree, hangs)


def run_tree(tree: Tree, hangs: float = HANGS) -> list[str]:
    """The same, of a tree."""
    barks = threading.Timer(hangs * 0.8, faulthandler.dump_traceback)
    barks.daemon = True
    barks.start()
    try:
        return Runner(tree, hangs).run()
    finally:
        barks.cancel()


def smaller(tree: Tree) -> Iterator[Tree]:
    """Trees with one thing less."""
    for root in _smaller_nodes(tree.root):
        yield replace(tree, root=root)


def _smaller_nodes(node: Node) -> Iterator[Node]:
    for number, group in enumerate(node.groups):
        rest = (*node.groups[:number], *node.groups[number + 1 :])
        yield replace(node, groups=rest)
        for index, call in enumerate(group):
            others = (*group[:index], *group[index + 1 :])
            before, after = node.groups[:number], node.groups[number + 1 :]
            if others:
                yield replace(node, groups=(*before, others, *after))
            if call.fate != "await" and call.node.nap != _ENDLESS:
                calmer = (*group[:index], replace(call, fate="await"), *group[index + 1 :])
                yield replace(node, groups=(*before, calmer, *after))
            for inner in _smaller_nodes(call.node):
                yield replace(
                    node,
                    groups=(
                        *before,
                        (*group[:index], replace(call, node=inner), *group[index + 1 :]),
                        *after,
                    ),
                )
    if node.raises:
        yield replace(node, raises="")
    if 0 < node.nap < _ENDLESS:
        yield replace(node, nap=0)
    if node.cleans:
        yield replace(node, cleans=False)


def shrink(tree: Tree, fails: Callable[[Tree], bool]) -> Tree:
    """The smallest tree that can be got from it by leaving out one thing after the other."""
    found = True
    while found:
        found = False
        for candidate in smaller(tree):
            if fails(candidate):
                tree, found = candidate, True
                break
    return tree


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="nesting.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to go on")
    parser.add_argument("--seed", type=int, help="the first seed; default: a random one, which is printed")
    parser.add_argument("--trees", type=int, help="how many at most")
    parser.add_argument("--repeat", type=int, default=1, help="how often to run each")
    parser.add_argument("--shrink", action="store_true", help="look for a smaller tree that fails")
    parser.add_argument("--show", action="store_true", help="print each tree")
    options = parser.parse_args(arguments)
    logging.disable()
    first = random.randrange(1_000_000_000) if options.seed is None else options.seed
    print(f"from seed {first}", flush=True)
    watchdog = Watchdog(ends=True)
    deadline = time.monotonic() + options.seconds
    seed, faults = first, 0
    while time.monotonic() < deadline and (options.trees is None or seed < first + options.trees):
        tree = Planner(seed).tree()
        if options.show:
            print(tree.root, flush=True)
        watchdog.watch(tree)
        wrong = next(filter(None, (run_tree(tree) for _ in range(options.repeat))), [])
        if wrong:
            faults += 1
            print(*wrong, tree.root, sep="\n", flush=True)
            if options.shrink:
                watchdog.stop()
                least = shrink(tree, lambda each: any(run_tree(each, 3.0) for _ in range(5)))
                print("the smallest that fails:", least.root, *run_tree(least, 3.0), sep="\n", flush=True)
        seed += 1
    watchdog.stop()
    print(f"{seed - first} trees, of which {faults} failed", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
