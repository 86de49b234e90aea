"""Slowness of one repository is its own; of five at once it is the registry's."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.manifests.slowness import Slowness
from proxy.oci.reference import Repository, Tag
from tests.kit.manual_clock import ManualClock

TIMEOUT: Final = 0.5
ONE, TWO = Tag("1"), Tag("2")


def repository(name: str, registry: str = "docker.io") -> Repository:
    return Repository(registry, name, name)


CARGO, OTHER = repository("library/cargo"), repository("library/other")
ELSEWHERE = repository("library/cargo", "quay.io")


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slowness = Slowness(self.clock)

    def wait(self, place: Repository, tag: Tag = ONE) -> None:
        """A request asks about the tag, and waits for as long as it may."""
        self.slowness.begin(place, tag)
        self.clock.advance(TIMEOUT + 0.1)
        self.slowness.add(place)

    def slow(self, *places: Repository) -> list[bool]:
        return [self.slowness.is_slow(place, TIMEOUT) for place in places]


@pytest.fixture
def world() -> World:
    return World()


def test_one_slow_tag_says_something_of_its_repository_only(world: World) -> None:
    assert world.slow(CARGO, OTHER, ELSEWHERE) == [False] * 3
    world.wait(CARGO)
    assert world.slow(CARGO, OTHER, ELSEWHERE) == [True, False, False]
    world.slowness.end(CARGO, ONE, is_answered=False)
    assert world.slow(CARGO, OTHER, ELSEWHERE) == [False] * 3


def test_a_question_that_was_just_asked_says_nothing(world: World) -> None:
    world.slowness.begin(CARGO, ONE)
    world.clock.advance(TIMEOUT / 2)
    assert world.slow(CARGO) == [False]


def test_the_oldest_question_counts(world: World) -> None:
    world.wait(CARGO)
    world.slowness.begin(CARGO, TWO)
    assert world.slow(CARGO) == [True]
    world.slowness.end(CARGO, ONE, is_answered=True)
    assert world.slow(CARGO) == [False]


def test_five_slow_repositories_make_a_slow_registry_until_it_answers(world: World) -> None:
    for number in range(4):
        world.wait(repository(f"slow/{number}"))
        assert world.slow(OTHER) == [False]
    world.wait(repository("slow/4"))
    assert world.slow(OTHER, ELSEWHERE) == [True, False]
    world.slowness.end(repository("slow/0"), ONE, is_answered=False)
    assert world.slow(OTHER) == [True]
    world.slowness.end(repository("slow/1"), ONE, is_answered=True)
    assert world.slow(OTHER) == [False]


def test_an_answer_between_or_more_time_makes_no_slow_registry(world: World) -> None:
    for number in range(12):
        world.wait(repository(f"slow/{number}"))
        if number % 4 == 0:
            world.slowness.begin(OTHER, ONE)
            world.slowness.end(OTHER, ONE, is_answered=True)
        assert world.slow(OTHER) == [False]
    world.clock.advance(10.0)
    for number in range(12, 24):
        world.clock.advance(3.0)
        world.wait(repository(f"slow/{number}"))
        assert world.slow(OTHER) == [False]


def test_nothing_stays_of_questions_that_ended(world: World) -> None:
    for number in range(100):
        place = repository(f"library/{number}")
        assert not world.slowness.is_slow(place, TIMEOUT)
        world.slowness.begin(place, ONE)
        world.slowness.end(place, ONE, is_answered=number % 2 == 0)
    assert world.slowness._waiting == {}
    assert set(world.slowness._registries) == {"docker.io"}
