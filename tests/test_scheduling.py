"""How tests are handed out to workers: each runs once, groups stay together, a lost worker loses none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.scheduling import QuickLoadGroup

SINGLE = [f"test_a.py::test_a[{number}]" for number in range(1000)]
GROUPED = [f"test_b.py::test_b[{number}]@{name}" for number in range(30) for name in ("red", "blue")]
TESTS = [*SINGLE, *GROUPED]


class Worker:
    """Runs what it is sent, but keeps one back until it is told that no more will come, as a worker does."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.waiting: list[int] = []
        self.done: list[str] = []
        self.messages = 0

    def send_runtest_some(self, indices: list[int]) -> None:
        self.messages += 1
        self.waiting += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def scheduled(workers: list[Worker]) -> Any:
    """A scheduler that has the tests and has given each worker its first ones."""
    config = SimpleNamespace(
        getvalue=lambda name: ["popen"] * len(workers), option=SimpleNamespace(loadscopereorder=True)
    )
    scheduler: Any = QuickLoadGroup(config, None)
    for worker in workers:
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, TESTS)
    assert scheduler.collection_is_completed
    scheduler.schedule()
    return scheduler


def step(scheduler: Any, worker: Worker) -> bool:
    """Run a worker's next test; whether it had one that it may run."""
    if len(worker.waiting) < 2 and not (worker.shutting_down and worker.waiting):
        return False
    index = worker.waiting.pop(0)
    worker.done.append(TESTS[index])
    scheduler.mark_test_complete(worker, index)
    return True


def turn(scheduler: Any, workers: list[Worker]) -> int:
    """Let each worker run a test; how many did."""
    return sum(step(scheduler, worker) for worker in workers)


@pytest.fixture
def workers() -> list[Worker]:
    return [Worker("gw0"), Worker("gw1"), Worker("gw2")]


def test_each_test_is_run_once_and_a_group_by_one_worker(workers: list[Worker]) -> None:
    scheduler = scheduled(workers)
    while turn(scheduler, workers):
        pass
    assert scheduler.tests_finished
    assert not scheduler.has_pending
    assert sorted(test for worker in workers for test in worker.done) == sorted(TESTS)
    for name in ("red", "blue"):
        assert sum(any(test.endswith(f"@{name}") for test in worker.done) for worker in workers) == 1


def test_a_worker_gets_several_tests_at_once_but_has_few_at_the_end(workers: list[Worker]) -> None:
    scheduler = scheduled(workers)
    while turn(scheduler, workers):
        if len(scheduler.workqueue) < 100:
            assert all(len(worker.waiting) <= 4 for worker in workers)
    assert sum(worker.messages for worker in workers) < len(TESTS) / 2


@pytest.mark.parametrize("after", [0, 40, 300])
def test_what_a_lost_worker_had_is_run_by_others(workers: list[Worker], after: int) -> None:
    scheduler = scheduled(workers)
    lost, *others = workers
    for _ in range(after):
        assert step(scheduler, lost)
    running = TESTS[lost.waiting[0]]
    assert scheduler.remove_node(lost) == running
    # As pytest-xdist has it, the test that was running goes to another worker once more.
    while turn(scheduler, others):
        pass
    assert scheduler.tests_finished
    assert sorted([*lost.done, *(test for worker in others for test in worker.done)]) == sorted(TESTS)
