"""Spools of blobs for a bucket: on the local disk until they are uploaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid
from proxy.stores.disk.io import in_store_thread, store_errors
from proxy.stores.disk.spool import DiskSpool, GrowingSpool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.open_file import OpenFile
    from proxy.stores.disk.quota import DiskQuota

# Follows the length in the announcement once the spool is verified.
_VERIFIED: Final = b"!"


class ObjectSpool(DiskSpool):
    """A spool whose file stays when it is committed, and is removed after the upload."""

    __slots__ = ("_upload",)

    def __init__(
        self,
        layout: Layout,
        quota: DiskQuota,
        upstream: str,
        digest: Digest,
        upload: Callable[[str, Digest, OpenFile], Awaitable[None]],
    ) -> None:
        """`upload` uploads the file's content; it logs a failure and raises no OSError."""
        self._upload = upload
        super().__init__(layout, quota, upstream, digest)

    async def persist(self) -> None:
        """Upload the blob, then remove the file; if the upload fails, the blob is lost."""
        await self._upload(self._upstream, self._digest, self._file)
        await in_store_thread(self._forget)

    def _commit(self) -> OpenFile:
        self._verify()
        # After a power failure the mark must not exist without the bytes.
        os.fsync(self._file.fileno())
        announcement = self._layout.announcement(self._upstream, self._digest)
        if self._expected is not None:
            with announcement.open("ab") as file:
                file.write(_VERIFIED)
        return self._file.duplicate()

    def _forget(self) -> None:
        """Remove the file without failing its readers: their bytes are verified."""
        self._layout.announcement(self._upstream, self._digest).unlink(missing_ok=True)
        self._layout.spool(self._upstream, self._digest).unlink(missing_ok=True)


class GrowingObject(GrowingSpool):
    """An ObjectSpool that another process writes, for reading. Fits Growing."""

    __slots__ = ()

    @staticmethod
    def parse_length(content: bytes) -> int | None:
        """Parse the length in an announcement, verified or not."""
        return GrowingSpool.parse_length(content.removesuffix(_VERIFIED))

    async def verified(self) -> bool:
        """Whether the writer has verified the blob; UpstreamInvalid if the transfer failed."""
        with store_errors():
            content = os.pread(self._announcement.fileno(), self._announcement.size, 0)
        if not content:
            raise UpstreamInvalid("another process received bytes that do not match the digest")
        return content.endswith(_VERIFIED)
