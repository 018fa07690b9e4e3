"""A bar that shows how far a long command is, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Step(Protocol):
    """What a comparison calls after each request; see `bridge.testing.comparison.compare.Progress`."""

    def __call__(self, done: int, total: int | None, result: Any, /) -> object:
        """So many requests are done, of so many if that is known."""


@contextmanager
def progress(doing: str, total: int | None = None) -> Iterator[Step | None]:
    """A bar on the standard error while the block lasts, and what advances it.

    `None` if that is no terminal, or rich is not installed.

    Args:
        doing: what stands before the bar.
        total: how many steps there are, if that is known at the beginning.
    """
    if not (sys.stderr.isatty() and _has_rich()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[different]}"),
        TimeRemainingColumn(),
    )
    # It disappears in the end: what stays is the report.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total, different="")
        different = 0

        def step(done: int, total: int | None, result: Any, /) -> None:
            nonlocal different
            different += not getattr(result, "same", True)
            words = f"{different} different" if different else ""
            bar.update(task, completed=done, total=total, different=words)

        yield step


def _has_rich() -> bool:
    try:
        import rich.console  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True
