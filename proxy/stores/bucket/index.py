"""The catalog's durable index in a bucket, below `again/`: what the upstreams can give again.

A lifecycle rule of the bucket bounds it. A manifest, its type and its grant are one object, so a
look-up of a tag reads two or three objects, and one pull writes two.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import DigestInvalid
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.kit.moment import parse_moment
from proxy.oci.layer import LayerFacts
from proxy.oci.mediatype import is_media_type
from proxy.oci.reference import Digest
from proxy.ports.catalog import NOTHING, Found, Grant, Proof, TagEntry

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy.kit.clock import Clock
    from proxy.oci.reference import Tag
    from proxy.ports.catalog import Batch, Listing
    from proxy.stores.bucket.bucket import Bucket

_log = structlog.get_logger()

# A tag that still names the same is written again after so long, in seconds: an object costs a
# request, and a lifecycle rule may look at its age.
_WRITE_AGAIN: Final = 86400.0
_MEMORY: Final = 2**20
_COST: Final = 400


class BucketIndex:
    """Fits Layer. Requests that do not depend on each other are made at once."""

    def __init__(self, bucket: Bucket, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._bucket = bucket
        self._clock = clock
        self._written: LruCache[tuple[str, str], TagEntry] = LruCache(_MEMORY)
        # A purge leaves a mark: tags from before it are void. Read once for each repository.
        self._purged: LruCache[str, float] = LruCache(_MEMORY)

    def forget_mutable(self) -> None:
        """Read the marks of purges again."""
        self._purged.clear()

    async def look_tag(self, repository: str, tag: Tag) -> Found:
        """The entry, and then the manifest that it names: two requests, or three."""
        value, purged = await asyncio.gather(
            self._get(_key("tags", repository, tag)), self._purged_at(repository)
        )
        digest, _, moment = (value or b"").partition(b" ")
        try:
            entry = TagEntry(Digest(digest.decode("ascii")), parse_moment(moment))
        except (ValueError, DigestInvalid):
            return NOTHING
        if entry.validated_at <= purged:
            return NOTHING
        found = await self.look_manifest(repository, entry.digest)
        return Found(entry, found.grant, None, found.raw)

    async def look_manifest(self, repository: str, digest: Digest) -> Found:
        """The bytes and the grant: one request."""
        value = await self._get(_key("manifests", repository, digest))
        head, _, raw = (value or b"").partition(b"\n")
        grant = _decode(head)
        return NOTHING if grant is None else Found(grant=grant, raw=raw)

    async def look_blob(self, repository: str, digest: Digest) -> Found:
        """The grant: one request."""
        return Found(grant=_decode(await self._get(_key("blobs", repository, digest)) or b""))

    async def look_representation(self, _key: str) -> None:
        """Nothing: what was converted can be converted again, to the same digest."""

    async def look_listing(self, _repository: str, _name: str) -> Listing | None:
        """Nothing: pages change too often for a request each."""
        return None

    async def look_layer(self, digest: Digest) -> LayerFacts | None:
        """What is known of the layer's bytes: one request."""
        value = await self._get(_layer_key(digest))
        return None if value is None else _decode_layer(value)

    async def commit(self, batch: Batch) -> None:
        """Write all objects at once. Derived manifests have a store of their own."""
        now = self._clock.wall()
        grants = {(name, digest): grant for name, digest, grant in batch.grants}
        writes: list[Awaitable[object]] = []
        for name, tag, entry in batch.tags:
            before = self._written.get((name, tag))
            if (
                before is None
                or before.digest != entry.digest
                or (now - before.validated_at > _WRITE_AGAIN)
            ):
                writes.append(self._put_tag(name, tag, entry))
        bodies = {manifest.digest: manifest.raw for manifest, _ in batch.manifests}
        for (name, digest), grant in grants.items():
            if grant.proof is Proof.DERIVED:
                continue
            if grant.media_type is None:
                writes.append(self._put(_key("blobs", name, digest), _encode(grant)))
            elif (raw := bodies.get(digest)) is not None:
                value = _encode(grant) + b"\n" + raw
                writes.append(self._put(_key("manifests", name, digest), value))
        for facts in batch.layers:
            value = json.dumps(facts.encode(), separators=(",", ":")).encode()
            writes.append(self._put(_layer_key(facts.digest), value))
        if writes:
            await asyncio.gather(*writes)

    async def drop_tag(self, repository: str, tag: Tag) -> None:
        """Forget the tag."""
        self._written.delete((repository, tag))
        with suppress(OSError):
            await self._bucket.delete(_key("tags", repository, tag))

    async def purge(self, repository: str, now: float, *, tags: bool) -> bool:
        """Leave a mark, from which on tags count again."""
        if not tags:
            return True
        try:
            await self._bucket.put(f"again/purged/{repository}/+", f"{now:.3f}".encode())
        except OSError:
            return False
        self._purged.put(repository, now, _COST)
        return True

    async def purge_all(self, _now: float) -> bool:
        """Nothing: replicas share it, and each purge was done here when it was asked for."""
        return True

    async def close(self) -> None:
        """Nothing: the bucket is closed by the one that opened it."""

    async def _purged_at(self, repository: str) -> float:
        moment = self._purged.get(repository)
        if moment is None:
            moment = parse_moment(await self._get(f"again/purged/{repository}/+") or b"")
            self._purged.put(repository, moment, _COST)
        return moment

    async def _get(self, key: str) -> bytes | None:
        try:
            return await self._bucket.get(key)
        except OSError:
            return None

    async def _put_tag(self, repository: str, tag: Tag, entry: TagEntry) -> None:
        value = f"{entry.digest} {entry.validated_at:.3f}".encode()
        if await self._put(_key("tags", repository, tag), value):
            self._written.put((repository, tag), entry, _COST)

    async def _put(self, key: str, value: bytes) -> bool:
        try:
            await self._bucket.put(key, value)
        except OSError as error:
            _log.warning("index.not_written", key=key, error=str(error))
            return False
        return True


def _key(kind: str, repository: str, leaf: str) -> str:
    """`+` is in no repository's name, so no repository's objects are among another one's."""
    return f"again/{kind}/{repository}/+/{leaf}"


def _layer_key(digest: Digest) -> str:
    return f"again/layers/{digest}"


def _decode_layer(value: bytes) -> LayerFacts | None:
    try:
        return LayerFacts.decode(json.loads(value))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DigestInvalid):
        return None


def _encode(grant: Grant) -> bytes:
    return json.dumps([grant.proof, grant.media_type], separators=(",", ":")).encode()


def _decode(value: bytes) -> Grant | None:
    """The grant. Its type becomes a header of ours, so it must be a media type."""
    try:
        match json.loads(value):
            case [str(proof), None]:
                return Grant(Proof(proof))
            case [str(proof), str(media_type)] if is_media_type(media_type):
                return Grant(Proof(proof), media_type)
    except (ValueError, RecursionError):
        pass
    return None
