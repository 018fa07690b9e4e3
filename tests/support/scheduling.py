"""How tests are handed out to the workers of pytest-xdist: in `loadgroup`'s way, with less work.

For every test that ends, `loadgroup` counts anew all that the worker has been given since the start, and
it sends each test by itself. With twenty thousand tests that takes longer than many of them do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

# As many tests go to a worker at once while there are plenty, and fewer towards the end, when each
# worker should be busy until all are through.
_AT_ONCE = 8
_PLENTY = 50


class QuickLoadGroup(LoadGroupScheduling):  # type: ignore[misc]
    """Remembers of each worker's tests those that are not done, and hands out small ones together."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        self._places: dict[str, int] = {}

    def schedule(self) -> None:
        # All workers have collected the same, or nothing is run.
        collected: Sequence[str] = next(iter(self.registered_collections.values()))
        self._places = {test: place for place, test in enumerate(collected)}
        super().schedule()

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        group = self._split_scope(self.registered_collections[node][item_index])
        if all(self.assigned_work[node][group].values()):
            del self.assigned_work[node][group]

    def _assign_work_unit(self, node: Any) -> None:
        """Give a worker the next group, or the next few tests that belong to none."""
        room = max(1, min(_AT_ONCE, len(self.workqueue) // (_PLENTY * len(self.nodes))))
        tests: list[str] = []
        while self.workqueue and len(tests) < room:
            group, unit = self.workqueue.popitem(last=False)
            self.assigned_work[node][group] = unit
            tests += [test for test, done in unit.items() if not done]
        node.send_runtest_some([self._places[test] for test in tests])
