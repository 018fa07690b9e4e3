"""Settings of the tests' Django project. `DJANGO_SITE_DIR` says where its database and uploads go."""

from __future__ import annotations

import logging
import os

from django.utils.log import CallbackFilter

_directory = os.environ.get("DJANGO_SITE_DIR")


def _unplanned(record: logging.LogRecord) -> bool:
    return not (record.exc_info and record.exc_info[0] and record.exc_info[0].__name__ == "Planned")


SECRET_KEY = "tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "frameworks.django_site.urls"
WSGI_APPLICATION = "frameworks.django_site.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "frameworks.django_site",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(_directory, "db.sqlite3") if _directory else ":memory:",
        # Persistent connections, one a thread: what throw-away threads would leak.
        "CONN_MAX_AGE": None,
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
FILE_UPLOAD_TEMP_DIR = _directory
FILE_UPLOAD_MAX_MEMORY_SIZE = 100_000
USE_TZ = True
# Errors go to the server's standard error, where a test looks for tracebacks; planned ones do not.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"unplanned": {"()": CallbackFilter, "callback": _unplanned}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["unplanned"]}},
    "loggers": {"django": {"handlers": ["stderr"], "level": "ERROR"}},
}
