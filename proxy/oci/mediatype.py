"""Media types of manifests, configs and layers, and how docker and OCI types correspond."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class MediaType(StrEnum):
    """The known manifest media types."""

    V2S1 = "application/vnd.docker.distribution.manifest.v1+json"
    V2S1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    V2S2 = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_INDEX = "application/vnd.oci.image.index.v1+json"

    @property
    def is_index(self) -> bool:
        """Whether this is an OCI index or a docker manifest list."""
        return self in _INDEXES

    @property
    def is_image(self) -> bool:
        """Whether this is a manifest with a config and layers."""
        return self in _IMAGES

    @property
    def is_schema1(self) -> bool:
        """Whether this is docker's schema 1, signed or not."""
        return self in _SCHEMA1

    @property
    def short(self) -> str:
        """A short name for metrics and messages, such as `v2s2`."""
        return self.name.lower()

    @property
    def form(self) -> str:
        """The name that people use, such as `docker list`."""
        return _FORMS[self]


# RFC 6838, section 4.2.
_MEDIA_TYPE: Final = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,126}/[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,126}"
)
_INDEXES: Final = frozenset({MediaType.DOCKER_LIST, MediaType.OCI_INDEX})
_IMAGES: Final = frozenset({MediaType.V2S2, MediaType.OCI_MANIFEST})
_SCHEMA1: Final = frozenset({MediaType.V2S1, MediaType.V2S1_SIGNED})

_FORMS: Final = {
    MediaType.V2S1: "schema 1",
    MediaType.V2S1_SIGNED: "schema 1",
    MediaType.V2S2: "docker image",
    MediaType.DOCKER_LIST: "docker list",
    MediaType.OCI_MANIFEST: "OCI image",
    MediaType.OCI_INDEX: "OCI index",
}

# Of artifacts, before images with an `artifactType` took their place: the OCI's 1.1 release
# candidates had the first (image spec v1.1.0-rc2, artifact.md), ORAS the second. Registries give
# them only to a client that names them.
ARTIFACT_MANIFESTS: Final = (
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.cncf.oras.artifact.manifest.v1+json",
)

# Sent with every upstream request, so that no upstream converts for us; preferred types first.
UPSTREAM_ACCEPT: Final = ", ".join(
    [
        MediaType.OCI_INDEX,
        MediaType.DOCKER_LIST,
        MediaType.OCI_MANIFEST,
        MediaType.V2S2,
        MediaType.V2S1_SIGNED,
        MediaType.V2S1,
        *ARTIFACT_MANIFESTS,
    ]
)

OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
IMAGE_CONFIGS: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# Config types that early v2s2 pushes used; docker accepts them as images
# (moby distribution/registry.go, v20.10).
HISTORIC_CONFIGS: Final = frozenset(
    {"", "application/octet-stream", "application/json", "text/html", "text/plain"}
)

# The same table as in moby and containers/image (image spec, "Compatibility Matrix").
OCI_TO_DOCKER: Final = {
    OCI_CONFIG: DOCKER_CONFIG,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": (
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    ),
    "application/vnd.oci.image.layer.nondistributable.v1.tar": (
        "application/vnd.docker.image.rootfs.foreign.diff.tar"
    ),
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    ),
}
DOCKER_TO_OCI: Final = {docker: oci for oci, docker in OCI_TO_DOCKER.items()}

# Docker's types of plain layers.
GZIP_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TAR_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
GZIP_LAYERS: Final = frozenset({"application/vnd.oci.image.layer.v1.tar+gzip", GZIP_LAYER})
PLAIN_LAYERS: Final = GZIP_LAYERS | {"application/vnd.oci.image.layer.v1.tar", TAR_LAYER}


def bare(content_type: str) -> str:
    """The media type of a `Content-Type` value, in lower case and without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_media_type(text: str) -> bool:
    """Whether `text` is a media type without parameters."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def form_of(content_type: str) -> str:
    """What people call content of this type; an unknown type as it is."""
    known = manifest_type(content_type)
    return content_type if known is None else known.form


def manifest_type(content_type: str) -> MediaType | None:
    """The known manifest type that `content_type` names, or None."""
    try:
        return MediaType(bare(content_type))
    except ValueError:
        return None
