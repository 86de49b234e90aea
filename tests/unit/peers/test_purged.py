"""After a purge a replica asks the registry itself, until all have forgotten: about that only."""

from __future__ import annotations

from typing import Any, Final

import pytest

from proxy.oci.reference import Digest, Repository, Tag
from proxy.peers.questions import Question, Subject
from proxy.peers.replicas import Replicas
from tests.kit.manual_clock import ManualClock

HUB, NAME = "docker.io", "library/cargo"
CARGO: Final = Repository(HUB, NAME, NAME)
ONE: Final = Question(Subject.TAG, HUB, NAME, Tag("1"))
TWO: Final = Question(Subject.TAG, HUB, NAME, Tag("2"))
TAGS: Final = Question(Subject.TAGS, HUB, NAME)
REFERRERS: Final = Question(Subject.REFERRERS, HUB, NAME, Digest.of(b"x"))
MANIFEST: Final = Question(Subject.MANIFEST, HUB, NAME, Digest.of(b"x"))
ELSEWHERE: Final = Question(Subject.TAG, HUB, "library/other", Tag("1"))
ALL: Final = {ONE, TWO, TAGS, REFERRERS, MANIFEST, ELSEWHERE}


class Client:
    """As far as no other replica is asked."""

    own: str | None = None
    zone_label: Any = None


async def purged(replicas: Replicas) -> set[Question]:
    return {question for question in ALL if await replicas.is_purged(question)}


@pytest.mark.parametrize(
    ("tag", "forgotten"),
    [
        ("1", {ONE, TAGS, REFERRERS}),
        ("*", {ONE, TWO, TAGS, REFERRERS}),
        ("", {TAGS, REFERRERS}),
    ],
)
async def test_what_was_purged_is_asked_of_the_registry_for_a_while(
    tag: str, forgotten: set[Question]
) -> None:
    clock = ManualClock()
    client: Any = Client()
    replicas = Replicas(client, clock=clock)
    assert await purged(replicas) == set()
    replicas.note_purge(CARGO, tag)
    assert await purged(replicas) == forgotten
    clock.advance(31.0)
    assert await purged(replicas) == set()


async def test_after_a_gap_the_registry_is_asked_about_every_tag() -> None:
    clock = ManualClock()
    client: Any = Client()
    replicas = Replicas(client, clock=clock)
    replicas.note_purge(None, "*")
    assert await purged(replicas) == ALL - {MANIFEST}
    clock.advance(31.0)
    assert await purged(replicas) == set()
