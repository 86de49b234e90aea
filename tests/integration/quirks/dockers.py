"""Section 5: what old and new dockers do beside pulling."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.oci.mediatype import MediaType
from tests.integration.quirks.quirk import (
    NAME,
    Quirk,
    World,
    blob,
    manifest,
    refused,
    schema1,
    served,
    stored,
)
from tests.kit import images
from tests.kit.images import DOCKER
from tests.kit.manifest_kinds import chart, unsigned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.kit.proxy import Answer

IMAGE: Final = images.docker("dockers")
SCHEMA1: Final = unsigned()
_OPAQUE: Final = images.layer({"srv/kept": b"kept\n", "srv/.wh..wh..opq": b""})
OPAQUE: Final = images.image(DOCKER, [*images.two_layers("opaque"), _OPAQUE])
IMAGES: Final = f"/v1/repositories/{NAME}/images"
# Each with all lines that it sends.
DOCKER_1_13: Final = (MediaType.V2S1_SIGNED, MediaType.V2S2, MediaType.DOCKER_LIST)
NAME_SCHEMA1: Final = {
    "docker 28": (
        *(MediaType.V2S2, MediaType.DOCKER_LIST, MediaType.V2S1_SIGNED, MediaType.V2S1),
        *(MediaType.OCI_MANIFEST, MediaType.OCI_INDEX),
    ),
}
NAME_ANYTHING: Final = {
    "docker 29": (MediaType.V2S2, MediaType.DOCKER_LIST, MediaType.OCI_INDEX, "*/*"),
    "containerd 2": (f"{MediaType.V2S2}, {MediaType.OCI_MANIFEST}, {MediaType.OCI_INDEX}, */*",),
    "crane": (", ".join(MediaType),),
}


async def _commands_name_the_versions(world: World, _answer: Answer) -> None:
    program = Path(sys.executable).with_name("lighterage")
    process = await asyncio.create_subprocess_exec(
        program,
        *("client-config", "docker", "--address", "https://mirror.example"),
        cwd=world.data,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, remarks = await process.communicate()
    assert process.returncode == 0
    assert b"https://mirror.example" in printed
    for version in (b"1.6", b"1.7", b"1.8", b"1.10"):
        assert version in remarks


async def _docker_1_13_is_refused(world: World) -> None:
    answer = await world.proxy.get(manifest(), Accept=DOCKER_1_13)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


async def _tls_is_tried_first(world: World) -> None:
    context = ssl.create_default_context()
    for _ in range(3):
        try:
            await asyncio.open_connection(*world.proxy.address, ssl=context)
        except (ssl.SSLError, ConnectionError):
            continue
        raise AssertionError("a plain listener spoke TLS")


async def _is_logged_once(world: World, _answer: Answer) -> None:
    await world.proxy.line("client.sent_tls")
    assert not [line for line in world.proxy.log() if line.get("status") == 400]


def _only_schema1(accepts: Mapping[str, tuple[str, ...]]) -> Quirk:
    """An image that is stored only as schema 1, for clients that name it and cannot read it."""

    async def then(world: World, _answer: Answer) -> None:
        for accept in accepts.values():
            answer = await world.proxy.get(manifest(), Accept=accept)
            served(media_type=MediaType.V2S2)(answer)

    return Quirk(
        content=lambda world: world.push(SCHEMA1),
        ask=manifest(),
        wanted=served(media_type=MediaType.V2S2),
        old=schema1(),
        then=then,
    )


QUIRKS: Final = {
    "mirror-unused": Quirk(
        content=lambda world: world.push(IMAGE),
        ask=manifest(name=f"docker.io/{NAME}"),
        wanted=stored(IMAGE),
        old=schema1(),
        then=_commands_name_the_versions,
    ),
    "v1-after-refusal": Quirk(
        content=lambda world: world.push(chart()),
        quirk=_docker_1_13_is_refused,
        ask=IMAGES,
        wanted=refused(410, "UNSUPPORTED", f"{NAME}:1: ", "config"),
    ),
    "v1-without-refusal": Quirk(
        content=lambda world: world.push(IMAGE),
        ask=IMAGES,
        wanted=refused(410, "UNSUPPORTED", "manifests/TAG"),
    ),
    "tls-first": Quirk(
        content=lambda world: world.push(IMAGE),
        quirk=_tls_is_tried_first,
        ask=manifest(),
        wanted=stored(IMAGE),
        old=schema1(),
        then=_is_logged_once,
    ),
    "opaque-whiteout": Quirk(
        content=lambda world: world.push(OPAQUE),
        ask=blob(_OPAQUE.blob),
        wanted=served(_OPAQUE.blob),
    ),
    "schema1-named": _only_schema1(NAME_SCHEMA1),
    "schema1-by-wildcard": _only_schema1(NAME_ANYTHING),
}
