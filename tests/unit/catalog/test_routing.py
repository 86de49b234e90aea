"""Which upstream is meant, and under which name it is asked."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.catalog.routing import Routes
from proxy.errors import NameInvalid, NameUnknown
from proxy.oci.reference import Repository

ROUTES: Final = Routes(
    {
        "docker.io": "docker.io",
        "index.docker.io": "docker.io",
        "quay.io": "quay.io",
        "lab": "registry.lab:5000",
        "registry.lab:5000": "registry.lab:5000",
    },
    "docker.io",
    frozenset({"docker.io"}),
)


@pytest.mark.parametrize(
    ("addressed", "ns", "host", "expected"),
    [
        # The default one, where a name of one part is an official image.
        ("alpine", None, "localhost:5000", "docker.io/library/alpine"),
        ("library/alpine", None, "localhost:5000", "docker.io/library/alpine"),
        ("org/alpine", None, "localhost:5000", "docker.io/org/alpine"),
        ("unknown.example/alpine", None, "", "docker.io/unknown.example/alpine"),
        # By the first part of the path.
        ("docker.io/alpine", None, "", "docker.io/library/alpine"),
        ("index.docker.io/org/alpine", None, "", "docker.io/org/alpine"),
        ("quay.io/alpine", None, "", "quay.io/alpine"),
        ("lab/alpine", None, "", "registry.lab:5000/alpine"),
        ("quay.io", None, "", "docker.io/library/quay.io"),
        # By the name that the client dialled.
        ("alpine", None, "quay.io", "quay.io/alpine"),
        ("alpine", None, "quay.io:443", "quay.io/alpine"),
        ("alpine", None, "QUAY.IO", "quay.io/alpine"),
        ("alpine", None, "registry.lab:5000", "registry.lab:5000/alpine"),
        ("quay.io/alpine", None, "quay.io", "quay.io/quay.io/alpine"),
        ("alpine", None, "index.docker.io", "docker.io/library/alpine"),
        ("alpine", None, "[::1]:5000", "docker.io/library/alpine"),
        # As containerd says it, which is stronger than all else.
        ("alpine", "quay.io", "docker.io", "quay.io/alpine"),
        ("quay.io/alpine", "docker.io", "", "docker.io/quay.io/alpine"),
        ("alpine", "docker.io", "", "docker.io/library/alpine"),
        ("alpine", "registry.lab:5000", "", "registry.lab:5000/alpine"),
    ],
)
def test_a_repository(addressed: str, ns: str | None, host: str, expected: str) -> None:
    found = ROUTES.repository(addressed, ns=ns, host=host)
    assert str(found) == expected
    # What schema 1 will have inside its digest.
    assert found.addressed == addressed


@pytest.mark.parametrize("ns", ["evil.example", "169.254.169.254", "quay.io:443", "", "*"])
def test_nothing_that_is_not_in_the_settings_is_asked(ns: str) -> None:
    with pytest.raises(NameUnknown):
        ROUTES.repository("alpine", ns=ns, host="")


@pytest.mark.parametrize("name", ["", "/", "Alpine", "a//b", "../alpine", "a b", "alpine\n"])
def test_a_bad_name_goes_no_further(name: str) -> None:
    for ns in (None, "quay.io", "evil.example"):
        with pytest.raises(NameInvalid):
            ROUTES.repository(name, ns=ns, host="quay.io")


def test_without_a_hub_a_name_of_one_part_is_one() -> None:
    routes = Routes({"registry.lab": "registry.lab"}, "registry.lab")
    found = routes.repository("alpine", ns=None, host="")
    assert found == Repository("registry.lab", "alpine", "alpine")


def test_an_operator_may_write_an_upstream_with_its_port() -> None:
    routes = Routes({"registry.lab:5000": "registry.lab:5000", "quay.io": "quay.io"}, "quay.io")
    for written, expected in (
        ("registry.lab:5000/team/app", "registry.lab:5000/team/app"),
        ("quay.io/team/app", "quay.io/team/app"),
        ("team/app", "quay.io/team/app"),
    ):
        assert str(routes.as_written(written)) == expected
    for written in ("other.lab:5000/team/app", "registry.lab:5000/", "registry.lab:5000/../x"):
        with pytest.raises(NameInvalid):
            routes.as_written(written)
