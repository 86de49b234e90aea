"""What the service needs of the world, as Protocols; `stores` and `upstream` fit them.

Each port has one contract suite in `tests/contract`, which every implementation runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from proxy.errors import UpstreamFailure
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag


class ManifestCache(Protocol):
    """The shared index: short values under text keys, each with a life. Never the only copy.

    An outage of the store behind it looks like a miss, and is counted where it happens; no
    method raises for it.
    """

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        """The value, or None; a hit lives for at least `extend` more seconds if that is given."""
        ...

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        """Keep `value` for `life` seconds, in place of what was there."""
        ...

    async def delete(self, key: str) -> None:
        """Forget `key`; nothing happens if it is unknown."""
        ...

    async def close(self) -> None:
        """Finish the writes that were asked for, and let go of every connection and file."""
        ...


class Readable(Protocol):
    """Bytes that can be read at any offset, by any number of readers."""

    async def read(self, offset: int, length: int) -> bytes | memoryview:
        """At most `length` bytes from `offset`; empty only at the end of what is there now."""
        ...

    def close(self) -> None:
        """Close the file. Its opener calls this once."""
        ...


class Blob(Readable, Protocol):
    """A complete and verified blob, open for reading."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...


class Growing(Readable, Protocol):
    """The spool of a blob that somebody else is fetching, seen from outside."""

    @property
    def total(self) -> int:
        """How many bytes it will have in the end."""
        ...

    async def size(self) -> int:
        """How many are there now."""
        ...

    async def verified(self) -> bool:
        """Whether it has been committed: every byte may be given away."""
        ...


class Spool(Protocol):
    """A blob that is being stored. Only the holder of the digest's lease may have it."""

    @property
    def size(self) -> int:
        """Bytes written so far, those of an earlier holder of the lease included."""
        ...

    async def expect(self, total: int) -> None:
        """Announce the whole length to followers in other processes; before the first append."""
        ...

    async def append(self, chunk: bytes) -> None:
        """Write `chunk` at the end and add it to the running hash; OSError if it cannot be kept."""
        ...

    async def commit(self) -> Blob:
        """Verify, and have it readable at once; UpstreamInvalid, and gone, if it is wrong."""
        ...

    async def persist(self) -> None:
        """Have what was committed where it stays, which may take a while that no reader waits for.

        Where that fails, the store says so, and has no such blob. Cancelled, it stays for the next
        holder.
        """
        ...

    async def restart(self) -> None:
        """Forget every byte and start again from none; its readers must have gone."""
        ...

    async def discard(self) -> None:
        """Remove it. It stays usable for nothing but `close`."""
        ...

    def reader(self) -> Readable:
        """A reader of the growing file, good also after the commit."""
        ...

    def close(self) -> None:
        """Let go of it. What was neither committed nor discarded stays, for the next holder."""
        ...


class BlobStore(Protocol):
    """Content by digest, and the small durable records that must outlive every cache."""

    async def open(self, digest: Digest) -> Blob | None:
        """The blob for reading, or None if it is not here whole; it counts as used now."""
        ...

    async def size(self, digest: Digest) -> int | None:
        """Its size in bytes, or None if it is not here whole."""
        ...

    async def touch(self, digests: Iterable[Digest]) -> None:
        """Those that are here count as used now, for whatever makes room. OSError."""
        ...

    async def quarantine(self, digest: Digest, blob: Blob) -> None:
        """Have the blob, in which something is wrong, be here no more. OSError.

        Nothing happens to another one that has its place already.
        """
        ...

    async def url(self, digest: Digest) -> str | None:
        """Where clients may fetch a blob that was just found here, for the next minutes.

        None if it is to be read here.
        """
        ...

    async def delete(self, digest: Digest) -> None:
        """Forget the blob; running readers finish, or get an OSError if it is far away."""
        ...

    async def spool(self, digest: Digest) -> Spool:
        """The digest's spool, with what an earlier holder of its lease left there."""
        ...

    async def has_room(self, digest: Digest, size: int) -> bool:
        """Whether `size` more bytes of it can be spooled, after making room if need be.

        Beside those that others are still waiting for, as they have announced.
        """
        ...

    async def spooled_bytes(self, digest: Digest) -> int:
        """The number of bytes in the digest's spool, from any process; 0 if there is none."""
        ...

    async def growing(self, digest: Digest) -> Growing | None:
        """What another process is writing for this digest; None if nobody announced a length."""
        ...

    async def record(self, key: str) -> bytes | None:
        """The durable record under `key`, or None."""
        ...

    async def put_records(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Keep every record, in their order; all are durable when this returns.

        Only links may overtake each other.
        A record that exists with the same value costs no write. OSError if they cannot be kept.
        """
        ...

    async def put_new_record(self, key: str, value: bytes) -> bytes:
        """Keep the record unless there is one, durably; whichever is there now."""
        ...

    async def delete_record(self, key: str) -> None:
        """Forget the record; nothing happens if it is unknown."""
        ...


class Lease(Protocol):
    """The right to do a piece of work that nobody else is doing."""

    def release(self) -> None:
        """Let others claim it. The death of the process does the same."""
        ...


class Leases(Protocol):
    """One piece of work at a time for each key, among the processes of one machine."""

    async def claim(self, key: str) -> Lease | None:
        """The lease, or None while somebody else has it. Never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """What an upstream says of a manifest without sending it."""

    digest: Digest | None
    content_type: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest's bytes as they came, unverified."""

    raw: bytes
    content_type: str
    digest: Digest | None


class BlobStream(Protocol):
    """One upstream answer to a GET of a blob."""

    @property
    def start(self) -> int:
        """The offset of the first byte: 0 where the upstream ignored the range."""
        ...

    @property
    def total(self) -> int | None:
        """The whole blob's size in bytes, or None if the upstream does not say."""
        ...

    @property
    def validator(self) -> str | None:
        """The strong tag of what is sent (RFC 9110, 8.8.3), or None."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they arrive; UpstreamUnavailable if they stop before the announced end."""
        ...


class Upstream(Protocol):
    """One registry, as its anonymous or configured reader sees it.

    Every method raises UpstreamUnavailable, UpstreamDenied, UpstreamThrottled or UpstreamInvalid
    for an upstream that did not answer usefully. `name` is the repository's name there.
    """

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404. `digest` is None if the upstream names none."""
        ...

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        ...

    async def blob_size(self, name: str, digest: Digest) -> int | None:
        """HEAD; None if the upstream does not say. BlobUnknown for 404."""
        ...

    def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
    ) -> AbstractAsyncContextManager[BlobStream]:
        """GET from byte `start` to byte `end` (inclusive; None is the last). BlobUnknown for 404.

        `start` below 0 are so many bytes at the end; some send the whole instead.
        With the `validator` of an earlier answer the whole comes where it has changed since.
        RangeInvalid where the upstream answers 416.
        """
        ...

    async def tags(self, name: str, query: str) -> Page:
        """One page of the repository's tags; NameUnknown for 404. `query` is `n` and `last`."""
        ...

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of what refers to `digest`; None where the upstream has no referrers API."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class MonitoredUpstream(Upstream, Protocol):
    """An upstream that reports its health, so that no request waits for one that is down."""

    offline: bool

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why no useful answer is to be expected now; None if it can be asked."""
        ...

    async def is_at_its_reserve(self) -> bool:
        """Whether a GET of a manifest should wait while a stored copy can be served instead."""
        ...
