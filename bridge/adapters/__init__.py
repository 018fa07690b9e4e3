"""Thin adapters: each joins one machine of `translate` to one engine of `engines`."""
