"""`lighterage gc` and `lighterage scrub`: maintenance of a store that a proxy may be using."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.cli.human import ago, human
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.disk.janitor import Janitor
from proxy.stores.disk.layout import Layout
from proxy.stores.disk.quota import DiskQuota
from proxy.stores.disk.scrub import Scrub
from proxy.stores.disk.stored_blob import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxy.config import Settings


def root_of(settings: Settings) -> Path:
    """The directory of the blobs."""
    return settings.blobs.path or settings.data


def plan_eviction(settings: Settings) -> Iterator[str]:
    """The blobs that `gc` would evict now, one a line, and their sum."""
    quota = DiskQuota(Layout(root_of(settings)), max_size=settings.blobs.max_size)
    blobs, excess, now = list(quota.blobs()), quota.excess(), time.time()
    for blob in excess:
        yield f"{digest_of(blob.path)}  {human(blob.size)}, used {ago(now - blob.used_at)}"
    taken, freed = sum(blob.size for blob in blobs), sum(blob.size for blob in excess)
    limit = human(settings.blobs.max_size)
    yield f"{len(blobs)} blobs take {human(taken)} of {limit}"
    if excess:
        yield f"would evict {len(excess)} of them, {human(freed)}"
    else:
        yield "nothing would be evicted"


async def collect(settings: Settings) -> list[str]:
    """Evict blobs beyond the limit and remove orphaned transfers; the result as lines."""
    root = root_of(settings)
    janitor = Janitor(root, lock=settings.data / "janitor.lock", max_size=settings.blobs.max_size)
    await janitor.recount()
    swept = await janitor.sweep()
    return [
        f"removed {swept.blobs} blobs and {swept.spools} unfinished transfers, {human(swept.freed)}"
    ]


@dataclass(slots=True)
class Progress:
    """The progress of a scrub. Sizes are in bytes."""

    blobs: int
    size: int
    seen: int = 0
    read: int = 0
    derived: int = 0
    damaged: list[str] = field(default_factory=list)


def _size(path: Path) -> int:
    """The size of a file in bytes; 0 if it has been removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def verify(
    settings: Settings, *, pause: Callable[[float], None] = time.sleep
) -> Iterator[Progress]:
    """Verify everything, at the rate in the settings; yields one Progress, which it updates.

    OSError if a damaged file cannot be quarantined.
    """
    scrub = Scrub(root_of(settings))
    paths = scrub.blobs(before=float("inf"))
    progress = Progress(len(paths), sum(map(_size, paths)))
    yield progress
    for path in paths:
        steps = scrub.verify(path)
        while True:
            try:
                count = next(steps)
            except StopIteration as end:
                progress.seen += 1
                if not end.value:
                    progress.damaged.append(digest_of(path))
                break
            progress.read += count
            yield progress
            pause(count / settings.blobs.scrub_rate)
        yield progress
    for digest, is_good in DerivedFiles(root_of(settings) / "derived").verify():
        progress.derived += 1
        if not is_good:
            progress.damaged.append(f"derived manifest {digest}")
        yield progress
