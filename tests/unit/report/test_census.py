"""The census of clients: by generation, the oldest first, and bounded."""

from __future__ import annotations

import pytest

from proxy.oci.clients import CLIENTS, generation_of
from proxy.report.census import Census, latest, merge_census

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("agent", "generation"),
    [
        ("docker/1.6.2 go/go1.4.2 kernel/3.10 os/linux arch/amd64", "docker-1.9"),
        ("docker/1.9.1 go/go1.4.2", "docker-1.9"),
        ("docker/1.10.3 go/go1.5.3", "docker-1.13"),
        ("docker/1.13.1 go/go1.7.5 UpstreamClient(Docker-Client/1.13.1)", "docker-1.13"),
        ("docker/17.06.0-ce go/go1.8.3", "docker-1.13"),
        ("docker/19.03.4 go/go1.12.10", "docker-1.13"),
        ("docker/19.03.8 go/go1.12.17", "docker-20"),
        ("docker/20.10.24+dfsg1 go/go1.19.8", "docker-20"),
        ("docker/25.0.3 go/go1.21.6", "docker-20"),
        ("docker/26.1.0 go/go1.21.9", "docker-28"),
        ("docker/29.0.0 go/go1.25", "docker-29"),
        ("containerd/1.6.20~ds1", "containerd"),
        ("containerd/v1.7.11-k3s2", "containerd"),
        ("buildkit/v0.12", "containerd"),
        ("skopeo/1.9.3", "podman"),
        ("Buildah/1.28.2", "podman"),
        ("libpod/4.3.1", "podman"),
        ("cri-o/1.28.1 go/go1.21 os/linux arch/amd64", "podman"),
        ("containers/5.23.1 (github.com/containers/image)", "podman"),
        ("kaniko/v1.9.0 go-containerregistry/v0.15", "kaniko"),
        ("ko/0.15 go-containerregistry/v0.19", "kaniko"),
        ("curl/7.88.1", "curl"),
        ("Go-http-client/1.1", "other"),
        ("", "other"),
        ("docker/", "other"),
        ("docker/99999999999999999999.1", "other"),
    ],
)
def test_the_generation_of_a_client_is_in_its_name(agent: str, generation: str) -> None:
    assert generation_of(agent, has_accept=True) == generation


def test_an_unknown_client_without_accept_is_what_it_is_taken_for() -> None:
    assert generation_of("", has_accept=False) == "docker-1.9"
    assert generation_of("curl/7.88.1", has_accept=False) == "curl"


def test_the_oldest_generation_comes_first() -> None:
    census = Census()
    for generation in reversed((*CLIENTS, "other")):
        census.add(generation, "10.0.0.1", "", "", count=1, at=NOW)
    merged = merge_census([census.report()])
    assert [each["generation"] for each in merged] == [*CLIENTS, "other"]


def test_ten_thousand_addresses_are_counted_as_many() -> None:
    census = Census()
    for number in range(10_000):
        census.add("other", f"10.0.{number // 256}.{number % 256}", "odd", "", count=1, at=number)
    (seen,) = census.report()
    assert (seen["requests"], len(seen["addresses"]), seen["more_addresses"]) == (10_000, 256, True)
    listed = latest(seen["addresses"])
    assert next(iter(listed)) == "10.0.39.15"
    assert len(listed) == 20


def test_reports_of_several_processes_add_up() -> None:
    one, other = Census(), Census()
    one.add("containerd", "10.0.0.1", "containerd/1.6", "OCI index", count=2, at=NOW)
    other.add("containerd", "10.0.0.1", "containerd/1.7", "OCI index", count=1, at=NOW + 5)
    other.add("containerd", "10.0.0.2", "containerd/1.7", "", count=1, at=NOW + 4)
    assert merge_census([one.report(), other.report()]) == [
        {
            "generation": "containerd",
            "requests": 4,
            "last_seen": NOW + 4,
            "agent": "containerd/1.7",
            "addresses": {"10.0.0.1": NOW + 5, "10.0.0.2": NOW + 4},
            "more_addresses": False,
            "forms": {"OCI index": 3},
        }
    ]
