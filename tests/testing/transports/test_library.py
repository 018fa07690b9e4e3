"""Without the HTTP client library there is a clear word, and what needs none of it works."""

from __future__ import annotations

from support.engines import script

WITHOUT = """
import sys
sys.modules["httpx2"] = None
"""


def test_a_missing_library_is_named_with_its_remedy() -> None:
    printed = script(
        WITHOUT
        + """
from bridge.exceptions import MissingDependency
import bridge.testing
try:
    bridge.testing.Client
except MissingDependency as error:
    print(error)
"""
    )
    assert "httpx2" in printed
    assert "pip install 'wsgi-asgi-bridge[testing]'" in printed


def test_ways_and_exchanges_do_without_it() -> None:
    printed = script(WITHOUT + "from bridge.testing import Request, Response, ways\nprint(Request.of('/a'))")
    assert "target='/a'" in printed
