"""The catalog's shared cache: a layer over keys and values, Redis for instance. One key a command.

Claims are not in it: a replica that serves a manifest reads them in the manifest's bytes.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from proxy.errors import DigestInvalid
from proxy.kit.lru import LruCache
from proxy.oci.reference import Digest
from proxy.ports.catalog import NOTHING, Found, Grant, Listing, Proof, TagEntry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.oci.reference import Tag
    from proxy.ports import ManifestCache
    from proxy.ports.catalog import Batch

_DAY: Final = 86400.0
# How long the shared cache keeps what the durable index keeps anyway, in seconds.
_CONTENT_LIFE: Final = 14 * _DAY
_ORIGIN_LIFE: Final = 400 * _DAY
# A larger value would push hundreds of others out of a small Redis.
_LIMIT: Final = 256 * 1024
_PURGES_MEMORY: Final = 2**20
_PURGE_COST: Final = 300


class SharedCacheLayer:
    """Fits Layer."""

    def __init__(self, cache: ManifestCache, *, tag_life: Callable[[], float]) -> None:
        """`tag_life`: for how many seconds a tag's entry may be of use, fresh or stale."""
        self._cache = cache
        self._tag_life = tag_life
        # A cache cannot list its keys. A purge leaves a mark instead, and what is older is void.
        self._purges: LruCache[str, tuple[float, float]] = LruCache(_PURGES_MEMORY)

    def forget_mutable(self) -> None:
        """Read the marks of purges again."""
        self._purges.clear()

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """The entry; then, at once, the manifest that it names and its grant."""
        value, (tags_purged, _) = await asyncio.gather(
            self._cache.get(_tag(repository, tag)), self._purge_marks(repository)
        )
        entry = _decode_entry(value)
        if entry is None or entry.validated_at <= tags_purged:
            return NOTHING
        found = await self.look_manifest(repository, entry.digest)
        return Found(entry, found.grant, None, found.raw, found.origin)

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """The bytes and the grant, asked for at once; the origin of a derived manifest after it."""
        value, raw = await asyncio.gather(
            self._cache.get(_grant(repository, digest), extend=_CONTENT_LIFE),
            self._cache.get(f"manifest:{digest}", extend=_CONTENT_LIFE),
        )
        grant, origin = _decode_grant(value), None
        if grant is not None and grant.proof is Proof.DERIVED:
            origin = await self._cache.get(f"origin:{digest}", extend=_ORIGIN_LIFE)
        return Found(None, grant, None, raw, origin)

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """The grant."""
        value = await self._cache.get(_grant(repository, digest), extend=_CONTENT_LIFE)
        return Found(grant=_decode_grant(value))

    async def look_representation(self, key: str) -> Digest | None:
        """What was made under `key`."""
        value = await self._cache.get(key, extend=_CONTENT_LIFE)
        try:
            return None if value is None else Digest(value.decode())
        except (ValueError, DigestInvalid):
            return None

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """The stored page, if it was not purged."""
        value, (_, purged) = await asyncio.gather(
            self._cache.get(_listing(repository, name)), self._purge_marks(repository)
        )
        moment, _, page = (value or b"").partition(b"\n")
        fetched_at = _seconds(moment)
        return Listing(page, fetched_at) if fetched_at > purged else None

    async def commit(self, batch: Batch) -> None:
        """All keys at once; what the cache does not take is counted there."""
        writes: list[Awaitable[None]] = []

        def put(key: str, value: bytes, life: float) -> None:
            if len(value) <= _LIMIT:
                writes.append(self._cache.put(key, value, life=life))

        for repository, tag, entry in batch.tags:
            value = f"{entry.digest} {entry.validated_at:.3f}".encode()
            put(_tag(repository, tag), value, self._tag_life())
        for manifest, origin in batch.manifests:
            put(f"manifest:{manifest.digest}", manifest.raw, _CONTENT_LIFE)
            if origin is not None:
                put(f"origin:{manifest.digest}", origin.encode(), _ORIGIN_LIFE)
        for repository, digest, grant in batch.grants:
            value = json.dumps([grant.proof, grant.media_type], separators=(",", ":")).encode()
            put(_grant(repository, digest), value, _CONTENT_LIFE)
        for key, derived in batch.representations:
            put(key, derived.encode(), _CONTENT_LIFE)
        for repository, name, listing in batch.listings:
            value = f"{listing.fetched_at:.3f}\n".encode() + listing.value
            put(_listing(repository, name), value, self._tag_life())
        if writes:
            await asyncio.gather(*writes)

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        await self._cache.delete(_tag(repository, tag))

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Leave the mark; False if the cache does not take it."""
        self._purges.delete(repository)
        tags_purged, _ = await self._purge_marks(repository)
        mark = f"{now if tags else tags_purged:.3f} {now:.3f}".encode()
        await self._cache.put(_purge(repository), mark, life=_ORIGIN_LIFE)
        self._purges.delete(repository)
        return await self._cache.get(_purge(repository)) == mark

    async def close(self) -> None:
        """Nothing: the cache is closed by the one that opened it."""

    async def _purge_marks(self, repository: str) -> tuple[float, float]:
        """From when on tags, and listings, count (seconds since 1970)."""
        known = self._purges.get(repository)
        if known is None:
            tags, _, listings = (await self._cache.get(_purge(repository)) or b"").partition(b" ")
            known = _seconds(tags), _seconds(listings)
            self._purges.put(repository, known, _PURGE_COST)
        return known


def _tag(repository: str, tag: Tag) -> str:
    return f"tag:{repository}:{tag}"


def _grant(repository: str, digest: Digest) -> str:
    return f"grant:{repository}:{digest}"


def _listing(repository: str, name: str) -> str:
    return f"list:{repository}:{name}"


def _purge(repository: str) -> str:
    return f"purged:{repository}"


def _seconds(text: bytes) -> float:
    """A moment; 0 for what is none."""
    try:
        moment = float(text or b"0") if len(text) <= 32 else 0.0  # noqa: PLR2004 -- no moment is longer
    except ValueError:
        return 0.0
    return moment if 0.0 <= moment < float("inf") else 0.0


def _decode_entry(value: bytes | None) -> TagEntry | None:
    digest, _, moment = (value or b"").partition(b" ")
    validated_at = _seconds(moment)
    try:
        return TagEntry(Digest(digest.decode("ascii")), validated_at) if validated_at else None
    except (ValueError, DigestInvalid):
        return None


def _decode_grant(value: bytes | None) -> Grant | None:
    try:
        proof, media_type = json.loads(value or b"")
        return Grant(Proof(proof), None if media_type is None else str(media_type))
    except (ValueError, TypeError, RecursionError):
        return None
