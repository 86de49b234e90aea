"""The layers as one: which of them answers, and what the nearer ones learn from it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.catalog.catalog import Catalog
from proxy.catalog.lookup import UNKNOWN, Lookup
from proxy.oci.reference import Digest, Repository, Tag
from proxy.ports.catalog import Batch, Claim, Grant, Listing, Proof, TagEntry
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.memory.index import MemoryIndex
from tests.kit import images
from tests.kit.manifest_kinds import with_config
from tests.kit.manual_clock import ManualClock
from tests.kit.pulls import IMAGE, INDEX, ONE, image_of, manifest_of, pull_of
from tests.kit.watched_layer import WatchedLayer

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.oci.manifest import Manifest

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
QUAY: Final = Repository("quay.io", "library/cargo", "quay.io/library/cargo")
BLOB: Final = Digest.of(b"blob")


class Place:
    """Two layers and a derived store, and what one process after another makes of them."""

    def __init__(self, data: Path) -> None:
        self.clock = ManualClock()
        self.near = WatchedLayer(MemoryIndex())
        self.far = WatchedLayer(MemoryIndex())
        self.derived = DerivedFiles(data / "derived")

    def catalog(self) -> Catalog:
        """As a new process has it, whose memory is empty."""
        return Catalog([self.near, self.far], self.derived, memory=2**20, clock=self.clock)

    def reset(self) -> None:
        """Count from none again."""
        self.near.reset()
        self.far.reset()

    def entry(self, manifest: Manifest = IMAGE, *, ago: float = 0.0) -> TagEntry:
        """What a tag named so many seconds ago."""
        return TagEntry(manifest.digest, self.clock.wall() - ago)

    def is_fresh(self, entry: TagEntry) -> bool:
        """Whether it was validated within the last minute."""
        return self.clock.wall() - entry.validated_at < 60


@pytest.fixture
def place(data_dir: Path) -> Place:
    return Place(data_dir)


# -- tags ----------------------------------------------------------------------------------------


async def test_nothing_is_known_of_an_unknown_repository(place: Place) -> None:
    catalog = place.catalog()
    lookup = await catalog.look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup == Lookup(ignorant=frozenset({0, 1}), is_of_new_repository=True)
    assert catalog.remembered_tag(CARGO, ONE) is None
    assert (place.near.reads, place.far.reads) == (1, 1)


async def test_a_layer_that_knows_nothing_of_the_repository_is_not_asked_again(
    place: Place,
) -> None:
    await place.near.commit(pull_of(IMAGE, str(CARGO), tag=Tag("another")))
    catalog = place.catalog()
    lookup = await catalog.look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup == Lookup(ignorant=frozenset({1}))
    place.reset()
    found = await catalog.look_manifest(CARGO, Digest.of(b"another"), known=lookup)
    assert found.manifest is None
    assert (place.near.reads, place.far.reads) == (1, 0)


async def test_what_one_process_learns_every_other_one_finds_by_one_look(place: Place) -> None:
    entry = place.entry()
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, entry))
    assert (place.near.calls["commit"], place.far.calls["commit"]) == (1, 1)
    place.reset()
    for each in (catalog, place.catalog()):
        lookup = await each.look(CARGO, ONE, fresh=place.is_fresh)
        assert lookup.entry == entry
        assert lookup.manifest == IMAGE
        assert lookup.access == Grant(Proof.DELIVERED, IMAGE.media_type)
        assert each.remembered_tag(CARGO, ONE) == entry
        assert each.remembers_access(CARGO, IMAGE.digest)
    assert (place.near.reads, place.far.reads) == (1, 0), "the first process remembers it all"


async def test_a_fresh_entry_ends_the_search(place: Place) -> None:
    await place.near.commit(pull_of(IMAGE, str(CARGO), at=place.clock.wall()))
    await place.far.commit(pull_of(INDEX, str(CARGO), at=place.clock.wall() + 1))
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE
    assert place.far.reads == 0


@pytest.mark.parametrize("newer", ["near", "far"])
async def test_of_stale_entries_the_newest_counts(place: Place, newer: str) -> None:
    """A shared cache that took no writes for a while must not hide what the index knows."""
    ages = {"near": 300.0, "far": 400.0} if newer == "near" else {"near": 400.0, "far": 300.0}
    manifests = {"near": IMAGE, "far": INDEX}
    for name, layer in (("near", place.near), ("far", place.far)):
        at = place.clock.wall() - ages[name]
        await layer.commit(pull_of(manifests[name], str(CARGO), at=at))
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == manifests[newer]
    assert lookup.entry == place.entry(manifests[newer], ago=300.0)


async def test_memory_that_is_newer_than_both_counts(place: Place) -> None:
    catalog = place.catalog()
    for layer in (place.near, place.far):
        await layer.commit(pull_of(INDEX, str(CARGO), at=place.clock.wall() - 500))
        layer.away = True
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry(ago=300.0)))
    for layer in (place.near, place.far):
        layer.away = False
    lookup = await catalog.look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE


async def test_what_is_found_further_out_is_written_to_the_nearer_layers(place: Place) -> None:
    place.near.away = True
    await place.catalog().learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    place.near.away = False
    place.reset()
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE
    assert (place.near.calls["commit"], place.far.calls["commit"]) == (1, 0)
    found = await place.near.look_tag(str(CARGO), ONE)
    assert found.tag == place.entry()
    assert found.raw == IMAGE.raw
    assert found.grant == Grant(Proof.DELIVERED, IMAGE.media_type)


async def test_a_stale_entry_that_both_layers_have_is_not_written_again(place: Place) -> None:
    await place.catalog().learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    place.clock.advance(3600.0)
    place.reset()
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE
    assert place.near.calls["commit"] == place.far.calls["commit"] == 0


async def test_an_entry_without_its_manifest_is_found_with_what_other_layers_have(
    place: Place,
) -> None:
    """Manifests and grants may be evicted from the shared cache one by one."""
    await place.near.commit(Batch(tags=[(str(CARGO), ONE, place.entry())]))
    await place.far.commit(pull_of(IMAGE, str(CARGO), tag=None))
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.entry == place.entry()
    assert lookup.manifest == IMAGE


async def test_an_entry_whose_manifest_nobody_has_is_no_manifest(place: Place) -> None:
    await place.near.commit(Batch(tags=[(str(CARGO), ONE, place.entry())]))
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.entry == place.entry()
    assert lookup.manifest is None


@pytest.mark.parametrize("ahead", [3600.0, 1e9, float("inf")])
async def test_an_entry_from_the_future_hides_no_other(place: Place, ahead: float) -> None:
    """The clock was wrong for a while: what was validated then is not newer than everything."""
    await place.near.commit(pull_of(IMAGE, str(CARGO), at=place.clock.wall() + ahead))
    await place.far.commit(pull_of(INDEX, str(CARGO), at=place.clock.wall() - 300.0))
    lookup = await place.catalog().look(CARGO, ONE, fresh=lambda _entry: False)
    assert lookup.manifest == INDEX


async def test_what_another_process_left_is_one_question_to_the_nearest_layer(
    place: Place,
) -> None:
    catalog = place.catalog()
    assert await catalog.look_nearest(CARGO, ONE) == UNKNOWN
    assert (await catalog.look_nearest_manifest(CARGO, IMAGE.digest)).manifest is None
    await place.near.commit(pull_of(IMAGE, str(CARGO), at=place.clock.wall()))
    lookup = await catalog.look_nearest(CARGO, ONE)
    assert (lookup.entry, lookup.manifest) == (place.entry(), IMAGE)
    assert (await catalog.look_nearest_manifest(CARGO, IMAGE.digest)).manifest == IMAGE
    assert (place.near.reads, place.far.reads) == (4, 0)


async def test_without_layers_nothing_is_known_and_nothing_fails(place: Place) -> None:
    catalog = Catalog([], place.derived, memory=2**20, clock=place.clock)
    assert await catalog.look_nearest(CARGO, ONE) == UNKNOWN
    assert await catalog.look_nearest_manifest(CARGO, IMAGE.digest) == UNKNOWN
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    lookup = await catalog.look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE


async def test_a_confirmed_tag_is_one_write_and_notes_use_once_an_hour(place: Place) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    noted = []
    for _ in range(3):
        place.clock.advance(1801.0)
        place.reset()
        await catalog.put_tag(CARGO, ONE, place.entry())
        (batch,) = place.far.batches
        assert batch.tags == [(str(CARGO), ONE, place.entry())]
        noted.append(batch.touched)
    assert noted == [[IMAGE.digest], [], [IMAGE.digest]]


async def test_learning_what_is_known_writes_the_tag_only(place: Place) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED)
    place.reset()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED)
    assert place.far.batches == []
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    (batch,) = place.far.batches
    assert batch.tags
    assert (batch.manifests, batch.grants, batch.claims) == ([], [], [])


async def test_a_dropped_tag_is_gone_everywhere(place: Place) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    await catalog.drop_tag(CARGO, ONE)
    for each in (catalog, place.catalog()):
        lookup = await each.look(CARGO, ONE, fresh=place.is_fresh)
        assert (lookup.entry, lookup.manifest) == (None, None)
        assert (await each.look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE


async def test_a_purge_reaches_every_layer_and_says_if_one_is_away(place: Place) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    await catalog.put_listing(CARGO, "tags:", Listing(b"page", place.clock.wall()))
    place.far.away = True
    assert not await catalog.purge(CARGO, tags=True)
    place.far.away = False
    assert await catalog.purge(CARGO, tags=True)
    catalog.forget_mutable()
    lookup = await catalog.look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.entry is None
    assert await catalog.listing(CARGO, "tags:") is None


async def test_what_others_may_change_is_forgotten_and_content_is_not(place: Place) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED, tag=(ONE, place.entry()))
    catalog.forget_mutable()
    assert catalog.remembered_tag(CARGO, ONE) is None
    assert not catalog.remembers_access(CARGO, IMAGE.digest)
    lookup = await catalog.look_manifest(CARGO, IMAGE.digest)
    assert lookup.manifest == IMAGE


# -- manifests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [images.docker(), images.oci(), images.oci_undeclared(), images.docker_list()],
    ids=["v2s2", "oci", "undeclared", "list"],
)
async def test_a_manifest_keeps_its_bytes_and_its_type(
    place: Place, content: images.Content
) -> None:
    manifest = manifest_of(content)
    await place.catalog().learn(CARGO, manifest, Proof.DELIVERED)
    found = (await place.catalog().look_manifest(CARGO, manifest.digest)).manifest
    assert found == manifest
    assert found is not None
    assert found.raw == content.manifest


async def test_a_manifest_is_served_in_the_repositories_that_have_it(place: Place) -> None:
    await place.catalog().learn(CARGO, IMAGE, Proof.DELIVERED)
    for repository, delivered in ((OTHER, True), (QUAY, False)):
        lookup = await place.catalog().look_manifest(repository, IMAGE.digest)
        assert (lookup.access, lookup.manifest) == (None, None)
        assert lookup.raw == IMAGE.raw
        assert lookup.delivered is delivered
    assert (await place.catalog().look_manifest(CARGO, INDEX.digest)) == UNKNOWN


async def test_a_manifest_of_the_far_layer_is_written_to_the_near_one(place: Place) -> None:
    await place.far.commit(pull_of(IMAGE, str(CARGO), tag=None))
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE
    assert (await place.near.look_manifest(str(CARGO), IMAGE.digest)).raw == IMAGE.raw
    place.reset()
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE
    assert (place.near.reads, place.far.reads) == (1, 0)


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage", b"[" * 100_000, IMAGE.raw + b" ", INDEX.raw],
    ids=["empty", "garbage", "nested", "longer", "another"],
)
async def test_bytes_that_are_not_what_the_digest_names_are_a_miss_and_hide_no_others(
    place: Place, raw: bytes
) -> None:
    damaged = replace(IMAGE, raw=raw)
    await place.near.commit(pull_of(damaged, str(CARGO), at=place.clock.wall()))
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest is None
    await place.far.commit(pull_of(IMAGE, str(CARGO), at=place.clock.wall()))
    assert (await place.catalog().look_manifest(CARGO, IMAGE.digest)).manifest == IMAGE
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE
    assert (await place.near.look_manifest(str(CARGO), IMAGE.digest)).raw == IMAGE.raw


@pytest.mark.parametrize("media_type", ["", "text/plain\r\nX: y", "9" * 400, str(INDEX.media_type)])
async def test_a_type_that_is_none_of_the_manifest_s_hides_no_other(
    place: Place, media_type: str
) -> None:
    await place.near.commit(pull_of(IMAGE, str(CARGO), at=place.clock.wall()))
    await place.near.commit(
        Batch(grants=[(str(CARGO), IMAGE.digest, Grant(Proof.DELIVERED, media_type))])
    )
    await place.far.commit(pull_of(IMAGE, str(CARGO), at=place.clock.wall()))
    lookup = await place.catalog().look(CARGO, ONE, fresh=place.is_fresh)
    assert lookup.manifest == IMAGE
    assert lookup.manifest.media_type == IMAGE.media_type


async def test_the_type_is_the_repository_s_own(place: Place) -> None:
    """Two upstreams may call the same bytes differently."""
    raw = with_config(images.oci_undeclared(), images.DOCKER.config).manifest
    here = manifest_of(images.Content(images.OCI.manifest, raw))
    there = manifest_of(images.Content(images.DOCKER.manifest, raw))
    assert here.digest == there.digest
    assert here.media_type != there.media_type
    await place.catalog().learn(CARGO, here, Proof.DELIVERED)
    await place.catalog().learn(QUAY, there, Proof.DELIVERED)
    one_process = place.catalog()
    for catalog in (place.catalog, lambda: one_process):
        for repository, expected in ((CARGO, here), (QUAY, there), (CARGO, here)):
            found = (await catalog().look_manifest(repository, here.digest)).manifest
            assert found is not None
            assert found.media_type == expected.media_type


# -- claims --------------------------------------------------------------------------------------


async def test_a_claim_alone_opens_nothing(place: Place) -> None:
    """Anybody can write any digest into a manifest."""
    await place.catalog().learn(CARGO, IMAGE, Proof.DELIVERED)
    layer = IMAGE.layers[0].digest
    lookup = await place.catalog().look_blob(CARGO, layer)
    assert lookup.access is None
    assert not lookup.delivered


async def test_a_claim_suffices_for_what_the_same_upstream_has_given_elsewhere(
    place: Place,
) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED)
    layer = IMAGE.layers[0]
    await write(catalog.grant_blob(OTHER, layer.digest, Proof.DELIVERED))
    assert (await place.catalog().look_blob(CARGO, layer.digest)).access == Claim(None, layer.size)


async def test_what_another_upstream_has_given_does_not_help_a_claim(place: Place) -> None:
    catalog = place.catalog()
    await catalog.learn(CARGO, IMAGE, Proof.DELIVERED)
    layer = IMAGE.layers[0]
    await write(catalog.grant_blob(QUAY, layer.digest, Proof.DELIVERED))
    lookup = await place.catalog().look_blob(CARGO, layer.digest)
    assert lookup.access is None
    assert not lookup.delivered


async def test_a_claimed_manifest_has_the_type_of_its_descriptor(place: Place) -> None:
    index, child = images.oci_index(), images.oci_index().children[0]
    digest = Digest(child.digest)
    await place.catalog().learn(CARGO, manifest_of(index), Proof.DELIVERED)
    assert (await place.catalog().look_manifest(CARGO, digest)).manifest is None
    await place.catalog().learn(OTHER, manifest_of(child), Proof.DELIVERED)
    lookup = await place.catalog().look_manifest(CARGO, digest)
    assert lookup.access == Claim(child.media_type, len(child.manifest))
    assert lookup.manifest == manifest_of(child)
    assert (await place.catalog().look_manifest(QUAY, digest)).manifest is None


async def test_a_claim_is_not_turned_into_a_grant(place: Place) -> None:
    """Else it would be a grant elsewhere that makes other claims suffice."""
    index, child = images.oci_index(), images.oci_index().children[0]
    await place.catalog().learn(CARGO, manifest_of(index), Proof.DELIVERED)
    await place.catalog().learn(OTHER, manifest_of(child), Proof.DELIVERED)
    assert (await place.catalog().look_manifest(CARGO, Digest(child.digest))).manifest
    for layer in (place.near, place.far):
        assert (await layer.look_manifest(str(CARGO), Digest(child.digest))).grant is None


# -- blobs ---------------------------------------------------------------------------------------


async def write(work: object) -> None:
    """Do the write that is left to the caller."""
    assert asyncio.iscoroutine(work)
    await work


async def test_a_blob_s_grant_is_known_to_every_process(place: Place) -> None:
    catalog = place.catalog()
    await write(catalog.grant_blob(CARGO, BLOB, Proof.HEAD))
    assert catalog.grant_blob(CARGO, BLOB, Proof.HEAD) is None, "there is nothing to write"
    for each in (catalog, place.catalog()):
        assert (await each.look_blob(CARGO, BLOB)).access == Grant(Proof.HEAD)
        assert each.remembers_access(CARGO, BLOB)
        # It is the repository's, however it was addressed.
        same = replace(CARGO, addressed="docker.io/cargo")
        assert (await each.look_blob(same, BLOB)).access == Grant(Proof.HEAD)
    lookup = await place.catalog().look_blob(OTHER, BLOB)
    assert (lookup.access, lookup.delivered) == (None, True)
    assert not (await place.catalog().look_blob(QUAY, BLOB)).delivered


async def test_the_far_layer_is_asked_for_a_grant_that_the_near_one_has_not(place: Place) -> None:
    await place.far.commit(Batch(grants=[(str(CARGO), BLOB, Grant(Proof.RANGES))]))
    assert (await place.catalog().look_blob(CARGO, BLOB)).access == Grant(Proof.RANGES)
    await place.near.commit(Batch(grants=[(str(CARGO), BLOB, Grant(Proof.HEAD))]))
    place.reset()
    assert (await place.catalog().look_blob(CARGO, BLOB)).access == Grant(Proof.HEAD)
    assert place.far.reads == 0


# -- what a manifest names ------------------------------------------------------------------------


async def test_a_manifest_names_its_content_and_a_grant_names_itself(place: Place) -> None:
    """What is named is not granted: nothing is served for it that another repository has."""
    layer = image_of(images.docker()).layers[0]
    await place.catalog().learn(CARGO, IMAGE, Proof.DELIVERED)
    for catalog in (place.catalog(), place.catalog()):
        assert await catalog.naming(CARGO, layer.digest) == Claim(None, layer.size)
        assert await catalog.naming(CARGO, IMAGE.digest) == Grant(Proof.DELIVERED, IMAGE.media_type)
        for repository in (OTHER, QUAY, CARGO.at_mirrors):
            assert await catalog.naming(repository, layer.digest) is None
        assert (await catalog.look_blob(CARGO, layer.digest)).access is None


async def test_memory_knows_what_is_named_where_no_layer_does(place: Place) -> None:
    """Of an upstream with mirrors: a bucket has no place for claims."""
    layer = image_of(images.docker()).layers[0]
    place.near.away = place.far.away = True
    for mirrored, known in ((["docker.io"], Claim(None, layer.size)), (["quay.io"], None)):
        catalog = Catalog(
            [place.near, place.far],
            place.derived,
            memory=2**20,
            mirrored=mirrored,
            clock=place.clock,
        )
        await catalog.learn(CARGO, IMAGE, Proof.DELIVERED)
        assert await catalog.naming(CARGO, layer.digest) == known
        assert await catalog.naming(OTHER, layer.digest) is None
        assert (await catalog.look_blob(CARGO, layer.digest)).access is None


# -- listings ------------------------------------------------------------------------------------


async def test_the_newest_page_counts(place: Place) -> None:
    pages = [Listing(b"old", 1000.0), Listing(b"new", 2000.0)]
    for layers in ((place.near, place.far), (place.far, place.near)):
        for layer, page in zip(layers, pages, strict=True):
            await layer.commit(Batch(listings=[(str(CARGO), "tags:", page)]))
        assert await place.catalog().listing(CARGO, "tags:") == pages[1]
    assert await place.catalog().listing(OTHER, "tags:") is None


async def test_a_claim_may_come_from_another_layer_than_the_grant_elsewhere(place: Place) -> None:
    layer = image_of(images.docker()).layers[0]
    claim = (str(CARGO), IMAGE.digest, layer.digest, Claim(None, layer.size))
    await place.near.commit(Batch(manifests=[(IMAGE, None)], claims=[claim]))
    await place.far.commit(Batch(grants=[(str(OTHER), layer.digest, Grant(Proof.HEAD))]))
    assert (await place.catalog().look_blob(CARGO, layer.digest)).access == claim[-1]
