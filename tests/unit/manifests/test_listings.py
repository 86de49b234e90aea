"""Pages of tags and referrers: the upstream's, kept for a while, and while it fails."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.errors import NameUnknown, UpstreamInvalid, UpstreamUnavailable
from proxy.manifests.freshness import Reason
from proxy.oci.headers.accept import Accept
from proxy.oci.headers.link import Page
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Repository, Tag
from proxy.ports.catalog import Batch, Listing
from proxy.telemetry import trace
from proxy.telemetry.trace import Outcome
from tests.kit import images
from tests.kit.manual_clock import idle
from tests.kit.memory_upstream import Script
from tests.kit.pulls import ONE

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
SUBJECT: Final = Digest.of(b"subject")
DOWN: Final = UpstreamUnavailable("the registry is down")


def page_of(*names: str, following: str | None = None) -> Page:
    return Page(json.dumps({"name": "x", "tags": list(names)}).encode(), following)


def index_of(*artifact_types: str) -> bytes:
    manifests = [
        {
            "mediaType": MediaType.OCI_MANIFEST,
            "digest": Digest.of(kind.encode()),
            "size": 7,
            "artifactType": kind,
        }
        for kind in artifact_types
    ]
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": manifests}
    return json.dumps(document).encode()


async def names(world: ManifestWorld, query: str = "") -> tuple[list[str], str | None]:
    trace.begin()
    page = await world.listings.tags(CARGO, query)
    document = json.loads(page.raw)
    assert document["name"] == "cargo", "the name as addressed"
    return document["tags"], page.following


async def referrers(
    world: ManifestWorld, artifact_type: str | None = None, query: str = ""
) -> tuple[list[Any], Page]:
    trace.begin()
    page = await world.listings.referrers(CARGO, SUBJECT, query, artifact_type)
    return [each.get("artifactType") for each in json.loads(page.raw)["manifests"]], page


async def test_a_page_is_asked_for_once_while_it_is_fresh(world: ManifestWorld) -> None:
    world.upstream.pages[CARGO.name] = page_of("a", "b", following="n=2&last=b")
    for outcome in (Outcome.MISS, Outcome.HIT):
        assert await names(world, "n=2") == (["a", "b"], "n=2&last=b")
        assert trace.current().outcome is outcome
        world.clock.advance(59)
    assert world.asked() == ["tags"]
    world.clock.advance(60)
    await names(world, "n=2")
    assert world.asked() == ["tags"]


async def test_every_query_is_a_page_of_its_own(world: ManifestWorld) -> None:
    world.upstream.pages[CARGO.name] = page_of("a")
    for query in ("", "n=2", "n=2&last=a"):
        await names(world, query)
    assert world.asked() == ["tags"] * 3


@pytest.mark.parametrize("tags", ["a", ["a", 1], ["a", None], {"a": "b"}])
async def test_what_is_no_list_of_names_is_a_failure(world: ManifestWorld, tags: object) -> None:
    """Without what cannot be read, a list would be shorter and look whole."""
    world.upstream.pages[CARGO.name] = Page(json.dumps({"tags": tags}).encode())
    with pytest.raises(UpstreamInvalid):
        await names(world)


@pytest.mark.parametrize("tags", [None, []])
async def test_a_repository_may_have_no_tags(world: ManifestWorld, tags: object) -> None:
    """Old registries say null for none."""
    world.upstream.pages[CARGO.name] = Page(json.dumps({"tags": tags}).encode())
    assert await names(world) == ([], None)


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"<html>", b"[" * 100_000])
async def test_what_is_no_listing_is_neither_served_nor_stored(
    world: ManifestWorld, raw: bytes
) -> None:
    world.upstream.pages[CARGO.name] = Page(raw)
    with pytest.raises(UpstreamInvalid):
        await names(world)
    assert world.layer.batches == []


async def test_a_repository_that_does_not_exist_is_unknown(world: ManifestWorld) -> None:
    with pytest.raises(NameUnknown):
        await names(world)


async def test_a_failure_costs_no_stored_page(world: ManifestWorld) -> None:
    world.upstream.pages[CARGO.name] = page_of("a")
    await names(world)
    world.clock.advance(100)
    world.upstream.scripts.append(Script(error=DOWN))
    assert await names(world) == (["a"], None)
    assert (trace.current().outcome, trace.current().detail) == (
        Outcome.STALE,
        Reason.UNAVAILABLE,
    )
    world.clock.advance(20_000)
    world.upstream.scripts.append(Script(error=DOWN))
    with pytest.raises(UpstreamUnavailable):
        await names(world)


async def test_an_upstream_in_trouble_is_asked_for_the_next_request(world: ManifestWorld) -> None:
    world.upstream.pages[CARGO.name] = page_of("a")
    await names(world)
    world.upstream.pages[CARGO.name] = page_of("a", "b")
    world.upstream.trouble = DOWN
    world.clock.advance(100)
    assert (await names(world))[0] == ["a"]
    assert trace.current().detail == Reason.UNAVAILABLE
    await idle()
    assert (await names(world))[0] == ["a", "b"]


async def test_an_upstream_that_is_slow_costs_a_moment(world: ManifestWorld) -> None:
    world.upstream.pages[CARGO.name] = page_of("a")
    await names(world)
    world.lifetimes.revalidation_timeout = 0.02
    gate = asyncio.Event()

    async def tags(_self: object, _name: str, _query: str) -> Page:
        await gate.wait()
        return page_of("a", "b")

    world.clock.advance(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.upstream), "tags", tags)
        assert (await names(world))[0] == ["a"]
        assert trace.current().detail == Reason.SLOW
        gate.set()
        await idle()
    assert (await names(world))[0] == ["a", "b"]
    assert trace.current().outcome is Outcome.HIT


@pytest.mark.parametrize("value", [b"", b"garbage\n{}", b"{}\n{}", b"[]\n{}", b'{"next":1}\n'])
async def test_a_stored_page_that_cannot_be_read_is_a_miss(
    world: ManifestWorld, value: bytes
) -> None:
    listing = Listing(value, world.clock.wall())
    await world.layer.commit(Batch(listings=[(str(CARGO), "tags:", listing)]))
    world.upstream.pages[CARGO.name] = page_of("a")
    assert (await names(world))[0] == ["a"]
    assert world.asked() == ["tags"]


async def test_a_page_of_any_size_is_served_and_a_large_one_not_stored(
    world: ManifestWorld,
) -> None:
    world.upstream.pages[CARGO.name] = page_of(*(f"tag-{number}" for number in range(50_000)))
    for _ in range(2):
        assert len((await names(world))[0]) == 50_000
    assert world.asked() == ["tags"] * 2


# -- referrers -----------------------------------------------------------------------------------


async def test_referrers_are_filtered_here_where_the_upstream_does_not(
    world: ManifestWorld,
) -> None:
    world.upstream.pages[SUBJECT] = Page(index_of("sbom", "signature"), "last=x")
    assert (await referrers(world))[0] == ["sbom", "signature"]
    found, page = await referrers(world, "sbom")
    assert found == ["sbom"]
    assert page.filtered
    assert page.following == "last=x&artifactType=sbom"
    assert world.asked() == ["referrers"], "both are made of one page"
    assert (await referrers(world, "other"))[0] == []


async def test_what_the_upstream_has_filtered_is_left_as_it_is(world: ManifestWorld) -> None:
    raw = index_of("sbom")
    world.upstream.pages[SUBJECT] = Page(raw, filtered=True)
    _, page = await referrers(world, "sbom")
    assert page.raw == raw


async def test_without_the_api_referrers_are_in_an_index_under_a_tag(
    world: ManifestWorld,
) -> None:
    tag = Tag(f"sha256-{SUBJECT.hex}")
    assert (await referrers(world))[0] == []
    world.clock.advance(100)
    content = images.Content(images.OCI.index, index_of("sbom"))
    world.upstream.push(content, tag)
    assert (await referrers(world))[0] == ["sbom"]


async def test_a_tag_of_referrers_that_is_no_index_is_an_invalid_answer(
    world: ManifestWorld,
) -> None:
    world.upstream.push(images.oci(), f"sha256-{SUBJECT.hex}")
    with pytest.raises(UpstreamInvalid, match="is no index"):
        await referrers(world)


async def test_of_a_derived_manifest_no_upstream_knows_anything(world: ManifestWorld) -> None:
    world.upstream.push(images.oci(), ONE)
    made = await world.manifests.by_tag(CARGO, ONE, Accept.parse((MediaType.V2S2,)))
    world.asked()
    for artifact_type in (None, "sbom"):
        page = await world.listings.referrers(CARGO, made.manifest.digest, "", artifact_type)
        assert json.loads(page.raw)["manifests"] == []
        assert page.filtered is (artifact_type is not None)
    assert world.asked() == []
