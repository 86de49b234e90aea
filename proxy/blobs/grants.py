"""Whether a repository may serve a stored blob: its grant, a claim that suffices, or a proof.

Bytes are shared between repositories, and grants are not. A repository whose upstream has never
delivered the blob proves that it has it, before anything of it is served there.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import BlobUnknown, BlobUnproved, StoreError, UpstreamInvalid
from proxy.ports.catalog import Claim, Grant, Proof

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.catalog.catalog import Catalog
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import Blob, BlobStore, Upstream

_log = structlog.get_logger()

# What is compared with the upstream's bytes where nobody knows who delivered ours.
_RANGES: Final = 3
_RANGE: Final = 4096
# A blob that is smaller is compared whole: it is hardly more than the ranges.
_SMALL: Final = 64 * 1024


class BlobGrants:
    """Finds, and makes, the grants of blobs."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        store: BlobStore,
        upstreams: Mapping[str, Upstream],
        flights: SingleFlight,
        is_shared: bool = False,
    ) -> None:
        """The `catalog` keeps the grants; `upstreams` are asked where it has none.

        The `store` knows which upstreams have delivered a blob.

        `is_shared` if other processes look for grants in the same catalog.
        """
        self._is_shared = is_shared
        self._catalog = catalog
        self._store = store
        self._upstreams = upstreams
        self._flights = flights

    async def exists(self, repository: Repository, digest: Digest) -> bool:
        """Whether the repository may serve the blob, as far as the catalog knows."""
        return (await self._catalog.look_blob(repository, digest)).access is not None

    async def claimed_size(self, repository: Repository, digest: Digest) -> int | None:
        """The blob's size as a manifest of the repository states it; None if none is known."""
        return await self._catalog.claimed_size(repository, digest)

    async def add(self, repository: Repository, digest: Digest) -> None:
        """Record that the repository's upstream has delivered the whole blob there, verified.

        The grant counts at once. It is written in the background where no other process needs it.
        """
        write = self._catalog.grant_blob(repository, digest, Proof.DELIVERED)
        if write is None:
            return
        if self._is_shared:
            await write
        else:
            self._flights.start(write)

    async def is_derived(self, repository: Repository, digest: Digest) -> bool:
        """Whether the catalog knows that the blob was made here, for this repository."""
        access = (await self._catalog.look_blob(repository, digest)).access
        return isinstance(access, Grant) and access.proof is Proof.DERIVED

    async def is_claimed(self, repository: Repository, digest: Digest) -> bool:
        """Whether the repository may serve the blob, though its upstream has not proved it."""
        return isinstance((await self._catalog.look_blob(repository, digest)).access, Claim)

    async def require(self, repository: Repository, digest: Digest, blob: Blob) -> None:
        """Return if the repository may serve the stored blob; raise otherwise.

        BlobUnknown if its upstream has no such blob there, or an UpstreamFailure if that cannot be
        found out now.
        """
        lookup = await self._catalog.look_blob(repository, digest)
        if lookup.access is not None:
            return
        await self._flights.do(
            f"grant:{repository}:{digest}",
            lambda: self._prove(repository, digest, blob),
        )

    async def _prove(self, repository: Repository, digest: Digest, blob: Blob) -> None:
        upstream = self._upstreams[repository.registry]
        size = None
        with suppress(BlobUnproved):
            size = await upstream.blob_size(repository.name, digest, expected=blob.size)
        delivered = await self._has_delivered(repository.registry, digest)
        if delivered and size == blob.size:
            proof = Proof.HEAD
        elif await self._equals(upstream, repository, digest, blob):
            proof = Proof.RANGES
            if not delivered:
                await self._credit(repository.registry, digest)
        else:
            _log.warning("grant.refused", repository=str(repository), digest=digest)
            raise BlobUnknown(f"{repository} has no blob {digest}")
        if write := self._catalog.grant_blob(repository, digest, proof):
            await write

    async def _has_delivered(self, upstream: str, digest: Digest) -> bool:
        """Whether the upstream has delivered this blob, so that its HEAD suffices."""
        try:
            return upstream in await self._store.upstreams(digest)
        except StoreError:
            return False

    async def _credit(self, upstream: str, digest: Digest) -> None:
        try:
            await self._store.credit(digest, upstream)
        except StoreError as error:
            _log.warning("blob.not_credited", digest=digest, error=str(error))

    async def _equals(
        self, upstream: Upstream, repository: Repository, digest: Digest, blob: Blob
    ) -> bool:
        """Whether the upstream's bytes equal ours at random places, which it cannot foresee."""
        if blob.size <= _SMALL:
            places = [range(blob.size)]
        else:
            starts = [secrets.randbelow(blob.size - _RANGE + 1) for _ in range(_RANGES)]
            places = [range(start, start + _RANGE) for start in starts]
        for place in places:
            try:
                theirs = await _read_upstream(upstream, repository, digest, place, blob.size)
            except UpstreamInvalid:
                return False
            if not secrets.compare_digest(theirs, await _read_stored(blob, place)):
                return False
        return True


async def _read_upstream(
    upstream: Upstream, repository: Repository, digest: Digest, place: range, size: int
) -> bytes:
    """The bytes at `place`, of a blob of `size` bytes; fewer if the upstream has fewer."""
    end = None if place.stop == size else place.stop - 1
    body = bytearray()
    async with upstream.blob(repository.name, digest, start=place.start, end=end) as stream:
        # An upstream that does not know ranges sends all that is before; nothing of it is kept.
        skip = place.start - stream.start
        if skip < 0:
            raise UpstreamInvalid(f"the upstream sent another range of {digest}")
        async for chunk in stream.chunks():
            body += chunk[skip:]
            skip = max(0, skip - len(chunk))
            if len(body) >= len(place):
                break
    return bytes(body[: len(place)])


async def _read_stored(blob: Blob, place: range) -> bytes:
    body = bytearray()
    while len(body) < len(place):
        piece = await blob.read(place.start + len(body), len(place) - len(body))
        if not piece:
            break
        body += piece
    return bytes(body)
