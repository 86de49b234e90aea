"""The state of the proxy as the status page shows it, collected when somebody looks."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from prometheus_client import generate_latest

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.report.process import merge
from proxy.report.status import Health, StoreReport, status_document
from proxy.web.admin.overview import overview

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.kit.clock import Clock
    from proxy.report.process import ProcessReport
    from proxy.web.admin.readiness import Readiness

# All who look at the same time get the same answer, which is at most so old, in seconds.
_FRESH: Final = 0.2
# Metrics and what is stored are read again after so many seconds: both take longer.
_SLOWLY: Final = 2.0


class Stored(Protocol):
    """What is stored. All of it blocks."""

    def store(self) -> StoreReport:
        """What it takes, and its limits."""
        ...

    def images(self, pattern: str | None) -> list[dict[str, Any]]:
        """The stored images whose names match; StoreError if that cannot be read."""
        ...

    def sizes(self, images: Sequence[str]) -> dict[str, int | None]:
        """The sizes of those images that are stored here."""
        ...


@dataclass(slots=True)
class _Slow:
    """What is not collected each time."""

    at: float
    counters: dict[str, Any]
    store: StoreReport
    sizes: dict[str, int | None]


class Status:
    """Collects the data of the page from all processes."""

    def __init__(
        self,
        readiness: Readiness,
        *,
        version: str,
        workers: int,
        reports: Callable[[], Awaitable[Sequence[ProcessReport]]],
        stored: Stored,
        metrics: Callable[[], bytes] = generate_latest,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`reports` are those of the processes that serve; `metrics` those of all."""
        self.readiness = readiness
        self._version = version
        self._workers = workers
        self._reports = reports
        self.stored = stored
        self._metrics = metrics
        self.clock = clock
        self._started = clock.wall()
        self._turn = asyncio.Lock()
        self._at = float("-inf")
        self._document: dict[str, Any] = {}
        self._slow: _Slow | None = None

    async def metrics(self) -> bytes:
        """The metrics in Prometheus' text format: with its report a process writes what waits."""
        await self._reports()
        return self._metrics()

    async def document(self) -> dict[str, Any]:
        """All of it, as it is now."""
        async with self._turn:
            now = self.clock.monotonic()
            if now - self._at > _FRESH:
                self._document = await self._collect(now)
                self._at = self.clock.monotonic()
            return self._document

    async def _collect(self, now: float) -> dict[str, Any]:
        report = merge(await self._reports())
        images = [each["image"] for each in report["activity"]["images"]]
        slow = self._slow
        if slow is None or now - slow.at > _SLOWLY or not slow.sizes.keys() >= set(images):
            slow = self._slow = await asyncio.to_thread(self._look, now, images)
        readiness = self.readiness
        return status_document(
            report,
            health=Health(
                status=readiness.state,
                version=self._version,
                started=self._started,
                workers=self._workers,
                warnings=readiness.warnings,
            ),
            counters=slow.counters,
            store=slow.store,
            sizes=slow.sizes,
            peers=[asdict(peer) for peer in readiness.peers],
            now=self.clock.wall(),
        )

    def _look(self, now: float, images: Sequence[str]) -> _Slow:
        sizes: dict[str, int | None] = dict.fromkeys(images)
        sizes.update(self.stored.sizes(images))
        counters = overview(self._metrics().decode())
        return _Slow(at=now, counters=counters, store=self.stored.store(), sizes=sizes)
