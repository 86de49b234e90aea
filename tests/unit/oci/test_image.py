"""Images from one family to the other: other types, the same content; and what is no image."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from proxy.errors import ConversionRefused
from proxy.oci import image
from proxy.oci.manifest import MANIFEST_LIMIT, Descriptor, Image
from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.images import DOCKER, OCI, Content
from tests.kit.manifest_kinds import (
    KINDS,
    artifact,
    document,
    edited,
    foreign,
    with_config,
    with_layers,
    zstd,
)
from tests.unit.oci.serving import read

PLAIN: Final = "application/vnd.oci.image.layer.v1.tar"
ENCRYPTED: Final = OCI.layer + "+encrypted"


def an_image(content: Content) -> Image:
    """`content`, read."""
    manifest = read(content)
    assert isinstance(manifest, Image)
    return manifest


def parts(manifest: object) -> list[tuple[str, int | None, tuple[str, ...]]]:
    """Config and layers without their types."""
    assert isinstance(manifest, Image)
    found: tuple[Descriptor, ...] = (manifest.config, *manifest.layers)
    return [(part.digest, part.size, part.urls) for part in found]


@pytest.mark.parametrize(
    ("kind", "is_image", "is_mixed"),
    [
        ("v2s2", True, False),
        ("oci", True, False),
        ("oci-undeclared", True, False),
        ("mixed-config", True, True),
        ("mixed-layers", True, True),
        ("mixed-docker", True, True),
        ("mixed-zstd", True, True),
        ("zstd", True, False),
        ("encrypted", True, False),
        ("foreign", True, False),
        ("foreign-oci", True, False),
        ("artifact", False, False),
        ("chart", False, False),
        ("signature", False, False),
        ("attestation", False, False),
    ],
)
def test_what_is_an_image(kind: str, *, is_image: bool, is_mixed: bool) -> None:
    """However it is packed; signatures and attestations, which have an image's config, are none."""
    found = an_image(KINDS[kind])
    assert image.is_container_image(found) is is_image
    assert image.has_mixed_types(found) is is_mixed


@pytest.mark.parametrize(
    "config_type", ["", "application/octet-stream", "application/json", "text/html", "text/plain"]
)
def test_what_early_pushers_called_the_config(config_type: str) -> None:
    """Is an image's config in docker's format, and in no other."""
    old = an_image(with_config(images.docker(), config_type))
    assert image.is_container_image(old)
    assert parts(image.to_oci(old)) == parts(old)
    new = an_image(with_config(images.oci(), config_type))
    assert not image.is_container_image(new)
    with pytest.raises(ConversionRefused, match="its config is of type"):
        image.to_docker(new)


def test_to_docker() -> None:
    """Nothing but docker's four members, in one fixed form."""
    source = images.oci()
    converted = image.to_docker(an_image(edited(source, annotations={"a": "b"})))
    was = document(source)
    assert (
        converted.raw
        == json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER.manifest,
                "config": _described(was["config"], DOCKER.config),
                "layers": [_described(layer, DOCKER.layer) for layer in was["layers"]],
            },
            separators=(",", ":"),
        ).encode()
    )
    assert converted.media_type == MediaType.V2S2


def test_to_oci() -> None:
    """The config stays as it is, though containers/image would write another one."""
    source = an_image(images.docker())
    converted = image.to_oci(source)
    assert parts(converted) == parts(source)
    assert json.loads(converted.raw)["mediaType"] == OCI.manifest
    assert json.loads(converted.raw)["config"]["mediaType"] == OCI.config


def _described(descriptor: dict[str, Any], media_type: str) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "size": descriptor["size"],
        "digest": descriptor["digest"],
    }


@pytest.mark.parametrize("kind", ["mixed-config", "mixed-layers", "mixed-docker"])
def test_mixed_images_come_out_consistent(kind: str) -> None:
    """As either; also as what they are already."""
    mixed = an_image(KINDS[kind])
    for convert in (image.to_docker, image.to_oci):
        converted = convert(mixed)
        assert isinstance(converted, Image)
        assert not image.has_mixed_types(converted)
        assert parts(converted) == parts(mixed)


@pytest.mark.parametrize("form", [DOCKER, OCI])
def test_foreign_layers_keep_their_urls(form: images.Format) -> None:
    """In both formats there is a place for them."""
    source = an_image(foreign(form))
    for convert in (image.to_docker, image.to_oci):
        assert parts(convert(source)) == parts(source)
    assert source.layers[0].urls == ("https://example.com/layer",)


def test_descriptors_lose_what_docker_has_no_place_for() -> None:
    """Annotations, data and platform; also on the way to the OCI, so that equals stay equal."""
    extra = {"annotations": {"a": "b"}, "data": "YQ==", "platform": {"os": "linux"}}
    plain, decorated = images.oci(), with_layers(images.oci(), OCI.layer, **extra)
    assert image.to_docker(an_image(decorated)) == image.to_docker(an_image(plain))
    assert image.to_oci(an_image(decorated)) == image.to_oci(an_image(plain))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (artifact(), "an artifact of type application/vnd.example.sbom"),
        (KINDS["chart"], "its config is of type 'application/vnd.cncf.helm.config.v1\\+json'"),
        (KINDS["signature"], "a layer of type 'application/vnd.dev.cosign.*not an image layer"),
        (KINDS["attestation"], "a layer of type 'application/vnd.in-toto.*not an image layer"),
        (zstd(), "a layer of type .*zstd', which application/vnd.docker.* cannot name"),
        (KINDS["encrypted"], "a layer of type .*encrypted', which .* cannot name"),
        (with_layers(images.oci(), OCI.layer + "2"), "cannot name"),
        (with_layers(images.oci(), ""), "a layer of type '', which is not an image layer"),
        (with_layers(images.oci(), OCI.layer, size=None), "no size"),
        (with_layers(images.oci(), OCI.layer, size=-1), "no size"),
        (with_config(images.oci(), "application/vnd.oci.empty.v1+json"), "its config is of type"),
        (with_config(images.docker(), "application/vnd.docker.plugin.v1+json"), "its config"),
    ],
)
def test_what_cannot_be_converted(content: Content, reason: str) -> None:
    """With the reason."""
    with pytest.raises(ConversionRefused, match=reason):
        image.to_docker(an_image(content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (images.docker(), None),
        (images.oci(), None),
        (with_layers(images.oci(), PLAIN), None),
        (with_layers(images.docker(), DOCKER.layer, size=None), None),
        (foreign(DOCKER), "foreign layers"),
        (foreign(OCI), "foreign layers"),
        (with_layers(images.docker(), DOCKER.layer, urls=["https://a/b"]), "foreign layers"),
        (zstd(), "unknown to schema 1"),
        (with_layers(images.oci(), ENCRYPTED), "unknown to schema 1"),
        (artifact(), "an artifact"),
    ],
)
def test_layers_that_old_clients_can_fetch_and_unpack(content: Content, reason: str | None) -> None:
    """Schema 1 has no urls, and docker 1.9 no zstd."""
    if reason is None:
        image.check_plain_layers(an_image(content))
    else:
        with pytest.raises(ConversionRefused, match=reason):
            image.check_plain_layers(an_image(content))


def test_a_conversion_that_becomes_too_large() -> None:
    """Docker's names are longer: what was under the limit of 4 MiB may be over it then."""
    layer = document(images.oci())["layers"][0]
    layers = [layer] * 2000
    room = MANIFEST_LIMIT - 4096 - len(json.dumps(layers, separators=(",", ":")))
    large = edited(images.oci(), layers=[{**layer, "urls": ["x" * room]}, *layers])
    compact = json.dumps(document(large), separators=(",", ":")).encode()
    source = an_image(Content(OCI.manifest, compact))
    image.to_oci(source)
    with pytest.raises(ConversionRefused, match="as v2s2 the manifest is over"):
        image.to_docker(source)
