"""What was begun in the spool directory: what is still to come, and what nobody goes on with."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from proxy.stores.disk.layout import ANNOUNCEMENT
from proxy.stores.disk.leases import locked
from proxy.stores.disk.quota import taken_by
from proxy.stores.disk.spool import retract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.quota import DiskQuota


# Who reads along takes over from a writer that has died within so many seconds.
_TAKEN_OVER_WITHIN: Final = 1.0


def makes_room(layout: Layout, quota: DiskQuota, digest: Digest, size: int) -> bool:
    """Have room for `size` more bytes of a blob, beside what others wait for; whether there is.

    What nobody goes on with makes room before older blobs do. Blocks.
    """
    others = sum(unfinished(layout, apart_from=digest))
    if quota.shortfall(size + others) <= 0:
        return True
    given_way(layout)
    others = sum(unfinished(layout, apart_from=digest))
    return quota.evict_for(size + others)


def unfinished(layout: Layout, *, apart_from: Digest) -> Iterator[int]:
    """How many bytes are still to come of each blob whose length was announced. Blocks."""
    own = layout.announcement(apart_from)
    for announcement in layout.spools.glob(f"*{ANNOUNCEMENT}"):
        with suppress(OSError, ValueError):
            if announcement != own:
                size = announcement.with_suffix("").stat().st_size
                yield max(0, int(announcement.read_bytes()) - size)


def given_way(layout: Layout) -> list[int]:
    """Remove the spools that nobody goes on with; what each took on the disk, in bytes. Blocks."""
    freed = []
    for path in layout.spools.glob("*:*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            waits = time.time() - status.st_mtime > _TAKEN_OVER_WITHIN
            if waits and path.suffix != ANNOUNCEMENT and abandoned(path):
                freed.append(taken_by(status))
    return freed


def abandoned(path: Path) -> bool:
    """Remove the spool or lease at `path` unless somebody holds it; whether it was removed."""
    try:
        file = locked(path, create=False)
    except (FileNotFoundError, IsADirectoryError):
        return False
    if file is None:
        return False
    try:
        retract(path.with_name(path.name + ANNOUNCEMENT))
        return removed(path)
    finally:
        file.close()


def removed(path: Path) -> bool:
    """Remove the file at `path`; whether there was one. What else is there is none of ours."""
    try:
        path.unlink()
    except (FileNotFoundError, IsADirectoryError):
        return False
    return True
