"""A stored blob as eviction sees it, and the selection of the blobs to evict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.oci.reference import Digest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path

# Eviction stops at this part of the limit, so that the next blob does not start the next eviction.
LOW_MARK: Final = 0.9
# The unit of st_blocks, whatever the block size of the file system (stat(2)).
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob's file: its size on the disk in bytes, and its last use in seconds since 1970.

    One that `is_kept` is not evicted.
    """

    path: Path
    size: int
    used_at: float
    is_kept: bool = False


def digest_of(path: Path) -> Digest:
    """The digest that the path of a blob's file stands for; DigestInvalid if it is not one."""
    return Digest(f"{path.parents[1].name}:{path.name}")


def select_for_eviction(blobs: Iterable[StoredBlob], max_size: int) -> list[StoredBlob]:
    """The blobs to evict, least recently used first; none if all fit into `max_size` bytes.

    Those that are kept count, and stay: the rest may not be enough.
    """
    oldest_first = sorted(blobs, key=lambda blob: blob.used_at)
    total = sum(blob.size for blob in oldest_first)
    if total <= max_size:
        return []
    selected = []
    for blob in oldest_first:
        if total <= max_size * LOW_MARK:
            break
        if blob.is_kept:
            continue
        selected.append(blob)
        total -= blob.size
    return selected


def disk_usage(status: os.stat_result) -> int:
    """The size of a file on the disk, in bytes."""
    return status.st_blocks * _BLOCK
