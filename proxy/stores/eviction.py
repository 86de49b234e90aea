"""Keeping the disk store within its size, and clearing away what nobody will finish."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.stores.blocking import in_thread
from proxy.stores.layout import ANNOUNCEMENT, TEMPORARY, Layout
from proxy.stores.leases import LEASE, locked
from proxy.stores.spool import retract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# Down to this part of the size, so that the next blob does not start the next eviction.
_ROOM: Final = 0.9
# An interrupted transfer is worth resuming for this long, in seconds.
_ORPHAN_AGE: Final = 86400.0
# The unit of st_blocks, whatever the file system's own block size (stat(2)).
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob as eviction sees it: bytes taken on the disk, and when it was used (since 1970)."""

    path: Path
    size: int
    used_at: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep removed; `freed` is in bytes on the disk."""

    freed: int = 0
    blobs: int = 0
    spools: int = 0


class Janitor:
    """Sweeps a disk store, in one process at a time. Never touches a record."""

    __slots__ = ("_clock", "_layout", "_lock", "_max_size")

    def __init__(
        self, path: Path, *, lock: Path, max_size: int, clock: Callable[[], float] = time.time
    ) -> None:
        """Keep the blobs below `path` within `max_size` bytes; `lock` says whose turn it is."""
        self._layout = Layout(path)
        self._lock = lock
        self._max_size = max_size
        self._clock = clock

    async def sweep(self) -> Swept:
        """Remove what is too much or too old; nothing while another process does. OSError."""
        return await in_thread(self._sweep)

    def _sweep(self) -> Swept:
        turn = locked(self._lock)
        if turn is None:
            return Swept()
        try:
            evicted = [
                blob.size for blob in to_evict(self._blobs(), self._max_size) if _removed(blob.path)
            ]
            orphans = list(self._cleared())
        finally:
            turn.close()
        return Swept(sum(evicted) + sum(orphans), len(evicted), len(orphans))

    def _blobs(self) -> Iterator[Stored]:
        for path in self._layout.blobs.glob("*/*/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            used_at = max(status.st_atime, status.st_mtime)
            yield Stored(path, status.st_blocks * _BLOCK, used_at)

    def _cleared(self) -> Iterator[int]:
        """Remove what died in the spool directory; the sizes of the spools among it."""
        for path in sorted(self._layout.spools.glob("*")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if status.st_mtime > self._clock() - _ORPHAN_AGE:
                continue
            if path.name.startswith(TEMPORARY):
                _removed(path)
            elif path.name.endswith(ANNOUNCEMENT):
                # That of a spool goes with it; this one lost its spool in a crash.
                if not path.with_suffix("").exists():
                    _removed(path)
            elif _abandoned(path) and not path.name.startswith(LEASE):
                yield status.st_blocks * _BLOCK


def to_evict(blobs: Iterable[Stored], max_size: int) -> list[Stored]:
    """Those to remove, least recently used first; none while all fit into `max_size` bytes."""
    oldest_first = sorted(blobs, key=lambda blob: blob.used_at)
    total = sum(blob.size for blob in oldest_first)
    if total <= max_size:
        return []
    chosen = []
    for blob in oldest_first:
        if total <= max_size * _ROOM:
            break
        chosen.append(blob)
        total -= blob.size
    return chosen


def _abandoned(path: Path) -> bool:
    """Remove the spool or lease at `path` unless somebody holds it; whether it was removed."""
    try:
        file = locked(path, create=False)
    except FileNotFoundError:
        return False
    if file is None:
        return False
    try:
        retract(path.with_name(path.name + ANNOUNCEMENT))
        return _removed(path)
    finally:
        file.close()


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
