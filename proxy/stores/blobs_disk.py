"""Blobs, spools and records as files. See `layout` for where they are."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.stores.blocking import in_thread
from proxy.stores.layout import Layout
from proxy.stores.openfile import OpenFile
from proxy.stores.records import RecordFiles
from proxy.stores.spool import DiskSpool, GrowingSpool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.oci.reference import Digest

# Eviction need not know the time of use better than this, in seconds: a write for every read would
# cost more than it is worth.
_TOUCH_EVERY: Final = 3600.0


class DiskBlobs:
    """Content and records below one directory, shared with other processes. Fits BlobStore."""

    __slots__ = ("_layout", "_records")

    def __init__(self, path: Path) -> None:
        """Keep everything below `path`, which is made if need be; OSError if it cannot be."""
        self._layout = Layout(path)
        self._layout.spools.mkdir(parents=True, exist_ok=True)
        self._layout.blobs.mkdir(exist_ok=True)
        self._records = RecordFiles(self._layout)

    async def open(self, digest: Digest) -> OpenFile | None:
        """The blob for reading, or None; it counts as used now."""
        path = self._layout.blob(digest)

        def opened() -> OpenFile | None:
            with suppress(FileNotFoundError):
                file = OpenFile(os.open(path, os.O_RDONLY))
                _touch(file.fileno())
                return file
            return None

        return await in_thread(opened, dropped=OpenFile.close)

    async def size(self, digest: Digest) -> int | None:
        """Its size in bytes, or None; it counts as used now."""
        path = self._layout.blob(digest)

        def measured() -> int | None:
            with suppress(FileNotFoundError):
                return _touch(path).st_size
            return None

        return await in_thread(measured)

    async def delete(self, digest: Digest) -> None:
        """Forget the blob."""
        path = self._layout.blob(digest)
        await in_thread(lambda: path.unlink(missing_ok=True))

    async def spool(self, digest: Digest) -> DiskSpool:
        """The digest's spool; what is in it is read once, to go on hashing."""
        return await in_thread(lambda: DiskSpool(self._layout, digest), dropped=DiskSpool.close)

    async def growing(self, digest: Digest) -> GrowingSpool | None:
        """What another process is writing, or None."""
        return await in_thread(
            lambda: GrowingSpool.at(self._layout, digest),
            dropped=GrowingSpool.close,
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


def _touch(file: int | Path) -> os.stat_result:
    """The file's status; its time of access is now, if that was long ago."""
    status = os.stat(file)  # noqa: PTH116 -- a descriptor has no Path
    if time.time() - status.st_atime > _TOUCH_EVERY:
        # A file that is not ours, or a file system that is read-only, can still be read.
        with suppress(OSError):
            os.utime(file, ns=(time.time_ns(), status.st_mtime_ns))
    return status
