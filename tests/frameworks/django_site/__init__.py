"""A Django project for the tests; served as `frameworks.django_site.asgi:app`."""
