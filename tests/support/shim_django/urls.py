"""Where the views are."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("blocking/", views.blocking),
    path("async/", views.asynchronous),
    path("meet/", views.meet),
    path("class/", views.Both.as_view()),
    path("made-async/", views.blocking_made_async),
    path("made-blocking/", views.async_made_blocking),
    path("orm/", views.orm),
    path("orm-blocking/", views.orm_from_blocking_code),
    path("transactions/", views.transactions),
    path("touch/", views.touch),
    path("descriptors/", views.descriptors),
    path("language/", views.language),
    path("language-blocking/", views.language_blocking),
    path("signals/", views.signals),
    path("afterwards/", views.afterwards),
    path("release/", views.release),
]
