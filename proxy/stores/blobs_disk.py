"""The blob store in files: `blobs/`, their `spool/`, and the durable `records/`."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Final

from proxy.stores.reading import OpenFile
from proxy.stores.records_disk import DiskRecords
from proxy.stores.spool import DiskSpool, GrowingFile, open_growing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxy.oci.reference import Digest

# Eviction asks when a blob was last used, and need not know it better than this, in seconds.
_TOUCH_EVERY: Final = 3600.0


class DiskBlobs:
    """Files below one directory, which several processes may share."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._records = DiskRecords(directory / "records")

    async def open(self, digest: Digest) -> OpenFile | None:
        """The blob for reading, now the most recently used one; None if it is not here."""
        return await asyncio.to_thread(self._open, digest)

    def _open(self, digest: Digest) -> OpenFile | None:
        try:
            descriptor = os.open(self._place(digest), os.O_RDONLY)
        except FileNotFoundError:
            return None
        _touch(descriptor)
        return OpenFile(descriptor)

    async def size(self, digest: Digest) -> int | None:
        """Its size in bytes, or None if it is not here."""
        return await asyncio.to_thread(self._size, digest)

    def _size(self, digest: Digest) -> int | None:
        try:
            return self._place(digest).stat().st_size
        except FileNotFoundError:
            return None

    async def delete(self, digest: Digest) -> None:
        """Remove the file; who has it open reads on."""
        await asyncio.to_thread(self._place(digest).unlink, missing_ok=True)

    async def spool(self, digest: Digest) -> DiskSpool:
        """The digest's spool; what is in it already is hashed first."""
        return await asyncio.to_thread(
            DiskSpool, digest, self._spool_path(digest), self._place(digest)
        )

    async def growing(self, digest: Digest) -> GrowingFile | None:
        """What another process is writing."""
        return await asyncio.to_thread(open_growing, self._spool_path(digest), self._place(digest))

    async def record(self, key: str) -> bytes | None:
        """The durable record under `key`."""
        return await asyncio.to_thread(self._records.read, key)

    async def put_records(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep every record; all are on disk when this returns."""
        await asyncio.to_thread(self._records.write, records)

    async def put_new_record(self, key: str, value: bytes) -> bytes:
        """The first writer's record."""
        return await asyncio.to_thread(self._records.write_new, key, value)

    async def delete_record(self, key: str) -> None:
        """Forget the record."""
        await asyncio.to_thread(self._records.delete, key)

    def _place(self, digest: Digest) -> Path:
        return self._directory / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def _spool_path(self, digest: Digest) -> Path:
        return self._directory / "spool" / digest


def _touch(descriptor: int) -> None:
    """Set the access time, which most systems are mounted not to do on a read."""
    found = os.fstat(descriptor)
    if time.time() - found.st_atime > _TOUCH_EVERY:
        os.utime(descriptor, (time.time(), found.st_mtime))
