"""Freshness: what to do with a stored copy, as a decision. PURE (RFC 9111, 4.2; RFC 5861).

Tags and listings use the same rule. Its inputs are ages and the state of the upstream; it has no
side effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from proxy.errors import (
    BudgetReserved,
    ClientThrottled,
    TagDeleted,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamSaturated,
    UpstreamThrottled,
    UpstreamUnavailable,
)


class Reason(StrEnum):
    """Why a stale copy is served: a closed set, of which the documentation explains each."""

    REVALIDATING = "revalidating"
    SLOW = "slow"
    OFFLINE = "offline"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    THROTTLED = "throttled"
    INVALID = "invalid"
    BUDGET = "budget"
    SATURATED = "saturated"
    CLIENT_LIMIT = "client_limit"
    DELETED = "deleted"


# The first row that fits.
_REASONS: Final[tuple[tuple[type[UpstreamFailure], Reason], ...]] = (
    (UpstreamOffline, Reason.OFFLINE),
    (UpstreamSaturated, Reason.SATURATED),
    (BudgetReserved, Reason.BUDGET),
    (ClientThrottled, Reason.CLIENT_LIMIT),
    (UpstreamUnavailable, Reason.UNAVAILABLE),
    (UpstreamDenied, Reason.DENIED),
    (UpstreamThrottled, Reason.THROTTLED),
    (UpstreamInvalid, Reason.INVALID),
    (TagDeleted, Reason.DELETED),
)


def reason_of(failure: UpstreamFailure) -> Reason:
    """The kind of the failure, in one word."""
    return next(
        (reason for kind, reason in _REASONS if isinstance(failure, kind)), Reason.UNAVAILABLE
    )


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a copy is of use, in seconds.

    Within `ttl` it is fresh. For `stale_while_revalidate` more seconds, which are never more than
    another `ttl`, it is served while the upstream is asked; for `stale_if_error` seconds after the
    `ttl`, if the upstream fails.
    """

    ttl: float
    stale_if_error: float
    stale_while_revalidate: float = 0.0

    @property
    def longest(self) -> float:
        """For how many seconds after its validation a copy may be of use."""
        return self.ttl + self.stale_if_error

    def is_fresh(self, age: float) -> bool:
        """Whether a copy of this age is fresh.

        A clock that was set back must neither make copies immortal, nor all of them stale at once.
        """
        return -self.ttl < age < self.ttl

    def may_revalidate_in_background(self, age: float) -> bool:
        """Whether the copy is served while the upstream is asked."""
        return age < self.ttl + min(self.stale_while_revalidate, self.ttl)

    def may_serve_stale(self, age: float) -> bool:
        """Whether the copy is better than an error."""
        return age < self.longest


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an upstream may not answer well now.

    `failure` is why it is not expected to answer: its circuit is open, or it is set offline.
    `held_off` is why this very question is not asked again yet. `slow` says that another request
    has already waited longer than `revalidation_timeout` for an answer about the same repository,
    or that the registry is slow altogether.
    """

    failure: Reason | None = None
    held_off: Reason | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Fresh:
    """Serve the copy; the upstream is not asked."""


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Serve the copy, and ask nobody."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class ServeStaleAndRevalidate:
    """Serve the copy, and ask the upstream for the next request."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class RevalidateWithin:
    """Ask the upstream, and serve the copy if it has not answered in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MustFetch:
    """There is no copy that may be served: wait for the upstream."""


Decision: TypeAlias = Fresh | ServeStale | ServeStaleAndRevalidate | RevalidateWithin | MustFetch

NO_TROUBLE: Final = Trouble()


def decide(
    age: float | None,
    life: Lifetime,
    *,
    revalidation_timeout: float,
    trouble: Trouble = NO_TROUBLE,
) -> Decision:
    """What to do with a copy that was validated `age` seconds ago; None if there is no copy."""
    if age is not None and life.is_fresh(age):
        return Fresh()
    is_offline = trouble.failure is Reason.OFFLINE
    if age is None or not (life.may_serve_stale(age) or is_offline):
        return MustFetch()
    if trouble.held_off is not None:
        return ServeStale(trouble.held_off)
    reason = trouble.failure
    if reason is None and life.may_revalidate_in_background(age):
        reason = Reason.REVALIDATING
    if reason is None and trouble.slow:
        reason = Reason.SLOW
    if reason is not None:
        return ServeStaleAndRevalidate(reason)
    return RevalidateWithin(revalidation_timeout)
