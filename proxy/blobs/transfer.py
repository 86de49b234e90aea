"""One transfer of one blob from its upstream into the store, followed by all of its readers.

The bytes go to the store's spool, from which every reader reads at its own pace. The end of the
blob is held back until the store has verified the digest, so no client ends up with a whole blob
that is wrong: its connection is cut instead.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.blobs.limits import NotStored, Reason
from proxy.blobs.progress import Progress
from proxy.blobs.resumable import ContentChanged, NotEncoded, ResumableBody
from proxy.blobs.self_healing import open_verified
from proxy.errors import RangeInvalid, RegistryError, StoreError, UpstreamFailure
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.ports.blobs import spool_key
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from proxy.blobs.codings import Codings
    from proxy.blobs.grants import BlobGrants
    from proxy.blobs.limits import Room, TransferLimits
    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStorage, Growing, Leases, Spool, Upstream

_log = structlog.get_logger()

# How often the size of another process's spool is read, and how often its lease is tried, in
# seconds: a lease that can be had belongs to a process that has died.
_POLL_SIZE: Final = 0.005
_POLL_LEASE: Final = 0.1


class Transfer:
    """The fetching of one blob. `run` is one task; any number of readers wait on `progress`."""

    def __init__(
        self,
        *,
        digest: Digest,
        repository: Repository,
        upstream: Upstream,
        store: BlobStorage,
        leases: Leases,
        limits: TransferLimits,
        grants: BlobGrants,
        codings: Codings,
        tell_readers: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`tell_readers`: if the upstream is late, waiting readers get an error."""
        self.digest = digest
        self.repository = repository
        self.readers = 0
        self.progress = Progress()
        # Whether the upstream has delivered the blob through this repository. Nothing else proves
        # that the repository has it.
        self.delivered = False
        # Another process of this machine fetches it, and this one follows.
        self.is_follower = False
        self.delivery = trace.Delivery()
        self._upstream = upstream
        self._store = store
        self._leases = leases
        self._limits = limits
        self._grants = grants
        self._codings = codings
        self._tell_readers = tell_readers
        self._clock = clock
        self._key = spool_key(repository.registry, digest)

    async def run(self) -> None:
        """Fetch, or follow the process that does, and replace it if it dies.

        Every reader raises what this raises: NotStored where there is no room, or the store fails.
        What was received stays in the spool for the next transfer.
        """
        trace.begin_delivery(self.delivery)
        try:
            with metrics.TRANSFERS.track_inprogress():
                await self._run()
        except RegistryError as error:
            self.progress.fail(error)
            raise
        except StoreError as error:
            _log.error("blob.not_stored", digest=self.digest, error=str(error))
            failure = self._limits.report_disk_failure()
            self.progress.fail(failure)
            raise failure from None
        except BaseException:
            self.progress.fail(UpstreamFailure("the transfer was given up"))
            raise
        finally:
            self.progress.wake_readers()

    async def _run(self) -> None:
        while (lease := await self._leases.claim(self._key)) is None:
            if await self._follow():
                return
        try:
            # The process that had the lease before may have finished.
            if (blob := await open_verified(self._store, self.digest)) is not None:
                self.progress.finish(blob, blob.size)
                return
            with self._limits.download() as room:
                await self._fetch(room)
        finally:
            lease.release()

    # -- another process fetches -------------------------------------------------------------

    async def _follow(self) -> bool:
        """Read what another process writes; whether that became the blob."""
        growing = await self._store.growing(self.repository.registry, self.digest)
        if growing is None:
            # The next holder of the lease looks for the blob itself.
            await self._clock.sleep(_POLL_SIZE)
            return False
        self.progress.add_source(growing)
        self.is_follower = True
        return await self._follow_until_verified(growing)

    async def _follow_until_verified(self, growing: Growing) -> bool:
        self.progress.total = growing.total
        waited = 0.0
        while not await growing.verified():
            size = min(await growing.size(), growing.total)
            if size > self.progress.received:
                self.progress.advance(size)
                waited = 0.0
            await self._clock.sleep(_POLL_SIZE)
            waited += _POLL_SIZE
            if waited >= _POLL_LEASE and await self._is_abandoned():
                return False
        self.progress.finish(growing, growing.total)
        return True

    async def _is_abandoned(self) -> bool:
        lease = await self._leases.claim(self._key)
        if lease is None:
            return False
        lease.release()
        return True

    # -- this process fetches ----------------------------------------------------------------

    async def _fetch(self, room: Room) -> None:
        self.is_follower = False
        spool = await self._store.spool(self.repository.registry, self.digest)
        try:
            if spool.size < self.progress.received:
                # The file that was followed has lost its name. Readers have it open, and what they
                # have sent of it can only be continued from there.
                raise NotStored(Reason.DISK)
            self.progress.add_source(spool.reader())
            self.progress.advance(spool.size)
            await self._fill(spool, room)
            if self.delivered and spool.matches:
                # Before other processes can find the blob: they ask for the grant, too.
                await self._grants.add(self.repository, self.digest)
            self.progress.finish(await spool.commit(), spool.size)
            await spool.persist()
        except ContentChanged:
            await spool.discard()
            raise
        finally:
            spool.close()

    async def _fill(self, spool: Spool, room: Room) -> None:
        """Bring all bytes into the spool; those that it has already are not fetched again.

        If a Content-Encoding leaves open whether the bytes are encoded, and they turn out to be
        wrong, they are fetched again and decoded, or not decoded, instead.
        """
        registry = self.repository.registry
        encoded = self._codings.is_encoded(registry, self.digest)
        coding = await self._receive(spool, room, decode=encoded)
        if coding is not None and not spool.matches:
            encoded = not encoded
            if self.progress.total is None:
                await spool.restart()
                self.progress.advance(0)
                await self._receive(spool, room, decode=encoded)
        if coding is not None and (spool.matches or self.progress.total is not None):
            # If clients have been sent something else, the next transfer reads it the other way.
            self._codings.learn(registry, self.digest, encoded=encoded)

    async def _receive(self, spool: Spool, room: Room, *, decode: bool) -> str | None:
        """Append the received bytes to the spool; returns the Content-Encoding that was stated."""
        async with ResumableBody(
            self.digest,
            self.repository.name,
            self._upstream,
            total=self.progress.total,
            decode=decode,
            late=self._report_late,
            clock=self._clock,
        ) as body:
            try:
                await body.begin(spool.size)
            except RangeInvalid:
                # There is nothing after what the spool has: it is the blob, or it is wrong.
                return None
            self.delivered = True
            await body.find_length()
            await self._make_room(body, spool, room)
            with suppress(NotEncoded):
                await self._copy(body, spool, room)
            return body.coding

    async def _copy(self, body: ResumableBody, spool: Spool, room: Room) -> None:
        async for chunk in body.chunks(spool.size):
            if self.progress.total is None and body.coding is None:
                await self._make_room(body, spool, room)
            room.grow(spool.size + len(chunk))
            await spool.append(chunk)
            self.progress.advance(spool.size)

    def _report_late(self, failure: UpstreamFailure) -> None:
        if self._tell_readers:
            self.progress.report_late(failure)

    async def _make_room(self, body: ResumableBody, spool: Spool, room: Room) -> None:
        """Announce the length as soon as it is known; NotStored if there is no room for it."""
        total = body.total
        if total is None:
            return
        if spool.size > total:
            await spool.restart()
            self.progress.advance(0)
        room.grow(total)
        missing = total - spool.size
        if not await self._store.has_room(self.repository.registry, self.digest, missing):
            raise NotStored(Reason.DISK)
        registry = self.repository.registry
        if body.coding is not None and not self._codings.is_known(registry, self.digest):
            # What is announced is sent to clients, and this may not be the blob yet.
            return
        # Clients of this process need not wait until those of others know it.
        self.progress.expect(total)
        await spool.expect(total)
