"""A layer that other software may write to: for closed repositories it is not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.ports.catalog import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Tag
    from proxy.ports.catalog import Batch, Found, Layer, Listing


class OpenOnlyLayer:
    """Fits Layer. The rights of closed repositories are read from layers of our own only."""

    def __init__(self, layer: Layer, is_open: Callable[[str], bool]) -> None:
        """`is_open`: whether every client may read all of a repository."""
        self._layer = layer
        self._is_open = is_open

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """What the layer has, in an open repository."""
        return await self._layer.look_tag(repository, tag) if self._is_open(repository) else NOTHING

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """What the layer has, in an open repository."""
        if not self._is_open(repository):
            return NOTHING
        return await self._layer.look_manifest(repository, digest)

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """What the layer has, in an open repository."""
        if not self._is_open(repository):
            return NOTHING
        return await self._layer.look_blob(repository, digest)

    async def look_representation(self, key: str) -> Digest | None:
        """Return what was made under `key`; the repository's grant is looked up elsewhere."""
        return await self._layer.look_representation(key)

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """What the layer has, in an open repository."""
        if not self._is_open(repository):
            return None
        return await self._layer.look_listing(repository, name)

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        """Return the facts; whether the repository has the image layer is checked elsewhere."""
        return await self._layer.look_layer(digest)

    async def commit(self, batch: Batch) -> None:
        """Write all of it."""
        await self._layer.commit(batch)

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        await self._layer.drop_tag(repository, tag)

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Purge the layer."""
        return await self._layer.purge(repository, now, tags=tags)

    async def purge_all(self, now: float) -> bool:
        """Purge all of the layer."""
        return await self._layer.purge_all(now)

    def forget_mutable(self) -> None:
        """Drop from memory what another process may have changed."""
        self._layer.forget_mutable()

    async def close(self) -> None:
        """Close the layer."""
        await self._layer.close()
