"""The metrics of all workers as one, and what only their supervisor can measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from pathlib import Path


class MergedMetrics:
    """What the workers count in files of one directory, each time as of now."""

    def __init__(self, directory: Path) -> None:
        """`directory` is empty now, and every worker's PROMETHEUS_MULTIPROC_DIR."""
        self._directory = directory
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=str(directory))  # type: ignore[no-untyped-call]
        self.serving = Gauge(
            "lighterage_workers_serving", "Workers that take connections.", registry=self._registry
        )
        self.ended = Counter(
            "lighterage_worker_ends_total",
            "Workers that ended without having been told to.",
            registry=self._registry,
        )

    def generate(self) -> bytes:
        """In prometheus' text format."""
        return generate_latest(self._registry)

    def forget(self, worker: int) -> None:
        """What is going on in this worker is not going on any more; what it counted stays."""
        mark_process_dead(worker, str(self._directory))  # type: ignore[no-untyped-call]
