"""Once a manifest is served, its stored blobs are proved before anybody asks for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.blobs.closure import ClosureProofs
from proxy.blobs.grants import BlobGrants
from proxy.errors import StoreError, UpstreamUnavailable
from proxy.kit.singleflight import SingleFlight
from proxy.oci.reference import Digest, Repository
from proxy.stores.memory.blobs import MemoryBlobs
from tests.kit.catalogs import memory_catalog
from tests.kit.manual_clock import idle
from tests.kit.memory_upstream import MemoryUpstream, Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.stores.memory.blobs import MemoryBlob

REPOSITORY: Final = Repository("docker.io", "library/cargo", "cargo")
MANIFEST: Final = Digest.of(b"manifest")
LAYERS: Final = [b"one" * 1000, b"two" * 1000]
DIGESTS: Final = [Digest.of(layer) for layer in LAYERS]


class Store(MemoryBlobs):
    """Opens blobs only while the `gate` is open, and not at all while it is `broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False
        self.opened = 0

    async def open(self, digest: Digest) -> MemoryBlob | None:
        self.opened += 1
        await self.gate.wait()
        if self.broken:
            raise StoreError("the disk is gone")
        return await super().open(digest)


class World:
    def __init__(self, flights: SingleFlight) -> None:
        self.flights = flights
        self.store = Store()
        self.upstream = MemoryUpstream()
        self.grants = BlobGrants(
            catalog=memory_catalog(),
            store=self.store,
            upstreams={"docker.io": self.upstream},
            flights=flights,
        )
        self.proofs = ClosureProofs(grants=self.grants, store=self.store, flights=flights)

    async def keep(self, *contents: bytes) -> None:
        """Store what another repository has brought."""
        for content in contents:
            spool = await self.store.spool("docker.io", Digest.of(content))
            await spool.append(content)
            await spool.commit()

    def has(self, *contents: bytes) -> None:
        """The upstream has these in the repository."""
        self.upstream.blobs.update({Digest.of(content): content for content in contents})

    async def prove(self, now: float = 0.0) -> list[bool]:
        """Serve the manifest; which of its blobs may be served now."""
        self.proofs.start(REPOSITORY, MANIFEST, DIGESTS, now)
        await idle()
        return [await self.grants.exists(REPOSITORY, digest) for digest in DIGESTS]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    flights = SingleFlight()
    yield World(flights)
    await flights.close()


async def test_stored_blobs_are_proved_and_survive_an_outage(world: World) -> None:
    await world.keep(*LAYERS)
    world.has(*LAYERS)
    assert await world.prove() == [True, True]
    # Nothing more is asked when they are.
    asked = len(world.upstream.asked)
    assert await world.prove(now=60) == [True, True]
    assert len(world.upstream.asked) == asked


async def test_what_is_not_stored_is_not_asked_about(world: World) -> None:
    world.has(*LAYERS)
    await world.keep(LAYERS[1])
    assert await world.prove() == [False, True]
    assert {question.about for question in world.upstream.asked} == {DIGESTS[1]}


async def test_a_manifest_is_looked_at_once_a_minute(world: World) -> None:
    world.has(*LAYERS)
    assert await world.prove() == [False, False]
    await world.keep(*LAYERS)
    assert await world.prove(now=59.9) == [False, False]
    # Another manifest, or the same one elsewhere, has a minute of its own.
    world.proofs.start(REPOSITORY, Digest.of(b"other"), DIGESTS[:1], 59.9)
    await idle()
    assert await world.grants.exists(REPOSITORY, DIGESTS[0])
    assert await world.prove(now=60) == [True, True]


async def test_a_blob_that_the_upstream_has_not_hides_no_other(world: World) -> None:
    await world.keep(*LAYERS)
    world.has(LAYERS[1])
    assert await world.prove() == [False, True]


async def test_after_a_failure_the_next_request_tries_again(world: World) -> None:
    await world.keep(*LAYERS)
    world.has(*LAYERS)
    world.upstream.scripts.append(Script(error=UpstreamUnavailable("the registry is down")))
    assert await world.prove() == [False, False]
    world.store.broken = True
    assert await world.prove() == [False, False]
    world.store.broken = False
    assert await world.prove() == [True, True]


async def test_few_are_proved_at_once_and_few_wait(world: World) -> None:
    world.store.gate.clear()
    manifests = [Digest.of(f"{number}".encode()) for number in range(300)]
    for manifest in manifests:
        world.proofs.start(REPOSITORY, manifest, DIGESTS[:1], 0)
    await idle()
    assert world.store.opened == 4
    world.store.gate.set()
    await world.flights.finish(60)
    assert world.store.opened == 256
    # Those that found no place are not forgotten for a minute.
    world.proofs.start(REPOSITORY, manifests[-1], DIGESTS[:1], 1)
    await world.flights.finish(60)
    assert world.store.opened == 257
