"""Schema 1 images as docker pushed them before 1.10, and as Quay makes them: with real layers."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from proxy.oci.layer import LayerMeter
from proxy.oci.reference import Digest
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from proxy.oci.schema1.libtrust import SigningKey
from tests.kit import images
from tests.kit.images import Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.oci.layer import LayerFacts

KEY: Final = SigningKey.generate()
SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"
UNSIGNED: Final = "application/vnd.docker.distribution.manifest.v1+json"
CREATED: Final = "2015-06-08T16:13:51.123456789Z"

Step = dict[str, Any]


def facts_of(layer: bytes) -> LayerFacts:
    """What reading the layer in small pieces gives."""
    meter = LayerMeter(Digest.of(layer), max_unpacked=2**40)
    for start in range(0, len(layer), 777):
        meter.feed(layer[start : start + 777])
    return meter.finish()


def old_docker(
    layers: Sequence[bytes], *, version: str = "1.7.1", signed: bool = True, **newest: object
) -> Content:
    """An image as docker `version` pushed it: a whole config in every step, an empty newest one.

    `newest` are other members of the newest step.
    """
    blobs = [*layers, EMPTY_LAYER_BYTES]
    steps: list[Step] = []
    parent = ""
    for number, blob in enumerate(blobs):
        command = ["/bin/sh", "-c", f"#(nop) step {number} <&> \u00e9"]
        step: Step = {
            "id": hashlib.sha256(f"{number} {parent}".encode()).hexdigest(),
            **({"parent": parent} if parent else {}),
            "created": CREATED,
            "container": "ab" * 32,
            "container_config": {"Hostname": "a", "Cmd": command},
            "docker_version": version,
            "author": "A. U. Thor <a@example.com>",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/true"], "Labels": None},
            "architecture": "amd64",
            "os": "linux",
            "Size": len(blob) if blob != EMPTY_LAYER_BYTES else 0,
        }
        if number == len(blobs) - 1:
            step |= newest
        steps.append(step)
        parent = step["id"]
    return of_steps(steps[::-1], blobs[::-1], signed=signed)


def with_repeated_step(layers: Sequence[bytes]) -> Content:
    """An image whose base occurs twice in a row, as some registries wrote it."""
    content = old_docker(layers, version="1.9.1")
    steps, blobs = steps_of(content), blobs_of(content)
    steps.insert(-1, steps[-1] | {"comment": "the newer one goes, with its layer"})
    blobs.insert(-1, layers[-1])
    return of_steps(steps, blobs)


def quay(layers: Sequence[bytes], *, architecture: str = "amd64") -> Content:
    """An image as Quay makes it from v2s2: unsigned, spaces in its JSON, empty steps marked."""
    blobs = [*layers, EMPTY_LAYER_BYTES]
    steps: list[Step] = []
    parent = None
    for number, blob in enumerate(blobs):
        step: Step = {"id": hashlib.sha256(f"quay {number}".encode()).hexdigest()}
        if parent:
            step["parent"] = parent
        step |= {
            "created": CREATED,
            "container_config": {"Cmd": None if number == 0 else [f"step {number}"]},
            "Size": len(blob),
        }
        if number == len(blobs) - 1:
            step |= {"throwaway": True, "architecture": architecture, "config": {"Cmd": ["sh"]}}
        steps.append(step)
        parent = step["id"]
    texts = [json.dumps(step) for step in steps[::-1]]
    document = {
        "tag": "latest",
        "name": "org/ship",
        "architecture": architecture,
        "schemaVersion": 1,
        "history": [{"v1Compatibility": text} for text in texts],
        "fsLayers": [{"blobSum": images.digest(blob)} for blob in blobs[::-1]],
    }
    manifest = json.dumps(document, indent=3).encode()
    return Content(UNSIGNED, manifest, {images.digest(blob): blob for blob in layers})


def of_steps(
    steps: Sequence[Step | str], blobs: Sequence[bytes], *, signed: bool = False
) -> Content:
    """Schema 1 of these steps, newest first; a text is the v1Compatibility itself."""
    texts = [
        step if isinstance(step, str) else json.dumps(step, separators=(",", ":")) for step in steps
    ]
    document = {
        "schemaVersion": 1,
        "name": "library/ship",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": images.digest(blob)} for blob in blobs],
        "history": [{"v1Compatibility": text} for text in texts],
    }
    payload = json.dumps(document, indent=3, ensure_ascii=False).encode()
    body = KEY.sign(payload, time="2016-01-02T03:04:05Z") if signed else payload
    kept = {images.digest(blob): blob for blob in blobs if Digest.of(blob) != EMPTY_LAYER}
    return Content(SIGNED if signed else UNSIGNED, body, kept)


def steps_of(content: Content) -> list[Step]:
    """The steps of a manifest, newest first."""
    history = json.loads(content.manifest)["history"]
    return [json.loads(entry["v1Compatibility"]) for entry in history]


def blobs_of(content: Content) -> list[bytes]:
    """The layers of a manifest, newest first, the empty one included."""
    here = {**content.blobs, str(EMPTY_LAYER): EMPTY_LAYER_BYTES}
    return [here[layer["blobSum"]] for layer in json.loads(content.manifest)["fsLayers"]]


def two_layers(seed: str = "old") -> list[bytes]:
    """A base, and what is above it: gzipped archives."""
    return [layer.blob for layer in images.two_layers(seed)]


def gzipped(archive: bytes) -> bytes:
    """One member of a gzip file."""
    return gzip.compress(archive, mtime=0)


def plain(layer: bytes) -> bytes:
    """The archive that is in a gzipped layer."""
    return gzip.decompress(layer)
