"""Whom a request comes from: for how long that is known, and how much is remembered at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.access import htpasswd
from proxy.access.hashing import Hashing
from proxy.access.identities import Identities, Presented
from proxy.access.passwords import Passwords
from proxy.access.principals import ANONYMOUS, Client, Principal, PrincipalKind
from proxy.access.tokens import TokenKeys, Tokens
from proxy.errors import Unauthorized
from proxy.kit.singleflight import SingleFlight
from proxy.ports.rights import Login
from tests.kit.access import basic
from tests.kit.access import htpasswd as write_users
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY: Final = "k" * 32
ANN: Final = basic("ann", "anchor")
MANY: Final = 2_500
# More than any memory of identities and passwords, in bytes.
MEMORY: Final = 2 * 2**20


class World:
    """Identities with one user, a held clock, and real hashes."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.file = write_users(directory / "users", {"ann": "anchor"})
        self.hashing = Hashing()
        self.passwords = Passwords(
            self.file, {}, hashing=self.hashing, flights=SingleFlight(), clock=self.clock
        )
        self.tokens = Tokens(TokenKeys.parse(KEY), clock=self.clock)
        self.identities = Identities(
            tokens=self.tokens, passwords=self.passwords, ask_upstreams=False, clock=self.clock
        )

    async def identify(self, header: str) -> Client:
        return await self.identities.identify(Presented(header, address="10.0.0.1"))

    def left(self, header: str) -> float | None:
        """For how many seconds the client is known."""
        until = self.identities.known_until(Presented(header))
        return None if until is None else until - self.clock.monotonic()

    def change_password(self) -> None:
        write_users(self.file, {"ann": "another"})
        assert self.passwords.look()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.hashing.close()


async def test_a_login_is_known_for_five_minutes(world: World) -> None:
    assert world.left(ANN) is None
    assert (await world.identify(ANN)).principal == Principal(PrincipalKind.BASIC, "ann")
    assert world.left(ANN) == 300
    world.clock.advance(301)
    assert world.identities.recall(Presented(ANN)) is None


async def test_a_login_that_an_upstream_has_confirmed_is_known_as_long_each_time(
    world: World,
) -> None:
    header = basic("upstream", "user")
    client = Client(ANONYMOUS, Login("upstream", "user"), refused=True)
    for _ in range(2):
        world.identities.remember_confirmed(Presented(header), client)
        assert world.left(header) == 300
        assert world.identities.recall(Presented(header)) == client
        world.clock.advance(301)
    world.identities.remember_confirmed(Presented(header), client)
    world.identities.forget()
    assert world.left(header) is None
    world.identities.remember_confirmed(Presented("Bearer token"), client)
    assert world.left("Bearer token") is None, "a token ends by itself"


async def test_a_token_is_known_until_it_ends(world: World) -> None:
    client = await world.identify(ANN)
    header = f"Bearer {world.identities.issue(client).value}"
    world.clock.advance(100)
    assert await world.identify(header) == client
    assert world.left(header) == 200
    world.clock.advance(206)
    with pytest.raises(Unauthorized, match="it has expired"):
        await world.identify(header)


async def test_a_changed_password_ends_what_is_known(world: World) -> None:
    client = await world.identify(ANN)
    header = f"Bearer {world.identities.issue(client).value}"
    await world.identify(header)
    world.change_password()
    assert world.identities.recall(Presented(header)) is None
    assert world.identities.recall(Presented(ANN)) is None
    with pytest.raises(Unauthorized, match="its user has changed since"):
        await world.identify(header)
    assert (await world.identify(ANN)).refused


async def test_a_token_with_a_shorter_credential_ends_with_it(world: World) -> None:
    account = Principal(PrincipalKind.JWT, "https://k8s#ann")
    client = Client(account, until=world.clock.wall() + 60)
    header = f"Bearer {world.identities.issue(client).value}"
    await world.identify(header)
    assert world.left(header) == 60


async def test_credentials_that_crossed_a_network_in_the_clear_are_not_looked_at(
    world: World,
) -> None:
    client = await world.identities.identify(Presented(ANN, secure=False))
    assert client.principal.kind is PrincipalKind.ANONYMOUS
    assert not client.refused


async def test_tokens_that_were_read_take_bounded_memory(world: World) -> None:
    client = await world.identify(ANN)
    # One token is as good as another: what differs is how the header is written.
    token = world.identities.issue(client).value
    for number in range(MANY):
        await world.identify(f"bearer {' ' * (number % 1000)}{token}{' ' * (number // 1000)}")
    assert world.identities._known.cost <= MEMORY


async def test_wrong_logins_take_bounded_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(htpasswd, "matches", lambda _hashed, _password: False)
    for number in range(4_200):
        assert not await world.passwords.check(Login("ann", f"guess{number}"), f"{number % 50}")
    assert world.passwords._wrong.cost <= MEMORY
    assert not await world.passwords.check(Login("ann", "x" * 20_000), "1")
