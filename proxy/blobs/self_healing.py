"""A blob of the store that is fetched anew where it turns out to be damaged while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import StorageFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.blobs.source import Source
    from proxy.oci.reference import Digest
    from proxy.ports import Blob, BlobStore

_log = structlog.get_logger()


class StoredBlob:
    """Fits Source. Its reader does not notice: what is missing comes from a transfer."""

    __slots__ = ("_blob", "_digest", "_fetch", "_instead", "_store", "size")

    def __init__(
        self,
        digest: Digest,
        blob: Blob,
        *,
        store: BlobStore,
        fetch: Callable[[], Awaitable[Source]],
    ) -> None:
        """`fetch` has the blob from upstream, as soon as the store has it no more."""
        self.size = blob.size
        self._digest = digest
        self._blob = blob
        self._store = store
        self._fetch = fetch
        self._instead: Source | None = None

    def is_near(self, _offset: int) -> bool:
        """All of it is here."""
        return True

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """At least one byte from `offset`; whatever the upstream fails with, or StorageFailure."""
        if self._instead is None:
            try:
                if piece := await self._blob.read(offset, length):
                    return piece
                reason = "it ends too early"
            except OSError as error:
                reason = str(error)
            self._instead = await self._fetched(offset, reason)
        return await self._instead.read(offset, length)

    def close(self) -> None:
        """Stop reading."""
        if self._instead is not None:
            self._instead.close()
        self._blob.close()

    async def _fetched(self, offset: int, reason: str) -> Source:
        _log.error("blob.unreadable", digest=self._digest, offset=offset, reason=reason)
        await self._store.quarantine(self._digest, self._blob)
        instead = await self._fetch()
        if instead.size != self.size:
            instead.close()
            raise StorageFailure("the blob that is stored is not what the upstream has")
        return instead
