"""The bytes of a blob as another replica sends them, verified before the last are passed on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import RegistryError, UpstreamFailure, UpstreamUnavailable
from proxy.peers.client import PeerFailed
from proxy.peers.membership import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.oci.reference import Digest
    from proxy.peers.client import PeerStream

# The end of a blob that is passed on only when all of it is right, in bytes. A blob up to this size
# is verified before the first byte of it is passed on.
HELD_BACK: Final = 64 * 1024


class FollowedStream:
    """Fits BlobStream.

    If what a replica has sent is wrong, its end is not passed on: where only that was wrong,
    somebody else continues with the right one, and no client notices.
    """

    validator: str | None = None
    # What replicas send is the content.
    coding: str | None = None

    def __init__(
        self, stream: PeerStream, digest: Digest, fail: Callable[[PeerFailed], UpstreamFailure]
    ) -> None:
        """`fail` is told why the replica has failed, and returns what is raised for it."""
        self.start = stream.start
        self.total = stream.total
        self._stream = stream
        self._digest = digest
        self._fail = fail

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive; UpstreamUnavailable if the replica fails meanwhile."""
        hasher = self._digest.hasher()
        held: deque[bytes] = deque()
        # A part of a blob cannot be verified.
        whole = self.total if self.start == 0 else None
        received = 0
        try:
            async for chunk in self._stream.chunks():
                hasher.update(chunk)
                received += len(chunk)
                if whole is not None and received > whole - HELD_BACK:
                    held.append(chunk)
                else:
                    yield chunk
        except PeerFailed as failure:
            raise self._fail(failure) from None
        except UpstreamFailure:
            raise
        except RegistryError as error:
            # A limit or a disk of that replica: another one may do better.
            raise UpstreamUnavailable(error.message) from None
        if received == whole and hasher.hexdigest() != self._digest.hex:
            raise self._fail(wrong(self._digest))
        while held:
            yield held.popleft()


@dataclass(frozen=True, slots=True)
class VerifiedStream:
    """A small blob, or the end of one. Fits BlobStream."""

    content: bytes
    start: int
    validator: str | None = None
    coding: str | None = None

    @property
    def total(self) -> int:
        """The blob's size in bytes."""
        return self.start + len(self.content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield all at once."""
        yield self.content


async def verify(stream: PeerStream, digest: Digest) -> VerifiedStream:
    """A small blob, read and compared with its digest; PeerFailed if it is another one."""
    content = b"".join([chunk async for chunk in stream.chunks()])
    if stream.start == 0 and not digest.matches(content):
        raise wrong(digest)
    return VerifiedStream(content, stream.start)


def wrong(digest: Digest) -> PeerFailed:
    """Return the failure of a replica that has sent wrong bytes."""
    return PeerFailed(Reason.LYING, f"what it sent is not {digest}")
