"""Indexes: platform selection, and conversion between OCI index and docker list.

A converted list is never mixed: its children are converted first, and the list names the results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ConversionRefused, ManifestInvalid, RefusalReason
from proxy.oci import image
from proxy.oci.derivation import ConversionInputs, Derived, Origin, serialize
from proxy.oci.manifest import Image, Index, Manifest, Schema1, read_manifest
from proxy.oci.mediatype import MediaType, manifest_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.oci.manifest import Descriptor
    from proxy.oci.platform import Platform
    from proxy.oci.reference import Digest


def has_mixed_types(index: Index) -> bool:
    """Whether a docker list has OCI children. An OCI index may have docker children."""
    return index.media_type == MediaType.DOCKER_LIST and any(
        manifest_type(entry.media_type) == MediaType.OCI_MANIFEST for entry in index.manifests
    )


def for_platform(index: Index, wanted: Platform) -> tuple[Descriptor, ...]:
    """The images for `wanted`, best first; ConversionRefused if there is none.

    The best is the one that runs on the oldest CPU of the platform, as in containerd. A single
    image without a platform matches every platform.
    """
    if found := _by_distance(index, (wanted,)):
        return found
    if lone := lone_image(index):
        return (lone,)
    raise ConversionRefused(
        f"it has no image for {wanted} (it has {_available_platforms(index)})",
        RefusalReason.PLATFORM,
    )


def lone_image(index: Index) -> Descriptor | None:
    """The image of an index that has only one, without a platform."""
    is_lone = len(index.images) == 1 and index.images[0].platform is None
    return index.images[0] if is_lone else None


def _by_distance(index: Index, wanted: Sequence[Platform]) -> tuple[Descriptor, ...]:
    """The images that serve any of `wanted`: in the order of the index, but the best variant first.

    docker up to 17.06 ignores variants, and takes the first image of its architecture.
    """
    places: dict[tuple[str, str], int] = {}
    found: list[tuple[int, float, Descriptor]] = []
    for entry in index.images:
        platform = entry.platform
        if platform is None:
            continue
        distances = [x for x in map(platform.distance, wanted) if x is not None]
        if distances:
            place = places.setdefault((platform.os, platform.architecture), len(places))
            found.append((place, min(distances), entry))
    found.sort(key=lambda item: item[:2])
    return tuple(entry for _, _, entry in found)


def _available_platforms(index: Index) -> str:
    """The platforms that the index has, for an error message."""
    images = index.images
    if platforms := sorted({str(x.platform) for x in images if x.platform is not None}):
        return ", ".join(platforms[:16])
    return "other indexes, which were not followed" if index.nested and not images else "none"


def children(index: Index, inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    """The images for `inputs.platforms`, in the order of the index, but the best variant first.

    ConversionRefused if there are none or more than `inputs.max_children`.
    """
    images = index.images
    if len(images) > inputs.max_children:
        raise ConversionRefused(
            f"it has {len(images)} images, more than the limit of {inputs.max_children}",
            RefusalReason.CHILDREN,
        )
    found = _by_distance(index, inputs.platforms)
    if not found:
        platforms = ", ".join(map(str, inputs.platforms))
        raise ConversionRefused(
            f"it has no image for any of {platforms} (it has {_available_platforms(index)})",
            RefusalReason.PLATFORM,
        )
    return tuple(entry for entry in found if entry.digest not in inputs.absent)


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
    served: set[Platform] = set()
    absent: set[Digest] = set()
    for entry in children(index, inputs):
        wanted = _served_by(entry, inputs.platforms)
        if wanted <= served:
            continue
        if (raw := content.get(entry.digest)) is None:
            absent.add(entry.digest)
            refusals.append(f"{entry.platform}: the upstream has no {entry.digest}")
            continue
        try:
            child = _child(entry, raw, child_target)
        except ConversionRefused as refusal:
            refusals.append(f"{entry.platform}: {refusal}")
            continue
        # Without a variant, a platform means every CPU of it.
        served |= {platform for platform in wanted if platform.variant}
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
            f"none of its images can be converted ({'; '.join(refusals)})",
            RefusalReason.ABSENT if absent else RefusalReason.CHILDREN,
        )
    document = {"schemaVersion": 2, "mediaType": target, "manifests": entries}
    return Derived(serialize(document, target), tuple(derived), frozenset(absent))


def _served_by(entry: Descriptor, platforms: Sequence[Platform]) -> set[Platform]:
    return {x for x in platforms if entry.platform is not None and entry.platform.serves(x)}


def _child(entry: Descriptor, raw: bytes, target: MediaType) -> Manifest:
    try:
        child = read_manifest(raw, entry.media_type, expected=entry.digest)
    except ManifestInvalid as error:
        raise ConversionRefused(error.message) from None
    if isinstance(child, Schema1):
        raise ConversionRefused("it is schema 1, which is converted only as an image of its own")
    if not isinstance(child, Image):
        raise ConversionRefused("it is not an image manifest")
    if child.media_type == target and not image.has_mixed_types(child):
        return child
    return image.to_docker(child) if target == MediaType.V2S2 else image.to_oci(child)
