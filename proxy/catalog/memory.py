"""The catalog's nearest layer: what this process remembers, bounded in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest, Tag
    from proxy.ports.catalog import Claim, Grant, TagEntry

# What a parsed manifest takes besides its bytes, measured; and a small entry with its key.
_MANIFEST_COST: Final = 2048
_ENTRY_COST: Final = 300


class CatalogMemory:
    """Immutable facts until they are evicted, mutable ones until the generation changes."""

    def __init__(self, limit: int) -> None:
        """Hold about `limit` bytes of manifests, and a fifth as much of tags, grants and claims."""
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

    def put_manifest(self, manifest: Manifest) -> None:
        """Remember it."""
        key = manifest.digest, str(manifest.media_type)
        self._manifests.put(key, manifest, 2 * len(manifest.raw) + _MANIFEST_COST)

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
        """What a manifest that the repository has been granted names."""
        return self._claims.get((repository, digest))

    def put_claim(self, repository: str, digest: Digest, claim: Claim) -> None:
        """Remember it; it suffices for nothing by itself."""
        self._claims.put((repository, digest), claim, _ENTRY_COST)

    def put_access(self, repository: str, digest: Digest, access: Grant | Claim) -> None:
        """Remember it."""
        self._access.put((repository, digest), access, _ENTRY_COST)
