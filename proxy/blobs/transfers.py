"""The transfers of one process: one for each blob and repository, with any number of readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from proxy.blobs.codings import Codings
from proxy.blobs.limits import NotStored
from proxy.blobs.passthrough import PassThrough
from proxy.blobs.transfer import Transfer
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from proxy.blobs.grants import BlobGrants
    from proxy.blobs.limits import TransferLimits
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStorage, Leases, Upstream

_log = structlog.get_logger()

# A range that begins at most so many bytes ahead waits for the transfer: the bytes arrive as soon
# as the upstream would answer another request.
_NEAR: Final = 2**20


class Reader:
    """One reader of a transfer. If the blob turns out not to be stored, it continues alone.

    Fits Source.
    """

    def __init__(self, transfers: Transfers, transfer: Transfer) -> None:
        self._transfers = transfers
        self._transfer = transfer
        self._passed: PassThrough | None = None

    async def wait_until_sendable(self) -> None:
        """Return when an answer may begin; raises what the transfer failed with."""
        try:
            await self._transfer.progress.wait_until_sendable()
        except NotStored as reason:
            self._passed = await self._transfers.pass_through(self._transfer, reason)

    @property
    def verified(self) -> bool:
        """Whether all of the blob is here, though its transfer has not quite ended."""
        return self._transfer.progress.verified

    @property
    def delivered(self) -> bool:
        """Whether the upstream has delivered it through this repository."""
        return self._transfer.delivered

    @property
    def size(self) -> int:
        """In bytes, after `wait_until_sendable`."""
        return (self._passed.size if self._passed else self._transfer.progress.total) or 0

    def is_near(self, offset: int) -> bool:
        """Whether bytes from `offset` are here, or will be soon."""
        return self._passed is None and offset <= self._transfer.progress.readable() + _NEAR

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return at least one byte from `offset`, which is never before the end of the last read.

        Raises what the transfer failed with.
        """
        if self._passed is None:
            try:
                return await self._transfer.progress.read(offset, length)
            except NotStored as reason:
                self._passed = await self._transfers.pass_through(self._transfer, reason)
        return await self._passed.read(offset, length)

    def close(self) -> None:
        """Stop reading."""
        if self._passed is not None:
            self._passed.close()
        self._transfers.leave(self._transfer)


class Transfers:
    """The running transfers. Those of other processes are found through their leases."""

    def __init__(
        self,
        *,
        store: BlobStorage,
        leases: Leases,
        upstreams: Mapping[str, Upstream],
        flights: SingleFlight,
        limits: TransferLimits,
        grants: BlobGrants,
        finish_abandoned: bool,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`finish_abandoned`: a transfer whose last reader has left is finished all the same."""
        self._store = store
        self._leases = leases
        self._upstreams = upstreams
        self._flights = flights
        self._limits = limits
        self._grants = grants
        self._codings = Codings()
        self._finish_abandoned = finish_abandoned
        self._clock = clock
        # By repository, too: one of another repository is followed through its lease, as one of
        # another process is.
        self._running: dict[tuple[str, Digest], tuple[Transfer, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def running(self) -> list[Transfer]:
        """The running transfers."""
        return [transfer for transfer, _ in self._running.values()]

    def is_running(self, repository: Repository, digest: Digest) -> bool:
        """Whether this blob of this repository is being fetched."""
        return (str(repository), digest) in self._running

    async def has_begun(self, repository: Repository, digest: Digest, offset: int) -> bool:
        """Whether the byte at `offset` is in a spool, though no transfer may be running."""
        return await self._store.spooled_bytes(repository.registry, digest) > offset

    def length(self, repository: Repository, digest: Digest) -> int | None:
        """How many bytes the blob has, if it is being fetched and its transfer knows."""
        running = self._running.get((str(repository), digest))
        return None if running is None else running[0].progress.total

    def open_arrived(self, repository: Repository, digest: Digest) -> tuple[Reader, int] | None:
        """What has arrived of a blob that this repository fetches, and how much of it."""
        running = self._running.get((str(repository), digest))
        if running is None or not running[0].delivered:
            return None
        length = running[0].progress.readable()
        return (self.join(repository, digest), length) if length else None

    def join(self, repository: Repository, digest: Digest) -> Reader:
        """Return a reader of the blob's transfer, which is started if need be; to be closed."""
        transfer = self._transfer(repository, digest)
        transfer.readers += 1
        metrics.FOLLOWERS.inc()
        return Reader(self, transfer)

    def prefetch(self, repository: Repository, digest: Digest) -> None:
        """Have a transfer that nobody reads yet, unless such transfers are not finished anyway."""
        if self._finish_abandoned:
            self._transfer(repository, digest)

    def pass_range(self) -> AbstractContextManager[bool]:
        """Count a range that is passed through while the block runs; whether there is a place."""
        return self._limits.pass_range()

    async def pass_through(self, transfer: Transfer, reason: NotStored) -> PassThrough:
        """Return the transfer's blob for one reader, who gets it without its being stored."""
        happened = trace.current()
        happened.stored, happened.detail = False, "not-stored"
        _log.warning("blob.passed_through", digest=transfer.digest, reason=reason.reason)
        return await PassThrough.open(
            transfer.digest,
            transfer.repository.name,
            upstream=self._upstreams[transfer.repository.registry],
            flights=self._flights,
            permit=self._limits.pass_through(reason.reason),
            prefix=transfer.progress.prefix,
            clock=self._clock,
        )

    def leave(self, transfer: Transfer) -> None:
        """Count one reader less; the last one may end the transfer."""
        transfer.readers -= 1
        metrics.FOLLOWERS.dec()
        running = self._running.get((str(transfer.repository), transfer.digest))
        if running is None or running[0] is not transfer:
            if transfer.readers == 0:
                transfer.progress.close()
        elif (
            transfer.readers == 0 and not self._finish_abandoned and not transfer.progress.verified
        ):
            # A reader that comes before it has ended gets a transfer of its own.
            del self._running[str(transfer.repository), transfer.digest]
            running[1].cancel()

    def _transfer(self, repository: Repository, digest: Digest) -> Transfer:
        key = str(repository), digest
        if key in self._running:
            trace.current().detail = "collapsed"
            return self._running[key][0]
        transfer = Transfer(
            digest=digest,
            repository=repository,
            upstream=self._upstreams[repository.registry],
            store=self._store,
            leases=self._leases,
            limits=self._limits,
            grants=self._grants,
            codings=self._codings,
            # The last reader that leaves would end a transfer that is not to be finished.
            tell_readers=self._finish_abandoned,
            clock=self._clock,
        )
        happened = trace.current()
        # A range may have been tried before, without success.
        happened.stored, happened.detail = self._store.stores_on_commit, ""
        task = self._flights.start(transfer.run())
        self._running[key] = transfer, task
        task.add_done_callback(lambda _: self._remove(transfer))
        return transfer

    def _remove(self, transfer: Transfer) -> None:
        key = str(transfer.repository), transfer.digest
        if key in self._running and self._running[key][0] is transfer:
            del self._running[key]
        if transfer.readers == 0:
            transfer.progress.close()
