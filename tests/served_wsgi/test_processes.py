"""Several worker processes, forked after the app was imported or before: each has a lifespan of its own."""

from __future__ import annotations

import pytest
from served_wsgi.conftest import Served, Starter, rows
from served_wsgi.servers import WORKERS, Server
from served_wsgi.test_shutdown import wait_for_end
from support.served import wait_until
from support.watching import PATIENCE

# Which process takes a connection is chance, and one may start later than the others: so many at once,
# again and again, meet each of them.
AT_ONCE = 12


def lives(server: Served) -> dict[int, list[str]]:
    """What each process has recorded."""
    found: dict[int, list[str]] = {}
    for pid, event in server.recorded_by_process():
        found.setdefault(pid, []).append(event)
    return found


@pytest.mark.req("A-01", "A-02", "L-04", "L-05", "L-10")
@pytest.mark.parametrize("spec", rows(lambda spec: spec.workers), indirect=True)
def test_each_worker_has_its_lifespan(spec: Server, start: Starter) -> None:
    """In each process: one startup before its first request, one loop, one shutdown."""
    with start("impatient", options=spec.workers) as server:
        loops: dict[int, set[int]] = {}

        def all_were_met() -> bool:
            for response in server.at_once("/where?pause=20", AT_ONCE):
                place = response.json()
                assert place["loop"] == place["lifespan_loop"]
                loops.setdefault(place["pid"], set()).add(place["loop"])
            return len(loops) == WORKERS

        wait_until(all_were_met, PATIENCE, "each worker has answered")
        assert [len(found) for found in loops.values()] == [1] * WORKERS
        assert sorted(loops) == server.processes()
        server.terminate()
        wait_for_end(server)
        assert lives(server) == {pid: ["startup", "first request", "shutdown"] for pid in loops}


@pytest.mark.req("A-02", "L-04")
@pytest.mark.parametrize("spec", rows(lambda spec: spec.eager), indirect=True)
def test_a_start_in_each_worker_before_any_request(spec: Server, start: Starter) -> None:
    """`start()` in the server's hook for a new worker runs the startup in each, asked or not."""
    with start("impatient", options=[*spec.workers, *spec.eager]) as server:
        wait_until(lambda: len(server.processes()) == WORKERS, PATIENCE, "all workers have started up")
        assert server.get("/hello").body == b"hello"
        server.terminate()
        wait_for_end(server)
        events = [[event for event in life if event != "first request"] for life in lives(server).values()]
        assert events == [["startup", "shutdown"]] * WORKERS
