"""What the bytes of one answer are read from: the store, a transfer, or the upstream itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.oci.reference import Digest, Repository


class Source(Protocol):
    """A blob that can be sent: its size is known, and its bytes are given as they may be sent."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def is_near(self, offset: int) -> bool:
        """Whether bytes from `offset` can be read now or soon."""
        ...

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return at least one byte from `offset`, waiting for it if need be."""
        ...

    def close(self) -> None:
        """Stop reading. Called once."""
        ...


class DerivedBlobs(Protocol):
    """Blobs that were made here, and that no upstream has."""

    async def get(self, repository: Repository, digest: Digest) -> bytes | None:
        """Return the blob that was made for this repository; None if there is none.

        An UpstreamFailure if it is damaged, and cannot be made again now.
        """
        ...
