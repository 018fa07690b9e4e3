"""Where the views are."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("probe", views.probe),
    path("open", views.open_gate),
    path("sync/", views.synchronous),
    path("notes/", views.notes),
    path("notes-sync/", views.notes_in_a_thread),
    path("transaction/", views.transaction),
    path("touch/", views.touch),
    path("descriptors/", views.descriptors),
    path("login/", views.log_in, name="login"),
    path("whoami/", views.whoami, name="whoami"),
    path("upload/", views.upload),
    path("body/", views.body),
    path("stream/", views.stream),
    path("events/", views.events),
    path("endless/", views.endless),
    path("slow/", views.slow),
    path("file/", views.file),
    path("broken/", views.broken),
    path("context/", views.context),
    path("where/", views.where, name="where"),
    path("item/<int:number>/", views.item, name="item"),
    path("go/", views.go),
]
