"""Rights that a registry has granted: how long they are kept, and what ends them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from proxy.access.rights import Rights, RightsPolicy
from proxy.errors import FailureContext, Overloaded, Phase, UpstreamFailure, UpstreamUnavailable
from proxy.kit.singleflight import SingleFlight
from proxy.oci.reference import Repository
from proxy.ports.rights import Login, Right
from proxy.telemetry import trace
from tests.kit.manual_clock import ManualClock, idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APP = Repository("docker.io", "team/app", "team/app")
ANN, BOB = Login("ann", "anchor"), Login("bob", "bollard")
REFUSED = UpstreamUnavailable("refused", context=FailureContext(phase=Phase.CONNECT))
ERROR = UpstreamUnavailable("503", context=FailureContext(status=503))


class Registry:
    """Fits RightsRegistry: says what the test wants, and counts."""

    def __init__(self) -> None:
        self.rights: dict[Login | None, Right] = {ANN: Right.GRANTED}
        self.failure: UpstreamFailure | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked: list[Login | None] = []

    async def may_pull(self, name: str, subject: str, login: Login | None) -> Right:
        assert (name, subject) == ("team/app", "manifests/1")
        self.asked.append(login)
        if self.failure is not None:
            raise self.failure
        return self.rights.get(login, Right.REFUSED)

    async def knows(self, login: Login) -> bool:
        self.asked.append(login)
        await self.answers.wait()
        return login in self.rights

    async def close(self) -> None:
        pass


@dataclass(frozen=True)
class Requester:
    """Fits Holder."""

    client: str

    def give_way(self) -> None:
        raise AssertionError("it holds nothing")


class World:
    """Rights at one registry, with a held clock."""

    def __init__(self, flights: SingleFlight, **policy: float) -> None:
        self.clock, self.registry = ManualClock(), Registry()
        self._rights = Rights(
            {"docker.io": self.registry},
            policy=RightsPolicy(**policy),
            flights=flights,
            clock=self.clock,
        )

    async def may(self, login: Login | None) -> bool:
        return await self._rights.check(APP, "manifests/1", login)

    async def knows(self, login: Login, *, client: str = "10.0.0.1") -> bool:
        """As a request of that client asks it."""
        trace.begin(Requester(client))
        return await self._rights.knows("docker.io", login)


@pytest.fixture
async def flights() -> AsyncIterator[SingleFlight]:
    flights = SingleFlight()
    yield flights
    await flights.close()


async def test_a_right_is_kept_for_its_ttl_and_a_refusal_shorter(flights: SingleFlight) -> None:
    world = World(flights, ttl=300, denied=10)
    assert await world.may(ANN)
    assert not await world.may(BOB)
    assert world.registry.asked == [None, ANN, BOB]
    world.clock.advance(9)
    assert await world.may(ANN)
    assert not await world.may(BOB)
    assert len(world.registry.asked) == 3
    world.registry.rights = {BOB: Right.GRANTED}
    world.clock.advance(2)
    assert await world.may(BOB)
    assert await world.may(ANN), "for the rest of its time"
    world.clock.advance(300)
    assert not await world.may(ANN)


async def test_what_everybody_may_read_is_asked_once(flights: SingleFlight) -> None:
    world = World(flights)
    world.registry.rights = {None: Right.GRANTED}
    for login in (ANN, BOB, None):
        assert await world.may(login)
    assert world.registry.asked == [None]


async def test_no_word_about_one_object_is_kept(flights: SingleFlight) -> None:
    world = World(flights)
    world.registry.rights = {ANN: Right.UNKNOWN}
    assert not await world.may(ANN)
    world.registry.rights = {ANN: Right.GRANTED}
    assert await world.may(ANN)


@pytest.mark.parametrize("failure", [REFUSED, ERROR])
async def test_a_failure_grants_nothing(flights: SingleFlight, failure: UpstreamFailure) -> None:
    world = World(flights, ttl=300)
    world.registry.failure = failure
    with pytest.raises(UpstreamUnavailable):
        await world.may(ANN)
    world.registry.failure = None
    world.clock.advance(3)
    assert await world.may(ANN)
    world.registry.failure = failure
    world.clock.advance(301)
    with pytest.raises(UpstreamUnavailable):
        await world.may(ANN)


async def test_an_old_right_is_kept_only_while_no_connection_can_be_made(
    flights: SingleFlight,
) -> None:
    world = World(flights, ttl=300, stale_if_error=600)
    assert await world.may(ANN)
    world.registry.failure = ERROR
    world.clock.advance(301)
    with pytest.raises(UpstreamUnavailable):
        await world.may(ANN)
    world.registry.failure = REFUSED
    assert await world.may(ANN)
    with pytest.raises(UpstreamUnavailable):
        await world.may(BOB)
    world.clock.advance(600)
    with pytest.raises(UpstreamUnavailable):
        await world.may(ANN)


async def test_an_unreachable_registry_is_not_asked_by_each_request(flights: SingleFlight) -> None:
    world = World(flights, ttl=1, stale_if_error=600)
    assert await world.may(ANN)
    world.registry.failure = REFUSED
    world.clock.advance(2)
    world.registry.asked.clear()
    for _ in range(5):
        assert await world.may(ANN)
    assert len(world.registry.asked) == 1


async def test_a_wrong_login_is_not_asked_again_at_once(flights: SingleFlight) -> None:
    world = World(flights)
    for _ in range(3):
        assert not await world.knows(BOB)
    assert world.registry.asked == [BOB]
    world.clock.advance(31)
    assert not await world.knows(BOB)
    assert world.registry.asked == [BOB, BOB]
    assert await world.knows(ANN)


async def test_a_login_is_asked_about_before_those_of_clients_that_had_wrong_ones(
    flights: SingleFlight,
) -> None:
    """From however many addresses they come, and although they take all places."""
    world = World(flights)
    world.registry.answers.clear()
    wrong = [
        asyncio.create_task(world.knows(Login("ann", f"{n}"), client=f"10.{n % 64}.0.1"))
        for n in range(1_300)
    ]
    await idle()
    assert sum(task.done() for task in wrong) == 1_300 - 1_024 - 32
    right = asyncio.create_task(world.knows(ANN, client="192.0.2.1"))
    await idle()
    world.registry.answers.set()
    assert await right
    assert world.registry.asked.index(ANN) < 32 + 64 + 1
    outcomes = await asyncio.gather(*wrong, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {bool, Overloaded}


async def test_a_client_that_asks_too_much_costs_no_other_that_asks_the_same(
    flights: SingleFlight,
) -> None:
    world = World(flights)
    world.registry.answers.clear()
    # All wait but the first 32, and more of one client than of the others.
    clients = [f"10.{n % 8 if n < 1_000 else 0}.0.1" for n in range(32 + 1_024 - 1)]
    greedy = [
        asyncio.create_task(world.knows(Login("bob", f"{n}"), client=client))
        for n, client in enumerate(clients)
    ]
    await idle()
    last = asyncio.create_task(world.knows(ANN, client="10.0.0.1"))
    await idle()
    same = asyncio.create_task(world.knows(ANN, client="192.0.2.1"))
    await idle()
    assert not any(task.done() for task in (*greedy, last, same))
    # Room is made for another one by the last of the client that has most.
    another = asyncio.create_task(world.knows(BOB, client="192.0.2.2"))
    await idle()
    assert last.done()
    assert isinstance(last.exception(), Overloaded)
    world.registry.answers.set()
    assert await same
    assert not await another
    await asyncio.gather(*greedy, return_exceptions=True)
