"""The shop as an ASGI application, for those who start their server themselves.

uvicorn asgi:application                                 in this folder
uvicorn examples.flask_on_uvicorn.asgi:application       two folders up
"""

from bridge import WSGIToASGI

if __package__:
    from .app import app, purchasing
else:  # started in this folder, which makes `app` a module of its own
    from app import app, purchasing  # type: ignore[import-not-found,no-redef]

application = WSGIToASGI(app, on_shutdown=[purchasing.close])
