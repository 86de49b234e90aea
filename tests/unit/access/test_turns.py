"""Turns go round between clients and users, and too much waiting is refused."""

from __future__ import annotations

import asyncio

import pytest

from proxy.access.turns import Turns
from proxy.errors import Overloaded
from tests.kit.manual_clock import ManualClock


async def _tick() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_honest_client_waits_for_few_of_a_greedy_one() -> None:
    turns, order, first = Turns(), list[str](), asyncio.Event()

    async def take(client: str, user: str) -> None:
        async with turns.turn(client, user):
            order.append(f"{client}/{user}")
            if len(order) == 1:
                await first.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(take("greedy", f"user{number}"))
        await _tick()
        group.create_task(take("honest", "ci"))
        await _tick()
        first.set()
    assert order.index("honest/ci") <= 2
    assert len(order) == 21


async def test_users_of_one_address_take_turns() -> None:
    turns, order, first = Turns(), list[str](), asyncio.Event()

    async def take(user: str) -> None:
        async with turns.turn("nat", user):
            order.append(user)
            if len(order) == 1:
                await first.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(7):
            group.create_task(take("guessed"))
        await _tick()
        group.create_task(take("ci"))
        await _tick()
        first.set()
    assert order.index("ci") <= 2


async def test_what_waits_is_bounded_and_who_leaves_frees_its_place() -> None:
    turns, first = Turns(), asyncio.Event()

    async def hold() -> None:
        async with turns.turn("greedy", "first"):
            await first.wait()

    async def take(user: str) -> None:
        async with turns.turn("greedy", user):
            pass

    async with asyncio.TaskGroup() as group:
        group.create_task(hold())
        await _tick()
        waiting = [group.create_task(take("ci")) for _ in range(8)]
        await _tick()
        with pytest.raises(Overloaded):
            await take("ci")
        for task in waiting[:4]:
            task.cancel()
        first.set()
        await asyncio.wait(waiting)
        await take("ci")


class Guesses:
    """Turns that take some time of a held clock, and fail unless a client is honest."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.turns = Turns(clock=self.clock)
        self.order: list[str] = []

    async def take(self, client: str, *, seconds: float = 0.0) -> None:
        async with self.turns.turn(client, "ci") as turn:
            self.order.append(client)
            turn.failed = not client.startswith("honest")
            await _tick()
            self.clock.advance(seconds)


async def test_who_guesses_waits_as_long_as_the_guess_took_and_nobody_else_does() -> None:
    world = Guesses()
    await world.take("guesses", seconds=20)
    # A rest of 20 s has begun, which is longer than this test runs.
    waiting = asyncio.create_task(world.take("guesses"))
    await _tick()
    for number in range(3):
        await world.take(f"honest {number}")
    assert world.order == ["guesses", "honest 0", "honest 1", "honest 2"]
    waiting.cancel()
    await asyncio.wait({waiting})


async def test_a_rest_ends() -> None:
    world = Guesses()
    for _ in range(3):
        await world.take("guesses", seconds=0.01)
    assert world.order == ["guesses"] * 3


async def test_who_guesses_comes_after_all_others() -> None:
    world = Guesses()
    for number in range(3):
        await world.take(f"guesses {number}", seconds=0.001)
    async with asyncio.TaskGroup() as group, world.turns.turn("honest", "first"):
        for number in range(3):
            group.create_task(world.take(f"guesses {number}", seconds=0))
        await _tick()
        for number in range(3):
            group.create_task(world.take(f"honest {number}", seconds=0))
        await _tick()
    assert world.order[3:] == [f"honest {n}" for n in range(3)] + [f"guesses {n}" for n in range(3)]


async def test_a_guess_that_was_right_in_the_end_comes_first_again() -> None:
    world = Guesses()
    await world.take("guesses", seconds=0.001)
    world.clock.advance(31)
    async with asyncio.TaskGroup() as group, world.turns.turn("honest", "first"):
        group.create_task(world.take("guesses", seconds=0))
        await _tick()
        group.create_task(world.take("honest", seconds=0))
        await _tick()
    assert world.order[1:] == ["guesses", "honest"]


async def test_those_who_wait_come_last_as_soon_as_their_client_has_guessed() -> None:
    world = Guesses()
    async with asyncio.TaskGroup() as group, world.turns.turn("honest", "first"):
        for _ in range(3):
            group.create_task(world.take("guesses", seconds=0.001))
        await _tick()
        for number in range(3):
            group.create_task(world.take(f"honest {number}"))
        await _tick()
    assert world.order == ["guesses", "honest 0", "honest 1", "honest 2", "guesses", "guesses"]
