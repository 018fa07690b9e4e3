"""Step 0: the Flask application. Each request has a book of parcels of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, request, stream_with_context

from .parcels import Parcels, UnknownParcel

app = Flask(__name__)


def parcels() -> Parcels:
    """The book of this request."""
    if "parcels" not in g:
        database = os.environ.get("PARCELS_DATABASE", "parcels.sqlite3")
        carrier = os.environ.get("PARCELS_CARRIER", "http://127.0.0.1:8300")
        g.parcels = Parcels(database, carrier)
    opened: Parcels = g.parcels
    return opened


@app.teardown_appcontext
def close(error: BaseException | None) -> None:
    if "parcels" in g:
        g.pop("parcels").close()


@app.errorhandler(UnknownParcel)
def unknown(error: UnknownParcel) -> Any:
    return {"error": f"no parcel {error}"}, 404


@app.post("/parcels/")
def add() -> Any:
    return parcels().add(request.json["addressee"])._asdict(), 201


@app.get("/parcels/<int:number>")
def get(number: int) -> Any:
    return parcels().get(number)._asdict()


@app.put("/parcels/<int:number>/place")
def move(number: int) -> Any:
    return parcels().move(number, request.json["place"])._asdict()


@app.get("/parcels/<int:number>/arrival")
def arrival(number: int) -> Any:
    parcel = parcels().get(number)
    return {"day": parcels().arrival(parcel.number)}


@app.get("/moves.csv")
def moves() -> Response:
    def lines() -> Iterator[str]:
        for move in parcels().moves():
            yield f"{move.number},{move.origin},{move.place}\n"

    return Response(stream_with_context(lines()), mimetype="text/csv")
