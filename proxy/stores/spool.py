"""Blobs on their way in: a file that grows, is verified, and then moves to its place."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid
from proxy.stores.files import make_directory, sync_directory, write_new
from proxy.stores.reading import OpenFile

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.oci.reference import Digest

_PIECE: Final = 1024 * 1024


class DiskSpool:
    """The spool of one digest. Its file is the one that the lease has locked."""

    def __init__(self, digest: Digest, path: Path, place: Path) -> None:
        """Open it; `place` is where the verified blob goes. Blocks: see `open`."""
        self._digest = digest
        self._path = path
        self._place = place
        self._total: int | None = None
        self._hash = digest.hasher()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        self._size = 0
        while piece := os.pread(self._descriptor, _PIECE, self._size):
            self._hash.update(piece)
            self._size += len(piece)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    async def expect(self, total: int) -> None:
        """Announce the whole length to other processes."""
        if total != self._total:
            self._total = total
            await asyncio.to_thread(self._announce, total)

    def _announce(self, total: int) -> None:
        meta = meta_path(self._path)
        write_new(meta, str(total).encode(), durable=False).replace(meta)

    async def append(self, chunk: bytes) -> None:
        """Write and hash; OSError, and as if nothing had happened, if there is no room."""
        await asyncio.to_thread(self._append, chunk)

    def _append(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        at = self._size
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, at)
                rest, at = rest[written:], at + written
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._hash.update(chunk)
        self._size = at

    async def commit(self) -> OpenFile:
        """Verify, flush and move into place; UpstreamInvalid, and gone, if it is wrong."""
        return await asyncio.to_thread(self._commit)

    def _commit(self) -> OpenFile:
        right = self._total in {None, self._size} and self._hash.hexdigest() == self._digest.hex
        if not right:
            self._remove()
            raise UpstreamInvalid(f"the bytes that came are not those that {self._digest} names")
        os.fsync(self._descriptor)
        make_directory(self._place.parent)
        self._path.rename(self._place)
        sync_directory(self._place.parent)
        meta_path(self._path).unlink(missing_ok=True)
        return OpenFile(os.dup(self._descriptor))

    async def restart(self) -> None:
        """Forget every byte."""
        os.ftruncate(self._descriptor, 0)
        self._hash = self._digest.hasher()
        self._size = 0

    async def discard(self) -> None:
        """Remove it."""
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        meta_path(self._path).unlink(missing_ok=True)

    def reader(self) -> OpenFile:
        """A reader that is good as long as it is open, wherever the file goes."""
        return OpenFile(os.dup(self._descriptor))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class GrowingFile(OpenFile):
    """The spool of another process."""

    def __init__(self, descriptor: int, total: int, place: Path) -> None:
        super().__init__(descriptor)
        self._total = total
        self._place = place

    @property
    def total(self) -> int:
        """What the writer announced, in bytes."""
        return self._total

    async def current_size(self) -> int:
        """How many bytes are there now."""
        return os.fstat(self.descriptor).st_size

    async def verified(self) -> bool:
        """Whether the writer has moved this file into its place."""
        with suppress(OSError):
            return os.fstat(self.descriptor).st_ino == self._place.stat().st_ino
        return False


def open_growing(path: Path, place: Path) -> GrowingFile | None:
    """What another process is writing at `path`, or None before it has announced a length."""
    try:
        total = int(meta_path(path).read_bytes())
        return GrowingFile(os.open(path, os.O_RDONLY), total, place)
    except (OSError, ValueError):
        return None


def meta_path(spool: Path) -> Path:
    """Where the length is announced."""
    return spool.with_name(spool.name + ".meta")
