"""An upstream that is spared: not asked while it is down, nor for what it refused just now.

Whatever is asked of one registry goes through one of these, so all operations learn from each
other: a manifest that cannot be had saves the blobs the time to find out for themselves.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import (
    BlobUnknown,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamOffline,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from proxy.kit.circuit_breaker import CircuitBreaker
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Digest, Tag
    from proxy.ports import BlobStream, Fetched, Head, Upstream
    from proxy.upstream.health.negative_cache import NegativeCache
    from proxy.upstream.health.rate_limit import UpstreamMeter

_log = structlog.get_logger()

# An upstream that wants to be left alone for longer is asked once in so many seconds all the same:
# what some put into Retry-After is a date, or a day.
MAX_HOLD: Final = 300.0
_SERVER_ERROR: Final = 500


class ResilientUpstream:
    """Fits ports.Upstream. `offline` is never asked for anything."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        name: str,
        breaker: CircuitBreaker,
        negative_cache: NegativeCache,
        budget: UpstreamMeter,
        offline: bool = False,
        mirrors: Sequence[ResilientUpstream] = (),
    ) -> None:
        """`name` is what people call the registry. `mirrors` are within it, and forget with it."""
        self._upstream = upstream
        self._name = name
        self._breaker = breaker
        self._negative_cache = negative_cache
        self._budget = budget
        self._mirrors = mirrors
        self._failure: UpstreamFailure | None = None
        self._open = metrics.CIRCUIT_OPEN.labels(name)
        self._open.set(0)
        self.offline = offline

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why nothing good is to be expected now: waiting for an answer is in vain."""
        if self.offline:
            return self._is_offline()
        return self._failure if self._breaker.is_open else None

    async def is_at_its_reserve(self) -> bool:
        """Whether a GET of a manifest should wait while there is something else to serve."""
        return await self._budget.is_at_its_reserve()

    def forget(self) -> None:
        """Ask again for what was refused."""
        self._negative_cache.forget()
        for mirror in self._mirrors:
            mirror.forget()

    def adopt(self, *, not_found: float, denied: float, reserve: float) -> None:
        """Remember refusals for so many seconds from now on, and keep such a share of the limit."""
        self._negative_cache.adopt(not_found=not_found, denied=denied)
        self._budget.reserve = reserve
        for mirror in self._mirrors:
            mirror.adopt(not_found=not_found, denied=denied, reserve=reserve)

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404."""
        with self._guard(name, "HEAD", reference):
            return await self._upstream.head_manifest(name, reference)

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        with self._guard(name, "GET", reference):
            return await self._upstream.manifest(name, reference)

    async def blob_size(self, name: str, digest: Digest) -> int | None:
        """HEAD; BlobUnknown for 404."""
        with self._guard(name, "blob HEAD", digest):
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
        """GET; BlobUnknown for 404. What happens once it has begun says nothing about others."""
        async with AsyncExitStack() as stack:
            with self._guard(name, "blob GET", digest):
                stream = await stack.enter_async_context(
                    self._upstream.blob(name, digest, start=start, end=end, validator=validator)
                )
            yield stream

    async def tags(self, name: str, query: str) -> Page:
        """One page of tags; NameUnknown for 404."""
        with self._guard(name, "tags", query):
            return await self._upstream.tags(name, query)

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of referrers; None where there is no such API."""
        with self._guard(name, "referrers", digest):
            return await self._upstream.referrers(name, digest, query)

    async def close(self) -> None:
        """Close the upstream."""
        await self._upstream.close()

    @contextmanager
    def _guard(self, name: str, *question: str) -> Iterator[None]:
        """Refuse what is in vain, and learn from how the block ends."""
        if self.offline:
            raise self._is_offline()
        # Also a login that is refused: some registries forbid a single image for what is in it.
        self._negative_cache.check((name, *question))
        if not self._breaker.allows():
            raise self._not_now()
        try:
            yield
        except (UpstreamDenied, ManifestUnknown, BlobUnknown, NameUnknown) as refusal:
            self._answered()
            self._negative_cache.add((name, *question), refusal)
            raise
        except UpstreamFailure as failure:
            self._judge(failure)
            raise
        except RegistryError:
            self._answered()
            raise
        self._answered()

    def _judge(self, failure: UpstreamFailure) -> None:
        """Whether the failure is of the registry, or only of what was asked."""
        down = not failure.elsewhere and (
            isinstance(failure, UpstreamThrottled)
            or (
                isinstance(failure, UpstreamUnavailable)
                and (failure.status is None or failure.status >= _SERVER_ERROR)
            )
        )
        if not down:
            if failure.status is not None or failure.elsewhere:
                self._answered()
            return
        self._failure = failure
        if failure.retry_after is not None:
            opened = self._breaker.hold(min(failure.retry_after, MAX_HOLD))
        else:
            opened = self._breaker.record_failure()
        if opened:
            self._open.set(1)
            _log.warning("upstream.circuit_opened", upstream=self._name, reason=failure.message)

    def _answered(self) -> None:
        if self._breaker.record_success():
            self._open.set(0)
            _log.info("upstream.circuit_closed", upstream=self._name)

    def _not_now(self) -> UpstreamFailure:
        """What went wrong last, as an error that costs nobody any time."""
        failure = self._failure
        wait = self._breaker.retry_in
        if failure is None:
            raise AssertionError("only a failure opens the breaker")
        return type(failure)(f"{failure.message}; it is left alone for now", retry_after=wait)

    def _is_offline(self) -> UpstreamOffline:
        return UpstreamOffline(f"{self._name} is set to be offline, and this is not in the cache")
