"""Indexes: which entry is for a platform, and OCI index and docker list from one another.

A converted list is never mixed: its children are converted first, and it names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, ManifestInvalid, RefusalReason
from proxy.oci import image
from proxy.oci.derivation import ConversionInputs, Derived, Origin, written
from proxy.oci.manifest import Image, Index, Manifest, read_manifest
from proxy.oci.mediatype import IMAGE_CONFIGS, MediaType, manifest_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.manifest import Descriptor
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest

# buildkit's attestation storage: "vnd.docker.reference.type" on entries for unknown/unknown.
_ATTESTATION: Final = "vnd.docker.reference.type"


def is_image_entry(entry: Descriptor) -> bool:
    """Whether the entry is an image manifest: no attestation, no artifact, no other index."""
    media_type = manifest_type(entry.media_type)
    unknown = entry.platform is not None and entry.platform.os == "unknown"
    return (
        media_type is not None
        and not media_type.is_index
        and not unknown
        and _ATTESTATION not in entry.annotations
        # A listing of referrers names the config's type where the manifest is no artifact.
        and (entry.artifact_type is None or entry.artifact_type in IMAGE_CONFIGS)
    )


def has_mixed_types(index: Index) -> bool:
    """Whether a docker list has OCI children. An OCI index may have docker's by right."""
    return index.media_type == MediaType.DOCKER_LIST and any(
        manifest_type(entry.media_type) == MediaType.OCI_MANIFEST for entry in index.manifests
    )


def for_platform(index: Index, wanted: Platform) -> Descriptor:
    """The first image for `wanted`, as docker picks it; ConversionRefused if there is none.

    An index with a single image that states no platform is taken to be for every one.
    """
    images = [entry for entry in index.manifests if is_image_entry(entry)]
    for entry in images:
        if entry.platform is not None and entry.platform.serves(wanted):
            return entry
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    raise ConversionRefused(
        f"it has no image for {wanted} (it has {_offered(index)})", RefusalReason.PLATFORM
    )


def _offered(index: Index) -> str:
    """What there is instead, for a person."""
    images = [entry for entry in index.manifests if is_image_entry(entry)]
    if platforms := sorted({str(x.platform) for x in images if x.platform is not None}):
        return ", ".join(platforms[:16])
    types = (manifest_type(entry.media_type) for entry in index.manifests)
    if not images and any(found is not None and found.is_index for found in types):
        return "other indexes, which are not followed"
    return "none"


def children(index: Index, inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    """The images for `inputs.platforms`, in the index's order.

    ConversionRefused if there are none, or too many.
    """
    images = [entry for entry in index.manifests if is_image_entry(entry)]
    if len(images) > inputs.max_children:
        raise ConversionRefused(
            f"it has {len(images)} images, and {inputs.max_children} are the limit",
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
            f"it has no image for any of {platforms} (it has {_offered(index)})",
            RefusalReason.PLATFORM,
        )
    return tuple(wanted)


def to_docker_list(
    index: Index, content: Mapping[Digest, bytes], inputs: ConversionInputs
) -> Derived:
    """`index` as a docker manifest list of v2s2 images."""
    return _converted(index, content, inputs, MediaType.DOCKER_LIST, MediaType.V2S2)


def to_oci_index(
    index: Index, content: Mapping[Digest, bytes], inputs: ConversionInputs
) -> Derived:
    """`index` as an OCI index of OCI images."""
    return _converted(index, content, inputs, MediaType.OCI_INDEX, MediaType.OCI_MANIFEST)


def _converted(
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
    return Derived(written(document, target), children=tuple(derived))


def _child(entry: Descriptor, raw: bytes, target: MediaType) -> Manifest:
    try:
        child = read_manifest(raw, entry.media_type, expected=entry.digest)
    except ManifestInvalid as error:
        raise ConversionRefused(error.message) from None
    if not isinstance(child, Image):
        raise ConversionRefused("it is no image manifest")
    if child.media_type == target and not image.has_mixed_types(child):
        return child
    return image.to_docker(child) if target == MediaType.V2S2 else image.to_oci(child)
