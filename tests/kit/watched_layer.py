"""A layer of the catalog that counts what it is asked, and that can be away."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from proxy.ports.catalog import NOTHING, Batch

if TYPE_CHECKING:
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Tag
    from proxy.ports.catalog import Found, Layer, Listing


class WatchedLayer:
    """In front of another layer. Fits Layer."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        # How often each method was called.
        self.calls: Counter[str] = Counter()
        self.batches: list[Batch] = []
        # While it is away, everything is a miss, as the port has it.
        self.away = False

    @property
    def reads(self) -> int:
        """How many questions it was asked."""
        return sum(count for name, count in self.calls.items() if name.startswith("look"))

    def reset(self) -> None:
        """Count from none again."""
        self.calls.clear()
        self.batches.clear()

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        self.calls["look_tag"] += 1
        return NOTHING if self.away else await self._layer.look_tag(repository, tag)

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        self.calls["look_manifest"] += 1
        return NOTHING if self.away else await self._layer.look_manifest(repository, digest)

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        self.calls["look_blob"] += 1
        return NOTHING if self.away else await self._layer.look_blob(repository, digest)

    async def look_representation(self, key: str) -> Digest | None:
        self.calls["look_representation"] += 1
        return None if self.away else await self._layer.look_representation(key)

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        self.calls["look_listing"] += 1
        return None if self.away else await self._layer.look_listing(repository, name)

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        self.calls["look_layer"] += 1
        return None if self.away else await self._layer.look_layer(digest)

    async def commit(self, batch: Batch) -> None:
        self.calls["commit"] += 1
        if not self.away:
            self.batches.append(batch)
            await self._layer.commit(batch)

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        self.calls["drop_tag"] += 1
        if not self.away:
            await self._layer.drop_tag(repository, tag)

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        self.calls["purge"] += 1
        return not self.away and await self._layer.purge(repository, now, tags=tags)

    async def purge_all(self, now: float) -> bool:
        return not self.away and await self._layer.purge_all(now)

    def forget_mutable(self) -> None:
        self._layer.forget_mutable()

    async def close(self) -> None:
        await self._layer.close()


if TYPE_CHECKING:

    def _fits(layer: WatchedLayer) -> Layer:
        return layer
