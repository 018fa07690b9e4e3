"""What holds for every test module, as that it leaves no thread behind; and who runs which test when."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# For the tests of the plugin; it has to be asked for at the root.
pytest_plugins = ["pytester"]

# The same examples in every run, however slow the machine is at the moment, and nothing on disk.
settings.register_profile("bridge", derandomize=True, deadline=None, database=None)
settings.load_profile("bridge")

# A shell that runs this in the background has Ctrl-C ignored, and whoever is started here would inherit
# that: then servers do not end as they should.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_TESTS = Path(__file__).resolve().parent

# Modules, or folders of them, with tests of several seconds. They are begun first, so that the last seconds
# of a run find work for every worker.
_LONG = (
    "test_docs.py",
    "adapters/test_soak.py",
    "adapters/test_asgi_faults.py",
    "adapters/test_round_trips.py",
    "served_wsgi/test_shutdown.py",
    "serving/",
    "test_benchmarks.py",
    "testing/strategies/",
    "typing/",
)

# Threads that are on their way out when a module's last fixture has been torn down get this long.
_GRACE = 5.0


@pytest.fixture(scope="module", autouse=True)
def no_thread_outlives_its_module() -> Iterator[None]:
    """Fail if a module leaves a non-daemon thread behind (a daemon thread cannot hang an exit).

    By module, not by test, so that a server may live as long as a module's fixture.
    """
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + _GRACE
    leaked = []
    for thread in threading.enumerate():
        # The running test's own time-out is such a thread.
        if thread not in before and not thread.daemon and not thread.name.startswith("pytest_timeout "):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                leaked.append(thread.name)
    assert not leaked, f"non-daemon threads outlived the module: {leaked}"


@pytest.fixture
def preemptive() -> Iterator[None]:
    """Threads are switched often, in the middle of things."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the servers that could not be tested here, a line each."""
    if sys.platform == "linux":
        from served_wsgi.servers import missing

        for line in missing():
            terminalreporter.write_line(line)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each core with `-n auto`: many tests wait for servers, clients and threads."""
    return 2 * (os.cpu_count() or 1)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The ordinary one spends more time on counting than some of these tests take."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from support.scheduling import QuickLoadGroup

    return QuickLoadGroup(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep half a million objects that live as long as the run out of the garbage collector's way.

    With them, each full collection takes half a second, and tests that look for leaks ask for many.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put long tests first, and tell pytest-xdist the groups, where it fails to do so itself.

    pytest-xdist 3.8 appends a test's group to its `_nodeid`, which pytest 9.2 no longer reads, so that
    without this `--dist loadgroup` silently does not group.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    # The order within a module, and of the modules on either side, stays as it is.
    long = tuple(f"{_TESTS.as_posix()}/{each}" for each in _LONG)
    items.sort(key=lambda item: not item.path.as_posix().startswith(long))
    if not hasattr(pytest.Item, "id"):
        return
    attribute = "_id"
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and "@" not in item.nodeid.rpartition("]")[2]:
            group = mark.args[0] if mark.args else mark.kwargs["name"]
            setattr(item, attribute, type(item.id).parse(f"{item.nodeid}@{group}"))
