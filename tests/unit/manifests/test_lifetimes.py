"""For how long which tag is fresh."""

from __future__ import annotations

import pytest

from proxy.manifests.freshness import Lifetime
from proxy.manifests.lifetimes import Lifetimes
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
        assert LIFETIMES.of(repository.at_mirrors, Tag(tag)).ttl == ttl
