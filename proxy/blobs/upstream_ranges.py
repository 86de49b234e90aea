"""Ranges of blobs that are not cached, as the upstream sends them: unverified, so never stored."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from proxy.blobs.resumable import ResumableBody
from proxy.kit.lru import LruCache
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from proxy.blobs.transfers import Transfers
    from proxy.kit.clock import Clock
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import Upstream

# The number of blobs whose ranges are remembered.
_MAX_RANGES: Final = 4096


class UpstreamRanges:
    """Opens them, bounds how many there are, and has a blob fetched that is read in ranges."""

    def __init__(
        self,
        *,
        transfers: Transfers,
        upstreams: Mapping[str, Upstream],
        registries: Mapping[str, Upstream],
        size: Callable[[Repository, Digest], Awaitable[int]],
        clock: Clock,
    ) -> None:
        """`registries` are those of the `upstreams` that clients name, without their mirrors.

        What cannot be verified comes from nowhere else. `size` finds a blob's, in bytes.
        """
        self._transfers = transfers
        self._upstreams = upstreams
        self._registries = registries
        self._size = size
        self._clock = clock
        # The blobs of which one small range was delivered.
        self._delivered: LruCache[tuple[str, Digest], None] = LruCache(_MAX_RANGES)

    def hold_place(self) -> AbstractContextManager[bool]:
        """Count one that is passed through while the block runs; whether there is a place."""
        return self._transfers.pass_range()

    def are_passed(self, repository: Repository) -> bool:
        """Whether one can be passed on: mirrors send nothing that is not verified."""
        return repository.registry in self._registries

    def has_mirrors(self, repository: Repository) -> bool:
        """Whether the whole blob may come from elsewhere, if the registry gives no range of it."""
        registry = repository.registry
        return self._upstreams[registry] is not self._registries.get(registry)

    @asynccontextmanager
    async def open(
        self, repository: Repository, digest: Digest, first: int | None, last: int | None
    ) -> AsyncIterator[ResumableBody]:
        """Return bytes `first` to `last`, or the last `last` ones: unverified, so never stored.

        The body begins at 0 if the upstream sends the whole blob instead.
        """
        trace.current().outcome = Outcome.MISS
        trace.current().detail = "unverified-range"
        upstream, name = self._registries[repository.registry], repository.name
        async with AsyncExitStack() as stack:
            if first is None and last:
                body = await stack.enter_async_context(
                    ResumableBody(digest, name, upstream, clock=self._clock)
                )
                await body.begin(-last)
                if body.total is not None and body.start == max(0, body.total - last):
                    yield body
                    return
                # Some registries support ranges, but not suffix ranges (RFC 9110, 14.1.2).
                await stack.aclose()
                size = body.total or await self._size(repository, digest)
                first, last = max(0, size - last), size - 1
            body = await stack.enter_async_context(
                ResumableBody(digest, name, upstream, last=last, clock=self._clock)
            )
            await body.begin(first or 0)
            yield body

    def record(self, repository: Repository, digest: Digest, *, length: int, total: int) -> None:
        """Note that the upstream has delivered `length` of the `total` bytes of the blob.

        From half of it on, or at the second range, the whole blob is fetched in the background if
        there is room for it. One small range must not cost the upstream the whole.
        """
        key = (str(repository), digest)
        if key in self._delivered or 2 * length >= total:
            self._delivered.delete(key)
            self._transfers.prefetch(repository, digest)
        else:
            self._delivered.put(key, None, 1)
