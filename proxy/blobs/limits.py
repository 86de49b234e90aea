"""How many transfers may run at once. Beyond a limit there is an error at once; nothing queues."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from proxy.errors import Overloaded
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.shares import Shares
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from proxy.kit.clock import Clock
    from proxy.kit.shares import Holder

# `Retry-After` beyond a limit, in seconds: by then some transfers have ended.
RETRY_AFTER: Final = 5.0
# After a write has failed, nothing is stored for so long, in seconds: every attempt costs an
# upstream request, and delays a client.
_DISK_PAUSE: Final = 5.0


class Reason(StrEnum):
    """Why a blob is not stored. Labels of a metric, which docs/observability.md explains."""

    DOWNLOADS = "downloads"
    SPOOL = "spool"
    SIZE = "size"
    DISK = "disk"


class NotStored(Overloaded):
    """There is no room to store the blob: each reader gets it from upstream by itself."""

    def __init__(self, reason: Reason) -> None:
        super().__init__("the blob cannot be stored at the moment", retry_after=RETRY_AFTER)
        self.reason = reason


class Gate:
    """An amount that is reserved and released, within a limit."""

    __slots__ = ("_limit", "_taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @property
    def taken(self) -> int:
        """How much is reserved now."""
        return self._taken

    def try_take(self, amount: int = 1) -> bool:
        """Reserve `amount`; whether there was room for it."""
        if self._taken + amount > self._limit:
            return False
        self._taken += amount
        return True

    def give_back(self, amount: int = 1) -> None:
        """Release `amount`."""
        self._taken -= amount


class _Permit:
    """One place of a `FairGate`."""

    __slots__ = ("client", "holder")

    def __init__(self, holder: Holder | None) -> None:
        self.holder = holder
        self.client = "" if holder is None else holder.client


class FairGate:
    """Places for clients, within a limit. If all are taken, the client that has most gives way."""

    __slots__ = ("_limit", "_permits", "_shares")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._permits: set[_Permit] = set()
        self._shares: Shares[_Permit] = Shares()

    @contextmanager
    def hold(self, holder: Holder | None) -> Iterator[bool]:
        """Hold a place for `holder` while the block runs; yields whether there was one."""
        permit = _Permit(holder)
        if not self._admit(permit):
            yield False
            return
        self._permits.add(permit)
        self._shares.add(permit.client, permit)
        try:
            yield True
        finally:
            self._release(permit)

    def _admit(self, permit: _Permit) -> bool:
        if len(self._permits) < self._limit:
            return True
        greediest = self._shares.of_greediest(permit.client)
        if not greediest:
            return False
        chosen = greediest[0]
        self._release(chosen)
        if chosen.holder is not None:
            chosen.holder.give_way()
        return True

    def _release(self, permit: _Permit) -> None:
        self._permits.discard(permit)
        self._shares.remove(permit.client, permit)


class Room:
    """One download's part of the spool."""

    __slots__ = ("_largest", "_spool", "_taken")

    def __init__(self, spool: Gate, largest: int | None) -> None:
        self._spool = spool
        self._largest = largest
        self._taken = 0

    def grow(self, total: int) -> None:
        """Reserve `total` bytes in all; NotStored if there is no room for them."""
        if self._largest is not None and total > self._largest:
            raise NotStored(Reason.SIZE)
        more = total - self._taken
        if more > 0:
            if not self._spool.try_take(more):
                raise NotStored(Reason.SPOOL)
            self._taken = total

    def give_back(self) -> None:
        """Release all of it."""
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
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`spool` and `largest`, the size up to which a blob is stored, are in bytes.

        `downloads` counts transfers that are stored, `passed_through` those that are not.
        """
        self._downloads = Gate(downloads)
        self._spool = Gate(spool)
        self._largest = largest
        self._passed_through = FairGate(passed_through)
        self._clock = clock
        self._disk_failed_at: float | None = None

    @contextmanager
    def download(self) -> Iterator[Room]:
        """Count one transfer that is stored while the block runs; NotStored beyond a limit."""
        if self._disk_failed_at is not None:
            if self._clock.monotonic() < self._disk_failed_at + _DISK_PAUSE:
                raise NotStored(Reason.DISK)
            self._disk_failed_at = None
        if not self._downloads.try_take():
            raise NotStored(Reason.DOWNLOADS)
        room = Room(self._spool, self._largest)
        try:
            yield room
        finally:
            room.give_back()
            self._downloads.give_back()

    def report_disk_failure(self) -> NotStored:
        """Store nothing for a while, because a write has failed; return why."""
        self._disk_failed_at = self._clock.monotonic()
        return NotStored(Reason.DISK)

    @contextmanager
    def pass_through(self, reason: Reason) -> Iterator[None]:
        """Count one transfer that is not stored while the block runs; Overloaded beyond the limit.

        `reason` is why it is not stored.
        """
        with self._passed_through.hold(trace.current().holder) as has_place:
            if not has_place:
                metrics.TURNED_AWAY.labels("passed_through").inc()
                raise Overloaded(
                    "this proxy is fetching as much as it may at once", retry_after=RETRY_AFTER
                )
            metrics.PASSED_THROUGH.labels(reason).inc()
            yield

    def pass_range(self) -> AbstractContextManager[bool]:
        """Count a range that is passed through while the block runs; whether there is a place."""
        return self._passed_through.hold(trace.current().holder)
