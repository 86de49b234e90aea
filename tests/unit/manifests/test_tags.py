"""What a tag names: the fresh copy, else what the upstream says, else the stale copy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import (
    FailureContext,
    ManifestUnconfirmed,
    ManifestUnknown,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.manifests.freshness import Reason
from proxy.oci.reference import Digest, Repository, Tag
from proxy.ports.catalog import Grant, Proof, TagEntry
from proxy.stores.memory.leases import MemoryLeases
from proxy.telemetry.trace import Outcome
from tests.kit import images
from tests.kit.manual_clock import idle
from tests.kit.memory_upstream import Script
from tests.kit.pulls import ONE, pull_of

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("docker.io", "library/other", "other")
OLD, NEW = images.docker("old"), images.docker("new")
ANOTHER: Final = images.docker("another")
TWO: Final = Tag("2")
DOWN: Final = UpstreamUnavailable("the registry is down")
NOT_ALLOWED: Final = UpstreamUnavailable("405", context=FailureContext(status=405))


async def pull(world: ManifestWorld, content: images.Content = OLD) -> None:
    """Have the tag cached, and nothing asked since."""
    world.upstream.push(content, ONE)
    await world.resolve(CARGO, ONE)
    world.asked()
    world.layer.reset()


async def know(world: ManifestWorld) -> None:
    """Have another tag of the repository cached."""
    world.upstream.push(ANOTHER, TWO)
    await world.resolve(CARGO, TWO)
    world.asked()
    world.layer.reset()


async def test_a_cold_tag_is_one_get_and_learnt_by_one_commit(world: ManifestWorld) -> None:
    manifest = world.upstream.push(OLD, ONE)
    found, trace = await world.resolve(CARGO, ONE)
    assert found == manifest
    assert (trace.outcome, trace.stored) == (Outcome.MISS, True)
    assert world.asked() == ["manifest"]
    assert world.layer.reads == world.layer.calls["commit"] == 1
    (batch,) = world.layer.batches
    assert batch.tags == [(str(CARGO), ONE, TagEntry(manifest.digest, world.clock.wall()))]
    assert batch.grants == [
        (str(CARGO), manifest.digest, Grant(Proof.DELIVERED, manifest.media_type))
    ]
    assert world.tags.fresh(CARGO, ONE) == manifest.digest


async def test_where_other_tags_are_stored_a_head_may_save_the_get(world: ManifestWorld) -> None:
    await know(world)
    world.upstream.push(ANOTHER, ONE)
    await world.resolve(CARGO, ONE)
    assert world.asked() == ["manifest_head"]
    world.upstream.push(NEW, ONE)
    world.clock.advance(100)
    await world.resolve(CARGO, ONE)
    assert world.asked() == ["manifest_head", "manifest"]


async def test_a_client_that_asks_by_head_costs_a_head_first(world: ManifestWorld) -> None:
    world.upstream.push(OLD, ONE)
    await world.resolve(CARGO, ONE, by_head=True)
    assert world.asked() == ["manifest_head", "manifest"]


async def test_where_mirrors_deliver_the_registry_names_a_digest_first(
    world: ManifestWorld,
) -> None:
    world.head_first = {"docker.io"}
    world.restart()
    world.upstream.push(OLD, ONE)
    await world.resolve(CARGO, ONE)
    assert world.asked() == ["manifest_head", "manifest"]


async def test_what_another_process_has_learnt_under_the_lease_is_not_asked_again(
    world: ManifestWorld,
) -> None:
    """It began after this process had looked, and is asked for where all processes look first."""
    world.leases = MemoryLeases()
    world.restart()
    manifest = world.upstream.push(OLD, ONE)
    lease = await world.leases.claim(f"tag:{CARGO}:{ONE}")
    assert lease is not None
    resolving = asyncio.ensure_future(world.resolve(CARGO, ONE))
    await idle()
    await world.layer.commit(pull_of(manifest, str(CARGO), at=world.clock.wall()))
    lease.release()
    await world.clock.run(1.0)
    found, trace = await resolving
    assert (found.raw, world.asked()) == (OLD.manifest, [])
    assert trace.outcome is Outcome.HIT


async def test_a_fresh_tag_asks_nobody_and_not_even_the_layers(world: ManifestWorld) -> None:
    await pull(world)
    world.clock.advance(59)
    found, trace = await world.resolve(CARGO, ONE)
    assert (found.raw, trace.outcome) == (OLD.manifest, Outcome.HIT)
    assert world.asked() == []
    assert world.layer.reads == 0


async def test_a_process_that_starts_finds_a_fresh_tag_by_one_read(world: ManifestWorld) -> None:
    await pull(world)
    world.restart()
    assert world.tags.fresh(CARGO, ONE) is None
    found, trace = await world.resolve(CARGO, ONE)
    assert (found.raw, trace.outcome) == (OLD.manifest, Outcome.HIT)
    assert (world.asked(), world.layer.reads) == ([], 1)


async def test_a_stale_tag_that_has_not_moved_is_one_head(world: ManifestWorld) -> None:
    await pull(world)
    world.clock.advance(100)
    found, trace = await world.resolve(CARGO, ONE)
    assert (found.raw, trace.outcome) == (OLD.manifest, Outcome.REVALIDATED)
    assert world.asked() == ["manifest_head"]
    world.clock.advance(59)
    _, trace = await world.resolve(CARGO, ONE)
    assert trace.outcome is Outcome.HIT


async def test_a_tag_that_has_moved_is_fetched(world: ManifestWorld) -> None:
    await pull(world)
    world.upstream.push(NEW, ONE)
    world.clock.advance(100)
    found, trace = await world.resolve(CARGO, ONE)
    assert (found.raw, trace.outcome) == (NEW.manifest, Outcome.MISS)
    assert world.asked() == ["manifest_head", "manifest"]


async def test_a_tag_that_has_moved_to_what_is_stored_is_no_get(world: ManifestWorld) -> None:
    await pull(world, OLD)
    world.clock.advance(100)
    await pull(world, NEW)
    world.upstream.push(OLD, ONE)
    world.clock.advance(100)
    found, trace = await world.resolve(CARGO, ONE)
    assert (found.raw, trace.outcome) == (OLD.manifest, Outcome.REVALIDATED)
    assert world.asked() == ["manifest_head"]


async def test_just_stale_is_served_while_the_upstream_is_asked(world: ManifestWorld) -> None:
    await pull(world)
    world.upstream.push(NEW, ONE)
    world.clock.advance(70)
    found, trace = await world.resolve(CARGO, ONE)
    assert found.raw == OLD.manifest
    assert (trace.outcome, trace.detail) == (Outcome.STALE, Reason.REVALIDATING)
    await idle()
    found, trace = await world.resolve(CARGO, ONE)
    assert (found.raw, trace.outcome) == (NEW.manifest, Outcome.HIT)


async def test_an_upstream_that_is_slow_costs_a_moment_once(world: ManifestWorld) -> None:
    await pull(world)
    world.lifetimes.revalidation_timeout = 0.02
    gate = asyncio.Event()
    real = world.upstream.head_manifest

    class Slow(type(world.upstream)):  # type: ignore[misc]
        async def head_manifest(self, name: str, reference: object) -> object:
            await gate.wait()
            return await real(name, reference)  # type: ignore[arg-type]

    slow = Slow(manifests=world.upstream.manifests)
    world.tags._upstreams = {"docker.io": slow}
    world.fetches._upstreams = {"docker.io": slow}
    world.clock.advance(100)
    found, trace = await world.resolve(CARGO, ONE)
    assert found.raw == OLD.manifest
    assert (trace.outcome, trace.detail) == (Outcome.STALE, Reason.SLOW)
    # The next request does not wait: another one has waited for longer already.
    world.lifetimes.revalidation_timeout = 3600.0
    world.clock.advance(3601)
    async with asyncio.timeout(30):
        _, trace = await world.resolve(CARGO, ONE)
    assert (trace.outcome, trace.detail) == (Outcome.STALE, Reason.SLOW)
    gate.set()
    await idle()
    _, trace = await world.resolve(CARGO, ONE)
    assert trace.outcome is Outcome.HIT, "the late answer is for the next request"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (UpstreamUnavailable("x"), Reason.UNAVAILABLE),
        (UpstreamDenied("x"), Reason.DENIED),
        (UpstreamThrottled("x"), Reason.THROTTLED),
        (UpstreamInvalid("x"), Reason.INVALID),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_failure_costs_no_stored_copy_and_is_not_asked_again_at_once(
    world: ManifestWorld, failure: UpstreamFailure, reason: Reason
) -> None:
    await pull(world)
    world.clock.advance(100)
    world.upstream.scripts.append(Script(error=failure))
    found, trace = await world.resolve(CARGO, ONE)
    assert found.raw == OLD.manifest
    assert (trace.outcome, trace.detail) == (Outcome.STALE, reason)
    assert world.asked() == ["manifest_head"]
    world.clock.advance(0.9)
    _, trace = await world.resolve(CARGO, ONE)
    assert (trace.outcome, trace.detail) == (Outcome.STALE, reason)
    assert world.asked() == []
    world.clock.advance(0.2)
    _, trace = await world.resolve(CARGO, ONE)
    assert trace.outcome is Outcome.REVALIDATED


async def test_what_is_forgotten_is_asked_again_at_once(world: ManifestWorld) -> None:
    await pull(world)
    world.clock.advance(100)
    world.upstream.scripts.append(Script(error=DOWN))
    await world.resolve(CARGO, ONE)
    world.tags.forget()
    _, trace = await world.resolve(CARGO, ONE)
    assert trace.outcome is Outcome.REVALIDATED


async def test_a_failure_without_a_copy_is_the_answer(world: ManifestWorld) -> None:
    world.upstream.push(OLD, ONE)
    world.upstream.scripts.append(Script(error=DOWN))
    with pytest.raises(UpstreamUnavailable):
        await world.resolve(CARGO, ONE)
    assert (await world.resolve(CARGO, ONE))[0].raw == OLD.manifest


async def test_a_copy_that_is_too_old_is_no_better_than_an_error(world: ManifestWorld) -> None:
    await pull(world)
    world.clock.advance(20_000)
    world.upstream.scripts.append(Script(error=DOWN))
    with pytest.raises(UpstreamUnavailable):
        await world.resolve(CARGO, ONE)


async def test_an_upstream_that_is_offline_gives_any_copy_its_use(world: ManifestWorld) -> None:
    await pull(world)
    world.clock.advance(1e8)
    world.upstream.trouble = UpstreamOffline("x")
    world.upstream.offline = True
    world.upstream.scripts.append(Script(error=UpstreamOffline("x")))
    found, trace = await world.resolve(CARGO, ONE)
    assert found.raw == OLD.manifest
    assert (trace.outcome, trace.detail) == (Outcome.STALE, Reason.OFFLINE)


@pytest.mark.parametrize("is_cached", [True, False])
async def test_a_tag_that_the_upstream_has_no_more_is_forgotten(
    world: ManifestWorld, *, is_cached: bool
) -> None:
    if is_cached:
        await pull(world)
        world.clock.advance(100)
        del world.upstream.manifests[ONE]
    with pytest.raises(ManifestUnknown):
        await world.resolve(CARGO, ONE)
    # A 404 for HEAD proves nothing, so GET settles it.
    assert world.asked() == ["manifest_head"] * is_cached + ["manifest"]
    assert (await world.layer.look_tag(str(CARGO), ONE)).tag is None
    assert world.catalog.remembered_tag(CARGO, ONE) is None


async def test_the_registry_s_404_to_head_is_final_where_a_get_has_just_confirmed_one(
    world: ManifestWorld,
) -> None:
    await know(world)
    for number, asked in enumerate((["manifest_head", "manifest"], *[["manifest_head"]] * 3)):
        with pytest.raises(ManifestUnknown):
            await world.resolve(CARGO, Tag(f"absent-{number}"))
        assert world.asked() == asked
    # Not for long, not in another repository, and not where something else has answered the HEAD.
    with pytest.raises(ManifestUnknown):
        await world.resolve(OTHER, ONE, by_head=True)
    assert world.asked() == ["manifest_head", "manifest"]
    world.upstream.scripts.append(Script(error=ManifestUnconfirmed("x")))
    with pytest.raises(ManifestUnknown):
        await world.resolve(CARGO, Tag("foreign"))
    assert world.asked() == ["manifest_head", "manifest"]
    world.clock.advance(10)
    with pytest.raises(ManifestUnknown):
        await world.resolve(CARGO, Tag("later"))
    assert world.asked() == ["manifest_head", "manifest"]


async def test_a_404_to_head_never_costs_a_stored_copy_by_itself(world: ManifestWorld) -> None:
    """A client may have asked for what there is not a moment ago."""
    await pull(world)
    world.clock.advance(100)
    with pytest.raises(ManifestUnknown):
        await world.resolve(CARGO, Tag("absent"))
    world.asked()
    world.upstream.scripts.append(Script(error=ManifestUnknown("x")))
    found, _ = await world.resolve(CARGO, ONE)
    assert found.raw == OLD.manifest
    assert world.asked() == ["manifest_head", "manifest"]


@pytest.mark.parametrize("error", [None, ManifestUnknown("x"), NOT_ALLOWED])
async def test_a_head_that_names_nothing_is_settled_by_one_get(
    world: ManifestWorld, error: ManifestUnknown | UpstreamUnavailable | None
) -> None:
    world.upstream.push(OLD, ONE)
    world.upstream.names_digests = False
    if error is not None:
        world.upstream.scripts.append(Script(error=error))
    found, _ = await world.resolve(CARGO, ONE, by_head=True)
    assert found.raw == OLD.manifest
    assert world.asked() == ["manifest_head", "manifest"]
    assert world.tags.fresh(CARGO, ONE) == OLD.digest


async def test_a_tag_that_moves_between_head_and_get_is_asked_by_its_name(
    world: ManifestWorld,
) -> None:
    world.upstream.push(OLD, ONE)
    world.upstream.scripts += [Script(), Script(error=ManifestUnknown("gone"))]
    found, _ = await world.resolve(CARGO, ONE, by_head=True)
    assert found.raw == OLD.manifest
    assert world.asked() == ["manifest_head", "manifest", "manifest"]


async def test_one_question_for_all_requests_that_need_it(world: ManifestWorld) -> None:
    world.upstream.push(OLD, ONE)
    found = await asyncio.gather(*(world.tags.resolve(CARGO, ONE) for _ in range(50)))
    assert {manifest.raw for manifest in found} == {OLD.manifest}
    assert world.asked() == ["manifest"]
    assert world.layer.calls["commit"] == 1


async def test_a_request_that_leaves_stops_no_other(world: ManifestWorld) -> None:
    world.upstream.push(OLD, ONE)
    first = asyncio.ensure_future(world.tags.resolve(CARGO, ONE))
    second = asyncio.ensure_future(world.tags.resolve(CARGO, ONE))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).raw == OLD.manifest


async def test_at_the_reserve_a_stored_copy_saves_a_pull(world: ManifestWorld) -> None:
    await pull(world)
    world.upstream.push(NEW, ONE)
    world.upstream.at_reserve = True
    world.clock.advance(100)
    found, trace = await world.resolve(CARGO, ONE)
    assert found.raw == OLD.manifest
    assert (trace.outcome, trace.detail) == (Outcome.STALE, Reason.BUDGET)
    assert world.asked() == ["manifest_head"], "HEAD is no pull"
    # The limit will not have recovered in a second, but by the time the tag would be stale.
    world.clock.advance(59)
    await world.resolve(CARGO, ONE)
    assert world.asked() == []
    world.upstream.at_reserve = False
    world.clock.advance(2)
    assert (await world.resolve(CARGO, ONE))[0].raw == NEW.manifest


async def test_the_reserve_is_for_images_that_are_not_cached(world: ManifestWorld) -> None:
    world.upstream.push(OLD, ONE)
    world.upstream.at_reserve = True
    assert (await world.resolve(CARGO, ONE))[0].raw == OLD.manifest


async def test_a_head_with_the_stored_length_proves_what_the_same_upstream_has_delivered(
    world: ManifestWorld,
) -> None:
    await pull(world)
    found, trace = await world.resolve(OTHER, ONE)
    assert found.raw == OLD.manifest
    # The catalog knows nothing of the other repository yet, so nothing is looked for.
    assert trace.outcome in {Outcome.MISS, Outcome.REVALIDATED}
    await world.catalog.drop_tag(OTHER, ONE)
    world.upstream.push(NEW, "2.0")
    await world.resolve(CARGO, type(ONE)("2.0"))
    world.asked()
    _, trace = await world.resolve(OTHER, type(ONE)("2.0"))
    assert world.asked() == ["manifest_head"]
    assert trace.outcome is Outcome.REVALIDATED
    found_grant = (await world.layer.look_manifest(str(OTHER), Digest(NEW.digest))).grant
    assert found_grant is not None
    assert found_grant.proof is Proof.HEAD


async def test_a_head_without_a_length_proves_nothing(world: ManifestWorld) -> None:
    await pull(world)
    world.upstream.push(NEW, "2.0")
    await world.resolve(OTHER, type(ONE)("2.0"))
    world.asked()
    world.upstream.names_sizes = False
    await world.resolve(OTHER, ONE)
    assert world.asked() == ["manifest_head", "manifest"]


async def test_a_slow_repository_costs_others_nothing(world: ManifestWorld) -> None:
    for place in (CARGO, OTHER):
        world.upstream.push(OLD, ONE)
        await world.resolve(place, ONE)
    world.clock.advance(100)
    world.tags._slowness.begin(CARGO, ONE)
    world.clock.advance(world.lifetimes.revalidation_timeout + 1)
    _, trace = await world.resolve(OTHER, ONE)
    assert trace.outcome is Outcome.REVALIDATED
