"""One transfer of one blob from upstream, and everybody who reads along.

The bytes go to the blob store's spool, and every reader reads from there at its own pace. The last
of them are held back until the store has verified the digest, so nobody ends up with a whole blob
that is wrong: whoever reads along is cut off instead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from proxy.blobs.expected_length import announced_size
from proxy.blobs.limits import NotStored, Reason
from proxy.blobs.retry_budget import RetryBudget
from proxy.errors import (
    RangeInvalid,
    RegistryError,
    StorageFailure,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from proxy.blobs.limits import Room, TransferLimits
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore, BlobStream, Growing, Leases, Readable, Spool, Upstream

_log = structlog.get_logger()

# A blob that is smaller is verified before anything of it is sent, so that its failure is an error
# answer and no broken connection.
HELD_BACK: Final = 64 * 1024
# How often another process's spool is looked at, and whether its owner still lives, in seconds.
_LOOK_EVERY: Final = 0.005
_CLAIM_EVERY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Begun:
    """The first `length` bytes of a blob of `total`, unverified."""

    source: Readable
    length: int
    total: int


class Transfer:
    """A blob on its way in. `run` is one task; any number of readers wait on `readable`."""

    def __init__(
        self,
        *,
        digest: Digest,
        repository: Repository,
        upstream: Upstream,
        store: BlobStore,
        leases: Leases,
        admission: TransferLimits,
    ) -> None:
        self.digest = digest
        self.repository = repository
        self.readers = 0
        self.total: int | None = None
        # Whether the upstream has given it through this repository: nothing else proves a right.
        self.shown = False
        self._upstream = upstream
        self._store = store
        self._leases = leases
        self._admission = admission
        self._received = 0
        self._verified = False
        self._failure: RegistryError | None = None
        # The spool's reader first, and what was committed after it: the same file.
        self._sources: list[Readable] = []
        self._changed = asyncio.Event()

    # -- for readers -------------------------------------------------------------------------

    async def started(self) -> int:
        """The blob's size, as soon as an answer may begin; raises what the transfer failed with."""
        while self.total is None or (self.total <= HELD_BACK and not self._verified):
            await self._progress()
        return self.total

    def readable(self) -> int:
        """How many bytes may be given away now."""
        if self._verified:
            return self._received
        return max(0, min(self._received, (self.total or 0) - HELD_BACK))

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """At least one byte from `offset`; raises what the transfer failed with."""
        while self.readable() <= offset:
            await self._progress()
        piece = await self._sources[-1].read(offset, min(length, self.readable() - offset))
        if not piece:
            raise StorageFailure("what had come of the blob is not there any more")
        return piece

    @property
    def verified(self) -> bool:
        """Whether all of it is here."""
        return self._verified

    @property
    def begun(self) -> Begun | None:
        """What has come so far, for who must go on without this transfer."""
        if self.total is None or self._received == 0:
            return None
        return Begun(self._sources[-1], self._received, self.total)

    async def _progress(self) -> None:
        if self._failure is not None:
            raise self._failure
        await self._changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # -- the transfer ------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch, or follow another process that does; take over from one that dies.

        What it raises, every reader raises: NotKept where there is no room, or the disk takes
        nothing. What was received stays in the spool for the next one.
        """
        try:
            with metrics.TRANSFERS.track_inprogress():
                await self._run()
        except RegistryError as error:
            self._failure = error
            raise
        except OSError as error:
            _log.error("blob.not_stored", digest=self.digest, error=str(error))
            self._failure = self._admission.disk_failed()
            raise self._failure from None
        except BaseException:
            self._failure = UpstreamFailure("the transfer was given up")
            raise
        finally:
            self._announce()

    async def _run(self) -> None:
        while (lease := await self._leases.claim(self.digest)) is None:
            if await self._follow():
                return
        try:
            # Whoever had the lease before may have finished.
            if (blob := await self._store.open(self.digest)) is not None:
                self._done(blob, blob.size)
                return
            with self._admission.download() as room:
                await self._fetch(room)
        finally:
            lease.release()

    async def _follow(self) -> bool:
        """Read along with another process; whether the blob is there in the end."""
        growing = await self._store.growing(self.digest)
        if growing is None:
            # Whoever gets the lease looks whether the blob is there now.
            await asyncio.sleep(_LOOK_EVERY)
            return False
        return await self._followed(growing)

    async def _followed(self, growing: Growing) -> bool:
        self._sources.append(growing)
        self.total = growing.total
        waited = 0.0
        while not await growing.verified():
            size = min(await growing.size(), growing.total)
            if size > self._received:
                self._received, waited = size, 0.0
                self._announce()
            await asyncio.sleep(_LOOK_EVERY)
            waited += _LOOK_EVERY
            if waited >= _CLAIM_EVERY and await self._is_abandoned():
                return False
        self._done(growing, growing.total)
        return True

    async def _is_abandoned(self) -> bool:
        lease = await self._leases.claim(self.digest)
        if lease is None:
            return False
        lease.release()
        return True

    async def _fetch(self, room: Room) -> None:
        spool = await self._store.spool(self.digest)
        try:
            if spool.size < self._received:
                # What was read along from has lost its name. Its readers have it still, and what
                # they were given belongs to it.
                raise NotStored(Reason.DISK)
            self._sources.append(spool.reader())
            self._received = spool.size
            await self._filled(spool, room)
            self._done(await spool.commit(), spool.size)
            await spool.persist()
        finally:
            spool.close()

    async def _filled(self, spool: Spool, room: Room) -> None:
        """All bytes into the spool, by Range where some are there; UpstreamFailure if they stop.

        Where a blob is redirected to is asked for anew each time: such addresses expire.
        """
        attempts, validator, first = RetryBudget(self.digest), None, True
        while True:
            before = spool.size
            try:
                async with self._upstream.blob(
                    self.repository.name, self.digest, start=before, validator=validator
                ) as stream:
                    self.shown = True
                    validator = stream.validator
                    await self._poured(stream, spool, room)
            except RangeInvalid:
                # Nothing beyond what is there: it is whole, or it is not this blob's.
                return
            except UpstreamFailure as failure:
                in_vain = not self.shown and not (first and failure.broke_off)
                if self.total is None and in_vain:
                    # Nobody has been given an answer yet: an error is the better one.
                    raise
                first = False
                await attempts.next_attempt(failure, received=spool.size, more=spool.size - before)
            else:
                return

    async def _poured(self, stream: BlobStream, spool: Spool, room: Room) -> None:
        total = stream.total
        if total is None and self.total is None:
            total = await announced_size(stream, self._upstream, self.repository.name, self.digest)
        if total is not None:
            if self.total not in {None, total}:
                raise UpstreamInvalid(f"the upstream changed the size of {self.digest} midway")
            if spool.size > total:
                await spool.restart()
                self._received = 0
            room.grow(total)
            if not await self._store.has_room(self.digest, total - spool.size):
                raise NotStored(Reason.DISK)
            self.total = total
            await spool.expect(total)
            self._announce()
        skip = spool.size - stream.start
        async for chunk in stream.chunks():
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            room.grow(spool.size + len(chunk) - skip)
            await spool.append(chunk[skip:] if skip else chunk)
            skip = 0
            self._received = spool.size
            self._announce()
        if self.total is not None and spool.size < self.total:
            raise UpstreamUnavailable(f"the upstream stopped in the middle of {self.digest}")

    def _done(self, source: Readable, size: int) -> None:
        if source not in self._sources:
            self._sources.append(source)
        self.total = self._received = size
        self._verified = True
        self._announce()

    def close(self) -> None:
        """Let go of the file, when the last reader has gone and the task has ended."""
        while self._sources:
            self._sources.pop().close()
