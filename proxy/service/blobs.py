"""Blobs: from the store, from a transfer that runs, or by starting one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from proxy import telemetry
from proxy.errors import Obstacle, Refused
from proxy.oci.schema1 import EMPTY_LAYER, EMPTY_LAYER_BYTES
from proxy.service import trace
from proxy.service.admission import NotKept
from proxy.service.download import Transfer
from proxy.service.passthrough import PassThrough
from proxy.service.trace import Outcome

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore, BlobStream, Leases, Upstream
    from proxy.service.admission import Admission
    from proxy.service.records import Records
    from proxy.service.singleflight import Flights

_log = structlog.get_logger()


class Source(Protocol):
    """A blob that can be sent: its size is known, and its bytes come as they may be given away."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """At least one byte from `offset`, waiting for it if need be."""
        ...

    def close(self) -> None:
        """Stop reading. Called once."""
        ...


class _Constant:
    """The empty layer: conversions to schema 1 name it, and no upstream need have it."""

    size = len(EMPTY_LAYER_BYTES)

    async def read(self, offset: int, length: int) -> bytes:
        return EMPTY_LAYER_BYTES[offset : offset + length]

    def close(self) -> None:
        """Nothing is open."""


class _Follower:
    """One reader of a transfer, who goes on alone if that turns out not to be kept."""

    def __init__(self, blobs: Blobs, repository: Repository, transfer: Transfer) -> None:
        self._blobs = blobs
        self._repository = repository
        self._transfer = transfer
        self._alone: PassThrough | None = None

    async def started(self) -> None:
        """Return when an answer may begin."""
        try:
            await self._transfer.started()
        except NotKept as reason:
            await self._leave_the_others(reason)

    @property
    def size(self) -> int:
        return self._alone.size if self._alone is not None else self._transfer.total or 0

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        if self._alone is None:
            try:
                return await self._transfer.read(offset, length)
            except NotKept as reason:
                await self._leave_the_others(reason)
        assert self._alone is not None  # noqa: S101 -- as of the line above, if not before
        return await self._alone.read(offset, length)

    def close(self) -> None:
        if self._alone is not None:
            self._alone.close()
        self._blobs.left(self._transfer)

    async def _leave_the_others(self, reason: NotKept) -> None:
        self._alone = await self._blobs.passed_through(self._repository, self._transfer, reason)


class Blobs:
    """Answers to requests for blobs, each only through a repository that has it."""

    def __init__(
        self,
        *,
        records: Records,
        store: BlobStore,
        leases: Leases,
        upstreams: Mapping[str, Upstream],
        flights: Flights,
        admission: Admission,
        finish_abandoned: bool,
    ) -> None:
        """`finish_abandoned`: go on with a transfer that nobody reads any more."""
        self._records = records
        self._store = store
        self._leases = leases
        self._upstreams = upstreams
        self._flights = flights
        self._admission = admission
        self._finish_abandoned = finish_abandoned
        # By repository and digest. What runs for another repository, or in another process, is
        # found through its lease.
        self._transfers: dict[tuple[str, Digest], tuple[Transfer, asyncio.Task[None]]] = {}

    @property
    def transfers(self) -> int:
        """How many blobs are on their way here."""
        return len(self._transfers)

    async def here(self, repository: Repository, digest: Digest) -> Source | None:
        """The blob if it is here, or on its way; None if a transfer would have to be started.

        BlobUnknown if the repository has it not, though another one may.
        """
        if digest == EMPTY_LAYER:
            trace.current().outcome = Outcome.HIT
            return _Constant()
        if (blob := await self._store.open(digest)) is not None:
            try:
                await self._granted(repository, digest)
            except BaseException:
                blob.close()
                raise
            trace.current().outcome = Outcome.HIT
            return blob
        if (str(repository), digest) not in self._transfers:
            return None
        return await self._joined(repository, digest)

    async def open(self, repository: Repository, digest: Digest) -> Source:
        """The blob, fetched if need be; BlobUnknown, an UpstreamFailure or StorageFailure."""
        return await self.here(repository, digest) or await self._joined(repository, digest)

    async def size(self, repository: Repository, digest: Digest) -> int:
        """The blob's size in bytes, without fetching it where the upstream says it."""
        if digest == EMPTY_LAYER:
            trace.current().outcome = Outcome.HIT
            return len(EMPTY_LAYER_BYTES)
        if (size := await self._store.size(digest)) is not None:
            await self._granted(repository, digest)
            trace.current().outcome = Outcome.HIT
            return size
        trace.current().outcome = Outcome.MISS
        upstream = self._upstreams[repository.registry]
        size = await self._flights.do(
            f"size:{repository}:{digest}", lambda: upstream.blob_size(repository.name, digest)
        )
        if size is None:
            source = await self.open(repository, digest)
            size = source.size
            source.close()
        return size

    def part(
        self, repository: Repository, digest: Digest, first: int, last: int
    ) -> AbstractAsyncContextManager[BlobStream]:
        """Bytes `first` to `last` straight from upstream: unverified, and so never kept."""
        trace.current().outcome = Outcome.MISS
        trace.current().detail = "unverified-range"
        upstream = self._upstreams[repository.registry]
        return upstream.blob(repository.name, digest, start=first, end=last)

    async def read(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        """The whole of a small blob; Refused if it is larger than `limit` bytes."""
        source = await self.open(repository, digest)
        try:
            if source.size > limit:
                raise Refused(
                    f"{digest} is {source.size} bytes, and {limit} are the limit", Obstacle.SIZE
                )
            content = bytearray()
            while len(content) < source.size:
                content += await source.read(len(content), source.size - len(content))
            return bytes(content)
        finally:
            source.close()

    async def _granted(
        self, repository: Repository, digest: Digest, *, shown: bool = False
    ) -> None:
        """Return if the repository has the blob, as a manifest said or the upstream does.

        `shown`: the upstream has just given it through this repository.
        """
        if await self._records.linked(repository, digest):
            return

        async def ask() -> None:
            if not shown:
                await self._upstreams[repository.registry].blob_size(repository.name, digest)
            await self._link(repository, digest)

        await self._flights.do(f"grant:{repository}:{digest}", ask)

    async def _link(self, repository: Repository, digest: Digest) -> None:
        try:
            await self._records.link(repository, [digest])
        except OSError as error:
            # The upstream has just said that it may be read; it will be asked again.
            _log.error("blob.not_linked", repository=str(repository), error=str(error))

    async def _joined(self, repository: Repository, digest: Digest) -> Source:
        trace.current().outcome = Outcome.MISS
        transfer = self._transfer(repository, digest)
        transfer.readers += 1
        telemetry.FOLLOWERS.inc()
        follower = _Follower(self, repository, transfer)
        try:
            await follower.started()
            await self._granted(repository, digest, shown=transfer.shown)
        except BaseException:
            follower.close()
            raise
        return follower

    def _transfer(self, repository: Repository, digest: Digest) -> Transfer:
        key = str(repository), digest
        if key in self._transfers:
            trace.current().detail = "collapsed"
            return self._transfers[key][0]
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
        self._transfers[key] = transfer, task
        task.add_done_callback(lambda _: self._ended(transfer))
        return transfer

    async def passed_through(
        self, repository: Repository, transfer: Transfer, reason: NotKept
    ) -> PassThrough:
        """The transfer's blob for one reader alone, of which nothing is kept."""
        happened = trace.current()
        happened.stored, happened.detail = False, "not-kept"
        _log.warning("blob.passed_through", digest=transfer.digest, reason=reason.reason)
        return await PassThrough.opened(
            transfer.digest,
            repository.name,
            upstream=self._upstreams[repository.registry],
            flights=self._flights,
            admitted=self._admission.passed_through(reason.reason),
            begun=transfer.begun,
        )

    def left(self, transfer: Transfer) -> None:
        """A reader has gone."""
        transfer.readers -= 1
        telemetry.FOLLOWERS.dec()
        running = self._transfers.get((str(transfer.repository), transfer.digest))
        if running is None or running[0] is not transfer:
            if transfer.readers == 0:
                transfer.close()
        elif transfer.readers == 0 and not self._finish_abandoned:
            running[1].cancel()

    def _ended(self, transfer: Transfer) -> None:
        del self._transfers[str(transfer.repository), transfer.digest]
        if transfer.readers == 0:
            transfer.close()
