"""Slots for requests to an upstream: no kind and no client keeps others out, and none is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import UpstreamSaturated
from proxy.telemetry import trace
from proxy.upstream.operation import Kind
from proxy.upstream.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Longer than any test takes, in seconds.
LONG: Final = 60.0
CONNECTIONS: Final = 8
MOST: Final = 7
WAITING: Final = 6


class Client:
    """Gives way to nobody here: only its name counts."""

    def __init__(self, name: str) -> None:
        self.client = name

    def give_way(self) -> None:
        raise AssertionError


class World:
    """Slots, and the tasks that hold them."""

    def __init__(self, connections: int = CONNECTIONS, *, longest_wait: float = LONG) -> None:
        self.slots = Slots(
            connections, name="docker.io", longest_wait=longest_wait, most_waiting=WAITING
        )
        self.began: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def request(
        self, kind: Kind = Kind.MANIFEST, client: str = "a", name: str = ""
    ) -> asyncio.Task[None]:
        """A request that is under way, or waits, until it is cancelled."""

        async def run() -> None:
            trace.begin(Client(client))
            async with self.slots.hold(kind):
                self.began.append(name or client)
                await asyncio.Event().wait()

        task = asyncio.create_task(run())
        self.tasks.append(task)
        await run_until_idle()
        return task

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def run_until_idle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await run_until_idle()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()
    assert (world.slots.taken, world.slots.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("many", "other"), [(Kind.BLOB, Kind.MANIFEST), (Kind.MANIFEST_HEAD, Kind.BLOB)]
)
async def test_one_kind_does_not_take_all(world: World, many: Kind, other: Kind) -> None:
    for _ in range(CONNECTIONS):
        await world.request(many)
    assert (world.slots.taken, world.slots.waiting) == (MOST, 1)
    await world.request(other, name="other")
    assert world.began[-1] == "other"
    assert world.slots.taken == CONNECTIONS


async def test_all_are_used_by_both_and_no_more() -> None:
    world = World(2)
    for kind in (Kind.BLOB, Kind.TAGS, Kind.BLOB, Kind.REFERRERS):
        await world.request(kind)
    assert (world.slots.taken, world.slots.waiting) == (2, 2)
    await world.close()


async def test_a_slot_that_comes_free_is_the_oldest_waiter_s(world: World) -> None:
    held = [await world.request() for _ in range(MOST)]
    for name in ("first", "second"):
        await world.request(name=name)
    await end(held[0])
    await end(held[1])
    assert world.began[-2:] == ["first", "second"]


async def test_the_client_that_has_least_is_next(world: World) -> None:
    held = [await world.request(client="greedy") for _ in range(MOST)]
    for _ in range(3):
        await world.request(client="greedy")
    await world.request(client="new")
    await end(held[0])
    assert world.began[-1] == "new"


async def test_a_request_that_waits_too_long_is_told_so() -> None:
    world = World(2, longest_wait=0.01)
    held = await world.request()
    waits = await world.request()
    with pytest.raises(UpstreamSaturated, match=r"to docker\.io are in use") as raised:
        await waits
    assert raised.value.retry_after == 0.01
    assert world.slots.waiting == 0
    await end(held)
    assert world.slots.taken == 0


async def test_so_many_wait_and_no_more(world: World) -> None:
    for _ in range(MOST + WAITING):
        await world.request()
    assert world.slots.waiting == WAITING
    with pytest.raises(UpstreamSaturated):
        await (await world.request())
    assert world.slots.waiting == WAITING


async def test_the_client_with_most_waiting_requests_makes_room_for_another(world: World) -> None:
    for _ in range(MOST + WAITING - 1):
        await world.request(client="greedy")
    newest = await world.request(client="greedy")
    await world.request(client="new", name="new")
    with pytest.raises(UpstreamSaturated):
        await newest
    assert world.slots.waiting == WAITING
    await end(world.tasks[0])
    assert world.began[-1] == "new"


async def test_a_waiter_that_leaves_takes_no_slot(world: World) -> None:
    held = [await world.request() for _ in range(MOST)]
    await end(await world.request(name="left"))
    await world.request(name="stays")
    await end(held[0])
    assert world.began[-1] == "stays"
    assert (world.slots.taken, world.slots.waiting) == (MOST, 0)


async def test_a_turn_that_comes_as_its_waiter_leaves_is_the_next_one_s(world: World) -> None:
    held = [await world.request() for _ in range(MOST)]
    leaves = await world.request(name="leaves")
    await world.request(name="next")
    # Both in one turn of the loop: the slot is granted, and the request cancelled.
    held[0].cancel()
    await asyncio.sleep(0)
    leaves.cancel()
    await run_until_idle()
    assert world.began[-1] == "next"
    assert (world.slots.taken, world.slots.waiting) == (MOST, 0)


async def test_a_request_that_fails_gives_its_slot_back() -> None:
    slots = Slots(2, name="docker.io")
    for _ in range(5):
        with pytest.raises(ValueError, match="x"):
            async with slots.hold(Kind.BLOB):
                raise ValueError("x")
    assert slots.taken == 0
