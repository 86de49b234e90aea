"""Pauses double up to a bound, and jitter only ever shortens them."""

from __future__ import annotations

import pytest

from proxy.kit.backoff import Backoff, with_jitter

BACKOFF = Backoff(first=0.5, longest=6.0)


def test_it_doubles_up_to_the_longest() -> None:
    assert [BACKOFF.pause(n, lambda: 0.0) for n in range(1, 7)] == [0.5, 1, 2, 4, 6, 6]
    assert BACKOFF.pause(10**6, lambda: 0.0) == 6


@pytest.mark.parametrize("failures", [1, 3, 100])
def test_jitter_leaves_at_least_half(failures: int) -> None:
    whole = BACKOFF.pause(failures, lambda: 0.0)
    pauses = {BACKOFF.pause(failures) for _ in range(50)}
    assert len(pauses) > 1
    assert all(whole / 2 < pause <= whole for pause in pauses)


def test_an_interval_is_shortened_by_a_tenth_at_most() -> None:
    intervals = {with_jitter(10.0) for _ in range(50)}
    assert len(intervals) > 1
    assert all(9.0 < interval <= 10.0 for interval in intervals)
