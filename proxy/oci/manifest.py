"""Reading a manifest: which kind the bytes are, what they name, and that they are unambiguous.

The bytes are the truth: a `Manifest` carries them unchanged, beside what was read in them. Parsing
is lenient where no decision depends on the field, and strict where two readers could understand
two different things (CVE-2021-41190).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from proxy.errors import DigestInvalid, ManifestInvalid
from proxy.oci.detection import DISTINCTIVE, kind
from proxy.oci.document import Document, parse, spellings
from proxy.oci.mediatype import MediaType
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest
from proxy.oci.schema1 import libtrust

Json: TypeAlias = Mapping[str, object]

# distribution spec: "registries SHOULD enforce some limit"; 4 MiB is what distribution,
# containers/image and containerd agree on.
MANIFEST_LIMIT: Final = 4 * 1024 * 1024

# What decides something here, in a manifest and in what it consists of.
_MEMBERS: Final = spellings(
    *DISTINCTIVE, "artifactType", "mediaType", "schemaVersion", "signatures"
)
_DESCRIPTOR: Final = spellings(
    "annotations", "artifactType", "digest", "mediaType", "platform", "size", "urls"
)
_PLATFORM: Final = spellings("architecture", "os", "variant")
_FS_LAYER: Final = spellings("blobSum")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of other content (image spec, "OCI Content Descriptors")."""

    media_type: str
    digest: Digest
    size: int | None
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    annotations: Json = field(default_factory=dict)
    artifact_type: str | None = None
    # Every member as it stood there, so that a conversion can keep what it does not change.
    members: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest with a config and layers: docker's v2s2 or an OCI image manifest."""

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
    """An OCI index or a docker manifest list."""

    media_type: MediaType
    digest: Digest
    raw: bytes = field(repr=False)
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None

    @property
    def references(self) -> tuple[Digest, ...]:
        """The digests that this index makes part of its repository."""
        return tuple(child.digest for child in self.manifests)


@dataclass(frozen=True, slots=True)
class Schema1:
    """Docker's schema 1. The digest is that of the payload: the signatures are not in it."""

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
    """A manifest of an unknown type, or with descriptors that name nothing: only passed on."""

    media_type: str
    digest: Digest
    raw: bytes = field(repr=False)
    references: tuple[Digest, ...] = ()


Manifest: TypeAlias = Image | Index | Schema1 | Opaque


def read_manifest(
    raw: bytes, content_type: str = "", *, expected: Digest | None = None
) -> Manifest:
    """The manifest that `raw` is; ManifestInvalid if it is none, or could be taken for two.

    `content_type` is what the upstream called it; it may be missing, generic or wrong in letter
    case, but must not contradict the body. `expected` is verified, over the payload for signed
    schema 1.
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
    try:
        return _typed(media_type, digest, raw, document)
    except DigestInvalid:
        # Nothing can be done with it but to pass it on, as every registry does.
        return Opaque(media_type, digest, raw)


def _typed(media_type: MediaType | str, digest: Digest, raw: bytes, document: Json) -> Manifest:
    if not isinstance(media_type, MediaType):
        return Opaque(media_type, digest, raw, _opaque_references(document))
    if media_type.is_schema1:
        return Schema1(media_type, digest, raw, _fs_layers(document))
    if media_type.is_index:
        children = tuple(_descriptor(item) for item in _array(document, "manifests"))
        return Index(media_type, digest, raw, children, _subject(document))
    return _image(media_type, digest, raw, document)


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
    """The size in bytes, or None where there is none that can be one."""
    return value if type(value) is int and value >= 0 else None  # a bool is an int, too


def _fs_layers(document: Json) -> tuple[Digest, ...]:
    return tuple(map(_blob_sum, _array(document, "fsLayers")))


def _blob_sum(layer: object) -> Digest:
    if not isinstance(layer, Document):
        raise ManifestInvalid("a layer of the schema 1 manifest is not an object")
    layer.refuse_ambiguous(_FS_LAYER)
    return _digest(layer.get("blobSum"))


def _opaque_references(document: Json) -> tuple[Digest, ...]:
    """The digests of an unknown type, where known types and the artifact manifest keep theirs."""
    items = [document.get("config")]
    for key in ("layers", "blobs", "manifests"):
        value = document.get(key)
        items += value if isinstance(value, list) else []
    return tuple(_digest(item.get("digest")) for item in items if isinstance(item, Mapping))


def _digest(value: object) -> Digest:
    return Digest(value if isinstance(value, str) else "")
