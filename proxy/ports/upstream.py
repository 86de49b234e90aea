"""An upstream: one registry that is asked for manifests, blobs and listings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from proxy.errors import UpstreamFailure
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag


@dataclass(frozen=True, slots=True)
class Head:
    """What an upstream answers to a HEAD of a manifest; `size` is in bytes.

    `age`: for so many seconds nobody has asked the registry. `stale`: why not, if it should have
    been asked.
    """

    digest: Digest | None
    content_type: str
    size: int | None = None
    age: float = 0.0
    stale: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest's bytes as they were received, unverified; `age` and `stale` as for `Head`."""

    raw: bytes
    content_type: str
    digest: Digest | None
    age: float = 0.0
    stale: str | None = None


# Who is told that an answer has not begun in time, and is awaited all the same.
Late = Callable[["UpstreamFailure"], None]


class BlobStream(Protocol):
    """One upstream answer to a GET of a blob."""

    @property
    def start(self) -> int:
        """The offset of the first byte: 0 if the upstream ignored the range."""
        ...

    @property
    def total(self) -> int | None:
        """The whole blob's size in bytes, or None if the upstream does not state it."""
        ...

    @property
    def validator(self) -> str | None:
        """The strong ETag of the answer (RFC 9110, 8.8.3), or None."""
        ...

    @property
    def coding(self) -> str | None:
        """What the bytes may be encoded in, or None if they are the blob's own for sure."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive; UpstreamUnavailable if the body ends early."""
        ...


class Upstream(Protocol):
    """One registry, as its anonymous or configured reader sees it.

    Every method raises UpstreamUnavailable, UpstreamDenied, UpstreamThrottled or UpstreamInvalid
    for an upstream that did not answer usefully. `name` is the repository's name there.
    """

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404. `digest` is None if the upstream does not state it."""
        ...

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        ...

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """HEAD; None if the upstream does not state the size. BlobUnknown for 404.

        With `may_get`, the head of a GET decides where HEAD fails but GET need not, or states a
        size that cannot be right: one that is not the `expected` one, if that is given.
        """
        ...

    def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
        late: Late | None = None,
        is_retry: bool = False,
    ) -> AbstractAsyncContextManager[BlobStream]:
        """GET from byte `start` to byte `end` (inclusive; None is the last). BlobUnknown for 404.

        `start` below 0 means that many last bytes; some upstreams send the whole blob instead.
        With the `validator` of an earlier answer, the whole blob is sent if it has changed since.
        RangeInvalid if the upstream answers 416.

        An answer that has not begun in time is a failure. With `late`, that is called with the
        failure instead, and the answer is awaited several times longer. `is_retry`: the same
        question has just failed, and counts once, however many requests it takes.
        """
        ...

    async def tags(self, name: str, query: str) -> Page:
        """One page of the repository's tags; NameUnknown for 404. `query` is `n` and `last`."""
        ...

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of what refers to `digest`; None if the upstream has no referrers API."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class MonitoredUpstream(Upstream, Protocol):
    """An upstream that knows whether it works, so that callers need not wait for a failure."""

    @property
    def offline(self) -> bool:
        """Whether the settings forbid requests to it."""
        ...

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why no useful answer is to be expected now; None if the upstream can be asked."""
        ...

    async def is_at_its_reserve(self) -> bool:
        """Whether a GET of a manifest should wait while a stored copy can be served instead."""
        ...
