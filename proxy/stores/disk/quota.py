"""The disk quota of the blobs below one directory, and eviction.

All processes that share the directory count in one file, under its lock. A process makes room
before it stores a blob, so the blobs never exceed the limit.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import DigestInvalid
from proxy.stores.disk.kept import kept_paths
from proxy.stores.disk.stored_blob import (
    StoredBlob,
    digest_of,
    disk_usage,
    select_for_eviction,
)
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.open_file import OpenFile

# A blob's time of use is updated at most once per interval, in seconds. Where blobs are evicted
# sooner, it is updated this many times in the life of a blob.
_TOUCH_INTERVAL: Final = 3600.0
_TOUCHES_PER_LIFE: Final = 8
_MIN_TOUCH_INTERVAL: Final = 0.1
# As `Count.encode` writes it.
_COUNT: Final = re.compile(rb"(\d{20}) (\d{16}\.\d{3})\n")
# How long the count of other processes is cached, in seconds.
_COUNT_TTL: Final = 1.0
# The part of the disk that is kept free of blobs: bytes, but at most 1/50 of the disk.
_RESERVE: Final = 64 * 2**20
_MAX_RESERVE_SHARE: Final = 50
# How often a recount without the lock is tried; it fails if the blobs change meanwhile.
_RECOUNT_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Count:
    """The bytes that the blobs take, and the time of use of the least recently used blob."""

    used_bytes: int
    oldest: float

    def encode(self) -> bytes:
        """Encode the count at a fixed length, so that a concurrent read is never truncated."""
        return f"{self.used_bytes:020} {self.oldest:020.3f}\n".encode()

    @classmethod
    def decode(cls, text: bytes) -> Count | None:
        """Decode the file's content; None if it is malformed."""
        found = _COUNT.fullmatch(text)
        return None if found is None else cls(int(found[1]), float(found[2]))


class DiskQuota:
    """The quota of all blobs of one directory. All methods block."""

    __slots__ = ("_clock", "_known", "_known_at", "_layout", "_max_size")

    def __init__(
        self, layout: Layout, *, max_size: int | None, clock: Callable[[], float] = time.time
    ) -> None:
        """Keep the blobs of `layout` within `max_size` bytes; None is no limit."""
        self._layout = layout
        self._max_size = max_size
        self._clock = clock
        self._known = Count(0, clock())
        self._known_at = 0.0

    def put(self, file: OpenFile, name: Path, path: Path) -> None:
        """Make room for an open file, and rename it from `name` to the `path` of its blob.

        OSError if it is larger than the limit.
        """
        size = disk_usage(os.fstat(file.fileno()))
        with self._counter() as counter:
            count = self._read(counter)
            if self._max_size is not None and count.used_bytes + size > self._max_size:
                if size > self._max_size:
                    raise OSError(errno.EFBIG, "the blob is larger than max_size")
                count, _ = self._evict(counter, self._max_size - size)
                if count.used_bytes + size > self._max_size:
                    raise OSError(errno.EDQUOT, "kept images leave no room for the blob")
            before = 0
            with suppress(FileNotFoundError):
                before = disk_usage(path.stat())
            name.rename(path)
            self._write(counter, Count(count.used_bytes + size - before, count.oldest))

    def remove(
        self, path: Path, act: Callable[[], object], *, is_current: Callable[[], bool]
    ) -> bool:
        """Unlink or rename a blob by `act`; False if it is missing or not `is_current()`."""
        with self._counter() as counter, suppress(FileNotFoundError):
            size, count = disk_usage(path.stat()), self._read(counter)
            if is_current():
                act()
                self._write(counter, Count(max(0, count.used_bytes - size), count.oldest))
                return True
        return False

    def recount(self) -> int:
        """Recount the bytes that the blobs take, as they may have been removed by hand."""
        for _ in range(_RECOUNT_ATTEMPTS):
            with self._counter() as counter:
                before = self._read(counter)
            found = self._count(self.blobs())
            with self._counter() as counter:
                if self._read(counter) == before:
                    self._write(counter, found)
                    return found.used_bytes
        # The blobs change all the time, but not while the counter is locked.
        with self._counter() as counter:
            found = self._count(self.blobs())
            self._write(counter, found)
        return found.used_bytes

    def shrink(self) -> list[StoredBlob]:
        """Evict blobs if they exceed the limit, as after it was lowered; the evicted blobs."""
        with self._counter() as counter:
            if self._max_size is None or self._read(counter).used_bytes <= self._max_size:
                return []
            return self._evict(counter, self._max_size)[1]

    def evict_for(self, size: int) -> bool:
        """Evict blobs until the disk has `size` bytes free; whether it has.

        Nothing is evicted if that would not be enough. A reserve stays free for records and other
        files that grow on the disk.
        """
        short = self.shortfall(size)
        if short <= 0:
            return True
        with self._counter() as counter:
            # Another process may have made room meanwhile.
            short = self.shortfall(size)
            used_bytes = self._read(counter).used_bytes
            if 0 < short <= used_bytes - self._kept_bytes():
                self._evict(counter, used_bytes - short)
        return self.shortfall(size) <= 0

    def shortfall(self, size: int) -> int:
        """The bytes that the disk lacks for `size` more; 0 or less if there is room."""
        disk = os.statvfs(self._layout.root)
        if disk.f_blocks == 0:
            # A file system that does not report its size, such as ramfs: a write may fail.
            return 0
        reserve = min(_RESERVE, disk.f_blocks * disk.f_frsize // _MAX_RESERVE_SHARE)
        return size + reserve - disk.f_bavail * disk.f_frsize

    def excess(self) -> list[StoredBlob]:
        """The blobs that exceed the limit, after a recount; nothing is removed."""
        return [] if self._max_size is None else select_for_eviction(self.blobs(), self._max_size)

    def touch_interval(self) -> float:
        """The age of a blob's time of use, in seconds, at which it is updated.

        An hour, as long as eviction is far or blobs stay for a day. Where blobs are evicted sooner,
        an eighth of their life, so that eviction knows which were used.
        """
        if self._max_size is None:
            return _TOUCH_INTERVAL
        now = self._clock()
        if now - self._known_at > _COUNT_TTL:
            with suppress(OSError):
                known = Count.decode(self._layout.quota.read_bytes())
                if known is not None:
                    self._remember(known)
        if self._known.used_bytes < self._max_size / 2:
            return _TOUCH_INTERVAL
        return min(
            _TOUCH_INTERVAL,
            max(_MIN_TOUCH_INTERVAL, (now - self._known.oldest) / _TOUCHES_PER_LIFE),
        )

    def blobs(self) -> Iterator[StoredBlob]:
        """All stored blobs; other files in the directory are ignored."""
        kept = kept_paths(self._layout)
        for path in self._layout.blobs.glob("*/*/*"):
            with suppress(FileNotFoundError, DigestInvalid):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and digest_of(path).hex[:2] == path.parent.name:
                    yield StoredBlob(path, disk_usage(status), status.st_mtime, path in kept)

    def _kept_bytes(self) -> int:
        return sum(blob.size for blob in self.blobs() if blob.is_kept)

    def _evict(self, counter: int, room: int) -> tuple[Count, list[StoredBlob]]:
        """Evict the least recently used blobs until the rest takes at most `room` bytes.

        Lists the blobs, so that a wrong count is corrected.
        """
        blobs = list(self.blobs())
        evicted = select_for_eviction(blobs, room)
        for blob in evicted:
            blob.path.unlink(missing_ok=True)
        metrics.EVICTED_BYTES.inc(sum(blob.size for blob in evicted))
        count = self._count(set(blobs).difference(evicted))
        self._write(counter, count)
        return count, evicted

    def _count(self, blobs: Iterable[StoredBlob]) -> Count:
        used_bytes, oldest = 0, self._clock()
        for blob in blobs:
            used_bytes += blob.size
            oldest = min(oldest, blob.used_at)
        return Count(used_bytes, oldest)

    @contextmanager
    def _counter(self) -> Iterator[int]:
        """Open and lock the count file. A new descriptor also excludes other threads.

        The file need not survive a crash of the system, because every start recounts.
        """
        file = os.open(self._layout.quota, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _read(self, counter: int) -> Count:
        """Read the count; recount if the file is new or damaged."""
        return Count.decode(os.pread(counter, 64, 0)) or self._count(self.blobs())

    def _write(self, counter: int, count: Count) -> None:
        encoded = count.encode()
        os.pwrite(counter, encoded, 0)
        os.ftruncate(counter, len(encoded))
        self._remember(count)

    def _remember(self, count: Count) -> None:
        self._known, self._known_at = count, self._clock()
        metrics.STORED_BYTES.set(count.used_bytes)
