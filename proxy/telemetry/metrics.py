"""All metrics. Label values come from closed sets: never a repository or a tag."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, values

# The worker's number, in its environment beside prometheus' PROMETHEUS_MULTIPROC_DIR.
WORKER: Final = "LIGHTERAGE_WORKER"
if (_number := os.environ.get(WORKER)) is not None:
    # Files are named by number and not by process id: a restarted worker continues the files of
    # its predecessor, so their number is bounded.
    values.ValueClass = values.MultiProcessValue(lambda: _number)  # type: ignore[no-untyped-call]

_PREFIX: Final = "lighterage"
_LAG_EVERY: Final = 0.5
_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

BUILD_INFO = Gauge(
    f"{_PREFIX}_build_info",
    "1, with the version of this release.",
    ("version",),
    multiprocess_mode="livemax",
)
CLIENT_REQUESTS = Counter(
    f"{_PREFIX}_client_requests_total",
    "Answered requests, by generation of the client.",
    ("generation",),
)
REQUESTS = Counter(
    f"{_PREFIX}_requests_total",
    "Responses to clients, by route, status and cache outcome.",
    ("route", "status", "cache"),
)
REQUEST_SECONDS = Histogram(
    f"{_PREFIX}_request_duration_seconds",
    "Time from a request's headers to the end of its response.",
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
WITHHELD = Counter(
    f"{_PREFIX}_upstream_requests_withheld_total",
    "Requests that were not sent to an upstream because of a limit of this proxy, by reason.",
    ("upstream", "reason"),
)
UPSTREAM_SECONDS = Histogram(
    f"{_PREFIX}_upstream_request_duration_seconds",
    "Time until an upstream's response began or failed.",
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
    "Conversions refused because of the content, by edge of the graph and reason.",
    ("edge", "reason"),
)
CONVERSIONS_RUNNING = Gauge(
    f"{_PREFIX}_layer_conversions_running",
    "Conversions from schema 1 that read layers, or wait for their turn to.",
    multiprocess_mode="livesum",
)
CONVERSIONS_PENDING = Counter(
    f"{_PREFIX}_conversions_pending_total",
    "Responses sent before a conversion had ended, by what was served instead.",
    ("served",),
)
LAYERS_MEASURED = Counter(
    f"{_PREFIX}_layers_measured_total",
    "Layers that were read to convert schema 1, by outcome.",
    ("outcome",),
)
UNPACKED_BYTES = Counter(f"{_PREFIX}_unpacked_bytes_total", "Bytes that measured layers unpack to.")
MIXED = Counter(
    f"{_PREFIX}_mixed_images_total",
    "Responses with an image that mixes OCI and docker types, by whether it was converted.",
    ("served",),
)
REBUILD_MISMATCHES = Counter(
    f"{_PREFIX}_rebuild_mismatches_total",
    "Derived manifests whose rebuild had another digest than the one served before.",
)
STALE = Counter(
    f"{_PREFIX}_stale_served_total",
    "Tags and listings served stale, by reason.",
    ("reason",),
)
CIRCUIT_OPEN = Gauge(
    f"{_PREFIX}_upstream_circuit_open",
    "Whether the upstream's circuit is open: only a probe is sent now and then.",
    ("upstream",),
    multiprocess_mode="livemax",
)
BUDGET_LIMIT = Gauge(
    f"{_PREFIX}_upstream_pull_limit",
    "Pulls that the upstream allows per window, as last reported.",
    ("upstream",),
    multiprocess_mode="livemostrecent",
)
BUDGET_REMAINING = Gauge(
    f"{_PREFIX}_upstream_pulls_remaining",
    "Pulls that remain in the upstream's window, as last reported.",
    ("upstream",),
    multiprocess_mode="livemostrecent",
)
TRANSFERS = Gauge(
    f"{_PREFIX}_transfers_in_flight",
    "Blobs that are being fetched from an upstream.",
    multiprocess_mode="livesum",
)
TRANSFERS_LIMIT = Gauge(
    f"{_PREFIX}_transfers_limit",
    "Blobs that may be fetched at once.",
    multiprocess_mode="livesum",
)
FOLLOWERS = Gauge(
    f"{_PREFIX}_transfer_readers",
    "Clients that read a blob while it is fetched.",
    multiprocess_mode="livesum",
)
PASSED_THROUGH = Counter(
    f"{_PREFIX}_blobs_passed_through_total",
    "Blobs passed through without being stored, by the limit that was reached.",
    ("reason",),
)
TURNED_AWAY = Counter(
    f"{_PREFIX}_turned_away_total",
    "Requests answered 503 because a limit was reached, by limit.",
    ("limit",),
)
CUT = Counter(
    f"{_PREFIX}_connections_cut_total",
    "Connections of clients closed before the end of a response, by reason.",
    ("reason",),
)
ACCESS = Counter(
    f"{_PREFIX}_access_decisions_total",
    "Requests for repositories that are not open, by mode of the rule, kind of principal and "
    "decision.",
    ("mode", "principal", "decision"),
)
LOGINS = Counter(
    f"{_PREFIX}_logins_total", "Requests for tokens and logins, by how they ended.", ("outcome",)
)
AUDIT_LOST = Counter(
    f"{_PREFIX}_audit_lines_lost_total", "Lines of the audit log that could not be written."
)
CACHE_ERRORS = Counter(
    f"{_PREFIX}_cache_errors_total",
    "Operations on the manifest cache that failed and count as misses, by operation.",
    ("operation",),
)
BUCKET_ERRORS = Counter(
    f"{_PREFIX}_bucket_errors_total",
    "Requests to the bucket that failed or met an open circuit, by operation.",
    ("operation",),
)
DISK_ERRORS = Counter(
    f"{_PREFIX}_disk_errors_total",
    "Reads of the blobs' directory that failed and count as misses, by operation.",
    ("operation",),
)
PEERS = Gauge(
    f"{_PREFIX}_peers",
    "The other replicas that are known, by whether they are asked.",
    ("state",),
    multiprocess_mode="livemax",
)
PEER_PASSED_OVER = Counter(
    f"{_PREFIX}_peer_passed_over_total",
    "Questions to other replicas that another one had to answer, by reason.",
    ("reason",),
)
PEER_DUPLICATES = Counter(
    f"{_PREFIX}_peer_owner_missed_total",
    "Questions that this replica put to an upstream because the owner could not be asked.",
    ("question",),
)
PEER_RECEIVED_BYTES = Counter(
    f"{_PREFIX}_peer_received_bytes_total",
    "Bytes received from other replicas, by whether they are in this one's zone.",
    ("zone",),
)
PEER_SENT_BYTES = Counter(
    f"{_PREFIX}_peer_sent_bytes_total",
    "Bytes sent to other replicas, by whether they are in this one's zone.",
    ("zone",),
)
STORED_LIMIT = Gauge(
    f"{_PREFIX}_stored_bytes_limit",
    "Bytes that the blobs may take on the disk.",
    multiprocess_mode="livemax",
)
STORED_BYTES = Gauge(
    f"{_PREFIX}_stored_bytes",
    "Bytes that the blobs take on the disk, as last counted.",
    multiprocess_mode="livemostrecent",
)
EVICTED_BYTES = Counter(f"{_PREFIX}_evicted_bytes_total", "Bytes of evicted blobs.")
DAMAGED = Counter(
    f"{_PREFIX}_blobs_damaged_total",
    "Stored blobs that did not match their digests, by how that was found.",
    ("found_by",),
)
LOOP_LAG = Histogram(
    f"{_PREFIX}_loop_lag_seconds",
    "Delay of a timer of the event loop, measured twice a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
BACKGROUND_TASK_FAILURES = Counter(
    f"{_PREFIX}_background_task_failures_total",
    "Rounds of background tasks that failed and are retried, by task.",
    ("task",),
)
SETTINGS_REFUSED = Gauge(
    f"{_PREFIX}_settings_refused",
    "Whether the current settings file is invalid, so that the previous settings apply.",
    multiprocess_mode="livemax",
)
LOG_DROPPED = Counter(
    f"{_PREFIX}_log_lines_dropped_total",
    "Log lines dropped because standard output did not keep up.",
)


def evicted_bytes() -> float:
    """The bytes that this process has evicted; a worker counts those before it was restarted."""
    return float(next(iter(EVICTED_BYTES.collect())).samples[0].value)


async def measure_loop_lag() -> None:
    """Measure once how late the event loop wakes up, which takes half a second."""
    loop = asyncio.get_running_loop()
    due = loop.time() + _LAG_EVERY
    await asyncio.sleep(_LAG_EVERY)
    LOOP_LAG.observe(max(0.0, loop.time() - due))
