"""Every metric, and the log. Labels come from closed sets: never a repository, never a tag."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Counter, Gauge, Histogram, values

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from pathlib import Path
    from typing import Any

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
BREAKER_OPEN = Gauge(
    f"{_PREFIX}_upstream_breaker_open",
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
SETTINGS_REFUSED = Gauge(
    f"{_PREFIX}_settings_refused",
    "Whether the settings file, as it is now, cannot be used, and the ones before it are.",
    multiprocess_mode="livemax",
)
LOG_DROPPED = Counter(
    f"{_PREFIX}_log_lines_dropped_total", "Log lines that standard output did not take in time."
)


async def watch_loop() -> None:
    """Measure for ever how late the event loop is."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_EVERY
        await asyncio.sleep(_LAG_EVERY)
        LOOP_LAG.observe(max(0.0, loop.time() - due))


class LogWriter:
    """Lines to a file descriptor, written by a thread of its own so that the loop never waits.

    A reader that does not keep up loses lines, which are counted, and never stops the proxy.
    """

    _FLUSH_BYTES: Final = 64 * 1024
    _FLUSH_SECONDS: Final = 0.1
    _BACKLOG_BYTES: Final = 8 * 2**20

    def __init__(self, descriptor: int, *, turn: Path | None = None) -> None:
        """Start the thread; `close` ends it.

        `turn` is a file that processes which share the descriptor lock to write: a pipe takes
        more than a page in pieces, between which another one's lines would come.
        """
        self._descriptor = descriptor
        self._turn = None if turn is None else turn.open("ab")
        self._lines: list[bytes] = []
        self._size = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def line(self, line: str) -> None:
        """Queue one line, without its newline."""
        if self._size > self._BACKLOG_BYTES:
            LOG_DROPPED.inc()
            return
        encoded = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self._lines.append(encoded)
            self._size += len(encoded)
        if self._size >= self._FLUSH_BYTES:
            self._wake.set()

    def close(self) -> None:
        """Write what is queued, for at most a second, and end."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=1.0)
        if self._turn is not None and not self._thread.is_alive():
            self._turn.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._FLUSH_SECONDS)
            self._wake.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            return
        rest = memoryview(b"".join(lines))
        try:
            if self._turn is not None:
                fcntl.flock(self._turn, fcntl.LOCK_EX)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            LOG_DROPPED.inc(len(lines))
        finally:
            if self._turn is not None:
                fcntl.flock(self._turn, fcntl.LOCK_UN)


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def members(**values: object) -> str:
    """`values` as members of a JSON object, for an event's `members`.

    Encoding is most of what a line costs: who logs the same again and again encodes it once.
    """
    return _encode(values)[1:-1]


class _Render:
    """One JSON object a line; the only processor. The second is formatted once a second."""

    def __init__(self, always: Mapping[str, Any]) -> None:
        self._always = always
        self._second = 0
        self._stamp = ""

    def __call__(self, logger: object, level: str, event: MutableMapping[str, Any]) -> str:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, level, event)
        now = time.time()
        if (second := int(now)) != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        stamp = f"{self._stamp}.{int((now - second) * 1000):03d}Z"
        ready = event.pop("members", "")
        text = _encode({"time": stamp, "level": level, **self._always, **event})
        return f"{text[:-1]},{ready}}}" if ready else text


class _Lines:
    """What structlog calls a logger: every level is a line."""

    def __init__(self, writer: LogWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = writer.line
        self.critical = self.exception = self.fatal = writer.line


class _Libraries(logging.Handler):
    """What libraries tell the standard library's logging, as lines of the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library.said",
            library=record.name,
            message=record.getMessage(),
            **({"exc_info": record.exc_info} if record.exc_info else {}),
        )


def start_log(
    descriptor: int | None = None, *, turn: Path | None = None, **always: Any
) -> LogWriter:
    """Send the log to `descriptor` (standard output), one JSON object a line.

    `always` is in every line; `turn` as in `LogWriter`.
    """
    writer = LogWriter(sys.stdout.fileno() if descriptor is None else descriptor, turn=turn)
    lines = _Lines(writer)
    structlog.configure(
        processors=[_Render(always)],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.lastResort = _Libraries(logging.WARNING)
    return writer
