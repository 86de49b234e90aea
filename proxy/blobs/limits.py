"""How much may go on at once. What is beyond a limit is told so at once; nothing waits here."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# When to come back, in seconds: by then some of what runs has ended.
RETRY_AFTER: Final = 5.0
# A disk that took nothing is left alone for so long, in seconds: every attempt costs an upstream
# request, and delays a client.
_DISK_PAUSE: Final = 5.0


class Reason(StrEnum):
    """Why a blob is not kept. Labels of a metric, which docs/observability.md explains."""

    DOWNLOADS = "downloads"
    SPOOL = "spool"
    SIZE = "size"
    DISK = "disk"


class NotStored(Overloaded):
    """There is no room to keep the blob: each reader gets it from upstream by itself."""

    def __init__(self, reason: Reason) -> None:
        super().__init__("the blob cannot be kept at the moment", retry_after=RETRY_AFTER)
        self.reason = reason


class Gate:
    """So much at once, and no more."""

    __slots__ = ("_limit", "_taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @property
    def taken(self) -> int:
        """How much is going on now."""
        return self._taken

    def admits(self, amount: int = 1) -> bool:
        """Whether there is room for `amount`, which is then taken."""
        if self._taken + amount > self._limit:
            return False
        self._taken += amount
        return True

    def give_back(self, amount: int = 1) -> None:
        """Make room again."""
        self._taken -= amount


class Room:
    """One download's part of the spool."""

    __slots__ = ("_largest", "_spool", "_taken")

    def __init__(self, spool: Gate, largest: int | None) -> None:
        self._spool = spool
        self._largest = largest
        self._taken = 0

    def grow(self, total: int) -> None:
        """Have room for `total` bytes in all; NotKept if there is none."""
        if self._largest is not None and total > self._largest:
            raise NotStored(Reason.SIZE)
        more = total - self._taken
        if more > 0:
            if not self._spool.admits(more):
                raise NotStored(Reason.SPOOL)
            self._taken = total

    def give_back(self) -> None:
        """Need none of it any more."""
        self._spool.give_back(self._taken)
        self._taken = 0


class TransferLimits:
    """The limits of one process."""

    def __init__(
        self,
        *,
        downloads: int,
        spool: int,
        largest: int | None = None,
        passed_through: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`spool` is in bytes, and so is what one blob may have to be kept, `largest`.

        The others count transfers that are kept, and that are not.
        """
        self._downloads = Gate(downloads)
        self._spool = Gate(spool)
        self._largest = largest
        self._passed_through = Gate(passed_through)
        self._clock = clock
        self._disk_failed_at: float | None = None

    @contextmanager
    def download(self) -> Iterator[Room]:
        """One transfer that is kept, while the block runs; NotKept where there is no room."""
        if self._disk_failed_at is not None:
            if self._clock() < self._disk_failed_at + _DISK_PAUSE:
                raise NotStored(Reason.DISK)
            self._disk_failed_at = None
        if not self._downloads.admits():
            raise NotStored(Reason.DOWNLOADS)
        room = Room(self._spool, self._largest)
        try:
            yield room
        finally:
            room.give_back()
            self._downloads.give_back()

    def disk_failed(self) -> NotStored:
        """The disk took nothing: keep nothing for a while."""
        self._disk_failed_at = self._clock()
        return NotStored(Reason.DISK)

    @contextmanager
    def passed_through(self, reason: Reason) -> Iterator[None]:
        """One transfer that is not kept, while the block runs; Overloaded beyond their limit."""
        if not self._passed_through.admits():
            metrics.TURNED_AWAY.labels("passed_through").inc()
            raise Overloaded(
                "this proxy is fetching as much as it may at once", retry_after=RETRY_AFTER
            )
        metrics.PASSED_THROUGH.labels(reason).inc()
        try:
            yield
        finally:
            self._passed_through.give_back()
