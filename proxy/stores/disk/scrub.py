"""Reading all that is stored, to find what the disk has changed before somebody asks for it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import DigestInvalid
from proxy.kit.threads import in_thread
from proxy.oci.packed import unpack
from proxy.oci.reference import Digest
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.leases import locked
from proxy.stores.disk.open_file import OpenFile
from proxy.stores.disk.quarantine import quarantine_blob
from proxy.stores.disk.quota import DiskQuota, digest_of
from proxy.stores.disk.verified_stamp import VerifiedStamp, stamp

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_log = structlog.get_logger()

# How much is read at a time.
_PIECE: Final = 2**20


class Scrub:
    """Verifies what is below one directory, which others use meanwhile."""

    __slots__ = ("_layout", "_quota")

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self._layout = Layout(path)
        self._quota = DiskQuota(self._layout, max_size=None)

    def blobs(self, *, before: float) -> list[Path]:
        """The blobs that were not verified since `before`, a time in seconds since 1970. Blocks."""
        return [blob.path for blob in self._quota.blobs() if _verified_at(blob.path) < before]

    def verify(self, path: Path) -> Generator[int, None, bool]:
        """Read one blob: bytes, piece by piece, and in the end whether it is as it should be.

        If not, it is put aside. One that has gone meanwhile is as it should be. Blocks. OSError if
        a damaged one cannot be moved.
        """
        digest = digest_of(path)
        try:
            file = OpenFile(os.open(path, os.O_RDONLY))
        except FileNotFoundError:
            return True
        with closing(file):
            # What is only verified should not push out what clients read.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_NOREUSE)
            hashed, offset = digest.hasher(), 0
            try:
                while piece := os.pread(file.fileno(), _PIECE, offset):
                    hashed.update(piece)
                    offset += len(piece)
                    yield len(piece)
            except OSError as error:
                _log.error("blob.unreadable", digest=digest, offset=offset, reason=str(error))
            else:
                if hashed.hexdigest() == digest.hex:
                    stamp(file)
                    return True
            quarantine_blob(self._layout, self._quota, digest, file, found_by="scrub")
        return False

    def manifests(self) -> Iterator[tuple[Digest, bool]]:
        """Each manifest, and whether its record is good; a bad one is as good as none. Blocks."""
        for path in self._layout.manifests():
            with suppress(FileNotFoundError, IsADirectoryError, DigestInvalid):
                digest = Digest(path.name)
                yield digest, unpack(digest, path.read_bytes()) is not None

    async def verify_due(self, *, every: float, rate: int, lock: Path) -> None:
        """Verify each blob that was not verified for `every` seconds, at `rate` bytes a second.

        In one process at a time, as `lock` says. Nothing happens where it cannot be noted when a
        blob was verified: it would be all of them again and again. OSError.
        """
        turn = locked(lock)
        if turn is not None:
            with closing(turn):
                await self._pass(time.time() - every, rate)

    async def _pass(self, before: float, rate: int) -> None:
        for path in await in_thread(lambda: self.blobs(before=before)):
            steps = self.verify(path)
            step = partial(next, steps, 0)
            while count := await in_thread(step):  # noqa: ASYNC110 -- nothing is waited for
                await asyncio.sleep(count / rate)
            if path.exists() and _verified_at(path) == 0.0:
                _log.info("scrub.not_noted", path=str(path))
                return


def _verified_at(path: Path) -> float:
    """When it was verified last, in seconds since 1970; 0 if that is not known."""
    try:
        with closing(OpenFile(os.open(path, os.O_RDONLY))) as file:
            found = VerifiedStamp.of(file)
    except FileNotFoundError:
        return time.time()
    return found.verified_at if found is not None else 0.0
