"""Blobs and spools in the memory of one process: for tests, and wherever nothing need last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.errors import StoreError, UpstreamInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.oci.reference import Digest
    from proxy.ports import Blob


@dataclass(slots=True)
class _Announcement:
    """The expected length of a spool, until what was read of it turns out to be wrong."""

    total: int
    retracted: bool = False


@dataclass(slots=True)
class _Content:
    """The bytes of one spool, which are the blob after the commit."""

    content: bytearray = field(default_factory=bytearray)
    announcement: _Announcement | None = None
    verified: bool = False

    def retract(self) -> None:
        if self.announcement is not None:
            self.announcement.retracted = True
            self.announcement = None


@dataclass(slots=True)
class MemoryVolume:
    """What several stores share, as processes share a disk. `capacity` is in bytes."""

    capacity: int | None = None
    blobs: dict[Digest, _Content] = field(default_factory=dict)
    spools: dict[tuple[str, Digest], _Content] = field(default_factory=dict)
    # The upstreams that have delivered each blob.
    upstreams: dict[Digest, frozenset[str]] = field(default_factory=dict)

    @property
    def used(self) -> int:
        """Bytes of blobs and spools."""
        return sum(len(each.content) for each in (*self.blobs.values(), *self.spools.values()))


class _Reader:
    """Reads content that may be growing. Fits Readable."""

    __slots__ = ("_content",)

    def __init__(self, content: _Content) -> None:
        self._content = content

    async def read(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset`."""
        return bytes(self._content.content[offset : offset + length])

    def close(self) -> None:
        """Do nothing: memory is freed with its last reader."""


class MemoryBlob(_Reader):
    """A committed blob. Fits Blob."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._content.content)

    async def verify(self) -> None:
        """Do nothing: it was verified before it was committed."""

    def reads(self, content: _Content | None) -> bool:
        """Whether `content` is what this one reads."""
        return self._content is content


class MemoryGrowing(_Reader):
    """A spool that another store is writing. Fits Growing."""

    __slots__ = ("_announcement",)

    def __init__(self, content: _Content, announcement: _Announcement) -> None:
        super().__init__(content)
        self._announcement = announcement

    @property
    def total(self) -> int:
        """The expected length in bytes."""
        return self._announcement.total

    async def size(self) -> int:
        """Return how many bytes are there now; UpstreamInvalid if they turned out to be wrong."""
        self._require_announcement()
        return len(self._content.content)

    async def verified(self) -> bool:
        """Whether it was committed; UpstreamInvalid if it never will be."""
        self._require_announcement()
        return self._content.verified

    def _require_announcement(self) -> None:
        if self._announcement.retracted:
            raise UpstreamInvalid("what another process received of this blob was not the blob")


class MemorySpool:
    """The one writer of a spool. Fits Spool."""

    __slots__ = ("_content", "_digest", "_expected", "_upstream", "_volume")

    def __init__(self, volume: MemoryVolume, upstream: str, digest: Digest) -> None:
        """Open the digest's spool, with what an earlier holder has left there."""
        self._volume = volume
        self._upstream = upstream
        self._digest = digest
        self._expected: int | None = None
        self._content = volume.spools.setdefault((upstream, digest), _Content())

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return len(self._content.content)

    async def expect(self, total: int) -> None:
        """Announce the expected length; a change of it fails earlier followers."""
        self._expected = total
        announced = self._content.announcement
        if announced is None or announced.total != total:
            self._content.retract()
            self._content.announcement = _Announcement(total)

    async def append(self, chunk: bytes) -> None:
        """Write `chunk` at the end; StoreError beyond the volume's capacity."""
        capacity = self._volume.capacity
        if capacity is not None and self._volume.used + len(chunk) > capacity:
            raise StoreError("the volume is full")
        self._content.content += chunk

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are what the digest names."""
        hasher = self._digest.hasher()
        hasher.update(self._content.content)
        return hasher.hexdigest() == self._digest.hex

    async def commit(self) -> MemoryBlob:
        """Make it the blob; UpstreamInvalid, and removed, if it is not."""
        if self._expected not in {None, self.size} or not self.matches:
            await self.discard()
            raise UpstreamInvalid(
                f"the {self.size} bytes that the upstream sent are not {self._digest}"
            )
        self._content.verified = True
        del self._volume.spools[self._upstream, self._digest]
        upstreams = frozenset({self._upstream})
        if self._digest in self._volume.blobs:
            upstreams |= self._volume.upstreams.get(self._digest, frozenset())
        self._volume.blobs[self._digest] = self._content
        self._volume.upstreams[self._digest] = upstreams
        return MemoryBlob(self._content)

    async def persist(self) -> None:
        """Do nothing: it is where it stays."""

    async def restart(self) -> None:
        """Drop every byte."""
        self._content.retract()
        self._content.content.clear()

    async def discard(self) -> None:
        """Remove the spool."""
        self._content.retract()
        self._remove()

    def reader(self) -> MemoryBlob:
        """Return a reader of the growing content."""
        return MemoryBlob(self._content)

    def close(self) -> None:
        """Leave it to the next holder, unless it is empty."""
        if self.size == 0 and not self._content.verified:
            self._content.retract()
            self._remove()

    def _remove(self) -> None:
        key = self._upstream, self._digest
        if self._volume.spools.get(key) is self._content:
            del self._volume.spools[key]


class MemoryBlobs:
    """Blobs in a volume that other stores may share. Fits BlobStorage."""

    __slots__ = ("used", "volume")

    def __init__(self, volume: MemoryVolume | None = None) -> None:
        """Without a volume of others it has one of its own."""
        self.volume = MemoryVolume() if volume is None else volume
        # What was touched, in that order.
        self.used: list[Digest] = []

    async def open(self, digest: Digest) -> MemoryBlob | None:
        """Open the blob, or None."""
        content = self.volume.blobs.get(digest)
        return None if content is None else MemoryBlob(content)

    async def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes, or None."""
        content = self.volume.blobs.get(digest)
        return None if content is None else len(content.content)

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Note their use; nothing is ever evicted."""
        self.used.extend(digests)

    async def url(self, _digest: Digest, *, seconds: float | None = None) -> None:
        """Return None: memory cannot be read by URL."""

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Remove the blob that was read, unless it has been replaced."""
        if isinstance(blob, MemoryBlob) and blob.reads(self.volume.blobs.get(digest)):
            del self.volume.blobs[digest]

    async def upstreams(self, digest: Digest) -> frozenset[str]:
        """Return the upstreams that have delivered the blob."""
        return self.volume.upstreams.get(digest, frozenset())

    async def credit(self, digest: Digest, upstream: str) -> None:
        """Add an upstream to them."""
        self.volume.upstreams[digest] = await self.upstreams(digest) | {upstream}

    @property
    def stores_on_commit(self) -> bool:
        """Yes."""
        return True

    async def spool(self, upstream: str, digest: Digest) -> MemorySpool:
        """Open the digest's spool."""
        return MemorySpool(self.volume, upstream, digest)

    async def has_room(self, _upstream: str, _digest: Digest, size: int) -> bool:
        """Whether the volume has room for `size` more bytes."""
        return self.volume.capacity is None or self.volume.used + size <= self.volume.capacity

    async def spooled_bytes(self, upstream: str, digest: Digest) -> int:
        """Return how many bytes are in the digest's spool."""
        spool = self.volume.spools.get((upstream, digest))
        return 0 if spool is None else len(spool.content)

    async def growing(self, upstream: str, digest: Digest) -> MemoryGrowing | None:
        """Open what another store is writing; None if no length was announced."""
        spool = self.volume.spools.get((upstream, digest))
        if spool is None or spool.announcement is None:
            return None
        return MemoryGrowing(spool, spool.announcement)
