"""The registry says what there is; mirrors deliver what it has named, and nothing that is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from proxy.errors import (
    BlobUnknown,
    BlobUnproved,
    FailureContext,
    ManifestUnknown,
    Phase,
    RangeInvalid,
    RegistryError,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamUnavailable,
)
from proxy.kit.singleflight import SingleFlight
from proxy.oci.headers.link import Page
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Tag
from proxy.ports import Fetched, Head
from proxy.ports.catalog import Claim, Grant, Proof
from proxy.stores.memory.cache import MemoryManifests
from proxy.upstream.health.circuits import Circuits
from proxy.upstream.health.failover import FailoverUpstream
from proxy.upstream.health.mirrors import Mirrors
from proxy.upstream.health.mirrors_alone import MirrorsAlone
from proxy.upstream.health.negative_cache import NegativeCache
from proxy.upstream.health.rate_limit import UpstreamMeter
from proxy.upstream.health.resilient import ResilientUpstream
from proxy.upstream.health.verified_mirror import VerifiedMirror
from tests.kit import images
from tests.kit.manual_clock import ManualClock
from tests.kit.memory_upstream import MemoryUpstream, Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.ports import Upstream

LARGE: Final = bytes(range(256)) * 1000
SMALL: Final = b"config"
LAYER: Final = Digest.of(LARGE)
CONFIG: Final = Digest.of(SMALL)
# Without a `mediaType`, so that only somebody's word says which of two types it is.
IMAGE: Final = images.oci("untyped")
MANIFEST: Final = Digest.of(IMAGE.manifest)
FETCHED: Final = Fetched(IMAGE.manifest, IMAGE.media_type, MANIFEST)
TAG: Final = Tag("1")
NAME: Final = "library/cargo"
PAGE: Final = Page(b"{}", None, filtered=False)
UNREACHABLE: Final = UpstreamUnavailable(
    "the registry cannot be reached", context=FailureContext(phase=Phase.CONNECT)
)
DOWN: Final = UpstreamUnavailable("the registry answered 503", context=FailureContext(status=503))
SILENT: Final = UpstreamUnavailable("no answer", context=FailureContext(phase=Phase.WAIT))


async def read(upstream: Upstream, digest: Digest = LAYER, start: int = 0) -> bytes:
    async with upstream.blob(NAME, digest, start=start) as stream:
        return b"".join([chunk async for chunk in stream.chunks()])


QUESTIONS: Final[dict[str, Callable[[Upstream], Awaitable[object]]]] = {
    "HEAD of a tag": lambda upstream: upstream.head_manifest(NAME, TAG),
    "HEAD of a manifest": lambda upstream: upstream.head_manifest(NAME, MANIFEST),
    "a tag": lambda upstream: upstream.manifest(NAME, TAG),
    "a manifest": lambda upstream: upstream.manifest(NAME, MANIFEST),
    "HEAD of a blob": lambda upstream: upstream.blob_size(NAME, LAYER),
    "a blob": read,
    "tags": lambda upstream: upstream.tags(NAME, ""),
    "referrers": lambda upstream: upstream.referrers(NAME, MANIFEST, ""),
}
# What mirrors may deliver, once the registry has named it.
MOVABLE: Final = {"a manifest", "a blob"}


def everything() -> MemoryUpstream:
    manifests = {str(TAG): FETCHED, str(MANIFEST): FETCHED}
    return MemoryUpstream({LAYER: LARGE, CONFIG: SMALL}, manifests, {NAME: PAGE, MANIFEST: PAGE})


class World:
    """A registry with two mirrors, each behind a circuit breaker; the second is never for tags."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.first, self.second, self.own = everything(), everything(), everything()
        self.named: dict[Digest, Grant | Claim] = {}
        self.registry = self.resilient(self.own, "docker.io")
        self.mirrors = Mirrors(
            [
                VerifiedMirror(
                    self.resilient(each, f"docker.io mirror {number}"),
                    name=f"mirror {number}",
                    answers_tags=number == 1,
                    clock=self.clock,
                )
                for number, each in enumerate((self.first, self.second), 1)
            ]
        )
        self.upstream = FailoverUpstream(self.registry, mirrors=self.mirrors, names=self.names)
        self.alone = MirrorsAlone(self.mirrors, name="docker.io", names=self.names)

    def resilient(self, upstream: Upstream, name: str) -> ResilientUpstream:
        meter = UpstreamMeter(
            MemoryManifests(2**16),
            SingleFlight(),
            upstream=name,
            reserve=0.1,
            account=lambda: None,
            clock=self.clock,
        )
        return ResilientUpstream(
            upstream,
            name=name,
            circuits=Circuits(name=name, clock=self.clock),
            negative_cache=NegativeCache(not_found=0.0, denied=0.0, clock=self.clock),
            budget=meter,
        )

    async def names(self, name: str, digest: Digest) -> Grant | Claim | None:
        assert name == NAME
        return self.named.get(digest)

    def name(self) -> None:
        """The registry's manifests name all of it."""
        self.named = {
            MANIFEST: Claim(MediaType.OCI_MANIFEST, len(IMAGE.manifest)),
            LAYER: Claim(None, len(LARGE)),
            CONFIG: Claim(None, len(SMALL)),
        }

    @property
    def asked(self) -> list[int]:
        return [len(each.asked) for each in (self.first, self.second, self.own)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_a_mirror_is_not_asked_for_what_the_registry_has_not_named(
    world: World, kind: str
) -> None:
    assert await QUESTIONS[kind](world.upstream)
    assert world.asked == [0, 0, 1]


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_mirrors_deliver_what_is_named_and_nothing_else(world: World, kind: str) -> None:
    world.name()
    assert await QUESTIONS[kind](world.upstream)
    assert world.asked == ([1, 0, 0] if kind in MOVABLE else [0, 0, 1])


async def test_a_tag_of_the_registry_names_a_manifest_in_its_repository(world: World) -> None:
    assert (await world.upstream.head_manifest(NAME, TAG)).digest == MANIFEST
    assert await world.upstream.manifest(NAME, MANIFEST) == FETCHED
    assert world.asked == [1, 0, 1]
    world.named = {}
    other = FailoverUpstream(world.registry, mirrors=world.mirrors, names=world.names)
    await other.manifest(NAME, MANIFEST)
    assert world.asked == [1, 0, 2]


async def test_a_head_by_digest_names_nothing(world: World) -> None:
    await world.upstream.head_manifest(NAME, MANIFEST)
    await world.upstream.manifest(NAME, MANIFEST)
    assert world.asked == [0, 0, 2]


@pytest.mark.parametrize(
    ("kind", "named"),
    [("a manifest", Claim(None, None)), ("a blob", Claim(MediaType.OCI_MANIFEST, None))],
)
async def test_what_is_named_as_something_else_is_not_named(
    world: World, kind: str, named: Claim
) -> None:
    world.named = dict.fromkeys((MANIFEST, LAYER), named)
    await QUESTIONS[kind](world.upstream)
    assert world.asked == [0, 0, 1]


async def test_what_is_granted_was_named(world: World) -> None:
    world.named = {
        MANIFEST: Grant(Proof.HEAD, MediaType.OCI_MANIFEST),
        LAYER: Grant(Proof.DELIVERED),
    }
    for kind in sorted(MOVABLE):
        await QUESTIONS[kind](world.upstream)
    assert world.asked == [2, 0, 0]


@pytest.mark.parametrize("kind", sorted(MOVABLE))
@pytest.mark.parametrize(
    "error",
    [
        DOWN,
        SILENT,
        ManifestUnknown("no"),
        BlobUnknown("no"),
        UpstreamDenied("no"),
        RangeInvalid("no", size=3),
    ],
    ids=lambda error: f"{type(error).__name__} {error}",
)
async def test_whatever_a_mirror_answers_instead_settles_nothing(
    world: World, kind: str, error: RegistryError
) -> None:
    world.name()
    world.first.scripts.append(Script(error=error))
    await QUESTIONS[kind](world.upstream)
    assert world.asked == [1, 1, 0]
    for mirror in (world.first, world.second):
        mirror.scripts.append(Script(error=error))
    await QUESTIONS[kind](world.upstream)
    assert world.asked[2] == 1


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_the_registry_s_own_failure_is_the_answer(world: World, kind: str) -> None:
    denied = UpstreamDenied("the registry answered 403")
    for mirror in (world.first, world.second):
        mirror.scripts.append(Script(error=UpstreamInvalid("nonsense")))
    world.own.scripts.append(Script(error=denied))
    with pytest.raises(UpstreamDenied) as raised:
        await QUESTIONS[kind](world.upstream)
    assert raised.value is denied


async def test_the_registry_s_open_circuit_stops_no_mirror(world: World) -> None:
    world.name()
    for _ in range(3):
        world.own.scripts.append(Script(error=UNREACHABLE))
        with pytest.raises(UpstreamUnavailable):
            await world.upstream.head_manifest(NAME, TAG)
    assert world.upstream.trouble is UNREACHABLE
    assert await world.upstream.manifest(NAME, MANIFEST) == FETCHED
    assert await read(world.upstream) == LARGE
    with pytest.raises(UpstreamUnavailable, match="its circuit is open"):
        await world.upstream.manifest(NAME, TAG)
    assert world.asked == [2, 0, 3]


async def test_a_mirror_s_open_circuit_stops_nobody_else(world: World) -> None:
    world.name()
    world.first.scripts.extend([Script(error=UNREACHABLE)] * 3)
    for _ in range(5):
        assert await read(world.upstream) == LARGE
    assert world.asked == [3, 5, 0]
    assert world.upstream.trouble is None


async def test_an_offline_upstream_asks_no_mirror(world: World) -> None:
    world.name()
    world.registry.offline = True
    for kind in QUESTIONS:
        with pytest.raises(UpstreamOffline):
            await QUESTIONS[kind](world.upstream)
    assert world.asked == [0, 0, 0]


@pytest.mark.parametrize("error", [DOWN, BlobUnknown("no")], ids=["down", "unknown"])
async def test_the_size_of_a_named_blob_is_left_open_if_the_registry_does_not_give_it(
    world: World, error: RegistryError
) -> None:
    world.own.scripts.extend([Script(error=error)] * 2)
    with pytest.raises(type(error)):
        await world.upstream.blob_size(NAME, LAYER)
    world.name()
    with pytest.raises(BlobUnproved):
        await world.upstream.blob_size(NAME, LAYER)
    world.own.scripts.append(Script(error=UpstreamDenied("no")))
    with pytest.raises(UpstreamDenied):
        await world.upstream.blob_size(NAME, LAYER)
    assert world.asked[:2] == [0, 0]


# -- what a mirror sends -------------------------------------------------------------------------


async def test_a_mirror_s_media_type_says_nothing(world: World) -> None:
    world.named = {MANIFEST: Claim(MediaType.OCI_MANIFEST, None)}
    wrong = replace(FETCHED, content_type=MediaType.DOCKER_LIST)
    world.first.manifests = {str(MANIFEST): wrong, str(TAG): wrong}
    found = await world.upstream.manifest(NAME, MANIFEST)
    assert found == FETCHED
    assert (await world.alone.manifest(NAME, TAG)).content_type == ""


@pytest.mark.parametrize(
    "raw", [b"<html>", b"{}", images.docker("other").manifest], ids=["page", "empty", "other"]
)
async def test_a_wrong_manifest_is_passed_over(world: World, raw: bytes) -> None:
    world.name()
    world.first.manifests[MANIFEST] = Fetched(raw, IMAGE.media_type, MANIFEST)
    with structlog.testing.capture_logs() as log:
        assert await world.upstream.manifest(NAME, MANIFEST) == FETCHED
    assert [line["event"] for line in log] == ["mirror.sent_wrong"]
    assert world.asked == [1, 1, 0]


@pytest.mark.parametrize("digest", [LAYER, CONFIG], ids=["layer", "config"])
@pytest.mark.parametrize("content", [b"", b"<html>", LARGE + b"x"], ids=len)
async def test_a_blob_of_another_length_is_passed_over(
    world: World, digest: Digest, content: bytes
) -> None:
    world.name()
    world.first.scripts.append(Script(content=content))
    assert Digest.of(await read(world.upstream, digest)) == digest


@pytest.mark.parametrize("cut", [None, 3])
async def test_a_small_blob_is_verified_before_it_is_passed_on(
    world: World, cut: int | None
) -> None:
    world.name()
    world.first.scripts.append(Script(content=b"conpig", cut=cut))
    assert await read(world.upstream, CONFIG) == SMALL
    assert world.asked == [1, 1, 0]


async def test_a_large_wrong_blob_is_taken_once(world: World) -> None:
    world.name()
    world.first.scripts.append(Script(content=bytes(len(LARGE))))
    with structlog.testing.capture_logs() as log:
        assert await read(world.upstream) == bytes(len(LARGE))
    assert [line["event"] for line in log] == ["mirror.sent_wrong"]
    world.clock.advance(3600.0)
    assert await read(world.upstream) == LARGE
    assert world.asked == [1, 1, 0]


async def test_more_than_the_blob_has_is_not_read(world: World) -> None:
    """The length is the descriptor's, and not what the mirror says, or does not say."""
    world.name()
    world.first.scripts.append(Script(content=LARGE * 2, states_length=False))
    assert await read(world.upstream) == LARGE


@pytest.mark.parametrize("failure", [DOWN, None], ids=["cut", "ends"])
async def test_a_mirror_that_stops_is_left_for_a_while(
    world: World, failure: RegistryError | None
) -> None:
    world.name()
    world.first.scripts.append(Script(cut=20_000, failure=failure))
    with pytest.raises(UpstreamUnavailable, match="stopped in the middle"):
        await read(world.upstream)
    assert await read(world.upstream, start=20_000) == LARGE[20_000:]
    assert await read(world.upstream, CONFIG) == SMALL
    assert world.asked == [2, 1, 0]
    world.clock.advance(30.0)
    assert await read(world.upstream) == LARGE
    assert world.asked == [3, 1, 0]


async def test_a_mirror_that_hardly_sends_anything_is_left(world: World) -> None:
    world.name()
    since = world.clock.monotonic()
    world.first.scripts.append(Script(pace=lambda: world.clock.advance(5.0)))
    with pytest.raises(UpstreamUnavailable, match="hardly sends anything"):
        await read(world.upstream)
    assert world.clock.monotonic() - since <= 20.0
    assert await read(world.upstream) == LARGE
    assert world.asked == [1, 1, 0]
    world.clock.advance(30.0)
    world.first.scripts.append(Script(pace=lambda: world.clock.advance(1.0)))
    assert await read(world.upstream) == LARGE
    assert world.asked == [2, 1, 0]


async def test_a_silent_mirror_is_waited_for_once(world: World) -> None:
    world.name()
    world.first.scripts.append(Script(error=SILENT))
    for digest in (LAYER, CONFIG):
        assert await read(world.upstream, digest)
    assert world.asked == [1, 2, 0]
    world.clock.advance(30.0)
    assert await read(world.upstream)
    assert world.asked == [2, 2, 0]


async def test_a_part_is_not_verified_alone(world: World) -> None:
    world.name()
    for _ in range(2):
        async with world.upstream.blob(NAME, LAYER, start=5, end=9) as stream:
            assert b"".join([chunk async for chunk in stream.chunks()]) == LARGE[5:10]
    assert world.asked == [2, 0, 0]


# -- while the registry is down ------------------------------------------------------------------


async def test_mirrors_alone_are_asked_for_tags_if_they_may(world: World) -> None:
    assert await world.alone.head_manifest(NAME, TAG) == Head(None, "")
    assert (await world.alone.manifest(NAME, TAG)).raw == IMAGE.manifest
    assert await world.alone.tags(NAME, "") is PAGE
    assert await world.alone.referrers(NAME, MANIFEST, "") is PAGE
    assert world.asked == [3, 0, 0]
    world.first.scripts.extend([Script(error=ManifestUnknown("no"))] * 3)
    with pytest.raises(UpstreamUnavailable, match="no mirror has library/cargo 1"):
        await world.alone.manifest(NAME, TAG)
    with pytest.raises(UpstreamUnavailable):
        await world.alone.tags(NAME, "")
    assert await world.alone.referrers(NAME, MANIFEST, "") is None
    assert world.asked == [6, 0, 0]


async def test_mirrors_alone_deliver_what_they_have_named(world: World) -> None:
    for ask in (QUESTIONS[kind] for kind in ("a manifest", "a blob", "HEAD of a blob")):
        with pytest.raises(UpstreamUnavailable):
            await ask(world.alone)
    assert world.asked == [0, 0, 0]
    world.name()
    world.first.scripts.extend([Script(error=BlobUnknown("no"))] * 2)
    assert await world.alone.manifest(NAME, MANIFEST) == FETCHED
    assert await read(world.alone) == LARGE
    with pytest.raises(BlobUnproved):
        await world.alone.blob_size(NAME, LAYER)
    assert world.asked == [2, 2, 0]
    assert world.alone.trouble is None
    assert not await world.alone.is_at_its_reserve()


async def test_a_digest_that_a_mirror_sends_with_a_tag_must_fit(world: World) -> None:
    world.first.manifests[str(TAG)] = replace(FETCHED, digest=LAYER)
    with pytest.raises(UpstreamUnavailable):
        await world.alone.manifest(NAME, TAG)


async def test_everything_is_closed(world: World) -> None:
    await world.alone.close()
    assert not world.first.closed
    await world.upstream.close()
    assert all(each.closed for each in (world.first, world.second, world.own))
