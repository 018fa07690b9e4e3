"""Modules with apps, written for a test of `bridge serve`, and targets that are not found."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from bridge.exceptions import TargetError
from bridge.serving.target import find

WSGI = "def {name}(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{name}']\n"
ASGI = "async def {name}(scope, receive, send):\n    pass\n"


def write(path: Path, text: str = WSGI.format(name="app")) -> Path:
    """Write a module, by default one with a WSGI app called `app`, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def package(folder: Path, *names: str) -> None:
    """Make packages with an empty `__init__.py`."""
    for name in names:
        write(folder / name / "__init__.py", "")


def failure(target: str, **options: Any) -> TargetError:
    """What `find` raises."""
    with pytest.raises(TargetError) as caught:
        find(target, **options)
    return caught.value
