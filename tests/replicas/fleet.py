"""Thirty images, and clients that pull them from any replica."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.oci.mediatype import OCI_CONFIG, MediaType
from proxy.oci.reference import Digest
from tests.kit.load import Connection, LostError, NotBegunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kit.processes import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

_BLOBS: Final = 6
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_SIZES: Final = (2_000, 30_000, 80_000, 150_000, 300_000, 400_000)


@dataclass(frozen=True, slots=True)
class Cargo:
    """One image of an upstream, as the digests of what belongs to it."""

    name: str
    manifest: Digest
    blobs: tuple[Digest, ...]
    size: int


@dataclass(slots=True)
class Outcome:
    """What the clients saw."""

    pulls: int = 0
    failures: list[str] = field(default_factory=list)


def load_images(upstream: ScriptedUpstream, count: int, *, seed: int = 1) -> list[Cargo]:
    """Have the upstream serve so many images of six blobs, `cargo/0:1` and so on."""
    chance = random.Random(seed)  # noqa: S311 -- the same content each time
    return [_load_image(upstream, f"cargo/{number}", chance) for number in range(count)]


def _load_image(upstream: ScriptedUpstream, name: str, chance: random.Random) -> Cargo:
    contents = [chance.randbytes(size) for size in _SIZES]
    contents[0] = json.dumps({"architecture": "amd64", "os": "linux", "name": name}).encode()
    blobs = [upstream.add_blob(name, content) for content in contents]
    kinds = [OCI_CONFIG, *[_LAYER] * (_BLOBS - 1)]
    config, *layers = (
        {"mediaType": kind, "digest": digest, "size": len(content)}
        for kind, digest, content in zip(kinds, blobs, contents, strict=True)
    )
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": config,
            "layers": layers,
        }
    ).encode()
    digest = upstream.add_manifest(name, "1", manifest, MediaType.OCI_MANIFEST)
    return Cargo(name, digest, tuple(blobs), sum(map(len, contents)))


async def pull(connection: Connection, image: Cargo) -> str | None:
    """Pull one image, as containerd does; what went wrong, if anything did."""
    answer = await connection.get(f"/v2/{image.name}/manifests/1", MediaType.OCI_MANIFEST)
    if answer.status != 200 or Digest.of(answer.body) != image.manifest:
        return f"{image.name}: manifest: {answer.status} {answer.body[:200]!r}"
    for digest in image.blobs:
        answer = await connection.get(f"/v2/{image.name}/blobs/{digest}")
        if answer.status != 200 or "sha256:" + hashlib.sha256(answer.body).hexdigest() != digest:
            return f"{image.name}: {digest}: {answer.status} {answer.body[:200]!r}"
    return None


async def pull_all(
    images: Sequence[Cargo], proxies: Sequence[Proxy], clients: int, *, retries: int = 0
) -> Outcome:
    """Every client pulls every image, each image from the next replica, in an order of its own."""
    outcome = Outcome()

    async def client(number: int) -> None:
        mine = list(images)
        random.Random(number).shuffle(mine)  # noqa: S311
        for turn, image in enumerate(mine):
            problem: str | None = ""
            for attempt in range(retries + 1):
                proxy = proxies[(number + turn + attempt) % len(proxies)]
                try:
                    async with Connection(proxy.port) as connection:
                        problem = await pull(connection, image)
                except (LostError, NotBegunError) as error:
                    problem = f"{image.name} from {proxy.directory.name}: {error!r}"
                if problem is None:
                    break
            outcome.pulls += 1
            if problem is not None:
                outcome.failures.append(problem)

    await asyncio.gather(*map(client, range(clients)))
    return outcome
