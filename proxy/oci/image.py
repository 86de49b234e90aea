"""Conversion of images between docker v2s2 and OCI: only the media types change.

The config blob keeps its bytes and its digest in both directions (containers/image
`internal/image/oci.go` does the same towards docker). Mixed images become consistent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.derivation import serialize
from proxy.oci.mediatype import (
    DOCKER_CONFIG,
    DOCKER_TO_OCI,
    HISTORIC_CONFIGS,
    IMAGE_CONFIGS,
    OCI_CONFIG,
    OCI_TO_DOCKER,
    PLAIN_LAYERS,
    MediaType,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.manifest import Descriptor, Image, Manifest

_LAYER_FAMILIES: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)


def is_container_image(image: Image) -> bool:
    """Whether this is a runnable image, whatever the compression of its layers.

    Artifacts, signatures and attestations are not. Some of them have an image config, but none
    has only image layers.
    """
    return (
        image.artifact_type is None
        and _has_image_config(image)
        and all(layer.media_type.startswith(_LAYER_FAMILIES) for layer in image.layers)
    )


def _has_image_config(image: Image) -> bool:
    config = image.config.media_type
    return config in IMAGE_CONFIGS or (
        image.media_type == MediaType.V2S2 and config in HISTORIC_CONFIGS
    )


def has_mixed_types(image: Image) -> bool:
    """Whether an OCI manifest names docker types, or a docker manifest names OCI types."""
    foreign = DOCKER_TO_OCI if image.media_type == MediaType.OCI_MANIFEST else OCI_TO_DOCKER
    return any(part.media_type in foreign for part in (image.config, *image.layers))


def check_convertible(image: Image) -> None:
    """Raise ConversionRefused for content that an image conversion would lose."""
    if image.artifact_type is not None:
        raise ConversionRefused(
            f"it is an artifact of type {image.artifact_type}", RefusalReason.ARTIFACT
        )
    if not _has_image_config(image):
        raise ConversionRefused(
            f"its config is of type {image.config.media_type!r}, not an image's",
            RefusalReason.CONFIG,
        )
    if not is_container_image(image):
        odd = next(x for x in image.layers if not x.media_type.startswith(_LAYER_FAMILIES))
        raise ConversionRefused(
            f"it has a layer of type {odd.media_type!r}, which is not an image layer",
            RefusalReason.ARTIFACT,
        )


def check_plain_layers(image: Image) -> None:
    """Raise ConversionRefused if a schema 1 client could not fetch or unpack a layer."""
    check_convertible(image)
    for layer in image.layers:
        if layer.urls or "foreign" in layer.media_type or "nondistributable" in layer.media_type:
            raise ConversionRefused(
                "it has foreign layers, which schema 1 cannot name", RefusalReason.FOREIGN_LAYERS
            )
        if layer.media_type not in PLAIN_LAYERS:
            raise ConversionRefused(
                f"it has a layer of type {layer.media_type!r}, unknown to schema 1",
                RefusalReason.LAYERS,
            )


def to_docker(image: Image) -> Manifest:
    """Convert to v2s2; ConversionRefused for zstd, encrypted and unknown layers."""
    return _change_types(image, MediaType.V2S2, DOCKER_CONFIG, OCI_TO_DOCKER)


def to_oci(image: Image) -> Manifest:
    """Convert to an OCI image manifest; ConversionRefused for unknown layers."""
    return _change_types(image, MediaType.OCI_MANIFEST, OCI_CONFIG, DOCKER_TO_OCI)


def _change_types(
    image: Image, target: MediaType, config_type: str, renamed: Mapping[str, str]
) -> Manifest:
    check_convertible(image)
    # Only schema 1 can omit sizes.
    if any(part.size is None for part in (image.config, *image.layers)):
        raise ConversionRefused("one of its descriptors has no size")
    kept = frozenset(renamed.values())
    layers = []
    for layer in image.layers:
        media_type = renamed.get(layer.media_type, layer.media_type)
        if media_type not in kept:
            raise ConversionRefused(
                f"it has a layer of type {layer.media_type!r}, which {target} cannot name",
                RefusalReason.LAYERS,
            )
        layers.append(_descriptor(layer, media_type))
    document = {
        "schemaVersion": 2,
        "mediaType": target,
        "config": _descriptor(image.config, config_type),
        "layers": layers,
    }
    return serialize(document, target)


def _descriptor(part: Descriptor, media_type: str) -> dict[str, object]:
    """A descriptor with the members of both formats; docker has no annotations or data."""
    urls = {"urls": part.urls} if part.urls else {}
    return {"mediaType": media_type, "size": part.size, "digest": part.digest, **urls}
