"""Turns go round between clients and users, and too much waiting is refused."""

from __future__ import annotations

import asyncio

import pytest

from proxy.access.turns import Turns
from proxy.errors import Overloaded


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
