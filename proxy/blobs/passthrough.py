"""A blob on its way from upstream to one client, of which nothing is kept.

It is verified all the same: the last bytes are held back until the digest is right, so nobody ends
up with a whole blob that is wrong.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

from proxy.blobs.resumable import ResumableBody
from proxy.blobs.transfer import HELD_BACK
from proxy.errors import (
    RangeInvalid,
    StorageFailure,
    UpstreamInvalid,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractContextManager

    from proxy.blobs.transfer import Begun
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest
    from proxy.ports import Upstream

# How much of what has begun is read at a time.
_PIECE: Final = 256 * 1024


class PassThrough:
    """One upstream stream for one reader. Fits Source, but is only read forwards."""

    def __init__(
        self, digest: Digest, total: int, chunks: AsyncIterator[bytes], flights: SingleFlight
    ) -> None:
        """`chunks` are all the `total` bytes. `opened` makes one that is ready to be read."""
        self._digest = digest
        self._total = total
        self._chunks = chunks
        self._flights = flights
        self._opened = AsyncExitStack()
        self._hash = digest.hasher()
        self._received = 0
        self._verified = False
        # What has come and was not read yet, and the offset where it begins.
        self._window = bytearray()
        self._start = 0

    @classmethod
    async def opened(
        cls,
        digest: Digest,
        name: str,
        *,
        upstream: Upstream,
        flights: SingleFlight,
        admitted: AbstractContextManager[None],
        begun: Begun | None = None,
    ) -> PassThrough:
        """The blob of the upstream's repository `name`, when an answer may begin.

        `admitted` is entered until it is closed. What has `begun` is not asked for again.
        UpstreamFailure, BlobUnknown, StorageFailure, or whatever `admitted` raises.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(admitted)
            rest = await stack.enter_async_context(ResumableBody(digest, name, upstream))
            if begun is None or begun.length < begun.total:
                try:
                    await rest.begin(begun.length if begun else 0)
                except RangeInvalid:
                    raise UpstreamInvalid(f"the upstream changed {digest} midway") from None
                await rest.announced()
            total = _total(digest, begun, rest.total)
            chunks = await stack.enter_async_context(aclosing(_joined(begun, rest)))
            passed = cls(digest, total, chunks, flights)
            await passed._advance(0)
            passed._opened = stack.pop_all()
        return passed

    @property
    def size(self) -> int:
        """In bytes."""
        return self._total

    async def read(self, offset: int, length: int) -> bytes:
        """At least one byte from `offset`, which is not before the end of the last read."""
        await self._advance(offset)
        taken = bytes(self._window[: min(length, self._readable() - offset)])
        self._drop(len(taken))
        return taken

    def close(self) -> None:
        """Hang up on the upstream."""
        self._flights.start(self._opened.aclose())

    def _readable(self) -> int:
        """How many bytes, from the first on, may be given away now."""
        if self._verified:
            return self._received
        return max(0, min(self._received, self._total - HELD_BACK))

    async def _advance(self, offset: int) -> None:
        """Have a byte at `offset` to give away, and forget what is before it."""
        while True:
            self._drop(min(offset - self._start, len(self._window)))
            if self._readable() > offset or self._verified:
                return
            await self._receive()

    def _drop(self, count: int) -> None:
        del self._window[:count]
        self._start += count

    async def _receive(self) -> None:
        chunk = await anext(self._chunks, b"")
        self._hash.update(chunk)
        self._window += chunk
        self._received += len(chunk)
        if chunk and self._received < self._total:
            return
        if self._received != self._total or self._hash.hexdigest() != self._digest.hex:
            raise UpstreamInvalid(
                f"the {self._received} bytes that the upstream sent are not {self._digest}"
            )
        self._verified = True


def _total(digest: Digest, begun: Begun | None, announced: int | None) -> int:
    """The blob's size, on which what has begun and what is to come agree."""
    sizes = {begun.total} if begun else set()
    if announced is not None:
        sizes.add(announced)
    if not sizes:
        raise StorageFailure(f"{digest} cannot be stored, and the upstream does not say its size")
    if len(sizes) > 1:
        raise UpstreamInvalid(f"the upstream changed the size of {digest} midway")
    return sizes.pop()


async def _joined(begun: Begun | None, rest: ResumableBody) -> AsyncGenerator[bytes, None]:
    """What came before, and then what comes; only that if the upstream begins again."""
    if begun is not None and (begun.length in {begun.total, rest.start}):
        offset = 0
        while offset < begun.length:
            piece = await begun.source.read(offset, min(_PIECE, begun.length - offset))
            if not piece:
                raise StorageFailure("what was stored of the blob is not there any more")
            yield bytes(piece)
            offset += len(piece)
    async with aclosing(rest.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk
