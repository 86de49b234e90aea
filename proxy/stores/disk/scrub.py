"""The scrub: it verifies stored blobs, to find damage before a client requests them."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from proxy.kit.threads import in_thread
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.leases import try_lock
from proxy.stores.disk.open_file import OpenFile
from proxy.stores.disk.quarantine import quarantine_blob
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.stored_blob import digest_of
from proxy.stores.disk.verified_stamp import VerifiedStamp, stamp

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_log = structlog.get_logger()

# Bytes per read.
_CHUNK: Final = 2**20


class Scrub:
    """Verifies the blobs and manifests below one directory, which may be in use."""

    __slots__ = ("_layout", "_quota")

    def __init__(self, path: Path) -> None:
        """Prepare a scrub of `path`; nothing is read yet."""
        self._layout = Layout(path)
        self._quota = DiskQuota(self._layout, max_size=None)

    def blobs(self, *, before: float) -> list[Path]:
        """The blobs last verified before `before`, in seconds since 1970. Blocks."""
        return [blob.path for blob in self._quota.blobs() if _verified_at(blob.path) < before]

    def verify(self, path: Path) -> Generator[int, None, bool]:
        """Read one blob; yields the bytes of each read, and returns whether the blob is good.

        A damaged blob is quarantined. A blob that was removed meanwhile counts as good. Blocks.
        OSError if a damaged one cannot be moved.
        """
        digest = digest_of(path)
        try:
            file = OpenFile(os.open(path, os.O_RDONLY))
        except FileNotFoundError:
            return True
        with closing(file):
            # Verification should not evict files that clients read from the page cache.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_NOREUSE)
            hasher, offset = digest.hasher(), 0
            try:
                while piece := os.pread(file.fileno(), _CHUNK, offset):
                    hasher.update(piece)
                    offset += len(piece)
                    yield len(piece)
            except OSError as error:
                _log.error("blob.unreadable", digest=digest, offset=offset, reason=str(error))
            else:
                if hasher.hexdigest() == digest.hex:
                    stamp(file)
                    return True
            quarantine_blob(self._layout, self._quota, digest, file, found_by="scrub")
        return False

    async def verify_due(self, *, every: float, rate: int, lock: Path) -> None:
        """Verify the blobs not verified for `every` seconds, at `rate` bytes a second.

        The process that holds `lock` does it. It stops if the file system cannot store the time of
        verification, as it would verify all blobs again and again. OSError.
        """
        lock_file = try_lock(lock)
        if lock_file is not None:
            with closing(lock_file):
                await self._pass(time.time() - every, rate)

    async def _pass(self, before: float, rate: int) -> None:
        for path in await in_thread(lambda: self.blobs(before=before)):
            steps = self.verify(path)
            step = partial(next, steps, 0)
            while count := await in_thread(step):  # noqa: ASYNC110 -- nothing is waited for
                await asyncio.sleep(count / rate)
            if path.exists() and _verified_at(path) == 0.0:
                _log.info("scrub.stamp_failed", path=str(path))
                return


def _verified_at(path: Path) -> float:
    """When the blob was last verified, in seconds since 1970; 0 if unknown."""
    try:
        with closing(OpenFile(os.open(path, os.O_RDONLY))) as file:
            found = VerifiedStamp.of(file)
    except FileNotFoundError:
        return time.time()
    return found.verified_at if found is not None else 0.0
