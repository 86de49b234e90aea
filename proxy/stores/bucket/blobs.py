"""Blobs and records in a bucket, and spools as files. See `disk.layout` for the names."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import StoreError
from proxy.kit.lru import LruCache
from proxy.stores.bucket.open_blob import Allowance, ObjectBlob
from proxy.stores.bucket.spool import GrowingObject, ObjectSpool
from proxy.stores.disk.io import in_store_thread, store_errors
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
    from proxy.stores.disk.open_file import OpenFile

_log = structlog.get_logger()

# Lifecycle rules of a bucket remove objects without notice, so sizes are cached this many seconds.
_SIZE_TTL: Final = 60.0
_SIZE_COST: Final = 400
_SIZES_LIMIT: Final = 4 * 2**20
# The read-ahead of all readers of one process, in bytes; see also `open_blob`.
_READ_AHEAD_LIMIT: Final = 32 * 2**20
# Concurrent uploads of one process; each has some parts in memory.
_UPLOADS: Final = 4
_CHUNK: Final = 2**20
# The metadata of a blob's object that names the upstream which delivered it.
_UPSTREAMS: Final = "lighterage-upstreams"
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
    ) -> None:
        """Spools are below `path`, which is created if necessary; OSError if that fails."""
        self._layout = Layout(path)
        self._layout.spools.mkdir(parents=True, exist_ok=True)
        # For blobs of an earlier disk store; this store has none on the disk.
        self._quota = DiskQuota(self._layout, max_size=None)
        self.bucket = bucket
        self._redirect = redirect
        self._clock = clock
        self._allowance = Allowance(_READ_AHEAD_LIMIT)
        self._uploads = asyncio.Semaphore(_UPLOADS)
        # The size of each blob, and when the bucket last reported it.
        self._sizes: LruCache[Digest, tuple[int, float]] = LruCache(_SIZES_LIMIT)

    async def open(self, digest: Digest) -> ObjectBlob | None:
        """Open the blob for reading, or None."""
        size = await self.size(digest)
        if size is None:
            return None
        return ObjectBlob(
            self.bucket,
            _key(digest),
            size,
            allowance=self._allowance,
            on_missing=lambda: self._sizes.delete(digest),
        )

    async def size(self, digest: Digest) -> int | None:
        """The blob's size in bytes, or None."""
        known = self._sizes.get(digest)
        if known is not None and self._clock() - known[1] < _SIZE_TTL:
            return known[0]
        size = None
        with suppress(OSError):
            size = await self.bucket.size(_key(digest))
        if size is None:
            self._sizes.delete(digest)
        else:
            self._sizes.put(digest, (size, self._clock()), _SIZE_COST)
        return size

    async def url(self, digest: Digest, *, seconds: float | None = None) -> str | None:
        """A URL where clients can fetch a blob whose size is cached; None to serve it ourselves."""
        if not self._redirect or digest not in self._sizes:
            return None
        with suppress(OSError):
            return await self.bucket.url(_key(digest), seconds or _URL_LIFETIME)
        return None

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Do nothing: lifecycle rules go by the age of an object, not by its use."""

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Drop the cached size; delete the object if its size has changed."""
        self._sizes.delete(digest)
        if isinstance(blob, ObjectBlob) and blob.altered:
            metrics.DAMAGED.labels("read").inc()
            _log.error("blob.damaged", digest=digest, size=blob.size, found_by="read")
            with store_errors():
                await self.bucket.delete(_key(digest))

    async def upstreams(self, digest: Digest) -> frozenset[str]:
        """The upstream that has delivered the object, as its metadata says; none if it fails."""
        with suppress(OSError):
            return frozenset((await self.bucket.metadata(_key(digest), _UPSTREAMS) or "").split())
        return frozenset()

    async def credit(self, digest: Digest, upstream: str) -> None:
        """Do nothing: metadata changes only with the whole object."""

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
        """The number of bytes in the digest's spool on this machine."""
        return await in_store_thread(lambda: spool_size(self._layout, upstream, digest))

    async def growing(self, upstream: str, digest: Digest) -> GrowingObject | None:
        """The spool that another process of this machine is writing, or None."""
        return await in_store_thread(
            lambda: GrowingObject.at(self._layout, upstream, digest), cleanup=GrowingObject.close
        )

    async def close(self) -> None:
        """Wait for the requests in flight."""
        await self.bucket.close()

    async def _upload(self, upstream: str, digest: Digest, file: OpenFile) -> None:
        """Upload the verified `file`; a failure is logged."""
        size = file.size
        try:
            async with self._uploads:
                await self.bucket.upload(
                    _key(digest), size, _pieces(file, size), metadata={_UPSTREAMS: upstream}
                )
        except (OSError, StoreError) as error:
            _log.error("blob.upload_failed", digest=digest, error=str(error))
        else:
            self._sizes.put(digest, (size, self._clock()), _SIZE_COST)


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
