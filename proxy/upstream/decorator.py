"""An upstream that applies one rule to every question before another upstream answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from proxy.upstream.operation import Kind, Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag
    from proxy.ports import BlobStream, Fetched, Head, Late, Upstream

T = TypeVar("T")


class UpstreamDecorator(ABC):
    """Fits ports.Upstream. A subclass states its rule in `_apply`, once for all questions."""

    @abstractmethod
    async def _apply(self, operation: Operation, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        """Return what `ask` returns for an upstream that the rule chooses, or raise instead.

        For a blob, that is the head of its answer: the rule does not see how the body ends.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close every upstream behind this one."""

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404."""
        return await self._apply(
            Operation(Kind.MANIFEST_HEAD, name, reference),
            lambda upstream: upstream.head_manifest(name, reference),
        )

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        return await self._apply(
            Operation(Kind.MANIFEST, name, reference),
            lambda upstream: upstream.manifest(name, reference),
        )

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """HEAD, perhaps settled by the head of a GET; BlobUnknown for 404."""
        return await self._apply(
            Operation(Kind.BLOB_HEAD, name, digest),
            lambda upstream: upstream.blob_size(name, digest, expected=expected, may_get=may_get),
        )

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
        """GET; BlobUnknown for 404."""
        async with AsyncExitStack() as stack:
            yield await self._apply(
                Operation(Kind.BLOB, name, digest, is_retry=is_retry),
                lambda upstream: stack.enter_async_context(
                    upstream.blob(
                        name,
                        digest,
                        start=start,
                        end=end,
                        validator=validator,
                        late=late,
                        is_retry=is_retry,
                    )
                ),
            )

    async def tags(self, name: str, query: str) -> Page:
        """One page of tags; NameUnknown for 404."""
        return await self._apply(
            Operation(Kind.TAGS, name, query), lambda upstream: upstream.tags(name, query)
        )

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of referrers; None where there is no such API."""
        return await self._apply(
            Operation(Kind.REFERRERS, name, digest),
            lambda upstream: upstream.referrers(name, digest, query),
        )
