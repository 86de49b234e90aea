"""Section 4: images, by tag and by digest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from proxy.oci.mediatype import ARTIFACT_MANIFESTS, MediaType
from tests.integration.quirks.quirk import (
    DOCKER_1_8,
    MODERN,
    Quirk,
    World,
    manifest,
    refused,
    schema1,
    served,
)
from tests.integration.quirks.stored_images import (
    IMAGE,
    ROWS,
    VARIANTS,
    Row,
    artifact_manifest,
    index_of,
    platform_of,
    with_member,
)
from tests.kit import images

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.quirks.quirk import Wanted
    from tests.kit.images import Content
    from tests.kit.proxy import Answer

PI: Final = {name: images.oci(name) for name in ("v5", "v6", "v7")}
DOCKER_1_13: Final = (MediaType.V2S1_SIGNED, MediaType.V2S2, MediaType.DOCKER_LIST)


def _push(content: Content, label: str = "") -> Callable[[World], None]:
    return lambda world: world.push(replace(content, media_type=label or content.media_type))


def _expected(row: Row, client: str) -> Wanted:
    match row.expected.get(client, "stored"):
        case "stored":
            return served(row.content.manifest, row.stored_type)
        case "v2s1_signed":
            return schema1()
        case "404":
            return refused(404, "MANIFEST_UNKNOWN")
        case other:
            return served(media_type=MediaType[other.upper()])


async def _by_digest(world: World, answer: Answer) -> None:
    """What a digest names is these bytes, for everybody."""
    if answer.status == 200:
        again = await world.proxy.get(manifest(answer.digest))
        assert (again.status, again.body) == (200, answer.body)


def _row(row: Row) -> Quirk:
    return Quirk(
        content=_push(row.content, row.label),
        ask=manifest(),
        wanted=_expected(row, MODERN),
        old=_expected(row, DOCKER_1_8),
        then=_by_digest,
    )


def _bytes(content: Content) -> Quirk:
    """By digest, whatever is valid to the registry is bytes."""
    return Quirk(
        content=_push(content),
        ask=manifest(content.digest),
        wanted=served(content.manifest, content.media_type),
    )


def _artifact(media_type: str) -> Quirk:
    content = artifact_manifest(media_type)

    async def for_a_client_that_names_it(world: World, _answer: Answer) -> None:
        for reference in ("1", content.digest):
            answer = await world.proxy.get(manifest(reference), Accept=(IMAGE, media_type))
            served(content.manifest, media_type)(answer)

    return Quirk(
        content=_push(content),
        ask=manifest(),
        wanted=refused(404, "MANIFEST_UNKNOWN", media_type),
        old=served(content.manifest, media_type),
        then=for_a_client_that_names_it,
    )


async def _the_baseline_first(world: World, answer: Answer) -> None:
    if answer.headers["Content-Type"] == MediaType.V2S1_SIGNED:
        newest = json.loads(VARIANTS["v1"].manifest)["layers"][-1]["digest"]
        assert newest in [layer["blobSum"] for layer in json.loads(answer.body)["fsLayers"]]
    listed = await world.proxy.get(manifest(), Accept=DOCKER_1_13)
    variants = [x["platform"].get("variant") for x in json.loads(listed.body)["manifests"]]
    assert variants == [None, "v2", "v3"]


async def _a_pi_gets_its_own(world: World, _answer: Answer) -> None:
    listed = await world.proxy.get(manifest(), Accept=DOCKER_1_13)
    entries = json.loads(listed.body)["manifests"]
    assert [x["platform"] for x in entries] == [
        platform_of("linux/amd64"),
        platform_of("linux/arm/v7"),
    ]


_ARM: Final = index_of(
    (VARIANTS["v1"], platform_of("linux/amd64")),
    *((PI[name], platform_of(f"linux/arm/{name}")) for name in ("v5", "v7", "v6")),
)
_DEEP: Final = with_member("x", b"[" * 9000 + b"]" * 9000)

QUIRKS: Final = {
    **{name: _row(row) for name, row in ROWS.items()},
    "newest-cpu-first": replace(_row(ROWS["newest-cpu-first"]), then=_the_baseline_first),
    "arm-v7": Quirk(
        content=_push(_ARM),
        ask=manifest(),
        wanted=served(_ARM.manifest, _ARM.media_type),
        old=schema1(),
        then=_a_pi_gets_its_own,
    ),
    "json-deep": _bytes(_DEEP),
    **{
        f"{name}-by-digest": _bytes(ROWS[name].content) for name in ROWS if name.startswith("json-")
    },
    **{
        f"artifact-manifest-{name}": _artifact(media_type)
        for name, media_type in zip(("oci", "oras"), ARTIFACT_MANIFESTS, strict=True)
    },
}
