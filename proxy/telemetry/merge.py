"""The merged metrics of all workers, and the metrics of their supervisor."""

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

# Not summed: the supervisor's start time is that of the proxy.
_START_TIME: Final = "process_start_time_seconds"


class MergedMetrics:
    """Merges the metrics that the workers write to files of one directory."""

    def __init__(self, directory: Path, *, workers: Callable[[], Iterable[int]]) -> None:
        """`directory` must be empty and is every worker's PROMETHEUS_MULTIPROC_DIR.

        `workers` returns the process ids of the current workers.
        """
        self._directory = directory
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=str(directory))  # type: ignore[no-untyped-call]
        self._registry.register(_Processes(workers))
        self.serving = Gauge(
            "lighterage_workers_serving",
            "Workers that accept connections.",
            registry=self._registry,
        )
        self.ended = Counter(
            "lighterage_worker_ends_total",
            "Workers that exited unexpectedly.",
            registry=self._registry,
        )

    def generate(self) -> bytes:
        """The metrics in prometheus' text format."""
        return generate_latest(self._registry)

    def forget(self, worker: int) -> None:
        """Drop the gauges of a worker that has ended; its counters stay."""
        mark_process_dead(worker, str(self._directory))  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """Prometheus' `process_*` metrics, summed over this process and all workers."""

    def __init__(self, workers: Callable[[], Iterable[int]]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        totals = {metric.name: metric for metric in _process_metrics(os.getpid())}
        for worker in self._workers():
            for metric in _process_metrics(worker):
                total = totals.get(metric.name)
                if total is not None and metric.name != _START_TIME:
                    value = total.samples[0].value + metric.samples[0].value
                    total.samples[0] = total.samples[0]._replace(value=value)
        return totals.values()


def _process_metrics(process: int) -> Iterable[Metric]:
    """The `process_*` metrics of one process; empty if it has just ended."""
    return ProcessCollector(pid=lambda: process, registry=None).collect()
