"""What a store takes on the disk, read without a lock."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.stores.disk.layout import Layout
from proxy.stores.disk.quota import Count

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of the blobs and of the index; when the least recently used blob was used.

    Each is None if it is not known. Times are in seconds since 1970.
    """

    blobs: int | None
    oldest_use: float | None
    index: int | None


def read_usage(root: Path, index: Path) -> Usage:
    """What is stored below `root`, as last counted, and in the database at `index`. Blocks."""
    count = None
    with suppress(OSError):
        count = Count.decode(Layout(root).quota.read_bytes())
    files = (index, index.with_name(f"{index.name}-wal"))
    sizes = []
    for file in files:
        with suppress(OSError):
            sizes.append(file.stat().st_size)
    return Usage(
        blobs=None if count is None else count.used_bytes,
        oldest_use=None if count is None or not count.used_bytes else count.oldest,
        index=sum(sizes) if sizes else None,
    )
