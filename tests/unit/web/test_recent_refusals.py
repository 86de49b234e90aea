"""Reasons of refusals: a client's own, for a minute, in bounded memory."""

from __future__ import annotations

from typing import Final

from proxy.errors import ManifestUnknown
from proxy.oci.reference import Repository
from proxy.web.recent_refusals import RecentRefusals
from tests.kit.manual_clock import ManualClock

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")


def test_a_reason_is_a_client_s_and_lasts_a_minute() -> None:
    clock = ManualClock()
    refusals = RecentRefusals(clock)
    refusals.record("::1", CARGO, "1", ManifestUnknown("no v2s2"))
    assert refusals.explain("::1", CARGO).startswith("cargo:1: no v2s2 (")
    assert "no v2s2" not in refusals.explain("::2", CARGO)
    assert "no v2s2" not in refusals.explain("::1", None)
    clock.advance(59.0)
    assert "no v2s2" in refusals.explain("::1", CARGO)
    clock.advance(1.0)
    assert "manifests/TAG" in refusals.explain("::1", CARGO)


def test_reasons_are_bounded() -> None:
    refusals = RecentRefusals()
    for number in range(10_000):
        repository = Repository("docker.io", f"a/{number}", f"a/{number}")
        refusals.record("::1", repository, f"sha256:{number}", ManifestUnknown("x" * 5000))
    assert refusals._entries.cost <= 2**20
    newest = refusals.explain("::1", Repository("docker.io", "a/9999", "a/9999"))
    assert newest.startswith("a/9999@sha256:9999: xxx")
    assert len(newest) < 1200
    assert "xxx" not in refusals.explain("::1", Repository("docker.io", "a/0", "a/0"))
