"""The FastAPI application. One book of parcels serves all requests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from bridge.shim import open_facade

from .parcels import Parcels, UnknownParcel
from .protocol import AsyncParcels


def open_parcels() -> AbstractAsyncContextManager[AsyncParcels]:
    """Open the book; it is closed at the end of the `async with` block."""
    database = os.environ.get("PARCELS_DATABASE", "parcels.sqlite3")
    carrier = os.environ.get("PARCELS_CARRIER", "http://127.0.0.1:8300")
    return open_facade(Parcels, database, carrier, protocol=AsyncParcels)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with open_parcels() as parcels:
        yield {"parcels": parcels}


async def opened(request: Request) -> AsyncParcels:
    """The book that the lifespan has opened."""
    parcels: AsyncParcels = request.state.parcels
    return parcels


Book = Annotated[AsyncParcels, Depends(opened)]

app = FastAPI(lifespan=lifespan)


class NewParcel(BaseModel):
    addressee: str


class Place(BaseModel):
    place: str


@app.exception_handler(UnknownParcel)
async def unknown(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": f"no parcel {error}"}, 404)


@app.post("/parcels/", status_code=201)
async def add(new: NewParcel, parcels: Book) -> Any:
    return (await parcels.add(new.addressee))._asdict()


@app.get("/parcels/{number}")
async def get(number: int, parcels: Book) -> Any:
    return (await parcels.get(number))._asdict()


@app.put("/parcels/{number}/place")
async def move(number: int, to: Place, parcels: Book) -> Any:
    return (await parcels.move(number, to.place))._asdict()


@app.get("/parcels/{number}/arrival")
async def arrival(number: int, parcels: Book) -> Any:
    parcel = await parcels.get(number)
    return {"day": await parcels.arrival(parcel.number)}


@app.get("/moves.csv")
async def moves(parcels: Book) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async for move in parcels.moves():
            yield f"{move.number},{move.origin},{move.place}\n"

    return StreamingResponse(lines(), media_type="text/csv")
