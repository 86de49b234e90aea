"""Removing content: the bytes of an image, and a repository's records of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from proxy.errors import RequestInvalid, StorageFailure, StoreError
from proxy.oci.manifest import Index
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from proxy.catalog.catalog import Catalog
    from proxy.oci.reference import Repository, Tag
    from proxy.ports.catalog import DerivedStore, RemovesContent
    from proxy.ports.kept import KeptStore

_log = structlog.get_logger()


class RemovesBlobs(Protocol):
    """Where blobs are stored."""

    async def remove(self, digest: Digest) -> bool:
        """Remove the blob; whether it was stored. StoreError if it cannot be removed."""
        ...


class ContentRemoval:
    """Removes what one repository has, unless another repository has been granted the same."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        layers: Sequence[RemovesContent],
        derived: DerivedStore,
        blobs: RemovesBlobs,
        kept: KeptStore,
    ) -> None:
        """`layers` are those of the catalog."""
        self._catalog = catalog
        self._layers = layers
        self._derived = derived
        self._blobs = blobs
        self._kept = kept

    async def closure(
        self, repository: Repository, reference: Digest | Tag | None
    ) -> frozenset[Digest]:
        """All that belongs to an image; without `reference`, all that the repository has.

        Derived manifests and configs are among it.
        """
        if reference is None:
            listed = [await layer.list_content(str(repository)) for layer in self._layers]
            found = {digest for digests in listed for digest in digests}
            return await self._with_derived(repository, found, is_all=True)
        if not isinstance(reference, Digest):
            lookup = await self._catalog.look(repository, reference, fresh=lambda _: True)
            if lookup.entry is None:
                return frozenset()
            reference = lookup.entry.digest
        return await self._with_derived(
            repository, await self._walk(repository, reference), is_all=False
        )

    async def remove(self, repository: Repository, digests: Collection[Digest]) -> int:
        """Remove it; how many blobs were. StorageFailure if it must be tried again."""
        name = str(repository)
        unheld = set(digests)
        for layer in self._layers:
            if (free := await layer.remove(name, digests)) is None:
                raise StorageFailure("the catalog cannot be written; try again")
            unheld &= set(free)
        try:
            for digest in digests:
                await self._derived.remove(digest, name)
            removed = await asyncio.gather(*map(self._blobs.remove, unheld))
        except StoreError as error:
            raise StorageFailure(f"the content cannot be removed: {error}; try again") from error
        _log.info("content.removed", repository=name, content=len(digests), blobs=sum(removed))
        return sum(removed)

    async def forget_kept(self, repository: Repository, reference: str | None) -> None:
        """Keep the image no longer, or all of the repository."""
        for image in await self._kept.images():
            if image.repository == str(repository) and reference in {None, image.reference}:
                await self._kept.remove(image.repository, image.reference)

    async def _walk(self, repository: Repository, start: Digest) -> set[Digest]:
        """Return the manifest's content and that of its children, as far as it is stored."""
        found, todo = {start}, [start]
        while todo:
            manifest = (await self._catalog.look_manifest(repository, todo.pop())).manifest
            if manifest is None:
                continue
            new = set(manifest.references) - found
            found |= new
            if isinstance(manifest, Index):
                todo += new
        return found

    async def _with_derived(
        self, repository: Repository, found: set[Digest], *, is_all: bool
    ) -> frozenset[Digest]:
        """Return the same, and what was converted from it for this repository."""
        sources: dict[Digest, Digest] = {}
        async for record in self._derived.records():
            if str(repository) in record.repositories:
                sources[record.digest] = record.origin.source
        if is_all:
            return frozenset(found | sources.keys())
        while new := _made_of(found, sources.items()):
            found |= new
        return frozenset(found)


def _made_of(found: set[Digest], sources: Iterable[tuple[Digest, Digest]]) -> set[Digest]:
    return {made for made, source in sources if source in found and made not in found}


class NoRemoval:
    """In place of `ContentRemoval` with a bucket: refuses to remove anything."""

    async def closure(
        self, _repository: Repository, _reference: Digest | Tag | None
    ) -> frozenset[Digest]:
        """RequestInvalid."""
        raise RequestInvalid(
            "content is removed on disk only (blobs.store: disk); delete objects in the bucket"
        )

    async def remove(self, _repository: Repository, _digests: Collection[Digest]) -> int:
        """Nothing."""
        return 0

    async def forget_kept(self, _repository: Repository, _reference: str | None) -> None:
        """Nothing is kept."""
