"""Whether the file descriptors suffice, as a sum."""

from __future__ import annotations

import resource

from proxy.config import Limits
from proxy.runtime.rlimits import descriptors_for, shortage


def test_every_limit_needs_some() -> None:
    least = Limits(connections=1, downloads=1, passed_through=0)
    for more in (
        Limits(connections=2, downloads=1, passed_through=0),
        Limits(connections=1, downloads=2, passed_through=0),
        Limits(connections=1, downloads=1, passed_through=1),
    ):
        assert descriptors_for(more) > descriptors_for(least)
    assert descriptors_for(Limits()) > 2 * Limits().connections


def test_a_shortage_says_both_numbers() -> None:
    limits = Limits()
    assert shortage(limits, descriptors_for(limits)) is None
    assert shortage(limits, resource.RLIM_INFINITY) is None
    message = shortage(limits, descriptors_for(limits) - 1)
    assert message is not None
    assert f" {descriptors_for(limits)} " in message
    assert f" {descriptors_for(limits) - 1}:" in message


def test_workers_share_the_limits() -> None:
    limits = Limits(connections=5, downloads=4, spool=101, passed_through=0)
    assert limits.share(1) == limits
    assert limits.share(2) == Limits(connections=3, downloads=2, spool=50, passed_through=0)
