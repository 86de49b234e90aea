"""What the proxy knows: manifests, tags, links and origins, in memory, in the cache and durably.

Looked for in that order, and written in the opposite one, so that nothing that was handed out is
known only to a cache. Values that cannot be read, or are not what their digest names, are misses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from proxy.errors import DigestInvalid, ManifestInvalid
from proxy.kit.lru import LruCache
from proxy.oci.derivation import CONVERTER, Origin
from proxy.oci.packed import pack, unpack
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.oci.derivation import ConversionInputs
    from proxy.oci.manifest import Manifest
    from proxy.oci.mediatype import MediaType
    from proxy.oci.reference import Repository, Tag
    from proxy.ports import ManifestCache, RecordStore

_DAY: Final = 86400.0
# How long the shared cache keeps what the blob store keeps anyway.
_CONTENT_LIFE: Final = 14 * _DAY
_ORIGIN_LIFE: Final = 400 * _DAY
# A larger manifest would push hundreds of others out of a small Redis.
_CACHED_LIMIT: Final = 256 * 1024
# What an entry costs besides its bytes, measured over parsed manifests.
_OVERHEAD: Final = 2048
_LINK_COST: Final = 300


# What a repository has that changes.
Mutable = Literal["tags", "listings"]


@dataclass(frozen=True, slots=True)
class TagEntry:
    """What a tag was found to name, and when (seconds since 1970)."""

    digest: Digest
    validated_at: float

    def encode(self) -> bytes:
        """For a record: digest, space, seconds."""
        return f"{self.digest} {self.validated_at:.3f}".encode()

    @classmethod
    def decode(cls, value: bytes | None) -> TagEntry | None:
        """The pin in a record, or None if there is none that can be read."""
        try:
            digest, validated_at = (value or b"").decode().split(" ")
            return cls(Digest(digest), float(validated_at))
        except (ValueError, DigestInvalid):
            return None


class Catalog:
    """The layers as one. `memory` bounds, in bytes, what is kept in this process."""

    def __init__(self, cache: ManifestCache, blobs: RecordStore, *, memory: int) -> None:
        self._cache = cache
        self._blobs = blobs
        self._manifests: LruCache[Digest, Manifest] = LruCache(memory)
        self._tag_entries: LruCache[str, TagEntry] = LruCache(memory // 16)
        self._links: LruCache[str, str] = LruCache(memory // 16)
        self._voids: LruCache[str, float] = LruCache(memory // 16)

    def forget_mutable(self) -> None:
        """Drop from memory whatever another process may have changed."""
        self._tag_entries.clear()
        self._links.clear()
        self._voids.clear()

    # -- manifests ---------------------------------------------------------------------------

    async def manifest(self, digest: Digest) -> Manifest | None:
        """The manifest, wherever it still is; what is found further out is remembered nearer."""
        if (known := self._manifests.get(digest)) is not None:
            return known
        key = f"manifest:{digest}"
        if found := unpack(digest, await self._cache.get(key, extend=_CONTENT_LIFE)):
            self._remember(found)
            return found
        if found := unpack(digest, await self._blobs.record(key)):
            await self._cache_manifest(found)
            self._remember(found)
        return found

    async def keep(
        self, repository: Repository, manifest: Manifest, *, origin: Origin | None = None
    ) -> None:
        """Make the manifest part of the repository, durably; OSError if that cannot be done."""
        links = [_link(repository, digest) for digest in {manifest.digest, *manifest.references}]
        records = [(f"manifest:{manifest.digest}", pack(manifest))]
        if origin is not None:
            records.append((f"origin:{manifest.digest}", origin.encode()))
        await self._blobs.put_records([*records, *((link, b"") for link in links)])
        await self._cache_manifest(manifest)
        if origin is not None:
            await self._cache.put(f"origin:{manifest.digest}", origin.encode(), life=_ORIGIN_LIFE)
        for link in links:
            await self._cache.put(link, b"1", life=_CONTENT_LIFE)
            self._links.put(link, link, _LINK_COST)
        self._remember(manifest)

    def _remember(self, manifest: Manifest) -> None:
        self._manifests.put(manifest.digest, manifest, 2 * len(manifest.raw) + _OVERHEAD)

    async def _cache_manifest(self, manifest: Manifest) -> None:
        if len(manifest.raw) <= _CACHED_LIMIT:
            key = f"manifest:{manifest.digest}"
            await self._cache.put(key, pack(manifest), life=_CONTENT_LIFE)

    # -- tags --------------------------------------------------------------------------------

    def remembered_tag_entry(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """The tag's pin, if it is in this process's memory."""
        return self._tag_entries.get(_tag(repository, tag))

    async def tag_entry(self, repository: Repository, tag: Tag) -> TagEntry | None:
        """The newest pin that any process left in the cache or durably.

        Usually that is the cache's; not where the cache took no writes for a while.
        """
        key = _tag(repository, tag)
        left = await self._cache.get(key), await self._blobs.record(key)
        tag_entries = [
            tag_entry for tag_entry in map(TagEntry.decode, left) if tag_entry is not None
        ]
        tag_entry = max(tag_entries, key=lambda tag_entry: tag_entry.validated_at, default=None)
        if tag_entry is None or tag_entry.validated_at <= await self.void_before(
            "tags", repository
        ):
            return None
        self._tag_entries.put(key, tag_entry, _LINK_COST)
        return tag_entry

    async def put_tag_entry(
        self, repository: Repository, tag: Tag, tag_entry: TagEntry, *, life: float
    ) -> None:
        """Remember what the tag names now; durably when that changed, and once a day.

        It may be of use for `life` seconds.
        """
        key = _tag(repository, tag)
        durable = TagEntry.decode(await self._blobs.record(key))
        if (
            durable is None
            or durable.digest != tag_entry.digest
            or tag_entry.validated_at - durable.validated_at > _DAY
        ):
            await self._blobs.put_records([(key, tag_entry.encode())])
        await self._cache.put(key, tag_entry.encode(), life=life)
        self._tag_entries.put(key, tag_entry, _LINK_COST)

    async def drop_tag_entry(self, repository: Repository, tag: Tag) -> None:
        """The upstream has no such tag any more."""
        key = _tag(repository, tag)
        await self._blobs.delete_record(key)
        await self._cache.delete(key)
        self._tag_entries.delete(key)

    # -- marks -------------------------------------------------------------------------------

    async def void(self, kind: Mutable, repository: Repository, now: float) -> None:
        """Have nothing of this kind count that is from before `now`; OSError if it cannot be kept.

        A cache cannot list its keys, and need not: a mark says from when on they count.
        """
        key, value = _void(kind, repository), f"{now:.3f}".encode()
        await self._blobs.put_records([(key, value)])
        await self._cache.put(key, value, life=_CONTENT_LIFE)
        self._voids.put(key, now, _LINK_COST)

    async def void_before(self, kind: Mutable, repository: Repository) -> float:
        """From when on they count, in seconds since 1970."""
        key = _void(kind, repository)
        moment = self._voids.get(key)
        if moment is None:
            left = await self._cache.get(key), await self._blobs.record(key)
            moment = max(map(_moment, left))
            self._voids.put(key, moment, _LINK_COST)
        return moment

    # -- links -------------------------------------------------------------------------------

    def remembers_link(self, repository: Repository, digest: Digest) -> bool:
        """Whether this process knows that the repository has this content."""
        return self._links.get(_link(repository, digest)) is not None

    async def linked(self, repository: Repository, digest: Digest) -> bool:
        """Whether it is known that the repository has this content."""
        link = _link(repository, digest)
        if self._links.get(link) is not None:
            return True
        known = await self._cache.get(link, extend=_CONTENT_LIFE) is not None
        if not known and await self._blobs.record(link) is not None:
            known = True
            await self._cache.put(link, b"1", life=_CONTENT_LIFE)
        if known:
            self._links.put(link, link, _LINK_COST)
        return known

    async def link(self, repository: Repository, digests: Iterable[Digest]) -> None:
        """Record that the repository has these."""
        links = [_link(repository, digest) for digest in digests]
        await self._blobs.put_records([(link, b"") for link in links])
        for link in links:
            await self._cache.put(link, b"1", life=_CONTENT_LIFE)
            self._links.put(link, link, _LINK_COST)

    # -- representations ---------------------------------------------------------------------

    async def representation(
        self, source: Digest, target: MediaType, terms: ConversionInputs
    ) -> Manifest | None:
        """What `source` was converted to before, on these terms."""
        key = _representation(source, target, terms)
        value = await self._cache.get(key, extend=_CONTENT_LIFE)
        try:
            return await self.manifest(Digest(value.decode())) if value else None
        except (ValueError, DigestInvalid):
            return None

    async def put_representation(
        self, source: Digest, target: MediaType, terms: ConversionInputs, derived: Digest
    ) -> None:
        """Remember what `source` was converted to. A copy of what can be done again."""
        key = _representation(source, target, terms)
        await self._cache.put(key, derived.encode(), life=_CONTENT_LIFE)

    async def origin(self, digest: Digest) -> Origin | None:
        """What a derived manifest was made from, or None if `digest` is not one of ours."""
        key = f"origin:{digest}"
        return _origin(await self._cache.get(key, extend=_ORIGIN_LIFE)) or _origin(
            await self._blobs.record(key)
        )


def _moment(value: bytes | None) -> float:
    try:
        return float(value or b"0")
    except ValueError:
        return 0.0


def _tag(repository: Repository, tag: Tag) -> str:
    return f"tag:{repository}:{tag}"


def _void(kind: Mutable, repository: Repository) -> str:
    return f"void:{repository}:{kind}"


def _link(repository: Repository, digest: Digest) -> str:
    return f"link:{repository}/{digest}"


def _representation(source: Digest, target: MediaType, terms: ConversionInputs) -> str:
    return f"rep:{CONVERTER}:{source}:{target}:{terms.cache_key_for(target)}"


def _origin(value: bytes | None) -> Origin | None:
    try:
        return Origin.decode(value) if value else None
    except ManifestInvalid:
        return None
