"""A mirror whose content is verified while there is still another place to get it from.

Every caller verifies content anyway. But then it is too late to ask another upstream, and the next
request would get the same wrong content.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from proxy.errors import ManifestInvalid, UpstreamInvalid
from proxy.kit.lru import LruCache
from proxy.oci.manifest import read_manifest
from proxy.oci.reference import Digest
from proxy.upstream.decorator import UpstreamDecorator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proxy.oci.reference import Tag
    from proxy.ports import BlobStream, Fetched, Late, Upstream
    from proxy.upstream.operation import Operation

T = TypeVar("T")

_log = structlog.get_logger()

# The memory for digests of wrong blobs, in bytes: some hundreds of them.
_MEMORY: Final = 2**16
_COST: Final = 256


class VerifiedMirror(UpstreamDecorator):
    """Fits ports.Upstream. A blob that was wrong once is not taken from the mirror again."""

    def __init__(self, upstream: Upstream, *, name: str) -> None:
        """`name` is what people call the mirror."""
        self._upstream = upstream
        self._name = name
        self._wrong: LruCache[Digest, bool] = LruCache(_MEMORY)

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; UpstreamInvalid if it is no manifest, or not the one that the digest names."""
        fetched = await super().manifest(name, reference)
        expected = reference if isinstance(reference, Digest) else fetched.digest
        try:
            read_manifest(fetched.raw, fetched.content_type, expected=expected)
        except ManifestInvalid as error:
            raise self._report(reference, error.message) from None
        return fetched

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
        late: Late | None = None,
        is_retry: bool = False,
    ) -> AsyncIterator[BlobStream]:
        """GET; UpstreamInvalid for a blob that was wrong before.

        A late answer is a failure all the same: there is another place to get the blob from.
        """
        del late
        if digest in self._wrong:
            raise UpstreamInvalid(f"{self._name} has sent a blob that was not {digest}")
        async with super().blob(
            name, digest, start=start, end=end, validator=validator, is_retry=is_retry
        ) as stream:
            whole = start == 0 and end is None
            yield _HashedStream(stream, self, digest) if whole else stream

    async def close(self) -> None:
        """Close the mirror's connections."""
        await self._upstream.close()

    def quarantine(self, digest: Digest) -> None:
        """Never take this blob from the mirror again."""
        self._wrong.put(digest, value=True, cost=_COST)
        self._report(digest, "another digest")

    async def _apply(self, _operation: Operation, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        return await ask(self._upstream)

    def _report(self, reference: Digest | Tag, reason: str) -> UpstreamInvalid:
        _log.warning("mirror.sent_wrong", upstream=self._name, reference=reference, reason=reason)
        return UpstreamInvalid(f"{self._name} sent something else for {reference}: {reason}")


@dataclass(frozen=True, slots=True)
class _HashedStream:
    """A whole blob. Its reader finds a wrong digest by itself; the mirror is told of it."""

    stream: BlobStream
    mirror: VerifiedMirror
    digest: Digest

    @property
    def start(self) -> int:
        return self.stream.start

    @property
    def total(self) -> int | None:
        return self.stream.total

    @property
    def validator(self) -> str | None:
        return self.stream.validator

    @property
    def coding(self) -> str | None:
        return self.stream.coding

    async def chunks(self) -> AsyncIterator[bytes]:
        running = self.digest.hasher()
        async for chunk in self.stream.chunks():
            running.update(chunk)
            yield chunk
        if running.hexdigest() != self.digest.hex:
            self.mirror.quarantine(self.digest)
