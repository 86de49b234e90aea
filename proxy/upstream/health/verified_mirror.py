"""A mirror, whose content is checked on its way: there is another place that may have it right.

Whoever asks for the content checks it anyway. But then it is too late to ask somebody else, and the
next one who asks would get the same.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import ManifestInvalid, UpstreamInvalid
from proxy.kit.lru import LruCache
from proxy.oci.manifest import read_manifest
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Tag
    from proxy.ports import BlobStream, Fetched, Head, Upstream

_log = structlog.get_logger()

# What it has sent wrong, in bytes: some hundreds of blobs.
_MEMORY: Final = 2**16
_COST: Final = 256


class VerifiedMirror:
    """Fits ports.Upstream. A blob that was wrong once is not taken from it again."""

    def __init__(self, upstream: Upstream, *, name: str) -> None:
        """`name` is what people call it."""
        self._upstream = upstream
        self._name = name
        self._wrong: LruCache[Digest, bool] = LruCache(_MEMORY)

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404."""
        return await self._upstream.head_manifest(name, reference)

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; UpstreamInvalid if it is no manifest, or not the one that the digest names."""
        fetched = await self._upstream.manifest(name, reference)
        expected = reference if isinstance(reference, Digest) else fetched.digest
        try:
            read_manifest(fetched.raw, fetched.content_type, expected=expected)
        except ManifestInvalid as error:
            raise self._is_wrong(reference, error.message) from None
        return fetched

    async def blob_size(self, name: str, digest: Digest) -> int | None:
        """HEAD; BlobUnknown for 404."""
        return await self._upstream.blob_size(name, digest)

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
    ) -> AsyncIterator[BlobStream]:
        """GET; UpstreamInvalid for one that was wrong before."""
        if digest in self._wrong:
            raise UpstreamInvalid(f"{self._name} has sent a blob that was not {digest}")
        async with self._upstream.blob(
            name, digest, start=start, end=end, validator=validator
        ) as stream:
            yield _Watched(stream, self, digest) if start == 0 and end is None else stream

    async def tags(self, name: str, query: str) -> Page:
        """One page of tags; NameUnknown for 404."""
        return await self._upstream.tags(name, query)

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of referrers; None where there is no such API."""
        return await self._upstream.referrers(name, digest, query)

    async def close(self) -> None:
        """Close the upstream."""
        await self._upstream.close()

    def quarantine(self, digest: Digest) -> None:
        """Take this blob from elsewhere from now on."""
        self._wrong.put(digest, value=True, cost=_COST)
        self._is_wrong(digest, "another digest")

    def _is_wrong(self, reference: Digest | Tag, reason: str) -> UpstreamInvalid:
        _log.warning("mirror.sent_wrong", upstream=self._name, reference=reference, reason=reason)
        return UpstreamInvalid(f"{self._name} sent something else for {reference}: {reason}")


class _Watched:
    """A whole blob. Its reader notices by itself that it is wrong; the mirror is told."""

    def __init__(self, stream: BlobStream, mirror: VerifiedMirror, digest: Digest) -> None:
        self._stream = stream
        self._mirror = mirror
        self._digest = digest

    @property
    def start(self) -> int:
        return self._stream.start

    @property
    def total(self) -> int | None:
        return self._stream.total

    @property
    def validator(self) -> str | None:
        return self._stream.validator

    async def chunks(self) -> AsyncIterator[bytes]:
        running = self._digest.hasher()
        async for chunk in self._stream.chunks():
            running.update(chunk)
            yield chunk
        if running.hexdigest() != self._digest.hex:
            self._mirror.quarantine(self._digest)
