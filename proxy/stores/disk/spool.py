"""Spools: blobs being fetched, written by the holder of the lease and read by any process."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import UpstreamInvalid
from proxy.stores.disk.fsync_batch import FsyncBatch
from proxy.stores.disk.io import in_store_thread, store_errors
from proxy.stores.disk.open_file import OpenFile
from proxy.stores.disk.upstreams import read_upstreams, write_upstreams
from proxy.stores.disk.verified_stamp import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.quota import DiskQuota

# Bytes per read when the content of an earlier transfer is hashed.
_CHUNK: Final = 2**20


class DiskSpool:
    """The writer of a spool. Fits Spool.

    Its file is never replaced, because the lease is a lock on it and readers have it open. Before
    bytes that readers may have read become invalid, the announcement is emptied.
    """

    __slots__ = (
        *("_digest", "_expected", "_file", "_hash", "_layout", "_quota", "_size", "_upstream"),
    )

    def __init__(self, layout: Layout, quota: DiskQuota, upstream: str, digest: Digest) -> None:
        """Open the spool, and hash the content of an earlier transfer. Blocks."""
        self._layout = layout
        self._quota = quota
        self._upstream = upstream
        self._digest = digest
        self._expected: int | None = None
        self._hash = digest.hasher()
        self._size = 0
        path = layout.spool(upstream, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = OpenFile(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            self._read_back()
        except BaseException:
            self._file.close()
            raise

    @property
    def size(self) -> int:
        """Bytes written and hashed so far."""
        return self._size

    async def expect(self, total: int) -> None:
        """Announce the expected length; a change of it fails earlier readers."""
        await in_store_thread(lambda: self._expect(total))

    async def append(self, chunk: bytes) -> None:
        """Write and hash `chunk`; after a StoreError the spool is unchanged."""
        await in_store_thread(lambda: self._append(chunk))

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are what the digest names."""
        return self._hash.hexdigest() == self._digest.hex

    async def commit(self) -> OpenFile:
        """Verify, fsync and rename into place, after eviction if necessary.

        UpstreamInvalid if the digest does not match, and the spool is removed. StoreError if the
        blob is larger than the quota.
        """
        return await in_store_thread(self._commit, cleanup=OpenFile.close)

    async def persist(self) -> None:
        """Do nothing: the committed file is the stored blob."""

    async def restart(self) -> None:
        """Drop all bytes."""
        await in_store_thread(self._restart)

    async def discard(self) -> None:
        """Remove the spool."""
        await in_store_thread(self._remove)

    def reader(self) -> OpenFile:
        """Open the spool's file for reading."""
        with store_errors():
            return self._file.duplicate()

    def close(self) -> None:
        """Close the file; the spool stays for a later transfer, unless it is empty."""
        if self._size == 0 and self._expected is not None:
            self._retract()
        self._file.close()

    def _read_back(self) -> None:
        buffer = bytearray(_CHUNK if self._file.size else 0)
        while count := os.preadv(self._file.fileno(), [buffer], self._size):
            self._hash.update(memoryview(buffer)[:count])
            self._size += count

    def _expect(self, total: int) -> None:
        self._expected = total
        path = self._layout.announcement(self._upstream, self._digest)
        length = str(total).encode()
        with suppress(FileNotFoundError):
            if path.read_bytes() == length:
                return
            self._retract()
        temporary = self._layout.temporary()
        temporary.write_bytes(length)
        temporary.rename(path)

    def _append(self, chunk: bytes) -> None:
        rest, offset = memoryview(chunk), self._size
        try:
            while rest:
                written = os.pwrite(self._file.fileno(), rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError:
            os.ftruncate(self._file.fileno(), self._size)
            raise
        self._hash.update(chunk)
        self._size = offset

    def _verify(self) -> None:
        if self._expected not in {None, self._size} or not self.matches:
            self._remove()
            raise UpstreamInvalid(
                f"the {self._size} bytes that the upstream sent are not {self._digest}"
            )

    def _commit(self) -> OpenFile:
        self._verify()
        stamp(self._file)
        os.fsync(self._file.fileno())
        path = self._layout.blob(self._digest)
        write_upstreams(self._file.fileno(), read_upstreams(path) | {self._upstream})
        batch = FsyncBatch()
        batch.prepare(path)
        self._quota.put(self._file, self._layout.spool(self._upstream, self._digest), path)
        batch.flush()
        self._layout.announcement(self._upstream, self._digest).unlink(missing_ok=True)
        return self._file.duplicate()

    def _restart(self) -> None:
        self._retract()
        os.ftruncate(self._file.fileno(), 0)
        self._hash = self._digest.hasher()
        self._size = 0

    def _remove(self) -> None:
        self._retract()
        self._layout.spool(self._upstream, self._digest).unlink(missing_ok=True)

    def _retract(self) -> None:
        retract(self._layout.announcement(self._upstream, self._digest))


def spool_size(layout: Layout, upstream: str, digest: Digest) -> int:
    """The number of bytes in the spool of a blob from an upstream; 0 if there is none. Blocks."""
    with suppress(FileNotFoundError):
        return layout.spool(upstream, digest).stat().st_size
    return 0


def retract(announcement: Path) -> None:
    """Remove the announcement; truncating it first tells readers that the transfer failed."""
    with suppress(FileNotFoundError):
        os.truncate(announcement, 0)
        announcement.unlink()


class GrowingSpool:
    """A spool that another process writes, for reading. Fits Growing."""

    __slots__ = ("_announcement", "_blob", "_file", "total")

    def __init__(self, file: OpenFile, announcement: OpenFile, total: int, blob: Path) -> None:
        """Take ownership of both files; `blob` is the path of the complete blob."""
        self._file = file
        self._announcement = announcement
        self._blob = blob
        self.total = total

    @staticmethod
    def parse_length(content: bytes) -> int | None:
        """Parse the length in an announcement; None if it is not complete."""
        return int(content) if content.isdigit() else None

    @classmethod
    def at(cls, layout: Layout, upstream: str, digest: Digest) -> Self | None:
        """Open the spool of `digest`; None if its length is not announced. Blocks."""
        with suppress(FileNotFoundError):
            path = layout.spool(upstream, digest)
            file = OpenFile(os.open(path, os.O_RDONLY))
            try:
                announcement = OpenFile(os.open(layout.announcement(upstream, digest), os.O_RDONLY))
            except BaseException:
                file.close()
                raise
            total = cls.parse_length(os.pread(announcement.fileno(), announcement.size, 0))
            # Both belong together only if the spool has not been replaced in between.
            if total is not None and file.is_at(path):
                return cls(file, announcement, total, layout.blob(digest))
            file.close()
            announcement.close()
        return None

    async def size(self) -> int:
        """The number of bytes; UpstreamInvalid if earlier bytes have become invalid."""
        with store_errors():
            self._require_announcement()
            return self._file.size

    async def verified(self) -> bool:
        """Whether this file has become the blob; UpstreamInvalid if the transfer failed."""
        with store_errors():
            verified = self._file.is_at(self._blob)
            self._require_announcement()
        return verified

    async def read(self, offset: int, length: int) -> memoryview:
        """Read at most `length` bytes from `offset`."""
        return await self._file.read(offset, length)

    def close(self) -> None:
        """Close both files."""
        self._announcement.close()
        self._file.close()

    def _require_announcement(self) -> None:
        if self._announcement.size == 0:
            raise UpstreamInvalid("another process received bytes that do not match the digest")
