"""An ASGI application under a WSGI server: bridge's `ASGIToWSGI` and its rival."""
