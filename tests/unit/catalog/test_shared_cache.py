"""The shared cache as a layer: anybody who can write to it may have left anything there."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.catalog.shared_cache import SharedCacheLayer
from proxy.oci.reference import Tag
from proxy.ports.catalog import Batch, Listing, TagEntry
from proxy.stores.memory.cache import MemoryManifests
from tests.kit.manual_clock import ManualClock
from tests.kit.pulls import CARGO, IMAGE, ONE, ORIGIN, pull_of

LIFE: Final = 3600.0
TAG_KEY: Final = f"tag:{CARGO}:{ONE}"
GRANT_KEY: Final = f"grant:{CARGO}:{IMAGE.digest}"
DIGITS: Final = b"9" * 400

GARBAGE: Final = {
    "empty": b"",
    "line": b"\r\n",
    "null": b"null",
    "text": b"garbage",
    "bytes": b"\xff\xfe\x00",
    "digits": DIGITS,
    "more digits": b"9" * 5000,
    "nested": b"[" * 100_000,
    "infinite": b"inf",
    "not a number": b"nan",
    "an object": b'{"proof":"delivered"}',
    "one member": b'["delivered"]',
    "three members": b'["delivered",null,null]',
    "unknown proof": b'["believed",null]',
    "a list as proof": b'[["delivered"],null]',
}


class Counting(MemoryManifests):
    """Counts what it is asked, each of which is a way to Redis and back."""

    __slots__ = ("asked", "lives")

    def __init__(self) -> None:
        super().__init__(2**24, clock=ManualClock().monotonic)
        self.asked: list[str] = []
        self.lives: dict[str, float] = {}

    async def get(self, key: str, *, extend: float | None = None) -> bytes | None:
        self.asked.append(key.partition(":")[0])
        return await super().get(key, extend=extend)

    async def put(self, key: str, value: bytes, *, life: float) -> None:
        self.lives[key] = life
        await super().put(key, value, life=life)


@pytest.fixture
def cache() -> Counting:
    return Counting()


@pytest.fixture
def layer(cache: Counting) -> SharedCacheLayer:
    return SharedCacheLayer(cache, tag_life=lambda: LIFE)


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
async def test_a_value_that_is_garbage_is_a_miss(
    layer: SharedCacheLayer, cache: Counting, value: bytes
) -> None:
    await cache.put(TAG_KEY, value, life=LIFE)
    await cache.put(GRANT_KEY, value, life=LIFE)
    await cache.put("rep:1", value, life=LIFE)
    await cache.put(f"list:{CARGO}:tags:", value, life=LIFE)
    assert (await layer.look_tag(CARGO, ONE)).tag is None
    assert (await layer.look_manifest(CARGO, IMAGE.digest)).grant is None
    assert (await layer.look_blob(CARGO, IMAGE.digest)).grant is None
    assert await layer.look_representation("rep:1") is None
    assert await layer.look_listing(CARGO, "tags:") is None


@pytest.mark.parametrize(
    "moment",
    [
        *(b"", b"soon", b"inf", b"-inf", b"nan", b"-1", b"1e400", DIGITS, b"9" * 5000, b"0"),
        *(b"\xff", b"1 2", b"0x10"),
    ],
)
async def test_a_moment_that_is_none_is_a_miss(
    layer: SharedCacheLayer, cache: Counting, moment: bytes
) -> None:
    """An entry that is never old would be served for ever."""
    await cache.put(TAG_KEY, f"{IMAGE.digest} ".encode() + moment, life=LIFE)
    await cache.put(f"list:{CARGO}:tags:", moment + b"\npage", life=LIFE)
    assert (await layer.look_tag(CARGO, ONE)).tag is None
    assert await layer.look_listing(CARGO, "tags:") is None


async def test_a_moment_of_two_lines_is_a_miss(layer: SharedCacheLayer, cache: Counting) -> None:
    await cache.put(TAG_KEY, f"{IMAGE.digest} 1000\r\n2000".encode(), life=LIFE)
    assert (await layer.look_tag(CARGO, ONE)).tag is None


@pytest.mark.parametrize(
    "digest",
    ["sha256:x", "md5:" + "0" * 32, IMAGE.digest.upper(), f"{IMAGE.digest}\r", " " + IMAGE.digest],
)
async def test_a_digest_that_is_none_is_a_miss(
    layer: SharedCacheLayer, cache: Counting, digest: str
) -> None:
    await cache.put(TAG_KEY, f"{digest} 1000.0".encode(), life=LIFE)
    await cache.put("rep:1", digest.encode(), life=LIFE)
    assert (await layer.look_tag(CARGO, ONE)).tag is None
    assert await layer.look_representation("rep:1") is None


@pytest.mark.parametrize("value", GARBAGE.values(), ids=GARBAGE)
async def test_a_mark_of_a_purge_that_is_garbage_is_no_purge(
    layer: SharedCacheLayer, cache: Counting, value: bytes
) -> None:
    await layer.commit(pull_of(IMAGE, at=1e9))
    await cache.put(f"purged:{CARGO}", value, life=LIFE)
    assert (await layer.look_tag(CARGO, ONE)).tag is not None
    assert await layer.purge(CARGO, 1.5e9, tags=True)
    assert (await layer.look_tag(CARGO, ONE)).tag is None


@pytest.mark.parametrize("mark", [b"inf inf", b"nan nan", DIGITS + b" " + DIGITS])
async def test_a_mark_of_a_purge_that_never_comes_voids_nothing(
    layer: SharedCacheLayer, cache: Counting, mark: bytes
) -> None:
    await layer.commit(pull_of(IMAGE, at=1000.0))
    await cache.put(f"purged:{CARGO}", mark, life=LIFE)
    assert (await layer.look_tag(CARGO, ONE)).tag == TagEntry(IMAGE.digest, 1000.0)


async def test_a_type_with_line_feeds_is_a_miss(layer: SharedCacheLayer, cache: Counting) -> None:
    """It is the type of an answer, so it becomes a header."""
    await cache.put(GRANT_KEY, b'["delivered","a/b\\r\\nX-Injected: 1"]', life=LIFE)
    assert (await layer.look_manifest(CARGO, IMAGE.digest)).grant is None


async def test_a_look_at_a_tag_is_two_ways_to_the_cache_and_back(
    layer: SharedCacheLayer, cache: Counting
) -> None:
    """The entry, beside the mark of a purge; then bytes and grant at once."""
    await layer.look_tag(CARGO, ONE)
    assert sorted(cache.asked) == ["purged", "tag"]
    await layer.commit(pull_of(IMAGE))
    cache.asked.clear()
    await layer.look_tag(CARGO, ONE)
    assert cache.asked == ["tag", "grant", "manifest"], "the mark is remembered"
    layer.forget_mutable()
    cache.asked.clear()
    await layer.look_tag(CARGO, ONE)
    assert sorted(cache.asked) == ["grant", "manifest", "purged", "tag"]


async def test_lives_fit_what_is_stored(layer: SharedCacheLayer, cache: Counting) -> None:
    day = 86400.0
    batch = pull_of(IMAGE, origin=ORIGIN)
    batch.representations.append(("rep:1", IMAGE.digest))
    batch.listings.append((CARGO, "tags:", Listing(b"page", 1000.0)))
    await layer.commit(batch)
    assert cache.lives == {
        TAG_KEY: LIFE,
        GRANT_KEY: 14 * day,
        f"manifest:{IMAGE.digest}": 14 * day,
        f"origin:{IMAGE.digest}": 400 * day,
        "rep:1": 14 * day,
        f"list:{CARGO}:tags:": LIFE,
    }


@pytest.mark.parametrize(("size", "is_stored"), [(256 * 1024, True), (256 * 1024 + 1, False)])
async def test_a_large_value_is_left_to_the_index(
    layer: SharedCacheLayer, size: int, *, is_stored: bool
) -> None:
    listing = Listing(bytes(size - len(b"1000.000\n")), 1000.0)
    await layer.commit(Batch(listings=[(CARGO, "tags:", listing)]))
    assert (await layer.look_listing(CARGO, "tags:") == listing) is is_stored


async def test_a_purge_that_the_cache_does_not_take_is_said(
    layer: SharedCacheLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put(*_arguments: object, **_more: object) -> None:
        """Lost, as by a Redis that is away."""

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "put", put)
        assert not await layer.purge(CARGO, 1000.0, tags=True)
    assert await layer.purge(CARGO, 1000.0, tags=True)


async def test_names_cannot_make_one_key_of_two(layer: SharedCacheLayer) -> None:
    """A repository's name has no colon after its registry, so a tag ends where it begins."""
    await layer.commit(pull_of(IMAGE, "localhost:5000/a", tag=Tag("b")))
    assert (await layer.look_tag("localhost:5000/a", Tag("b"))).tag is not None
    for repository, tag in (("localhost", "b"), ("localhost:5000/a/b", "b")):
        assert (await layer.look_tag(repository, Tag(tag))).tag is None
    await layer.close()
