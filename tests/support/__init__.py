"""Helpers that several test modules share; `support` is on pytest's path (see pyproject.toml)."""
