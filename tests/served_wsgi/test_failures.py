"""Apps that fail: a 500 while there is time for one, a broken response afterwards."""

from __future__ import annotations

import pytest
from served.wire import TIMEOUT, Truncated
from served_wsgi.conftest import Served
from served_wsgi.servers import Limit

# How long to look at a response that a server leaves open, in seconds.
OPEN = 0.75


@pytest.mark.req("A-25", "A-27", "H-06")
@pytest.mark.parametrize("moment", ["before", "started", "silent", "started-silent"])
def test_failure_before_any_output_is_a_500(server: Served, moment: str) -> None:
    """The client gets a plain 500 without details, though the app may have started with 200.

    Rivals' bug 3 (a2wsgi): an app that returns without a response hangs for ever.
    """
    response = server.request("GET", f"/fail/{moment}")
    assert response.status == 500
    assert b"Deliberate" not in response.body
    assert b"Traceback" not in response.body
    server.get("/hello")


@pytest.mark.req("A-26", "A-27", "A-21")
@pytest.mark.parametrize("moment", ["after", "after-length", "short", "unfinished"])
def test_failure_after_output_never_ends_cleanly(server: Served, key: str, moment: str) -> None:
    """The client sees the response break off: no last chunk, no full length; the server serves on."""
    client = server.connect()
    client.start("GET", f"/fail/{moment}?key={key}")
    assert client.head().status == 200
    assert len(client.read()) == 1000
    server.release(key)
    client.sock.settimeout(OPEN if server.spec.lacks(Limit.OPEN_AFTER_ERROR) else TIMEOUT)
    if moment in ("after", "unfinished") and server.spec.lacks(Limit.ERRORS_END_CLEANLY):
        assert client.rest() == b""
    else:
        with pytest.raises(TimeoutError if server.spec.lacks(Limit.OPEN_AFTER_ERROR) else Truncated):
            client.rest()
    client.close()
    server.get("/hello")
    assert server.probe(key) == {"failing": 1}
