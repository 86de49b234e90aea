"""Requests that are counted in batches count as they would one by one."""

from __future__ import annotations

import asyncio
import threading

from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from proxy.telemetry import request_metrics
from proxy.telemetry.request_metrics import RequestKind, RequestMetrics
from tests.kit.pulls import until


def value(name: str, **labels: str) -> float:
    """What Prometheus has of one time series."""
    return REGISTRY.get_sample_value(f"lighterage_{name}", labels) or 0.0


def test_a_batch_is_observed_as_its_values_are() -> None:
    durations = [0.0, 0.001, 0.0011, 0.3, 0.5, 299.0, 300.0, 301.0]
    found = []
    for observe in (request_metrics._observe, _one_by_one):
        registry = CollectorRegistry()
        bounds = (0.001, 0.5, 300)
        observe(Histogram("seconds", "Of a test.", buckets=bounds, registry=registry), durations)
        found.append(
            [
                (sample.name, sample.labels, sample.value)
                for metric in registry.collect()
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
        )
    assert found[0] == found[1]


def _one_by_one(histogram: Histogram, values: list[float]) -> None:
    for each in values:
        histogram.observe(each)


async def test_requests_are_counted_when_they_are_due() -> None:
    kind = RequestKind("batch-due", 200, "hit", "stored")
    mixed = value("mixed_images_total", served="stored")
    requests = RequestMetrics()
    for _ in range(3):
        requests.add(kind, 0.25, 10)
    labels = {"route": "batch-due", "status": "200", "cache": "hit"}
    assert value("requests_total", **labels) == 0
    await until(lambda: value("requests_total", **labels) > 0)
    assert value("requests_total", **labels) == 3
    assert value("sent_bytes_total", route="batch-due") == 30
    assert value("request_duration_seconds_sum", route="batch-due") == 0.75
    assert value("mixed_images_total", served="stored") == mixed + 3
    # The next ones are due again.
    requests.add(kind, 0.25, 10)
    await until(lambda: value("requests_total", **labels) > 3)


async def test_many_requests_do_not_wait() -> None:
    kind = RequestKind("batch-many", 200, "hit", "")
    requests = RequestMetrics()
    for _ in range(2000):
        requests.add(kind, 0.25, 0)
    labels = {"route": "batch-many", "status": "200", "cache": "hit"}
    assert 1000 < value("requests_total", **labels) <= 2000
    requests.write()
    assert value("requests_total", **labels) == 2000


async def test_nothing_is_lost_that_is_added_while_another_thread_writes() -> None:
    kind = RequestKind("batch-thread", 200, "hit", "")
    requests = RequestMetrics()
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            requests.write()

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(20_000):
        requests.add(kind, 0.25, 1)
    ended.set()
    await asyncio.to_thread(thread.join)
    requests.write()
    assert value("requests_total", route="batch-thread", status="200", cache="hit") == 20_000
    assert value("sent_bytes_total", route="batch-thread") == 20_000
