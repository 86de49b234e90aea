"""Why somebody gets an old answer, in words for `Cache-Status` and a metric's label."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from proxy.errors import (
    BudgetReserved,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.telemetry import metrics, trace
from proxy.telemetry.trace import Outcome


class Reason(StrEnum):
    """A closed set: the documentation explains each."""

    REVALIDATING = "revalidating"
    SLOW = "slow"
    OFFLINE = "offline"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    THROTTLED = "throttled"
    INVALID = "invalid"
    BUDGET = "budget"


# The first row that fits.
_REASONS: Final[tuple[tuple[type[UpstreamFailure], Reason], ...]] = (
    (UpstreamOffline, Reason.OFFLINE),
    (BudgetReserved, Reason.BUDGET),
    (UpstreamUnavailable, Reason.UNAVAILABLE),
    (UpstreamDenied, Reason.DENIED),
    (UpstreamThrottled, Reason.THROTTLED),
    (UpstreamInvalid, Reason.INVALID),
)


def reason_of(failure: UpstreamFailure) -> Reason:
    """The kind of the failure, in one word."""
    return next(
        (reason for kind, reason in _REASONS if isinstance(failure, kind)), Reason.UNAVAILABLE
    )


def served(reason: Reason) -> None:
    """Say in the trace that an old answer is given, and count it."""
    metrics.STALE.labels(reason).inc()
    trace.current().outcome = Outcome.STALE
    trace.current().stored = False
    trace.current().detail = reason
