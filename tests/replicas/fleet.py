"""Three replicas, thirty images, and clients that pull them from any replica."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import OCI_CONFIG, MediaType
from proxy.oci.reference import Digest
from tests.kit.load import Connection, LostError, NotBegunError
from tests.kit.processes import LOOPBACK
from tests.kit.replicas import Replicas
from tests.kit.s3_gateway import Gateway
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.kit.namespace import Namespace
    from tests.kit.processes import Proxy

IMAGES: Final = 30
CLIENTS: Final = 30
# Where the replicas keep blobs, and the processes of each.
DISKS, BUCKET = "disks", "bucket"
# What takes long is for `make chaos`.
IN_CHAOS: Final = pytest.mark.skipif(not os.environ.get("CHAOS"), reason="CHAOS=1 runs it")
SLOW: Final = (pytest.mark.slow, IN_CHAOS)
KINDS: Final = [
    pytest.param(DISKS, 1, id="disks"),
    pytest.param(DISKS, 2, id="disks-2-workers", marks=SLOW),
    pytest.param(BUCKET, 1, id="bucket", marks=SLOW),
    pytest.param(BUCKET, 2, id="bucket-2-workers", marks=SLOW),
]
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
    """Have the upstream serve so many images of six blobs, `cargo-SEED/0:1` and so on."""
    chance = random.Random(seed)  # noqa: S311 -- the same content each time
    return [_load_image(upstream, f"cargo-{seed}/{number}", chance) for number in range(count)]


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
                    async with Connection(proxy.port, address=proxy.address) as connection:
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


class Fleet:
    """Three replicas, their upstream, and its images."""

    def __init__(
        self, upstream: ScriptedUpstream, images: Sequence[Cargo], replicas: Replicas
    ) -> None:
        self.upstream = upstream
        self.images = images
        self.replicas = replicas
        # Of all images so far.
        self.blobs = sum(len(image.blobs) for image in images)

    @property
    def egress(self) -> float:
        """Blobs that the upstream was asked for, for each that these images have."""
        asked = sum(self.upstream.count("GET", f"*/{image.name}/blobs/*") for image in self.images)
        return asked / sum(len(image.blobs) for image in self.images)

    def load_others(self, count: int, *, seed: int) -> None:
        """Go on with so many other images, which no replica has."""
        self.images = load_images(self.upstream, count, seed=seed)
        self.blobs += sum(len(image.blobs) for image in self.images)

    @property
    def total_egress(self) -> float:
        """The same of all images so far."""
        return self.upstream.count("GET", "*/blobs/*") / self.blobs

    async def pull(self, *proxies: Proxy, retries: int = 0) -> list[str]:
        """Pull everything from these replicas, or all; what failed."""
        chosen = proxies or self.replicas.running
        return (await pull_all(self.images, chosen, CLIENTS, retries=retries)).failures

    async def begun(self, share: float) -> None:
        """Return when so much of all blobs was asked for."""
        await self.upstream.asked("GET", "*/blobs/*", int(share * len(self.images) * _BLOBS))


@asynccontextmanager
async def fleet(
    directory: Path,
    *,
    images: int = IMAGES,
    storage: str = DISKS,
    delay: float = 0.05,
    apart: Namespace | None = None,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Fleet]:
    """`delay` is the upstream's, before each answer with a blob, in seconds.

    `apart` and `options` are those of `Replicas`.
    """
    address = LOOPBACK if apart is None else apart.content.here
    with ExitStack() as stack:
        settings = dict(settings or {})
        if storage == BUCKET:
            gateway = stack.enter_context(Gateway(directory / "bucket"))
            settings["blobs"] = gateway.settings(deliver="stream")
        async with ScriptedUpstream(address=address) as upstream:
            loaded = load_images(upstream, images)
            if delay:
                upstream.fault("GET", "*/blobs/*", Fault(delay=delay))
            replicas = Replicas(
                directory,
                3,
                upstreams={"docker.io": {"url": upstream.url, "default": True}},
                apart=apart,
                settings=settings,
                **options,
            )
            with replicas:
                yield Fleet(upstream, loaded, replicas)
