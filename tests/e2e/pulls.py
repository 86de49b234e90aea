"""Clients that pull all that an image is, in every representation, and look at what they get."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.kit import images, load
from tests.kit.accept_lines import EVERYTHING, SIGNED_SCHEMA1

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from tests.kit.images import Content

# What clients say that they take.
MODERN: Final = ", ".join(value for _, value in EVERYTHING)
DOCKER: Final = f"{images.DOCKER.manifest}, {images.DOCKER.index}"
OCI: Final = f"{images.OCI.manifest}, {images.OCI.index}"
LEGACY: Final = None


@dataclass(frozen=True, slots=True)
class Cargo:
    """An image that the upstream has under the tag 1."""

    repository: str
    content: Content

    @property
    def digests(self) -> set[str]:
        """Of all the manifests that the upstream has of it."""
        return {self.content.digest, *(child.digest for child in self.content.children)}


@dataclass(slots=True)
class Pulls:
    """What came of them: how long each answer took, in seconds, what was bad, and what was made.

    `derived` are the manifests that exist in no upstream, by the path of their digest.
    """

    seconds: list[float] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    derived: dict[str, load.Answer] = field(default_factory=dict)

    async def all_of(
        self,
        port: int,
        cargo: Sequence[Cargo],
        *,
        clients: int,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Pull each once, `clients` at a time; `meanwhile` begins when a quarter is under way."""
        waiting = iter(enumerate(cargo))

        async def client() -> None:
            async with load.Connection(port) as connection:
                for number, each in waiting:
                    if meanwhile is not None and number == len(cargo) // 4:
                        await meanwhile()
                    await self._pull(connection, each)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def _pull(self, connection: load.Connection, cargo: Cargo) -> None:
        """By tag in every form, each again by its digest, and the blobs of all forms."""
        root = f"/v2/{cargo.repository}"
        blobs: set[str] = set()
        for accept in (MODERN, DOCKER, OCI, LEGACY):
            answer = await self._get(connection, f"{root}/manifests/1", accept)
            if answer.status != 200:
                continue
            if accept is MODERN:
                self._expect(answer.body == cargo.content.manifest, f"{root}: other bytes")
            if accept is LEGACY:
                self._expect(answer.headers["content-type"] == SIGNED_SCHEMA1, f"{root}: its type")
            again = await self._by_digest(
                connection, cargo, answer.headers["docker-content-digest"]
            )
            self._expect(again.body == answer.body, f"{root}: other bytes by digest")
            manifest = json.loads(answer.body)
            blobs |= set(_blobs(manifest))
            for child in manifest.get("manifests", ()):
                await self._by_digest(connection, cargo, child["digest"])
        for blob in blobs:
            answer = await self._get(connection, f"{root}/blobs/{blob}")
            self._expect(images.digest(answer.body) == blob, f"{root}@{blob}: other bytes")

    async def _by_digest(
        self, connection: load.Connection, cargo: Cargo, digest: str
    ) -> load.Answer:
        path = f"/v2/{cargo.repository}/manifests/{digest}"
        answer = await self._get(connection, path, MODERN)
        if digest not in cargo.digests:
            self.derived[path] = answer
        return answer

    async def _get(
        self, connection: load.Connection, path: str, accept: str | None = None
    ) -> load.Answer:
        began = time.monotonic()
        answer = await connection.get(path, accept)
        self.seconds.append(time.monotonic() - began)
        self._expect(answer.status == 200, f"{answer.status} {path} {answer.body[:200]!r}")
        return answer

    def _expect(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.bad.append(otherwise)


def _blobs(manifest: Mapping[str, Any]) -> Iterator[str]:
    for layer in manifest.get("layers") or manifest.get("fsLayers", ()):
        yield layer.get("digest") or layer["blobSum"]
    if "config" in manifest:
        yield manifest["config"]["digest"]
