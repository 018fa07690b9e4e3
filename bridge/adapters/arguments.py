"""Checks of the arguments that the adapters share."""

from __future__ import annotations

from ..exceptions import UsageError


def require_size(name: str, value: object, *, at_least: int) -> None:
    """Raise `UsageError` unless `value` is a whole number of bytes, `at_least` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise UsageError(f"{name} must be a whole number of bytes, at least {at_least}; got {value!r}")


def require_seconds(name: str, value: object) -> None:
    """Raise `UsageError` unless `value` is a number of seconds from 0, or `None`."""
    if value is not None and not (isinstance(value, (int, float)) and value >= 0):
        raise UsageError(f"{name} must be a number of seconds, or None for no limit; got {value!r}")
