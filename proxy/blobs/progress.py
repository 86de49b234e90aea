"""How far one transfer is: what its readers wait for, and may read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import StorageFailure

if TYPE_CHECKING:
    from proxy.errors import RegistryError, UpstreamFailure
    from proxy.ports import Readable

# The end of each blob that is sent only after the digest was verified, in bytes. A blob that is not
# larger is verified before anything of it is sent, so that its failure is an error answer instead
# of a broken connection.
HELD_BACK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `length` bytes of a blob of `total`, unverified."""

    source: Readable
    length: int
    total: int


class _Change(asyncio.Event):
    """What readers wait for; `late` is why they should stop waiting."""

    late: UpstreamFailure | None = None


class Progress:
    """What has arrived of a blob. One transfer advances it; any number of readers wait on it."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.verified = False
        self._received = 0
        self._failure: RegistryError | None = None
        # The spool's reader first, and what was committed after it: the same file.
        self._sources: list[Readable] = []
        self._changed = _Change()

    # -- for readers -------------------------------------------------------------------------

    async def wait_until_sendable(self) -> int:
        """Return the blob's size as soon as an answer may begin; raises the transfer's failure."""
        while self.total is None or (self.total <= HELD_BACK and not self.verified):
            await self._wait()
        return self.total

    def readable(self) -> int:
        """Return how many bytes may be sent now."""
        if self.verified:
            return self._received
        return max(0, min(self._received, (self.total or 0) - HELD_BACK))

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return at least one byte from `offset`; raises the transfer's failure."""
        while self.readable() <= offset:
            await self._wait()
        piece = await self._sources[-1].read(offset, min(length, self.readable() - offset))
        if not piece:
            raise StorageFailure("what was received of the blob is not there any more")
        return piece

    @property
    def prefix(self) -> Prefix | None:
        """What has arrived so far, for a reader that continues without this transfer."""
        if self.total is None or self._received == 0:
            return None
        return Prefix(self._sources[-1], self._received, self.total)

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        changed = self._changed
        await changed.wait()
        if changed.late is not None:
            # A new one, because each of the waiting readers raises it.
            raise type(changed.late)(changed.late.message, context=changed.late.context)

    # -- for the transfer --------------------------------------------------------------------

    @property
    def received(self) -> int:
        """How many bytes have arrived, the unverified ones included."""
        return self._received

    def add_source(self, source: Readable) -> None:
        """Read from `source` from now on; it is closed together with this."""
        self._sources.append(source)

    def expect(self, total: int) -> None:
        """State how many bytes the blob has."""
        self.total = total
        self._notify()

    def advance(self, received: int) -> None:
        """State how many bytes have arrived."""
        self._received = received
        self._notify()

    def finish(self, source: Readable, size: int) -> None:
        """State that all bytes are in `source`, verified."""
        if source not in self._sources:
            self._sources.append(source)
        self.total = self._received = size
        self.verified = True
        self._notify()

    def fail(self, failure: RegistryError) -> None:
        """Make every reader raise `failure` as soon as it has read what has arrived."""
        self._failure = failure

    def report_late(self, failure: UpstreamFailure) -> None:
        """Make every reader that waits now raise `failure`, though the transfer continues."""
        self._changed.late = failure
        self._notify()

    def wake_readers(self) -> None:
        """Wake every reader."""
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = _Change()

    def close(self) -> None:
        """Close every source once the last reader has left and the transfer has ended."""
        while self._sources:
            self._sources.pop().close()
