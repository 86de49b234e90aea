"""Answers to requests for manifests: stored, chosen, or made; and what was handed out stays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import ManifestUnknown, StorageFailure, StoreError, UpstreamUnavailable
from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import Index, Manifest, Schema1, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.negotiation import Rule
from proxy.oci.reference import Digest, Repository
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome
from tests.kit import images
from tests.kit import manifest_kinds as kinds
from tests.kit.memory_upstream import Script
from tests.kit.pulls import ONE, manifest_of

if TYPE_CHECKING:
    from proxy.manifests.serve import Representation
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
NONE: Final = Accept.parse(())


def accept(*media_types: str) -> Accept:
    return Accept.parse((", ".join(media_types),))


async def by_tag(
    world: ManifestWorld, asked: Accept, repository: Repository = CARGO
) -> Representation:
    trace.begin()
    return await world.manifests.by_tag(repository, ONE, asked)


async def by_digest(
    world: ManifestWorld, digest: Digest, repository: Repository = CARGO, asked: Accept = NONE
) -> Representation:
    trace.begin()
    return await world.manifests.by_digest(repository, digest, asked)


# -- by tag --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [images.docker(), images.oci(), images.docker_list(), images.oci_index(), kinds.unsigned()],
    ids=["v2s2", "oci", "list", "index", "schema1"],
)
async def test_a_client_that_names_the_stored_type_gets_the_stored_bytes(
    world: ManifestWorld, content: images.Content
) -> None:
    world.upstream.push(content, ONE)
    for outcome in (Outcome.MISS, Outcome.HIT):
        found = await by_tag(world, accept(content.media_type))
        assert found.manifest.raw == content.manifest
        assert found.converted_from is None
        assert found.named == manifest_of(content).digest
        assert trace.current().outcome is outcome
    digest = manifest_of(content).digest
    assert world.manifests.fresh(CARGO, ONE) == digest
    assert world.manifests.remembers(CARGO, digest)


async def test_an_oci_image_is_made_a_docker_image_once(world: ManifestWorld) -> None:
    source = world.upstream.push(images.oci(), ONE)
    first = await by_tag(world, accept(MediaType.V2S2))
    assert first.manifest.media_type == MediaType.V2S2
    assert first.converted_from == first.named == source.digest
    assert world.derived.stored.keys() == {first.manifest.digest}
    record = world.derived.stored[first.manifest.digest]
    assert (record.origin.source, record.origin.target) == (source.digest, MediaType.V2S2)
    assert record.repositories == {str(CARGO)}
    world.restart()
    world.asked()
    assert (await by_tag(world, accept(MediaType.V2S2))).manifest.raw == first.manifest.raw
    assert world.asked() == []


async def test_schema_1_is_made_of_an_image_for_a_client_that_names_nothing(
    world: ManifestWorld,
) -> None:
    source = world.upstream.push(images.docker(), ONE)
    found = await by_tag(world, NONE)
    assert found.manifest.media_type == MediaType.V2S1_SIGNED
    assert found.converted_from == source.digest
    again = await by_digest(world, found.manifest.digest)
    assert again.manifest.raw == found.manifest.raw
    assert again.converted_from == source.digest
    # The repository's name is inside.
    other = await by_tag(world, NONE, OTHER)
    assert other.manifest.digest != found.manifest.digest


async def test_unsigned_schema_1_is_signed_for_a_client_that_needs_it_and_stays_as_it_is(
    world: ManifestWorld,
) -> None:
    source = world.upstream.push(kinds.unsigned(), ONE)
    found = await by_tag(world, accept(MediaType.V2S1_SIGNED))
    assert found.manifest.media_type == MediaType.V2S1_SIGNED
    assert found.manifest.digest == source.digest
    for asked, media_type in (
        (NONE, MediaType.V2S1_SIGNED),
        (accept(MediaType.V2S1_SIGNED), MediaType.V2S1_SIGNED),
        (accept(MediaType.V2S1), MediaType.V2S1),
        (accept("*/*"), MediaType.V2S1),
    ):
        by_name = await by_digest(world, source.digest, asked=asked)
        assert by_name.manifest.media_type == media_type
    assert world.derived.stored == {}


async def test_an_index_is_converted_with_its_children_which_can_be_pulled_then(
    world: ManifestWorld,
) -> None:
    world.upstream.push(images.oci_index(), ONE)
    found = await by_tag(world, accept(MediaType.DOCKER_LIST, MediaType.V2S2))
    assert isinstance(found.manifest, Index)
    assert found.manifest.media_type == MediaType.DOCKER_LIST
    (child,) = found.manifest.manifests
    assert child.media_type == MediaType.V2S2
    world.restart()
    pulled = await by_digest(world, child.digest)
    assert pulled.manifest.digest == child.digest
    assert pulled.converted_from is not None


async def test_one_platform_is_chosen_for_a_client_that_names_no_index(
    world: ManifestWorld,
) -> None:
    content = images.oci_index()
    world.upstream.push(content, ONE)
    stored = await by_tag(world, accept(MediaType.OCI_MANIFEST))
    assert stored.manifest.raw == content.children[0].manifest
    assert stored.converted_from == manifest_of(content).digest
    made = await by_tag(world, accept(MediaType.V2S2))
    assert made.manifest.media_type == MediaType.V2S2
    assert made.converted_from == stored.manifest.digest


async def test_an_index_without_the_platform_is_refused_with_the_reason(
    world: ManifestWorld,
) -> None:
    arm = images.oci_index().children[1]
    world.upstream.push(images.index(images.OCI, {"arm64": arm}), ONE)
    with pytest.raises(ManifestUnknown, match="linux/amd64"):
        await by_tag(world, accept(MediaType.V2S2))


async def test_a_child_that_the_upstream_has_not_is_a_refusal(world: ManifestWorld) -> None:
    content = images.oci_index()
    world.upstream.push(content, ONE)
    for child in content.children:
        del world.upstream.manifests[child.digest]
    with pytest.raises(ManifestUnknown, match="the upstream has no"):
        await by_tag(world, accept(MediaType.V2S2))
    # A client that also takes what is here gets that, and it is not the last word.
    found = await by_tag(world, accept(MediaType.V2S2, "*/*"))
    assert (found.manifest.raw, found.lasting) == (content.manifest, False)


async def test_what_nothing_can_be_made_of_is_refused_with_the_reason(
    world: ManifestWorld,
) -> None:
    zstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    world.upstream.push(kinds.with_layers(images.oci(), zstd), ONE)
    with pytest.raises(ManifestUnknown, match="zstd"):
        await by_tag(world, accept(MediaType.V2S2))
    assert world.derived.stored == {}


async def test_a_config_that_the_upstream_does_not_give_now_is_its_failure(
    world: ManifestWorld,
) -> None:
    world.upstream.push(images.docker(), ONE)
    await by_tag(world, accept(MediaType.V2S2))
    failure = UpstreamUnavailable("the registry is down")
    world.upstream.scripts += [Script(error=failure)] * 10
    with pytest.raises(UpstreamUnavailable):
        await by_tag(world, NONE)
    world.upstream.scripts.clear()
    assert (await by_tag(world, NONE)).manifest.media_type == MediaType.V2S1_SIGNED


async def test_a_config_that_does_not_exist_is_a_refusal(world: ManifestWorld) -> None:
    world.upstream.push(images.docker(), ONE)
    world.upstream.blobs.clear()
    with pytest.raises(ManifestUnknown, match="the upstream has no"):
        await by_tag(world, NONE)


async def test_requests_at_once_make_it_once(world: ManifestWorld) -> None:
    world.upstream.push(images.docker(), ONE)
    found = await asyncio.gather(*(by_tag(world, NONE) for _ in range(20)))
    assert len({each.manifest.raw for each in found}) == 1
    assert world.upstream.count("blob") == 1


async def test_what_cannot_be_recorded_is_not_served(
    world: ManifestWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upstream.push(images.oci(), ONE)

    async def fail(*_arguments: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.derived), "put", fail)
        with pytest.raises(StorageFailure, match="cannot be recorded"):
            await by_tag(world, accept(MediaType.V2S2))
    assert (await by_tag(world, accept(MediaType.V2S2))).manifest.media_type == MediaType.V2S2


# -- by digest -----------------------------------------------------------------------------------


async def test_a_digest_names_bytes_whatever_the_client_accepts(world: ManifestWorld) -> None:
    content = images.oci()
    digest = world.upstream.push(content).digest
    for asked in (NONE, accept(MediaType.V2S2), accept("text/html")):
        found = await by_digest(world, digest, asked=asked)
        assert (found.manifest.raw, found.rule) == (content.manifest, Rule.DIGEST)
        assert found.converted_from is None


async def test_a_digest_that_the_upstream_has_not_is_unknown(world: ManifestWorld) -> None:
    with pytest.raises(ManifestUnknown):
        await by_digest(world, Digest.of(b"unknown"))


async def test_a_derived_digest_is_pulled_only_where_it_was_handed_out(
    world: ManifestWorld,
) -> None:
    world.upstream.push(images.oci(), ONE)
    made = (await by_tag(world, accept(MediaType.V2S2))).manifest
    assert (await by_digest(world, made.digest)).manifest.raw == made.raw
    with pytest.raises(ManifestUnknown):
        await by_digest(world, made.digest, OTHER)
    await by_tag(world, accept(MediaType.V2S2), OTHER)
    assert (await by_digest(world, made.digest, OTHER)).manifest.raw == made.raw


async def lose_the_bytes(world: ManifestWorld, made: Manifest) -> None:
    """Leave the origin only, as where the bytes are damaged."""
    record = world.derived.stored[made.digest]
    world.derived.stored[made.digest] = replace(record, content=None)
    world.layer._layer._contents.clear()  # type: ignore[attr-defined]
    world.restart()


async def test_damaged_bytes_are_made_again_to_the_same_digest(world: ManifestWorld) -> None:
    world.upstream.push(images.oci(), ONE)
    made = (await by_tag(world, accept(MediaType.V2S2))).manifest
    await lose_the_bytes(world, made)
    found = await by_digest(world, made.digest)
    assert found.manifest.raw == made.raw
    stored = world.derived.stored[made.digest].manifest
    assert stored is not None
    assert stored.raw == made.raw


async def test_what_is_made_again_differently_is_never_served(world: ManifestWorld) -> None:
    world.upstream.push(images.oci(), ONE)
    made = (await by_tag(world, accept(MediaType.V2S2))).manifest
    await lose_the_bytes(world, made)
    record = world.derived.stored[made.digest]
    other = world.upstream.push(images.oci("other"))
    origin = replace(record.origin, source=other.digest)
    world.derived.stored[made.digest] = replace(record, origin=origin)
    with pytest.raises(ManifestUnknown):
        await by_digest(world, made.digest)


async def test_what_cannot_be_made_again_is_asked_of_the_upstream(world: ManifestWorld) -> None:
    world.upstream.push(images.docker(), ONE)
    made = (await by_tag(world, NONE)).manifest
    assert isinstance(made, Schema1)
    await lose_the_bytes(world, made)
    world.upstream.blobs.clear()
    world.store = type(world.store)()
    world.restart()
    with pytest.raises(ManifestUnknown):
        await by_digest(world, made.digest)


async def test_a_layer_that_lost_its_bytes_answers_from_the_derived_store(
    world: ManifestWorld,
) -> None:
    world.upstream.push(images.oci(), ONE)
    made = (await by_tag(world, accept(MediaType.V2S2))).manifest
    world.layer._layer._contents.clear()  # type: ignore[attr-defined]
    world.restart()
    found = await by_digest(world, made.digest)
    assert found.manifest.raw == made.raw
    assert read_manifest(found.manifest.raw, MediaType.V2S2).digest == made.digest
