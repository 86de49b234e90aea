"""Purging: what a tag names, and what an upstream was seen to have or not, is asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import StorageFailure
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

        `addressed` is its name as clients write it. NameInvalid or NameUnknown for none of ours;
        StorageFailure if it must be tried again.
        """
        repository = self._routes.repository(addressed, ns=None, host="")
        if isinstance(reference, Tag):
            await self._catalog.drop_tag(repository, reference)
        is_taken = await self._catalog.purge(repository, tags=reference is None)
        if not await self._generation.advance() or not is_taken:
            raise StorageFailure(
                "the catalog does not take it: other processes may not have forgotten; try again"
            )
        _log.info("repository.purged", repository=str(repository), reference=reference)
        return repository
