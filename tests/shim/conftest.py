"""Fixtures of the shim's tests: the three loops, threads and loops of a test's own, hurried looks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from support.drive import LOOPS
from support.engines import PATIENCE
from support.shim_service import Service
from support.shim_upstream import Upstream

from bridge.engines import asgiref_notes, waiting_thread
from bridge.engines.loop_thread import LoopThread
from bridge.shim import loop_call
from bridge.shim.sync_facade import sync_facade


@pytest.fixture(scope="session", autouse=True)
def shared_thread_exists() -> None:
    """asgiref's single thread stays until the process ends; started here, no module leaves it behind."""
    SyncToAsync.single_thread_executor.submit(int).result()


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each of the async libraries in turn."""
    return str(request.param)


@pytest.fixture
def single(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPoolExecutor]:
    """The thread that thread-sensitive code shares, which is asgiref's: one of this test's own."""
    asgiref_notes.prepare()
    with ThreadPoolExecutor(1, thread_name_prefix="single") as executor:
        monkeypatch.setattr(asgiref_notes.SyncToAsync, "single_thread_executor", executor)
        yield executor


@pytest.fixture(scope="module")
def single_of_module() -> Iterator[None]:
    """The same for a whole module."""
    with ThreadPoolExecutor(1) as executor, pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncToAsync, "single_thread_executor", executor)
        yield


@pytest.fixture(scope="module")
def upstream(single_of_module: None) -> Iterator[Upstream]:
    """A server that the module's clients may keep connections to."""
    with Upstream() as server:
        yield server


@pytest.fixture
def place() -> Iterator[LoopThread]:
    """A loop thread that nobody else uses."""
    thread = LoopThread(lambda: asyncio.new_event_loop())
    thread.start()
    yield thread
    thread.release()
    assert thread.join(PATIENCE)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits looks often; one that is ended gives its task all the time that it needs."""
    monkeypatch.setattr(waiting_thread, "LOOK", 0.01)
    monkeypatch.setattr(loop_call, "_CANCEL_GRACE", PATIENCE)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What goes away in the test goes by its last reference."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def service() -> Service:
    """An object with async methods, for one test."""
    return Service()


@pytest.fixture
def facade(service: Service) -> Any:
    """What blocking code uses of it."""
    return sync_facade(service)
