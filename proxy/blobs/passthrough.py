"""A blob that goes from its upstream to one client, and is not stored.

It is verified all the same: the last bytes are held back until the digest is right, so no client
ends up with a whole blob that is wrong.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

from proxy.blobs.progress import HELD_BACK
from proxy.blobs.resumable import ContentChanged, ResumableBody
from proxy.errors import RangeInvalid, StorageFailure, UpstreamInvalid
from proxy.kit.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractContextManager

    from proxy.blobs.progress import Prefix
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.oci.reference import Digest
    from proxy.ports import Upstream

# How much of a prefix is read at a time, in bytes.
_PIECE: Final = 256 * 1024


class PassThrough:
    """One upstream body for one reader. Fits Source, but is only read forwards."""

    def __init__(
        self, digest: Digest, total: int, chunks: AsyncIterator[bytes], flights: SingleFlight
    ) -> None:
        """`chunks` are all of the `total` bytes. `open` makes one that is ready to be read."""
        self._digest = digest
        self._total = total
        self._chunks = chunks
        self._flights = flights
        self._resources = AsyncExitStack()
        self._hash = digest.hasher()
        self._received = 0
        self._verified = False
        # The bytes that were received and not read yet, and the offset of the first of them.
        self._window = bytearray()
        self._start = 0

    @classmethod
    async def open(
        cls,
        digest: Digest,
        name: str,
        *,
        upstream: Upstream,
        flights: SingleFlight,
        permit: AbstractContextManager[None],
        prefix: Prefix | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> PassThrough:
        """Return the blob of the upstream's repository `name`, as soon as an answer may begin.

        `permit` is held until the blob is closed. A `prefix` is not fetched again. UpstreamFailure,
        BlobUnknown, StorageFailure, or what `permit` raises.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(permit)
            total = prefix.total if prefix else None
            body = await stack.enter_async_context(
                ResumableBody(digest, name, upstream, total=total, clock=clock)
            )
            if prefix is None or prefix.length < prefix.total:
                await _begin(body, digest, prefix.length if prefix else 0)
            total = await body.find_length()
            if total is None:
                raise StorageFailure(
                    f"{digest} cannot be stored, and the upstream does not state its size"
                )
            chunks = await stack.enter_async_context(aclosing(_concatenate(prefix, body)))
            passed = cls(digest, total, chunks, flights)
            await passed._advance(0)
            passed._resources = stack.pop_all()
        return passed

    @property
    def size(self) -> int:
        """In bytes."""
        return self._total

    def is_near(self, offset: int) -> bool:
        """Whether bytes from `offset` were received."""
        return offset <= self._received

    async def read(self, offset: int, length: int) -> bytes:
        """Return at least one byte from `offset`, which is not before the end of the last read."""
        await self._advance(offset)
        piece = bytes(self._window[: min(length, self._readable() - offset)])
        self._drop(len(piece))
        return piece

    def close(self) -> None:
        """Close the connection to the upstream."""
        self._flights.start(self._resources.aclose())

    def _readable(self) -> int:
        """Return up to which offset bytes may be sent now."""
        if self._verified:
            return self._received
        return max(0, min(self._received, self._total - HELD_BACK))

    async def _advance(self, offset: int) -> None:
        """Receive until the byte at `offset` may be sent, and drop those before it."""
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


async def _begin(body: ResumableBody, digest: Digest, start: int) -> None:
    try:
        await body.begin(start)
    except RangeInvalid:
        raise ContentChanged(f"the upstream changed {digest} midway") from None


async def _concatenate(prefix: Prefix | None, body: ResumableBody) -> AsyncGenerator[bytes, None]:
    """Yield the prefix, and then the body from its end on."""
    offset = 0
    while prefix is not None and offset < prefix.length:
        piece = await prefix.source.read(offset, min(_PIECE, prefix.length - offset))
        if not piece:
            raise StorageFailure("what was received of the blob is not there any more")
        yield bytes(piece)
        offset += len(piece)
    async with aclosing(body.chunks(offset)) as chunks:
        async for chunk in chunks:
            yield chunk
