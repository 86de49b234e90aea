"""Derived manifests and configs of all replicas: the owners of a digest have a copy of each.

So a digest that one replica has handed out can be pulled from every other one, also if each has a
disk of its own, and after the replica that made it has gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import ManifestInvalid, RegistryError, StoreError
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.oci.derived_record import DerivedRecord
from proxy.peers.answers import NotStored
from proxy.peers.client import PeerFailed
from proxy.peers.questions import Effort, Question, Subject
from proxy.telemetry import trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest
    from proxy.peers.answers import Value
    from proxy.peers.replicas import Replicas
    from proxy.ports.catalog import DerivedStore

_log = structlog.get_logger()

# A record is pushed to so many owners of its digest. So many are asked for one: all replicas if
# there are no more, else the owners and the next in rank.
_OWNERS: Final = 2
_ALL: Final = 8
_ASKED: Final = 3
# A digest that no replica had is not asked for again at once, in seconds.
_NEGATIVE_LIFE: Final = 5.0
_MEMORY: Final = 2**20
_COST: Final = 256


class PeerDerived:
    """This replica's derived manifests, and those of the others. Fits DerivedStore."""

    def __init__(
        self, store: DerivedStore, replicas: Replicas, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`store` is this replica's own."""
        self._store = store
        self._replicas = replicas
        self._clock = clock
        # When each digest was last not found for a repository.
        self._unknown: LruCache[tuple[Digest, str], float] = LruCache(_MEMORY)

    async def get(self, digest: Digest, repository: str | None = None) -> DerivedRecord | None:
        """The record; if it is to be served through `repository`, also that of another replica."""
        own = await self._store.get(digest, repository)
        if repository is None or (
            own is not None and own.content is not None and repository in own.repositories
        ):
            return own
        found = await self._find(digest, repository)
        if found is None:
            return own
        if own is not None and own.content is None:
            await self._store.replace(found)
            return found
        return await self._store.put(found)

    async def put(self, record: DerivedRecord) -> DerivedRecord:
        """Store it, and have the owners of its digest store it; what all of them have now.

        One owner is enough: if there is none, that is logged, and the record is durable here.
        """
        owners = self._replicas.ranking(_question(record.digest).key)[:_OWNERS]
        if owners[:1] == [self._replicas.own]:
            # The first signature stays, and here it is known which one that is.
            record = await self._store.put(record)
            await self._push(record, owners[1:])
            return record
        agreed = await self._push(record, [one for one in owners if one != self._replicas.own])
        return await self._store.put(agreed or record)

    async def replace(self, record: DerivedRecord) -> None:
        """Store it here in place of one whose bytes are damaged."""
        await self._store.replace(record)

    async def remove(self, digest: Digest, repository: str) -> None:
        """Remove this replica's record: the others learn of the purge by themselves."""
        await self._store.remove(digest, repository)

    def records(self) -> AsyncIterator[DerivedRecord]:
        """This replica's own."""
        return self._store.records()

    async def _push(self, record: DerivedRecord, owners: Sequence[str]) -> DerivedRecord | None:
        """Have the owners store the record; what the first of them that has done so has now."""
        body = record.encode()
        tried = await asyncio.gather(
            *(self._ask(address, record.digest, body) for address in owners)
        )
        stored = next((one for one in tried if one is not None), None)
        if owners and stored is None:
            _log.error("derived.not_pushed", digest=record.digest, owners=len(owners))
        return stored

    async def _find(self, digest: Digest, repository: str) -> DerivedRecord | None:
        """The record of another replica that has been granted to the repository."""
        now = self._clock.monotonic()
        if now - (self._unknown.get((digest, repository)) or float("-inf")) < _NEGATIVE_LIFE:
            return None
        key = _question(digest).key
        others = self._replicas.others(key, _ALL)
        asked = others if len(others) < _ALL else others[:_ASKED]
        found = await asyncio.gather(*(self._ask(address, digest) for address in asked))
        for record in found:
            if record is not None and repository in record.repositories:
                trace.current().peer_calls += 1
                return record
        self._unknown.put((digest, repository), now, _COST)
        return None

    async def _ask(self, address: str, digest: Digest, body: bytes = b"") -> DerivedRecord | None:
        """What a replica has, after it has stored the record in `body`, if there is one."""
        try:
            return await self._replicas.ask(
                address, _question(digest), lambda value: _read(digest, value), body=body
            )
        except (PeerFailed, RegistryError, NotStored):
            return None


class DerivedContent:
    """Answers other replicas with what this one's own store has."""

    def __init__(self, store: DerivedStore) -> None:
        self._store = store

    async def get(self, digest: Digest) -> bytes:
        """The record; NotStored if there is none with content."""
        try:
            record = await self._store.get(digest)
        except StoreError:
            raise NotStored from None
        if record is None or record.content is None:
            raise NotStored
        return record.encode()

    async def put(self, digest: Digest, body: bytes) -> bytes:
        """Store the record durably; what is stored now. NotStored if it cannot be."""
        try:
            record = DerivedRecord.decode(digest, body)
            return (await self._store.put(record)).encode()
        except (ManifestInvalid, StoreError) as error:
            _log.error("derived.not_stored", digest=digest, error=str(error))
            raise NotStored from None


def _question(digest: Digest) -> Question:
    return Question(Subject.DERIVED, reference=digest, effort=Effort.STORED)


def _read(digest: Digest, value: Value) -> DerivedRecord:
    """The record in an answer; ManifestInvalid or ValueError for another one."""
    record = DerivedRecord.decode(digest, value.raw)
    if record.content is None:
        raise ValueError("its content is not what the digest names")
    return record
