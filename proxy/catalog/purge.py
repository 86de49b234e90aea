"""Purging: cached tags, grants and refusals are invalidated, so that the upstream is asked again.

On demand the content is removed, too.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from proxy.catalog.known_purges import ALL_TAGS, LISTINGS, KnownPurges, Purged
from proxy.catalog.removal import NoRemoval
from proxy.errors import ManifestUnknown, NameUnknown, RegistryError, StorageFailure
from proxy.oci.reference import Digest, Tag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from proxy.catalog.catalog import Catalog
    from proxy.catalog.generation import Generation
    from proxy.catalog.purge_journal import PurgeJournal
    from proxy.catalog.removal import ContentRemoval
    from proxy.catalog.routing import Routes, Standby
    from proxy.oci.reference import Repository

_log = structlog.get_logger()

# All processes know of an older purge, in seconds.
_LATELY: Final = 60.0


class Purges:
    """Forgets on demand, in every process that shares the cache; content only if that is wanted."""

    def __init__(
        self,
        *,
        routes: Routes,
        catalog: Catalog,
        generation: Generation,
        standby: Standby,
        journal: PurgeJournal | None = None,
        removal: ContentRemoval | NoRemoval | None = None,
        announce: Callable[[Repository | None, str], None] = lambda _repository, _tag: None,
        audit: Callable[[Repository, Digest | Tag | None], Awaitable[None]] | None = None,
    ) -> None:
        """`generation` tells the other processes, and `journal` other replicas if there are any.

        `removal` is for purges of content. `announce` is called with each repository and tag that
        was purged, here or on another replica; the tag is one of `known_purges` if it is no tag,
        and the repository None for those that nobody can name.
        `audit` writes a purge down before it happens, and may refuse it by a RegistryError.
        """
        self._audit = audit
        self._removal = removal or NoRemoval()
        self._routes = routes
        self._standby = standby
        self._catalog = catalog
        self._generation = generation
        self._journal = journal
        self._announce = announce
        self._announced = KnownPurges()
        self._mark = self._announced.mark

    async def purge(
        self, addressed: str, reference: Digest | Tag | None, *, content: bool = False
    ) -> Repository:
        """Invalidate one tag of a repository, or all; and always its listings and negative answers.

        With `content`, also remove the bytes that no other repository has been granted.

        `addressed` is its name as clients write it. NameInvalid for an unknown upstream,
        NameUnknown or ManifestUnknown if nothing was cached, so that only negative answers were
        dropped; StorageFailure if it must be tried again.
        """
        repository = self._routes.as_written(addressed)
        if self._audit is not None:
            await self._audit(repository, reference)
        places = self._places(repository)
        was_known = any([await self._catalog.knows(place, reference) for place in places])
        digests: frozenset[Digest] | None = None
        if content:
            closures = [await self._removal.closure(place, reference) for place in places]
            digests = frozenset().union(*closures)
            await self._removal.forget_kept(repository, reference)
        tag = reference if isinstance(reference, Tag) else LISTINGS if reference else ALL_TAGS
        done = Purged(time.time(), repository.registry, repository.name, tag, digests)
        if not await self._forget([done]) or not await self._record(done):
            raise StorageFailure(
                "the catalog cannot be written: other processes may use old entries; try again"
            )
        if not was_known:
            raise self._unknown(repository, reference)
        _log.info(
            "repository.purged", repository=str(repository), reference=reference, content=content
        )
        return repository

    def _places(self, repository: Repository) -> list[Repository]:
        """The repository, also as the mirrors have it that stand in for its registry."""
        return [repository, *([repository.at_mirrors] * self._standby.has(repository))]

    def _unknown(self, repository: Repository, reference: Digest | Tag | None) -> RegistryError:
        hint = self._routes.hint(repository)
        if reference is None:
            return NameUnknown(f"nothing of {repository} is cached{hint}")
        mark = "@" if isinstance(reference, Digest) else ":"
        return ManifestUnknown(f"{repository}{mark}{reference} is not cached{hint}")

    # -- other replicas ----------------------------------------------------------------------

    async def mark(self) -> str:
        """Return a mark that stands for all purges that are known here."""
        if self._journal is None:
            return ""
        entries = await self._journal.entries()
        if entries != self._announced:
            # Another process of this machine has done some of them.
            for each in entries.purges - self._announced.purges:
                if time.time() - each.at < _LATELY:
                    self._announce(each.repository, each.tag)
            self._announced, self._mark = entries, entries.mark
        return self._mark

    async def news(self, mark: str) -> list[Any]:
        """Return all purges that are known here, for a replica whose mark differs; else nothing."""
        if self._journal is None or mark == await self.mark():
            return []
        return (await self._journal.entries()).encode()

    async def learn(self, news: Any) -> None:
        """Apply the purges of other replicas; ValueError for a malformed one.

        If some are not known by name any more, invalidate all tags and listings.
        """
        if self._journal is None:
            return
        told = KnownPurges.read(news)
        found = (await self._journal.entries()).compare(told)
        if found.has_gap:
            self._announce(None, ALL_TAGS)
            if not await self._catalog.purge_all():
                return
            _log.warning("repository.all_purged", reason="this replica was away for too long")
        registries = set(self._routes.names.values())
        ours = {each for each in found.missed if each.registry in registries}
        if not await self._forget(ours):
            return
        await self._journal.update(lambda known: known.compare(told).known)
        if (ours or found.has_gap) and await self._generation.advance():
            _log.info("repository.purged_elsewhere", count=len(ours))

    async def _forget(self, purged: Collection[Purged]) -> bool:
        """Invalidate what was purged; return whether every layer has taken it."""
        for each in purged:
            self._announce(each.repository, each.tag)
            for place in self._places(each.repository):
                if each.content is not None:
                    await self._remove(place, each)
                if each.tag not in {ALL_TAGS, LISTINGS}:
                    await self._catalog.drop_tag(place, Tag(each.tag))
                if not await self._catalog.purge(place, tags=each.tag == ALL_TAGS):
                    return False
        return True

    async def _record(self, done: Purged) -> bool:
        """Tell other replicas and processes; whether every process will have forgotten it."""
        if self._journal is not None:
            await self._journal.update(
                lambda known: known.add([replace(done, at=known.after(done.at))])
            )
        return await self._generation.advance()

    async def _remove(self, place: Repository, purged: Purged) -> None:
        """Remove the named content, and what this machine has of the same image."""
        digests = set(purged.content or ())
        if purged.tag != LISTINGS:
            reference = None if purged.tag == ALL_TAGS else Tag(purged.tag)
            digests |= await self._removal.closure(place, reference)
        await self._removal.remove(place, digests)
