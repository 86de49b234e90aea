"""An upstream that is not asked while it is down, nor for what it has just refused.

Whatever one registry is asked goes through one of these, so that all operations learn from each
other: after a manifest has failed, its blobs need not find out for themselves.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from proxy.errors import (
    BlobUnknown,
    FailedAt,
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
from proxy.upstream.decorator import UpstreamDecorator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from proxy.kit.circuit_breaker import CircuitBreaker
    from proxy.ports import Upstream
    from proxy.upstream.health.negative_cache import NegativeCache
    from proxy.upstream.health.rate_limit import UpstreamMeter
    from proxy.upstream.operation import Operation

T = TypeVar("T")

_log = structlog.get_logger()

# A longer `Retry-After` is cut to so many seconds: some registries send a date, or a day.
MAX_HOLD: Final = 300.0
_SERVER_ERROR: Final = 500


class ResilientUpstream(UpstreamDecorator):
    """Fits ports.MonitoredUpstream. While it is `offline`, it is never asked for anything."""

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
        """`name` is what people call the registry.

        `mirrors` are those that `upstream` fails over to: they forget, and adopt settings, with it.
        """
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
        """Why no useful answer is to be expected now; None if the upstream can be asked."""
        if self.offline:
            return self._offline_failure()
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
        """Apply changed settings: seconds of the negative cache, and the budget's reserve."""
        self._negative_cache.adopt(not_found=not_found, denied=denied)
        self._budget.reserve = reserve
        for mirror in self._mirrors:
            mirror.adopt(not_found=not_found, denied=denied, reserve=reserve)

    async def close(self) -> None:
        """Close the upstream."""
        await self._upstream.close()

    async def _apply(self, operation: Operation, ask: Callable[[Upstream], Awaitable[T]]) -> T:
        with self._guard(operation):
            return await ask(self._upstream)

    @contextmanager
    def _guard(self, operation: Operation) -> Iterator[None]:
        """Raise what the operation would fail with; else learn from how the block ends."""
        if self.offline:
            raise self._offline_failure()
        # Also for a login that is refused: some registries deny one image for what is in it.
        self._negative_cache.check(operation)
        if not self._breaker.allows():
            raise self._circuit_failure()
        try:
            yield
        except (UpstreamDenied, ManifestUnknown, BlobUnknown, NameUnknown) as refusal:
            self._count_answer()
            self._negative_cache.add(operation, refusal)
            raise
        except UpstreamFailure as failure:
            self._count_failure(failure)
            raise
        except RegistryError:
            self._count_answer()
            raise
        self._count_answer()

    def _count_failure(self, failure: UpstreamFailure) -> None:
        if not _is_down(failure):
            if failure.status is not None or failure.context.at is FailedAt.REDIRECT:
                self._count_answer()
            return
        self._failure = failure
        if failure.retry_after is not None:
            opened = self._breaker.hold(min(failure.retry_after, MAX_HOLD))
        else:
            opened = self._breaker.record_failure()
        if opened:
            self._open.set(1)
            _log.warning("upstream.circuit_opened", upstream=self._name, reason=failure.message)

    def _count_answer(self) -> None:
        if self._breaker.record_success():
            self._open.set(0)
            _log.info("upstream.circuit_closed", upstream=self._name)

    def _circuit_failure(self) -> UpstreamFailure:
        """Return the last failure again, as an error that costs no client any time."""
        failure = self._failure
        wait = self._breaker.retry_in
        if failure is None:
            raise AssertionError("only a failure opens the circuit")
        return type(failure)(f"{failure.message}; its circuit is open", retry_after=wait)

    def _offline_failure(self) -> UpstreamOffline:
        return UpstreamOffline(f"{self._name} is set to be offline, and this is not in the cache")


def _is_down(failure: UpstreamFailure) -> bool:
    """Whether the failure is the registry's own, and not only that of one question to it."""
    if failure.context.at is FailedAt.REDIRECT:
        return False
    return isinstance(failure, UpstreamThrottled) or (
        isinstance(failure, UpstreamUnavailable)
        and (failure.status is None or failure.status >= _SERVER_ERROR)
    )
