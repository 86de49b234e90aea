"""The breaker opens, lets one attempt an interval through, and closes."""

from __future__ import annotations

from proxy.stores.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, first=0.5, longest=5.0, clock=clock)
    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    return breaker


def attempts(breaker: Breaker, clock: Clock, *, seconds: float) -> list[float]:
    """When an attempt is allowed, in seconds from now, asked every tenth of a second."""
    start = clock.now
    allowed = []
    for tick in range(round(seconds * 10)):
        clock.now = start + tick / 10
        if breaker.allows():
            allowed.append(tick / 10)
    return allowed


def test_it_stays_closed_until_enough_fail_in_a_row() -> None:
    breaker = Breaker(failures=3, clock=Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        assert breaker.allows()
        assert not breaker.succeeded()


def test_attempts_become_rarer_but_never_end() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert attempts(breaker, clock, seconds=24) == [0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 22.5]


def test_failures_of_attempts_from_before_delay_nothing() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert not any(breaker.failed() for _ in range(100))
    assert attempts(breaker, clock, seconds=2) == [0.5, 1.5]


def test_one_success_closes_it_and_the_next_opening_is_short_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    attempts(breaker, clock, seconds=20)
    assert breaker.is_open
    assert breaker.succeeded()
    assert not breaker.is_open
    assert breaker.allows()
    for _ in range(3):
        breaker.failed()
    assert attempts(breaker, clock, seconds=1) == [0.5]
