"""When a client reads too slowly, from samples once a second."""

from __future__ import annotations

from itertools import count

from proxy.web.reading_rate import ReadingLimits, ReadingRate, TooSlow

LIMITS = ReadingLimits(send_timeout=60, minimum_rate=1024)
RESPONSE = object()


def cut_after(rate: float, *, seconds: int = 600) -> tuple[int, TooSlow] | None:
    """After how many seconds a client is cut that reads so many bytes a second, and why."""
    measured = ReadingRate()
    for now in range(1, seconds):
        read = int(rate * now) - 2_500_000
        if found := measured.sample(now, LIMITS, response=RESPONSE, read=read):
            return now, found
    return None


def test_a_client_that_takes_nothing_is_cut_after_the_timeout() -> None:
    assert cut_after(0) == (61, TooSlow.STALLED)


def test_a_client_that_reads_more_slowly_than_the_minimum_is_cut() -> None:
    assert cut_after(1) == (61, TooSlow.RATE)
    assert cut_after(900) == (61, TooSlow.RATE)


def test_a_client_that_reads_faster_is_not() -> None:
    assert cut_after(1100) is None
    assert cut_after(50_000) is None


def test_time_in_which_nothing_waits_for_the_client_does_not_count() -> None:
    """Such as a transfer for which the upstream is slow."""
    measured = ReadingRate()
    clock = count(1)
    for piece in range(20):
        read = piece * 100_000
        for _ in range(30):
            assert not measured.sample(next(clock), LIMITS, response=RESPONSE, read=read)
            read += 2000
        for _ in range(100):
            next(clock)
            measured.pause()


def test_each_response_has_the_whole_time() -> None:
    measured = ReadingRate()
    for now in range(1, 600):
        response = now // 50
        assert not measured.sample(now, LIMITS, response=response, read=1000)
