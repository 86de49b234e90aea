"""The breaker, on a clock that only the test moves."""

from __future__ import annotations

import pytest

from proxy.kit.circuit_breaker import CircuitBreaker


class Clock:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """One that was opened just now."""
    breaker = CircuitBreaker(failures=3, first=1.0, longest=10.0, clock=clock)
    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    return breaker


def test_failures_open_it_only_in_a_row(clock: Clock) -> None:
    breaker = CircuitBreaker(failures=3, clock=clock)
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
        assert (breaker.is_open, breaker.allows(), breaker.retry_in) == (False, True, 0.0)


def test_one_attempt_is_let_through_after_the_first_interval(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    assert (breaker.allows(), breaker.retry_in) == (False, 1.0)
    clock.now += 0.99
    assert not breaker.allows()
    clock.now += 0.01
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_the_intervals_double_up_to_the_longest(breaker: CircuitBreaker, clock: Clock) -> None:
    let_through = []
    for tenth in range(1, 451):
        clock.now = 1000.0 + tenth / 10
        if breaker.allows():
            let_through.append(tenth / 10)
            breaker.failed()
    assert let_through == [1, 3, 7, 15, 25, 35, 45]


def test_the_first_success_closes_it_and_the_next_outage_begins_anew(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    for _ in range(4):
        clock.now += 10.0
        assert breaker.allows()
    assert breaker.succeeded()
    assert (breaker.is_open, breaker.allows()) == (False, True)
    assert not breaker.succeeded()
    for _ in range(3):
        breaker.failed()
    assert breaker.retry_in == 1.0


def test_late_failures_of_attempts_from_before_do_not_make_it_wait_longer(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    clock.now += 0.9
    assert not any(breaker.failed() for _ in range(50))
    assert breaker.retry_in == pytest.approx(0.1)


def test_an_attempt_that_never_reports_blocks_nothing(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 2.0
    assert breaker.allows()


def test_it_is_held_open_for_as_long_as_was_asked(clock: Clock) -> None:
    breaker = CircuitBreaker(first=1.0, clock=clock)
    assert breaker.hold(30.0)
    assert not breaker.hold(5.0)
    assert breaker.retry_in == 30.0
    assert not breaker.succeeded()
    clock.now += 29.9
    assert not breaker.allows()
    clock.now += 0.2
    assert breaker.allows()
    assert breaker.succeeded()
    assert breaker.allows()
