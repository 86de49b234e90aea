"""The mirrors of one registry, asked in turn until one has what is wanted."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from proxy.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AsyncExitStack

    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag
    from proxy.ports import BlobStream, Fetched
    from proxy.upstream.health.verified_mirror import NamedBlob, VerifiedMirror

T = TypeVar("T")


class Mirrors:
    """Each answer is None if no mirror can give one: that says nothing about the content."""

    def __init__(self, mirrors: Sequence[VerifiedMirror] = ()) -> None:
        """Each mirror should have a circuit breaker of its own: one that is down is skipped."""
        self._all = tuple(mirrors)
        self._for_tags = tuple(mirror for mirror in mirrors if mirror.answers_tags)

    async def by_tag(self, name: str, tag: Tag) -> Fetched | None:
        """What the tag names at the first mirror that has it and may be asked."""
        return await _first(self._for_tags, lambda mirror: mirror.by_tag(name, tag))

    async def by_digest(self, name: str, digest: Digest, media_type: str) -> Fetched | None:
        """The manifest, which the registry calls `media_type`; "" if it does not say."""
        return await _first(self._all, lambda mirror: mirror.by_digest(name, digest, media_type))

    async def blob(
        self,
        stack: AsyncExitStack,
        name: str,
        wanted: NamedBlob,
        *,
        start: int = 0,
        end: int | None = None,
    ) -> BlobStream | None:
        """The blob's bytes from `start` to `end`, until the `stack` is closed."""
        return await _first(
            self._all,
            lambda mirror: stack.enter_async_context(
                mirror.blob(name, wanted, start=start, end=end)
            ),
        )

    async def tags(self, name: str, query: str) -> Page | None:
        """One page of the tags at the first mirror that may be asked."""
        return await _first(self._for_tags, lambda mirror: mirror.tags(name, query))

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of the referrers at the first mirror that has the API and may be asked."""
        for mirror in self._for_tags:
            with suppress(RegistryError):
                if (page := await mirror.referrers(name, digest, query)) is not None:
                    return page
        return None

    async def close(self) -> None:
        """Close all of them."""
        for mirror in self._all:
            await mirror.close()


async def _first(
    mirrors: Sequence[VerifiedMirror], ask: Callable[[VerifiedMirror], Awaitable[T]]
) -> T | None:
    for mirror in mirrors:
        with suppress(RegistryError):
            return await ask(mirror)
    return None
