"""The transfers of one process: one for each blob and repository, however many read along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from proxy.blobs.limits import NotStored
from proxy.blobs.passthrough import PassThrough
from proxy.blobs.transfer import Transfer
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from proxy.blobs.limits import TransferLimits
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore, Leases, Upstream

_log = structlog.get_logger()

# Who wants what is so far ahead, in bytes, waits for it: it is here as soon as the upstream would
# answer another request.
_NEAR: Final = 2**20


class Reader:
    """One reader of a transfer, who goes on alone if that turns out not to be kept. Fits Source."""

    def __init__(self, transfers: Transfers, transfer: Transfer) -> None:
        self._transfers = transfers
        self._transfer = transfer
        self._alone: PassThrough | None = None

    async def started(self) -> None:
        """Return when an answer may begin; raises what the transfer failed with."""
        try:
            await self._transfer.started()
        except NotStored as reason:
            await self._leave_the_others(reason)

    @property
    def verified(self) -> bool:
        """Whether all of the blob is here, though its transfer has not quite ended."""
        return self._transfer.verified

    @property
    def shown(self) -> bool:
        """Whether the upstream has given it through this repository."""
        return self._transfer.shown

    @property
    def size(self) -> int:
        """In bytes, as soon as it has `started`."""
        return self._alone.size if self._alone is not None else self._transfer.total or 0

    def is_near(self, offset: int) -> bool:
        """Whether bytes from `offset` are here, or will be soon."""
        return self._alone is None and offset <= self._transfer.readable() + _NEAR

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """At least one byte from `offset`, which is never before what was read last."""
        if self._alone is None:
            try:
                return await self._transfer.read(offset, length)
            except NotStored as reason:
                await self._leave_the_others(reason)
        assert self._alone is not None  # noqa: S101 -- as of the line above, if not before
        return await self._alone.read(offset, length)

    def close(self) -> None:
        """Stop reading."""
        if self._alone is not None:
            self._alone.close()
        self._transfers.left(self._transfer)

    async def _leave_the_others(self, reason: NotStored) -> None:
        self._alone = await self._transfers.passed_through(self._transfer, reason)


class Transfers:
    """Those that run now. What runs in another process is found through its lease."""

    def __init__(
        self,
        *,
        store: BlobStore,
        leases: Leases,
        upstreams: Mapping[str, Upstream],
        flights: SingleFlight,
        admission: TransferLimits,
        finish_abandoned: bool,
    ) -> None:
        """`finish_abandoned`: go on with a transfer that nobody reads any more."""
        self._store = store
        self._leases = leases
        self._upstreams = upstreams
        self._flights = flights
        self._admission = admission
        self._finish_abandoned = finish_abandoned
        # By repository, too: what another one has is found through the lease, like another
        # process's.
        self._running: dict[tuple[str, Digest], tuple[Transfer, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def runs(self, repository: Repository, digest: Digest) -> bool:
        """Whether one runs for this blob of this repository."""
        return (str(repository), digest) in self._running

    def length(self, repository: Repository, digest: Digest) -> int | None:
        """How many bytes that blob will have, as soon as the one that runs knows."""
        running = self._running.get((str(repository), digest))
        return None if running is None else running[0].total

    def join(self, repository: Repository, digest: Digest) -> Reader:
        """Read along, or be the first; close it in the end."""
        transfer = self._transfer(repository, digest)
        transfer.readers += 1
        metrics.FOLLOWERS.inc()
        return Reader(self, transfer)

    def fetch(self, repository: Repository, digest: Digest) -> None:
        """Start one that nobody reads yet, unless it runs, or is not to be finished either."""
        if self._finish_abandoned:
            self._transfer(repository, digest)

    async def passed_through(self, transfer: Transfer, reason: NotStored) -> PassThrough:
        """The transfer's blob for one reader alone, of which nothing is kept."""
        happened = trace.current()
        happened.stored, happened.detail = False, "not-stored"
        _log.warning("blob.passed_through", digest=transfer.digest, reason=reason.reason)
        return await PassThrough.opened(
            transfer.digest,
            transfer.repository.name,
            upstream=self._upstreams[transfer.repository.registry],
            flights=self._flights,
            admitted=self._admission.passed_through(reason.reason),
            begun=transfer.begun,
        )

    def left(self, transfer: Transfer) -> None:
        """A reader has gone."""
        transfer.readers -= 1
        metrics.FOLLOWERS.dec()
        running = self._running.get((str(transfer.repository), transfer.digest))
        if running is None or running[0] is not transfer:
            if transfer.readers == 0:
                transfer.close()
        elif transfer.readers == 0 and not self._finish_abandoned and not transfer.verified:
            # Whoever comes before it has ended goes on with a transfer of his own.
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
            admission=self._admission,
        )
        happened = trace.current()
        # A range may have been tried before, in vain.
        happened.stored, happened.detail = True, ""
        task = self._flights.start(transfer.run())
        self._running[key] = transfer, task
        task.add_done_callback(lambda _: self._ended(transfer))
        return transfer

    def _ended(self, transfer: Transfer) -> None:
        key = str(transfer.repository), transfer.digest
        if key in self._running and self._running[key][0] is transfer:
            del self._running[key]
        if transfer.readers == 0:
            transfer.close()
