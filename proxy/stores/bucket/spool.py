"""A blob on its way into a bucket: on the local disk until it is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid
from proxy.kit.threads import in_thread
from proxy.stores.disk.spool import DiskSpool, GrowingSpool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.oci.reference import Digest
    from proxy.stores.disk.layout import Layout
    from proxy.stores.disk.open_file import OpenFile
    from proxy.stores.disk.quota import DiskQuota

# Behind the length in the announcement: what is in the spool is the blob.
_VERIFIED: Final = b"!"


class ObjectSpool(DiskSpool):
    """A spool whose file stays where it is when it is committed, and goes when it is uploaded."""

    __slots__ = ("_upload",)

    def __init__(
        self,
        layout: Layout,
        quota: DiskQuota,
        digest: Digest,
        upload: Callable[[Digest, OpenFile], Awaitable[None]],
    ) -> None:
        """`upload` keeps the file's content, or says why not, and never raises an OSError."""
        self._upload = upload
        super().__init__(layout, quota, digest)

    async def persist(self) -> None:
        """Have the blob in the bucket; if that cannot be, it is nowhere from now on."""
        await self._upload(self._digest, self._file)
        await in_thread(self._forget)

    def _commit(self) -> OpenFile:
        self._verify()
        # After a power failure nobody may find the mark without the bytes.
        os.fsync(self._file.fileno())
        announcement = self._layout.announcement(self._digest)
        if self._expected is not None:
            with announcement.open("ab") as file:
                file.write(_VERIFIED)
        return self._file.duplicate()

    def _forget(self) -> None:
        """Remove the file without a word to those who read it: what they have is right."""
        self._layout.announcement(self._digest).unlink(missing_ok=True)
        self._layout.spool(self._digest).unlink(missing_ok=True)


class GrowingObject(GrowingSpool):
    """An ObjectSpool, read from outside. Fits Growing."""

    __slots__ = ()

    @staticmethod
    def announced(content: bytes) -> int | None:
        """The length that an announcement states, verified or not."""
        return GrowingSpool.announced(content.removesuffix(_VERIFIED))

    async def verified(self) -> bool:
        """Whether its writer has found it to be the blob; UpstreamInvalid if it never can be."""
        content = os.pread(self._announcement.fileno(), self._announcement.size, 0)
        if not content:
            raise UpstreamInvalid("what another process received of this blob was not the blob")
        return content.endswith(_VERIFIED)
