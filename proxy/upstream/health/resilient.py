"""An upstream behind circuit breakers and a negative cache.

All questions to one registry go through one of these, so that they share what they learn of it: see
`circuits`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from proxy.errors import (
    BlobUnknown,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamOffline,
)
from proxy.upstream.decorator import UpstreamDecorator
from proxy.upstream.operation import Kind, Operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from proxy.oci.reference import Digest
    from proxy.ports import BlobStream, Late, Upstream
    from proxy.upstream.health.circuits import Circuits, OpenCircuit
    from proxy.upstream.health.negative_cache import NegativeCache
    from proxy.upstream.health.rate_limit import UpstreamMeter

T = TypeVar("T")


class ResilientUpstream(UpstreamDecorator):
    """Fits ports.MonitoredUpstream. While it is `offline`, it is never asked for anything."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        name: str,
        circuits: Circuits,
        negative_cache: NegativeCache,
        budget: UpstreamMeter,
        offline: bool = False,
    ) -> None:
        """`name` is what people call the registry."""
        self._upstream = upstream
        self._name = name
        self._circuits = circuits
        self._negative_cache = negative_cache
        self._budget = budget
        self.offline = offline

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why no useful answer is to be expected now; None if the upstream can be asked."""
        if self.offline:
            return self._offline_failure()
        return self._circuits.trouble

    @property
    def open_circuit(self) -> OpenCircuit | None:
        """How the registry's circuit is open; None while it is closed."""
        return self._circuits.open_circuit

    def check(self, operation: Operation) -> None:
        """Raise what the operation would fail with now without a request; nothing is changed."""
        if self.offline:
            raise self._offline_failure()
        self._negative_cache.check(operation)
        self._circuits.check(operation, claims=False)

    async def is_at_its_reserve(self) -> bool:
        """Whether a GET of a manifest should wait while there is something else to serve."""
        return await self._budget.is_at_its_reserve()

    def forget(self) -> None:
        """Ask again for what was refused."""
        self._negative_cache.forget()

    def adopt(self, *, not_found: float, denied: float, reserve: float) -> None:
        """Apply changed settings: seconds of the negative cache, and the budget's reserve."""
        self._negative_cache.adopt(not_found=not_found, denied=denied)
        self._budget.reserve = reserve

    async def close(self) -> None:
        """Close the upstream."""
        await self._upstream.close()

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
        """GET; if it is late, that counts as a failure of the question at once."""
        operation = Operation(Kind.BLOB, name, digest)
        counted = is_retry

        def report(failure: UpstreamFailure) -> None:
            nonlocal counted
            if not counted:
                counted = True
                self._circuits.record_failure(operation, failure)
            if late is not None:
                late(failure)

        async with super().blob(
            name,
            digest,
            start=start,
            end=end,
            validator=validator,
            late=None if late is None else report,
            is_retry=is_retry,
        ) as stream:
            yield stream

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
        self._circuits.check(operation)
        try:
            yield
        except (UpstreamDenied, ManifestUnknown, BlobUnknown, NameUnknown) as refusal:
            self._circuits.record_success(operation)
            self._negative_cache.add(operation, refusal)
            raise
        except UpstreamFailure as failure:
            if not operation.is_retry:
                self._circuits.record_failure(operation, failure)
            raise
        except RegistryError:
            self._circuits.record_success(operation)
            raise
        self._circuits.record_success(operation)

    def _offline_failure(self) -> UpstreamOffline:
        return UpstreamOffline(f"{self._name} is set to be offline, and this is not in the cache")
