"""Who has the beginning of a blob, and who is not to be asked for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.oci.reference import Digest
from proxy.peers.prefixes import WORTH, Prefixes
from proxy.peers.questions import Question, Subject

ONE, TWO = "10.0.0.1:1", "10.0.0.2:1"
QUESTION: Final = Question(Subject.BLOB, "docker.io", "library/cargo", Digest.of(b"x"))


def at(start: int) -> Question:
    return replace(QUESTION, start=start)


def known() -> Prefixes:
    prefixes = Prefixes()
    prefixes.note(at(2 * WORTH), ONE, now=10.0)
    prefixes.note(at(3 * WORTH), TWO, now=10.0)
    return prefixes


def test_the_one_that_has_most_is_asked() -> None:
    assert known().best(QUESTION, now=11.0) == TWO
    assert known().best(at(WORTH), now=11.0) == TWO


def test_what_is_not_worth_a_question_is_not_asked_for() -> None:
    assert known().best(at(2 * WORTH + 1), now=11.0) is None
    assert Prefixes().best(QUESTION, now=11.0) is None


def test_what_was_said_long_ago_is_not_believed() -> None:
    prefixes = known()
    prefixes.note(at(WORTH), ONE, now=60.0)
    assert prefixes.best(QUESTION, now=71.0) == ONE


def test_another_repository_gets_nothing() -> None:
    """What has arrived for one says nothing about what another one has."""
    assert known().best(replace(QUESTION, name="library/other"), now=11.0) is None


def test_one_that_has_failed_is_doubted_for_a_while() -> None:
    prefixes = known()
    prefixes.doubt(QUESTION, TWO, now=11.0)
    assert prefixes.is_doubted(QUESTION, TWO, now=12.0)
    assert prefixes.is_doubted(replace(QUESTION, name="library/other"), TWO, now=12.0)
    assert prefixes.best(QUESTION, now=12.0) == ONE
    assert not prefixes.is_doubted(QUESTION, ONE, now=12.0)
    assert not prefixes.is_doubted(QUESTION, TWO, now=72.0)
