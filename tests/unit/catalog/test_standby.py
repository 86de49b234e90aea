"""Mirrors stand in for a registry that is down, and for none that answers."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.catalog.routing import Standby
from proxy.errors import (
    BudgetReserved,
    FailureContext,
    ManifestUnknown,
    NameUnknown,
    Phase,
    RangeInvalid,
    RegistryError,
    TagDeleted,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamSaturated,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.oci.reference import Repository, mirrors_of
from proxy.telemetry import trace

CARGO: Final = Repository("docker.io", "library/cargo", "cargo")
OTHER: Final = Repository("quay.io", "org/cargo", "org/cargo")
STANDBY: Final = Standby(["docker.io", "quay.io", mirrors_of("docker.io")])
OUTAGES: Final = (
    UpstreamUnavailable("no connection", context=FailureContext(phase=Phase.CONNECT)),
    UpstreamUnavailable("no answer", context=FailureContext(phase=Phase.WAIT)),
    UpstreamUnavailable("503", context=FailureContext(status=503), retry_after=5.0),
    UpstreamUnavailable("its circuit is open", retry_after=1.0),
)
ANSWERS: Final = (
    UpstreamDenied("401"),
    UpstreamThrottled("429"),
    BudgetReserved("the rest is kept"),
    UpstreamInvalid("nonsense"),
    TagDeleted("gone"),
    ManifestUnknown("404"),
    NameUnknown("404"),
    UpstreamOffline("by the settings"),
    UpstreamSaturated("our limit"),
    UpstreamUnavailable("no password", context=FailureContext(phase=Phase.PREPARE)),
)


class Places:
    """What is asked at each place, and what it answers: an error, or its name."""

    def __init__(self, errors: dict[str, RegistryError]) -> None:
        self.errors = errors
        self.asked: list[str] = []

    async def ask(self, place: Repository) -> str:
        self.asked.append(str(place))
        assert place.addressed == "cargo"
        if (error := self.errors.get(place.registry)) is not None:
            raise error
        return str(place)


@pytest.mark.parametrize("outage", OUTAGES, ids=str)
async def test_mirrors_answer_for_a_registry_that_is_down(outage: RegistryError) -> None:
    request = trace.begin()
    places = Places({"docker.io": outage})
    assert await STANDBY.ask(CARGO, places.ask) == "docker.io~mirrors/library/cargo"
    assert places.asked == [str(CARGO), str(CARGO.at_mirrors)]
    assert request.via == "mirror"


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
async def test_an_answer_is_one_and_our_own_limits_are_no_outage(answer: RegistryError) -> None:
    places = Places({"docker.io": answer})
    with pytest.raises(type(answer)) as raised:
        await STANDBY.ask(CARGO, places.ask)
    assert raised.value is answer
    assert places.asked == [str(CARGO)]


@pytest.mark.parametrize("error", [*OUTAGES, *ANSWERS], ids=str)
async def test_mirrors_decide_nothing_by_having_nothing(error: RegistryError) -> None:
    request = trace.begin()
    places = Places({"docker.io": OUTAGES[0], mirrors_of("docker.io"): error})
    with pytest.raises(UpstreamUnavailable) as raised:
        await STANDBY.ask(CARGO, places.ask)
    assert raised.value is OUTAGES[0]
    assert request.via == ""


async def test_a_range_that_does_not_fit_is_the_client_s_mistake() -> None:
    places = Places({"docker.io": OUTAGES[0], mirrors_of("docker.io"): RangeInvalid("no", size=10)})
    with pytest.raises(RangeInvalid):
        await STANDBY.ask(CARGO, places.ask)


async def test_a_registry_that_answers_is_enough() -> None:
    places = Places({})
    assert await STANDBY.ask(CARGO, places.ask) == str(CARGO)
    assert len(places.asked) == 1


async def test_without_mirrors_the_failure_is_the_answer() -> None:
    async def fail(_place: Repository) -> str:
        raise OUTAGES[0]

    assert not STANDBY.has(OTHER)
    assert not STANDBY.has(CARGO.at_mirrors)
    for place in (OTHER, CARGO.at_mirrors):
        with pytest.raises(UpstreamUnavailable):
            await STANDBY.ask(place, fail)


def test_the_same_repository_at_both_places() -> None:
    assert CARGO.at_mirrors.is_at_mirrors
    assert not CARGO.is_at_mirrors
    assert CARGO.at_mirrors.official == CARGO.official == CARGO
