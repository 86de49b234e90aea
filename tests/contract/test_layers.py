"""What every layer of the catalog does; what one leaves out, it says in its documentation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.derivation import Origin
from proxy.oci.layer import LayerFacts
from proxy.oci.reference import Digest, Tag
from proxy.ports.catalog import NOTHING, Batch, Claim, Grant, Listing, Proof, TagEntry
from tests.kit import images
from tests.kit.layers import CAPABILITIES, LAYERS, Opened
from tests.kit.pulls import CARGO, ELSEWHERE, IMAGE, INDEX, ONE, ORIGIN, OTHER, manifest_of, pull_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from proxy.oci.manifest import Manifest
    from tests.kit.layers import Capabilities

BLOB: Final = Digest.of(b"blob")
SHA512: Final = Digest("sha512:" + "ab" * 64)


@pytest.fixture(params=LAYERS)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with LAYERS[request.param](
        tmp_path, lambda: request.getfixturevalue("gateway")
    ) as opened:
        yield opened


def layers(keeps: Callable[[Capabilities], bool]) -> pytest.MarkDecorator:
    """Only the layers that are documented to keep what the test is about, or not to."""
    chosen = [name for name, can in CAPABILITIES.items() if keeps(can)]
    return pytest.mark.parametrize("opened", chosen, indirect=True)


# -- tags ----------------------------------------------------------------------------------------


async def test_an_unknown_tag_manifest_or_blob_is_nothing(opened: Opened) -> None:
    layer = opened.layer
    found = await layer.look_tag(CARGO, ONE)
    assert (found.tag, found.grant, found.raw) == (None, None, None)
    assert found.knows_repository is not opened.can.knows_repositories
    assert await layer.look_manifest(CARGO, IMAGE.digest) == NOTHING
    assert await layer.look_blob(CARGO, BLOB) == NOTHING
    assert await layer.look_representation("rep:1") is None
    assert await layer.look_listing(CARGO, "tags:") is None
    await layer.drop_tag(CARGO, ONE)


@pytest.mark.parametrize(
    "content",
    [images.docker(), images.oci(), images.oci_undeclared(), images.docker_list()],
    ids=["v2s2", "oci", "undeclared", "list"],
)
async def test_one_look_finds_what_one_pull_has_taught(
    opened: Opened, content: images.Content
) -> None:
    manifest = manifest_of(content)
    await opened.layer.commit(pull_of(manifest))
    for layer in (opened.layer, opened.again()):
        found = await layer.look_tag(CARGO, ONE)
        assert found.tag == TagEntry(manifest.digest, 1000.0)
        assert found.grant == Grant(Proof.DELIVERED, manifest.media_type)
        assert found.raw == content.manifest
        assert found.knows_repository
        by_digest = await layer.look_manifest(CARGO, manifest.digest)
        assert (by_digest.grant, by_digest.raw) == (found.grant, found.raw)


@pytest.mark.parametrize("repository", [CARGO, "localhost:5000/a", f"docker.io/{'n' * 245}"])
@pytest.mark.parametrize("tag", ["latest", "v1.0_x-Y", "t" * 128, "_"])
async def test_a_tag_may_be_called_anything(opened: Opened, repository: str, tag: str) -> None:
    await opened.layer.commit(pull_of(IMAGE, repository, tag=Tag(tag)))
    found = await opened.again().look_tag(repository, Tag(tag))
    assert found.tag == TagEntry(IMAGE.digest, 1000.0)
    assert (await opened.layer.look_tag(repository, Tag(f"{tag}x"[-100:]))).tag is None


async def test_names_that_contain_each_other_are_not_mixed_up(opened: Opened) -> None:
    """Repositories lie in each other, and may be called what tags are called."""
    names = ["docker.io/library", "docker.io/library/alpine", "docker.io/library/alpine/latest"]
    tags = [Tag("alpine"), Tag("latest"), Tag("tags")]
    places = [(name, tag) for name in names for tag in tags]
    entries = [TagEntry(Digest.of(f"{place}".encode()), 1000.0) for place in places]
    await opened.layer.commit(
        Batch(tags=[(*place, entry) for place, entry in zip(places, entries, strict=True)])
    )
    layer = opened.again()
    assert [(await layer.look_tag(*place)).tag for place in places] == entries


@pytest.mark.parametrize("validated_at", [0.001, 1_700_000_000.125, 1_760_000_000.999])
async def test_the_moment_of_validation_is_exact_to_the_millisecond(
    opened: Opened, validated_at: float
) -> None:
    await opened.layer.commit(pull_of(IMAGE, at=validated_at))
    found = await opened.again().look_tag(CARGO, ONE)
    assert found.tag is not None
    assert found.tag.validated_at == pytest.approx(validated_at, abs=0.001)


async def test_the_newer_entry_takes_the_place_of_the_older(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE, at=1000.0))
    await opened.layer.commit(pull_of(INDEX, at=2000.0))
    found = await opened.again().look_tag(CARGO, ONE)
    assert found.tag == TagEntry(INDEX.digest, 2000.0)
    assert found.raw == INDEX.raw


async def test_a_tag_whose_manifest_is_not_there_is_found_alone(opened: Opened) -> None:
    await opened.layer.commit(Batch(tags=[(CARGO, ONE, TagEntry(IMAGE.digest, 1000.0))]))
    found = await opened.layer.look_tag(CARGO, ONE)
    assert found.tag == TagEntry(IMAGE.digest, 1000.0)
    assert (found.grant, found.raw) == (None, None)


async def test_a_dropped_tag_is_gone_and_its_manifest_stays(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE))
    await opened.layer.commit(pull_of(IMAGE, tag=Tag("kept")))
    await opened.layer.drop_tag(CARGO, ONE)
    # Writes are in order, so what is committed now is written after it.
    await opened.layer.commit(pull_of(IMAGE, OTHER))
    assert (await opened.again().look_tag(CARGO, ONE)).tag is None
    assert (await opened.layer.look_tag(CARGO, Tag("kept"))).tag is not None
    assert (await opened.layer.look_manifest(CARGO, IMAGE.digest)).raw == IMAGE.raw


async def test_a_dropped_tag_may_come_back(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE))
    await opened.layer.drop_tag(CARGO, ONE)
    await opened.layer.commit(pull_of(IMAGE, at=1001.0))
    found = await opened.again().look_tag(CARGO, ONE)
    assert found.tag == TagEntry(IMAGE.digest, 1001.0)


# -- grants and claims ---------------------------------------------------------------------------


# Grants of what was made here are in the derived manifests' own store.
@pytest.mark.parametrize("proof", [proof for proof in Proof if proof is not Proof.DERIVED])
@pytest.mark.parametrize("digest", [BLOB, SHA512], ids=["sha256", "sha512"])
async def test_a_blob_s_grant_is_the_repository_s_own(
    opened: Opened, proof: Proof, digest: Digest
) -> None:
    await opened.layer.commit(Batch(grants=[(CARGO, digest, Grant(proof))]))
    layer = opened.again()
    assert (await layer.look_blob(CARGO, digest)).grant == Grant(proof)
    for repository in (OTHER, ELSEWHERE, "docker.io/library", f"{CARGO}/more"):
        assert (await layer.look_blob(repository, digest)).grant is None


async def test_a_manifest_s_type_is_the_repository_s_own(opened: Opened) -> None:
    """Two upstreams may call the same bytes differently: the type is kept with the grant."""
    raw = images.oci_undeclared().manifest
    for repository, media_type in ((CARGO, "application/one+json"), (ELSEWHERE, "text/other")):
        manifest = manifest_of(images.Content(media_type, raw))
        batch = pull_of(manifest, repository)
        batch.grants = [(repository, manifest.digest, Grant(Proof.DELIVERED, media_type))]
        await opened.layer.commit(batch)
    digest, layer = Digest.of(raw), opened.again()
    here, there = [await layer.look_tag(name, ONE) for name in (CARGO, ELSEWHERE)]
    assert here.grant == Grant(Proof.DELIVERED, "application/one+json")
    assert there.grant == Grant(Proof.DELIVERED, "text/other")
    assert here.raw == there.raw == raw
    assert (await layer.look_manifest(OTHER, digest)).grant is None


@layers(lambda can: can.claims)
async def test_a_manifest_claims_what_it_names_and_no_more(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE))
    await opened.layer.commit(pull_of(INDEX))
    layer = opened.again()
    for part in (IMAGE.config, *IMAGE.layers):
        found = await layer.look_blob(CARGO, part.digest)
        assert (found.grant, found.claim) == (None, Claim(None, part.size))
        assert (await layer.look_blob(OTHER, part.digest)).claim is None
    for child in images.oci_index().children:
        digest = Digest(child.digest)
        claim = (await layer.look_manifest(CARGO, digest)).claim
        assert claim == Claim(child.media_type, len(child.manifest))
        assert (await layer.look_manifest(OTHER, digest)).claim is None
    assert (await layer.look_blob(CARGO, BLOB)).claim is None


@layers(lambda can: can.claims)
async def test_grants_elsewhere_are_those_of_the_same_upstream(opened: Opened) -> None:
    # A registry's name may be the beginning of another one's.
    names = [ELSEWHERE, "docker.io.example.org/library/cargo", OTHER, "docker.io/x"]
    await opened.layer.commit(Batch(grants=[(name, BLOB, Grant(Proof.HEAD)) for name in names]))
    found = await opened.layer.look_blob(CARGO, BLOB)
    assert set(found.granted_to) == {OTHER, "docker.io/x"}
    assert (await opened.layer.look_manifest("gcr.io/a", BLOB)).granted_to == ()


@layers(lambda can: can.claims)
async def test_grants_elsewhere_are_a_few_of_many(opened: Opened) -> None:
    names = [f"docker.io/team/{number}" for number in range(300)]
    await opened.layer.commit(Batch(grants=[(name, BLOB, Grant(Proof.HEAD)) for name in names]))
    others = (await opened.layer.look_blob(CARGO, BLOB)).granted_to
    assert 1 <= len(others) <= 8
    assert set(others) <= set(names)


async def test_a_blob_has_no_bytes_here(opened: Opened) -> None:
    await opened.layer.commit(Batch(grants=[(CARGO, BLOB, Grant(Proof.DELIVERED))]))
    found = await opened.layer.look_blob(CARGO, BLOB)
    assert found.raw is None
    assert found.tag is None


# -- derived manifests ---------------------------------------------------------------------------


@layers(lambda can: can.origins)
async def test_a_derived_manifest_comes_with_its_origin(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE, proof=Proof.DERIVED, origin=ORIGIN))
    layer = opened.again()
    for found in (
        await layer.look_tag(CARGO, ONE),
        await layer.look_manifest(CARGO, IMAGE.digest),
    ):
        assert found.origin is not None
        assert Origin.decode(found.origin) == ORIGIN


@layers(lambda can: can.origins)
async def test_an_origin_stays_when_the_manifest_is_written_again_without_it(
    opened: Opened,
) -> None:
    await opened.layer.commit(pull_of(IMAGE, proof=Proof.DERIVED, origin=ORIGIN))
    await opened.layer.commit(pull_of(IMAGE, OTHER, proof=Proof.DERIVED))
    found = await opened.again().look_manifest(CARGO, IMAGE.digest)
    assert found.origin == ORIGIN.encode()


@layers(lambda can: not can.origins)
async def test_derived_manifests_are_not_where_a_lifecycle_rule_deletes(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE, proof=Proof.DERIVED, origin=ORIGIN, tag=None))
    assert await opened.again().look_manifest(CARGO, IMAGE.digest) == NOTHING


@layers(lambda can: can.representations)
async def test_a_representation_is_found_under_its_key(opened: Opened) -> None:
    keys = ["rep:1:a", "rep:1:a:library/ship:latest", "rep:1:a<8", f"rep:{'x' * 1000}"]
    made = {key: Digest.of(key.encode()) for key in keys}
    await opened.layer.commit(Batch(representations=list(made.items())))
    layer = opened.again()
    assert {key: await layer.look_representation(key) for key in keys} == made
    assert await layer.look_representation("rep:1:b") is None
    await opened.layer.commit(Batch(representations=[(keys[0], SHA512)]))
    assert await layer.look_representation(keys[0]) == SHA512


@pytest.mark.parametrize("digest", [BLOB, SHA512], ids=["sha256", "sha512"])
async def test_the_facts_of_an_image_layer(opened: Opened, digest: Digest) -> None:
    """Sizes may exceed 32 bits. They are kept where nobody else writes."""
    facts = LayerFacts(digest, 2**33, Digest.of(b"archive"), 2**36, is_gzip=True)
    plain = LayerFacts(Digest.of(b"plain"), 1024, Digest.of(b"plain"), 1024, is_gzip=False)
    assert await opened.layer.look_layer(digest) is None
    await opened.layer.commit(Batch(layers=[facts, plain]))
    for layer in (opened.layer, opened.again()):
        found = [await layer.look_layer(each.digest) for each in (facts, plain)]
        assert found == ([facts, plain] if opened.can.layer_facts else [None, None])
    assert await opened.layer.look_layer(IMAGE.digest) is None


# -- listings and purges -------------------------------------------------------------------------


@layers(lambda can: can.listings)
@pytest.mark.parametrize("value", [b"", bytes(range(256)), b"{}\n\n" * 1000])
async def test_a_page_is_any_bytes(opened: Opened, value: bytes) -> None:
    listing = Listing(value, 1000.125)
    await opened.layer.commit(Batch(listings=[(CARGO, "tags:n=5&last=ä", listing)]))
    assert await opened.again().look_listing(CARGO, "tags:n=5&last=ä") == listing
    assert await opened.layer.look_listing(CARGO, "tags:n=5") is None
    assert await opened.layer.look_listing(OTHER, "tags:n=5&last=ä") is None
    newer = Listing(b"newer", 2000.0)
    await opened.layer.commit(Batch(listings=[(CARGO, "tags:n=5&last=ä", newer)]))
    assert await opened.again().look_listing(CARGO, "tags:n=5&last=ä") == newer


async def test_a_purge_forgets_tags_and_pages_from_before_it(opened: Opened) -> None:
    for name in (CARGO, OTHER):
        await opened.layer.commit(pull_of(IMAGE, name))
        await opened.layer.commit(Batch(listings=[(name, "tags:", Listing(b"page", 1000.0))]))
    assert await opened.layer.purge(CARGO, 1000.0, tags=True)
    layer = opened.again()
    assert (await layer.look_tag(CARGO, ONE)).tag is None
    assert await layer.look_listing(CARGO, "tags:") is None
    assert (await layer.look_tag(OTHER, ONE)).tag is not None
    assert (await layer.look_manifest(CARGO, IMAGE.digest)).raw == IMAGE.raw
    await opened.layer.commit(pull_of(INDEX, at=1000.5))
    assert (await layer.look_tag(CARGO, ONE)).tag == TagEntry(INDEX.digest, 1000.5)
    if opened.can.listings:
        assert await layer.look_listing(OTHER, "tags:") is not None
        await opened.layer.commit(Batch(listings=[(CARGO, "tags:", Listing(b"new", 1000.5))]))
        assert await layer.look_listing(CARGO, "tags:") == Listing(b"new", 1000.5)


async def test_a_purge_of_pages_leaves_tags(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE))
    await opened.layer.commit(Batch(listings=[(CARGO, "tags:", Listing(b"page", 1000.0))]))
    assert await opened.layer.purge(CARGO, 1000.0, tags=False)
    assert (await opened.again().look_tag(CARGO, ONE)).tag is not None
    assert await opened.again().look_listing(CARGO, "tags:") is None


async def test_a_later_purge_of_pages_does_not_bring_tags_back(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE))
    assert await opened.layer.purge(CARGO, 1000.0, tags=True)
    assert await opened.layer.purge(CARGO, 2000.0, tags=False)
    assert (await opened.again().look_tag(CARGO, ONE)).tag is None


async def test_another_process_s_purge_is_seen_once_memory_is_forgotten(opened: Opened) -> None:
    await opened.layer.commit(pull_of(IMAGE))
    other = opened.again()
    assert (await other.look_tag(CARGO, ONE)).tag is not None
    assert await opened.layer.purge(CARGO, 1000.0, tags=True)
    other.forget_mutable()
    assert (await other.look_tag(CARGO, ONE)).tag is None


async def test_all_is_purged_where_replicas_do_not_share_the_layer(opened: Opened) -> None:
    for name in (CARGO, OTHER):
        await opened.layer.commit(pull_of(IMAGE, name))
        await opened.layer.commit(Batch(listings=[(name, "tags:", Listing(b"page", 1000.0))]))
    assert await opened.layer.purge_all(1000.0)
    layer = opened.again()
    for name in (CARGO, OTHER):
        assert ((await layer.look_tag(name, ONE)).tag is None) is not opened.can.is_shared
        if opened.can.listings:
            is_kept = await layer.look_listing(name, "tags:") is not None
            assert is_kept is opened.can.is_shared
    assert (await layer.look_manifest(CARGO, IMAGE.digest)).raw == IMAGE.raw
    await opened.layer.commit(pull_of(INDEX, at=1000.5))
    assert (await layer.look_tag(CARGO, ONE)).tag == TagEntry(INDEX.digest, 1000.5)


# -- together ------------------------------------------------------------------------------------


async def test_many_pulls_at_once_do_not_mix_up_what_they_teach(opened: Opened) -> None:
    manifests: list[Manifest] = [manifest_of(images.oci(f"image-{n}")) for n in range(30)]

    async def pull(number: int) -> None:
        batch = pull_of(manifests[number], f"docker.io/team/app-{number}")
        await opened.layer.commit(batch)
        found = await opened.layer.look_tag(f"docker.io/team/app-{number}", ONE)
        assert found.raw == manifests[number].raw

    await asyncio.gather(*(pull(number) for number in range(30)))
    layer = opened.again()
    for number, manifest in enumerate(manifests):
        found = await layer.look_tag(f"docker.io/team/app-{number}", ONE)
        assert found.tag == TagEntry(manifest.digest, 1000.0)
        assert found.raw == manifest.raw


async def test_an_empty_batch_is_nothing(opened: Opened) -> None:
    await opened.layer.commit(Batch())
    await opened.layer.commit(Batch(touched=[IMAGE.digest]))
    assert await opened.layer.look_manifest(CARGO, IMAGE.digest) == NOTHING
