"""Which replicas are found, and which of them is this one."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.peers.discovery import Discovery, Place
from proxy.peers.replicas import Replicas
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

PORT: Final = 5001


class Client:
    """As far as no other replica is asked."""

    own: str | None = None
    count: Callable[[str, int], None]


class Resolver(AbstractResolver):
    """Answers with what a test has given; without that, DNS fails."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in self.answers:
            raise OSError(errno.EIO, "DNS is away")
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.answers[host]
        ]

    async def close(self) -> None:
        """Nothing is open."""


class World:
    """One replica, which listens at `listen`."""

    def __init__(
        self, resolver: Resolver, *names: str, listen: str = "0.0.0.0", advertise: str = ""
    ) -> None:
        client: Any = Client()
        self.replicas = Replicas(client, clock=ManualClock())
        self.discovery = Discovery(
            self.replicas,
            [Place(name, PORT) for name in names],
            listen=Place(listen, PORT),
            advertise=Place(advertise, PORT) if advertise else None,
            resolver=resolver,
        )

    async def look(self) -> tuple[set[str], str | None]:
        """All replicas, and this one."""
        await self.discovery.look()
        return set(self.replicas.membership.live()), self.replicas.own


async def test_this_machine_s_address_is_our_own() -> None:
    world = World(Resolver(replicas=["127.0.0.1", "198.51.100.1"]), "replicas")
    assert await world.look() == ({"127.0.0.1:5001", "198.51.100.1:5001"}, "127.0.0.1:5001")
    assert world.discovery.warning is None


@pytest.mark.parametrize(
    ("listen", "others", "own"),
    [
        ("0.0.0.0", {"127.0.0.1:5001", "198.51.100.1:5001"}, "127.0.0.1:5001"),
        ("::", {"[::1]:5001", "[2001:db8::1]:5001"}, "[::1]:5001"),
    ],
)
async def test_a_replica_with_addresses_of_both_families_is_one(
    listen: str, others: set[str], own: str
) -> None:
    """Two would wait for each other."""
    answer = ["::1", "127.0.0.1", "198.51.100.1", "2001:db8::1"]
    world = World(Resolver(replicas=answer), "replicas", listen=listen)
    assert await world.look() == (others, own)


async def test_those_with_addresses_of_the_other_family_only_are_found_all_the_same() -> None:
    world = World(Resolver(one=["127.0.0.1"], other=["2001:db8::1"]), "one", "other")
    assert await world.look() == ({"127.0.0.1:5001", "[2001:db8::1]:5001"}, "127.0.0.1:5001")


async def test_further_addresses_of_our_own_are_no_other_replicas() -> None:
    world = World(Resolver(replicas=["127.0.0.2", "127.0.0.1", "198.51.100.1"]), "replicas")
    assert await world.look() == ({"127.0.0.1:5001", "198.51.100.1:5001"}, "127.0.0.1:5001")
    assert "are all this replica" in str(world.discovery.warning)


async def test_at_one_address_we_leave_the_others_of_this_machine_to_others() -> None:
    answer = ["127.0.0.1", "127.0.0.2", "198.51.100.1"]
    world = World(Resolver(replicas=answer), "replicas", listen="127.0.0.2")
    assert await world.look() == ({f"{each}:5001" for each in answer}, "127.0.0.2:5001")
    assert world.discovery.warning is None


async def test_what_dns_says_now_counts() -> None:
    resolver = Resolver(replicas=["127.0.0.1", "198.51.100.1"])
    world = World(resolver, "replicas")
    await world.look()
    resolver.answers = {"replicas": ["127.0.0.1", "198.51.100.2", "198.51.100.3"]}
    expected = {"127.0.0.1:5001", "198.51.100.2:5001", "198.51.100.3:5001"}
    assert await world.look() == (expected, "127.0.0.1:5001")
    # While it fails, nothing changes.
    resolver.answers = {}
    assert await world.look() == (expected, "127.0.0.1:5001")
    assert world.discovery.warning == "there is no address for replicas"


async def test_an_advertised_name_without_an_address_is_a_warning() -> None:
    """A proxy starts while DNS is away, and keeps the address that it had."""
    resolver = Resolver(replicas=["198.51.100.1", "198.51.100.2"])
    world = World(resolver, "replicas", advertise="here")
    assert await world.look() == ({"198.51.100.1:5001", "198.51.100.2:5001"}, None)
    assert world.discovery.warning == "there is no address for here"
    resolver.answers["here"] = ["198.51.100.2"]
    assert await world.look() == ({"198.51.100.1:5001", "198.51.100.2:5001"}, "198.51.100.2:5001")
    del resolver.answers["here"]
    assert await world.look() == ({"198.51.100.1:5001", "198.51.100.2:5001"}, "198.51.100.2:5001")
