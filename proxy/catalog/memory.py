"""The catalog's nearest layer: what this process remembers, bounded in bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.catalog.claims import claims_of
from proxy.catalog.lookup import Lookup
from proxy.catalog.merging import origin_of
from proxy.errors import ManifestInvalid
from proxy.kit.lru import LruCache
from proxy.oci.manifest import read_manifest
from proxy.ports.catalog import Grant

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Tag
    from proxy.ports.catalog import Claim, Found, TagEntry

_log = structlog.get_logger()

# What a parsed manifest takes besides its bytes, measured; and a small entry with its key.
_MANIFEST_COST: Final = 2048
_ENTRY_COST: Final = 300


class CatalogMemory:
    """Immutable facts until they are evicted, mutable ones until the generation changes."""

    def __init__(self, limit: int, mirrored: Collection[str] = ()) -> None:
        """Hold about `limit` bytes of manifests, and a fifth as much of tags, grants and claims.

        What manifests name is remembered for the upstreams that are `mirrored`.
        """
        self._mirrored = tuple(f"{name}/" for name in mirrored)
        self._manifests: LruCache[tuple[Digest, str], Manifest] = LruCache(limit)
        self._tags: LruCache[tuple[str, Tag], TagEntry] = LruCache(limit // 16)
        self._access: LruCache[tuple[str, Digest], Grant | Claim] = LruCache(limit // 16)
        self._claims: LruCache[tuple[str, Digest], Claim] = LruCache(limit // 16)

    def forget_mutable(self) -> None:
        """Drop what another process may have changed."""
        self._tags.clear()
        self._access.clear()

    def manifest(self, digest: Digest, media_type: str) -> Manifest | None:
        """The parsed manifest, as the upstream that calls it `media_type` has it."""
        return self._manifests.get((digest, media_type))

    def read(
        self, repository: str, digest: Digest, found: Found, access: Grant | Claim | None
    ) -> Lookup:
        """What was found; with `access` its manifest, which is verified and remembered."""
        lookup = Lookup(
            access=access,
            raw=found.raw,
            delivered=bool(found.granted_to),
            origin=origin_of(found),
        )
        if access is None or access.media_type is None or found.raw is None:
            return lookup
        manifest = self.manifest(digest, access.media_type)
        if manifest is None:
            try:
                manifest = read_manifest(found.raw, access.media_type, expected=digest)
            except ManifestInvalid as error:
                _log.warning("manifest.unreadable", digest=digest, reason=error.message)
                return replace(lookup, raw=None)
        lookup = replace(lookup, manifest=manifest)
        self.put(repository, lookup)
        return lookup

    def put(self, repository: str, lookup: Lookup) -> None:
        """Remember the manifest, and why the repository may serve it."""
        manifest, access = lookup.manifest, lookup.access
        if manifest is None or access is None:
            return
        self.put_access(repository, manifest.digest, access)
        key = manifest.digest, str(manifest.media_type)
        self._manifests.put(key, manifest, 2 * len(manifest.raw) + _MANIFEST_COST)
        if isinstance(access, Grant) and self._mirrored and repository.startswith(self._mirrored):
            for digest, claim in claims_of(manifest).items():
                self._claims.put((repository, digest), claim, _ENTRY_COST)

    def tag(self, repository: str, tag: Tag) -> TagEntry | None:
        """What the tag names."""
        return self._tags.get((repository, tag))

    def put_tag(self, repository: str, tag: Tag, entry: TagEntry) -> None:
        """Remember it."""
        self._tags.put((repository, tag), entry, _ENTRY_COST)

    def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget it."""
        self._tags.delete((repository, tag))

    def access(self, repository: str, digest: Digest) -> Grant | Claim | None:
        """Why the repository may serve the content."""
        return self._access.get((repository, digest))

    def claim(self, repository: str, digest: Digest) -> Claim | None:
        """What a manifest that the repository has been granted names: it suffices for nothing."""
        return self._claims.get((repository, digest))

    def put_access(self, repository: str, digest: Digest, access: Grant | Claim) -> None:
        """Remember it."""
        self._access.put((repository, digest), access, _ENTRY_COST)
