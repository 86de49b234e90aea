"""Purging: what a tag names, and what an upstream was seen to have or not, is asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import ManifestUnknown, NameUnknown, RegistryError, StorageFailure
from proxy.oci.reference import Digest, Tag

if TYPE_CHECKING:
    from proxy.catalog.catalog import Catalog
    from proxy.catalog.generation import Generation
    from proxy.catalog.routing import Routes
    from proxy.oci.reference import Repository

_log = structlog.get_logger()


class Purges:
    """Forgets on demand, in every process that shares the cache. Content stays: a digest is one."""

    def __init__(self, *, routes: Routes, catalog: Catalog, generation: Generation) -> None:
        """`generation` tells the other processes."""
        self._routes = routes
        self._catalog = catalog
        self._generation = generation

    async def purge(self, addressed: str, reference: Digest | Tag | None) -> Repository:
        """Forget one tag of a repository, or all; and its listings, and what was refused, always.

        `addressed` is its name as clients write it. NameInvalid for none of ours, NameUnknown or
        ManifestUnknown where nothing was cached, so that only refusals were forgotten;
        StorageFailure if it must be tried again.
        """
        repository = self._routes.repository(addressed, ns=None, host="")
        was_known = await self._catalog.knows(repository, reference)
        if isinstance(reference, Tag):
            await self._catalog.drop_tag(repository, reference)
        is_taken = await self._catalog.purge(repository, tags=reference is None)
        if not await self._generation.advance() or not is_taken:
            raise StorageFailure(
                "the catalog does not take it: other processes may not have forgotten; try again"
            )
        if not was_known:
            raise self._unknown(repository, reference)
        _log.info("repository.purged", repository=str(repository), reference=reference)
        return repository

    def _unknown(self, repository: Repository, reference: Digest | Tag | None) -> RegistryError:
        hint = self._routes.hint(repository)
        if reference is None:
            return NameUnknown(f"nothing of {repository} is cached{hint}")
        mark = "@" if isinstance(reference, Digest) else ":"
        return ManifestUnknown(f"{repository}{mark}{reference} is not cached{hint}")
