"""A small image, made here: an OCI index with an image for linux/amd64."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import Any, Final

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_CREATED: Final = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class DemoImage:
    """All content by digest: blobs, and manifests with their types. `digest` is the index's."""

    digest: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)


def make_image() -> DemoImage:
    """The same image each time."""
    layers = [_layer("etc/motd", b"Ahoy!\n"), _layer("srv/cargo", _cargo())]
    config = _encode(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": _CREATED,
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in layers]},
            "history": [{"created": _CREATED, "created_by": f"COPY {n}"} for n in range(2)],
        }
    )
    packed = [gzip.compress(tar, mtime=0) for tar in layers]
    manifest = _encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(config, _CONFIG),
            "layers": [_descriptor(layer, _LAYER) for layer in packed],
        }
    )
    platform = {"architecture": "amd64", "os": "linux"}
    index = _encode(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{**_descriptor(manifest, MANIFEST), "platform": platform}],
        }
    )
    return DemoImage(
        digest_of(index),
        {digest_of(blob): blob for blob in (config, *packed)},
        {digest_of(index): (index, INDEX), digest_of(manifest): (manifest, MANIFEST)},
    )


def digest_of(content: bytes) -> str:
    """The sha256 digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _cargo() -> bytes:
    """Half a MiB that does not compress."""
    return b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(2**14))


def _layer(path: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
