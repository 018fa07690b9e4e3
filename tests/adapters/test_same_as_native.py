"""An app behaves in an adapter, and in both, as it does by itself: shown with bridge's own comparison.

The behaviours are those of `docs/_differences.py`, which also asks a rival and writes the table of the
documentation.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from itsdangerous import TimestampSigner

SOURCE = Path(__file__).resolve().parents[2] / "docs" / "_differences.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bridge_docs_differences", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Flask and FastAPI look their apps' module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


differences = _load()
EACH = pytest.mark.parametrize(
    "behaviour", differences.BEHAVIOURS, ids=lambda each: f"{each.direction[:4]}: {each.title}"
)


@pytest.fixture(autouse=True)
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what Flask signs: a second may begin between the two requests."""
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda signer: 1_700_000_000)


@EACH
def test_in_the_adapter(behaviour: Any) -> None:
    own = differences.adapters(behaviour.direction)["bridge"]
    comparison = differences.compared(behaviour, own)
    assert differences.verdict(comparison) == "same", comparison.text(color=False)


@EACH
def test_through_both_adapters(behaviour: Any) -> None:
    comparison = differences.compared(behaviour, "roundtrip")
    assert differences.verdict(comparison) == "same", comparison.text(color=False)


def test_differences_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an adapter that drops a header, and of one that does not call `close()`."""

    def dropping(app: Any) -> Any:
        def dropped(environ: Any, start_response: Any) -> Any:
            left = {key: value for key, value in environ.items() if key != "QUERY_STRING"}
            return app(left, start_response)

        return dropped

    plain = next(each for each in differences.BEHAVIOURS if each.title == "a plain GET")
    assert differences.verdict(differences.compared(plain, dropping)) == "**`QUERY_STRING`**"

    def leaving(app: Any) -> Any:
        return lambda environ, start_response: iter([*app(environ, start_response)])

    closing = next(each for each in differences.BEHAVIOURS if each.title == "`close()` is called once")
    assert differences.verdict(differences.compared(closing, leaving)) == "**what the app keeps**"
