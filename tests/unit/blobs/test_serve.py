"""A blob is served only through a repository that has it, from wherever it is."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from proxy.blobs.grants import BlobGrants
from proxy.blobs.limits import TransferLimits
from proxy.blobs.recency import BlobUse, RecencyTracker
from proxy.blobs.serve import Blobs
from proxy.blobs.transfers import Transfers
from proxy.errors import (
    BlobUnknown,
    ConversionRefused,
    StorageFailure,
    StoreError,
    UpstreamUnavailable,
)
from proxy.kit.singleflight import SingleFlight
from proxy.oci.reference import Digest, Repository
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from proxy.ports.catalog import Proof
from proxy.stores.memory.blobs import MemoryBlob, MemoryBlobs
from proxy.stores.memory.leases import MemoryLeases
from tests.kit.catalogs import memory_catalog
from tests.kit.manual_clock import ManualClock, idle
from tests.kit.memory_upstream import MemoryUpstream, Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from proxy.blobs.source import Source

CONTENT: Final = random.Random(3).randbytes(200_000)  # noqa: S311 -- bytes that nothing guesses
SIZE: Final = len(CONTENT)
REPOSITORY: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
DOWN: Final = UpstreamUnavailable("the registry is down")


class DamagedStore(MemoryBlobs):
    """Its blobs cannot be read from some offset on."""

    def __init__(self) -> None:
        super().__init__()
        self.good: int | None = None

    async def open(self, digest: Digest) -> MemoryBlob | None:
        blob = await super().open(digest)
        return None if blob is None else DamagedBlob(self, blob)

    async def quarantine(self, digest: Digest, blob: object) -> None:
        assert isinstance(blob, DamagedBlob)
        self.good = None
        await super().quarantine(digest, blob)

    async def touch(self, digests: Iterable[Digest]) -> None:
        if self.good is not None:
            raise StoreError("the disk is gone")
        await super().touch(digests)


class DamagedBlob(MemoryBlob):
    def __init__(self, store: DamagedStore, blob: MemoryBlob) -> None:
        super().__init__(blob._content)
        self._store = store

    async def read(self, offset: int, length: int) -> bytes:
        if self._store.good is not None and offset >= self._store.good:
            raise StoreError("Input/output error")
        return await super().read(offset, length)


class Made:
    """What was made here for the repository. Fits DerivedBlobs."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    async def get(self, repository: Repository, digest: Digest) -> bytes | None:
        return self.blobs.get(digest) if repository == REPOSITORY else None


class World:
    def __init__(self) -> None:
        self.upstream = MemoryUpstream()
        self.digest = self.upstream.add(CONTENT)
        self.clock = ManualClock()
        self.store = DamagedStore()
        self.flights = SingleFlight(MemoryLeases(), clock=self.clock)
        self.catalog = memory_catalog()
        self.made = Made()
        upstreams = {"docker.io": self.upstream}
        grants = BlobGrants(
            catalog=self.catalog,
            store=self.store,
            upstreams=upstreams,
            flights=self.flights,
        )
        self.blobs = Blobs(
            grants=grants,
            store=self.store,
            transfers=Transfers(
                grants=grants,
                store=self.store,
                leases=MemoryLeases(),
                upstreams=upstreams,
                flights=self.flights,
                limits=TransferLimits(downloads=8, spool=2**30, passed_through=8),
                finish_abandoned=True,
                clock=self.clock,
            ),
            upstreams=upstreams,
            registries=upstreams,
            flights=self.flights,
            derived=self.made,
            clock=self.clock,
        )

    async def keep(self, content: bytes = CONTENT, *, upstream: str = "docker.io") -> None:
        """Have the blob in the store, granted to nobody."""
        spool = await self.store.spool(upstream, self.digest)
        await spool.append(content)
        (await spool.commit()).close()

    async def grant(self, repository: Repository = REPOSITORY) -> None:
        if write := self.catalog.grant_blob(repository, self.digest, Proof.DELIVERED):
            await write

    async def pull(self) -> bytes:
        return await read(await self.blobs.open(REPOSITORY, self.digest))


async def read(source: Source) -> bytes:
    content = bytearray()
    try:
        while len(content) < source.size:
            content += await source.read(len(content), 30_000)
    finally:
        source.close()
    return bytes(content)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.flights.close()


async def test_a_blob_that_the_upstream_delivers_is_granted(world: World) -> None:
    assert await world.blobs.find(REPOSITORY, world.digest) is None
    assert await world.pull() == CONTENT
    await idle()
    assert world.catalog.remembers_access(REPOSITORY, world.digest)
    assert await world.pull() == CONTENT
    assert world.upstream.count("blob") == 1
    assert world.upstream.count("blob_head") == 0


async def test_stored_bytes_are_no_right_to_them(world: World) -> None:
    await world.keep()
    del world.upstream.blobs[world.digest]
    with pytest.raises(BlobUnknown):
        await world.pull()
    with pytest.raises(BlobUnknown):
        await world.blobs.size(REPOSITORY, world.digest)


async def test_head_is_a_grant_if_the_same_upstream_has_delivered_the_blob(world: World) -> None:
    await world.keep()
    assert await world.pull() == CONTENT
    assert await world.pull() == CONTENT
    assert [asked.kind for asked in world.upstream.asked] == ["blob_head"]


async def test_otherwise_three_ranges_prove_that_the_bytes_are_the_upstream_s(
    world: World,
) -> None:
    await world.keep(upstream="quay.io")
    assert await world.pull() == CONTENT
    assert await world.pull() == CONTENT
    assert [asked.kind for asked in world.upstream.asked] == ["blob_head", *["blob"] * 3]
    # That is kept with the blob, too.
    assert await world.store.upstreams(world.digest) == {"docker.io", "quay.io"}


async def test_an_upstream_that_only_says_that_it_has_the_blob_gets_nothing_of_it(
    world: World,
) -> None:
    """It answers HEAD with the right length, and has other bytes."""
    await world.keep(upstream="quay.io")
    world.upstream.blobs[world.digest] = bytes(SIZE)
    with pytest.raises(BlobUnknown):
        await world.pull()
    with pytest.raises(BlobUnknown):
        await world.blobs.size(REPOSITORY, world.digest)


async def test_the_size_is_asked_for_where_it_is_known(world: World) -> None:
    assert await world.blobs.size(REPOSITORY, world.digest) == SIZE
    assert world.upstream.count("blob") == 0
    await world.grant()
    gate = asyncio.Event()
    world.upstream.scripts.append(Script(gate=gate))
    opening = await world.blobs.fetch(REPOSITORY, world.digest)
    assert await world.blobs.size(REPOSITORY, world.digest) == SIZE
    found = await world.blobs.find(REPOSITORY, world.digest)
    assert found is not None
    gate.set()
    assert await read(opening) == await read(found) == CONTENT
    await idle()
    assert await world.blobs.size(REPOSITORY, world.digest) == SIZE
    assert world.upstream.count("blob_head") == 1


async def test_a_size_that_head_does_not_state_is_found_by_get(world: World) -> None:
    world.upstream.scripts.append(Script(states_length=False))
    assert await world.blobs.size(REPOSITORY, world.digest) == SIZE


async def test_the_empty_layer_needs_no_upstream(world: World) -> None:
    assert await world.blobs.size(REPOSITORY, EMPTY_LAYER) == len(EMPTY_LAYER_BYTES)
    source = await world.blobs.open(REPOSITORY, EMPTY_LAYER)
    assert source.is_near(0)
    assert await read(source) == EMPTY_LAYER_BYTES
    assert await world.blobs.url(EMPTY_LAYER, source) is None
    assert world.upstream.asked == []


MADE: Final = Digest.of(b"a config")


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_config_that_was_made_here_is_served_where_it_was_made(
    world: World, *, is_known: bool
) -> None:
    """Also where the catalog has forgotten that: only then the upstream is asked first."""
    world.made.blobs[MADE] = b"a config"
    if is_known and (write := world.catalog.grant_blob(REPOSITORY, MADE, Proof.DERIVED)):
        await write
    assert await world.blobs.size(REPOSITORY, MADE) == len(b"a config")
    source = await world.blobs.open(REPOSITORY, MADE)
    assert await read(source) == b"a config"
    assert await world.blobs.url(MADE, source) is None
    assert bool(world.upstream.asked) is not is_known
    with pytest.raises(BlobUnknown):
        await world.blobs.open(OTHER, MADE)
    with pytest.raises(BlobUnknown):
        await world.blobs.size(OTHER, MADE)


async def test_a_config_that_was_made_here_outlives_the_upstream(world: World) -> None:
    world.made.blobs[MADE] = b"a config"
    world.upstream.scripts += [Script(error=DOWN)] * 2
    assert await world.blobs.size(REPOSITORY, MADE) == len(b"a config")
    assert await read(await world.blobs.open(REPOSITORY, MADE)) == b"a config"


async def test_a_small_blob_is_read_and_a_large_one_refused(world: World) -> None:
    assert await world.blobs.read(REPOSITORY, world.digest, limit=SIZE) == CONTENT
    with pytest.raises(ConversionRefused):
        await world.blobs.read(REPOSITORY, world.digest, limit=SIZE - 1)


@pytest.mark.parametrize("good", [0, 100_000])
async def test_what_cannot_be_read_is_fetched_in_the_same_answer(world: World, good: int) -> None:
    await world.keep()
    await world.grant()
    world.store.good = good
    with structlog.testing.capture_logs() as log:
        assert await world.pull() == CONTENT
    assert "blob.unreadable" in [line["event"] for line in log]
    assert world.upstream.count("blob") == 1
    assert await world.store.size(world.digest) == SIZE


async def test_a_damaged_blob_that_the_upstream_has_no_more_ends_the_answer(world: World) -> None:
    await world.keep()
    await world.grant()
    world.store.good = 100_000
    world.upstream.scripts.append(Script(error=DOWN))
    with pytest.raises(UpstreamUnavailable):
        await world.pull()


async def test_a_truncated_blob_is_replaced_only_by_one_of_its_size(world: World) -> None:
    await world.keep()
    await world.grant()
    source = await world.blobs.open(REPOSITORY, world.digest)
    world.store.volume.blobs[world.digest].content[1000:] = b""
    world.upstream.scripts.append(Script(content=CONTENT))
    world.store.good = 1000
    assert source.size == SIZE
    assert source.is_near(SIZE)
    assert await source.read(2000, 10) == CONTENT[2000:2010]
    source.close()
    truncated = world.store.volume.blobs[world.digest]
    truncated.content[SIZE - 1 :] = b""
    other = await world.blobs.open(REPOSITORY, world.digest)
    with pytest.raises(StorageFailure):
        await other.read(SIZE - 1, 10)
    other.close()


@pytest.mark.parametrize(
    ("first", "last", "script", "starts"),
    [
        (1000, 1999, Script(), [1000]),
        (None, 500, Script(), [-500]),
        (None, 500, Script(knows_ranges=False), [-500, SIZE - 500]),
    ],
)
async def test_a_range_comes_straight_from_upstream(
    world: World, first: int | None, last: int, script: Script, starts: list[int]
) -> None:
    world.upstream.scripts.append(script)
    async with world.blobs.ranges.open(REPOSITORY, world.digest, first, last) as body:
        received = b"".join([chunk async for chunk in body.chunks()])
    assert received == (CONTENT[-500:] if first is None else CONTENT[1000:2000])
    assert [asked.start for asked in world.upstream.asked] == starts
    assert await world.store.size(world.digest) is None


@pytest.mark.parametrize(("lengths", "whole"), [([1], False), ([1, 1], True), ([SIZE // 2], True)])
async def test_the_whole_is_fetched_after_a_second_or_a_large_range(
    world: World, lengths: list[int], *, whole: bool
) -> None:
    for length in lengths:
        world.blobs.ranges.record(REPOSITORY, world.digest, length=length, total=SIZE)
    await idle()
    assert await world.store.size(world.digest) == (SIZE if whole else None)
    assert world.catalog.remembers_access(REPOSITORY, world.digest) is whole


async def test_blobs_of_served_manifests_are_touched_once_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.blobs.recency._COLLECTED", 0.0)
    tracker = RecencyTracker(world.blobs, world.flights)
    use = BlobUse((world.digest,))
    for now in (10.0, 10.5, 11.0, 11.9):
        tracker.tell(use, now)
        await idle()
    tracker.tell(BlobUse(()), 20.0)
    await idle()
    assert world.store.used == [world.digest] * 2
    world.store.good = 0
    with structlog.testing.capture_logs() as log:
        tracker.tell(use, 30.0)
        await idle()
    assert [line["event"] for line in log] == ["blobs.not_touched"]


async def test_the_blobs_of_many_manifests_are_touched_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each blob once: a thread for each manifest would cost more than to serve it."""
    monkeypatch.setattr("proxy.blobs.recency._COLLECTED", 0.0)
    calls: list[set[Digest]] = []

    async def touch(digests: set[Digest]) -> None:
        calls.append(digests)

    monkeypatch.setattr(world.store, "touch", touch)
    tracker = RecencyTracker(world.blobs, world.flights)
    base, tops = Digest.of(b"base"), [Digest.of(b"%d" % number) for number in range(50)]
    for top in tops:
        tracker.tell(BlobUse((base, top)), 10.0)
    await idle()
    assert calls == [{base, *tops}]
    tracker.tell(BlobUse((base,)), 20.0)
    await idle()
    assert calls[1:] == [{base}]
