"""Media types: predicates, the two families' names for the same thing, and `Content-Type`."""

from __future__ import annotations

import pytest

from proxy.oci.mediatype import (
    ARTIFACT_MANIFESTS,
    DOCKER_TO_OCI,
    GZIP_LAYERS,
    OCI_TO_DOCKER,
    PLAIN_LAYERS,
    UPSTREAM_ACCEPT,
    MediaType,
    bare,
    manifest_type,
)
from tests.kit.images import DOCKER, OCI
from tests.unit.oci.clients import CLIENTS


@pytest.mark.parametrize(
    ("media_type", "short", "kind"),
    [
        (MediaType.V2S1, "v2s1", "schema1"),
        (MediaType.V2S1_SIGNED, "v2s1_signed", "schema1"),
        (MediaType.V2S2, "v2s2", "image"),
        (MediaType.DOCKER_LIST, "docker_list", "index"),
        (MediaType.OCI_MANIFEST, "oci_manifest", "image"),
        (MediaType.OCI_INDEX, "oci_index", "index"),
    ],
)
def test_each_type_is_of_one_kind(media_type: MediaType, short: str, kind: str) -> None:
    """And has a short name for people."""
    kinds = {
        "schema1": media_type.is_schema1,
        "image": media_type.is_image,
        "index": media_type.is_index,
    }
    assert [name for name, holds in kinds.items() if holds] == [kind]
    assert media_type.short == short


def test_upstreams_are_asked_for_every_type() -> None:
    """Once each, and for what needs no conversion by anybody first; never for anything else."""
    asked = UPSTREAM_ACCEPT.split(", ")
    assert sorted(asked) == sorted([*MediaType, *ARTIFACT_MANIFESTS])
    assert asked[:2] == [OCI.index, DOCKER.index]
    assert asked[4:6] == [MediaType.V2S1_SIGNED, MediaType.V2S1]


def test_the_types_are_those_that_clients_name() -> None:
    """Spelt alike here and in what was seen on the wire."""
    named = {item.strip() for line in CLIENTS["skopeo"] for item in line.split(",")}
    assert named == set(MediaType)


def test_the_two_families_name_the_same_things() -> None:
    """Each name has one counterpart, and a layer stays as it is packed."""
    assert {docker: oci for oci, docker in OCI_TO_DOCKER.items()} == DOCKER_TO_OCI
    assert len(DOCKER_TO_OCI) == len(OCI_TO_DOCKER)
    assert OCI_TO_DOCKER[OCI.config] == DOCKER.config
    assert OCI_TO_DOCKER[OCI.layer] == DOCKER.layer
    for oci, docker in OCI_TO_DOCKER.items():
        assert ("gzip" in oci) == ("gzip" in docker)
        assert ("nondistributable" in oci) == ("foreign" in docker)


def test_plain_layers_are_those_that_anybody_can_fetch_and_unpack() -> None:
    """Also those that are not packed at all."""
    assert {OCI.layer, DOCKER.layer} == GZIP_LAYERS
    assert {layer.removesuffix("+gzip").removesuffix(".gzip") for layer in GZIP_LAYERS} == (
        PLAIN_LAYERS - GZIP_LAYERS
    )
    assert not any("foreign" in layer or "zstd" in layer for layer in PLAIN_LAYERS)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (DOCKER.manifest, MediaType.V2S2),
        (DOCKER.manifest.upper(), MediaType.V2S2),
        (f" {DOCKER.manifest} ; charset=utf-8", MediaType.V2S2),
        (f"{OCI.index};", MediaType.OCI_INDEX),
        ("application/json", None),
        ("text/plain; charset=utf-8", None),
        ("", None),
        (";", None),
        (DOCKER.manifest + "x", None),
        (f"{DOCKER.manifest},{OCI.manifest}", None),
    ],
)
def test_content_types(content_type: str, expected: MediaType | None) -> None:
    """Parameters, letter case and spaces do not count; an unknown type is none."""
    assert manifest_type(content_type) is expected
    assert bare(content_type) == bare(content_type).strip().lower()
