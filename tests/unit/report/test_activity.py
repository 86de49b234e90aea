"""What is counted of an answer, and what several processes make together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy.oci.mediatype import MediaType
from proxy.report.activity import COLLAPSED, Activity, Answered
from proxy.report.past import WorkerReports
from proxy.report.process import ProcessReport, Reporter, merge
from proxy.report.transfers import RunningTransfer, TransferSpeeds, merge_transfers
from tests.kit.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterable

ALPINE = "docker.io/library/alpine"


def answered(outcome: str, **other: object) -> Answered:
    given = {"client": "10.0.0.1", "agent": "containerd/1.7", "method": "GET", **other}
    return Answered(outcome=outcome, **given)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall=1_700_000_040.0)


def reporter(activity: Activity, clock: ManualClock, evicted: Iterable[float] = ()) -> Reporter:
    totals = iter(evicted)
    return Reporter(
        activity=activity,
        upstreams=[],
        transfers=TransferSpeeds(list, clock),
        evicted=lambda: next(totals, 0.0),
        clock=clock,
    )


def test_answers_are_counted_by_where_they_came_from(clock: ManualClock) -> None:
    activity = Activity(clock)
    for outcome, count, sent in (
        ("hit", 3, 30),
        ("revalidated", 1, 10),
        ("stale", 2, 20),
        ("miss", 1, 100),
        (COLLAPSED, 1, 100),
        ("none", 5, 7),
        ("", 1, 0),
    ):
        activity.add(answered(outcome), count, sent)
    clock.advance(120)
    activity.add(answered("hit"), 1, 5)
    counts = activity.report()["counts"]
    assert counts["totals"] == {"here": 5, "stale": 2, "fetched": 2, "sent": 265, "saved": 165}
    assert counts["minutes"]["here"] == [4, 0, 1]
    assert counts["until"] == int(clock.wall() // 60)


def test_only_tags_are_images_and_only_manifests_have_forms(clock: ManualClock) -> None:
    activity = Activity(clock)
    by_tag = answered("miss", image=f"{ALPINE}:3", tagged=True, media_type=MediaType.OCI_INDEX)
    activity.add(by_tag, 1, 500)
    activity.add(by_tag._replace(image=f"{ALPINE}@sha256:0", tagged=False), 1, 500)
    activity.add(by_tag._replace(media_type="application/x-odd"), 1, 500)
    activity.add(answered("miss", image=f"{ALPINE}@sha256:1"), 1, 500)
    activity.add(by_tag._replace(outcome="", media_type="", image="docker.io/none:1"), 1, 0)
    report = activity.report()
    assert [(each["image"], each["forms"]) for each in report["images"]] == [
        (f"{ALPINE}:3", {"OCI index": 1, "other": 1})
    ]
    (clients,) = report["clients"]
    assert (clients["requests"], clients["forms"]) == (5, {"OCI index": 2, "other": 1})


def test_the_last_200_errors_are_remembered_and_cut(clock: ManualClock) -> None:
    activity = Activity(clock)
    for number in range(10_000):
        activity.record_error(
            status=404,
            image=f"docker.io/odd:{number}{'x' * 5000}",
            client="10.0.0.1",
            message="there is no such image" + "y" * 5000,
            request=f"id-{number}",
        )
    errors = activity.report()["errors"]
    assert len(errors) == 200
    assert errors[0]["id"] == "id-9999"
    assert len(json.dumps(errors)) < 200 * 1024


async def test_what_waits_is_counted_before_a_report(clock: ManualClock) -> None:
    activity = Activity(clock)
    waiting = [answered("hit")]
    activity.feeds.append(lambda: activity.add(waiting.pop(), 1, 1) if waiting else None)
    assert activity.report()["counts"]["totals"]["here"] == 1
    waiting.append(answered("hit"))
    await reporter(activity, clock).sample()
    assert not waiting


def test_evictions_are_those_since_the_start(clock: ManualClock) -> None:
    evicting = reporter(Activity(clock), clock, [1000.0, 1000.0, 1500.0, 1600.0])
    assert evicting.report()["evicted"] == [0]
    clock.advance(60)
    assert evicting.report()["evicted"] == [0, 500]
    assert evicting.report()["evicted"] == [0, 600]


def test_workers_add_up_and_those_that_ended_are_not_forgotten(clock: ManualClock) -> None:
    first, second = Activity(clock), Activity(clock)
    first.add(answered("hit"), 5, 50)
    ended = WorkerReports()
    ended.take(reporter(first, clock).report())
    ended.end()
    ended.end()
    clock.advance(60)
    second.add(answered("hit"), 2, 20)
    ended.take(reporter(second, clock).report())
    merged = merge(ended.all())
    assert merged["activity"]["counts"]["totals"]["here"] == 7
    assert merged["activity"]["counts"]["minutes"]["here"] == [5, 2]
    assert json.loads(json.dumps(merged)) == merged


def test_no_process_has_nothing_to_say() -> None:
    merged: ProcessReport = merge([])
    assert (merged["activity"]["images"], merged["transfers"]) == ([], [])


def test_the_speed_of_a_transfer_is_that_of_the_last_second(clock: ManualClock) -> None:
    received = 0

    def running() -> list[RunningTransfer]:
        return [RunningTransfer(ALPINE, "sha256:0", received, 4000, 2, "docker.io")]

    speeds = TransferSpeeds(running, clock)
    assert speeds.report()[0]["speed"] == 0
    clock.advance(0.5)
    received = 500
    assert speeds.report()[0]["speed"] == 1000
    clock.advance(0.5)
    received = 2000
    assert speeds.report()[0]["speed"] == 2000
    clock.advance(2)
    received = 3000
    (seen,) = speeds.report()
    assert seen == {
        "image": ALPINE,
        "digest": "sha256:0",
        "bytes": 3000,
        "size": 4000,
        "speed": 500,
        "readers": 2,
        "source": "docker.io",
    }
    following = {**seen, "bytes": 2900, "speed": 0, "readers": 1, "source": "another worker"}
    (merged,) = merge_transfers([[seen], [following]])  # type: ignore[list-item]
    assert (merged["readers"], merged["bytes"], merged["speed"]) == (3, 3000, 500)
    # The process that fetches knows from where, also if it reports last.
    (merged,) = merge_transfers([[following], [seen]])  # type: ignore[list-item]
    assert merged["source"] == "docker.io"
