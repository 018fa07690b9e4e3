"""A Django project that lives by ASGI, with Channels in front; see `asgi` and `wsgi` for how it is served."""
