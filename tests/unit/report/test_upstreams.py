"""What is shown of upstreams, and how several processes' views of one are made one."""

from __future__ import annotations

import pytest

from proxy.report.upstreams import (
    Circuit,
    Meter,
    UpstreamReport,
    WatchedUpstream,
    merge_upstreams,
    percentile,
)
from tests.kit.manual_clock import ManualClock

CLOSED = Circuit(state="closed", since=None, why=None, next_try=None)


def report(name: str = "docker.io", **changed: object) -> UpstreamReport:
    given = {
        "circuit": CLOSED,
        "login": "unused",
        "seconds": [],
        "received": 0,
        "pulls": None,
        **changed,
    }
    return UpstreamReport(name=name, **given)  # type: ignore[typeddict-item, no-any-return]


@pytest.mark.parametrize(
    ("seconds", "p50", "p99"),
    [([], None, None), ([2.0], 2.0, 2.0), ([float(n) for n in range(1, 101)], 50.0, 99.0)],
)
def test_percentiles(seconds: list[float], p50: float | None, p99: float | None) -> None:
    assert (percentile(seconds, 0.5), percentile(seconds, 0.99)) == (p50, p99)


def test_an_upstream_is_watched() -> None:
    clock = ManualClock(wall=6_000_000.0)
    meter: Meter | None = None
    watched = WatchedUpstream(
        "docker.io",
        circuit=lambda: CLOSED,
        login=lambda: "accepted",
        meter=lambda: meter,
        clock=clock,
    )
    watched.sample()
    assert watched.report()["pulls"] is None
    for number in range(1000):
        watched.record(number, 10)
    meter = Meter(100, 76, 5_999_999.0)
    watched.sample()
    clock.advance(600)
    seen = watched.report()
    assert (len(seen["seconds"]), seen["seconds"][-1], seen["received"]) == (256, 999, 10_000)
    assert seen["pulls"] == {
        "limit": 100,
        "remaining": 76,
        "at": 5_999_999.0,
        "readings": [[100_000, 76], [100_010, 76]],
    }


def test_the_worst_that_a_process_knows_counts_for_all() -> None:
    late = Circuit(state="open", since=20.0, why="later", next_try=3.0)
    early = Circuit(state="open", since=10.0, why="it refuses connections", next_try=9.0)
    merged = merge_upstreams(
        [
            [report(circuit=early, login="accepted", seconds=[1.0], received=1)],
            [report(login="refused", seconds=[2.0], received=2), report("quay.io")],
            [report(circuit=late)],
        ]
    )
    assert [each["name"] for each in merged] == ["docker.io", "quay.io"]
    assert merged[0]["circuit"] == {
        "state": "open",
        "since": 10.0,
        "why": "it refuses connections",
        "next_try": 3.0,
    }
    assert (merged[0]["login"], merged[0]["seconds"], merged[0]["received"]) == (
        "refused",
        [1.0, 2.0],
        3,
    )


def test_the_newest_statement_of_a_limit_counts() -> None:
    old = {"limit": 100, "remaining": 90, "at": 10.0, "readings": [[0, 95], [5, 90]]}
    new = {"limit": 100, "remaining": 80, "at": 20.0, "readings": [[5, 80]]}
    for pair in ((old, new), (new, old)):
        (merged,) = merge_upstreams([[report(pulls=pair[0])], [report(pulls=pair[1])]])
        assert merged["pulls"] == {**new, "readings": [[0, 95], [5, 80]]}
    (merged,) = merge_upstreams([[report(pulls=old)], [report()]])
    assert merged["pulls"] == old
