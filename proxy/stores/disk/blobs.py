"""Blobs, spools and records as files. See `layout` for where they are."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.errors import StoreError
from proxy.stores.disk.health import DiskHealth
from proxy.stores.disk.io import in_store_thread
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.open_file import OpenFile, WholeFile
from proxy.stores.disk.orphans import make_room, remove_if_unlocked
from proxy.stores.disk.quarantine import quarantine_blob
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.spool import DiskSpool, GrowingSpool, spool_size
from proxy.stores.disk.upstreams import read_upstreams, write_upstreams
from proxy.stores.disk.verified_stamp import VerifiedStamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.ports import Blob

# Many blobs are touched so many at once, with a pause of so many seconds in between.
_TOUCHES_AT_ONCE: Final = 16
_PAUSE: Final = 0.0005


class DiskBlobs:
    """Content and records below one directory, shared with other processes.

    Fits BlobStorage.
    """

    __slots__ = ("_layout", "_quota", "health")

    def __init__(self, path: Path, *, max_size: int | None = None) -> None:
        """Keep everything below `path`, which is created if necessary; OSError if that fails.

        The blobs take at most `max_size` bytes: beyond that the least recently used are evicted.
        """
        self._layout = Layout(path)
        self._layout.spools.mkdir(parents=True, exist_ok=True)
        self._layout.blobs.mkdir(exist_ok=True)
        self.health = DiskHealth(self._layout)
        self._quota = DiskQuota(self._layout, max_size=max_size)

    async def open(self, digest: Digest) -> OpenFile | None:
        """Open the blob and update its time of use; None if it is missing, or cannot be opened.

        A truncated file is quarantined and counts as missing.
        """
        try:
            return await in_store_thread(lambda: self._open_file(digest), cleanup=OpenFile.close)
        except StoreError as error:
            self.health.record("open", error)
            return None

    async def size(self, digest: Digest) -> int | None:
        """The blob's size in bytes, or None; updates its time of use."""
        file = await self.open(digest)
        if file is None:
            return None
        file.close()
        return file.size

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Update the time of use of the blobs that are stored."""

        def touch() -> None:
            for number, digest in enumerate(digests, 1):
                if number % _TOUCHES_AT_ONCE == 0:
                    # On a busy core a thread keeps the interpreter between short system calls.
                    time.sleep(_PAUSE)
                # What cannot be read counts as a miss when it is asked for.
                with suppress(OSError):
                    self._touch(self._layout.blob_name(digest))

        await in_store_thread(touch)

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Quarantine the file that was read, unless it has been replaced meanwhile."""
        if not isinstance(blob, OpenFile):
            raise TypeError(blob)
        await in_store_thread(
            lambda: quarantine_blob(self._layout, self._quota, digest, blob, found_by="read")
        )

    async def remove(self, digest: Digest) -> bool:
        """Remove the blob, what has arrived of it, and what is in quarantine."""

        def work() -> bool:
            path = self._layout.blob(digest)
            self._layout.quarantine_file(digest).unlink(missing_ok=True)
            for spool in self._layout.spools.glob(f"*/{digest}"):
                remove_if_unlocked(spool)
            return self._quota.remove(path, path.unlink, is_current=lambda: True)

        return await in_store_thread(work)

    async def url(self, _digest: Digest, *, seconds: float | None = None) -> None:
        """None: files cannot be read by URL."""

    async def upstreams(self, digest: Digest) -> frozenset[str]:
        """The upstreams that have delivered the stored blob, as its file says."""
        return await in_store_thread(lambda: read_upstreams(self._layout.blob(digest)))

    async def credit(self, digest: Digest, upstream: str) -> None:
        """Add an upstream to those of the stored blob's file."""
        path = self._layout.blob(digest)
        await in_store_thread(lambda: write_upstreams(path, read_upstreams(path) | {upstream}))

    @property
    def stores_on_commit(self) -> bool:
        """Yes: the committed file is the stored blob."""
        return True

    async def spool(self, upstream: str, digest: Digest) -> DiskSpool:
        """Open the digest's spool; bytes of an earlier transfer are read once and hashed."""
        return await in_store_thread(
            lambda: DiskSpool(self._layout, self._quota, upstream, digest), cleanup=DiskSpool.close
        )

    async def has_room(self, upstream: str, digest: Digest, size: int) -> bool:
        """Whether the disk has room for `size` bytes, after eviction if necessary.

        Orphaned spools are removed before blobs are evicted. StoreError if the blob's directory
        cannot be written: that is better known before a client is told that the blob is stored.
        """

        def work() -> bool:
            self._require_writable(digest)
            return make_room(self._layout, self._quota, upstream, digest, size)

        return await in_store_thread(work)

    async def spooled_bytes(self, upstream: str, digest: Digest) -> int:
        """The number of bytes in the digest's spool; 0 if it cannot be opened."""
        try:
            return await in_store_thread(lambda: spool_size(self._layout, upstream, digest))
        except StoreError as error:
            self.health.record("spool", error)
            return 0

    async def growing(self, upstream: str, digest: Digest) -> GrowingSpool | None:
        """The spool that another process is writing, or None."""
        return await in_store_thread(
            lambda: GrowingSpool.at(self._layout, upstream, digest),
            cleanup=GrowingSpool.close,
        )

    def _open_file(self, digest: Digest) -> OpenFile | None:
        try:
            # Opening a pipe waits for its writer otherwise.
            descriptor = os.open(self._layout.blob(digest), os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        status = os.fstat(descriptor)
        file = WholeFile(descriptor, status.st_size)
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise OSError(f"{self._layout.blob(digest)} is no file")
        stamp = VerifiedStamp.of(file)
        if stamp is not None and stamp.size != file.size:
            # If it cannot be moved, the blob that is fetched now replaces it.
            with suppress(OSError):
                quarantine_blob(self._layout, self._quota, digest, file, found_by="read")
            file.close()
            return None
        self._touch(file.fileno())
        return file

    def _require_writable(self, digest: Digest) -> None:
        """OSError if the blob's directory cannot be written, or made."""
        parents = self._layout.blob(digest).parents
        folder = next(each for each in parents if os.path.lexists(each))
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(f"{folder} cannot be written")

    def _touch(self, file: int | str) -> None:
        """Update the time of use, unless it is recent enough."""
        now = time.time()
        if now - os.stat(file).st_mtime > self._quota.touch_interval():  # noqa: PTH116 -- may be a descriptor
            # The file may belong to another user, or the file system may be read-only.
            with suppress(OSError):
                os.utime(file, (now, now))
