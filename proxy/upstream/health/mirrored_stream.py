"""A blob's bytes as a mirror sends them: never more than the blob has, and never too slowly.

If a mirror stops or becomes too slow, the rest is fetched from the next place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from proxy.errors import UpstreamFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.errors import UpstreamUnavailable
    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream

# A mirror that was waited for so many seconds must have sent so many bytes meanwhile.
_WINDOW: Final = 10.0
_LEAST: Final = 64 * 1024


class Sender(Protocol):
    """The mirror, which is told how the blob ended."""

    def quarantine(self, digest: Digest) -> None:
        """It was another blob."""
        ...

    def avoid(self, digest: Digest, reason: str) -> UpstreamUnavailable:
        """Report why the blob did not end, such as "stopped in"; return the error to raise."""
        ...


class VerifiedStream:
    """Fits BlobStream. Its reader finds a wrong digest by itself; the mirror is told of it."""

    # A validator is the mirror's own, and means nothing to the place that goes on.
    validator: str | None = None
    # An encoded one is not accepted.
    coding: str | None = None

    def __init__(
        self,
        stream: BlobStream,
        sender: Sender,
        digest: Digest,
        size: int | None,
        *,
        end: int | None,
        clock: Clock,
    ) -> None:
        """`size` is the whole blob's, in bytes, and `end` the last byte that was asked for."""
        self.start = stream.start
        self.total = size
        self._stream = stream
        self._sender = sender
        self._digest = digest
        self._end = end
        self._clock = clock

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive; UpstreamUnavailable if they stop, or hardly arrive."""
        is_whole = self.start == 0 and self._end is None
        running = self._digest.hasher()
        received = self.start
        async for chunk in self._watch_pace():
            piece = chunk if self.total is None else chunk[: self.total - received]
            received += len(piece)
            running.update(piece)
            if piece:
                yield piece
            if received == self.total:
                break
        if self._end is None and self.total is not None and received < self.total:
            raise self._sender.avoid(self._digest, "stopped in the middle of")
        if is_whole and running.hexdigest() != self._digest.hex:
            self._sender.quarantine(self._digest)

    async def _watch_pace(self) -> AsyncIterator[bytes]:
        waited, gained = 0.0, 0
        chunks = aiter(self._stream.chunks())
        while True:
            since = self._clock.monotonic()
            try:
                chunk = await anext(chunks, None)
            except UpstreamFailure:
                raise self._sender.avoid(self._digest, "stopped in the middle of") from None
            if chunk is None:
                return
            waited += self._clock.monotonic() - since
            gained += len(chunk)
            yield chunk
            if waited >= _WINDOW:
                if gained < _LEAST:
                    raise self._sender.avoid(self._digest, "hardly sends anything of")
                waited, gained = 0.0, 0


@dataclass(frozen=True, slots=True)
class ReadStream:
    """A small blob that is here already, and verified. Fits BlobStream."""

    content: bytes
    total: int | None
    start: int = 0
    validator: str | None = None
    coding: str | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the whole of it."""
        yield self.content
