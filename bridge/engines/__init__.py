"""Threads and loops. They move opaque items and know nothing of HTTP."""
