"""The images of all machines as one OCI image layout, with an index.

buildah makes docker's images, because only their config has a health check. What it says of the
machine that built it is left out, and the rest gets the OCI's types, as BuildKit gives them.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_PREFIX: Final = "org.opencontainers.image."
_NAME: Final = f"{_PREFIX}ref.name"
# Labels that say the same of the index as of the images in it.
_OF_ALL: Final = ("title", "description", "licenses", "version", "revision", "created")
# What a config says of an image; docker's has the name of a container besides.
_MEMBERS: Final = ("architecture", "os", "variant", "created", "config", "rootfs", "history")
_OF_A_CONTAINER: Final = ("Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout")
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names content: as the image specification's descriptor."""

    media_type: str
    digest: str
    size: int

    def encode(self, **more: object) -> dict[str, object]:
        """The descriptor as members of a JSON object."""
        named = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return named | more


@dataclass(frozen=True, slots=True)
class Release:
    """An index that was written, and the manifest of each machine in it."""

    index: Descriptor
    images: Mapping[str, Descriptor]


class Layout:
    """An image layout in a directory that is empty at first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs/sha256"
        self._blobs.mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def add_index(self, saved: Iterable[Path], name: str) -> Release:
        """Add what buildah has saved of each image, `dir:` by `dir:`, as one index `name`."""
        images: dict[str, Descriptor] = {}
        described: list[dict[str, object]] = []
        labels: dict[str, str] = {}
        for directory in saved:
            config, image = self._add_image(directory)
            labels = config["config"]["Labels"]
            platform = {"architecture": config["architecture"], "os": config["os"]}
            images[config["architecture"]] = image
            described.append(image.encode(platform=platform))
        index = {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "manifests": described,
            "annotations": {f"{_PREFIX}{key}": labels[f"{_PREFIX}{key}"] for key in _OF_ALL},
        }
        written = self._add(_INDEX, _encode(index))
        listed = written.encode(annotations={_NAME: name})
        content = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [listed]}
        (self.directory / "index.json").write_bytes(_encode(content))
        return Release(written, images)

    def _add_image(self, directory: Path) -> tuple[dict[str, Any], Descriptor]:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        config = oci_config((directory / _hex(manifest["config"]["digest"])).read_bytes())
        layers = [
            self._add(_LAYER, _as_gzip((directory / _hex(layer["digest"])).read_bytes()))
            for layer in manifest["layers"]
        ]
        converted = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._add(_CONFIG, config).encode(),
            "layers": [layer.encode() for layer in layers],
        }
        return json.loads(config), self._add(_MANIFEST, _encode(converted))

    def _add(self, media_type: str, content: bytes) -> Descriptor:
        name = sha256(content).hexdigest()
        (self._blobs / name).write_bytes(content)
        return Descriptor(media_type, f"sha256:{name}", len(content))


def oci_config(docker: bytes) -> bytes:
    """An image's config without what differs from build to build."""
    given = json.loads(docker)
    config = {name: given[name] for name in _MEMBERS if name in given}
    config["config"] = {
        name: value
        for name, value in given["config"].items()
        if value not in (None, False, "", [], {}) and name not in _OF_A_CONTAINER
    }
    config["history"] = [_without_builder(entry) for entry in given["history"]]
    return _encode(config)


def _without_builder(entry: Mapping[str, str]) -> dict[str, str]:
    """An entry of the history without the id that buildah gave to what a stage is made from."""
    is_stage = entry.get("comment", "").startswith("FROM ")
    return {name: text for name, text in entry.items() if name != "comment" or not is_stage}


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _as_gzip(layer: bytes) -> bytes:
    """The layer compressed, without a time of its own."""
    return layer if layer.startswith(_GZIP) else gzip.compress(layer, compresslevel=9, mtime=0)


def _encode(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
