"""Settings of the project. `DJANGO_SITE_DIR` says where its database and uploads go."""

from __future__ import annotations

import os

from frameworks.django_site import settings as other_site

_directory = os.environ["DJANGO_SITE_DIR"]

SECRET_KEY = "tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "frameworks.asgi_django.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "frameworks.asgi_django",
]
MIDDLEWARE = [
    "frameworks.asgi_django.middleware.add_header",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Without async: Django puts a thread under it and what it wraps.
    "frameworks.asgi_django.middleware.Synchronous",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(_directory, "db.sqlite3"),
        # Django closes it when its request has finished.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
FILE_UPLOAD_TEMP_DIR = _directory
FILE_UPLOAD_MAX_MEMORY_SIZE = 100_000
USE_TZ = True
PASSWORD_HASHERS = other_site.PASSWORD_HASHERS
# Planned errors are left out; Waitress logs what reaches the root.
LOGGING = {
    **other_site.LOGGING,
    "loggers": {"django": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
}
