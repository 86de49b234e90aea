"""Turns go round between clients and users, and too much waiting is refused."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import pytest

from proxy.access.turns import Turns
from proxy.errors import Overloaded
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

Task: TypeAlias = "asyncio.Task[None]"


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
        self.honest: set[str] = set()

    async def take(self, client: str, user: str = "ci", *, seconds: float = 0.0) -> None:
        async with self.turns.turn(client, user) as turn:
            self.order.append(client)
            turn.failed = not client.startswith("honest") and client not in self.honest
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


async def test_a_guess_is_held_against_its_client_for_ten_minutes() -> None:
    world = Guesses()
    await world.take("guesses", seconds=0.001)
    world.clock.advance(601)
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


@asynccontextmanager
async def crowd(world: Guesses, clients: Iterable[str], *, each: int) -> AsyncIterator[list[Task]]:
    """Guesses that wait, all from now on, until the block ends."""
    tasks: list[Task] = []
    async with world.turns.turn("honest", "first"):
        for number in range(each):
            tasks += [
                asyncio.create_task(world.take(client, f"{number // 4}")) for client in clients
            ]
            await _tick()
        yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_full_queue_drops_from_the_client_with_most_and_takes_the_newcomer() -> None:
    world = Guesses()
    clients = [f"10.{number}.0.1" for number in range(64)]
    async with crowd(world, clients, each=20) as waiting:
        refused = [task for task in waiting if task.done()]
        assert len(refused) == 64 * 20 - 1024
        assert all(isinstance(task.exception(), Overloaded) for task in refused)
        honest = asyncio.create_task(world.take("honest"))
        await _tick()
        assert not honest.done()
        assert sum(task.done() for task in waiting) == len(refused) + 1
    await honest


async def test_a_full_queue_drops_suspects_before_all_others() -> None:
    world = Guesses()
    for number in range(64):
        await world.take(f"10.{number}.0.1", seconds=0)
    async with crowd(world, [f"10.{number}.0.1" for number in range(64)], each=16) as waiting:
        honest = [asyncio.create_task(world.take(f"honest {n // 8}", f"{n}")) for n in range(200)]
        await _tick()
        assert not any(task.done() for task in honest)
        assert sum(task.done() for task in waiting) == 200
        world.order.clear()
    await asyncio.gather(*honest)
    assert all(client.startswith("honest") for client in world.order[:200])


@pytest.mark.parametrize(
    ("guess", "near", "far"),
    [
        ("10.1.2.3", "10.1.2.4", "10.1.3.4"),
        ("2001:db8:1:1::/64", "2001:db8:1:2::/64", "2001:db8:2:1::/64"),
    ],
)
async def test_neighbours_of_a_guess_come_after_other_networks_and_before_the_guess(
    guess: str, near: str, far: str
) -> None:
    world = Guesses()
    world.honest |= {near, far}
    await world.take(guess, seconds=0)
    async with asyncio.TaskGroup() as group, world.turns.turn("honest", "first"):
        for client in (guess, near, far):
            group.create_task(world.take(client))
            await _tick()
    assert world.order == [guess, far, near, guess]


async def test_addresses_of_one_network_have_one_turn_in_rotation_with_other_networks() -> None:
    """So one that has never guessed wrong is no better off with many addresses."""
    world = Guesses()
    many = [f"10.1.2.{number}" for number in range(200)]
    world.honest |= {*many, "10.9.9.9"}
    async with asyncio.TaskGroup() as group, world.turns.turn("honest", "first"):
        for client in (*many, "10.9.9.9"):
            group.create_task(world.take(client))
        await _tick()
    assert world.order.index("10.9.9.9") == 1


async def test_one_that_is_dropped_and_leaves_at_once_gives_no_turn_on() -> None:
    """It never had one: two at once would be the consequence."""
    world = Guesses()
    async with crowd(world, [f"10.{number}.0.1" for number in range(64)], each=16) as waiting:
        known = set(waiting)
        late = asyncio.create_task(world.take("honest"))
        await asyncio.sleep(0)
        for task in known:
            task.cancel()
        await _tick()
        assert not late.done()
        assert world.order == []
    await late


async def test_more_of_one_client_than_may_wait_is_said_to_be_its_own() -> None:
    world = Guesses()
    async with crowd(world, ["10.1.1.1"], each=32):
        with pytest.raises(Overloaded, match="of this client"):
            await world.take("10.1.1.1", "another")


async def test_several_at_once_where_the_work_is_done_elsewhere() -> None:
    """As questions to a registry: without rests, which are for our own processor."""
    clock = ManualClock()
    turns, may_end, running = Turns(3, rests=False, clock=clock), asyncio.Event(), set[int]()

    async def guess(number: int) -> None:
        async with turns.turn(f"10.{number}.0.1", "") as turn:
            running.add(number)
            await may_end.wait()
            clock.advance(100)
            turn.failed = True

    async with asyncio.TaskGroup() as group:
        for number in range(7):
            group.create_task(guess(number))
        await _tick()
        assert running == {0, 1, 2}
        may_end.set()
    assert running == set(range(7))
    async with asyncio.timeout(10), turns.turn("10.0.0.1", ""):
        pass
