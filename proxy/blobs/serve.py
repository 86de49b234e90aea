"""Serve blobs from the store or from a transfer, each only through a repository that has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from proxy.blobs.constant_source import ConstantSource
from proxy.blobs.self_healing import StoredBlob
from proxy.blobs.stored import StoredBlobs
from proxy.blobs.upstream_ranges import UpstreamRanges
from proxy.errors import (
    BlobUnknown,
    BlobUnproved,
    ClientThrottled,
    ConversionRefused,
    RefusalReason,
    StoreError,
    UpstreamFailure,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.blobs.grants import BlobGrants
    from proxy.blobs.source import DerivedBlobs, Source
    from proxy.blobs.transfers import Transfers
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore, Upstream

_log = structlog.get_logger()

# How long anybody can use the URL of a blob that not everybody may read, in seconds.
_PRIVATE_URL_LIFE: Final = 60.0


class Blobs:
    """Answers to requests for blobs, each only through a repository that has it."""

    def __init__(
        self,
        *,
        grants: BlobGrants,
        store: BlobStore,
        transfers: Transfers,
        upstreams: Mapping[str, Upstream],
        registries: Mapping[str, Upstream],
        flights: SingleFlight,
        derived: DerivedBlobs,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`registries` are those of the `upstreams` that clients name, without their mirrors.

        What cannot be verified comes from nowhere else.
        """
        self._grants = grants
        self._store = store
        self._stored = StoredBlobs(store, grants, registries)
        self._transfers = transfers
        self._upstreams = upstreams
        self._flights = flights
        self._derived = derived
        # What is passed on of blobs that are not here.
        self.ranges = UpstreamRanges(
            transfers=transfers,
            upstreams=upstreams,
            registries=registries,
            size=self.size,
            clock=clock,
        )

    async def find(
        self, repository: Repository, digest: Digest, *, in_parts: bool = False
    ) -> Source | None:
        """Return the blob if it is stored or being fetched; None if a transfer must be started.

        `in_parts` if anything but the whole of it, from its beginning, is read. BlobUnknown if the
        repository does not have it, though another one may.
        """
        found = await self._find_from_upstream(repository, digest, in_parts=in_parts)
        if found is None and await self._grants.is_derived(repository, digest):
            return await self._find_derived(repository, digest)
        return found

    async def _find_from_upstream(
        self, repository: Repository, digest: Digest, *, in_parts: bool
    ) -> Source | None:
        """The same without what was made here."""
        if digest == EMPTY_LAYER:
            trace.current().outcome = Outcome.HIT
            return ConstantSource(EMPTY_LAYER_BYTES)
        if self._transfers.is_running(repository, digest):
            return await self.fetch(repository, digest)
        if (blob := await self._stored.open(repository, digest, in_parts=in_parts)) is None:
            return None
        return StoredBlob(
            digest, blob, store=self._store, fetch=lambda: self.fetch(repository, digest)
        )

    async def find_stored(
        self, repository: Repository, digest: Digest, *, or_running: bool = False
    ) -> Source | None:
        """Return the blob if it is stored, and the repository is known to have it.

        `or_running`: or if its transfer through this repository is running.
        """
        if or_running and self._transfers.is_running(repository, digest):
            return await self.fetch(repository, digest)
        blob = await self._stored.open_granted(repository, digest)
        if blob is None:
            return None
        return StoredBlob(
            digest, blob, store=self._store, fetch=lambda: self.fetch(repository, digest)
        )

    async def is_claimed(self, repository: Repository, digest: Digest) -> bool:
        """Whether the repository may serve the blob only because a manifest names it."""
        return await self._grants.is_claimed(repository, digest)

    def open_arrived(self, repository: Repository, digest: Digest) -> tuple[Source, int] | None:
        """What has arrived of a blob that is being fetched, and how much; it is not verified."""
        return self._transfers.open_arrived(repository, digest)

    async def url(self, digest: Digest, source: Source, *, private: bool = False) -> str | None:
        """Return where the client may fetch `source`, which is the blob `digest`; None: here.

        `private`: not everybody may read it, so that the URL is for a short time.
        """
        if isinstance(source, ConstantSource):
            return None
        return await self._store.url(digest, seconds=_PRIVATE_URL_LIFE if private else None)

    async def open(
        self, repository: Repository, digest: Digest, *, in_parts: bool = False
    ) -> Source:
        """Return the blob, fetched if need be; BlobUnknown, UpstreamFailure or StorageFailure."""
        found = await self.find(repository, digest, in_parts=in_parts)
        return found or await self.fetch(repository, digest)

    async def fetch(self, repository: Repository, digest: Digest) -> Source:
        """Return the blob from its transfer, which is started if need be; raises as `open` does."""
        try:
            return await self._transfer(repository, digest)
        except (BlobUnknown, UpstreamFailure):
            # The catalog may have lost that it was made here.
            if (derived := await self._find_derived(repository, digest)) is not None:
                return derived
            raise

    async def _find_derived(self, repository: Repository, digest: Digest) -> Source | None:
        content = await self._derived.get(repository, digest)
        if content is None:
            return None
        trace.current().outcome = Outcome.HIT
        return ConstantSource(content)

    async def _transfer(self, repository: Repository, digest: Digest) -> Source:
        while True:
            reader = self._transfers.join(repository, digest)
            trace.current().outcome = Outcome.HIT if reader.verified else Outcome.MISS
            try:
                await reader.wait_until_sendable()
                if not reader.delivered:
                    await self._stored.require_access(repository, digest)
            except ClientThrottled as error:
                reader.close()
                if error.concerns_caller():
                    raise
                # Another client's request has begun it: when that has ended, this one begins.
                await asyncio.sleep(0)
            except BaseException:
                reader.close()
                raise
            else:
                return reader

    async def size(self, repository: Repository, digest: Digest) -> int:
        """Return the blob's size in bytes, without fetching it if that is known or stated.

        The upstream is not asked where the repository has a grant, or a claim that suffices.
        """
        if (size := await self._find_size(repository, digest)) is not None:
            return size
        claimed = await self._grants.claimed_size(repository, digest)
        if claimed is not None and await self._grants.exists(repository, digest):
            return claimed
        try:
            return await self._ask_size(repository, digest, claimed)
        except (BlobUnknown, UpstreamFailure):
            if (derived := await self._find_derived(repository, digest)) is not None:
                return derived.size
            raise

    async def _find_size(self, repository: Repository, digest: Digest) -> int | None:
        """The size of what is here, or being fetched."""
        if digest == EMPTY_LAYER:
            trace.current().outcome = Outcome.HIT
            return len(EMPTY_LAYER_BYTES)
        if (blob := await self._stored.open(repository, digest)) is not None:
            blob.close()
            return blob.size
        trace.current().outcome = Outcome.MISS
        if (size := self._transfers.length(repository, digest)) is not None:
            return size
        if not await self._grants.is_derived(repository, digest):
            return None
        derived = await self._find_derived(repository, digest)
        return None if derived is None else derived.size

    async def _ask_size(self, repository: Repository, digest: Digest, claimed: int | None) -> int:
        """Return the size that the upstream or a manifest states, or that the fetched blob has."""
        upstream = self._upstreams[repository.registry]
        try:
            size = await self._flights.do(
                f"size:{repository}:{digest}",
                lambda: upstream.blob_size(repository.name, digest, expected=claimed),
            )
        except BlobUnproved:
            # The bytes show it, wherever they come from.
            size = claimed = None
        if claimed is not None:
            # That the upstream has it is what was in question: the manifest knows its length.
            return claimed
        if size is None:
            source = await self.open(repository, digest)
            source.close()
            return source.size
        return size

    async def has_access(self, repository: Repository, digest: Digest) -> bool:
        """Whether the repository may serve the blob, as far as the catalog knows."""
        return await self._grants.exists(repository, digest)

    async def prefetch(self, repository: Repository, digest: Digest) -> None:
        """Begin to fetch the blob in the background, unless it is stored."""
        if await self._store.size(digest) is None:
            self._transfers.prefetch(repository, digest)

    async def has_begun(self, repository: Repository, digest: Digest, offset: int) -> bool:
        """Whether the byte at `offset` is in a spool, though no transfer may be running."""
        return await self._transfers.has_begun(repository, digest, offset)

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Count the stored ones of `digests` as used now: an image that is pulled names them."""
        try:
            await self._store.touch(digests)
        except StoreError as error:
            _log.warning("blobs.not_touched", error=str(error))

    async def read(self, repository: Repository, digest: Digest, *, limit: int) -> bytes:
        """Return the whole of a small blob; ConversionRefused if it has more than `limit` bytes.

        The upstream should have it: what was made here is looked for only if it has not.
        """
        found = await self._find_from_upstream(repository, digest, in_parts=True)
        source = found or await self.fetch(repository, digest)
        try:
            if source.size > limit:
                raise ConversionRefused(
                    f"{digest} has {source.size} bytes, and {limit} are the limit",
                    RefusalReason.SIZE,
                )
            return await _read_whole(source)
        finally:
            source.close()

    async def content(self, digest: Digest, source: Source) -> bytes:
        """Return all of `source`, a small blob; one that is stored and damaged is fetched again."""
        content = await _read_whole(source)
        if isinstance(source, StoredBlob) and not digest.matches(content):
            await source.replace("its content is wrong")
            content = await _read_whole(source)
        return content


async def _read_whole(source: Source) -> bytes:
    content = bytearray()
    while len(content) < source.size:
        content += await source.read(len(content), source.size - len(content))
    return bytes(content)
