"""For how long which tag is believed."""

from __future__ import annotations

import pytest

from proxy.manifests.lifetimes import Lifetime, Lifetimes
from proxy.oci.reference import Repository, Tag

LIFETIMES = Lifetimes(
    Lifetime(60, 100),
    [
        ("*:v[0-9]*", Lifetime(1, 100)),
        ("docker.io/library/*:latest", Lifetime(2, 100)),
        ("team/*:latest", Lifetime(3, 100)),
        ("*:latest", Lifetime(4, 100)),
        ("quay.io/org/app:1.?", Lifetime(5, 100)),
    ],
)


@pytest.mark.parametrize(
    ("registry", "name", "tag", "ttl"),
    [
        ("docker.io", "library/alpine", "v1.2", 1),
        ("docker.io", "library/alpine", "version", 60),
        ("docker.io", "library/alpine", "latest", 2),
        ("quay.io", "team/app", "latest", 3),
        ("quay.io", "other/team/app", "latest", 4),
        ("quay.io", "org/app", "1.2", 5),
        ("quay.io", "org/app", "1x2", 60),
        ("quay.io", "org/app", "1.20", 60),
        ("quay.io", "org/app", "LATEST", 60),
    ],
)
def test_the_first_rule_that_fits_is_taken(registry: str, name: str, tag: str, ttl: float) -> None:
    repository = Repository(registry, name, name)
    for _ in range(2):
        assert LIFETIMES.of(repository, Tag(tag)).ttl == ttl


@pytest.mark.parametrize(
    ("age", "fresh", "may_wait", "serves_errors"),
    [
        (-61, False, True, True),
        (-1, True, True, True),
        (0, True, True, True),
        (59, True, True, True),
        (60, False, True, True),
        (89, False, True, True),
        (90, False, False, True),
        (1059, False, False, True),
        (1060, False, False, False),
    ],
)
def test_what_becomes_of_a_tag(
    age: float, *, fresh: bool, may_wait: bool, serves_errors: bool
) -> None:
    life = Lifetime(60, 1000, 30)
    assert (
        life.is_fresh(age),
        life.may_revalidate_in_background(age),
        life.may_serve_stale_on_error(age),
    ) == (
        fresh,
        may_wait,
        serves_errors,
    )


@pytest.mark.parametrize(("ttl", "until"), [(0, 0), (10, 20), (60, 90)])
def test_an_old_answer_is_never_given_for_longer_than_it_was_believed(
    ttl: float, until: float
) -> None:
    life = Lifetime(ttl, 1000, 30)
    assert not life.may_revalidate_in_background(until)
    assert until == 0 or life.may_revalidate_in_background(until - 1)
