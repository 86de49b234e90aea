"""A stored blob whose bytes come from upstream if it turns out to be damaged while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.errors import BlobDamaged, StorageFailure, StoreError
from proxy.ports import FileBacked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.blobs.source import Source
    from proxy.oci.reference import Digest
    from proxy.ports import Blob, BlobStore

_log = structlog.get_logger()


async def open_verified(store: BlobStore, digest: Digest) -> Blob | None:
    """Open a stored blob of which every part is right; None if there is none, or a damaged one."""
    blob = await store.open(digest)
    if blob is None:
        return None
    try:
        await blob.verify()
    except StoreError as error:
        await discard(store, digest, blob, str(error))
        return None
    except BaseException:
        blob.close()
        raise
    return blob


async def discard(store: BlobStore, digest: Digest, blob: Blob, reason: str) -> None:
    """Close a blob that cannot be read, and have the store quarantine it."""
    try:
        await quarantine(store, digest, blob, reason)
    finally:
        blob.close()


async def quarantine(
    store: BlobStore, digest: Digest, blob: Blob, reason: str, *, offset: int = 0
) -> None:
    """Have the store quarantine a blob that cannot be read from `offset` on."""
    _log.error("blob.unreadable", digest=digest, offset=offset, reason=reason)
    try:
        await store.quarantine(digest, blob)
    except StoreError as error:
        _log.error("blob.not_quarantined", digest=digest, error=str(error))


class StoredBlob:
    """Fits Source. What cannot be read comes from a transfer, unnoticed by the client."""

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

    @property
    def file(self) -> int | None:
        """The descriptor of the file that it is read from; None if it is none."""
        if self._replacement is None and isinstance(self._blob, FileBacked):
            return self._blob.fileno()
        return None

    def is_near(self, _offset: int) -> bool:
        """All of it is here."""
        return True

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return at least one byte from `offset`; UpstreamFailure or StorageFailure.

        StorageFailure, too, if what was read before is wrong.
        """
        if self._replacement is None:
            try:
                if piece := await self._blob.read(offset, length):
                    return piece
                reason = "it ends early"
            except BlobDamaged as error:
                await quarantine(self._store, self._digest, self._blob, str(error), offset=offset)
                raise StorageFailure("the blob that was stored is damaged") from error
            except StoreError as error:
                reason = str(error)
            self._replacement = await self._replace(offset, reason)
        return await self._replacement.read(offset, length)

    async def replace(self, reason: str) -> None:
        """Read from a transfer from now on, because what is stored is wrong."""
        self._replacement = await self._replace(0, reason)

    def close(self) -> None:
        """Stop reading."""
        if self._replacement is not None:
            self._replacement.close()
        self._blob.close()

    async def _replace(self, offset: int, reason: str) -> Source:
        await quarantine(self._store, self._digest, self._blob, reason, offset=offset)
        replacement = await self._fetch()
        if replacement.size != self.size:
            replacement.close()
            raise StorageFailure("the blob that is stored is not what the upstream has")
        return replacement
