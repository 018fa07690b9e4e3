"""Blocking code called from async code, and the reverse: `bridge.shim` and its rivals."""
