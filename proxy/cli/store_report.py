"""`lighterage gc` and `lighterage scrub`: maintenance of a store that a proxy may be using."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxy.kit.human import ago, human
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.disk.janitor import Janitor, Swept
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


@dataclass(frozen=True, slots=True)
class Eviction:
    """The blobs that `gc` would evict: digest, size in bytes, and when each was used."""

    blobs: int
    taken: int
    limit: int
    evicted: list[tuple[str, int, float]]

    def lines(self) -> Iterator[str]:
        """Format for a person."""
        now = time.time()
        for digest, size, used_at in self.evicted:
            yield f"{digest}  {human(size)}, used {ago(now - used_at)}"
        yield f"{self.blobs} blobs take {human(self.taken)} of {human(self.limit)}"
        if self.evicted:
            freed = sum(size for _, size, _ in self.evicted)
            yield f"would evict {len(self.evicted)} of them, {human(freed)}"
        else:
            yield "nothing would be evicted"

    def document(self) -> dict[str, Any]:
        """The same for a program."""
        evicted = [
            {"digest": digest, "size": size, "used_at": used_at}
            for digest, size, used_at in self.evicted
        ]
        return {
            "blobs": self.blobs,
            "taken": self.taken,
            "limit": self.limit,
            "would_evict": evicted,
        }


def plan_eviction(settings: Settings) -> Eviction:
    """What `gc` would evict now."""
    quota = DiskQuota(Layout(root_of(settings)), max_size=settings.blobs.max_size)
    blobs, excess = list(quota.blobs()), quota.excess()
    return Eviction(
        blobs=len(blobs),
        taken=sum(blob.size for blob in blobs),
        limit=settings.blobs.max_size,
        evicted=[(digest_of(blob.path), blob.size, blob.used_at) for blob in excess],
    )


async def collect(settings: Settings) -> Swept:
    """Evict blobs beyond the limit, and remove orphaned transfers."""
    root = root_of(settings)
    janitor = Janitor(root, lock=settings.data / "janitor.lock", max_size=settings.blobs.max_size)
    await janitor.recount()
    return await janitor.sweep()


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
