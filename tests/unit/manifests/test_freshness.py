"""What to do with a stored copy, as a table (RFC 9111, 4.2; RFC 5861)."""

from __future__ import annotations

import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import (
    BudgetReserved,
    ClientThrottled,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamSaturated,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.manifests.freshness import (
    NO_TROUBLE,
    Decision,
    Fresh,
    Lifetime,
    MustFetch,
    Reason,
    RevalidateWithin,
    ServeStale,
    ServeStaleAndRevalidate,
    Trouble,
    decide,
    reason_of,
)

LIFE: Final = Lifetime(ttl=60, stale_if_error=1000, stale_while_revalidate=30)
WITHIN: Final = RevalidateWithin(0.5)
REVALIDATE: Final = ServeStaleAndRevalidate(Reason.REVALIDATING)

FAILS: Final = Trouble(failure=Reason.UNAVAILABLE)
OFFLINE: Final = Trouble(failure=Reason.OFFLINE)
HELD_OFF: Final = Trouble(held_off=Reason.THROTTLED)
SLOW: Final = Trouble(slow=True)
ALL: Final = Trouble(failure=Reason.DENIED, held_off=Reason.BUDGET, slow=True)

# The age of the copy, what is known against the upstream, and what follows.
TABLE: Final[list[tuple[float | None, Trouble, Decision]]] = [
    # No copy: the upstream is asked, whatever is known against it.
    (None, NO_TROUBLE, MustFetch()),
    (None, FAILS, MustFetch()),
    (None, OFFLINE, MustFetch()),
    (None, HELD_OFF, MustFetch()),
    (None, SLOW, MustFetch()),
    # A fresh copy: nobody is asked.
    (0, NO_TROUBLE, Fresh()),
    (59.9, NO_TROUBLE, Fresh()),
    (59.9, ALL, Fresh()),
    # A clock that was set back a little leaves it fresh, and more does not make it immortal.
    (-59.9, NO_TROUBLE, Fresh()),
    (-60, NO_TROUBLE, REVALIDATE),
    (-1e9, NO_TROUBLE, REVALIDATE),
    # Just stale: served while the upstream is asked.
    (60, NO_TROUBLE, REVALIDATE),
    (89.9, NO_TROUBLE, REVALIDATE),
    (60, SLOW, REVALIDATE),
    # Stale: the upstream is asked first, for a moment.
    (90, NO_TROUBLE, WITHIN),
    (1059.9, NO_TROUBLE, WITHIN),
    # Not where another request has waited longer already.
    (90, SLOW, ServeStaleAndRevalidate(Reason.SLOW)),
    # Nor where no useful answer is to be expected; the question still finds out when one is.
    (60, FAILS, ServeStaleAndRevalidate(Reason.UNAVAILABLE)),
    (90, FAILS, ServeStaleAndRevalidate(Reason.UNAVAILABLE)),
    (90, OFFLINE, ServeStaleAndRevalidate(Reason.OFFLINE)),
    # What has just failed is not asked again at once.
    (60, HELD_OFF, ServeStale(Reason.THROTTLED)),
    (90, HELD_OFF, ServeStale(Reason.THROTTLED)),
    (90, ALL, ServeStale(Reason.BUDGET)),
    # Too old to be better than an error.
    (1060, NO_TROUBLE, MustFetch()),
    (1060, FAILS, MustFetch()),
    (1060, HELD_OFF, MustFetch()),
    (1060, SLOW, MustFetch()),
    # Unless the upstream is set offline: then there is nothing better, ever.
    (1060, OFFLINE, ServeStaleAndRevalidate(Reason.OFFLINE)),
    (1e9, OFFLINE, ServeStaleAndRevalidate(Reason.OFFLINE)),
]


@pytest.mark.parametrize(("age", "trouble", "decision"), TABLE, ids=str)
def test_what_is_done_with_a_copy(age: float | None, trouble: Trouble, decision: Decision) -> None:
    assert decide(age, LIFE, revalidation_timeout=0.5, trouble=trouble) == decision


@pytest.mark.parametrize(("ttl", "until"), [(0, 0), (10, 20), (60, 90)])
def test_a_copy_is_served_in_the_background_for_no_longer_than_it_was_fresh(
    ttl: float, until: float
) -> None:
    life = Lifetime(ttl, 1000, 30)
    assert not life.may_revalidate_in_background(until)
    assert until == 0 or life.may_revalidate_in_background(until - 1)


def test_without_a_lifetime_nothing_is_fresh() -> None:
    life = Lifetime(ttl=0, stale_if_error=0)
    for age in (-1.0, 0.0, 1.0):
        assert not life.is_fresh(age)
    assert decide(0.0, life, revalidation_timeout=0.5) == MustFetch()


def test_the_longest_use_of_a_copy_is_that_of_the_ttl_and_of_errors() -> None:
    assert LIFE.longest == 1060


@given(
    st.floats(allow_infinity=True),
    st.builds(
        Trouble,
        failure=st.none() | st.sampled_from(Reason),
        held_off=st.none() | st.sampled_from(Reason),
        slow=st.booleans(),
    ),
)
def test_any_age_has_a_decision_and_a_stale_copy_is_never_called_fresh(
    age: float, trouble: Trouble
) -> None:
    """Stores may hold anything: a moment that is no number, or one from the future."""
    decision = decide(age, LIFE, revalidation_timeout=0.5, trouble=trouble)
    assert isinstance(decision, Fresh) is (abs(age) < 60)
    if trouble.failure is not Reason.OFFLINE and (math.isnan(age) or age >= 1060):
        assert decision == MustFetch()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (UpstreamUnavailable("x"), Reason.UNAVAILABLE),
        (UpstreamOffline("x"), Reason.OFFLINE),
        (UpstreamSaturated("x"), Reason.SATURATED),
        (
            ClientThrottled("x", retry_after=1, concerns_caller=lambda: True),
            Reason.CLIENT_LIMIT,
        ),
        (UpstreamDenied("x"), Reason.DENIED),
        (UpstreamThrottled("x"), Reason.THROTTLED),
        (BudgetReserved("x"), Reason.BUDGET),
        (UpstreamInvalid("x"), Reason.INVALID),
        (UpstreamFailure("x"), Reason.UNAVAILABLE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_has_one_reason(failure: UpstreamFailure, reason: Reason) -> None:
    assert reason_of(failure) is reason
