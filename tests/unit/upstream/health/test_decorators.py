"""Each decorator applies its rule to every question, and to nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import (
    BlobUnknown,
    FailedAt,
    FailureContext,
    ManifestUnknown,
    NameUnknown,
    Phase,
    RegistryError,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamUnavailable,
)
from proxy.kit.singleflight import SingleFlight
from proxy.oci.headers.link import Page
from proxy.oci.headers.ratelimit import RateLimit
from proxy.oci.reference import Digest, Tag
from proxy.ports import Fetched, Head
from proxy.stores.memory.cache import MemoryManifests
from proxy.upstream.health.circuits import Circuits
from proxy.upstream.health.negative_cache import NegativeCache
from proxy.upstream.health.rate_limit import UpstreamMeter
from proxy.upstream.health.resilient import ResilientUpstream
from tests.kit import images
from tests.kit.manual_clock import ManualClock
from tests.kit.memory_upstream import MemoryUpstream, Script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.ports import Upstream

CONTENT: Final = b"layer" * 10_000
BLOB: Final = Digest.of(CONTENT)
IMAGE: Final = images.oci()
MANIFEST: Final = Digest.of(IMAGE.manifest)
TAG: Final = Tag("1")
NAME: Final = "library/cargo"
PAGE: Final = Page(b"{}", None, filtered=False)
UNREACHABLE: Final = UpstreamUnavailable(
    "the registry cannot be reached", context=FailureContext(phase=Phase.CONNECT)
)
DOWN: Final = UpstreamUnavailable("the registry answered 503", context=FailureContext(status=503))


async def read(upstream: Upstream, digest: Digest = BLOB, start: int = 0) -> bytes:
    async with upstream.blob(NAME, digest, start=start) as stream:
        assert stream.start == start
        assert stream.validator is None
        return b"".join([chunk async for chunk in stream.chunks()])


QUESTIONS: Final[dict[str, Callable[[Upstream], Awaitable[object]]]] = {
    "manifest_head": lambda upstream: upstream.head_manifest(NAME, TAG),
    "manifest": lambda upstream: upstream.manifest(NAME, TAG),
    "blob_head": lambda upstream: upstream.blob_size(NAME, BLOB),
    "blob": read,
    "tags": lambda upstream: upstream.tags(NAME, "n=5"),
    "referrers": lambda upstream: upstream.referrers(NAME, BLOB, ""),
}
FETCHED: Final = Fetched(IMAGE.manifest, IMAGE.media_type, MANIFEST)
ANSWERS: Final = {
    "manifest_head": Head(MANIFEST, IMAGE.media_type),
    "manifest": FETCHED,
    "blob_head": len(CONTENT),
    "blob": CONTENT,
    "tags": PAGE,
    "referrers": PAGE,
}


def registry() -> MemoryUpstream:
    manifests = {str(TAG): FETCHED, str(MANIFEST): FETCHED}
    return MemoryUpstream({BLOB: CONTENT}, manifests, {NAME: PAGE, BLOB: PAGE})


class World:
    """A registry behind circuit breaker and negative cache."""

    def __init__(self, *, offline: bool = False) -> None:
        self.clock = ManualClock()
        self.registry = registry()
        self.flights = SingleFlight()
        self.meter = UpstreamMeter(
            MemoryManifests(2**16),
            self.flights,
            upstream="docker.io",
            reserve=0.1,
            account=lambda: None,
            clock=self.clock,
        )
        self.upstream = ResilientUpstream(
            self.registry,
            name="docker.io",
            circuits=Circuits(name="docker.io", clock=self.clock),
            negative_cache=NegativeCache(not_found=5.0, denied=10.0, clock=self.clock),
            budget=self.meter,
            offline=offline,
        )

    async def ask(self, kind: str, *scripts: Script) -> RegistryError | None:
        """The error with which one question ends."""
        self.registry.scripts.extend(scripts)
        try:
            await QUESTIONS[kind](self.upstream)
        except RegistryError as error:
            return error
        return None


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("kind", QUESTIONS)
async def test_a_useful_answer_is_passed_on(world: World, kind: str) -> None:
    assert await QUESTIONS[kind](world.upstream) == ANSWERS[kind]
    assert world.upstream.trouble is None


async def test_three_failed_connections_open_the_circuit_for_every_question(world: World) -> None:
    for _ in range(3):
        assert await world.ask("manifest", Script(error=UNREACHABLE)) is UNREACHABLE
    assert world.upstream.trouble is UNREACHABLE
    world.registry.asked.clear()
    for other in QUESTIONS:
        error = await world.ask(other)
        assert isinstance(error, UpstreamUnavailable)
        assert "its circuit is open" in error.message
        assert error.retry_after
    assert world.registry.asked == []
    world.clock.advance(5.0)
    assert await world.ask("blob") is None
    assert world.upstream.trouble is None


@pytest.mark.parametrize(
    "error",
    [
        UpstreamDenied("the registry answered 403", context=FailureContext(status=403)),
        ManifestUnknown("there is no such manifest"),
        BlobUnknown("there is no such blob"),
        NameUnknown("there is no such repository"),
    ],
)
@pytest.mark.parametrize("kind", QUESTIONS)
async def test_a_refusal_is_remembered_for_its_question_only(
    world: World, kind: str, error: RegistryError
) -> None:
    assert await world.ask(kind, Script(error=error)) is error
    again = await world.ask(kind)
    assert type(again) is type(error)
    assert world.registry.count(kind) == 1
    for other in QUESTIONS.keys() - {kind}:
        assert await world.ask(other) is None
    world.clock.advance(10.0)
    assert await world.ask(kind) is None
    await world.ask(kind, Script(error=error))
    world.upstream.forget()
    assert await world.ask(kind) is None


async def test_a_refusal_is_for_no_time_if_the_settings_say_so(world: World) -> None:
    world.upstream.adopt(not_found=0.0, denied=0.0, reserve=0.5)
    await world.ask("manifest", Script(error=ManifestUnknown("there is no such manifest")))
    assert await world.ask("manifest") is None


@pytest.mark.parametrize(
    "error",
    [
        UpstreamInvalid("the registry sent another digest"),
        UpstreamUnavailable("cut off", context=FailureContext(status=200)),
        UpstreamUnavailable("405", context=FailureContext(status=405)),
        UpstreamUnavailable(
            "the storage is down", context=FailureContext(at=FailedAt.REDIRECT, status=503)
        ),
        UpstreamUnavailable("the storage is silent", context=FailureContext(at=FailedAt.REDIRECT)),
    ],
)
async def test_a_failure_of_one_answer_is_not_the_registry_s(
    world: World, error: RegistryError
) -> None:
    for _ in range(2):
        assert await world.ask("blob", Script(error=error)) is error
    await world.ask("blob", Script(error=error))
    assert world.upstream.trouble is None
    assert await world.ask("manifest") is None


async def test_a_body_that_ends_early_says_nothing_about_the_registry(world: World) -> None:
    for _ in range(5):
        assert await world.ask("blob", Script(cut=100, failure=DOWN)) is DOWN
    assert world.upstream.trouble is None


async def test_an_offline_upstream_is_asked_for_nothing() -> None:
    world = World(offline=True)
    for kind in QUESTIONS:
        assert isinstance(await world.ask(kind), UpstreamOffline)
    assert isinstance(world.upstream.trouble, UpstreamOffline)
    assert world.registry.asked == []


async def test_the_reserve_is_that_of_the_budget(world: World) -> None:
    assert not await world.upstream.is_at_its_reserve()
    world.meter.record(RateLimit(100, 10, 60))
    assert await world.upstream.is_at_its_reserve()
    world.clock.advance(61.0)
    assert not await world.upstream.is_at_its_reserve()
    await world.flights.finish(1.0)


async def test_everything_behind_a_decorator_is_closed(world: World) -> None:
    await world.upstream.close()
    assert world.registry.closed
