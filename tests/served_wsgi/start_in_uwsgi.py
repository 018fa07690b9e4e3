"""To be imported by uWSGI before it forks: each worker starts the adapter when it has been forked."""

from __future__ import annotations

from importlib import import_module

from served_wsgi.app import impatient

import_module("uwsgidecorators").postfork(impatient.start)
