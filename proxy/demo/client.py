"""Pulls as a client does: the manifest by tag, its image, and every blob, each verified."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

from proxy.demo.image import digest_of
from proxy.demo.registry import NAME, TAG
from proxy.oci.clients import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull has given. `size` is that of all content in bytes."""

    media_type: str
    digest: str
    cache: str
    size: int
    seconds: float


def pull(url: str, client: str) -> Pulled:
    """Pull the demo's image from the registry at `url`; AssertionError if a digest is wrong."""
    began = time.monotonic()
    accept = CLIENTS[client]
    body, headers = _get(f"{url}/v2/{NAME}/manifests/{TAG}", accept)
    size, manifest = len(body), json.loads(body)
    if "manifests" in manifest:
        child = manifest["manifests"][0]["digest"]
        inner, _ = _get(f"{url}/v2/{NAME}/manifests/{child}", accept)
        _require(inner, child)
        size, manifest = size + len(inner), json.loads(inner)
    for digest in _blobs(manifest):
        blob, _ = _get(f"{url}/v2/{NAME}/blobs/{digest}", ())
        _require(blob, digest)
        size += len(blob)
    return Pulled(
        headers["Content-Type"],
        headers["Docker-Content-Digest"],
        headers.get("Cache-Status", ""),
        size,
        time.monotonic() - began,
    )


def _blobs(manifest: Mapping[str, object]) -> list[str]:
    """The digests of a manifest's blobs, in schema 1 or 2."""
    if (layers := manifest.get("fsLayers")) is not None:
        assert isinstance(layers, list)  # noqa: S101 -- what schema 1 has
        return list(dict.fromkeys(layer["blobSum"] for layer in layers))
    config, layers = manifest["config"], manifest["layers"]
    assert isinstance(config, dict)  # noqa: S101 -- what schema 2 has
    assert isinstance(layers, list)  # noqa: S101
    return [config["digest"], *(layer["digest"] for layer in layers)]


def _require(content: bytes, digest: str) -> None:
    if digest_of(content) != digest:
        raise AssertionError(f"the content is not {digest}")


def _get(url: str, accept: Sequence[str]) -> tuple[bytes, Mapping[str, str]]:
    request = Request(url)  # noqa: S310 -- http, on this machine
    if accept:
        request.add_header("Accept", ", ".join(accept))
    # HTTP_PROXY in the environment is for the internet.
    with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT) as answer:
        return answer.read(), answer.headers
