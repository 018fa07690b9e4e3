"""Seeded random nesting of `sync_to_async` and `async_to_sync`: nothing hangs, and nothing is lost or left.

What is drawn and what is checked: see nesting.py, which also runs for longer, as a command.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from support.engines import eventually

import bridge

TREES = 500
CHUNKS = 10


def _nesting() -> ModuleType:
    # Test folders are no packages, so their support modules are loaded by their place.
    name = "tests_shim_nesting"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("nesting.py"))
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


nesting = _nesting()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_nesting_comes_to_its_results(chunk: int, caplog: pytest.LogCaptureFixture) -> None:
    """On asyncio, uvloop, trio and from plain threads, with asgiref's functions among ours."""
    caplog.set_level(logging.CRITICAL)  # planned failures would fill the report
    faults = []
    for seed in range(chunk * TREES // CHUNKS, (chunk + 1) * TREES // CHUNKS):
        wrong = nesting.run_seed(seed)
        if wrong:
            faults += [*wrong, str(nesting.Planner(seed).tree().root)]
    assert faults == [], "\n".join(faults)


def test_a_seed_makes_the_same_tree_each_time() -> None:
    for seed in range(50):
        assert nesting.Planner(seed).tree() == nesting.Planner(seed).tree()


def test_the_trees_have_every_way_and_every_fate() -> None:
    """Or the tests above would say less than they seem to."""
    found = set()
    roots = set()
    waiting = []
    for seed in range(TREES):
        tree = nesting.Planner(seed).tree()
        roots.add(tree.loop)
        waiting.append(tree.root)
    while waiting:
        for group in waiting.pop().groups:
            for call in group:
                found |= {call.way, call.fate}
                waiting.append(call.node)
    ways = {*nesting.SYNC_TO_SYNC, *nesting.SYNC_TO_ASYNC, *nesting.ASYNC_TO_SYNC, *nesting.ASYNC_TO_ASYNC}
    assert found == ways | set(nesting.FATES)
    assert roots == {*nesting.LOOPS, "thread"}


def tree(root: object, loop: str = "asyncio") -> object:
    return nesting.Tree(1, loop, root, None)


def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks themselves: a lost context, a wrong thread, a wrong loop, another exception."""
    leaf = nesting.Node(2, False)

    def faults_of(way: str, fake: object) -> str:
        root = nesting.Node(1, True, ((nesting.Call(way, "await", 0, leaf),),))
        monkeypatch.setattr(nesting, "sync_to_async", fake)
        return "\n".join(nesting.run_tree(tree(root), 20.0))

    def in_place(function: object, **options: object) -> object:
        async def call(*args: object) -> object:
            return function(*args)  # type: ignore[operator]

        return call

    assert "not in its thread" in faults_of("sensitive", in_place)

    def other_exception(function: object, **options: object) -> object:
        async def call(*args: object) -> object:
            raise KeyError

        return call

    assert "came to (None, KeyError())" in faults_of("pool of 1", other_exception)

    def without_context(function: object, **options: object) -> object:
        async def call(*args: object) -> object:
            return await asyncio.get_running_loop().run_in_executor(None, function, *args)  # type: ignore[arg-type]

        return call

    assert "in the context, not" in faults_of("pool of 1", without_context)


def test_smaller_trees_are_made_of_the_failing_one() -> None:
    large = nesting.Planner(7).tree()

    def fails(candidate: object) -> bool:
        return "sensitive" in str(candidate.root)  # type: ignore[attr-defined]

    if not fails(large):
        large = next(filter(fails, (nesting.Planner(seed).tree() for seed in range(100))))
    least = nesting.shrink(large, fails)
    assert fails(least)
    assert len(str(least.root).splitlines()) <= str(least.root).count("    ") + 1
    assert sum(fails(candidate) for candidate in nesting.smaller(least)) == 0


def test_the_command_runs_and_reports() -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("nesting.py")), "--seed", "3", "--trees", "3"],
        env={**os.environ, "PYTHONPATH": str(Path(str(bridge.__file__)).resolve().parent.parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.splitlines() == ["from seed 3", "3 trees, of which 0 failed"], (
        done.stdout + done.stderr
    )
    assert done.returncode == 0


def test_no_thread_of_the_trees_is_left() -> None:
    """But for the governors of their pools, which end by themselves after some seconds."""

    def left() -> list[str]:
        names = [thread.name for thread in threading.enumerate()]
        return [n for n in names if n.startswith("nesting-") and not n.endswith("-governor")]

    eventually(lambda: not left(), f"they have ended: {left()}")
