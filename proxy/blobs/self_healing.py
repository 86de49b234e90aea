"""A stored blob whose bytes come from upstream if it turns out to be damaged while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import StorageFailure, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.blobs.source import Source
    from proxy.oci.reference import Digest
    from proxy.ports import Blob, BlobStore

_log = structlog.get_logger()


class StoredBlob:
    """Fits Source. What cannot be read comes from a transfer, without the client's noticing."""

    __slots__ = ("_blob", "_digest", "_fetch", "_replacement", "_store", "size")

    def __init__(
        self,
        digest: Digest,
        blob: Blob,
        *,
        store: BlobStore,
        fetch: Callable[[], Awaitable[Source]],
    ) -> None:
        """`fetch` gets the blob from upstream, after the store has quarantined its own."""
        self.size = blob.size
        self._digest = digest
        self._blob = blob
        self._store = store
        self._fetch = fetch
        self._replacement: Source | None = None

    def is_near(self, _offset: int) -> bool:
        """All of it is here."""
        return True

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return at least one byte from `offset`; UpstreamFailure or StorageFailure."""
        if self._replacement is None:
            try:
                if piece := await self._blob.read(offset, length):
                    return piece
                reason = "it ends early"
            except StoreError as error:
                reason = str(error)
            self._replacement = await self._replace(offset, reason)
        return await self._replacement.read(offset, length)

    def close(self) -> None:
        """Stop reading."""
        if self._replacement is not None:
            self._replacement.close()
        self._blob.close()

    async def _replace(self, offset: int, reason: str) -> Source:
        _log.error("blob.unreadable", digest=self._digest, offset=offset, reason=reason)
        await self._store.quarantine(self._digest, self._blob)
        replacement = await self._fetch()
        if replacement.size != self.size:
            replacement.close()
            raise StorageFailure("the blob that is stored is not what the upstream has")
        return replacement
