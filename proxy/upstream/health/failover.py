"""A registry and its mirrors, in the order in which they are asked; fits ports.Upstream."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import BlobUnknown, ManifestUnknown, NameUnknown, UpstreamFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag
    from proxy.ports import BlobStream, Fetched, Head, Upstream

V = TypeVar("V")

# A mirror that does not have something need not be told to have it: the registry knows.
_ELSEWHERE: Final = (UpstreamFailure, ManifestUnknown, BlobUnknown, NameUnknown)


class FailoverUpstream:
    """Each mirror in turn and then the registry itself, whose answer is the last word.

    For content. What there is, tags and referrers, only the registry knows: a mirror may list what
    it happens to have, and is asked when the registry fails. A blob that breaks off at one may go
    on at another: its digest says whether the parts belong together.
    """

    def __init__(self, registry: Upstream, *, mirrors: Sequence[Upstream]) -> None:
        """Each of them should have a breaker of its own: one that is down is then passed over."""
        self._registry = registry
        self._mirrors = mirrors

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404."""
        return await self._first(lambda endpoint: endpoint.head_manifest(name, reference))

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        return await self._first(lambda endpoint: endpoint.manifest(name, reference))

    async def blob_size(self, name: str, digest: Digest) -> int | None:
        """HEAD; BlobUnknown for 404."""
        return await self._first(lambda endpoint: endpoint.blob_size(name, digest))

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
        """GET; BlobUnknown for 404. Once it has begun, nobody else is asked."""
        async with AsyncExitStack() as stack:
            yield await self._first(
                lambda endpoint: stack.enter_async_context(
                    endpoint.blob(name, digest, start=start, end=end, validator=validator)
                )
            )

    async def tags(self, name: str, query: str) -> Page:
        """One page of tags; NameUnknown for 404."""
        return await self._listed(lambda endpoint: endpoint.tags(name, query))

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of referrers; None where there is no such API."""
        return await self._listed(lambda endpoint: endpoint.referrers(name, digest, query))

    async def close(self) -> None:
        """Close all of them."""
        for endpoint in (*self._mirrors, self._registry):
            await endpoint.close()

    async def _first(self, ask: Callable[[Upstream], Awaitable[V]]) -> V:
        for mirror in self._mirrors:
            with suppress(*_ELSEWHERE):
                return await ask(mirror)
        return await ask(self._registry)

    async def _listed(self, ask: Callable[[Upstream], Awaitable[V]]) -> V:
        try:
            return await ask(self._registry)
        except UpstreamFailure:
            for mirror in self._mirrors:
                with suppress(*_ELSEWHERE):
                    return await ask(mirror)
            raise
