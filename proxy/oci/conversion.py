"""The conversion graph: which manifest types can be converted to which, and from what content.

Adding a representation means adding a row. An edge names the content that it needs, the caller
fetches it, and the edge builds the new manifest. Edges do no I/O.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from proxy.errors import ConversionRefused, ManifestInvalid, RefusalReason
from proxy.oci import image, index
from proxy.oci.derivation import ConversionInputs, Derived
from proxy.oci.manifest import (
    MANIFEST_LIMIT,
    Descriptor,
    Image,
    Index,
    Manifest,
    Schema1,
    read_manifest,
)
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1 import build, libtrust
from proxy.oci.schema1.to_image import layers_to_measure, to_image

Content: TypeAlias = Mapping[Digest, bytes]
Needs: TypeAlias = Callable[[Manifest, ConversionInputs], tuple[Descriptor, ...]]
Apply: TypeAlias = Callable[[Manifest, Content, ConversionInputs], Derived]

# The escapes of the letters of `signatures`, and of the long s, which Go takes for an s.
_ESCAPED_LETTER: Final = re.compile(rb"\\u(?:017[fF]|00(?:[46][1579eE]|[57][2345]))")
_LONG_S: Final = "\N{LATIN SMALL LETTER LONG S}".encode()

# For a manifest of a known type with a malformed digest in one of its descriptors.
_UNREADABLE: Final = "its descriptors cannot be read"


@dataclass(frozen=True, slots=True)
class Conversion:
    """One edge of the graph: `needs` names the content that `apply` takes.

    Both may raise ConversionRefused.
    """

    source: MediaType
    target: MediaType
    needs: Needs
    apply: Apply

    @property
    def needs_manifests(self) -> bool:
        """Whether the needed content consists of manifests rather than blobs."""
        return self.source.is_index

    @property
    def needs_layers(self) -> bool:
        """Whether facts of layers are needed, as `ConversionInputs.layers`, and no content."""
        return self.source.is_schema1 and not self.target.is_schema1


def _nothing(_manifest: Manifest, _inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    return ()


def _config(manifest: Manifest, _inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    source = _as_image(manifest)
    image.check_plain_layers(source)
    if (source.config.size or 0) > MANIFEST_LIMIT:
        raise ConversionRefused(
            "its config is too large to be put into a schema 1 manifest", RefusalReason.SIZE
        )
    return (source.config,)


def _layers(manifest: Manifest, inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    layers = layers_to_measure(_as_schema1(manifest), inputs.layers)
    return tuple(Descriptor("", layer, None) for layer in layers)


def _children(manifest: Manifest, inputs: ConversionInputs) -> tuple[Descriptor, ...]:
    return index.children(_as_index(manifest), inputs)


def _to_docker(manifest: Manifest, _content: Content, _inputs: ConversionInputs) -> Derived:
    return Derived(image.to_docker(_as_image(manifest)))


def _to_oci(manifest: Manifest, _content: Content, _inputs: ConversionInputs) -> Derived:
    return Derived(image.to_oci(_as_image(manifest)))


def _to_docker_list(manifest: Manifest, content: Content, inputs: ConversionInputs) -> Derived:
    return index.to_docker_list(_as_index(manifest), content, inputs)


def _to_oci_index(manifest: Manifest, content: Content, inputs: ConversionInputs) -> Derived:
    return index.to_oci_index(_as_index(manifest), content, inputs)


def _to_schema1(manifest: Manifest, content: Content, inputs: ConversionInputs) -> Derived:
    source = _as_image(manifest)
    layers = [layer.digest for layer in source.layers]
    config = content[source.config.digest]
    return Derived(build.from_image(config, layers, name=inputs.name, tag=inputs.tag))


def _to_image(manifest: Manifest, _content: Content, inputs: ConversionInputs) -> Derived:
    return to_image(_as_schema1(manifest), inputs.layers)


def _sign(manifest: Manifest, _content: Content, inputs: ConversionInputs) -> Derived:
    source = _as_schema1(manifest)
    if inputs.key is None:
        raise ConversionRefused("there is no key to sign it with")
    try:
        signed = inputs.key.sign(manifest.raw, time=libtrust.signed_time(_creation_time(manifest)))
        if len(signed) <= MANIFEST_LIMIT and not _may_have_signatures(source.raw):
            # Then nothing can be read from it that was not read from the payload.
            return Derived(replace(source, media_type=MediaType.V2S1_SIGNED, raw=signed))
        return Derived(read_manifest(signed, MediaType.V2S1_SIGNED, expected=manifest.digest))
    except (ManifestInvalid, ValueError) as error:
        raise ConversionRefused(f"it cannot be signed ({error})") from None


def _may_have_signatures(raw: bytes) -> bool:
    """Whether any parser could find a member `signatures` in it, of any spelling."""
    return b"signatures" in raw.lower() or _LONG_S in raw or _ESCAPED_LETTER.search(raw) is not None


def _creation_time(manifest: Manifest) -> str | None:
    """The image's own creation time, because a signature must not depend on the clock."""
    try:
        created = json.loads(json.loads(manifest.raw)["history"][0]["v1Compatibility"])["created"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return created if isinstance(created, str) else None


def _as_image(manifest: Manifest) -> Image:
    if not isinstance(manifest, Image):
        raise ConversionRefused(_UNREADABLE)
    return manifest


def _as_schema1(manifest: Manifest) -> Schema1:
    if not isinstance(manifest, Schema1):
        raise ConversionRefused(_UNREADABLE)
    return manifest


def _as_index(manifest: Manifest) -> Index:
    if not isinstance(manifest, Index):
        raise ConversionRefused(_UNREADABLE)
    return manifest


# A row from a type to itself makes the types of a mixed image or list consistent.
CONVERSIONS: Final = (
    Conversion(MediaType.V2S2, MediaType.V2S1, needs=_config, apply=_to_schema1),
    Conversion(MediaType.V2S1, MediaType.V2S1_SIGNED, needs=_nothing, apply=_sign),
    Conversion(MediaType.V2S1, MediaType.V2S2, needs=_layers, apply=_to_image),
    Conversion(MediaType.V2S1_SIGNED, MediaType.V2S2, needs=_layers, apply=_to_image),
    Conversion(MediaType.OCI_MANIFEST, MediaType.V2S2, needs=_nothing, apply=_to_docker),
    Conversion(MediaType.V2S2, MediaType.OCI_MANIFEST, needs=_nothing, apply=_to_oci),
    Conversion(MediaType.OCI_INDEX, MediaType.DOCKER_LIST, needs=_children, apply=_to_docker_list),
    Conversion(MediaType.DOCKER_LIST, MediaType.OCI_INDEX, needs=_children, apply=_to_oci_index),
    Conversion(MediaType.OCI_MANIFEST, MediaType.OCI_MANIFEST, needs=_nothing, apply=_to_oci),
    Conversion(MediaType.V2S2, MediaType.V2S2, needs=_nothing, apply=_to_docker),
    Conversion(MediaType.OCI_INDEX, MediaType.OCI_INDEX, needs=_children, apply=_to_oci_index),
    Conversion(
        MediaType.DOCKER_LIST, MediaType.DOCKER_LIST, needs=_children, apply=_to_docker_list
    ),
)


def _shortest_paths() -> dict[tuple[MediaType, MediaType], tuple[Conversion, ...]]:
    paths: dict[tuple[MediaType, MediaType], tuple[Conversion, ...]] = {
        (edge.source, edge.target): (edge,) for edge in CONVERSIONS
    }
    ahead = deque(paths)
    while ahead:
        start, end = ahead.popleft()
        for edge in CONVERSIONS:
            # A path never returns to its first type: only that type's own row does. Schema 1 is one
            # type here, signed or not.
            returns = start.is_schema1 and edge.target.is_schema1
            if edge.source == end and edge.target not in {start, end} and not returns:
                step = (start, edge.target)
                if step not in paths:
                    paths[step] = (*paths[start, end], edge)
                    ahead.append(step)
    return paths


_PATHS: Final = _shortest_paths()


def path(source: str, target: MediaType) -> tuple[Conversion, ...] | None:
    """The shortest path from one type to another, or None if there is none."""
    try:
        return _PATHS.get((MediaType(source), target))
    except ValueError:
        return None


def is_mixed(manifest: Manifest) -> bool:
    """Whether the manifest mixes OCI and docker types, which some clients reject."""
    match manifest:
        case Image():
            return image.has_mixed_types(manifest)
        case Index():
            return index.has_mixed_types(manifest)
        case _:
            return False
