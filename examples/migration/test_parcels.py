"""One suite for all steps: the book of parcels as blocking code uses it, and the site over HTTP."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.shim import sync_facade
from bridge.testing import AsyncClient, Client, compare

if __package__:
    from .carrier import Carrier
else:  # run in this folder
    from carrier import Carrier  # type: ignore[import-not-found,no-redef]

STEPS = ["step0", "step1", "step2", "step3", "step4"]


def module_of(step: str, name: str) -> Any:
    return importlib.import_module(f".{step}.{name}" if __package__ else f"{step}.{name}", __package__)


@pytest.fixture(scope="module")
def carrier() -> Iterator[Carrier]:
    with Carrier(delay=0.01) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(20)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARCELS_DATABASE", str(tmp_path / "parcels.sqlite3"))
    monkeypatch.setenv("PARCELS_CARRIER", carrier.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- the book


@pytest.fixture
def parcels(step: str, carrier: Carrier, tmp_path: Path) -> Iterator[Any]:
    """The book: as it is, or as async code that blocking code uses."""
    if step == "step0":
        module = module_of(step, "parcels")
        with closing(module.Parcels(str(tmp_path / "parcels.sqlite3"), carrier.url)) as book:
            yield book
    else:
        with sync_facade(module_of(step, "app").open_parcels()) as book:
            yield book


def test_a_parcel_begins_in_the_shop(parcels: Any) -> None:
    parcel = parcels.add("Ada")
    assert parcel == (1, "Ada", "shop")
    assert parcels.get(parcel.number) == parcel


def test_a_parcel_that_is_not_there(parcels: Any) -> None:
    with pytest.raises(LookupError):
        parcels.get(7)


def test_what_is_moved_is_in_the_book(parcels: Any) -> None:
    ada, bob = parcels.add("Ada"), parcels.add("Bob")
    assert parcels.move(ada.number, "van").place == "van"
    parcels.move(bob.number, "van")
    parcels.move(ada.number, "door")
    assert parcels.get(ada.number).place == "door"
    assert list(parcels.moves()) == [(1, "shop", "van"), (2, "shop", "van"), (1, "van", "door")]


def test_a_move_that_fails_leaves_nothing(parcels: Any) -> None:
    with pytest.raises(LookupError):
        parcels.move(7, "van")
    assert list(parcels.moves()) == []
    parcels.move(parcels.add("Ada").number, "van")  # no transaction was left open


def test_the_book_can_be_written_while_it_is_read(parcels: Any) -> None:
    number = parcels.add("Ada").number
    for turn in range(100):
        parcels.move(number, f"depot {turn}")
    seen = iter(parcels.moves())
    assert next(seen).place == "depot 0"
    parcels.move(number, "door")
    assert sum(1 for _ in seen) >= 99


def test_the_carrier_knows_when(parcels: Any) -> None:
    assert parcels.arrival(parcels.add("Ada").number) == "Tuesday"


# --- the site


@pytest.fixture
def site(step: str) -> Any:
    return module_of(step, "app").app


def test_a_parcel_over_http(site: Any) -> None:
    with Client(site) as client:
        answer = client.post("/parcels/", json={"addressee": "Ada"})
        assert answer.status_code == 201
        assert answer.json() == {"number": 1, "addressee": "Ada", "place": "shop"}
        client.put("/parcels/1/place", json={"place": "van"})
        assert client.get("/parcels/1").json()["place"] == "van"
        assert client.get("/parcels/1/arrival").json() == {"day": "Tuesday"}
        assert client.get("/moves.csv").text == "1,shop,van\n"
        assert client.get("/parcels/2").status_code == 404


def test_moves_at_the_same_time_make_a_chain(site: Any) -> None:
    """Each has begun where the one before it has ended, so none has come between another's statements."""

    async def main() -> list[list[str]]:
        async with AsyncClient(site) as client:
            await client.post("/parcels/", json={"addressee": "Ada"})
            await asyncio.gather(
                *(client.put("/parcels/1/place", json={"place": f"depot {turn}"}) for turn in range(10))
            )
            text = (await client.get("/moves.csv")).text
            return [line.split(",") for line in text.splitlines()]

    moves = asyncio.run(main())
    assert len(moves) == 10
    assert [origin for _, origin, _ in moves] == ["shop", *(place for *_, place in moves[:-1])]


def test_a_slow_reader_of_the_export_holds_nobody_up(site: Any, parcels: Any) -> None:
    number = parcels.add("Ada").number
    for turn in range(300):
        parcels.move(number, f"depot {turn} {'.' * 2000}")
    with Client(site) as client:
        with client.stream("GET", "/moves.csv") as export:
            lines = export.iter_lines()
            assert next(lines).startswith("1,shop,depot 0")
            assert client.put("/parcels/1/place", json={"place": "door"}).status_code == 200
            assert sum(1 for _ in lines) >= 299
        with client.stream("GET", "/moves.csv"):
            pass  # the reader has left
        assert client.get("/parcels/1").json()["place"] == "door"


@pytest.mark.parametrize("step", STEPS[1:])
def test_it_answers_as_the_flask_application_did(step: str, site: Any, parcels: Any) -> None:
    parcels.move(parcels.add("Ada").number, "van")
    asked = ["/parcels/1", "/parcels/1/arrival", "/parcels/7", "/moves.csv"]
    assert not compare(module_of("step0", "app").app, site, asked).differences


# --- what has become better


@pytest.mark.parametrize("step", STEPS[2:])
def test_the_carrier_is_asked_many_things_at_a_time_on_connections_that_stay(
    step: str, site: Any, carrier: Carrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncClient(site) as client:
            await client.post("/parcels/", json={"addressee": "Ada"})
            for _ in range(3):
                answers = await asyncio.gather(*(client.get("/parcels/1/arrival") for _ in range(5)))
                assert {answer.status_code for answer in answers} == {200}

    monkeypatch.setattr(carrier, "connections", 0)
    monkeypatch.setattr(carrier, "together", threading.Barrier(5))  # it answers five at a time
    asyncio.run(main())
    assert carrier.connections == 5
