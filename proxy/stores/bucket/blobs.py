"""Blobs and records in a bucket, and spools as files. See `layout` for what each is called."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.kit.lru import LruCache
from proxy.kit.threads import in_thread
from proxy.stores.bucket.open_blob import Allowance, ObjectBlob
from proxy.stores.bucket.records import RecordObjects
from proxy.stores.bucket.spool import GrowingObject, ObjectSpool
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.orphans import makes_room
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.spool import begun
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.ports import Blob
    from proxy.stores.bucket.bucket import Bucket
    from proxy.stores.disk.open_file import OpenFile

_log = structlog.get_logger()

# A bucket's own rules may remove what nobody told us of: after this, in seconds, it is asked again.
_BELIEVED_FOR: Final = 60.0
_KNOWN_COST: Final = 400
_KNOWN_LIMIT: Final = 4 * 2**20
# What readers of one process may have read ahead, in bytes; see also `object_blob`.
_AHEAD: Final = 32 * 2**20
# Uploads of one process at once; each has some parts in memory.
_UPLOADS: Final = 4
_PIECE: Final = 2**20
# How long a URL for a client is good, in seconds: for a slow client's largest layer to begin.
_URL_LIFE: Final = 1200.0


class ObjectBlobs:
    """Content and records in one bucket, shared with proxies anywhere. Fits BlobStore.

    A bucket that fails has nothing: whoever looks for something there goes on without it.
    """

    def __init__(
        self,
        path: Path,
        bucket: Bucket,
        *,
        redirect: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Spools lie below `path`, which is made if need be; OSError if it cannot be."""
        self._layout = Layout(path)
        self._layout.spools.mkdir(parents=True, exist_ok=True)
        # Of blobs that an earlier store may have left on the disk; ours are not there.
        self._quota = DiskQuota(self._layout, max_size=None)
        self.bucket = bucket
        self._records = RecordObjects(bucket)
        self._redirect = redirect
        self._clock = clock
        self._allowance = Allowance(_AHEAD)
        self._uploads = asyncio.Semaphore(_UPLOADS)
        # Size, and when the bucket was seen to have it.
        self._known: LruCache[Digest, tuple[int, float]] = LruCache(_KNOWN_LIMIT)

    async def open(self, digest: Digest) -> ObjectBlob | None:
        """The blob for reading, or None."""
        size = await self.size(digest)
        if size is None:
            return None
        return ObjectBlob(
            self.bucket,
            _key(digest),
            size,
            allowance=self._allowance,
            gone=lambda: self._known.delete(digest),
        )

    async def size(self, digest: Digest) -> int | None:
        """Its size in bytes, or None."""
        known = self._known.get(digest)
        if known is not None and self._clock() - known[1] < _BELIEVED_FOR:
            return known[0]
        size = None
        with suppress(OSError):
            size = await self.bucket.size(_key(digest))
        if size is None:
            self._known.delete(digest)
        else:
            self._known.put(digest, (size, self._clock()), _KNOWN_COST)
        return size

    async def url(self, digest: Digest) -> str | None:
        """Where a client may fetch what was just found here; None if it is to be read here."""
        if not self._redirect or digest not in self._known:
            return None
        with suppress(OSError):
            return await self.bucket.url(_key(digest), _URL_LIFE)
        return None

    async def touch(self, digests: Iterable[Digest]) -> None:
        """The bucket's rules go by when a blob came, and not by who uses it."""

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Look again whether it is there; remove it from the bucket if it is not what it was."""
        self._known.delete(digest)
        if isinstance(blob, ObjectBlob) and blob.altered:
            metrics.DAMAGED.labels("read").inc()
            _log.error("blob.damaged", digest=digest, size=blob.size, found_by="read")
            await self.bucket.delete(_key(digest))

    async def delete(self, digest: Digest) -> None:
        """Forget the blob."""
        self._known.delete(digest)
        await self.bucket.delete(_key(digest))

    async def spool(self, digest: Digest) -> ObjectSpool:
        """The digest's spool; what is in it is read once, to go on hashing."""
        return await in_thread(
            lambda: ObjectSpool(self._layout, self._quota, digest, self._upload),
            cleanup=ObjectSpool.close,
        )

    async def has_room(self, digest: Digest, size: int) -> bool:
        """Whether the disk has room for so many bytes on their way."""
        return await in_thread(lambda: makes_room(self._layout, self._quota, digest, size))

    async def spooled(self, digest: Digest) -> int:
        """How many bytes of it are in its spool on this machine."""
        return await in_thread(lambda: begun(self._layout, digest))

    async def growing(self, digest: Digest) -> GrowingObject | None:
        """What another process of this machine is writing, or None."""
        return await in_thread(
            lambda: GrowingObject.at(self._layout, digest), cleanup=GrowingObject.close
        )

    async def record(self, key: str) -> bytes | None:
        """The record, or None; ValueError for what cannot be a key."""
        with suppress(OSError):
            return await self._records.get(key)
        return None

    async def put_records(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep them all."""
        await self._records.put(records)

    async def put_new_record(self, key: str, value: bytes) -> bytes:
        """Keep the record unless there is one; whichever is there now."""
        return await self._records.put_new(key, value)

    async def delete_record(self, key: str) -> None:
        """Forget the record."""
        await self._records.delete(key)

    async def close(self) -> None:
        """Let what was asked of the bucket come to its end."""
        await self.bucket.close()

    async def _upload(self, digest: Digest, file: OpenFile) -> None:
        """Have the verified `file` in the bucket, or say why it is not."""
        size = file.size
        try:
            async with self._uploads:
                await self.bucket.upload(_key(digest), size, _pieces(file, size))
        except OSError as error:
            _log.error("blob.not_uploaded", digest=digest, error=str(error))
        else:
            self._known.put(digest, (size, self._clock()), _KNOWN_COST)


def _key(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"


async def _pieces(file: OpenFile, size: int) -> AsyncIterator[memoryview]:
    offset = 0
    while offset < size:
        piece = await file.read(offset, min(_PIECE, size - offset))
        if not piece:
            raise OSError("the spool has become shorter")
        yield piece
        offset += len(piece)
