"""What holds for every test module: no thread that would keep the interpreter alive is left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the servers that could not be tested here, a line each."""
    if sys.platform == "linux":
        from served_wsgi.servers import missing

        for line in missing():
            terminalreporter.write_line(line)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each core with `-n auto`: most tests wait for servers, clients and threads, not for a core."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tell pytest-xdist the groups, where it fails to do so itself.

    pytest-xdist 3.8 appends a test's group to its `_nodeid`, which pytest 9.2 no longer reads, so that
    without this `--dist loadgroup` silently does not group.
    """
    if not getattr(config.option, "loadgroup", False) or not hasattr(pytest.Item, "id"):
        return
    attribute = "_id"
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and "@" not in item.nodeid.rpartition("]")[2]:
            group = mark.args[0] if mark.args else mark.kwargs["name"]
            setattr(item, attribute, type(item.id).parse(f"{item.nodeid}@{group}"))
