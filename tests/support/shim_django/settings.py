"""Settings of the project. `DJANGO_SITE_DIR` says where its database goes; `CONN_MAX_AGE` is as in Django."""

from __future__ import annotations

import os

from frameworks.django_site import settings as other_site

_directory = os.environ["DJANGO_SITE_DIR"]

SECRET_KEY = "tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "support.shim_django.urls"
INSTALLED_APPS = ["support.shim_django.project.Project"]
# From without to within: each kind is called by another kind, so that Django adapts them with asgiref.
MIDDLEWARE = [
    "support.shim_django.middleware.of_both_kinds",
    "support.shim_django.middleware.blocking",
    "support.shim_django.middleware.asynchronous",
    "support.shim_django.middleware.blocking",
    "support.shim_django.middleware.of_both_kinds",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(_directory, "db.sqlite3"),
        "CONN_MAX_AGE": int(os.environ.get("CONN_MAX_AGE", "600")),
        "OPTIONS": {"timeout": 20},
        "TEST": {"NAME": os.path.join(_directory, "test.sqlite3")},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
LANGUAGE_CODE = "en"
LOGGING = other_site.LOGGING
