"""Keeping the disk tidy: blobs that were not used for longest go, and what nobody finished.

Manifests, records and spools that are being written are never touched.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.stores.files import TEMPORARY
from proxy.stores.spool import meta_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Down to this part of the limit, so that not every new blob needs a sweep of its own.
_LOW_WATER: Final = 0.9
# A spool that nobody writes is worth resuming for so long, in seconds.
_ORPHANED: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Held:
    """A blob on disk: its size in bytes, and when it was last used (seconds since 1970)."""

    path: Path
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed."""

    freed: int = 0
    blobs: int = 0
    spools: int = 0


def superfluous(held: Iterable[Held], limit: int) -> list[Held]:
    """What to remove so that the rest fits: nothing below `limit` bytes, else to 90 % of it."""
    by_use = sorted(held, key=lambda blob: blob.used)
    total = sum(blob.size for blob in by_use)
    if total <= limit:
        return []
    doomed = []
    for blob in by_use:
        if total <= limit * _LOW_WATER:
            break
        doomed.append(blob)
        total -= blob.size
    return doomed


class Janitor:
    """Sweeps one directory, if no other process is doing it."""

    def __init__(self, directory: Path, *, lock: Path, max_size: int) -> None:
        """`max_size` is for all blobs together, in bytes."""
        self._directory = directory
        self._lock = lock
        self._max_size = max_size

    async def sweep(self) -> Swept:
        """Remove what is too much; nothing while another process sweeps. OSError if it fails."""
        return await asyncio.to_thread(self._sweep)

    def _sweep(self) -> Swept:
        with _exclusively(self._lock) as alone:
            if not alone:
                return Swept()
            doomed = superfluous(self._held(), self._max_size)
            for blob in doomed:
                blob.path.unlink(missing_ok=True)
            return Swept(
                freed=sum(blob.size for blob in doomed),
                blobs=len(doomed),
                spools=self._sweep_spools(time.time() - _ORPHANED),
            )

    def _held(self) -> Iterator[Held]:
        for path in (self._directory / "blobs").glob("*/*/*"):
            with suppress(FileNotFoundError):
                found = path.stat()
                # What the blob takes on disk, not what it says.
                used = max(found.st_atime, found.st_mtime)
                yield Held(path, found.st_blocks * 512, used)

    def _sweep_spools(self, before: float) -> int:
        spool = self._directory / "spool"
        removed = 0
        for path in spool.iterdir() if spool.is_dir() else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime > before or path.suffix == ".meta":
                    continue
                with _exclusively(path) as orphaned:
                    if orphaned:
                        path.unlink()
                        meta_path(path).unlink(missing_ok=True)
                        removed += not path.name.startswith(TEMPORARY)
        return removed


@contextmanager
def _exclusively(path: Path) -> Iterator[bool]:
    """Whether nobody else has the lock on `path`; held until the end if so."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
