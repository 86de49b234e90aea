"""Detection of a manifest's type from its `mediaType`, its `Content-Type` and its members.

The three must agree on the shape: image, index or schema 1. Otherwise one client could read an
image where another reads an index (CVE-2021-41190). Where only the family is in doubt, docker's or
the OCI's, the body decides: proxies label OCI content as docker's.

(distribution registry/storage/manifeststore.go; containers/image internal/manifest/manifest.go and
common.go.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.errors import ManifestInvalid
from proxy.oci.mediatype import (
    ARTIFACT_MANIFESTS,
    DOCKER_CONFIG,
    HISTORIC_CONFIGS,
    MediaType,
    bare,
    is_media_type,
    manifest_type,
)

# The members that distinguish the formats: those of other formats must be absent or null.
_SCHEMA1: Final = frozenset({"fsLayers", "history"})
_IMAGE: Final = frozenset({"config", "layers"})
_INDEX: Final = frozenset({"manifests"})
_DOCKER_PREFIX: Final = "application/vnd.docker."
_OCI_PREFIX: Final = "application/vnd.oci."
DISTINCTIVE: Final = _SCHEMA1 | _IMAGE | _INDEX


def kind(document: Mapping[str, object], content_type: str) -> MediaType | str:
    """The manifest's type; ManifestInvalid if it is ambiguous or cannot be determined.

    The body takes precedence; `content_type` decides only where the body is not conclusive.
    """
    media_type = _read_type(document, content_type)
    present = {name for name in DISTINCTIVE if document.get(name) is not None}
    if not any(present <= members for members in _formats(media_type)):
        members = " and ".join(sorted(present))
        raise ManifestInvalid(f"a manifest of type {media_type} must not have {members}")
    return media_type


def _formats(media_type: MediaType | str) -> tuple[frozenset[str], ...]:
    """The formats that a manifest of this type may have; it has the members of one of them."""
    if not isinstance(media_type, MediaType):
        return (_SCHEMA1, _IMAGE, _INDEX)
    return (_shape(media_type),)


def _shape(media_type: MediaType) -> frozenset[str]:
    if media_type.is_schema1:
        return _SCHEMA1
    return _INDEX if media_type.is_index else _IMAGE


def _is_undeclared_artifact(document: Mapping[str, object], content_type: str) -> bool:
    """Whether only the `Content-Type` says that this is an artifact manifest."""
    return (
        bare(content_type) in ARTIFACT_MANIFESTS
        and document.get("schemaVersion") is None
        and all(document.get(name) is None for name in DISTINCTIVE)
    )


def _read_type(document: Mapping[str, object], content_type: str) -> MediaType | str:
    """The type that the body declares, checked against `schemaVersion` and `content_type`."""
    declared = document.get("mediaType")
    named = manifest_type(content_type)
    if declared is None:
        if _is_undeclared_artifact(document, content_type):
            return bare(content_type)
        return _type_by_shape(document, named)
    if not isinstance(declared, str) or not is_media_type(declared):
        raise ManifestInvalid("the manifest's mediaType is not a media type")
    known = manifest_type(declared)
    if known is None:
        if named is not None:
            raise ManifestInvalid(f"the manifest calls itself {declared}, but came as {named}")
        return declared
    version = 1 if known.is_schema1 else 2
    # Registries and clients accept an OCI or v2s2 manifest without it.
    missing = document.get("schemaVersion") is None and not known.is_schema1
    if not missing and _version(document) != version:
        raise ManifestInvalid(f"a manifest of type {known} must have schemaVersion {version}")
    if known.is_schema1:
        return _type_by_shape(document, named)
    if named is not None and _shape(named) is not _shape(known):
        raise ManifestInvalid(f"the manifest calls itself {known}, but came as {named}")
    return known


def _type_by_shape(document: Mapping[str, object], named: MediaType | None) -> MediaType:
    """The type of a body without `mediaType`, from its members."""
    match _version(document):
        case 1:
            if named is not None and not named.is_schema1:
                raise ManifestInvalid(f"a schema 1 manifest came as {named}")
            signed = document.get("signatures") is not None
            return MediaType.V2S1_SIGNED if signed else MediaType.V2S1
        case 2:
            return _image_or_index(document, named)
        case None if named is not None and document.get("schemaVersion") is None:
            return _image_or_index(document, named)
        case _:
            raise ManifestInvalid("the manifest has no known schemaVersion")


def _image_or_index(document: Mapping[str, object], named: MediaType | None) -> MediaType:
    is_index = document.get("manifests") is not None
    if named is not None:
        if named.is_schema1 or named.is_index != is_index:
            raise ManifestInvalid(f"the manifest's content is not that of {named}")
        return _family(document, named)
    if is_index:
        return MediaType.OCI_INDEX
    return MediaType.V2S2 if _config_type(document) == DOCKER_CONFIG else MediaType.OCI_MANIFEST


def _family(document: Mapping[str, object], named: MediaType) -> MediaType:
    """The type of a body that came as `named`, without a `mediaType`.

    Docker's manifests always have one, so what they name must be docker's.
    """
    if named is MediaType.V2S2:
        config = _config_type(document)
        docker = config is None or config in HISTORIC_CONFIGS or config.startswith(_DOCKER_PREFIX)
        return named if docker else MediaType.OCI_MANIFEST
    if named is MediaType.DOCKER_LIST and _has_oci_entries(document):
        return MediaType.OCI_INDEX
    return named


def _config_type(document: Mapping[str, object]) -> str | None:
    config = document.get("config")
    media_type = config.get("mediaType") if isinstance(config, Mapping) else None
    return media_type if isinstance(media_type, str) else None


def _has_oci_entries(document: Mapping[str, object]) -> bool:
    entries = document.get("manifests")
    return isinstance(entries, list) and any(
        isinstance(entry, Mapping) and str(entry.get("mediaType")).startswith(_OCI_PREFIX)
        for entry in entries
    )


def _version(document: Mapping[str, object]) -> int | None:
    """The `schemaVersion`, or None unless it is an integer: `true` and `2.0` are not."""
    version = document.get("schemaVersion")
    return version if type(version) is int else None
