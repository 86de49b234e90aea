"""Pulls by image: what one is, and that odd names take no memory."""

from __future__ import annotations

import sys

import pytest

from proxy.report.images import ImageCounts, merge_images

NOW = 1_700_000_000.0
HOUR = 3600.0


def add(counts: ImageCounts, image: str, client: str = "10.0.0.1", **how: object) -> None:
    given = {"by_head": False, "count": 1, "at": NOW, "form": "docker image", **how}
    form = str(given.pop("form"))
    counts.add(image, form, client, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requests", "pulls"),
    [
        ([{}], 1),
        ([{"by_head": True}], 1),
        ([{"by_head": True}, {}], 1),
        ([{"by_head": True}, {"at": NOW + 11}], 2),
        ([{"by_head": True}, {"client": "10.0.0.2"}], 2),
        ([{}, {}], 2),
        ([{"count": 1000}], 1000),
    ],
)
def test_a_pull_begins_with_head_or_get_of_a_tag(
    requests: list[dict[str, object]], pulls: int
) -> None:
    counts = ImageCounts()
    for request in requests:
        add(counts, "docker.io/library/alpine:3", **request)  # type: ignore[arg-type]
    assert [each["pulls"] for each in counts.report(NOW)] == [pulls]


def test_pulls_are_those_of_24_hours_and_the_most_pulled_come_first() -> None:
    counts = ImageCounts()
    add(counts, "docker.io/a:1", at=NOW - 30 * HOUR, count=50)
    add(counts, "docker.io/b:1", at=NOW - 20 * HOUR, count=2, form="schema 1")
    add(counts, "docker.io/c:1", count=3)
    add(counts, "docker.io/b:1", count=2)
    assert counts.report(NOW) == [
        {
            "image": "docker.io/b:1",
            "pulls": 4,
            "last_pull": NOW,
            "forms": {"schema 1": 2, "docker image": 2},
        },
        {"image": "docker.io/c:1", "pulls": 3, "last_pull": NOW, "forms": {"docker image": 3}},
    ]


def test_ten_thousand_odd_names_are_forgotten_before_what_is_pulled_often() -> None:
    counts = ImageCounts()
    add(counts, "docker.io/library/alpine:3", count=5)
    for number in range(10_000):
        add(counts, f"docker.io/odd/{number}:{'x' * 100}")
    assert len(counts) <= 400
    assert len(counts.report(NOW)) == 100
    assert counts.report(NOW)[0]["image"] == "docker.io/library/alpine:3"
    assert sum(sys.getsizeof(each) for each in counts.report(NOW)) < 2**20


def test_reports_of_several_processes_add_up() -> None:
    one, other = ImageCounts(), ImageCounts()
    add(one, "docker.io/a:1", count=2)
    add(other, "docker.io/a:1", at=NOW + 1, form="OCI image")
    add(other, "docker.io/b:1", count=9)
    assert merge_images([one.report(NOW), other.report(NOW)]) == [
        {"image": "docker.io/b:1", "pulls": 9, "last_pull": NOW, "forms": {"docker image": 9}},
        {
            "image": "docker.io/a:1",
            "pulls": 3,
            "last_pull": NOW + 1,
            "forms": {"docker image": 2, "OCI image": 1},
        },
    ]
    assert one.report(NOW)[0]["pulls"] == 2
