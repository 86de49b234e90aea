"""What a meter shows, as the cache keeps it, and what follows from it."""

from __future__ import annotations

from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kit.singleflight import SingleFlight
from proxy.oci.headers.ratelimit import RateLimit
from proxy.stores.memory.cache import MemoryManifests
from proxy.upstream.health.rate_limit import MeterReading, UpstreamMeter

RATE = RateLimit(100, 76, 21600, "192.0.2.7")


def test_a_reading_is_kept_as_it_was() -> None:
    reading = MeterReading(RATE, 1_700_000_000.5)
    assert MeterReading.decode(reading.encode(), reading.at) == reading


@given(st.binary() | st.sampled_from([b"[]", b"1", b'{"limit": "x"}', b'{"at": 1}']))
def test_what_is_no_reading_is_none(value: bytes) -> None:
    assert MeterReading.decode(value, 1e12) is None


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        *(("at", wrong) for wrong in ("1" * 400, "-1", "1e999", "NaN", "null", "2000000000")),
        *(("limit", wrong) for wrong in ("0", "-1", "1.5", '"100"', "1" * 40, "[" * 400)),
        *(("remaining", wrong) for wrong in ("-1", "Infinity", "1" * 11)),
        *(("window", wrong) for wrong in ("-1", "{}", "1" * 11)),
        *(("source", wrong) for wrong in ('"a\\r\\nb"', "7", f'"{"x" * 65}"', '"\\ud800"')),
    ],
)
def test_a_reading_with_one_wrong_member_is_none(member: str, wrong: str) -> None:
    """Somebody else may have written it. In the future it would stay the newest for good."""
    members = {"limit": "100", "remaining": "1", "window": "60", "source": '"me"', "at": "1.5"}
    text = ",".join(f'"{name}": {value}' for name, value in (members | {member: wrong}).items())
    assert MeterReading.decode(f"{{{text}}}".encode(), 1_700_000_000.0) is None


@pytest.mark.parametrize(
    ("rate", "age", "over"),
    [(RATE, 21_599, False), (RATE, 21_601, True), (RateLimit(1, 1), 3_601, True)],
)
def test_a_window_ends(rate: RateLimit, age: float, *, over: bool) -> None:
    assert MeterReading(rate, 0.0).is_over(age) is over


@pytest.mark.parametrize(
    ("remaining", "reserve", "reserved"),
    [(11, 0.1, False), (10, 0.1, True), (1, 0.0, False), (0, 0.0, True), (100, 1.0, True)],
)
async def test_the_reserve_is_a_share_of_the_limit(
    remaining: int, reserve: float, *, reserved: bool
) -> None:
    cache = MemoryManifests(2**16)
    flights = SingleFlight()
    budget = UpstreamMeter(cache, flights, upstream="hub", reserve=reserve, account=lambda: "me")
    assert not await budget.is_at_its_reserve()
    budget.record(RateLimit(100, remaining, 60))
    assert await budget.is_at_its_reserve() is reserved
    await flights.finish(1.0)
    # A newer reading in the cache counts, whichever process has put it there.
    newer = MeterReading(RateLimit(100, 100 - remaining, 60), time() + 1)
    await cache.put("budget:hub:me", newer.encode(), life=60.0)
    assert await budget.is_at_its_reserve() is (100 - remaining <= 100 * reserve)
