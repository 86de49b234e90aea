"""A blob on its way to the disk: written by whoever holds its lease, read by anybody."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import UpstreamInvalid
from proxy.kit.threads import in_thread
from proxy.stores.disk.fsync_batch import FsyncBatch
from proxy.stores.disk.open_file import OpenFile
from proxy.stores.disk.verified_stamp import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.quota import DiskQuota

# How much of an earlier holder's bytes is read and hashed at a time.
_PIECE: Final = 2**20


class DiskSpool:
    """The one writer of a spool. Fits Spool.

    Its file is never exchanged for another one: the lease is a lock on it, and readers have it
    open. Whatever makes the bytes that they have read untrue empties the announcement first.
    """

    __slots__ = ("_digest", "_expected", "_file", "_hash", "_layout", "_quota", "_size")

    def __init__(self, layout: Layout, quota: DiskQuota, digest: Digest) -> None:
        """Open the spool, and hash what an earlier holder left in it. Blocks."""
        self._layout = layout
        self._quota = quota
        self._digest = digest
        self._expected: int | None = None
        self._hash = digest.hasher()
        self._size = 0
        self._file = OpenFile(os.open(layout.spool(digest), os.O_RDWR | os.O_CREAT, 0o666))
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
        """Announce the whole length; a different one than before disappoints earlier readers."""
        await in_thread(lambda: self._expect(total))

    async def append(self, chunk: bytes) -> None:
        """Write and hash `chunk`; after an OSError the spool is as it was before."""
        await in_thread(lambda: self._append(chunk))

    async def commit(self) -> OpenFile:
        """Verify, flush, rename into place; UpstreamInvalid, and gone, if it is not the blob.

        Others make room for it: OSError if the store may not have so much.
        """
        return await in_thread(self._commit, cleanup=OpenFile.close)

    async def persist(self) -> None:
        """It is where it stays."""

    async def restart(self) -> None:
        """Forget every byte."""
        await in_thread(self._restart)

    async def discard(self) -> None:
        """Remove it."""
        await in_thread(self._remove)

    def reader(self) -> OpenFile:
        """The same file, for reading."""
        return self._file.duplicate()

    def close(self) -> None:
        """Let go of it, and leave it where it is; of one with nothing in it nothing is left."""
        if self._size == 0 and self._expected is not None:
            self._retract()
        self._file.close()

    def _read_back(self) -> None:
        buffer = bytearray(_PIECE if self._file.size else 0)
        while count := os.preadv(self._file.fileno(), [buffer], self._size):
            self._hash.update(memoryview(buffer)[:count])
            self._size += count

    def _expect(self, total: int) -> None:
        self._expected = total
        path = self._layout.announcement(self._digest)
        announced = str(total).encode()
        with suppress(FileNotFoundError):
            if path.read_bytes() == announced:
                return
            self._retract()
        temporary = self._layout.temporary()
        temporary.write_bytes(announced)
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
        if self._expected not in {None, self._size} or self._hash.hexdigest() != self._digest.hex:
            self._remove()
            raise UpstreamInvalid(
                f"the {self._size} bytes that the upstream sent are not {self._digest}"
            )

    def _commit(self) -> OpenFile:
        self._verify()
        stamp(self._file)
        os.fsync(self._file.fileno())
        path = self._layout.blob(self._digest)
        batch = FsyncBatch()
        batch.prepare(path)
        self._quota.put(self._file, self._layout.spool(self._digest), path)
        batch.flush()
        self._layout.announcement(self._digest).unlink(missing_ok=True)
        return self._file.duplicate()

    def _restart(self) -> None:
        self._retract()
        os.ftruncate(self._file.fileno(), 0)
        self._hash = self._digest.hasher()
        self._size = 0

    def _remove(self) -> None:
        self._retract()
        self._layout.spool(self._digest).unlink(missing_ok=True)

    def _retract(self) -> None:
        retract(self._layout.announcement(self._digest))


def begun(layout: Layout, digest: Digest) -> int:
    """How many bytes of the blob are in its spool; 0 if there is none. Blocks."""
    with suppress(FileNotFoundError):
        return layout.spool(digest).stat().st_size
    return 0


def retract(announcement: Path) -> None:
    """Remove it, and tell whoever has it open that what they follow will never be the blob."""
    with suppress(FileNotFoundError):
        os.truncate(announcement, 0)
        announcement.unlink()


class GrowingSpool:
    """Somebody else's spool, read from outside. Fits Growing."""

    __slots__ = ("_announcement", "_blob", "_file", "total")

    def __init__(self, file: OpenFile, announcement: OpenFile, total: int, blob: Path) -> None:
        """Own both files; `blob` is where the spool will be in the end."""
        self._file = file
        self._announcement = announcement
        self._blob = blob
        self.total = total

    @staticmethod
    def announced(content: bytes) -> int | None:
        """The length that an announcement states, or None if it is not complete."""
        return int(content) if content.isdigit() else None

    @classmethod
    def at(cls, layout: Layout, digest: Digest) -> Self | None:
        """The spool of `digest`, or None if nobody has announced its length. Blocks."""
        with suppress(FileNotFoundError):
            path = layout.spool(digest)
            file = OpenFile(os.open(path, os.O_RDONLY))
            try:
                announcement = OpenFile(os.open(layout.announcement(digest), os.O_RDONLY))
            except BaseException:
                file.close()
                raise
            total = cls.announced(os.pread(announcement.fileno(), announcement.size, 0))
            # Both belong together only if the spool has not been exchanged between the two.
            if total is not None and file.is_at(path):
                return cls(file, announcement, total, layout.blob(digest))
            file.close()
            announcement.close()
        return None

    async def size(self) -> int:
        """Bytes there are; UpstreamInvalid if those that were there before are so no more."""
        self._require_announcement()
        return self._file.size

    async def verified(self) -> bool:
        """Whether this very file has become the blob; UpstreamInvalid if it never can."""
        verified = self._file.is_at(self._blob)
        self._require_announcement()
        return verified

    async def read(self, offset: int, length: int) -> memoryview:
        """At most `length` bytes from `offset`."""
        return await self._file.read(offset, length)

    def close(self) -> None:
        """Let go of the file."""
        self._announcement.close()
        self._file.close()

    def _require_announcement(self) -> None:
        if self._announcement.size == 0:
            raise UpstreamInvalid("what another process received of this blob was not the blob")
