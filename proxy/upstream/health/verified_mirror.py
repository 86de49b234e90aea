"""A mirror, of which nothing counts but bytes that have the right digest.

Its HEAD, its 404 and its media types decide nothing. Content is verified while there is still
another place to get it from, as far as that can be: a manifest and a small blob before anything of
them is passed on, a large blob when its last byte is here.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from proxy.errors import (
    FailedAt,
    ManifestInvalid,
    Phase,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.oci.manifest import read_manifest
from proxy.ports import Fetched
from proxy.telemetry import trace
from proxy.upstream.health.mirrored_stream import ReadStream, VerifiedStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proxy.kit.clock import Clock
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag
    from proxy.ports import BlobStream, Upstream

T = TypeVar("T")

_log = structlog.get_logger()

# The memory for digests of blobs that are not asked for, in bytes: some hundreds of them.
_MEMORY: Final = 2**16
_COST: Final = 256
# A blob up to this size is verified before it is passed on, in bytes.
_SMALL: Final = 64 * 1024
# For how long a mirror that gave no answer in time is not asked, and one that stopped in the middle
# of a blob is not asked for that blob, in seconds.
_SET_ASIDE: Final = 30.0


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob that the registry has named; `size` in bytes, None if it did not say."""

    digest: Digest
    size: int | None = None


class VerifiedMirror:
    """One mirror. Whatever is wrong with it is an UpstreamFailure, before the next one is asked."""

    def __init__(
        self, upstream: Upstream, *, name: str, answers_tags: bool, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`name` is what people call the mirror.

        `answers_tags`: it may be asked what a tag names while the registry is down.
        """
        self.answers_tags = answers_tags
        self.name = name
        self._upstream = upstream
        self._clock = clock
        # Until when a blob is not asked for here; permanently, if it was wrong.
        self._avoided: LruCache[Digest, float] = LruCache(_MEMORY)
        self._silent_until = 0.0

    def asked_by_way_of(self, upstream: Upstream) -> VerifiedMirror:
        """The same mirror, with what it is known to fail at now, but asked in another way."""
        other = VerifiedMirror(
            upstream, name=self.name, answers_tags=self.answers_tags, clock=self._clock
        )
        other._avoided = self._avoided
        other._silent_until = self._silent_until
        return other

    async def by_tag(self, name: str, tag: Tag) -> Fetched:
        """What the tag names here, of the type that the bytes themselves are."""
        fetched = await self._ask(lambda: self._upstream.manifest(name, tag))
        return self._verify(fetched, tag, expected=fetched.digest, media_type="")

    async def by_digest(self, name: str, digest: Digest, media_type: str) -> Fetched:
        """The manifest, which the registry calls `media_type`; "" if it does not say."""
        fetched = await self._ask(lambda: self._upstream.manifest(name, digest))
        return self._verify(fetched, digest, expected=digest, media_type=media_type)

    @asynccontextmanager
    async def blob(
        self, name: str, wanted: NamedBlob, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[BlobStream]:
        """The bytes from `start` to `end`; an UpstreamFailure if they cannot be those."""
        digest = wanted.digest
        if self._clock.monotonic() < (self._avoided.get(digest) or 0.0):
            raise UpstreamInvalid(f"{self.name} has failed at {digest} before")
        async with AsyncExitStack() as stack:
            blob = self._upstream.blob(name, digest, start=start, end=end)
            stream = await self._ask(lambda: stack.enter_async_context(blob))
            if wanted.size is not None and stream.total not in {None, wanted.size}:
                raise self._report(digest, f"{stream.total} bytes instead of {wanted.size}")
            if stream.coding is not None:
                raise self._report(digest, f"bytes encoded in {stream.coding}")
            size = wanted.size if stream.total is None else stream.total
            trace.record_source(self.name)
            is_whole = stream.start == 0 and end is None
            verified = VerifiedStream(stream, self, digest, size, end=end, clock=self._clock)
            if is_whole and size is not None and size <= _SMALL:
                yield await self._read(verified, digest, size)
            else:
                yield verified

    async def tags(self, name: str, query: str) -> Page:
        """One page of the tags that the mirror has."""
        return await self._ask(lambda: self._upstream.tags(name, query))

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of the referrers that the mirror has."""
        return await self._ask(lambda: self._upstream.referrers(name, digest, query))

    async def close(self) -> None:
        """Close the mirror's connections."""
        await self._upstream.close()

    def quarantine(self, digest: Digest) -> None:
        """Never take this blob from the mirror again."""
        self._avoided.put(digest, float("inf"), _COST)
        self._report(digest, "another digest")

    def avoid(self, digest: Digest, reason: str) -> UpstreamUnavailable:
        """Do not use the mirror for this blob for a while; return why, to be raised."""
        self._avoided.put(digest, self._clock.monotonic() + _SET_ASIDE, _COST)
        return UpstreamUnavailable(f"{self.name} {reason} {digest}")

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self._clock.monotonic() < self._silent_until:
            raise UpstreamUnavailable(f"{self.name} did not answer a moment ago")
        try:
            return await ask()
        except UpstreamFailure as failure:
            context = failure.context
            if context.phase is Phase.WAIT and context.at is FailedAt.REGISTRY:
                self._silent_until = self._clock.monotonic() + _SET_ASIDE
            raise

    async def _read(self, stream: VerifiedStream, digest: Digest, size: int) -> BlobStream:
        content = b"".join([chunk async for chunk in stream.chunks()])
        if not digest.matches(content):
            raise UpstreamInvalid(f"{self.name} sent {len(content)} bytes that are not {digest}")
        return ReadStream(content, size)

    def _verify(
        self, fetched: Fetched, reference: Digest | Tag, *, expected: Digest | None, media_type: str
    ) -> Fetched:
        try:
            read_manifest(fetched.raw, media_type, expected=expected)
        except ManifestInvalid as error:
            raise self._report(reference, error.message) from None
        return Fetched(fetched.raw, media_type, expected)

    def _report(self, reference: Digest | Tag, reason: str) -> UpstreamInvalid:
        _log.warning("mirror.sent_wrong", upstream=self.name, reference=reference, reason=reason)
        return UpstreamInvalid(f"{self.name} sent something else for {reference}: {reason}")
