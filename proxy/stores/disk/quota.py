"""What the blobs of one directory take on the disk, and making room among them.

All processes that share the directory count in one file, under its lock: whoever puts a blob in its
place has made room for it before, so that they never take more than they may.
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
from proxy.oci.reference import Digest
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.open_file import OpenFile

# Down to this part of the size, so that the next blob does not start the next eviction.
LOW_MARK: Final = 0.9
# The time of use is written at most so often, in seconds; and in a store whose blobs come and go
# faster than that, so many times while a blob is there.
_TOUCH_EVERY: Final = 3600.0
_TOUCHES: Final = 8
_TOUCH_AT_LEAST: Final = 0.1
# As `Count.encode` writes it.
_COUNT: Final = re.compile(rb"(\d{20}) (\d{16}\.\d{3})\n")
# For how long what others have counted need not be looked at again, in seconds.
_REMEMBERED: Final = 1.0
# What of the disk is kept free of blobs, in bytes: so much, but not more than one part of so many.
_RESERVE: Final = 64 * 2**20
_RESERVED_PART: Final = 50
# So often everything is counted while others go on, in the hope that nothing comes or goes.
_COUNTINGS: Final = 3
# The unit of st_blocks, whatever the file system's own block size (stat(2)).
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob as eviction sees it: bytes taken on the disk, and when it was used (since 1970)."""

    path: Path
    size: int
    used_at: float


@dataclass(frozen=True, slots=True)
class Count:
    """How many bytes the blobs take, and when the one was used that was not used for longest."""

    taken: int
    oldest: float

    def encode(self) -> bytes:
        """For the file; always as long, so that nobody who reads it meanwhile sees less."""
        return f"{self.taken:020} {self.oldest:020.3f}\n".encode()

    @classmethod
    def decode(cls, text: bytes) -> Count | None:
        """What the file says; None if it makes no sense."""
        found = _COUNT.fullmatch(text)
        return None if found is None else cls(int(found[1]), float(found[2]))


class DiskQuota:
    """The blobs as a whole. Every method blocks."""

    __slots__ = ("_clock", "_known", "_known_at", "_layout", "_max_size")

    def __init__(
        self, layout: Layout, *, max_size: int | None, clock: Callable[[], float] = time.time
    ) -> None:
        """Keep the blobs of `layout` within `max_size` bytes, if that is given."""
        self._layout = layout
        self._max_size = max_size
        self._clock = clock
        self._known = Count(0, clock())
        self._known_at = 0.0

    def put(self, file: OpenFile, name: Path, path: Path) -> None:
        """Make room for an open file, and rename it from `name` to the `path` of its blob.

        OSError if it would not fit into an empty store.
        """
        size = taken_by(os.fstat(file.fileno()))
        with self._counter() as counter:
            count = self._read(counter)
            if self._max_size is not None and count.taken + size > self._max_size:
                if size > self._max_size:
                    raise OSError(errno.EFBIG, "the blob is larger than the store may be")
                count, _ = self._evict(counter, self._max_size - size)
            before = 0
            with suppress(FileNotFoundError):
                before = taken_by(path.stat())
            name.rename(path)
            self._write(counter, Count(count.taken + size - before, count.oldest))

    def take_away(
        self, path: Path, act: Callable[[], object], *, still: Callable[[], bool]
    ) -> bool:
        """Have `act` unlink or rename a blob, if it is there and `still` the one that is meant.

        Whether it was.
        """
        with self._counter() as counter, suppress(FileNotFoundError):
            size, count = taken_by(path.stat()), self._read(counter)
            if still():
                act()
                self._write(counter, Count(max(0, count.taken - size), count.oldest))
                return True
        return False

    def take(self) -> int:
        """Count anew, because blobs may have been removed by hand; the bytes that they take."""
        for _ in range(_COUNTINGS):
            with self._counter() as counter:
                before = self._read(counter)
            found = self._count(self.blobs())
            with self._counter() as counter:
                if self._read(counter) == before:
                    self._write(counter, found)
                    return found.taken
        # Something comes or goes all the time: nothing does while the counter is held.
        with self._counter() as counter:
            found = self._count(self.blobs())
            self._write(counter, found)
        return found.taken

    def shrink(self) -> list[Stored]:
        """Evict if there is too much, as after a change of the limit; what has gone."""
        with self._counter() as counter:
            if self._max_size is None or self._read(counter).taken <= self._max_size:
                return []
            return self._evict(counter, self._max_size)[1]

    def evict_for(self, size: int) -> bool:
        """Whether the disk has `size` bytes free, after evicting what others need less.

        Nothing is evicted where that would not be enough. What else grows on the disk, records
        above all, has some room that no blob gets.
        """
        short = self.shortfall(size)
        if short <= 0:
            return True
        with self._counter() as counter:
            # Somebody else may have made room meanwhile.
            short = self.shortfall(size)
            taken = self._read(counter).taken
            if 0 < short <= taken:
                self._evict(counter, taken - short)
        return self.shortfall(size) <= 0

    def shortfall(self, size: int) -> int:
        """How many bytes too few the disk has free for `size` more; 0 or less if it has them."""
        disk = os.statvfs(self._layout.root)
        if disk.f_blocks == 0:
            # A file system that does not say, ramfs for one: writing will show.
            return 0
        reserve = min(_RESERVE, disk.f_blocks * disk.f_frsize // _RESERVED_PART)
        return size + reserve - disk.f_bavail * disk.f_frsize

    def surplus(self) -> list[Stored]:
        """What is too much now, counted anew; nothing is removed."""
        return [] if self._max_size is None else to_evict(self.blobs(), self._max_size)

    def touch_every(self) -> float:
        """How old the time of a blob's use must be, in seconds, to be written again.

        An hour, as long as nothing has to go soon, or blobs stay for a day. Where they come and go
        faster, eviction could not tell what was used: there it is an eighth of their time.
        """
        if self._max_size is None:
            return _TOUCH_EVERY
        now = self._clock()
        if now - self._known_at > _REMEMBERED:
            with suppress(OSError):
                known = Count.decode(self._layout.quota.read_bytes())
                if known is not None:
                    self._remember(known)
        if self._known.taken < self._max_size / 2:
            return _TOUCH_EVERY
        return min(_TOUCH_EVERY, max(_TOUCH_AT_LEAST, (now - self._known.oldest) / _TOUCHES))

    def blobs(self) -> Iterator[Stored]:
        """Every blob there is. What else may lie there is none of ours."""
        for path in self._layout.blobs.glob("*/*/*"):
            with suppress(FileNotFoundError, DigestInvalid):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and digest_of(path).hex[:2] == path.parent.name:
                    yield Stored(path, taken_by(status), status.st_mtime)

    def _evict(self, counter: int, room: int) -> tuple[Count, list[Stored]]:
        """Remove what was not used for longest, until the rest takes no more than `room` bytes.

        Looks at what there is, so that what was counted wrong is right from then on.
        """
        blobs = list(self.blobs())
        gone = to_evict(blobs, room)
        for blob in gone:
            blob.path.unlink(missing_ok=True)
        metrics.EVICTED_BYTES.inc(sum(blob.size for blob in gone))
        count = self._count(set(blobs).difference(gone))
        self._write(counter, count)
        return count, gone

    def _count(self, blobs: Iterable[Stored]) -> Count:
        taken, oldest = 0, self._clock()
        for blob in blobs:
            taken += blob.size
            oldest = min(oldest, blob.used_at)
        return Count(taken, oldest)

    @contextmanager
    def _counter(self) -> Iterator[int]:
        """The open file, while nobody else counts. Opened anew: that excludes other threads, too.

        Nothing in it need outlive a crash of the system: stock is taken at every start.
        """
        file = os.open(self._layout.quota, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _read(self, counter: int) -> Count:
        """What the file says, or what there is where it says nothing: it is new, or damaged."""
        return Count.decode(os.pread(counter, 64, 0)) or self._count(self.blobs())

    def _write(self, counter: int, count: Count) -> None:
        encoded = count.encode()
        os.pwrite(counter, encoded, 0)
        os.ftruncate(counter, len(encoded))
        self._remember(count)

    def _remember(self, count: Count) -> None:
        self._known, self._known_at = count, self._clock()
        metrics.STORED_BYTES.set(count.taken)


def digest_of(path: Path) -> Digest:
    """What a blob's file is called; DigestInvalid if it is none."""
    return Digest(f"{path.parents[1].name}:{path.name}")


def to_evict(blobs: Iterable[Stored], max_size: int) -> list[Stored]:
    """Those to remove, least recently used first; none while all fit into `max_size` bytes."""
    oldest_first = sorted(blobs, key=lambda blob: blob.used_at)
    total = sum(blob.size for blob in oldest_first)
    if total <= max_size:
        return []
    chosen = []
    for blob in oldest_first:
        if total <= max_size * LOW_MARK:
            break
        chosen.append(blob)
        total -= blob.size
    return chosen


def taken_by(status: os.stat_result) -> int:
    """Bytes on the disk."""
    return status.st_blocks * _BLOCK
