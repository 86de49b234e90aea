"""Questions to the upstream about a tag: one HEAD, and a GET only where that is not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.catalog.lookup import Lookup
from proxy.errors import BudgetReserved, ManifestUnknown
from proxy.manifests.resolved import Resolved
from proxy.ports.catalog import Proof, TagEntry
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.clock import Clock
    from proxy.manifests.fetch import UpstreamManifests
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Repository, Tag
    from proxy.ports import Head, MonitoredUpstream

_log = structlog.get_logger()


class Revalidation:
    """Asks the upstream, and records the answer in the catalog."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        upstream_manifests: UpstreamManifests,
        upstreams: Mapping[str, MonitoredUpstream],
        is_fresh: Callable[[Repository, Tag, TagEntry], bool],
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._upstream_manifests = upstream_manifests
        self._upstreams = upstreams
        self._is_fresh = is_fresh
        self._clock = clock

    async def ask(self, repository: Repository, tag: Tag, lookup: Lookup) -> Resolved:
        """One HEAD; a GET for what is not stored, or where HEAD does not answer usefully.

        In a repository of which nothing is stored the GET comes at once: it would follow anyway.
        A GET is a pull from the upstream's budget: BudgetReserved if that is nearly spent, and
        there is a copy that can be served instead.
        """
        head = None
        if not lookup.is_of_new_repository:
            has_copy = lookup.manifest is not None
            head = await self._upstream_manifests.head(repository, tag, has_copy=has_copy)
        if head is not None and head.digest is not None:
            if (kept := self._find_newer(head, lookup)) is not None:
                return kept
            if (stored := await self._find_stored(repository, tag, head, lookup)) is not None:
                return stored
            await self._spend(repository, lookup)
            try:
                fetched = await self._upstream_manifests.fetch(
                    repository, head.digest, tag=tag, age=head.age
                )
            except ManifestUnknown:
                # Moved on since, or an upstream that does not serve what it converted itself.
                _log.info("tag.moved", repository=str(repository), tag=tag, digest=head.digest)
            else:
                return await self._confirm(repository, tag, fetched, head)
        await self._spend(repository, lookup)
        fetched = await self._upstream_manifests.fetch(repository, tag, tag=tag)
        return await self._confirm(repository, tag, fetched)

    def _find_newer(self, head: Head, lookup: Lookup) -> Resolved | None:
        """Return the stored copy, if the answer of another replica is older."""
        if head.stale is None or lookup.manifest is None or lookup.entry is None:
            return None
        if lookup.entry.validated_at < self._clock.wall() - head.age:
            return None
        return Resolved.of_stale(lookup.manifest, lookup.entry, head.stale)

    async def _find_stored(
        self, repository: Repository, tag: Tag, head: Head, lookup: Lookup
    ) -> Resolved | None:
        """The stored manifest that HEAD has named, if the repository may serve it."""
        if head.digest is None:
            return None
        known = lookup
        if known.manifest is None or known.manifest.digest != head.digest:
            known = await self._catalog.look_manifest(
                repository,
                head.digest,
                known=Lookup(ignorant=lookup.ignorant),
                may_be_derived=False,
            )
        entry = TagEntry(head.digest, self._clock.wall() - head.age)
        manifest = known.manifest
        if manifest is not None:
            await self._catalog.put_tag(repository, tag, entry)
        else:
            manifest = self._upstream_manifests.granted_by_head(head, known)
            if manifest is None:
                return None
            await self._catalog.learn(repository, manifest, Proof.HEAD, tag=(tag, entry))
        if head.stale is not None:
            return Resolved.of_stale(manifest, entry, head.stale)
        return Resolved(manifest, Outcome.REVALIDATED, entry.validated_at)

    async def _confirm(
        self, repository: Repository, tag: Tag, fetched: Manifest, head: Head | None = None
    ) -> Resolved:
        """What was fetched is what the tag names, which the catalog learnt with it.

        Not if another request had begun to fetch it, by its digest, which `head` has named.
        """
        age = 0.0 if head is None else head.age
        entry = self._catalog.remembered_tag(repository, tag)
        if (
            entry is None
            or entry.digest != fetched.digest
            or not self._is_fresh(repository, tag, entry)
        ):
            entry = TagEntry(fetched.digest, self._clock.wall() - age)
            await self._catalog.put_tag(repository, tag, entry)
        if head is not None and head.stale is not None:
            return Resolved.of_stale(fetched, entry, head.stale)
        return Resolved(fetched, Outcome.MISS, entry.validated_at)

    async def _spend(self, repository: Repository, lookup: Lookup) -> None:
        upstream = self._upstreams[repository.registry]
        if lookup.manifest is not None and await upstream.is_at_its_reserve():
            raise BudgetReserved(
                f"the pulls that {repository.registry} still grants are kept for new images"
            )
