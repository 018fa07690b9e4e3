"""A WSGI application under an ASGI server: bridge's `WSGIToASGI` and its rivals."""
