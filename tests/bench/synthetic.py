"""An upstream that costs next to nothing: any number of images, made when they are asked for."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from tests.kit import images
from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LAYERS: Final = 8
_BLOB: Final = 1024
_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nContent-Type: {type}\r\nContent-Length: {length}\r\n"
    "Docker-Content-Digest: {digest}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\r\n"
)


@lru_cache(maxsize=4096)
def manifest(name: str) -> bytes:
    """The manifest of the image `name`: its config and eight layers that no other image has."""

    def descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
        return {"mediaType": media_type, "size": size, "digest": digest}

    own = config(name)
    layers = [
        descriptor(images.DOCKER.layer, images.digest(f"{name} {number}".encode()), 32_654)
        for number in range(_LAYERS)
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": images.DOCKER.manifest,
        "config": descriptor(images.DOCKER.config, images.digest(own), len(own)),
    }
    return json.dumps({**document, "layers": layers}).encode()


def config(name: str) -> bytes:
    """Its config, as a builder writes it."""
    steps = range(_LAYERS)
    created = "2026-01-02T03:04:05Z"
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": {"Cmd": ["/bin/cargo"], "Labels": {"name": name}},
            "rootfs": {
                "type": "layers",
                "diff_ids": [
                    images.digest(f"{name} {number} unpacked".encode()) for number in steps
                ],
            },
            "history": [{"created": created, "created_by": f"step {number}"} for number in steps],
        }
    ).encode()


def blob(number: int) -> bytes:
    """One of any number of blobs of 1 KiB."""
    return hashlib.shake_128(str(number).encode()).digest(_BLOB)


class Upstream:
    """What it has besides images, and how often it was asked."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.requests = 0


class _Answers(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        while b"\r\n\r\n" in self._received:
            self._upstream.requests += 1
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            method, path, _ = request.split(b"\r\n", 1)[0].decode().split(" ")
            self._transport.write(self._answer(path, with_body=method != "HEAD"))

    def _answer(self, path: str, *, with_body: bool) -> bytes:
        name, kind, reference = (
            path.removeprefix("/v2/").rsplit("/", 2) if path != "/v2/" else [""] * 3
        )
        media_type = "application/octet-stream"
        if kind == "manifests":
            media_type, body = images.DOCKER.manifest, manifest(name)
        elif kind == "blobs":
            body = self._upstream.blobs.get(reference) or config(name)
        else:
            body = b"{}"
        head = _HEAD.format(type=media_type, length=len(body), digest=images.digest(body))
        return head.encode() + (body if with_body else b"")


@asynccontextmanager
async def upstream(port: int) -> AsyncIterator[Upstream]:
    """Answer at `port` for any image, and for the blobs by digest that the caller adds."""
    made = Upstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answers(made), LOOPBACK, port)
    try:
        yield made
    finally:
        server.close()
