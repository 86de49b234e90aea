"""A blob in a bucket, of which nothing wrong can be read as a whole.

Others may write to the bucket, and a gateway's disk may be damaged. So an object is hashed while it
is read, unless exactly this content of it was hashed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import BlobDamaged, StoreError
from proxy.kit.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.oci.reference import Digest
    from proxy.stores.bucket.bucket import Identity
    from proxy.stores.bucket.object_reader import ObjectReader

# The end of an object that is given only after its digest was verified, in bytes, and how much is
# read at a time to verify one.
_HELD_BACK: Final = 64 * 1024
_PIECE: Final = 2**20


class ObjectBlob:
    """Fits Blob. A reader of all of it, from its beginning, has the digest's bytes at the end."""

    __slots__ = (
        *("_digest", "_given", "_hash", "_hashed", "_on_verified", "_reader", "_tail"),
        *("_tail_start", "_verified", "damaged"),
    )

    def __init__(
        self,
        digest: Digest,
        reader: ObjectReader,
        *,
        verified: bool,
        on_verified: Callable[[], None],
    ) -> None:
        """Take ownership of `reader`; `verified` if its content is known to be the digest's."""
        self.damaged = False
        self._digest = digest
        self._reader = reader
        self._verified = verified
        self._on_verified = on_verified
        self._hash = digest.hasher()
        self._hashed = 0
        # Whether bytes were given that nothing has verified yet.
        self._given = False
        # The end, kept from its verification until it is read.
        self._tail = memoryview(b"")
        self._tail_start = 0

    @property
    def size(self) -> int:
        """In bytes, as it was when the blob was opened."""
        return self._reader.size

    @property
    def identity(self) -> Identity:
        """Which content of the object this is."""
        return self._reader.identity

    async def read(self, offset: int, length: int) -> memoryview:
        """Read at most `length` bytes from `offset`; the end only after all of it was hashed.

        BlobDamaged if bytes that were given are wrong, or can no longer be verified; StoreError for
        every other failure.
        """
        sendable = self.size - _HELD_BACK - offset
        if not self._verified and offset < self.size:
            if offset == self._hashed and sendable > 0:
                piece = await self._next(min(length, sendable))
                self._given = True
                return piece
            await self.verify()
        at = offset - self._tail_start
        if 0 <= at < len(self._tail):
            return self._tail[at : at + length]
        return await self._reader.read(offset, length)

    async def verify(self) -> None:
        """Return when all of it is known to be right, reading what was not read yet.

        Raises as `read` does.
        """
        if self._verified:
            return
        start, keeps = self._hashed, self.size - self._hashed <= _HELD_BACK
        tail = bytearray()
        while self._hashed < self.size:
            piece = await self._next(_PIECE)
            if keeps:
                tail += piece
        if self._hash.hexdigest() != self._digest.hex:
            self.damaged = True
            raise self._failure("the object in the bucket is not what its digest names")
        self._tail, self._tail_start = memoryview(tail), start
        self._verified = True
        self._on_verified()

    def close(self) -> None:
        """Release what was read."""
        self._tail = memoryview(b"")
        self._reader.close()

    async def _next(self, length: int) -> memoryview:
        """Read and hash the next bytes."""
        try:
            piece = await self._reader.read(self._hashed, length)
        except StoreError as error:
            raise self._failure(str(error)) from error
        await in_thread(lambda: self._hash.update(piece))
        self._hashed += len(piece)
        return piece

    def _failure(self, reason: str) -> StoreError:
        return BlobDamaged(reason) if self._given else StoreError(reason)
