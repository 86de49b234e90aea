"""A manifest as one value for caches and records: its type, a line feed and its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ManifestInvalid
from proxy.oci.manifest import read_manifest

if TYPE_CHECKING:
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest


def pack(manifest: Manifest) -> bytes:
    """Encode a manifest as one value."""
    return manifest.media_type.encode() + b"\n" + manifest.raw


def unpack(digest: Digest, value: bytes | None) -> Manifest | None:
    """Decode a value; None if it is missing or its bytes do not match `digest`."""
    if value is None:
        return None
    media_type, _, raw = value.partition(b"\n")
    try:
        return read_manifest(raw, media_type.decode("ascii", "replace"), expected=digest)
    except ManifestInvalid:
        return None
