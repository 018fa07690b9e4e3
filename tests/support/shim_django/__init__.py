"""A Django project that calls `bridge.sync_to_async` and `bridge.async_to_sync` where others use asgiref's.

It is served in four ways, see `served`, and is tested by its own test cases, see `cases`.
"""
