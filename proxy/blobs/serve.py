"""Blobs: from the store, or from a transfer, and only through a repository that has them."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from proxy.blobs.resumable import ResumableBody
from proxy.blobs.self_healing import StoredBlob
from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from proxy.blobs.source import Source
    from proxy.blobs.transfers import Transfers
    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore, Upstream

_log = structlog.get_logger()


class _Constant:
    """The empty layer: conversions to schema 1 name it, and no upstream need have it."""

    size = len(EMPTY_LAYER_BYTES)

    def is_near(self, _offset: int) -> bool:
        return True

    async def read(self, offset: int, length: int) -> bytes:
        return EMPTY_LAYER_BYTES[offset : offset + length]

    def close(self) -> None:
        """Nothing is open."""


class Blobs:
    """Answers to requests for blobs, each only through a repository that has it."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: BlobStore,
        transfers: Transfers,
        upstreams: Mapping[str, Upstream],
        flights: SingleFlight,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._transfers = transfers
        self._upstreams = upstreams
        self._flights = flights

    async def here(self, repository: Repository, digest: Digest) -> Source | None:
        """The blob if it is here, or on its way; None if a transfer would have to be started.

        BlobUnknown if the repository has it not, though another one may.
        """
        if digest == EMPTY_LAYER:
            trace.current().outcome = Outcome.HIT
            return _Constant()
        if self._transfers.runs(repository, digest):
            return await self.fetched(repository, digest)
        if (blob := await self._store.open(digest)) is None:
            return None
        try:
            await self._granted(repository, digest)
        except BaseException:
            blob.close()
            raise
        trace.current().outcome = Outcome.HIT
        return StoredBlob(
            digest, blob, store=self._store, fetch=lambda: self.fetched(repository, digest)
        )

    async def url(self, digest: Digest) -> str | None:
        """Where the client may fetch what `here` has just given it; None if from us."""
        return None if digest == EMPTY_LAYER else await self._store.url(digest)

    async def open(self, repository: Repository, digest: Digest) -> Source:
        """The blob, fetched if need be; BlobUnknown, an UpstreamFailure or StorageFailure."""
        return await self.here(repository, digest) or await self.fetched(repository, digest)

    async def fetched(self, repository: Repository, digest: Digest) -> Source:
        """The blob from its transfer, which is started if need be; raises as `open` does."""
        reader = self._transfers.join(repository, digest)
        trace.current().outcome = Outcome.HIT if reader.verified else Outcome.MISS
        try:
            await reader.started()
            if not reader.shown:
                await self._granted(repository, digest)
            elif not self._catalog.remembers_link(repository, digest):
                # That need not be on the disk before the first byte goes out.
                self._flights.start(self._granted(repository, digest, shown=True))
        except BaseException:
            reader.close()
            raise
        return reader

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
        if (size := self._transfers.length(repository, digest)) is not None:
            await self._granted(repository, digest)
            return size
        upstream = self._upstreams[repository.registry]
        size = await self._flights.do(
            f"size:{repository}:{digest}", lambda: upstream.blob_size(repository.name, digest)
        )
        if size is None:
            source = await self.open(repository, digest)
            size = source.size
            source.close()
        return size

    async def has_begun(self, digest: Digest, offset: int) -> bool:
        """Whether the byte at `offset` is here, though nobody may be fetching the blob now."""
        return await self._store.spooled(digest) > offset

    def fetch(self, repository: Repository, digest: Digest) -> None:
        """Have the blob, of which the upstream has just given a `part`, for whoever asks next.

        If there is room for it. Nobody waits for it here.
        """
        self._flights.start(self._granted(repository, digest, shown=True))
        self._transfers.fetch(repository, digest)

    async def used(self, digests: Iterable[Digest]) -> None:
        """Count those that are here as used, as parts of an image that somebody pulls."""
        try:
            await self._store.touch(digests)
        except OSError as error:
            _log.warning("blobs.not_touched", error=str(error))

    @asynccontextmanager
    async def part(
        self, repository: Repository, digest: Digest, first: int | None, last: int | None
    ) -> AsyncIterator[ResumableBody]:
        """Bytes `first` to `last`, or the last `last` ones: unverified, and so never kept.

        It begins at 0 where the upstream sends the whole instead.
        """
        trace.current().outcome = Outcome.MISS
        trace.current().detail = "unverified-range"
        upstream, name = self._upstreams[repository.registry], repository.name
        async with AsyncExitStack() as stack:
            if first is None and last:
                rest = await stack.enter_async_context(ResumableBody(digest, name, upstream))
                await rest.begin(-last)
                if rest.total is not None and rest.start == max(0, rest.total - last):
                    yield rest
                    return
                # Some know ranges, but not such.
                await stack.aclose()
                size = rest.total or await self.size(repository, digest)
                first, last = max(0, size - last), size - 1
            rest = await stack.enter_async_context(ResumableBody(digest, name, upstream, last=last))
            await rest.begin(first or 0)
            yield rest

    async def read(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        """The whole of a small blob; ConversionRefused if it is larger than `limit` bytes."""
        source = await self.open(repository, digest)
        try:
            if source.size > limit:
                raise ConversionRefused(
                    f"{digest} is {source.size} bytes, and {limit} are the limit",
                    RefusalReason.SIZE,
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
        if await self._catalog.linked(repository, digest):
            return

        async def ask() -> None:
            if not shown:
                await self._upstreams[repository.registry].blob_size(repository.name, digest)
            await self._link(repository, digest)

        await self._flights.do(f"grant:{repository}:{digest}", ask)

    async def _link(self, repository: Repository, digest: Digest) -> None:
        try:
            await self._catalog.link(repository, [digest])
        except OSError as error:
            # The upstream has just said that it may be read; it will be asked again.
            _log.error("grant.not_stored", repository=str(repository), error=str(error))
