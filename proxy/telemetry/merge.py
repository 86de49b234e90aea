"""The metrics of all workers as one, and what only their supervisor can measure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from prometheus_client import Metric

# Of this process alone: what began first is the proxy.
_OURS: Final = "process_start_time_seconds"


class MergedMetrics:
    """What the workers count in files of one directory, each time as of now."""

    def __init__(self, directory: Path, *, workers: Callable[[], Iterable[int]]) -> None:
        """`directory` is empty now, and every worker's PROMETHEUS_MULTIPROC_DIR.

        `workers` are the processes that there are now.
        """
        self._directory = directory
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=str(directory))  # type: ignore[no-untyped-call]
        self._registry.register(_Processes(workers))
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


class _Processes(Collector):
    """Prometheus' own `process_*`, of this process and all workers together."""

    def __init__(self, workers: Callable[[], Iterable[int]]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        together = {metric.name: metric for metric in _measured(os.getpid())}
        for worker in self._workers():
            for metric in _measured(worker):
                sums = together.get(metric.name)
                if sums is not None and metric.name != _OURS:
                    value = sums.samples[0].value + metric.samples[0].value
                    sums.samples[0] = sums.samples[0]._replace(value=value)
        return together.values()


def _measured(process: int) -> Iterable[Metric]:
    """Nothing, where it has just ended."""
    return ProcessCollector(pid=lambda: process, registry=None).collect()
