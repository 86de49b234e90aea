"""The circuit breaker, on a clock that the test holds."""

from __future__ import annotations

import pytest

from proxy.kit.circuit_breaker import CircuitBreaker


class Clock:
    """Seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """A breaker that has just opened."""
    breaker = CircuitBreaker(
        failures=3, first_interval=1.0, max_interval=10.0, clock=clock, chance=lambda: 0.0
    )
    assert [breaker.record_failure() for _ in range(3)] == [False, False, True]
    return breaker


def test_only_consecutive_failures_open_it(clock: Clock) -> None:
    breaker = CircuitBreaker(failures=3, clock=clock, chance=lambda: 0.0)
    for _ in range(5):
        breaker.record_failure()
        breaker.record_failure()
        breaker.record_success()
        assert (breaker.is_open, breaker.allows(), breaker.retry_in) == (False, True, 0.0)


def test_one_attempt_is_allowed_after_the_first_interval(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    assert (breaker.allows(), breaker.retry_in) == (False, 1.0)
    clock.now += 0.99
    assert not breaker.allows()
    clock.now += 0.01
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_the_intervals_double_up_to_the_maximum(breaker: CircuitBreaker, clock: Clock) -> None:
    allowed = []
    for tenth in range(1, 451):
        clock.now = 1000.0 + tenth / 10
        if breaker.allows():
            allowed.append(tenth / 10)
            breaker.record_failure()
    assert allowed == [1, 3, 7, 15, 25, 35, 45]


def test_the_first_success_closes_it_and_resets_the_interval(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    for _ in range(4):
        clock.now += 10.0
        assert breaker.allows()
    assert breaker.record_success()
    assert (breaker.is_open, breaker.allows()) == (False, True)
    assert not breaker.record_success()
    for _ in range(3):
        breaker.record_failure()
    assert breaker.retry_in == 1.0


def test_late_failures_of_earlier_attempts_do_not_lengthen_the_interval(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    clock.now += 0.9
    assert not any(breaker.record_failure() for _ in range(50))
    assert breaker.retry_in == pytest.approx(0.1)


def test_an_attempt_that_never_reports_does_not_delay_the_next_one(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 2.0
    assert breaker.allows()


def test_hold_keeps_it_open_for_the_given_time(clock: Clock) -> None:
    breaker = CircuitBreaker(first_interval=1.0, clock=clock, chance=lambda: 0.0)
    assert breaker.hold(30.0)
    assert not breaker.hold(5.0)
    assert breaker.retry_in == 30.0
    assert not breaker.record_success()
    clock.now += 29.9
    assert not breaker.allows()
    clock.now += 0.2
    assert breaker.allows()
    assert breaker.record_success()
    assert breaker.allows()


def test_breakers_that_opened_together_do_not_retry_together(clock: Clock) -> None:
    breakers = [CircuitBreaker(failures=1, first_interval=1.0, clock=clock) for _ in range(50)]
    assert all(breaker.record_failure() for breaker in breakers)
    due = {breaker.retry_in for breaker in breakers}
    assert len(due) > 1
    assert all(0.9 < seconds <= 1.0 for seconds in due)
