"""Blobs and records in a bucket, and spools as files. See `disk.layout` for the names."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import StoreError
from proxy.stores.bucket.known_objects import KnownObjects
from proxy.stores.bucket.object_blob import ObjectBlob
from proxy.stores.bucket.object_reader import Allowance, ObjectReader
from proxy.stores.bucket.spool import GrowingObject, ObjectSpool
from proxy.stores.disk.health import DiskHealth
from proxy.stores.disk.io import in_store_thread
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.orphans import make_room
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.spool import spool_size
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.ports import Blob
    from proxy.stores.bucket.bucket import Bucket
    from proxy.stores.bucket.known_objects import KnownObject
    from proxy.stores.disk.open_file import OpenFile

_log = structlog.get_logger()

# The read-ahead of all readers of one process, in bytes; see also `object_reader`.
_READ_AHEAD_LIMIT: Final = 32 * 2**20
# Concurrent uploads of one process; each has some parts in memory.
_UPLOADS: Final = 4
_CHUNK: Final = 2**20
# The metadata of a blob's object: the upstream which delivered it, and its size in bytes.
_UPSTREAMS: Final = "lighterage-upstreams"
_SIZE: Final = "lighterage-size"
# An object that is not larger is hashed before a client is sent to it, in bytes.
_SMALL: Final = 8 * 2**20
# The lifetime of a client's URL, in seconds: a slow client must begin its largest layer in it.
_URL_LIFETIME: Final = 1200.0


class ObjectBlobs:
    """Content and records in one bucket, which many proxies may share.

    Fits BlobStorage. Reads from a bucket that fails are misses.
    """

    def __init__(
        self,
        path: Path,
        bucket: Bucket,
        *,
        redirect: bool,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Spools are below `path`, which is created if necessary; OSError if that fails."""
        self._layout = Layout(path)
        self._layout.spools.mkdir(parents=True, exist_ok=True)
        # For blobs of an earlier disk store; this store has none on the disk.
        self._quota = DiskQuota(self._layout, max_size=None)
        self.health = DiskHealth(self._layout)
        self.bucket = bucket
        self._redirect = redirect
        self._allowance = Allowance(_READ_AHEAD_LIMIT)
        self._uploads = asyncio.Semaphore(_UPLOADS)
        self._objects = KnownObjects(clock, wall)

    async def open(self, digest: Digest) -> ObjectBlob | None:
        """Open the blob for reading, or None.

        An object that no proxy has put there is hashed first.
        """
        known = self._objects.recent(digest) or await self._look(digest)
        if known is None:
            return None
        blob = self._blob(digest, known)
        if known.has_our_size or await self._is_right(digest, blob):
            return blob
        blob.close()
        return None

    async def size(self, digest: Digest) -> int | None:
        """The blob's size in bytes, or None."""
        blob = await self.open(digest)
        if blob is None:
            return None
        blob.close()
        return blob.size

    async def url(self, digest: Digest, *, seconds: float | None = None) -> str | None:
        """A URL of a blob that was found; None to serve it ourselves.

        The bucket is asked again: a client gets what is there now. That must have been hashed, or
        be what this process has uploaded.
        """
        if not self._redirect or self._objects.get(digest) is None:
            return None
        known = await self._look(digest)
        if known is None or not await self._is_trusted(digest, known):
            return None
        with suppress(OSError):
            return await self.bucket.url(_key(digest), seconds or _URL_LIFETIME)
        return None

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Do nothing: lifecycle rules go by the age of an object, not by its use."""

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Delete the object if it is damaged; one that has replaced it is looked at again."""
        self._objects.forget(digest)
        known = await self._look(digest)
        if known is None or not isinstance(blob, ObjectBlob) or not blob.damaged:
            return
        self._objects.forget(digest)
        if known.identity == blob.identity:
            await self._delete(digest, blob.size)

    async def upstreams(self, digest: Digest) -> frozenset[str]:
        """The upstream that has delivered the object, as its metadata says; none if it fails."""
        with suppress(OSError):
            if found := await self.bucket.describe(_key(digest)):
                return frozenset(found[1].get(_UPSTREAMS, "").split())
        return frozenset()

    async def credit(self, digest: Digest, upstream: str) -> None:
        """Do nothing: metadata changes only with the whole object."""

    @property
    def stores_on_commit(self) -> bool:
        """No: an upload follows, which may fail."""
        return False

    async def spool(self, upstream: str, digest: Digest) -> ObjectSpool:
        """Open the digest's spool; bytes of an earlier transfer are read once and hashed."""
        return await in_store_thread(
            lambda: ObjectSpool(self._layout, self._quota, upstream, digest, self._upload),
            cleanup=ObjectSpool.close,
        )

    async def has_room(self, upstream: str, digest: Digest, size: int) -> bool:
        """Whether the disk has room to spool `size` bytes."""
        return await in_store_thread(
            lambda: make_room(self._layout, self._quota, upstream, digest, size)
        )

    async def spooled_bytes(self, upstream: str, digest: Digest) -> int:
        """The number of bytes in the digest's spool on this machine; 0 if it cannot be opened."""
        try:
            return await in_store_thread(lambda: spool_size(self._layout, upstream, digest))
        except StoreError as error:
            self.health.record("spool", error)
            return 0

    async def growing(self, upstream: str, digest: Digest) -> GrowingObject | None:
        """The spool that another process of this machine is writing, or None."""
        return await in_store_thread(
            lambda: GrowingObject.at(self._layout, upstream, digest), cleanup=GrowingObject.close
        )

    async def close(self) -> None:
        """Wait for the requests in flight."""
        await self.bucket.close()

    async def _look(self, digest: Digest) -> KnownObject | None:
        """Ask the bucket for the object. One whose size an upload has not recorded is deleted."""
        try:
            found = await self.bucket.describe(_key(digest))
        except OSError:
            return None
        if found is None:
            self._objects.forget(digest)
            return None
        identity, metadata = found
        recorded = metadata.get(_SIZE)
        if recorded is not None and recorded != str(identity.size):
            self._objects.forget(digest)
            await self._delete(digest, identity.size)
            return None
        return self._objects.see(digest, identity, has_our_size=recorded is not None)

    def _blob(self, digest: Digest, known: KnownObject) -> ObjectBlob:
        reader = ObjectReader(
            self.bucket,
            _key(digest),
            known.identity,
            allowance=self._allowance,
            on_missing=lambda: self._objects.forget(digest),
        )
        return ObjectBlob(
            digest,
            reader,
            verified=self._objects.is_verified(known),
            on_verified=lambda: self._objects.verify(digest, known.identity),
        )

    async def _is_right(self, digest: Digest, blob: ObjectBlob) -> bool:
        """Read all of the blob, and say whether it is the digest's; a damaged one is deleted."""
        try:
            await blob.verify()
        except StoreError:
            await self.quarantine(digest, blob)
            return False
        return True

    async def _is_trusted(self, digest: Digest, known: KnownObject) -> bool:
        if self._objects.is_verified(known):
            return True
        if known.identity.size > _SMALL:
            return known.uploaded
        blob = self._blob(digest, known)
        try:
            return await self._is_right(digest, blob)
        finally:
            blob.close()

    async def _delete(self, digest: Digest, size: int) -> None:
        """Delete an object that is not what its digest names."""
        metrics.DAMAGED.labels("read").inc()
        _log.error("blob.damaged", digest=digest, size=size, found_by="read")
        with suppress(OSError):
            await self.bucket.delete(_key(digest))

    async def _upload(self, upstream: str, digest: Digest, file: OpenFile) -> None:
        """Upload the verified `file`; a failure is logged."""
        size = file.size
        metadata = {_UPSTREAMS: upstream, _SIZE: str(size)}
        try:
            async with self._uploads:
                e_tag = await self.bucket.upload(
                    _key(digest), size, _pieces(file, size), metadata=metadata
                )
                found = await self.bucket.describe(_key(digest))
        except (OSError, StoreError) as error:
            _log.error("blob.upload_failed", digest=digest, error=str(error))
            return
        if found is not None and (found[0].e_tag, found[0].size) == (e_tag, size):
            self._objects.upload(digest, found[0])


def _key(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


async def _pieces(file: OpenFile, size: int) -> AsyncIterator[memoryview]:
    offset = 0
    while offset < size:
        piece = await file.read(offset, min(_CHUNK, size - offset))
        if not piece:
            raise OSError("the spool was truncated")
        yield piece
        offset += len(piece)
