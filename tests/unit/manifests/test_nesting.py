"""Indexes in indexes: only those are asked for that may have the platform, and within limits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.errors import ConversionRefused, RefusalReason, UpstreamUnavailable
from proxy.manifests.nesting import NestedIndexes
from proxy.oci.manifest import Index
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest, Repository
from tests.kit import images
from tests.kit.images import OCI, Content
from tests.kit.memory_upstream import Script

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
AMD64: Final = Platform("linux", "amd64")


def around(*inner: Content, **members: Any) -> Content:
    """An index of indexes, each described with `members`."""
    entries = [
        {
            "mediaType": each.media_type,
            "digest": each.digest,
            "size": len(each.manifest),
            **members,
        }
        for each in inner
    ]
    document = {"schemaVersion": 2, "mediaType": OCI.index, "manifests": entries}
    return Content(OCI.index, json.dumps(document).encode(), children=inner)


def platform(architecture: str) -> dict[str, str]:
    return {"os": "linux", "architecture": architecture}


async def expand(
    world: ManifestWorld,
    content: Content,
    *,
    max_depth: int = 3,
    max_indexes: int = 8,
    absent: frozenset[Digest] = frozenset(),
    deleted: str = "",
) -> tuple[list[str], frozenset[Digest]]:
    """The digests of the entries, and what the upstream has not, which is what was `deleted`."""
    index = world.upstream.push(content)
    assert isinstance(index, Index)
    world.upstream.manifests.pop(deleted, None)
    expanded, not_there = await NestedIndexes(world.fetches).expand(
        CARGO, index, [AMD64], max_depth=max_depth, max_indexes=max_indexes, absent=absent
    )
    return [entry.digest for entry in expanded.manifests], not_there


def digests(*contents: Content) -> list[str]:
    return [content.digest for content in contents]


INNER: Final = images.oci_index("inner")


async def test_an_index_of_images_asks_for_nothing(world: ManifestWorld) -> None:
    assert await expand(world, INNER) == (digests(*INNER.children), frozenset())
    assert world.asked() == []


async def test_the_images_of_an_inner_index_take_its_place(world: ManifestWorld) -> None:
    other = images.oci_index("other")
    found, absent = await expand(world, around(INNER, other))
    assert found == digests(*INNER.children, *other.children)
    assert absent == frozenset()
    assert world.asked() == ["manifest", "manifest"]


async def test_an_index_that_is_named_twice_is_asked_for_once(world: ManifestWorld) -> None:
    found, _ = await expand(world, around(INNER, INNER))
    assert found == digests(*INNER.children)
    assert world.asked() == ["manifest"]


async def test_an_index_for_another_platform_stays_an_entry(world: ManifestWorld) -> None:
    outer = around(INNER, platform=platform("s390x"))
    assert await expand(world, outer) == ([INNER.digest], frozenset())
    assert world.asked() == []


async def test_levels_are_followed_to_the_limit_and_what_is_below_stays(
    world: ManifestWorld,
) -> None:
    second = around(INNER)
    first = around(second)
    outer = around(first)
    assert await expand(world, outer, max_depth=1) == ([first.digest], frozenset())
    assert world.asked() == []
    assert await expand(world, outer, max_depth=2) == ([second.digest], frozenset())
    assert await expand(world, outer, max_depth=3) == ([INNER.digest], frozenset())
    assert await expand(world, outer, max_depth=4) == (digests(*INNER.children), frozenset())
    assert world.asked() == ["manifest"] * 3, "each is stored when it has been fetched"


@pytest.mark.parametrize(
    "outer",
    [around(INNER, images.oci_index("other")), around(around(INNER))],
    ids=["beside each other", "in each other"],
)
async def test_more_indexes_than_the_limit_are_refused(
    world: ManifestWorld, outer: Content
) -> None:
    assert await expand(world, outer, max_indexes=2)
    with pytest.raises(ConversionRefused, match=r"2 indexes in it.*the limit of 1") as refused:
        await expand(world, outer, max_indexes=1)
    assert refused.value.reason is RefusalReason.CHILDREN


async def test_too_many_indexes_are_refused_before_any_is_asked_for(world: ManifestWorld) -> None:
    with pytest.raises(ConversionRefused):
        await expand(world, around(INNER, images.oci_index("other")), max_indexes=1)
    assert world.asked() == []


async def test_what_the_upstream_has_not_is_said_and_its_place_is_empty(
    world: ManifestWorld,
) -> None:
    other = images.oci_index("other")
    found, absent = await expand(world, around(INNER, other), deleted=other.digest)
    assert found == digests(*INNER.children)
    assert absent == {other.digest}


async def test_what_was_absent_is_not_asked_for_though_it_is_there_now(
    world: ManifestWorld,
) -> None:
    """So that what was made without it can be made again, to the same bytes."""
    other = images.oci_index("other")
    absent = frozenset({Digest(other.digest)})
    found = await expand(world, around(INNER, other), absent=absent)
    assert found == (digests(*INNER.children), absent)
    assert [question.about for question in world.upstream.asked] == [INNER.digest]


async def test_an_image_that_is_called_an_index_is_none(world: ManifestWorld) -> None:
    image = images.oci("disguised")
    outer = around(replace(image, media_type=OCI.index))
    outer = replace(outer, children=(image,))
    assert await expand(world, outer) == ([], frozenset({Digest(image.digest)}))


async def test_an_upstream_that_fails_says_nothing_of_what_is_there(world: ManifestWorld) -> None:
    """What is made then would be without an image that exists."""
    world.upstream.scripts.append(Script(error=UpstreamUnavailable("docker.io is away")))
    with pytest.raises(UpstreamUnavailable):
        await expand(world, around(INNER))
    assert await expand(world, around(INNER)) == (digests(*INNER.children), frozenset())


async def test_an_image_without_a_platform_has_that_of_its_index(world: ManifestWorld) -> None:
    inner = around(images.oci("bare"))
    index = world.upstream.push(around(inner, platform=platform("amd64")))
    assert isinstance(index, Index)
    expanded, _ = await NestedIndexes(world.fetches).expand(
        CARGO, index, [AMD64], max_depth=2, max_indexes=8
    )
    (entry,) = expanded.manifests
    assert entry.platform == AMD64
