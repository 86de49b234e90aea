"""Conversions that read layers: bounded, done once, and going on when nobody waits for them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import (
    ConversionPending,
    ManifestUnknown,
    Overloaded,
    UpstreamUnavailable,
)
from proxy.manifests import pending
from proxy.oci.headers.accept import Accept
from proxy.oci.mediatype import MediaType
from proxy.oci.negotiation import Rule
from proxy.oci.reference import Digest, Repository, Tag
from proxy.telemetry import trace
from tests.kit import images, schema1
from tests.kit.memory_upstream import Script

if TYPE_CHECKING:
    from proxy.manifests.serve import Representation
    from tests.kit.images import Content
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
ONE: Final = Tag("1")
V2S2: Final = Accept.parse((MediaType.V2S2,))
V2S2_OR_ANYTHING: Final = Accept.parse((f"{MediaType.V2S2}, {MediaType.OCI_MANIFEST}, */*",))
BOTH: Final = Accept.parse((MediaType.V2S2, MediaType.V2S1_SIGNED))
STORED: Final = Accept.parse((MediaType.V2S1_SIGNED, MediaType.V2S1))


class Client:
    """One that asks. Fits Holder."""

    def __init__(self, client: str) -> None:
        self.client = client

    def give_way(self) -> None:
        raise AssertionError("a client's connection is not what a conversion holds")


def old(*layers: str) -> Content:
    """An image with a layer for each word."""
    return schema1.old_docker([images.layer({"srv/file": x.encode()}).blob for x in layers])


async def get(
    world: ManifestWorld,
    accept: Accept = V2S2,
    repository: Repository = CARGO,
    *,
    tag: Tag = ONE,
    client: str = "",
) -> Representation:
    trace.begin(Client(client) if client else None)
    return await world.manifests.by_tag(repository, tag, accept)


async def offer(world: ManifestWorld, content: Content, tag: Tag = ONE) -> None:
    """Have an image whose manifest is known already: what is asked next is a layer."""
    world.upstream.push(content, tag)
    await get(world, STORED, tag=tag)


def impatient(world: ManifestWorld) -> asyncio.Event:
    """Nobody waits; the event is for what arrives when it is set."""
    world.conversion_timeout = 0.0
    world.restart()
    return asyncio.Event()


async def until_blobs_are_asked_for(world: ManifestWorld, count: int) -> None:
    """Return when so many were; what comes before is partly done in threads."""
    async with asyncio.timeout(60):
        while world.upstream.count("blob") < count:  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(0.001)


async def until_idle(world: ManifestWorld) -> None:
    """Return when nothing runs in the background any more."""
    async with asyncio.timeout(60):
        while world.flights._tasks:
            await asyncio.wait(list(world.flights._tasks))


async def test_a_conversion_that_takes_long_goes_on_and_the_next_try_succeeds(
    world: ManifestWorld,
) -> None:
    gate = impatient(world)
    await offer(world, old("a", "b"))
    world.upstream.scripts.append(Script(gate=gate))
    for accept in (V2S2, V2S2_OR_ANYTHING):
        with pytest.raises(ConversionPending) as caught:
            await get(world, accept)
        assert caught.value.retry_after
    gate.set()
    await until_idle(world)
    found = await get(world)
    assert found.manifest.media_type == MediaType.V2S2
    assert found.lasting
    assert world.upstream.count("blob") == 2


async def test_a_client_that_reads_schema_1_gets_it_meanwhile(world: ManifestWorld) -> None:
    """For now only: nothing remembers it."""
    gate = impatient(world)
    content = old("a")
    await offer(world, content)
    world.upstream.scripts.append(Script(gate=gate))
    found = await get(world, BOTH)
    assert (found.manifest.raw, found.rule) == (content.manifest, Rule.NAMED)
    assert not found.lasting
    gate.set()
    await until_idle(world)
    found = await get(world, BOTH)
    assert (found.manifest.media_type, found.lasting) == (MediaType.V2S2, True)


async def test_all_who_ask_wait_for_one_conversion(world: ManifestWorld) -> None:
    world.upstream.push(old("a", "b"), ONE)
    found = await asyncio.gather(*(get(world) for _ in range(20)))
    assert len({each.manifest.raw for each in found}) == 1
    assert world.upstream.count("blob") == 2


async def test_beyond_the_places_the_answer_is_that_there_is_none(
    world: ManifestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads schema 1 gets that; the others get an error that says when to return."""
    monkeypatch.setattr(pending, "_WAITING", 1)
    world.restart()
    gate = asyncio.Event()
    tags = [Tag(f"{number}") for number in range(3)]
    for tag in tags:
        await offer(world, old(tag), tag)
    world.upstream.scripts.append(Script(gate=gate))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(get(world, tag=tags[0], client="0"))
        await until_blobs_are_asked_for(world, 1)
        world.upstream.scripts.append(Script(gate=gate))
        second = group.create_task(get(world, tag=tags[1], client="1"))
        await until_blobs_are_asked_for(world, 2)
        with pytest.raises(Overloaded, match="converting as many images as it may"):
            await get(world, tag=tags[2], client="2")
        assert not (await get(world, BOTH, tag=tags[2])).lasting
        gate.set()
    assert first.result().lasting
    assert second.result().lasting
    assert (await get(world, tag=tags[2])).manifest.media_type == MediaType.V2S2


async def test_who_has_most_conversions_gives_way(
    world: ManifestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "_WAITING", 1)
    gate = impatient(world)
    tags = [Tag(f"{number}") for number in range(3)]
    for tag in tags:
        await offer(world, old(tag), tag)
    for number, client in enumerate(("greedy", "greedy", "modest"), start=1):
        world.upstream.scripts.append(Script(gate=gate))
        with pytest.raises(ConversionPending):
            await get(world, tag=tags[number - 1], client=client)
        await until_blobs_are_asked_for(world, number)
    gate.set()
    await until_idle(world)
    made = {record.origin.source for record in world.derived.stored.values()}
    sources = [world.upstream.manifests[tag].digest for tag in tags]
    assert made == {sources[1], sources[2]}


async def test_conversions_count_as_the_clients_cold_requests(world: ManifestWorld) -> None:
    world.cold = 1
    world.restart()
    gate = asyncio.Event()
    await offer(world, old("a"))
    await offer(world, old("b"), two := Tag("2"))
    world.upstream.scripts.append(Script(gate=gate))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(get(world, client="one"))
        await until_blobs_are_asked_for(world, 1)
        with pytest.raises(Overloaded, match="as many requests for uncached content as it may"):
            await get(world, tag=two, client="one")
        assert (await get(world, tag=two, client="another")).lasting
        gate.set()
    assert first.result().lasting
    # What is known already is free.
    assert (await get(world, client="one")).lasting


@pytest.mark.parametrize("limit", ["max_input", "max_unpacked"])
async def test_the_layers_of_one_image_are_bounded_together(
    world: ManifestWorld, limit: str
) -> None:
    content = old("a", "b")
    facts = [schema1.facts_of(blob) for blob in content.blobs.values()]
    name = "size" if limit == "max_input" else "unpacked"
    total = sum(getattr(each, name) for each in facts)
    for allowed, is_served in ((total - 1, False), (total, True)):
        setattr(world, limit, allowed)
        world.restart()
        world.upstream.push(content, ONE)
        if is_served:
            assert (await get(world)).manifest.media_type == MediaType.V2S2
            continue
        with pytest.raises(ManifestUnknown, match="which is the limit"):
            await get(world)
        assert world.derived.stored == {}


async def test_what_is_refused_for_its_content_is_not_read_again(world: ManifestWorld) -> None:
    world.upstream.push(schema1.old_docker([b"no archive"]), ONE)
    for _ in range(3):
        with pytest.raises(ManifestUnknown, match="is neither gzip nor a tar archive"):
            await get(world)
    # Before the layer was opened, and after that.
    assert world.layer.calls["look_layer"] == 2


async def test_a_layer_that_is_missing_may_come_later(world: ManifestWorld) -> None:
    content = old("a", "b")
    world.upstream.push(content, ONE)
    missing = Digest(list(content.blobs)[1])
    blob = world.upstream.blobs.pop(missing)
    with pytest.raises(ManifestUnknown, match=f"the upstream has no layer {missing}"):
        await get(world)
    world.upstream.blobs[missing] = blob
    assert (await get(world)).manifest.media_type == MediaType.V2S2


async def test_an_upstream_that_fails_is_no_refusal(world: ManifestWorld) -> None:
    world.upstream.push(old("a"), ONE)
    await get(world, BOTH)
    await offer(world, old("b"), two := Tag("2"))
    world.upstream.scripts += [Script(error=UpstreamUnavailable("down"))] * 4
    with pytest.raises(UpstreamUnavailable):
        await get(world, tag=two)
    world.upstream.scripts.clear()
    assert (await get(world, tag=two)).manifest.media_type == MediaType.V2S2


async def test_another_repository_proves_that_it_has_the_layer(world: ManifestWorld) -> None:
    """What is known of a layer tells nothing to who has not got it."""
    content = old("a")
    world.upstream.push(content, ONE)
    await get(world)
    private = Digest(next(iter(content.blobs)))
    quay = Repository("quay.io", "a/b", "quay.io/a/b")
    world.other_upstream.push(content, ONE)
    del world.other_upstream.blobs[private]
    with pytest.raises(ManifestUnknown, match="the upstream has no layer"):
        await get(world, V2S2, quay)
    # Of the same upstream a claim is enough, and nothing is asked for.
    world.asked()
    assert (await get(world, V2S2, OTHER)).manifest.media_type == MediaType.V2S2
    assert not [kind for kind in world.asked() if kind.startswith("blob")]


async def test_a_layer_that_occurs_twice_is_read_once(world: ManifestWorld) -> None:
    world.upstream.push(old("a", "a"), ONE)
    found = await get(world)
    assert len(json.loads(found.manifest.raw)["layers"]) == 3
    assert world.upstream.count("blob") == 1


async def test_a_damaged_config_is_made_again_without_the_layers(world: ManifestWorld) -> None:
    content = old("a")
    world.upstream.push(content, ONE)
    config = Digest(json.loads((await get(world)).manifest.raw)["config"]["digest"])
    record = world.derived.stored[config]
    assert record.content is not None
    raw = record.content.raw
    world.derived.stored[config] = type(record)(config, None, record.origin, record.repositories)
    world.upstream.blobs.clear()
    world.restart()
    source = await world.blobs.open(CARGO, config)
    assert await source.read(0, len(raw)) == raw
    assert world.derived.stored[config] == record


async def test_a_history_that_is_none_costs_no_layer(world: ManifestWorld) -> None:
    world.upstream.push(schema1.of_steps(["{"], [b"x"]), ONE)
    with pytest.raises(ManifestUnknown, match="is not a JSON object"):
        await get(world)
    assert world.upstream.count("blob") == 0
