"""The metrics of answered requests, which are written to Prometheus in batches.

Counting one request in four time series costs more than a prepared response, and three times as
much in a worker, whose metrics are in a file.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING, Final

from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Histogram

# How long requests wait, in seconds, if nobody reads the metrics, and how many wait at most.
_EVERY: Final = 0.1
_BATCH: Final = 512


class RequestKind:
    """The time series in which requests of one route, status and cache outcome are counted."""

    __slots__ = ("_bytes", "_durations", "_mixed", "_requests")

    def __init__(self, route: str, status: int, outcome: str, mixed: str) -> None:
        """`mixed` says what clients of an image of mixed types got; "" for any other image."""
        self._requests = metrics.REQUESTS.labels(route, str(status), outcome)
        self._durations = metrics.REQUEST_SECONDS.labels(route)
        self._bytes = metrics.SENT_BYTES.labels(route)
        self._mixed = metrics.MIXED.labels(mixed) if mixed else None

    def count(self, seconds: Sequence[float], sent: int) -> None:
        """Count requests that took `seconds` each and were sent `sent` bytes together."""
        self._requests.inc(len(seconds))
        self._bytes.inc(sent)
        if self._mixed is not None:
            self._mixed.inc(len(seconds))
        _observe(self._durations, seconds)


class RequestMetrics:
    """The requests that were answered and are not in Prometheus' metrics yet."""

    def __init__(self) -> None:
        self._waiting: list[tuple[RequestKind, float, int]] = []
        self._due: asyncio.TimerHandle | None = None
        # The status page reads the metrics in a thread.
        self._writing = Lock()

    def add(self, kind: RequestKind, seconds: float, sent: int) -> None:
        """Count a request; in the event loop's thread."""
        self._waiting.append((kind, seconds, sent))
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(_EVERY, self._write_due)
        elif len(self._waiting) >= _BATCH:
            self.write()

    def write(self) -> None:
        """Write what waits; in any thread."""
        with self._writing:
            count = len(self._waiting)
            taken = self._waiting[:count]
            # Both are one step of the interpreter each, so nothing is lost that is added meanwhile.
            del self._waiting[:count]
            kinds: dict[RequestKind, tuple[list[float], list[int]]] = {}
            for kind, seconds, sent in taken:
                durations, sizes = kinds.setdefault(kind, ([], []))
                durations.append(seconds)
                sizes.append(sent)
            for kind, (durations, sizes) in kinds.items():
                kind.count(durations, sum(sizes))

    def _write_due(self) -> None:
        self._due = None
        self.write()


# One for the process, as Prometheus' own registry is.
REQUEST_METRICS: Final = RequestMetrics()


def _observe(histogram: Histogram, values: Sequence[float]) -> None:
    """Do what `Histogram.observe` does for each value, in its private members: it takes but one."""
    bounds = histogram._upper_bounds  # noqa: SLF001
    histogram._sum.inc(sum(values))  # noqa: SLF001
    for index, count in Counter(bisect_left(bounds, each) for each in values).items():
        histogram._buckets[index].inc(count)  # noqa: SLF001
