"""The catalog's shared cache: a layer over keys and values, Redis for instance. One key a command.

Claims are not in it: a replica that serves a manifest reads them in the manifest's bytes.
What an upstream can give again may be written after the answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.catalog.shared_values import (
    LARGEST,
    PurgeMarks,
    decode_content,
    decode_digest,
    decode_entry,
    decode_grant,
    decode_listing,
    decode_marks,
    encode_entry,
    encode_grant,
    encode_listing,
    encode_marks,
)
from proxy.catalog.write_behind import WriteBehind
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.ports.catalog import NOTHING, Found, Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest, Tag
    from proxy.ports import ManifestCache
    from proxy.ports.catalog import Batch, Listing

T = TypeVar("T")

_DAY: Final = 86400.0
# How long the shared cache keeps what the durable index keeps anyway, in seconds.
_CONTENT_LIFE: Final = 14 * _DAY
_ORIGIN_LIFE: Final = 400 * _DAY
_PURGES_MEMORY: Final = 2**20
_PURGE_COST: Final = 300


class SharedCacheLayer:
    """Fits Layer."""

    def __init__(
        self,
        cache: ManifestCache,
        *,
        tag_life: Callable[[], float],
        on_error: Callable[[str], None] = lambda _operation: None,
        write_behind: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`tag_life`: for how many seconds a tag's entry may be of use, fresh or stale.

        `on_error` gets `decode` for every value that no proxy has written. It is a miss.
        `write_behind` if nobody counts on finding here at once what an upstream can give again.
        """
        self._cache = WriteBehind(cache)
        self._write_behind = write_behind
        self._tag_life = tag_life
        self._on_error = on_error
        self._clock = clock
        # A cache cannot list its keys. A purge leaves a mark instead, and what is older is void.
        self._purges: LruCache[str, PurgeMarks] = LruCache(_PURGES_MEMORY)

    def forget_mutable(self) -> None:
        """Read the marks of purges again."""
        self._purges.clear()

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """The entry; then, at once, the manifest that it names and its grant."""
        value, marks = await asyncio.gather(
            self._cache.get(_tag(repository, tag)), self._purge_marks(repository)
        )
        entry = self._decode_dated(decode_entry, value)
        if entry is None or entry.validated_at <= marks.tags:
            return NOTHING
        found = await self.look_manifest(repository, entry.digest)
        return Found(entry, found.grant, None, found.raw, found.origin)

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """The bytes and the grant, asked for at once; the origin of a derived manifest after it."""
        value, raw = await asyncio.gather(
            self._cache.get(_grant(repository, digest), extend=_CONTENT_LIFE),
            self._cache.get(f"manifest:{digest}", extend=_CONTENT_LIFE),
        )
        grant, origin = self._decode(decode_grant, value), None
        if grant is not None and grant.proof is Proof.DERIVED:
            origin = await self._cache.get(f"origin:{digest}", extend=_ORIGIN_LIFE)
        return Found(
            None,
            grant,
            None,
            self._decode(decode_content, raw),
            self._decode(decode_content, origin),
        )

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """The grant."""
        value = await self._cache.get(_grant(repository, digest), extend=_CONTENT_LIFE)
        return Found(grant=self._decode(decode_grant, value))

    async def look_representation(self, key: str) -> Digest | None:
        """What was made under `key`."""
        return self._decode(decode_digest, await self._cache.get(key, extend=_CONTENT_LIFE))

    async def look_listing(self, repository: str, name: str) -> Listing | None:
        """The stored page, if it was not purged."""
        value, marks = await asyncio.gather(
            self._cache.get(_listing(repository, name)), self._purge_marks(repository)
        )
        listing = self._decode_dated(decode_listing, value)
        return listing if listing is not None and listing.fetched_at > marks.listings else None

    async def look_layer(self, _digest: Digest) -> None:
        """Return nothing: other programs may write here, and conversions are durable."""

    async def commit(self, batch: Batch) -> None:
        """All keys at once; what the cache does not take is counted there.

        What was made here is waited for: others may be asked for it as soon as its digest is sent.
        """
        writes = [write for write in self._writes_of(batch) if len(write[1]) <= LARGEST]
        if self._write_behind and not _is_of_derived(batch):
            writes = [write for write in writes if not self._cache.put_later(*write)]
        if writes:
            await asyncio.gather(
                *(self._cache.put(key, value, life=life) for key, value, life in writes)
            )

    def _writes_of(self, batch: Batch) -> Iterator[tuple[str, bytes, float]]:
        """Each key with its value, and for how many seconds that is kept."""
        for repository, tag, entry in batch.tags:
            yield _tag(repository, tag), encode_entry(entry), self._tag_life()
        for manifest, origin in batch.manifests:
            yield f"manifest:{manifest.digest}", manifest.raw, _CONTENT_LIFE
            if origin is not None:
                yield f"origin:{manifest.digest}", origin.encode(), _ORIGIN_LIFE
        for repository, digest, grant in batch.grants:
            yield _grant(repository, digest), encode_grant(grant), _CONTENT_LIFE
        for key, derived in batch.representations:
            yield key, derived.encode(), _CONTENT_LIFE
        for repository, name, listing in batch.listings:
            yield _listing(repository, name), encode_listing(listing), self._tag_life()

    async def list_content(self, _repository: str) -> Collection[Digest]:
        """Nothing: a cache cannot list its keys."""
        return ()

    async def remove(self, repository: str, digests: Collection[Digest]) -> Collection[Digest]:
        """Delete the grants, and the bytes, which other repositories find in the next layer."""
        keys = [
            key
            for digest in digests
            for key in (_grant(repository, digest), f"manifest:{digest}", f"origin:{digest}")
        ]
        await asyncio.gather(*map(self._cache.delete, keys))
        return digests

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        await self._cache.delete(_tag(repository, tag))

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Store the time of the purge; False if the cache does not take it."""
        self._purges.delete(repository)
        before = await self._purge_marks(repository)
        mark = encode_marks(PurgeMarks(now if tags else before.tags, now))
        await self._cache.put(_purge(repository), mark, life=_ORIGIN_LIFE)
        self._purges.delete(repository)
        return await self._cache.get(_purge(repository)) == mark

    async def purge_all(self, _now: float) -> bool:
        """Nothing: replicas share it, and each purge was done here when it was asked for."""
        return True

    async def close(self) -> None:
        """Finish pending writes; the cache is closed by the one that opened it."""
        await self._cache.close()

    async def _purge_marks(self, repository: str) -> PurgeMarks:
        known = self._purges.get(repository)
        if known is None:
            value = await self._cache.get(_purge(repository))
            known = self._decode_dated(decode_marks, value) or PurgeMarks()
            self._purges.put(repository, known, _PURGE_COST)
        return known

    def _decode(self, decode: Callable[[bytes], T | None], value: bytes | None) -> T | None:
        decoded = None if value is None else decode(value)
        if decoded is None and value is not None:
            self._on_error("decode")
        return decoded

    def _decode_dated(
        self, decode: Callable[[bytes, float], T | None], value: bytes | None
    ) -> T | None:
        now = self._clock.wall()
        return self._decode(lambda found: decode(found, now), value)


def _is_of_derived(batch: Batch) -> bool:
    """Whether something of it was made here."""
    return any(origin is not None for _, origin in batch.manifests) or any(
        grant.proof is Proof.DERIVED for _, _, grant in batch.grants
    )


def _tag(repository: str, tag: Tag) -> str:
    return f"tag:{repository}:{tag}"


def _grant(repository: str, digest: Digest) -> str:
    return f"grant:{repository}:{digest}"


def _listing(repository: str, name: str) -> str:
    return f"list:{repository}:{name}"


def _purge(repository: str) -> str:
    return f"purged:{repository}"
