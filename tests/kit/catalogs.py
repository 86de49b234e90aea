"""A catalog in memory, for tests of what stands on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from proxy.catalog.catalog import Catalog
from proxy.stores.memory.index import MemoryIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.oci.derived_record import DerivedRecord
    from proxy.oci.reference import Digest


class MemoryDerived:
    """Fits DerivedStore."""

    def __init__(self) -> None:
        self.stored: dict[Digest, DerivedRecord] = {}

    async def get(self, digest: Digest, _repository: str | None = None) -> DerivedRecord | None:
        return self.stored.get(digest)

    async def put(self, record: DerivedRecord) -> DerivedRecord:
        stored = self.stored[record.digest] = record.over(self.stored.get(record.digest))
        return stored

    async def replace(self, record: DerivedRecord) -> None:
        self.stored[record.digest] = record

    async def remove(self, digest: Digest, repository: str) -> None:
        record = self.stored.get(digest)
        if record is not None and repository in record.repositories:
            others = record.repositories - {repository}
            self.stored[digest] = dataclasses.replace(record, repositories=others)
            if not others:
                del self.stored[digest]

    async def records(self) -> AsyncIterator[DerivedRecord]:
        for record in list(self.stored.values()):
            yield record


def memory_catalog() -> Catalog:
    """One layer, an index in memory."""
    return Catalog([MemoryIndex()], MemoryDerived(), memory=2**20)
