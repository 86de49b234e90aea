"""Stored blobs, and the spools in which they arrive.

Every method may raise StoreError, unless it says otherwise: the storage behind it failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.oci.reference import Digest


class Readable(Protocol):
    """Bytes that can be read at any offset, by any number of readers at once."""

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return at most `length` bytes from `offset`; none only at the present end.

        StoreError if they are gone, or cannot be read.
        """
        ...

    def close(self) -> None:
        """Release what is open. Called once, by the caller that opened it; raises nothing."""
        ...


class Blob(Readable, Protocol):
    """A complete blob, open for reading.

    A reader of all of it, from its beginning, gets what its digest names, or an error: BlobDamaged
    if some of what was read before is wrong.
    """

    @property
    def size(self) -> int:
        """In bytes, as it was when the blob was opened."""
        ...

    async def verify(self) -> None:
        """Return when every part of it may be read by itself. Raises as `read` does."""
        ...


@runtime_checkable
class FileBacked(Protocol):
    """What is read from one file."""

    def fileno(self) -> int:
        """The file's descriptor, which is open as long as this is."""
        ...


class BlobStore(Protocol):
    """Complete blobs, by digest."""

    async def open(self, digest: Digest) -> Blob | None:
        """Open the blob, and count it as used now; None if it is not stored whole."""
        ...

    async def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes, and count it as used now; None if not stored whole."""
        ...

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Count those that are stored as used now: the least recently used are evicted first."""
        ...

    async def url(self, digest: Digest, *, seconds: float | None = None) -> str | None:
        """Return where clients may fetch a blob that was just found, for so many seconds.

        By default for some minutes. None if the proxy has to send it. Raises nothing.
        """
        ...

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Remove the blob from the store because its content is damaged.

        Nothing happens to a blob that has replaced it meanwhile.
        """
        ...

    async def upstreams(self, digest: Digest) -> frozenset[str]:
        """Return the names of the upstreams that have delivered the stored blob.

        Fewer where that has been lost, or was never kept.
        """
        ...

    async def credit(self, digest: Digest, upstream: str) -> None:
        """Count `upstream` among those: it has proved that it has the stored blob.

        A store may forget it.
        """
        ...


def spool_key(upstream: str, digest: Digest) -> str:
    """The key of the lease on a blob's spool; an upstream's name has no slash."""
    return f"{upstream}/{digest}"


class Spool(Protocol):
    """A blob that is being received. Only the holder of its lease may open it."""

    @property
    def size(self) -> int:
        """Bytes written so far, including those of earlier holders of the lease."""
        ...

    async def expect(self, total: int) -> None:
        """Announce the expected length to other processes; before the first append."""
        ...

    async def append(self, chunk: bytes) -> None:
        """Write `chunk` at the end, and hash it; after a StoreError the spool is unchanged."""
        ...

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are what the digest names. Reads nothing."""
        ...

    async def commit(self) -> Blob:
        """Verify the digest, and return the blob, which other readers can open from now on.

        UpstreamInvalid if the digest or the expected length is another; the spool is then removed.
        """
        ...

    async def persist(self) -> None:
        """Bring what was committed to its permanent place, which may take longer than readers wait.

        A failure is logged, and the store does not have the blob. A cancelled call leaves the spool
        to the next holder.
        """
        ...

    async def restart(self) -> None:
        """Drop every byte; followers in other processes fail."""
        ...

    async def discard(self) -> None:
        """Remove the spool; followers in other processes fail. Only `close` may be called then."""
        ...

    def reader(self) -> Readable:
        """Open the growing file for reading, which remains possible after the commit."""
        ...

    def close(self) -> None:
        """Close it. A spool that was neither committed nor discarded is left to the next holder."""
        ...


class Growing(Readable, Protocol):
    """A spool that another process is writing.

    `size` and `verified` raise UpstreamInvalid when what was read of it turns out to be wrong.
    """

    @property
    def total(self) -> int:
        """The expected length in bytes."""
        ...

    async def size(self) -> int:
        """Return how many bytes are there now."""
        ...

    async def verified(self) -> bool:
        """Whether it was committed, so that every byte may be sent."""
        ...


class BlobIngest(Protocol):
    """The spools of blobs that are being received, each from one upstream."""

    @property
    def stores_on_commit(self) -> bool:
        """Whether a blob is stored once its spool is committed, or only when it is persisted."""
        ...

    async def spool(self, upstream: str, digest: Digest) -> Spool:
        """Open the digest's spool, with what an earlier holder of its lease has left there."""
        ...

    async def has_room(self, upstream: str, digest: Digest, size: int) -> bool:
        """Whether `size` more bytes of the blob can be spooled, after eviction if necessary.

        The expected lengths of other spools count as used.
        """
        ...

    async def spooled_bytes(self, upstream: str, digest: Digest) -> int:
        """Return how many bytes are in the digest's spool; 0 if there is none."""
        ...

    async def growing(self, upstream: str, digest: Digest) -> Growing | None:
        """Open what another process is writing; None if no length was announced."""
        ...


class BlobStorage(BlobStore, BlobIngest, Protocol):
    """Both sides of one store: what is committed to its spools can be opened as a blob."""
