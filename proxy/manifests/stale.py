"""Records that a stale copy is served: for `Cache-Status`, by way of the trace, and in a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.telemetry import metrics, trace
from proxy.telemetry.trace import Outcome

if TYPE_CHECKING:
    from proxy.manifests.freshness import Reason


def record_stale(reason: Reason) -> None:
    """The request that is being served gets a stale copy."""
    metrics.STALE.labels(reason).inc()
    current = trace.current()
    current.outcome, current.stored, current.detail = Outcome.STALE, False, reason
