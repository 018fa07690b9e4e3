"""The book of parcels as async code sees it, whatever is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from .parcels import Move, Parcel


class AsyncParcels(Protocol):
    """What `Parcels` does, awaited."""

    async def add(self, addressee: str) -> Parcel: ...

    async def get(self, number: int) -> Parcel: ...

    async def move(self, number: int, place: str) -> Parcel: ...

    def moves(self) -> AsyncIterator[Move]: ...

    async def arrival(self, number: int) -> str: ...
