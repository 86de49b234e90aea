"""Manifest parsing: type, descriptors and digest, with the raw bytes kept unchanged.

Parsing is lenient where no decision depends on the field. It is strict where two parsers could
read different values (CVE-2021-41190).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from proxy.errors import DigestInvalid, ManifestInvalid
from proxy.oci.detection import DISTINCTIVE, kind
from proxy.oci.document import Document, parse, spellings
from proxy.oci.mediatype import IMAGE_CONFIGS, MediaType, manifest_type
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest
from proxy.oci.schema1 import libtrust

Json: TypeAlias = Mapping[str, object]

# distribution spec: "registries SHOULD enforce some limit"; 4 MiB is what distribution,
# containers/image and containerd agree on.
MANIFEST_LIMIT: Final = 4 * 1024 * 1024

# Images have at most a few hundred. Each costs microseconds to parse, and a grant to store.
MAX_DESCRIPTORS: Final = 4096

# The members that decide something here, in a manifest and in its parts.
_LISTS: Final = ("blobs", "fsLayers", "layers", "manifests")
_MEMBERS: Final = spellings(
    *DISTINCTIVE, "artifactType", "mediaType", "schemaVersion", "signatures"
)
_DESCRIPTOR: Final = spellings(
    "annotations", "artifactType", "digest", "mediaType", "platform", "size", "urls"
)
_PLATFORM: Final = spellings("architecture", "os", "variant")
_FS_LAYER: Final = spellings("blobSum")
# buildkit's attestation storage: an annotation of entries with the platform unknown/unknown.
_ATTESTATION: Final = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to other content (image spec, "OCI Content Descriptors")."""

    media_type: str
    digest: Digest
    size: int | None
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    annotations: Json = field(default_factory=dict)
    artifact_type: str | None = None
    # All members as parsed, so that a conversion can keep those that it does not change.
    members: Json = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_image(self) -> bool:
        """Whether an index's entry is an image, not an attestation, artifact or nested index."""
        media_type = manifest_type(self.media_type)
        return media_type is not None and not media_type.is_index and self._is_for_running

    @property
    def is_index(self) -> bool:
        """Whether an index's entry is another index, which may have images."""
        media_type = manifest_type(self.media_type)
        return media_type is not None and media_type.is_index and self._is_for_running

    @property
    def _is_for_running(self) -> bool:
        unknown = self.platform is not None and self.platform.os == "unknown"
        return (
            not unknown
            and _ATTESTATION not in self.annotations
            # A referrers listing sets artifactType to the config's type for plain images.
            and (self.artifact_type is None or self.artifact_type in IMAGE_CONFIGS)
        )


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with a config and layers: docker v2s2 or an OCI image manifest."""

    media_type: MediaType
    digest: Digest
    raw: bytes = field(repr=False)
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None = None
    subject: Descriptor | None = None

    @property
    def references(self) -> tuple[Digest, ...]:
        """The digests that this manifest makes part of its repository."""
        return (self.config.digest, *(layer.digest for layer in self.layers))


@dataclass(frozen=True, slots=True)
class Index:
    """An OCI index or a docker manifest list.

    `images` are the entries that are images, `image_types` their types, and `nested` the entries
    that are indexes: every negotiation looks at them, so they are found once.
    """

    media_type: MediaType
    digest: Digest
    raw: bytes = field(repr=False)
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    images: tuple[Descriptor, ...] = field(init=False, repr=False, compare=False)
    image_types: frozenset[MediaType] = field(init=False, repr=False, compare=False)
    nested: tuple[Descriptor, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        images = tuple(entry for entry in self.manifests if entry.is_image)
        types = {manifest_type(entry.media_type) for entry in images}
        nested = tuple(entry for entry in self.manifests if entry.is_index)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "nested", nested)
        object.__setattr__(self, "image_types", frozenset(filter(None, types)))

    @property
    def references(self) -> tuple[Digest, ...]:
        """The digests that this index makes part of its repository."""
        return tuple(child.digest for child in self.manifests)


@dataclass(frozen=True, slots=True)
class Schema1:
    """Docker's schema 1. The digest is that of the payload, without the signatures."""

    media_type: MediaType
    digest: Digest
    raw: bytes = field(repr=False)
    layers: tuple[Digest, ...]

    @property
    def references(self) -> tuple[Digest, ...]:
        """The digests that this manifest makes part of its repository."""
        return self.layers


@dataclass(frozen=True, slots=True)
class Opaque:
    """A manifest of an unknown type, with malformed digests or over `MAX_DESCRIPTORS` of them.

    Or one that could be read only with a loss. It is served as is, and never converted.
    """

    media_type: str
    digest: Digest
    raw: bytes = field(repr=False)
    references: tuple[Digest, ...] = ()


Manifest: TypeAlias = Image | Index | Schema1 | Opaque


def read_manifest(
    raw: bytes, content_type: str = "", *, expected: Digest | None = None
) -> Manifest:
    """Parse a manifest; ManifestInvalid if it is malformed or ambiguous.

    `content_type` is the upstream's header. It may be missing, generic or in another letter case,
    but must not contradict the body. `expected` is verified, for signed schema 1 over the payload.
    """
    if len(raw) > MANIFEST_LIMIT:
        raise ManifestInvalid(f"the manifest is over {MANIFEST_LIMIT} bytes")
    document = parse(raw)
    document.refuse_ambiguous(_MEMBERS)
    media_type = kind(document, content_type)
    payload = libtrust.payload(raw, document) if media_type == MediaType.V2S1_SIGNED else raw
    if expected is not None and not expected.matches(payload):
        raise ManifestInvalid(f"the manifest's bytes are not those that {expected} names")
    digest = expected or Digest.of(payload)
    if not document.is_exact or _count_descriptors(document) > MAX_DESCRIPTORS:
        return Opaque(media_type, digest, raw)
    try:
        return _build(media_type, digest, raw, document)
    except DigestInvalid:
        # Served unchanged, as every registry does.
        return Opaque(media_type, digest, raw)


def _build(media_type: MediaType | str, digest: Digest, raw: bytes, document: Json) -> Manifest:
    if not isinstance(media_type, MediaType):
        return Opaque(media_type, digest, raw, _opaque_references(document))
    if media_type.is_schema1:
        return Schema1(media_type, digest, raw, _fs_layers(document))
    if media_type.is_index:
        children = tuple(_descriptor(item) for item in _array(document, "manifests"))
        return Index(media_type, digest, raw, children, _subject(document))
    return _image(media_type, digest, raw, document)


def _count_descriptors(document: Json) -> int:
    return sum(len(value) for key in _LISTS if isinstance(value := document.get(key), list))


def _image(media_type: MediaType, digest: Digest, raw: bytes, document: Json) -> Image:
    return Image(
        media_type=media_type,
        digest=digest,
        raw=raw,
        config=_descriptor(document.get("config")),
        layers=tuple(_descriptor(item) for item in _array(document, "layers")),
        artifact_type=_artifact_type(document),
        subject=_subject(document),
    )


def _artifact_type(document: Json) -> str | None:
    artifact_type = document.get("artifactType")
    return artifact_type if isinstance(artifact_type, str) and artifact_type else None


def _subject(document: Json) -> Descriptor | None:
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject)


def _array(document: Json, key: str) -> list[object]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ManifestInvalid(f"the manifest's {key!r} is not an array")
    return value


def _descriptor(item: object) -> Descriptor:
    if not isinstance(item, Document):
        raise ManifestInvalid("a descriptor in the manifest is not an object")
    item.refuse_ambiguous(_DESCRIPTOR)
    media_type, urls = item.get("mediaType"), item.get("urls")
    annotations, platform = item.get("annotations"), item.get("platform")
    if isinstance(platform, Document):
        platform.refuse_ambiguous(_PLATFORM)
    return Descriptor(
        media_type=media_type if isinstance(media_type, str) else "",
        digest=_digest(item.get("digest")),
        size=_size(item.get("size")),
        platform=Platform.read(platform),
        urls=tuple(url for url in urls if isinstance(url, str)) if isinstance(urls, list) else (),
        annotations=annotations if isinstance(annotations, Mapping) else {},
        artifact_type=_artifact_type(item),
        members=item,
    )


def _size(value: object) -> int | None:
    """The size in bytes, or None if it is not a non-negative integer."""
    return value if type(value) is int and value >= 0 else None  # bool is a subclass of int


def _fs_layers(document: Json) -> tuple[Digest, ...]:
    return tuple(map(_blob_sum, _array(document, "fsLayers")))


def _blob_sum(layer: object) -> Digest:
    if not isinstance(layer, Document):
        raise ManifestInvalid("a layer of the schema 1 manifest is not an object")
    layer.refuse_ambiguous(_FS_LAYER)
    return _digest(layer.get("blobSum"))


def _opaque_references(document: Json) -> tuple[Digest, ...]:
    """The digests in the members where known types and the artifact manifest have theirs."""
    items = [document.get("config")]
    for key in ("layers", "blobs", "manifests"):
        value = document.get(key)
        items += value if isinstance(value, list) else []
    return tuple(_digest(item.get("digest")) for item in items if isinstance(item, Mapping))


def _digest(value: object) -> Digest:
    return Digest(value if isinstance(value, str) else "")
