"""Derived content, as the catalog asks for it: a store that fails has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.catalog.lookup import Lookup
from proxy.errors import StoreError
from proxy.oci.derivation import DerivedBlob
from proxy.oci.derived_record import DerivedRecord
from proxy.ports.catalog import Grant, Proof

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.oci.derivation import Origin
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest
    from proxy.ports.catalog import DerivedStore

_log = structlog.get_logger()


class DerivedContent:
    """Reads tolerate a store that fails, writes do not."""

    def __init__(self, store: DerivedStore) -> None:
        self._store = store

    async def look(self, name: str, digest: Digest) -> Lookup | None:
        """The derived manifest, if it was sent through the repository `name`.

        Without its bytes, which are damaged, the look-up has its origin.
        """
        record = await self.record(name, digest)
        if record is None or isinstance(record.content, DerivedBlob):
            return None
        if record.manifest is None:
            return Lookup(access=Grant(Proof.DERIVED), origin=record.origin)
        access = Grant(Proof.DERIVED, record.manifest.media_type)
        return Lookup(access=access, manifest=record.manifest, origin=record.origin)

    async def origin(self, digest: Digest) -> Origin | None:
        """What a derived manifest was made from; None if `digest` is not one of ours."""
        record = await self._get(digest)
        if record is None or isinstance(record.content, DerivedBlob):
            return None
        return record.origin

    async def record(self, name: str, digest: Digest) -> DerivedRecord | None:
        """The record of derived content, if it was made for the repository `name`."""
        record = await self._get(digest, name)
        return None if record is None or name not in record.repositories else record

    async def put_blob(
        self, name: str, blob: DerivedBlob, origin: Origin, *, replaces: bool = False
    ) -> None:
        """Store a config that was made here; StoreError if it cannot be."""
        record = DerivedRecord(blob.digest, blob, origin, frozenset({name}))
        await (self._store.replace(record) if replaces else self._store.put(record))

    async def put(
        self, name: str, manifest: Manifest, origin: Origin, *, replaces: bool = False
    ) -> Lookup:
        """Store it for the repository `name`; what is stored now. StoreError if it cannot be.

        `replaces` one whose bytes are damaged.
        """
        record = DerivedRecord(manifest.digest, manifest, origin, frozenset({name}))
        if replaces:
            await self._store.replace(record)
        else:
            record = await self._store.put(record)
        stored = record.manifest
        if stored is None or stored.media_type != manifest.media_type:
            # Signed and unsigned schema 1 have one digest.
            stored = manifest
        access = Grant(Proof.DERIVED, stored.media_type)
        return Lookup(access=access, manifest=stored, origin=origin)

    async def adopt(self, name: str, lookup: Lookup) -> None:
        """Have a derived manifest of another replica durable here, too."""
        if lookup.manifest is None or lookup.origin is None:
            return
        try:
            await self.put(name, lookup.manifest, lookup.origin)
        except StoreError as error:
            _log.error("derived.not_stored", digest=lookup.manifest.digest, error=str(error))

    def records(self) -> AsyncIterator[DerivedRecord]:
        """Return all records, to fill a new index."""
        return self._store.records()

    async def _get(self, digest: Digest, name: str | None = None) -> DerivedRecord | None:
        try:
            return await self._store.get(digest, name)
        except StoreError as error:
            _log.error("derived.unavailable", digest=digest, error=str(error))
            return None
