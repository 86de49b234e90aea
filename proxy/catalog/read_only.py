"""A catalog's layers for reading: what would be written stays in the memory of one question."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.oci.derived_record import DerivedRecord
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Tag
    from proxy.ports.catalog import Batch, DerivedStore, Found, Layer, Listing


class ReadOnlyLayer:
    """Fits Layer: reads `layer`, and writes nothing."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """What the layer has."""
        return await self._layer.look_tag(repository, tag)

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """What the layer has."""
        return await self._layer.look_manifest(repository, digest)

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """What the layer has."""
        return await self._layer.look_blob(repository, digest)

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        """What the layer has."""
        return await self._layer.look_layer(digest)

    async def look_representation(self, key: str) -> Digest | None:
        """What the layer has."""
        return await self._layer.look_representation(key)

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """What the layer has."""
        return await self._layer.look_listing(repository, name)

    async def commit(self, batch: Batch) -> None:
        """Nothing is written."""

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Nothing is forgotten."""

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Nothing is forgotten."""
        del repository, now, tags
        return False

    async def purge_all(self, _now: float) -> bool:
        """Nothing is forgotten."""
        return False

    def forget_mutable(self) -> None:
        """Nothing is remembered here."""

    async def close(self) -> None:
        """The layer is somebody else's."""


class ReadOnlyDerived:
    """Fits DerivedStore: reads `store`, and stores nothing."""

    def __init__(self, store: DerivedStore) -> None:
        self._store = store

    async def get(self, digest: Digest, repository: str | None = None) -> DerivedRecord | None:
        """What is stored."""
        return await self._store.get(digest, repository)

    async def put(self, record: DerivedRecord) -> DerivedRecord:
        """What would be stored."""
        return record

    async def replace(self, record: DerivedRecord) -> None:
        """Nothing is stored."""

    async def remove(self, digest: Digest, repository: str) -> None:
        """Nothing is removed."""

    def records(self) -> AsyncIterator[DerivedRecord]:
        """All of them."""
        return self._store.records()
