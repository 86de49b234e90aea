"""Replicas without a socket: one network in memory, one clock, and faults that a test chooses."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from proxy.catalog.generation import Generation
from proxy.catalog.purge import Purges
from proxy.catalog.purge_journal import PurgeJournal
from proxy.catalog.routing import Routes, Standby
from proxy.manifests.freshness import Lifetime
from proxy.oci.reference import Repository
from proxy.peers.answers import SeeOther, Value
from proxy.peers.client import PeerFailed
from proxy.peers.derived import DerivedContent, PeerDerived
from proxy.peers.membership import Reason
from proxy.peers.questions import Effort, Subject
from proxy.peers.readers import Readers
from proxy.peers.replicas import Replicas, acting_for
from proxy.peers.upstream import PeerUpstream
from proxy.stores.memory.cache import MemoryManifests
from proxy.web.peer_content import PeerContent
from tests.kit.faulty_upstream import FaultyUpstream
from tests.kit.manifest_world import ManifestWorld
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from random import Random

    from proxy.oci.reference import Digest
    from proxy.peers.questions import Question
    from proxy.ports import MonitoredUpstream
    from proxy.ports.catalog import DerivedStore

HUB: Final = "docker.io"
CARGO: Final = Repository(HUB, "library/cargo", "library/cargo")
_TIMEOUT: Final = 2.0
# Time passes in such steps, in seconds, when so many turns of the event loop have changed nothing.
_STEP: Final = 0.25
_TURNS: Final = 100


@dataclass(slots=True)
class Network:
    """Who can reach whom, and what is wrong with whom."""

    dead: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    lying: set[str] = field(default_factory=set)
    draining: set[str] = field(default_factory=set)
    # The replicas on one side of a partition.
    apart: set[str] = field(default_factory=set)

    @property
    def is_broken(self) -> bool:
        """Whether anything is wrong."""
        return any(self._faults())

    def heal(self) -> None:
        """Mend everything."""
        for broken in self._faults():
            broken.clear()

    def _faults(self) -> tuple[set[str], ...]:
        return self.dead, self.frozen, self.lying, self.draining, self.apart

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
        replica = self._fleet.replicas[address]
        if question.subject is Subject.HEALTH:
            self._fleet.probes += 1
            return Value({"news": await self._fleet.run_there(replica.purges.news(question.query))})
        self._require_readiness(address, question)
        self._fleet.questions += 1
        content = replica.content

        async def work() -> Value:
            acting_for.set(question.key)
            return await (content.store(question, body) if body else content.value(question))

        found: Value = await self._fleet.run_there(work())
        if address in self._fleet.network.lying:
            return Value(found.about, bytes(len(found.raw)))
        return found

    @asynccontextmanager
    async def stream(self, address: str, question: Question) -> AsyncIterator[_Stream]:
        await self._reach(address)
        self._require_readiness(address, question)
        self._fleet.questions += 1
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        content = self._fleet.replicas[address].content
        if question.effort is Effort.OWNER:
            self._fleet.replicas[address].replicas.note_begun(self._address, question)

        readers = self._fleet.readers[address]
        if not question.direct and question.effort in {Effort.OWNER, Effort.FOLLOW}:
            other = readers.another(question.key, self._address)
            if other is not None:
                raise SeeOther(other)

        async def work() -> None:
            acting_for.set(None if question.effort is Effort.FOLLOW else question.key)
            try:
                async with content.stream(question) as stream:
                    arrived.put_nowait((stream.start, stream.total))
                    async for chunk in stream.chunks():
                        self._fleet.sent[address] += len(chunk)
                        arrived.put_nowait(bytes(chunk))
                arrived.put_nowait(None)
            except Exception as error:  # noqa: BLE001 -- it is raised where it was asked
                arrived.put_nowait(error)

        sending = asyncio.create_task(work(), context=contextvars.copy_context())
        try:
            with readers.reading(question.key, self._address):
                first = await arrived.get()
                if isinstance(first, Exception):
                    raise first
                yield _Stream(self, address, arrived, *first)
        finally:
            sending.cancel()

    async def close(self) -> None:
        """Nothing is open."""

    def _require_readiness(self, address: str, question: Question) -> None:
        if address in self._fleet.network.draining and question.effort in {
            Effort.OWNER,
            Effort.FOLLOW,
        }:
            raise PeerFailed(Reason.DRAINING, "it is about to end")

    async def _reach(self, address: str) -> None:
        """PeerFailed if it cannot be reached."""
        reason = self._fleet.network.failure(self._address, address)
        lost = 0.0
        if reason is Reason.SILENT:
            lost = _TIMEOUT / 2
            await self._fleet.clock.sleep(lost)
        if reason is not None:
            raise PeerFailed(reason, "it cannot be reached", lost=lost)


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


class MemoryReplica(ManifestWorld):
    """One replica, with stores of its own that outlive its process."""

    downloads = 64

    def __init__(self, address: str, fleet: Fleet, life: Lifetime) -> None:
        self.address = address
        self._fleet = fleet
        self._journal = MemoryManifests(2**20, clock=fleet.clock.monotonic)
        super().__init__(life, clock=fleet.clock)

    def restart(self) -> None:
        """Forget all that is in the memory of the process."""
        fleet = self._fleet
        client: Any = MemoryClient(self.address, fleet)
        self.replicas = Replicas(
            client, timeout=_TIMEOUT, clock=self.clock, sample=fleet.chance.sample
        )
        self.replicas.discover(fleet.addresses, self.address)
        super().restart()
        nothing: Any = None
        self.content = PeerContent(
            registries=self.upstreams.keys(),
            naming=nothing,
            measuring=nothing,
            tags=self.tags,
            upstream_manifests=self.fetches,
            blobs=self.blobs,
            listings=self.listings,
            derived=DerivedContent(self.derived),
            is_fetching=self.replicas.is_fetching,
            clock=self.clock,
        )
        self.purges = Purges(
            routes=Routes({HUB: HUB}, default=HUB, hubs=frozenset({HUB})),
            catalog=self.catalog,
            generation=Generation(self._journal, self._forget),
            standby=Standby(self.upstreams),
            journal=PurgeJournal(self._journal),
            announce=self.replicas.note_purge,
        )
        self.replicas.news = self.purges

    def _forget(self) -> None:
        self.catalog.forget_mutable()
        self.tags.forget()

    def reach(self) -> Mapping[str, MonitoredUpstream]:
        return {HUB: PeerUpstream(HUB, self._fleet.upstream, self.replicas)}

    def share(self) -> DerivedStore:
        return PeerDerived(self.derived, self.replicas, clock=self.clock)

    async def pull(self, digest: Digest, size: int) -> bytes:
        """The whole blob, as a client gets it."""
        return await self.blobs.read(CARGO, digest, limit=size)


class Fleet:
    """`count` replicas of one upstream."""

    def __init__(self, count: int, chance: Random, *, ttl: float = 60.0, fan_out: int = 8) -> None:
        """A tag is fresh for `ttl` seconds."""
        self.chance = chance
        self.clock = ManualClock()
        self.network = Network()
        self.upstream = FaultyUpstream(clock=self.clock)
        self.addresses = [f"10.0.{number >> 8}.{number & 255}:5001" for number in range(count)]
        self.readers = {address: Readers(fan_out) for address in self.addresses}
        # What replicas have asked each other, and the bytes of blobs that each has sent.
        self.questions = self.probes = 0
        self.sent: Counter[str] = Counter()
        life = Lifetime(ttl=ttl, stale_if_error=30 * 86400.0)
        self.replicas = {address: MemoryReplica(address, self, life) for address in self.addresses}

    def up(self) -> list[MemoryReplica]:
        """Those that run."""
        absent = self.network.dead | self.network.frozen
        return [one for address, one in self.replicas.items() if address not in absent]

    async def run_there(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it as the replica that is asked does: what this one is doing is not its business."""
        return await asyncio.create_task(work, context=contextvars.copy_context())

    async def finish(self, work: list[asyncio.Task[Any]], within: float) -> None:
        """Let time pass until all of it is done, which must be so within so many seconds."""
        passed = 0.0
        while True:
            for _ in range(_TURNS):
                if all(task.done() for task in work):
                    return
                await asyncio.sleep(0)
            assert passed < within, "a pull takes longer than it may"
            self.clock.advance(_STEP)
            passed += _STEP

    async def close(self) -> None:
        """End what still runs."""
        for replica in self.replicas.values():
            await replica.flights.close()
        await self.upstream.close()
