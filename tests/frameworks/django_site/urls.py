"""Where the views of the tests' Django project are."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("probe", views.probe),
    path("open", views.open_gate),
    path("login/", views.log_in, name="login"),
    path("whoami/", views.whoami, name="whoami"),
    path("notes/", views.notes, name="notes"),
    path("upload/", views.upload, name="upload"),
    path("body/", views.body),
    path("stream/", views.stream),
    path("endless/", views.endless),
    path("events/", views.events),
    path("file/", views.file),
    path("broken/", views.broken),
    path("async/", views.async_view),
    path("async-database/", views.async_database),
    path("touch/", views.touch),
    path("connections/", views.connections),
    path("where", views.where, name="where"),
    path("item/<int:number>/", views.item, name="item"),
    path("go", views.go, name="go"),
]
