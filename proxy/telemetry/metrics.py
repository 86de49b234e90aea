"""Every metric. Labels come from closed sets: never a repository, never a tag."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, values

# In a worker's environment, beside prometheus' own PROMETHEUS_MULTIPROC_DIR: which one it is.
WORKER: Final = "LIGHTERAGE_WORKER"
if (_number := os.environ.get(WORKER)) is not None:
    # By number and not by process: a successor goes on where the files of the last one end, and
    # there are never more of them.
    values.ValueClass = values.MultiProcessValue(lambda: _number)  # type: ignore[no-untyped-call]

_PREFIX: Final = "lighterage"
_LAG_EVERY: Final = 0.5
_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter(
    f"{_PREFIX}_requests_total",
    "Answers to clients, by route, status and where the content came from.",
    ("route", "status", "cache"),
)
REQUEST_SECONDS = Histogram(
    f"{_PREFIX}_request_duration_seconds",
    "From the request's head to the end of the answer.",
    ("route",),
    buckets=_SECONDS,
)
SENT_BYTES = Counter(
    f"{_PREFIX}_sent_bytes_total", "Bytes of content sent to clients, by route.", ("route",)
)
UPSTREAM_REQUESTS = Counter(
    f"{_PREFIX}_upstream_requests_total",
    "Requests to upstreams and their token servers, by kind and outcome.",
    ("upstream", "kind", "outcome"),
)
UPSTREAM_SECONDS = Histogram(
    f"{_PREFIX}_upstream_request_duration_seconds",
    "Until an upstream's answer began, or failed.",
    ("upstream", "kind"),
    buckets=_SECONDS,
)
RECEIVED_BYTES = Counter(
    f"{_PREFIX}_received_bytes_total", "Bytes of content received from upstreams.", ("upstream",)
)
CONVERSIONS = Counter(
    f"{_PREFIX}_conversions_total", "Manifests converted, by edge of the graph.", ("edge",)
)
REFUSALS = Counter(
    f"{_PREFIX}_conversion_refusals_total",
    "Conversions that the content did not allow, by edge of the graph and kind of reason.",
    ("edge", "reason"),
)
MIXED = Counter(
    f"{_PREFIX}_mixed_images_total",
    "Answers with an image that mixes OCI and docker types, as it is stored or converted.",
    ("served",),
)
REBUILD_MISMATCHES = Counter(
    f"{_PREFIX}_rebuild_mismatches_total",
    "Derived manifests that could not be made again with the digest that was handed out.",
)
STALE = Counter(
    f"{_PREFIX}_stale_served_total",
    "Tags and listings answered as they were known before, by why nobody waited for the upstream.",
    ("reason",),
)
CIRCUIT_OPEN = Gauge(
    f"{_PREFIX}_upstream_circuit_open",
    "Whether the upstream is left alone because it failed, but for one attempt now and then.",
    ("upstream",),
    multiprocess_mode="livemax",
)
BUDGET_LIMIT = Gauge(
    f"{_PREFIX}_upstream_pull_limit",
    "How many pulls the upstream grants in its window, as it said last.",
    ("upstream",),
    multiprocess_mode="livemostrecent",
)
BUDGET_REMAINING = Gauge(
    f"{_PREFIX}_upstream_pulls_remaining",
    "How many of them are left, as it said last.",
    ("upstream",),
    multiprocess_mode="livemostrecent",
)
TRANSFERS = Gauge(
    f"{_PREFIX}_transfers_in_flight",
    "Blobs that are being fetched from an upstream.",
    multiprocess_mode="livesum",
)
FOLLOWERS = Gauge(
    f"{_PREFIX}_transfer_readers",
    "Clients that read a blob while it arrives.",
    multiprocess_mode="livesum",
)
PASSED_THROUGH = Counter(
    f"{_PREFIX}_blobs_passed_through_total",
    "Blobs sent to one client without being kept, by what there was no room in.",
    ("reason",),
)
TURNED_AWAY = Counter(
    f"{_PREFIX}_turned_away_total",
    "Requests answered 503 because a limit was reached, by limit.",
    ("limit",),
)
CACHE_ERRORS = Counter(
    f"{_PREFIX}_cache_errors_total",
    "Operations on the manifest cache that failed, each a miss, by operation.",
    ("operation",),
)
BUCKET_ERRORS = Counter(
    f"{_PREFIX}_bucket_errors_total",
    "Requests to the bucket that failed, or were spared it because it fails, by operation.",
    ("operation",),
)
STORED_BYTES = Gauge(
    f"{_PREFIX}_stored_bytes",
    "Bytes that the blobs take on the disk, as counted last.",
    multiprocess_mode="livemostrecent",
)
EVICTED_BYTES = Counter(f"{_PREFIX}_evicted_bytes_total", "Bytes of blobs removed to make room.")
DAMAGED = Counter(
    f"{_PREFIX}_blobs_damaged_total",
    "Stored blobs that were not what their digests name, by what noticed it.",
    ("found_by",),
)
LOOP_LAG = Histogram(
    f"{_PREFIX}_loop_lag_seconds",
    "How much later than asked the event loop woke up, looked at twice a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
BACKGROUND_TASK_FAILURES = Counter(
    f"{_PREFIX}_background_task_failures_total",
    "Rounds of background tasks that failed and are retried, by task.",
    ("task",),
)
SETTINGS_REFUSED = Gauge(
    f"{_PREFIX}_settings_refused",
    "Whether the settings file, as it is now, cannot be used, and the ones before it are.",
    multiprocess_mode="livemax",
)
LOG_DROPPED = Counter(
    f"{_PREFIX}_log_lines_dropped_total", "Log lines that standard output did not take in time."
)


async def measure_loop_lag() -> None:
    """Measure once how late the event loop wakes up, which takes half a second."""
    loop = asyncio.get_running_loop()
    due = loop.time() + _LAG_EVERY
    await asyncio.sleep(_LAG_EVERY)
    LOOP_LAG.observe(max(0.0, loop.time() - due))
