"""Where a blob is read, and that a place in the tree which fails is left for the owner."""

from __future__ import annotations

from typing import Final

import pytest

from proxy.errors import BlobUnknown
from proxy.oci.reference import Digest
from proxy.peers.answers import NotStored, SeeOther
from proxy.peers.client import PeerFailed
from proxy.peers.membership import Reason
from proxy.peers.questions import Effort, Question, Subject
from proxy.peers.tree import Tree
from tests.kit.manual_clock import ManualClock

OWNER, READER, OTHER = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"
QUESTION: Final = Question(Subject.BLOB, "docker.io", "library/cargo", Digest.of(b"x"))


class Members:
    """What the tree needs of `Replicas`."""

    def __init__(self, zone: str | None = None) -> None:
        self.membership = self
        self._zone = zone

    def live(self) -> list[str]:
        return [OWNER, READER]

    def first_of_zone(self, _key: str) -> str | None:
        return self._zone


class Asked:
    """The answers of each replica, and who was asked for what."""

    def __init__(self, **answers: Exception) -> None:
        self.answers = answers
        self.questions: list[tuple[str, Question]] = []

    async def __call__(self, address: str, question: Question) -> str:
        self.questions.append((address, question))
        name = {OWNER: "owner", READER: "reader"}[address]
        if name in self.answers and not question.direct:
            raise self.answers[name]
        return name


def tree(zone: str | None = None, clock: ManualClock | None = None) -> Tree:
    members: object = Members(zone)
    return Tree(members, clock=clock or ManualClock())  # type: ignore[arg-type]


async def test_the_owner_is_asked() -> None:
    asked = Asked()
    assert await tree().join(OWNER, QUESTION, asked) == "owner"
    assert asked.questions == [(OWNER, QUESTION)]


async def test_a_reader_is_asked_where_the_owner_names_one() -> None:
    asked = Asked(owner=SeeOther(READER))
    assert await tree().join(OWNER, QUESTION, asked) == "reader"
    assert asked.questions[1][1].effort is Effort.FOLLOW


@pytest.mark.parametrize(
    "failure",
    [
        PeerFailed(Reason.SILENT, "it is silent"),
        PeerFailed(Reason.STALLED, "it sends nothing"),
        NotStored(),
        BlobUnknown("there is none"),
        SeeOther(OTHER),
    ],
)
async def test_a_reader_that_fails_is_left_for_the_owner(failure: Exception) -> None:
    asked = Asked(owner=SeeOther(READER), reader=failure)
    assert await tree().join(OWNER, QUESTION, asked) == "owner"
    assert asked.questions[-1][1].direct


async def test_readers_that_name_each_other_are_left_for_the_owner() -> None:
    asked = Asked(owner=SeeOther(READER), reader=SeeOther(READER))
    assert await tree().join(OWNER, QUESTION, asked) == "owner"
    assert len(asked.questions) < 20


async def test_what_the_owner_says_is_the_answer() -> None:
    with pytest.raises(BlobUnknown):
        await tree().join(OWNER, QUESTION, Asked(owner=BlobUnknown("there is none")))


async def test_a_transfer_that_was_cut_is_resumed_at_the_owner() -> None:
    clock = ManualClock()
    asked, places = Asked(owner=SeeOther(READER)), tree(clock=clock)
    assert await places.join(OWNER, QUESTION, asked) == "reader"
    assert await places.join(OWNER, QUESTION, asked) == "owner"
    clock.advance(61.0)
    assert await places.join(OWNER, QUESTION, asked) == "reader"


async def test_the_first_of_the_zone_is_asked_before_the_owner() -> None:
    asked = Asked()
    assert await tree(zone=READER).join(OWNER, QUESTION, asked) == "reader"
    assert asked.questions[0][1].effort is Effort.FOLLOW
