"""Frost watch as a WSGI application, for any server that asks for `wsgi:application`.

gunicorn wsgi                                   in this folder, whose gunicorn.conf.py it finds
gunicorn examples.asgi_on_gunicorn.wsgi         two folders up
"""

from bridge import ASGIToWSGI

if __package__:
    from .app import app
else:  # started in this folder, which makes `app` a module of its own
    from app import app  # type: ignore[import-not-found,no-redef]

# Nothing starts here. The event loop, and the app's lifespan on it, begin in each worker process with its
# first request or with `application.start()`, and end when the process does.
application = ASGIToWSGI(app, max_body=64 * 2**20)
