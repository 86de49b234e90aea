"""Unfinished transfers in the spool directory: the room that they need, and orphaned ones."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.stores.disk.layout import ANNOUNCEMENT
from proxy.stores.disk.leases import try_lock
from proxy.stores.disk.spool import retract
from proxy.stores.disk.stored_blob import disk_usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.quota import DiskQuota


# A follower takes over from a writer that has died within this time, in seconds.
_TAKEOVER_TIMEOUT: Final = 1.0


def make_room(layout: Layout, quota: DiskQuota, upstream: str, digest: Digest, size: int) -> bool:
    """Make room for `size` more bytes of a blob and for all other transfers; whether there is.

    Orphaned spools are removed before blobs are evicted. Blocks.
    """
    own = layout.announcement(upstream, digest)
    others = sum(remaining_sizes(layout, apart_from=own))
    if quota.shortfall(size + others) <= 0:
        return True
    remove_orphans(layout)
    others = sum(remaining_sizes(layout, apart_from=own))
    return quota.evict_for(size + others)


def remaining_sizes(layout: Layout, *, apart_from: Path) -> Iterator[int]:
    """The bytes that each transfer of another announcement still needs. Blocks."""
    for announcement in layout.spools.glob(f"*/*{ANNOUNCEMENT}"):
        with suppress(OSError, ValueError):
            if announcement != apart_from:
                size = announcement.with_suffix("").stat().st_size
                yield max(0, int(announcement.read_bytes()) - size)


def remove_orphans(layout: Layout) -> list[int]:
    """Remove orphaned spools; the size of each on the disk, in bytes. Blocks."""
    freed = []
    for path in layout.spools.glob("*/*:*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            waits = time.time() - status.st_mtime > _TAKEOVER_TIMEOUT
            if waits and path.suffix != ANNOUNCEMENT and remove_if_unlocked(path):
                freed.append(disk_usage(status))
    return freed


def remove_if_unlocked(path: Path) -> bool:
    """Remove the spool or lease at `path` unless a process holds it; whether it was removed."""
    try:
        file = try_lock(path, create=False)
    except (FileNotFoundError, IsADirectoryError):
        return False
    if file is None:
        return False
    try:
        retract(path.with_name(path.name + ANNOUNCEMENT))
        return remove_file(path)
    finally:
        file.close()


def remove_file(path: Path) -> bool:
    """Remove the file at `path`; whether there was one. Anything but a file is not ours."""
    try:
        path.unlink()
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True
