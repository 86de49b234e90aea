"""A registry, and its mirrors, which deliver what it names. Fits ports.MonitoredUpstream.

Only the registry says what there is. A mirror is asked for a digest that the registry has named in
that repository, by a tag or in a manifest, and for nothing else. It is asked first, and also while
the registry is down: that is what mirrors are for.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from proxy.errors import BlobUnknown, BlobUnproved, UpstreamFailure
from proxy.kit.lru import LruCache
from proxy.oci.reference import Digest
from proxy.telemetry import trace
from proxy.upstream.health.naming import named_blob, named_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Tag
    from proxy.ports import BlobStream, Fetched, Head, Late, MonitoredUpstream
    from proxy.upstream.health.mirrors import Mirrors
    from proxy.upstream.health.naming import Names

# The memory for what tags have named, and for each of it, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 400


class FailoverUpstream:
    """Asks each mirror in turn and then the registry itself, whose answer is final.

    An interrupted blob may be resumed at another place: its digest says whether the parts belong
    together. The registry's circuit breaker is behind this, and stops no mirror.
    """

    def __init__(self, registry: MonitoredUpstream, *, mirrors: Mirrors, names: Names) -> None:
        """`names` says what the registry's manifests have named."""
        self._registry = registry
        self._mirrors = mirrors
        self._names = names
        # What HEAD of a tag has named, and its type: no manifest is known yet that does.
        self._tagged: LruCache[tuple[str, Digest], str] = LruCache(_MEMORY)

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why the registry is not expected to answer now."""
        return self._registry.trouble

    @property
    def offline(self) -> bool:
        """Whether neither the registry nor a mirror is ever asked."""
        return self._registry.offline

    def asked_by_way_of(
        self, registry: MonitoredUpstream, *, mirrors: Mirrors, names: Names
    ) -> FailoverUpstream:
        """The same, with what its tags have named, but asked in another way."""
        other = FailoverUpstream(registry, mirrors=mirrors, names=names)
        other._tagged = self._tagged
        return other

    async def is_at_its_reserve(self) -> bool:
        """Whether the registry's rate limit is nearly spent."""
        return await self._registry.is_at_its_reserve()

    def type_by_tag(self, name: str, digest: Digest) -> str | None:
        """What HEAD of a tag has lately called the manifest; None if none has named it."""
        return self._tagged.get((name, digest))

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """What the registry says; a mirror's HEAD would decide nothing."""
        head = await self._registry.head_manifest(name, reference)
        if head.digest is not None and not isinstance(reference, Digest):
            self._tagged.put((name, head.digest), head.content_type, _COST)
        return head

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """From a mirror, if the registry has named the digest; else, and for tags, from it."""
        if isinstance(reference, Digest) and not self.offline:
            media_type = self.type_by_tag(name, reference)
            if media_type is None:
                media_type = named_type(await self._names(name, reference))
            if media_type is not None:
                fetched = await self._mirrors.by_digest(name, reference, media_type)
                if fetched is not None:
                    return fetched
        return await self._registry.manifest(name, reference)

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """Ask the registry; BlobUnproved for a blob that it has named but does not deliver now."""
        try:
            return await self._registry.blob_size(name, digest, expected=expected, may_get=may_get)
        except (UpstreamFailure, BlobUnknown) as failure:
            may_come = isinstance(failure, BlobUnknown) or failure.is_outage
            if not may_come or named_blob(digest, await self._names(name, digest)) is None:
                raise
            raise BlobUnproved(failure.message) from failure

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
        late: Late | None = None,
        is_retry: bool = False,
    ) -> AsyncIterator[BlobStream]:
        """From a mirror, if the registry has named the digest; else from the registry."""
        async with AsyncExitStack() as stack:
            stream = None
            if not self.offline:
                wanted = named_blob(digest, await self._names(name, digest))
                if wanted is not None:
                    stream = await self._mirrors.blob(stack, name, wanted, start=start, end=end)
            if stream is None:
                stream = await stack.enter_async_context(
                    self._registry.blob(
                        name,
                        digest,
                        start=start,
                        end=end,
                        validator=validator,
                        late=late,
                        is_retry=is_retry,
                    )
                )
                trace.record_source("")
            yield stream

    async def tags(self, name: str, query: str) -> Page:
        """What the registry says: a mirror may list only what it happens to have."""
        return await self._registry.tags(name, query)

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """What the registry says."""
        return await self._registry.referrers(name, digest, query)

    async def close(self) -> None:
        """Close the mirrors and the registry."""
        await self._mirrors.close()
        await self._registry.close()
