"""What an upstream refused is remembered briefly, and not under another login."""

from __future__ import annotations

import pytest

from proxy.errors import FailureContext, ManifestUnknown, RegistryError, UpstreamDenied
from proxy.upstream.health.negative_cache import NegativeCache
from proxy.upstream.operation import Kind, Operation
from tests.kit.manual_clock import ManualClock

UNKNOWN = ManifestUnknown("there is no such manifest", detail={"Tag": "1"})
DENIED = UpstreamDenied("the upstream answered 403", context=FailureContext(status=403))
TAG = Operation(Kind.MANIFEST, "cargo", "1")
NAME = Operation(Kind.MANIFEST, "secret", "1")


class World:
    """The time, and who we are."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.login: object = "me"
        self.readable = True

    def who(self) -> object:
        if not self.readable:
            raise PermissionError
        return self.login


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def refusals(world: World) -> NegativeCache:
    refusals = NegativeCache(not_found=5.0, denied=10.0, login=world.who, clock=world.clock)
    refusals.add(TAG, UNKNOWN)
    refusals.add(NAME, DENIED)
    return refusals


def is_refused(refusals: NegativeCache, asked: Operation) -> bool:
    try:
        refusals.check(asked)
    except RegistryError:
        return True
    return False


@pytest.mark.parametrize(("asked", "error"), [(TAG, UNKNOWN), (NAME, DENIED)])
def test_the_same_refusal_is_raised_anew(
    refusals: NegativeCache, asked: Operation, error: RegistryError
) -> None:
    with pytest.raises(type(error)) as raised:
        refusals.check(asked)
    assert raised.value is not error
    assert (raised.value.message, raised.value.detail) == (error.message, error.detail)


def test_each_kind_has_its_time(refusals: NegativeCache, world: World) -> None:
    world.clock.advance(4.9)
    assert is_refused(refusals, TAG)
    world.clock.advance(0.1)
    assert not is_refused(refusals, TAG)
    assert is_refused(refusals, NAME)
    world.clock.advance(5.0)
    assert not is_refused(refusals, NAME)


def test_another_login_is_not_refused_for_the_last_one(
    refusals: NegativeCache, world: World
) -> None:
    world.login = "me, with another password"
    assert not is_refused(refusals, NAME)
    assert is_refused(refusals, TAG)


def test_a_login_that_cannot_be_read_refuses_nobody(refusals: NegativeCache, world: World) -> None:
    world.readable = False
    assert not is_refused(refusals, NAME)


def test_everything_is_forgotten_on_demand(refusals: NegativeCache) -> None:
    refusals.forget()
    assert not is_refused(refusals, TAG)
    assert not is_refused(refusals, NAME)


def test_no_time_is_no_memory(world: World) -> None:
    refusals = NegativeCache(not_found=0, denied=0, clock=world.clock)
    refusals.add(TAG, UNKNOWN)
    assert not is_refused(refusals, TAG)
