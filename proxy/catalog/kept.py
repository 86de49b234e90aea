"""Images that are kept: their blobs are not evicted, and their records count as in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import NameUnknown, RequestInvalid
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.oci.kept_image import KeptImage
from proxy.oci.reference import Digest, Repository, Tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.catalog.catalog import Catalog
    from proxy.catalog.routing import Routes
    from proxy.kit.clock import Clock
    from proxy.ports.kept import KeptStore

_log = structlog.get_logger()


class KeptImages:
    """Keeps images, and lists them."""

    def __init__(
        self,
        *,
        routes: Routes,
        catalog: Catalog,
        store: KeptStore | None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`store` is None where blobs are in a bucket: its lifecycle rule alone evicts there."""
        self._routes = routes
        self._catalog = catalog
        self._store = store
        self._clock = clock

    @property
    def limit(self) -> int | None:
        """The bytes that all kept blobs may take; None if there is no limit."""
        return None if self._store is None else self._store.limit

    async def keep(
        self,
        addressed: str,
        reference: Digest | Tag,
        manifests: Sequence[Digest],
        blobs: Sequence[Digest],
    ) -> KeptImage:
        """Keep this content for an image, in place of what was kept for it.

        RegistryError if it cannot be kept.
        """
        repository = self._routes.as_written(addressed)
        image = KeptImage(
            str(repository), reference, tuple(manifests), tuple(blobs), self._clock.wall()
        )
        kept = await self._store_on_disk().put(image)
        await self._touch(repository, kept)
        _log.info("image.kept", repository=kept.repository, reference=reference, size=kept.size)
        return kept

    async def images(self) -> Sequence[KeptImage]:
        """All that are kept."""
        return [] if self._store is None else await self._store.images()

    async def forget(self, addressed: str, reference: Digest | Tag) -> Repository:
        """Keep an image no longer; NameUnknown if it was not kept."""
        repository = self._routes.as_written(addressed)
        if not await self._store_on_disk().remove(str(repository), reference):
            mark = "@" if isinstance(reference, Digest) else ":"
            raise NameUnknown(f"{repository}{mark}{reference} is not kept")
        _log.info("image.no_longer_kept", repository=str(repository), reference=reference)
        return repository

    async def refresh(self) -> None:
        """Count the records of the kept images as used now: the index evicts by last use."""
        for image in await self.images():
            registry, _, name = image.repository.partition("/")
            if registry in self._routes.names.values():
                await self._touch(Repository(registry, name, name), image)

    async def _touch(self, repository: Repository, image: KeptImage) -> None:
        tag = None if ":" in image.reference else Tag(image.reference)
        await self._catalog.touch(repository, tag, (*image.manifests, *image.blobs))

    def _store_on_disk(self) -> KeptStore:
        if self._store is None:
            raise RequestInvalid(
                "images are kept on disk only (blobs.store: disk): a bucket's lifecycle rule "
                "evicts whatever it is for"
            )
        return self._store
