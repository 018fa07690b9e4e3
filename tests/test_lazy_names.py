"""Packages whose names are imported when they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.engines import script

import bridge
import bridge.shim
import bridge.testing


def test_a_name_is_imported_once_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lazy_example"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from bridge.lazy_names import lazily\n"
        "__getattr__, __dir__ = lazily(__name__, {'answer': 'inner.home', 'gone': 'inner.home'})\n"
    )
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "home.py").write_text("answer = object()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import lazy_example  # type: ignore[import-not-found]

    try:
        assert {"answer", "gone", "__name__"} <= set(dir(lazy_example))
        assert "lazy_example.inner" not in sys.modules
        answer = lazy_example.answer
        assert answer is sys.modules["lazy_example.inner.home"].answer is vars(lazy_example)["answer"]
        with pytest.raises(AttributeError, match="module 'lazy_example' has no attribute 'question'"):
            _ = lazy_example.question
        with pytest.raises(AttributeError, match=r"'lazy_example\.inner\.home' has no attribute 'gone'"):
            _ = lazy_example.gone
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "lazy_example"]:
            del sys.modules[name]


@pytest.mark.parametrize("package", [bridge, bridge.shim, bridge.testing], ids=["core", "shim", "testing"])
def test_every_public_name_is_there(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_the_shim_and_the_testing_tools_are_not_loaded_before() -> None:
    printed = script(
        "import sys, bridge\n"
        "assert bridge.WSGIToASGI and 'sync_to_async' in dir(bridge)\n"
        "print([name for name in sys.modules if name.startswith(('bridge.shim', 'bridge.testing'))])\n"
        "print(bridge.sync_to_async.__module__)\n"
    )
    assert printed.splitlines() == ["[]", "bridge.shim.to_async"]
