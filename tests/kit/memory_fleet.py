"""Replicas without a socket: one network in memory, one clock, and faults that a test chooses."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.blobs.grants import BlobGrants
from proxy.blobs.limits import TransferLimits
from proxy.blobs.serve import Blobs
from proxy.blobs.transfers import Transfers
from proxy.catalog.catalog import Catalog
from proxy.catalog.routing import Standby
from proxy.kit.singleflight import SingleFlight
from proxy.manifests.derived_configs import DerivedConfigs
from proxy.manifests.fetch import UpstreamManifests
from proxy.oci.reference import Repository
from proxy.peers.answers import Value
from proxy.peers.client import PeerFailed
from proxy.peers.membership import Reason
from proxy.peers.questions import Effort, Subject
from proxy.peers.replicas import Replicas, acting_for
from proxy.peers.upstream import PeerUpstream
from proxy.stores.memory.blobs import MemoryBlobs
from proxy.stores.memory.index import MemoryIndex
from proxy.stores.memory.leases import MemoryLeases
from proxy.web.peer_content import PeerContent
from tests.kit.catalogs import MemoryDerived
from tests.kit.manifest_world import MonitoredMemoryUpstream
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from random import Random

    from proxy.oci.reference import Digest
    from proxy.peers.questions import Question

CARGO: Final = Repository("docker.io", "library/cargo", "library/cargo")
_TIMEOUT: Final = 2.0


@dataclass(slots=True)
class Network:
    """Who can reach whom, and what is wrong with whom."""

    dead: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    lying: set[str] = field(default_factory=set)
    # The replicas on one side of a partition.
    apart: set[str] = field(default_factory=set)

    def failure(self, one: str, other: str) -> Reason | None:
        """How a question of one replica to another one fails."""
        if other in self.dead:
            return Reason.REFUSED
        if other in self.frozen or (one in self.apart) != (other in self.apart):
            return Reason.SILENT
        return None


class MemoryClient:
    """Asks other replicas in the same process. Fits PeerClient as far as `Replicas` uses it."""

    def __init__(self, own: str, fleet: Fleet) -> None:
        self.own: str | None = own
        self.count: Callable[[str, int], None] = lambda _address, _size: None
        self._address = own
        self._fleet = fleet

    async def ask(self, address: str, question: Question, body: bytes = b"") -> Value:
        await self._reach(address)
        if question.subject is Subject.HEALTH:
            return Value({"news": []})
        content = self._fleet.replicas[address].content

        async def work() -> Value:
            acting_for.set(question.key)
            return await (content.store(question, body) if body else content.value(question))

        found: Value = await self._fleet.run_there(work())
        return found

    @asynccontextmanager
    async def stream(self, address: str, question: Question) -> AsyncIterator[_Stream]:
        await self._reach(address)
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        content = self._fleet.replicas[address].content

        async def work() -> None:
            acting_for.set(None if question.effort is Effort.FOLLOW else question.key)
            try:
                async with content.stream(question) as stream:
                    arrived.put_nowait((stream.start, stream.total))
                    async for chunk in stream.chunks():
                        arrived.put_nowait(bytes(chunk))
                arrived.put_nowait(None)
            except Exception as error:  # noqa: BLE001 -- it is raised where it was asked
                arrived.put_nowait(error)

        sending = asyncio.create_task(work(), context=contextvars.copy_context())
        try:
            first = await arrived.get()
            if isinstance(first, Exception):
                raise first
            yield _Stream(self, address, arrived, *first)
        finally:
            sending.cancel()

    async def close(self) -> None:
        """Nothing is open."""

    async def _reach(self, address: str) -> None:
        reason = self._fleet.network.failure(self._address, address)
        if reason is Reason.SILENT:
            await self._fleet.clock.sleep(_TIMEOUT / 2)
        if reason is not None:
            raise PeerFailed(reason, "it cannot be reached")


@dataclass(slots=True)
class _Stream:
    client: MemoryClient
    address: str
    arrived: asyncio.Queue[Any]
    start: int
    total: int | None
    validator: str | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self.arrived.get()) is not None:
            await self.client._reach(self.address)
            if isinstance(chunk, Exception):
                raise chunk
            is_lie = self.address in self.client._fleet.network.lying
            yield bytes(len(chunk)) if is_lie else chunk


class MemoryReplica:
    """One replica, with a store of its own."""

    def __init__(self, address: str, fleet: Fleet) -> None:
        self.address = address
        client: Any = MemoryClient(address, fleet)
        self.replicas = Replicas(client, clock=fleet.clock, sample=fleet.chance.sample)
        self.replicas.discover(fleet.addresses, address)
        upstreams = {"docker.io": PeerUpstream("docker.io", fleet.upstream, self.replicas)}
        self.store = MemoryBlobs()
        self.flights = SingleFlight(clock=fleet.clock)
        catalog = Catalog([MemoryIndex()], MemoryDerived(), memory=2**20, clock=fleet.clock)
        fetches = UpstreamManifests(
            catalog=catalog, upstreams=upstreams, flights=self.flights, clock=fleet.clock
        )
        grants = BlobGrants(
            catalog=catalog, store=self.store, upstreams=upstreams, flights=self.flights
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
                limits=TransferLimits(downloads=64, spool=2**30, passed_through=8),
                finish_abandoned=True,
                clock=fleet.clock,
            ),
            upstreams=upstreams,
            registries=upstreams,
            flights=self.flights,
            derived=DerivedConfigs(catalog, fetches, Standby(upstreams)),
            clock=fleet.clock,
        )
        nothing: Any = None
        self.content = PeerContent(
            registries=upstreams.keys(),
            naming=nothing,
            measuring=nothing,
            tags=nothing,
            upstream_manifests=fetches,
            blobs=self.blobs,
            listings=nothing,
            derived=nothing,
            is_fetching=self.replicas.is_fetching,
            clock=fleet.clock,
        )

    async def pull(self, digest: Digest, size: int) -> bytes:
        """The whole blob, as a client gets it."""
        return await self.blobs.read(CARGO, digest, limit=size)


class Fleet:
    """`count` replicas of one upstream."""

    def __init__(self, count: int, chance: Random) -> None:
        self.chance = chance
        self.clock = ManualClock()
        self.network = Network()
        self.upstream = MonitoredMemoryUpstream()
        self.addresses = [f"10.0.{number >> 8}.{number & 255}:5001" for number in range(count)]
        self.replicas = {address: MemoryReplica(address, self) for address in self.addresses}

    async def run_there(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it as the replica that is asked does: what this one is doing is not its business."""
        return await asyncio.create_task(work, context=contextvars.copy_context())

    async def finish(self, work: list[asyncio.Task[Any]], within: float) -> None:
        """Let time pass until all of it is done, which must be so within so many seconds."""
        passed = 0.0
        while not all(task.done() for task in work):
            assert passed < within, "a pull takes longer than it may"
            await self.clock.run(0.25)
            passed += 0.25

    async def close(self) -> None:
        """End what still runs."""
        for replica in self.replicas.values():
            await replica.flights.close()
