"""Manifests from upstream: fetched once, verified, and granted to one repository."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import FailureContext, ManifestUnknown, UpstreamInvalid, UpstreamUnavailable
from proxy.oci.reference import Digest, Repository
from proxy.ports import Fetched
from proxy.ports.catalog import Grant, Proof
from tests.kit import images
from tests.kit.memory_upstream import Script
from tests.kit.pulls import ONE, manifest_of

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
QUAY: Final = Repository("quay.io", "library/cargo", "quay.io/library/cargo")
CONTENT: Final = images.docker()
MANIFEST: Final = manifest_of(CONTENT)


async def grant_of(world: ManifestWorld, repository: Repository) -> Grant | None:
    return (await world.layer.look_manifest(str(repository), MANIFEST.digest)).grant


async def test_a_manifest_is_fetched_once_and_found_after_that(world: ManifestWorld) -> None:
    world.upstream.push(CONTENT)
    found = await asyncio.gather(*(world.fetches.get(CARGO, MANIFEST.digest) for _ in range(20)))
    assert found == [MANIFEST] * 20
    world.restart()
    assert await world.fetches.get(CARGO, MANIFEST.digest) == MANIFEST
    assert world.asked() == ["manifest"]
    assert await grant_of(world, CARGO) == Grant(Proof.DELIVERED, MANIFEST.media_type)


async def test_another_repository_of_the_upstream_has_it_by_a_head_which_is_no_pull(
    world: ManifestWorld,
) -> None:
    world.upstream.push(CONTENT)
    await world.fetches.get(CARGO, MANIFEST.digest)
    world.asked()
    assert await world.fetches.get(OTHER, MANIFEST.digest) == MANIFEST
    assert world.asked() == ["manifest_head"]
    assert await grant_of(world, OTHER) == Grant(Proof.HEAD, MANIFEST.media_type)


async def test_another_upstream_has_to_deliver_the_bytes_itself(world: ManifestWorld) -> None:
    world.upstream.push(CONTENT)
    await world.fetches.get(CARGO, MANIFEST.digest)
    with pytest.raises(ManifestUnknown):
        await world.fetches.get(QUAY, MANIFEST.digest)
    assert [question.kind for question in world.other_upstream.asked] == ["manifest"]
    assert await grant_of(world, QUAY) is None


@pytest.mark.parametrize("why", ["no length", "another length", "another digest", "405", "type"])
async def test_a_head_that_proves_nothing_is_settled_by_a_get(
    world: ManifestWorld, why: str
) -> None:
    world.upstream.push(CONTENT)
    await world.fetches.get(CARGO, MANIFEST.digest)
    world.asked()
    stored = world.upstream.manifests[MANIFEST.digest]
    real = type(world.upstream).manifest

    async def whole(name: str, reference: Digest) -> Fetched:
        world.upstream.manifests[MANIFEST.digest] = stored
        return await real(world.upstream, name, reference)

    match why:
        case "no length":
            world.upstream.names_sizes = False
        case "another length":
            changed = Fetched(stored.raw + b" ", stored.content_type, stored.digest)
            world.upstream.manifests[MANIFEST.digest] = changed
        case "another digest":
            changed = Fetched(stored.raw, stored.content_type, Digest.of(b"another"))
            world.upstream.manifests[MANIFEST.digest] = changed
        case "type":
            changed = Fetched(stored.raw, images.OCI.index, stored.digest)
            world.upstream.manifests[MANIFEST.digest] = changed
        case _:
            error = UpstreamUnavailable("405", context=FailureContext(status=405))
            world.upstream.scripts.append(Script(error=error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(world.upstream), "manifest", lambda _self, name, digest: whole(name, digest)
        )
        assert await world.fetches.get(OTHER, MANIFEST.digest) == MANIFEST
    assert world.asked() == ["manifest_head", "manifest"]
    assert await grant_of(world, OTHER) == Grant(Proof.DELIVERED, MANIFEST.media_type)


async def test_an_upstream_that_cannot_be_reached_proves_nothing(world: ManifestWorld) -> None:
    world.upstream.push(CONTENT)
    await world.fetches.get(CARGO, MANIFEST.digest)
    world.upstream.scripts.append(Script(error=UpstreamUnavailable("timeout")))
    with pytest.raises(UpstreamUnavailable):
        await world.fetches.get(OTHER, MANIFEST.digest)
    assert await grant_of(world, OTHER) is None


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"", images.DOCKER.manifest),
        (b"<html>", "text/html"),
        (CONTENT.manifest + b" ", images.DOCKER.manifest),
        (CONTENT.manifest, images.OCI.index),
        (b"[" * 100_000, images.DOCKER.manifest),
    ],
    ids=["empty", "html", "longer", "type", "nested"],
)
async def test_what_is_not_what_the_digest_names_is_neither_served_nor_stored(
    world: ManifestWorld, raw: bytes, content_type: str
) -> None:
    world.upstream.manifests[MANIFEST.digest] = Fetched(raw, content_type, MANIFEST.digest)
    with pytest.raises(UpstreamInvalid, match=r"docker\.io sent an unusable manifest"):
        await world.fetches.get(CARGO, MANIFEST.digest)
    assert world.layer.batches == []
    world.upstream.push(CONTENT)
    assert await world.fetches.get(CARGO, MANIFEST.digest) == MANIFEST


async def test_a_tag_s_bytes_are_those_of_the_digest_that_came_with_them(
    world: ManifestWorld,
) -> None:
    world.upstream.manifests[ONE] = Fetched(
        CONTENT.manifest, CONTENT.media_type, Digest.of(b"another")
    )
    with pytest.raises(UpstreamInvalid):
        await world.fetches.fetch(CARGO, ONE, tag=ONE)
    world.upstream.manifests[ONE] = Fetched(CONTENT.manifest, CONTENT.media_type, None)
    assert await world.fetches.fetch(CARGO, ONE, tag=ONE) == MANIFEST
    entry = (await world.layer.look_tag(str(CARGO), ONE)).tag
    assert entry is not None
    assert entry.digest == MANIFEST.digest
