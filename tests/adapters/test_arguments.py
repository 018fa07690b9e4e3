"""Arguments that no adapter can work with are refused where they are given, by name."""

from __future__ import annotations

import pytest

from bridge.adapters.arguments import require_seconds, require_size
from bridge.exceptions import UsageError


@pytest.mark.parametrize("value", [1, 2, 10**9])
def test_a_size_from_the_least_on_is_taken(value: int) -> None:
    require_size("read_ahead", value, at_least=1)


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", None, True])
def test_another_size_is_refused_by_name(value: object) -> None:
    with pytest.raises(UsageError, match=r"read_ahead must be a whole number of bytes, at least 1; got"):
        require_size("read_ahead", value, at_least=1)


@pytest.mark.parametrize("value", [None, 0, 0.5, 60])
def test_seconds_from_zero_or_none_are_taken(value: object) -> None:
    require_seconds("grace", value)


@pytest.mark.parametrize("value", [-1, -0.5, "1", float("nan"), [1]])
def test_other_seconds_are_refused_by_name(value: object) -> None:
    with pytest.raises(UsageError, match="grace must be a number of seconds, or None for no limit; got"):
        require_seconds("grace", value)
