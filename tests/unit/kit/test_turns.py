"""Turns rotate between clients, however many of them one client wants."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from proxy.kit.turns import FairTurns
from tests.kit.manual_clock import idle


class Place:
    """Who is served at a place with few turns, in order."""

    def __init__(self, limit: int) -> None:
        self.turns = FairTurns(limit)
        self.served: list[str] = []
        self.most = self.now = 0

    async def serve(self, client: str) -> None:
        async with self.turns.take(client):
            self.served.append(client)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1


async def test_those_who_wait_are_served_in_rotation_by_client() -> None:
    place = Place(1)
    async with asyncio.TaskGroup() as group, place.turns.take("first"):
        for client in ("a", "a", "a", "b", "c", "b"):
            group.create_task(place.serve(client))
        await idle()
        assert place.served == []
    assert place.served == ["a", "b", "c", "a", "b", "a"]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_no_more_than_the_limit_have_a_turn(limit: int) -> None:
    place = Place(limit)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(place.serve(f"{number % 4}"))
    assert (place.most, len(place.served)) == (limit, 20)


async def test_a_turn_of_one_who_leaves_is_not_lost() -> None:
    """While waiting, and in the moment in which it would have been given."""
    place = Place(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(place.turns.take("first"))
        async with asyncio.TaskGroup() as group:
            early, late = (group.create_task(place.serve(name)) for name in ("early", "late"))
            group.create_task(place.serve("last"))
            await idle()
            early.cancel()
            await idle()
            await stack.aclose()
            late.cancel()
    assert place.served == ["last"]
    await place.serve("again")
    assert place.served == ["last", "again"]


async def test_a_turn_ends_with_an_error() -> None:
    turns = FairTurns(1)
    with pytest.raises(ValueError, match="x"):
        async with turns.take(""):
            raise ValueError("x")
    async with turns.take(""):
        pass
