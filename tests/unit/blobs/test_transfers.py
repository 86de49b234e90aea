"""One transfer, however many readers, and every reader gets the blob or an error."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from proxy.blobs.grants import BlobGrants
from proxy.blobs.limits import TransferLimits
from proxy.blobs.progress import HELD_BACK
from proxy.blobs.transfers import Transfers
from proxy.errors import (
    BlobUnknown,
    Overloaded,
    StorageFailure,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.singleflight import SingleFlight
from proxy.oci.reference import Repository
from proxy.ports.blobs import spool_key
from proxy.stores.memory.blobs import MemoryBlobs, MemoryVolume
from proxy.stores.memory.leases import MemoryLeases
from tests.kit.catalogs import memory_catalog
from tests.kit.manual_clock import ManualClock, idle
from tests.kit.memory_upstream import MemoryUpstream, Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from proxy.blobs.transfers import Reader

T = TypeVar("T")

CONTENT: Final = random.Random(2).randbytes(300_000)  # noqa: S311 -- bytes that nothing guesses
SIZE: Final = len(CONTENT)
REPOSITORY: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
DOWN: Final = UpstreamUnavailable("the registry broke the connection")
LONG: Final = 60.0


class World:
    def __init__(self) -> None:
        self.upstream = MemoryUpstream()
        self.digest = self.upstream.add(CONTENT)
        self.clock = ManualClock()
        self.volume = MemoryVolume()
        self.store = MemoryBlobs(self.volume)
        self.claimed: set[str] = set()
        self.flights = SingleFlight(clock=self.clock)

    def transfers(
        self, *, downloads: int = 8, passed_through: int = 8, finish_abandoned: bool = True
    ) -> Transfers:
        limits = TransferLimits(
            downloads=downloads, spool=2**30, passed_through=passed_through, clock=self.clock
        )
        upstreams = {"docker.io": self.upstream}
        return Transfers(
            grants=BlobGrants(
                catalog=memory_catalog(),
                store=self.store,
                upstreams=upstreams,
                flights=self.flights,
            ),
            store=self.store,
            leases=MemoryLeases(self.claimed),
            upstreams=upstreams,
            flights=self.flights,
            limits=limits,
            finish_abandoned=finish_abandoned,
            clock=self.clock,
        )

    async def pull(self, transfers: Transfers, repository: Repository = REPOSITORY) -> bytes:
        """The whole blob, as a client gets it."""
        reader = transfers.join(repository, self.digest)
        try:
            await reader.wait_until_sendable()
            return await read(reader)
        finally:
            reader.close()

    async def passing(self, work: Coroutine[None, None, T]) -> T:
        """The result of `work`, while time passes as it has to."""
        task = asyncio.create_task(work)
        await self.clock.run(LONG)
        assert task.done()
        return await task

    @property
    def starts(self) -> list[int]:
        return [asked.start for asked in self.upstream.asked if asked.kind == "blob"]


async def read(reader: Reader) -> bytes:
    content = bytearray()
    while len(content) < reader.size:
        content += await reader.read(len(content), 50_000)
    return bytes(content)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.flights.close()
    assert world.upstream.streaming == 0
    assert world.claimed == set()


async def test_a_blob_is_fetched_once_for_all_readers_and_stored(world: World) -> None:
    transfers = world.transfers()
    pulled = await asyncio.gather(*(world.pull(transfers) for _ in range(20)))
    assert set(pulled) == {CONTENT}
    assert world.starts == [0]
    await idle()
    assert len(transfers) == 0
    assert await world.store.size(world.digest) == SIZE


async def test_the_length_is_known_while_it_arrives(world: World) -> None:
    transfers = world.transfers()
    gate = asyncio.Event()
    world.upstream.scripts.append(Script(gate=gate))
    assert transfers.length(REPOSITORY, world.digest) is None
    reader = transfers.join(REPOSITORY, world.digest)
    await reader.wait_until_sendable()
    assert transfers.is_running(REPOSITORY, world.digest)
    assert transfers.length(REPOSITORY, world.digest) == reader.size == SIZE
    assert reader.delivered
    assert not reader.verified
    assert reader.is_near(2**20)
    assert not reader.is_near(2**20 + 1)
    gate.set()
    assert await read(reader) == CONTENT
    reader.close()


async def test_the_end_is_held_back_until_the_digest_is_verified(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.scripts.append(Script(cut=SIZE - 1, failure=DOWN))
    world.upstream.scripts.append(Script(gate=gate))
    transfers = world.transfers()
    reader = transfers.join(REPOSITORY, world.digest)
    await reader.wait_until_sendable()
    await world.clock.run(1.0)
    assert len(await reader.read(0, SIZE)) == SIZE - HELD_BACK
    gate.set()
    assert await reader.read(SIZE - HELD_BACK, SIZE) == CONTENT[-HELD_BACK:]
    reader.close()


@pytest.mark.parametrize("size", [10, HELD_BACK, HELD_BACK + 1, SIZE])
async def test_no_reader_gets_the_whole_of_a_wrong_blob(world: World, size: int) -> None:
    world.upstream.scripts.append(Script(content=bytes(size)))
    transfers = world.transfers()
    reader = transfers.join(REPOSITORY, world.digest)
    sent = b""
    with pytest.raises(UpstreamInvalid):  # noqa: PT012 -- before or after the answer's head
        await reader.wait_until_sendable()
        while True:
            sent += await reader.read(len(sent), size)
    assert len(sent) == max(0, size - HELD_BACK)
    reader.close()
    assert world.volume == MemoryVolume()


async def test_an_interrupted_transfer_is_resumed(world: World) -> None:
    world.upstream.scripts.append(Script(cut=123_000, failure=DOWN))
    assert await world.passing(world.pull(world.transfers())) == CONTENT
    assert world.starts == [0, 123_000]


async def test_a_transfer_that_fails_leaves_its_bytes_to_the_next_one(world: World) -> None:
    world.upstream.scripts.append(Script(cut=100_000, failure=DOWN))
    world.upstream.scripts.extend([Script(error=DOWN)] * 4)
    transfers = world.transfers()
    with pytest.raises(UpstreamUnavailable):
        await world.passing(world.pull(transfers))
    assert await transfers.has_begun(REPOSITORY, world.digest, 99_999)
    assert not await transfers.has_begun(REPOSITORY, world.digest, 100_000)
    world.upstream.asked.clear()
    assert await world.pull(transfers) == CONTENT
    assert world.starts == [100_000]


async def test_a_complete_spool_is_verified_without_a_byte_from_upstream(world: World) -> None:
    spool = await world.store.spool("docker.io", world.digest)
    await spool.append(CONTENT)
    spool.close()
    assert await world.pull(world.transfers()) == CONTENT


async def test_a_spool_that_is_longer_than_the_blob_is_replaced(world: World) -> None:
    spool = await world.store.spool("docker.io", world.digest)
    await spool.append(bytes(SIZE + 5))
    spool.close()
    world.upstream.scripts.append(Script(knows_ranges=False))
    assert await world.pull(world.transfers()) == CONTENT


async def test_bytes_that_do_not_continue_are_removed(world: World) -> None:
    world.upstream.scripts.append(Script(cut=100_000, failure=DOWN))
    world.upstream.scripts.append(Script(content=CONTENT + b"x"))
    with pytest.raises(UpstreamInvalid, match="size"):
        await world.passing(world.pull(world.transfers()))
    assert world.volume == MemoryVolume()


@pytest.mark.parametrize("head", [True, False])
async def test_a_length_that_the_answer_does_not_state(world: World, *, head: bool) -> None:
    world.upstream.scripts.append(Script(states_length=False))
    if not head:
        world.upstream.scripts.append(Script(error=DOWN))
    assert await world.pull(world.transfers()) == CONTENT


async def test_an_unknown_blob_is_unknown_to_every_reader(world: World) -> None:
    del world.upstream.blobs[world.digest]
    transfers = world.transfers()
    pulls = [world.pull(transfers) for _ in range(3)]
    for result in await asyncio.gather(*pulls, return_exceptions=True):
        assert isinstance(result, BlobUnknown)
    assert world.upstream.count("blob") == 1


@pytest.mark.parametrize("finish", [True, False])
async def test_a_transfer_without_readers(world: World, *, finish: bool) -> None:
    gate = asyncio.Event()
    world.upstream.scripts.append(Script(gate=gate))
    transfers = world.transfers(finish_abandoned=finish)
    reader = transfers.join(REPOSITORY, world.digest)
    await reader.wait_until_sendable()
    reader.close()
    gate.set()
    await idle()
    assert len(transfers) == 0
    assert await world.store.size(world.digest) == (SIZE if finish else None)


@pytest.mark.parametrize("finish", [True, False])
async def test_a_prefetch_is_a_transfer_without_readers(world: World, *, finish: bool) -> None:
    transfers = world.transfers(finish_abandoned=finish)
    transfers.prefetch(REPOSITORY, world.digest)
    await idle()
    assert await world.store.size(world.digest) == (SIZE if finish else None)


async def test_a_cancelled_transfer_fails_its_readers(world: World) -> None:
    world.upstream.scripts.append(Script(gate=asyncio.Event()))
    transfers = world.transfers()
    reader = transfers.join(REPOSITORY, world.digest)
    await reader.wait_until_sendable()
    await world.flights.close()
    with pytest.raises(UpstreamFailure, match="given up"):
        await reader.read(0, 10)
    reader.close()


# -- beside other processes ----------------------------------------------------------------------


async def test_another_process_s_spool_is_followed(world: World) -> None:
    lease = await MemoryLeases(world.claimed).claim(spool_key("docker.io", world.digest))
    assert lease is not None
    spool = await world.store.spool("docker.io", world.digest)
    transfers = world.transfers()
    reader = transfers.join(REPOSITORY, world.digest)
    await world.clock.run(0.05)
    await spool.expect(SIZE)
    await spool.append(CONTENT[:200_000])
    await world.clock.run(0.05)
    await reader.wait_until_sendable()
    assert await reader.read(0, 10) == CONTENT[:10]
    assert not reader.delivered
    await spool.append(CONTENT[200_000:])
    (await spool.commit()).close()
    await world.clock.run(0.05)
    assert await read(reader) == CONTENT
    reader.close()
    lease.release()
    assert world.upstream.asked == []


async def test_a_process_that_dies_is_replaced(world: World) -> None:
    lease = await MemoryLeases(world.claimed).claim(spool_key("docker.io", world.digest))
    assert lease is not None
    spool = await world.store.spool("docker.io", world.digest)
    await spool.expect(SIZE)
    await spool.append(CONTENT[:200_000])
    transfers = world.transfers()
    reader = transfers.join(REPOSITORY, world.digest)
    await world.clock.run(0.05)
    assert await reader.read(0, 10) == CONTENT[:10]
    lease.release()
    await world.clock.run(1.0)
    assert await read(reader) == CONTENT
    assert world.starts == [200_000]
    reader.close()


async def test_a_blob_that_another_process_has_just_stored_is_read(world: World) -> None:
    lease = await MemoryLeases(world.claimed).claim(spool_key("docker.io", world.digest))
    assert lease is not None
    reader = world.transfers().join(REPOSITORY, world.digest)
    spool = await world.store.spool("docker.io", world.digest)
    await spool.append(CONTENT)
    (await spool.commit()).close()
    lease.release()
    await world.clock.run(0.05)
    assert await read(reader) == CONTENT
    assert world.upstream.asked == []
    reader.close()


async def test_two_repositories_share_one_transfer(world: World) -> None:
    transfers = world.transfers()
    second = asyncio.create_task(world.pull(transfers, OTHER))
    assert await world.passing(world.pull(transfers)) == CONTENT
    assert await second == CONTENT
    assert world.upstream.count("blob") == 1


# -- where there is no room ----------------------------------------------------------------------


async def test_beyond_the_downloads_a_blob_is_passed_through(world: World) -> None:
    transfers = world.transfers(downloads=0)
    assert await world.pull(transfers) == CONTENT
    assert world.volume == MemoryVolume()


async def test_beyond_both_limits_the_client_is_told_when_to_come_back(world: World) -> None:
    with pytest.raises(Overloaded) as raised:
        await world.pull(world.transfers(downloads=0, passed_through=0))
    assert raised.value.retry_after


async def test_a_volume_without_room_passes_through(world: World) -> None:
    world.volume.capacity = SIZE - 1
    assert await world.pull(world.transfers()) == CONTENT
    assert await world.store.size(world.digest) is None


async def test_a_volume_that_is_full_midway_costs_no_reader_a_byte(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.scripts.append(Script(cut=150_000, failure=DOWN))
    world.upstream.scripts.append(Script(gate=gate))
    transfers = world.transfers()
    reader = transfers.join(REPOSITORY, world.digest)
    await reader.wait_until_sendable()
    begun = bytes(await reader.read(0, 50_000))
    await world.clock.run(1.0)
    world.volume.capacity = 150_000
    gate.set()
    rest = bytearray()
    while len(begun) + len(rest) < SIZE:
        rest += await reader.read(len(begun) + len(rest), 50_000)
    assert begun + bytes(rest) == CONTENT
    assert not reader.is_near(0)
    reader.close()
    await idle()
    assert world.starts == [0, 150_000, 150_000]


async def test_what_is_passed_through_is_verified_too(world: World) -> None:
    world.upstream.scripts.append(Script(content=bytes(SIZE)))
    reader = world.transfers(downloads=0).join(REPOSITORY, world.digest)
    await reader.wait_until_sendable()
    sent = 0
    with pytest.raises(UpstreamInvalid):  # noqa: PT012 -- at the end of what may be sent
        while True:
            sent += len(await reader.read(sent, SIZE))
    assert sent == SIZE - HELD_BACK
    reader.close()
    await idle()


async def test_what_is_passed_through_is_resumed(world: World) -> None:
    world.upstream.scripts.append(Script(cut=100_000, failure=DOWN))
    world.upstream.scripts.append(Script(error=DOWN))
    assert await world.passing(world.pull(world.transfers(downloads=0))) == CONTENT
    assert world.starts == [0, 100_000, 100_000]


async def test_without_a_length_nothing_is_passed_through(world: World) -> None:
    world.upstream.scripts.extend([Script(states_length=False)] * 2)
    with pytest.raises(StorageFailure, match="does not state its size"):
        await world.pull(world.transfers(downloads=0))
    await idle()


async def test_after_a_failed_write_nothing_is_stored_for_a_moment(world: World) -> None:
    world.volume.capacity = 0
    world.upstream.scripts.extend([Script(states_length=False)] * 2)
    transfers = world.transfers()
    assert await world.pull(transfers) == CONTENT
    world.volume.capacity = None
    assert await world.pull(transfers) == CONTENT
    assert await world.store.size(world.digest) is None
    await world.clock.run(6.0)
    assert await world.pull(transfers) == CONTENT
    assert await world.store.size(world.digest) == SIZE
