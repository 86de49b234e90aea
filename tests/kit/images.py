"""Small real images, made from nothing and always the same: layers that unpack, true diff ids.

Every function here is pure; `Registry.push` puts what they make into a registry.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEBIBYTE: Final = 1024 * 1024
_CREATED: Final = "2026-01-02T03:04:05.678901234Z"
_EPOCH: Final = 1_767_323_045


@dataclass(frozen=True, slots=True)
class Format:
    """The media types of one family."""

    manifest: str
    index: str
    config: str
    layer: str


DOCKER: Final = Format(
    manifest="application/vnd.docker.distribution.manifest.v2+json",
    index="application/vnd.docker.distribution.manifest.list.v2+json",
    config="application/vnd.docker.container.image.v1+json",
    layer="application/vnd.docker.image.rootfs.diff.tar.gzip",
)
OCI: Final = Format(
    manifest="application/vnd.oci.image.manifest.v1+json",
    index="application/vnd.oci.image.index.v1+json",
    config="application/vnd.oci.image.config.v1+json",
    layer="application/vnd.oci.image.layer.v1.tar+gzip",
)


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest with all that it names: blobs by digest, and the manifests of an index."""

    media_type: str
    manifest: bytes
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    children: tuple[Content, ...] = ()

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digest(self.manifest)


@dataclass(frozen=True, slots=True)
class Layer:
    """A gzipped tar, and the digest of what is in the gzip."""

    blob: bytes
    diff_id: str


def digest(content: bytes) -> str:
    """The sha256 digest, as registries write it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def noise(seed: str, size: int) -> bytes:
    """`size` bytes that no compression makes smaller."""
    return hashlib.shake_128(seed.encode()).digest(size)


def layer(
    files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None, compression: int = 6
) -> Layer:
    """A layer with `files`, the directories that they need, and symbolic `links` to targets."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        paths = [PurePosixPath(name) for name in (*files, *(links or {}))]
        for directory in sorted({p for path in paths for p in path.parents if p.name}):
            tar.addfile(_entry(str(directory), tarfile.DIRTYPE, mode=0o755))
        for name, content in files.items():
            entry = _entry(name, tarfile.REGTYPE, mode=0o755 if "bin/" in name else 0o644)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = _entry(name, tarfile.SYMTYPE, mode=0o777)
            entry.linkname = target
            tar.addfile(entry)
    content = archive.getvalue()
    return Layer(gzip.compress(content, compression, mtime=0), digest(content))


def sparse_header(name: str, size: int) -> bytes:
    """The header of a file of `size` zeros, which follow it in an archive."""
    entry = _entry(name, tarfile.REGTYPE, mode=0o644)
    entry.size = size
    return entry.tobuf(tarfile.PAX_FORMAT)


def image(  # what an image can differ in
    form: Format,
    layers: Sequence[Layer],
    *,
    architecture: str = "amd64",
    config_type: str | None = None,
    declared: bool = True,
    empty_steps: bool = False,
) -> Content:
    """An image manifest of `layers`.

    `config_type` is the config's media type where it is not `form`'s; an image that is not
    `declared` has no `mediaType` (the OCI allows it); `empty_steps` are history entries without
    a layer.
    """
    config = _json(_config(layers, architecture=architecture, empty_steps=empty_steps))
    manifest: dict[str, object] = {"schemaVersion": 2}
    if declared:
        manifest["mediaType"] = form.manifest
    manifest["config"] = _descriptor(config_type or form.config, config)
    manifest["layers"] = [_descriptor(form.layer, each.blob) for each in layers]
    blobs = [config, *(each.blob for each in layers)]
    return Content(form.manifest, _json(manifest), {digest(blob): blob for blob in blobs})


def index(form: Format, children: Mapping[str, Content], *, declared: bool = True) -> Content:
    """An index or list of `children` by architecture, all for Linux."""
    document: dict[str, object] = {"schemaVersion": 2}
    if declared:
        document["mediaType"] = form.index
    document["manifests"] = [
        {
            **_descriptor(child.media_type, child.manifest),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for architecture, child in children.items()
    ]
    return Content(form.index, _json(document), children=tuple(children.values()))


def docker(seed: str = "docker") -> Content:
    """A v2s2 image of two layers."""
    return image(DOCKER, two_layers(seed))


def docker_with_empty_steps(seed: str = "empty-steps") -> Content:
    """A v2s2 image whose history has more entries than there are layers."""
    return image(DOCKER, two_layers(seed), empty_steps=True)


def oci(seed: str = "oci") -> Content:
    """An OCI image of two layers, with `mediaType`."""
    return image(OCI, two_layers(seed))


def oci_undeclared(seed: str = "oci-undeclared") -> Content:
    """An OCI image without `mediaType`."""
    return image(OCI, two_layers(seed), declared=False)


def mixed(seed: str = "mixed") -> Content:
    """An OCI manifest whose config has docker's media type, as some builders make."""
    return image(OCI, two_layers(seed), config_type=DOCKER.config)


def docker_list(seed: str = "docker-list") -> Content:
    """A manifest list of v2s2 images for linux/amd64 and linux/arm64."""
    return index(DOCKER, _platforms(DOCKER, seed))


def oci_index(seed: str = "oci-index") -> Content:
    """An OCI index of OCI images for linux/amd64 and linux/arm64."""
    return index(OCI, _platforms(OCI, seed))


def big(mebibytes: int, seed: str = "big") -> Content:
    """A v2s2 image with one layer of a little more than `mebibytes` MiB."""
    content = noise(seed, mebibytes * MEBIBYTE)
    return image(DOCKER, [layer({"srv/cargo": content}, compression=0)])


def two_layers(seed: str) -> tuple[Layer, Layer]:
    """Files, an executable, a link; then one file replaced and one removed. Unique to `seed`."""
    below = layer(
        {
            "etc/os-release": f"ID=lighterage\nNAME={seed}\n".encode(),
            "srv/cargo": noise(seed, 4096),
            "srv/removed": b"not in the image\n",
            "usr/bin/hello": f"#!/bin/sh\necho {seed}\n".encode(),
        },
        links={"usr/bin/greet": "hello"},
    )
    above = layer({"etc/os-release": f"ID={seed}\n".encode(), "srv/.wh.removed": b""})
    return below, above


def _platforms(form: Format, seed: str) -> dict[str, Content]:
    return {
        architecture: image(form, two_layers(f"{seed}-{architecture}"), architecture=architecture)
        for architecture in ("amd64", "arm64")
    }


def _config(layers: Sequence[Layer], *, architecture: str, empty_steps: bool) -> dict[str, object]:
    steps: list[dict[str, object]] = [
        {"created": _CREATED, "created_by": f"COPY layer-{number} /"}
        for number in range(len(layers))
    ]
    if empty_steps:
        steps[1:1] = [_empty_step('ENV CARGO="grain & <salt>"'), _empty_step("WORKDIR /srv")]
        steps.append(_empty_step('CMD ["/usr/bin/hello"]'))
    return {
        "architecture": architecture,
        "os": "linux",
        "created": _CREATED,
        "config": {
            "Env": ["PATH=/usr/bin:/bin", "CARGO=grain & <salt>"],
            "Cmd": ["/usr/bin/hello"],
            "WorkingDir": "/srv",
            "Labels": {"org.opencontainers.image.title": "cargo"},
        },
        "history": steps,
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
    }


def _empty_step(created_by: str) -> dict[str, object]:
    return {"created": _CREATED, "created_by": created_by, "empty_layer": True}


def _entry(name: str, kind: bytes, *, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, _EPOCH
    return entry


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2).encode()
