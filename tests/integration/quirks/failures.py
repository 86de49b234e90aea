"""Section 1: one bad thing takes nothing else away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.integration.quirks.quirk import (
    NAME,
    Quirk,
    World,
    blob,
    manifest,
    schema1,
    served,
    stored,
)
from tests.kit import images
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.kit.proxy import Answer

# What is pulled beside the bad thing.
HEALTHY: Final = images.docker("healthy")
LAYER: Final = images.noise("layer", 300_000)


def _content(world: World) -> None:
    world.push(HEALTHY)
    world.upstream.add_blob(NAME, LAYER)


async def _ask_for_a_layer_as_a_manifest(world: World) -> None:
    path = manifest(images.digest(LAYER))
    world.fault("*", path, Fault(status=500))
    for _ in range(20):
        answer = await world.proxy.get(path)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")


async def _ask_for_an_empty_manifest(world: World) -> None:
    world.fault("*", manifest("empty"), Fault(status=500))
    for _ in range(20):
        await world.proxy.get(manifest("empty"))


async def _ask_for_referrers(world: World, status: int) -> None:
    world.fault("*", "*/referrers/*", Fault(status=status))
    for number in range(25):
        await world.proxy.get(f"/v2/library/{number}/referrers/{HEALTHY.digest}")


async def _other_repositories_are_asked(world: World, _answer: Answer) -> None:
    """Images that nobody has pulled yet, in the same repository and in others."""
    for number in range(5):
        other = images.docker(f"other {number}")
        for name in (NAME, f"library/other-{number}"):
            world.push(other, f"other-{number}", name)
            answer = await world.proxy.get(manifest(f"other-{number}", name), Accept="*/*")
            assert (answer.status, answer.body) == (200, other.manifest)


def _beside(quirk: Callable[[World], Awaitable[None]]) -> Quirk:
    return Quirk(
        content=_content,
        quirk=quirk,
        ask=manifest(),
        wanted=stored(HEALTHY),
        old=schema1(),
        then=_other_repositories_are_asked,
    )


def _first_byte_is_late(world: World) -> None:
    world.fault("GET", blob(LAYER), Fault(delay=1.5), times=1)


async def _one_was_slow(world: World, _answer: Answer) -> None:
    await asyncio.gather(*(world.proxy.get(blob(LAYER)) for _ in range(3)))
    await _other_repositories_are_asked(world, _answer)


def _hiccup(world: World) -> None:
    world.fault("GET", blob(LAYER), Fault(status=503), times=1)


QUIRKS: Final = {
    "layer-as-manifest": _beside(_ask_for_a_layer_as_a_manifest),
    "empty-manifest": _beside(_ask_for_an_empty_manifest),
    "referrers-501": _beside(lambda world: _ask_for_referrers(world, 501)),
    "referrers-429": _beside(lambda world: _ask_for_referrers(world, 429)),
    "late-first-byte": Quirk(
        content=_content,
        quirk=_first_byte_is_late,
        upstream={"answer_timeout": 0.5},
        ask=blob(LAYER),
        retries=True,
        wanted=served(LAYER),
        then=_one_was_slow,
    ),
    "storage-hiccup": Quirk(content=_content, quirk=_hiccup, ask=blob(LAYER), wanted=served(LAYER)),
}
