"""Blobs, spools and records as files. See `layout` for where they are."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.kit.threads import in_thread
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.open_file import OpenFile, WholeFile
from proxy.stores.disk.orphans import makes_room
from proxy.stores.disk.quarantine import quarantine_blob
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.records import RecordFiles
from proxy.stores.disk.spool import DiskSpool, GrowingSpool, begun
from proxy.stores.disk.verified_stamp import VerifiedStamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.ports import Blob


class DiskBlobs:
    """Content and records below one directory, shared with other processes. Fits BlobStore."""

    __slots__ = ("_layout", "_quota", "_records")

    def __init__(self, path: Path, *, max_size: int | None = None) -> None:
        """Keep everything below `path`, which is made if need be; OSError if it cannot be.

        The blobs take at most `max_size` bytes: for a new one those go that were not used longest.
        """
        self._layout = Layout(path)
        self._layout.spools.mkdir(parents=True, exist_ok=True)
        self._layout.blobs.mkdir(exist_ok=True)
        self._quota = DiskQuota(self._layout, max_size=max_size)
        self._records = RecordFiles(self._layout)

    async def open(self, digest: Digest) -> OpenFile | None:
        """The blob for reading, or None; it counts as used now. A short one is put aside."""
        return await in_thread(lambda: self._opened(digest), cleanup=OpenFile.close)

    async def size(self, digest: Digest) -> int | None:
        """Its size in bytes, or None; it counts as used now."""

        def measured() -> int | None:
            file = self._opened(digest)
            if file is None:
                return None
            try:
                return file.size
            finally:
                file.close()

        return await in_thread(measured)

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Those that are here count as used now."""
        paths = [self._layout.blob(digest) for digest in digests]

        def touch() -> None:
            for path in paths:
                with suppress(FileNotFoundError):
                    self._touch(path)

        await in_thread(touch)

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Put aside the file that was read, unless another one has its place already."""
        if not isinstance(blob, OpenFile):
            raise TypeError(blob)
        await in_thread(
            lambda: quarantine_blob(self._layout, self._quota, digest, blob, found_by="read")
        )

    async def url(self, _digest: Digest) -> None:
        """Nobody else can read it."""

    async def delete(self, digest: Digest) -> None:
        """Forget the blob."""
        path = self._layout.blob(digest)
        await in_thread(lambda: self._quota.take_away(path, path.unlink, still=lambda: True))

    async def spool(self, digest: Digest) -> DiskSpool:
        """The digest's spool; what is in it is read once, to go on hashing."""
        return await in_thread(
            lambda: DiskSpool(self._layout, self._quota, digest), cleanup=DiskSpool.close
        )

    async def has_room(self, digest: Digest, size: int) -> bool:
        """Whether the disk has room for so many bytes, if need be in place of older blobs.

        What was begun and nobody goes on with makes room before them.
        """
        return await in_thread(lambda: makes_room(self._layout, self._quota, digest, size))

    async def spooled(self, digest: Digest) -> int:
        """How many bytes of it are in its spool."""
        return await in_thread(lambda: begun(self._layout, digest))

    async def growing(self, digest: Digest) -> GrowingSpool | None:
        """What another process is writing, or None."""
        return await in_thread(
            lambda: GrowingSpool.at(self._layout, digest),
            cleanup=GrowingSpool.close,
        )

    async def record(self, key: str) -> bytes | None:
        """The record, or None; ValueError for what cannot be a key."""
        return await in_thread(lambda: self._records.get(key))

    async def put_records(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep them all, in one thread and with one flush for each directory."""
        await in_thread(lambda: self._records.put(records))

    async def put_new_record(self, key: str, value: bytes) -> bytes:
        """Keep the record unless there is one; whichever is there now."""
        return await in_thread(lambda: self._records.put_new(key, value))

    async def delete_record(self, key: str) -> None:
        """Forget the record."""
        await in_thread(lambda: self._records.delete(key))

    def _opened(self, digest: Digest) -> OpenFile | None:
        try:
            descriptor = os.open(self._layout.blob(digest), os.O_RDONLY)
        except FileNotFoundError:
            return None
        file = WholeFile(descriptor, os.fstat(descriptor).st_size)
        stamp = VerifiedStamp.of(file)
        if stamp is not None and stamp.size != file.size:
            # If it cannot be moved, what is fetched now takes its place.
            with suppress(OSError):
                quarantine_blob(self._layout, self._quota, digest, file, found_by="read")
            file.close()
            return None
        self._touch(file.fileno())
        return file

    def _touch(self, file: int | Path) -> None:
        """Note that it is used now, if what is noted is too old to be good enough."""
        now = time.time()
        if now - os.stat(file).st_mtime > self._quota.touch_every():  # noqa: PTH116 -- may be a descriptor
            # A file that is not ours, or a file system that is read-only, can still be read.
            with suppress(OSError):
                os.utime(file, (now, now))
