"""Indexes: platform selection, and conversion between OCI index and docker list.

A converted list is never mixed: its children are converted first, and the list names the results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ConversionRefused, ManifestInvalid, RefusalReason
from proxy.oci import image
from proxy.oci.derivation import ConversionInputs, Derived, Origin, serialize
from proxy.oci.manifest import Image, Index, Manifest, read_manifest
from proxy.oci.mediatype import MediaType, manifest_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.manifest import Descriptor
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest


def has_mixed_types(index: Index) -> bool:
    """Whether a docker list has OCI children. An OCI index may have docker children."""
    return index.media_type == MediaType.DOCKER_LIST and any(
        manifest_type(entry.media_type) == MediaType.OCI_MANIFEST for entry in index.manifests
    )


def for_platform(index: Index, wanted: Platform) -> Descriptor:
    """The first image for `wanted`, as docker selects it; ConversionRefused if there is none.

    A single image without a platform matches every platform.
    """
    images = index.images
    for entry in images:
        if entry.platform is not None and entry.platform.serves(wanted):
            return entry
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    raise ConversionRefused(
        f"it has no image for {wanted} (it has {_available_platforms(index)})",
        RefusalReason.PLATFORM,
    )


def _available_platforms(index: Index) -> str:
    """The platforms that the index has, for an error message."""
    images = index.images
    if platforms := sorted({str(x.platform) for x in images if x.platform is not None}):
        return ", ".join(platforms[:16])
    types = (manifest_type(entry.media_type) for entry in index.manifests)
    if not images and any(found is not None and found.is_index for found in types):
        return "other indexes, which are not followed"
    return "none"


def children(index: Index, inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    """The images for `inputs.platforms`, in the order of the index.

    ConversionRefused if there are none or more than `inputs.max_children`.
    """
    images = index.images
    if len(images) > inputs.max_children:
        raise ConversionRefused(
            f"it has {len(images)} images, more than the limit of {inputs.max_children}",
            RefusalReason.CHILDREN,
        )
    wanted = [
        entry
        for entry in images
        if entry.platform is not None and any(map(entry.platform.serves, inputs.platforms))
    ]
    if not wanted:
        platforms = ", ".join(map(str, inputs.platforms))
        raise ConversionRefused(
            f"it has no image for any of {platforms} (it has {_available_platforms(index)})",
            RefusalReason.PLATFORM,
        )
    return tuple(wanted)


def to_docker_list(
    index: Index, content: Mapping[Digest, bytes], inputs: ConversionInputs
) -> Derived:
    """Convert to a docker manifest list of v2s2 images."""
    return _convert(index, content, inputs, MediaType.DOCKER_LIST, MediaType.V2S2)


def to_oci_index(
    index: Index, content: Mapping[Digest, bytes], inputs: ConversionInputs
) -> Derived:
    """Convert to an OCI index of OCI images."""
    return _convert(index, content, inputs, MediaType.OCI_INDEX, MediaType.OCI_MANIFEST)


def _convert(
    index: Index,
    content: Mapping[Digest, bytes],
    inputs: ConversionInputs,
    target: MediaType,
    child_target: MediaType,
) -> Derived:
    entries, derived, refusals = [], [], []
    for entry in children(index, inputs):
        try:
            child = _child(entry, content[entry.digest], child_target)
        except ConversionRefused as refusal:
            refusals.append(f"{entry.platform}: {refusal}")
            continue
        if child.digest != entry.digest:
            origin = Origin(source=entry.digest, target=child_target, inputs=ConversionInputs())
            derived.append((child, origin))
        entries.append(
            {
                "mediaType": child_target,
                "size": len(child.raw),
                "digest": child.digest,
                "platform": entry.members["platform"],
            }
        )
    if not entries:
        raise ConversionRefused(
            f"none of its images can be converted ({'; '.join(refusals)})", RefusalReason.CHILDREN
        )
    document = {"schemaVersion": 2, "mediaType": target, "manifests": entries}
    return Derived(serialize(document, target), children=tuple(derived))


def _child(entry: Descriptor, raw: bytes, target: MediaType) -> Manifest:
    try:
        child = read_manifest(raw, entry.media_type, expected=entry.digest)
    except ManifestInvalid as error:
        raise ConversionRefused(error.message) from None
    if not isinstance(child, Image):
        raise ConversionRefused("it is not an image manifest")
    if child.media_type == target and not image.has_mixed_types(child):
        return child
    return image.to_docker(child) if target == MediaType.V2S2 else image.to_oci(child)
