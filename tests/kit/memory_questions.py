"""Questions about images, to one process of a proxy without a socket; none of them changes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from proxy.catalog.routing import Routes, Standby
from proxy.manifests.preview import Preview
from proxy.manifests.question import Reach, Sources
from proxy.manifests.questions import Questions
from proxy.oci.headers.accept import Accept
from proxy.oci.negotiation import Policy
from proxy.oci.reference import Digest, Repository, Tag
from proxy.telemetry import trace
from proxy.upstream.dry_run import DryRunUpstream
from tests.kit.manifest_kinds import KEY
from tests.kit.manifest_world import AMD64

if TYPE_CHECKING:
    from proxy.manifests.serve import Representation
    from tests.kit.images import Content
    from tests.kit.manifest_world import ManifestWorld

NAME: Final = "library/cargo"
CARGO: Final = Repository("docker.io", NAME, "cargo")
ONE: Final = Tag("1")
ACCESS: Final = {"mode": "open"}


def questions_of(world: ManifestWorld, asked: list[tuple[str, str, str | None]]) -> Questions:
    """Questions about `world`; those about access are `asked`."""

    def access(repository: str, tag: str, user: str | None) -> dict[str, Any]:
        asked.append((repository, tag, user))
        return dict(ACCESS)

    sources = Sources(
        layers=[world.layer],
        derived=world.derived,
        store=world.store,
        reach=lambda: Reach(
            {
                "docker.io": DryRunUpstream(world.upstream),
                "quay.io": DryRunUpstream(world.other_upstream),
            },
            Standby(),
        ),
        head_first=world.head_first,
        check_layers=world.measuring.check,
        lifetimes=world.lifetimes,
        policy=Policy(AMD64),
        key=KEY,
        platforms=[AMD64],
        max_children=8,
        max_depth=3,
        max_input=world.max_input,
        max_unpacked=world.max_unpacked,
        clock=world.clock,
    )
    names = {"docker.io": "docker.io", "quay.io": "quay.io"}
    routes = Routes(names, default="docker.io", hubs=frozenset({"docker.io"}))
    return Questions(routes, Preview(sources), access)


async def explain(world: ManifestWorld, image: str = "cargo:1", **asked: Any) -> dict[str, Any]:
    """The answer, which has changed nothing."""
    before = changeable(world)
    said = await questions_of(world, []).explain(image, **asked)
    assert changeable(world) == before
    return said


async def inspect(world: ManifestWorld, image: str = "cargo:1") -> dict[str, Any]:
    """The answer, which has changed nothing."""
    before = changeable(world)
    said = await questions_of(world, []).inspect(image)
    assert changeable(world) == before
    return said


def changeable(world: ManifestWorld) -> object:
    """All that a request may change."""
    volume = world.store.volume
    writes = {name: n for name, n in world.layer.calls.items() if not name.startswith("look")}
    asked = (len(world.upstream.asked), len(world.other_upstream.asked))
    return dict(world.derived.stored), writes, asked, set(volume.blobs), list(world.store.used)


async def pull(world: ManifestWorld, accept: Accept, tag: Tag = ONE) -> Representation:
    """What a client with this `accept` gets."""
    trace.begin()
    return await world.manifests.by_tag(CARGO, tag, accept)


async def store(world: ManifestWorld, content: Content, tag: Tag = ONE) -> None:
    """Have a tag and its manifest stored, and no more of the image."""
    world.upstream.push(content, tag)
    await pull(world, Accept.parse(("*/*", content.media_type)), tag)


async def store_layer(world: ManifestWorld, digest: Digest) -> None:
    """Pull a layer as a client does."""
    trace.begin()
    source = await world.blobs.open(CARGO, digest)
    offset = 0
    while offset < source.size:
        offset += len(await source.read(offset, source.size - offset))
    source.close()
    # Until nothing of the pull is written any more.
    while world.flights._tasks:
        await asyncio.wait(list(world.flights._tasks))
