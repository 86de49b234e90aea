"""Indexes in indexes, fetched level by level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ConversionRefused, ManifestUnknown, RefusalReason
from proxy.oci import nesting
from proxy.oci.manifest import Index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.manifests.fetch import UpstreamManifests
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest, Repository


class NestedIndexes:
    """The images of an index, wherever in it they are."""

    def __init__(self, upstream_manifests: UpstreamManifests) -> None:
        self._upstream_manifests = upstream_manifests

    async def expand(
        self,
        repository: Repository,
        index: Index,
        platforms: Sequence[Platform],
        *,
        max_depth: int,
        max_indexes: int,
        absent: frozenset[Digest] = frozenset(),
    ) -> tuple[Index, frozenset[Digest]]:
        """`index` with what the indexes in it name, and the digests that the upstream has not.

        Indexes below `max_depth` levels stay entries. Those in `absent` are not asked for.
        ConversionRefused if there are over `max_indexes`.
        """
        count = 0
        for _ in range(max_depth - 1):
            followed = nesting.nested_for(index, platforms)
            if not followed:
                break
            count += len(followed)
            if count > max_indexes:
                raise ConversionRefused(
                    f"it has {count} indexes in it, more than the limit of {max_indexes}",
                    RefusalReason.CHILDREN,
                )
            inner: dict[Digest, Index] = {}
            for entry in followed:
                found = None
                if entry.digest not in absent:
                    found = await self._get(repository, entry.digest)
                if found is None:
                    absent |= {entry.digest}
                inner[entry.digest] = found or Index(index.media_type, entry.digest, b"", ())
            index = nesting.expand(index, inner)
        return index, absent

    async def _get(self, repository: Repository, digest: Digest) -> Index | None:
        try:
            found = await self._upstream_manifests.get(repository, digest)
        except ManifestUnknown:
            return None
        return found if isinstance(found, Index) else None
