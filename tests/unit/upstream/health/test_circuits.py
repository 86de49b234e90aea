"""A failure holds what it is about, and nothing else."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.errors import (
    ClientThrottled,
    FailedAt,
    FailureContext,
    Phase,
    RegistryError,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamSaturated,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.upstream.health.circuits import MAX_HOLD, Circuits
from proxy.upstream.operation import Kind, Operation
from tests.kit.manual_clock import ManualClock


def failure(status: int | None = 503, **options: object) -> UpstreamUnavailable:
    wait = options.pop("retry_after", None)
    context = FailureContext(status=status, **options)  # type: ignore[arg-type]
    return UpstreamUnavailable("it failed", retry_after=wait, context=context)  # type: ignore[arg-type]


def throttled(*, wait: float | None = None, exhausted: bool = False) -> UpstreamThrottled:
    context = FailureContext(status=429, exhausted=exhausted)
    return UpstreamThrottled("429", retry_after=wait, context=context)


SILENT: Final = failure(None, phase=Phase.WAIT)
UNREACHABLE: Final = failure(None, phase=Phase.CONNECT)
BAD: Final = Operation(Kind.MANIFEST, "team/broken", "sha256:1")
GOOD: Final = Operation(Kind.MANIFEST, "library/cargo", "1")


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.circuits = Circuits(name="docker.io", clock=self.clock)

    def fail(self, error: UpstreamFailure, operation: Operation = BAD, times: int = 1) -> None:
        for _ in range(times):
            self.circuits.record_failure(operation, error)

    def held(self, operation: Operation) -> UpstreamFailure | None:
        try:
            self.circuits.check(operation)
        except UpstreamFailure as error:
            return error
        return None


@pytest.fixture
def world() -> World:
    return World()


def questions(kind: Kind, repository: str, count: int) -> list[Operation]:
    return [Operation(kind, repository, f"sha256:{number}") for number in range(count)]


@pytest.mark.parametrize("error", [failure(500), failure(503), SILENT])
def test_an_answer_stops_only_its_question(world: World, error: UpstreamFailure) -> None:
    world.fail(error, times=2)
    assert world.held(BAD) is None
    world.fail(error, times=50)
    assert isinstance(world.held(BAD), UpstreamUnavailable)
    assert world.held(Operation(Kind.MANIFEST, BAD.repository, "sha256:2")) is None
    assert world.held(GOOD) is None
    assert world.circuits.trouble is None
    world.clock.advance(1.0)
    assert [world.held(BAD) is None for _ in range(2)] == [True, False]
    world.circuits.record_success(BAD)
    assert world.held(BAD) is None


def test_five_questions_hold_their_kind_in_their_repository(world: World) -> None:
    for operation in questions(Kind.BLOB, "team/broken", 5):
        assert world.held(Operation(Kind.BLOB, "team/broken", "other")) is None
        world.fail(failure(500), operation)
    assert world.held(Operation(Kind.BLOB, "team/broken", "other")) is not None
    assert world.held(Operation(Kind.MANIFEST, "team/broken", "1")) is None
    assert world.held(Operation(Kind.BLOB, "library/cargo", "other")) is None
    assert world.circuits.trouble is None


def test_a_success_between_says_that_the_repository_works(world: World) -> None:
    for operation in questions(Kind.BLOB, "team/broken", 50):
        world.fail(failure(500), operation)
        world.circuits.record_success(Operation(Kind.BLOB, "team/broken", "good"))
    assert world.held(Operation(Kind.BLOB, "team/broken", "other")) is None


@pytest.mark.parametrize("error", [failure(500), SILENT, failure(503, at=FailedAt.TOKEN_SERVER)])
def test_five_repositories_open_the_circuit(world: World, error: UpstreamFailure) -> None:
    for number in range(5):
        assert world.held(GOOD) is None
        world.fail(error, Operation(Kind.MANIFEST, f"team/{number}", "1"), times=3)
    assert world.circuits.trouble is error
    assert world.held(GOOD) is not None
    world.clock.advance(1.0)
    assert [world.held(GOOD) is None for _ in range(2)] == [True, False]
    world.circuits.record_success(GOOD)
    assert world.circuits.trouble is None


@pytest.mark.parametrize("between", ["success", "time"])
def test_repositories_that_do_not_fail_together(world: World, between: str) -> None:
    for number in range(20):
        world.fail(failure(500), Operation(Kind.MANIFEST, f"team/{number}", "1"))
        if between == "success":
            world.circuits.record_success(GOOD)
        else:
            world.clock.advance(2.6)
    assert world.circuits.trouble is None


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (Kind.MANIFEST, failure(501)),
        (Kind.BLOB, failure(405)),
        (Kind.REFERRERS, failure(501)),
        (Kind.REFERRERS, failure(503)),
        (Kind.REFERRERS, SILENT),
        (Kind.REFERRERS, UNREACHABLE),
        (Kind.TAGS, UNREACHABLE),
        (Kind.BLOB, failure(503, at=FailedAt.REDIRECT)),
        (Kind.BLOB, failure(None, at=FailedAt.REDIRECT, phase=Phase.CONNECT)),
        (Kind.MANIFEST_HEAD, failure(500)),
        (Kind.MANIFEST, failure(None, phase=Phase.PREPARE)),
        (
            Kind.MANIFEST,
            ClientThrottled("often", retry_after=9.0, concerns_caller=lambda: True),
        ),
        (Kind.MANIFEST, UpstreamSaturated("busy", retry_after=5.0)),
        (Kind.MANIFEST, UpstreamSaturated("busy", context=FailureContext(phase=Phase.WAIT))),
        (Kind.MANIFEST, UpstreamInvalid("nonsense")),
    ],
)
def test_what_never_counts_for_anything_else(
    world: World, kind: Kind, error: UpstreamFailure
) -> None:
    for number in range(20):
        world.fail(error, Operation(kind, f"team/{number}", "1"), times=5)
    assert world.circuits.trouble is None
    for other in Kind:
        assert world.held(Operation(other, "library/cargo", "1")) is None


def test_a_head_that_a_get_settles_counts_once(world: World) -> None:
    head = Operation(Kind.MANIFEST_HEAD, BAD.repository, BAD.subject)
    for _ in range(2):
        world.fail(failure(500), head)
        world.fail(failure(500), BAD)
    assert world.held(BAD) is None
    world.fail(failure(500), BAD)
    assert world.held(BAD) is not None
    assert world.held(head) is not None


@pytest.mark.parametrize(("wait", "held"), [(30.0, 30.0), (86_400.0, MAX_HOLD)])
def test_retry_after_holds_what_it_answered(world: World, wait: float, held: float) -> None:
    world.fail(failure(503, retry_after=wait))
    other = Operation(Kind.MANIFEST, BAD.repository, "sha256:2")
    assert world.held(other) is None
    world.circuits.record_success(other)
    world.clock.advance(held - 0.1)
    error = world.held(BAD)
    assert error is not None
    assert error.retry_after == pytest.approx(0.1)
    assert world.held(GOOD) is None
    world.clock.advance(0.2)
    assert world.held(BAD) is None


def test_a_429_holds_its_repository(world: World) -> None:
    world.fail(throttled(wait=30.0))
    assert isinstance(world.held(Operation(Kind.MANIFEST, BAD.repository, "2")), UpstreamThrottled)
    assert world.held(Operation(Kind.BLOB, BAD.repository, "2")) is None
    assert world.held(GOOD) is None


def test_a_429_in_three_repositories_holds_the_account(world: World) -> None:
    for number in range(3):
        assert world.held(GOOD) is None
        world.fail(throttled(wait=30.0), Operation(Kind.MANIFEST, f"team/{number}", "1"))
    assert isinstance(world.held(GOOD), UpstreamThrottled)
    assert world.circuits.trouble is None
    world.clock.advance(30.1)
    assert world.held(GOOD) is None


def test_a_429_with_nothing_left_holds_the_account(world: World) -> None:
    world.fail(throttled(exhausted=True))
    assert isinstance(world.held(GOOD), UpstreamThrottled)
    # What was granted before is fetched whole: its blobs are of another kind.
    assert world.held(Operation(Kind.BLOB, GOOD.repository, "sha256:1")) is None
    world.clock.advance(10.1)
    assert world.held(GOOD) is None


def test_an_answer_of_any_kind_shows_that_the_registry_can_be_reached(world: World) -> None:
    world.fail(UNREACHABLE, times=3)
    assert world.circuits.trouble is UNREACHABLE
    world.fail(failure(500), GOOD)
    assert world.circuits.trouble is None


def test_what_is_held_is_bounded(world: World) -> None:
    for number in range(5_000):
        operation = Operation(Kind.MANIFEST, f"team/{number}", "1")
        world.fail(failure(500), operation, times=3)
        world.circuits.record_success(GOOD)
    assert world.circuits.remembered <= 1024
    assert world.held(GOOD) is None


def test_an_error_is_raised_anew_each_time(world: World) -> None:
    world.fail(failure(500), times=3)
    first, second = world.held(BAD), world.held(BAD)
    assert isinstance(first, RegistryError)
    assert first is not second
