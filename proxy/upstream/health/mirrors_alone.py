"""The mirrors of a registry that is down, as an upstream of their own.

What they say is stored under another name than what the registry says, and is not looked at while
that answers. Even so a mirror is asked for no digest by itself: a tag at a mirror, or a manifest
that was reached from one, must have named it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from proxy.errors import BlobUnproved, UpstreamUnavailable
from proxy.oci.reference import Digest
from proxy.ports import Head
from proxy.upstream.health.naming import named_blob, named_type

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.errors import UpstreamFailure
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Tag
    from proxy.ports import BlobStream, Fetched, Late, MonitoredUpstream
    from proxy.upstream.health.mirrors import Mirrors
    from proxy.upstream.health.naming import Names


class MirrorsAlone:
    """Fits ports.MonitoredUpstream. What no mirror has is a failure: they decide nothing."""

    offline = False

    def __init__(self, mirrors: Mirrors, *, name: str, names: Names) -> None:
        """`name` is what people call the registry; `names` says what its mirrors have named."""
        self._mirrors = mirrors
        self._name = name
        self._names = names

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Nothing: each mirror has a circuit of its own."""
        return None

    async def is_at_its_reserve(self) -> bool:
        """No: the rate limit of a mirror is not kept for anything."""
        return False

    async def head_manifest(self, _name: str, _reference: Digest | Tag) -> Head:
        """Nothing: the bytes decide."""
        return Head(None, "")

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """What a mirror has under the tag, or under a digest that mirrors have named."""
        fetched = None
        if isinstance(reference, Digest):
            media_type = named_type(await self._names(name, reference))
            if media_type is not None:
                fetched = await self._mirrors.by_digest(name, reference, media_type)
        else:
            fetched = await self._mirrors.by_tag(name, reference)
        if fetched is None:
            raise self._failure(name, reference)
        return fetched

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """Raise BlobUnproved for a blob that mirrors have named: its bytes decide."""
        del expected, may_get
        if named_blob(digest, await self._names(name, digest)) is None:
            raise self._failure(name, digest)
        raise BlobUnproved(f"{self._name} is down, and a mirror says nothing of {digest}")

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
        """A blob that mirrors have named."""
        del validator, late, is_retry
        async with AsyncExitStack() as stack:
            wanted = named_blob(digest, await self._names(name, digest))
            stream = None
            if wanted is not None:
                stream = await self._mirrors.blob(stack, name, wanted, start=start, end=end)
            if stream is None:
                raise self._failure(name, digest)
            yield stream

    async def tags(self, name: str, query: str) -> Page:
        """The tags that a mirror has."""
        page = await self._mirrors.tags(name, query)
        if page is None:
            raise self._failure(name, "its tags")
        return page

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """The referrers that a mirror has; None if there is no such API."""
        return await self._mirrors.referrers(name, digest, query)

    async def close(self) -> None:
        """Do nothing: the mirrors are closed with their registry."""

    def _failure(self, name: str, wanted: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(f"{self._name} is down, and no mirror has {name} {wanted}")


if TYPE_CHECKING:

    def _fits(mirrors: MirrorsAlone) -> MonitoredUpstream:
        return mirrors
