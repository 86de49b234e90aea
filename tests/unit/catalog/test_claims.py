"""What a manifest claims of its repository, as a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.claims import claims_of
from proxy.oci.manifest import Opaque
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.ports.catalog import Claim
from tests.kit import images
from tests.kit import manifest_kinds as kinds
from tests.kit.pulls import image_of, manifest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def blob_claims(content: images.Content) -> dict[str, Claim]:
    """Each blob with its size."""
    return {digest: Claim(None, len(blob)) for digest, blob in content.blobs.items()}


@pytest.mark.parametrize(
    "content",
    [images.docker(), images.oci(), images.oci_undeclared(), images.mixed()],
    ids=["v2s2", "oci", "undeclared", "mixed"],
)
def test_an_image_claims_its_config_and_its_layers(content: images.Content) -> None:
    assert claims_of(manifest_of(content)) == blob_claims(content)


@pytest.mark.parametrize("content", [images.docker_list(), images.oci_index()], ids=["v2", "oci"])
def test_an_index_claims_its_children_with_their_types(content: images.Content) -> None:
    assert claims_of(manifest_of(content)) == {
        child.digest: Claim(child.media_type, len(child.manifest)) for child in content.children
    }


@pytest.mark.parametrize("content", [kinds.unsigned(), kinds.signed()], ids=["unsigned", "signed"])
def test_schema_1_claims_layers_of_unknown_size(content: images.Content) -> None:
    claims = claims_of(manifest_of(content))
    assert claims.keys() >= content.blobs.keys()
    assert set(claims.values()) == {Claim(None, None)}


@pytest.mark.parametrize("urls", [["https://example.org/layer"], ["ftp://a", "b"]])
def test_a_foreign_layer_is_no_claim(urls: list[str]) -> None:
    """It is somebody else's to give: anybody can write any digest and any URL into a manifest."""
    content = kinds.with_layers(images.docker(), FOREIGN, urls=urls)
    manifest = image_of(content)
    assert all(layer.urls for layer in manifest.layers)
    assert claims_of(manifest).keys() == {manifest.config.digest}


def test_a_config_with_urls_is_no_claim_either() -> None:
    content = images.docker()
    config = kinds.document(content)["config"] | {"urls": ["https://example.org/config"]}
    manifest = image_of(kinds.edited(content, config=config))
    assert manifest.config.digest not in claims_of(manifest)


@pytest.mark.parametrize(
    "members",
    [
        {"mediaType": "application/vnd.example.other.v1+json"},
        {"mediaType": "application/octet-stream"},
        {"mediaType": images.OCI.layer},
        {"mediaType": images.OCI.config},
        {"urls": ["https://example.org/manifest"]},
    ],
    ids=["unknown", "bytes", "layer", "config", "urls"],
)
def test_a_member_of_an_index_that_could_be_anything_is_no_claim(
    members: Mapping[str, object],
) -> None:
    content = kinds.with_entries(images.oci_index(), lambda entry: {**entry, **members})
    assert claims_of(manifest_of(content)) == {}


def test_of_a_mixed_bag_the_known_members_are_claims() -> None:
    content = images.oci_index()
    first, second = kinds.document(content)["manifests"]
    other = first | {"mediaType": "text/plain"}
    manifest = manifest_of(kinds.edited(content, manifests=[other, second]))
    assert list(claims_of(manifest)) == [second["digest"]]


@pytest.mark.parametrize(
    ("count", "claimed"),
    [(4095, 4095), (4096, 4096), (4097, 0)],
)
def test_a_manifest_of_too_many_descriptors_claims_nothing(count: int, claimed: int) -> None:
    manifests = [
        {"mediaType": MediaType.OCI_MANIFEST, "digest": Digest.of(b"%d" % n), "size": 7}
        for n in range(count)
    ]
    raw = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    manifest = manifest_of(images.Content(MediaType.OCI_INDEX, raw))
    assert len(claims_of(manifest)) == claimed


def test_an_unknown_manifest_claims_nothing() -> None:
    document = kinds.document(images.oci()) | {"mediaType": "application/vnd.example+json"}
    manifest = manifest_of(
        images.Content("application/vnd.example+json", json.dumps(document).encode())
    )
    assert isinstance(manifest, Opaque)
    assert claims_of(manifest) == {}
