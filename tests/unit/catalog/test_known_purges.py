"""What replicas tell each other of purges, how they see that some are missing, and what is none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.catalog.known_purges import ALL_TAGS, MOST, Comparison, KnownPurges, Purged, Sum
from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable

ONE: Final = Purged(1000.0, "docker.io", "library/cargo", "1.0")
TWO: Final = Purged(1001.5, "docker.io", "library/cargo", ALL_TAGS)
NOTHING: Final = KnownPurges()


def many(first: int, last: int) -> list[Purged]:
    """One purge for each second from `first` until before `last`."""
    return [Purged(float(at), "docker.io", f"library/{at}", "1") for at in range(first, last)]


def only(*purges: Purged) -> KnownPurges:
    """These, and none before."""
    return KnownPurges(frozenset(purges))


def after(purges: Iterable[Purged], before: KnownPurges = NOTHING) -> KnownPurges:
    """What a replica knows that knew `before`, and was told of these."""
    return before.add(purges)


def test_a_mark_tells_sets_apart() -> None:
    assert only(ONE, TWO).mark == only(TWO, ONE).mark
    assert only(ONE).mark != only(TWO).mark != NOTHING.mark
    assert KnownPurges(older=Sum(1.0, 2)).mark != NOTHING.mark


def test_purges_are_read_as_they_were_written() -> None:
    content = replace(ONE, content=frozenset({Digest.of(b"x")}))
    known = KnownPurges(frozenset({content, TWO}), Sum(999.0, 2**128 - 1))
    read = KnownPurges.read(json.loads(json.dumps(known.encode())))
    assert read == known
    assert {each.content for each in read.purges} == {content.content, None}


def test_all_that_is_known_can_be_told() -> None:
    known = after(many(0, 3 * MOST))
    assert KnownPurges.read(known.encode()) == known
    assert len(known.purges) == MOST


def test_what_another_replica_knows_is_missed() -> None:
    found = only(ONE).compare(only(ONE, TWO))
    assert (found.missed, found.has_gap, found.known) == (frozenset({TWO}), False, only(ONE, TWO))
    found = only(ONE, TWO).compare(only(ONE))
    assert (found.missed, found.has_gap, found.known) == (frozenset(), False, only(ONE, TWO))


@pytest.mark.parametrize("further", [1, 2, 250, MOST])
@pytest.mark.parametrize("before", [0, 10, MOST, 2 * MOST])
def test_a_replica_that_was_away_for_a_while_learns_every_purge(before: int, further: int) -> None:
    """Each that it has missed is still known by name."""
    away = after(many(0, before))
    others = after(many(before, before + further), away)
    found = away.compare(others)
    assert found.missed == set(many(before, before + further))
    assert not found.has_gap
    assert found.known == others
    # And the others learn nothing of it.
    assert others.compare(away) == Comparison(frozenset(), has_gap=False, known=others)


@pytest.mark.parametrize("further", [MOST + 1, 5 * MOST])
@pytest.mark.parametrize("before", [0, 10, MOST, 2 * MOST])
def test_a_replica_that_was_away_for_longer_sees_the_gap_once(before: int, further: int) -> None:
    away = after(many(0, before))
    others = after(many(before, before + further), away)
    found = away.compare(others)
    assert found.has_gap
    assert found.known == others
    assert not found.known.compare(others).has_gap


def test_replicas_that_know_too_much_of_different_purges_agree_in_the_end() -> None:
    """As after a partition: both see the gap, and none sees it for ever."""
    one = after(many(0, 2 * MOST))
    other = after([replace(each, tag="2") for each in many(1, 1 + 2 * MOST)])
    found, other_found = one.compare(other), other.compare(one.compare(other).known)
    assert found.has_gap
    assert other_found.has_gap
    one, other = found.known, other_found.known
    assert not one.compare(other).has_gap
    assert one.compare(other).known == other


@given(st.permutations(range(20)), st.integers(1, 19))
def test_the_order_in_which_purges_arrive_makes_no_difference(order: list[int], apart: int) -> None:
    """However they were told: two replicas that know all of them see no gap."""
    before = KnownPurges(frozenset(many(0, MOST)))
    late = [many(MOST, MOST + 20)[number] for number in order]
    one, other = before, after(late[:apart], before).add(late[apart:])
    for each in late:
        one = one.add([each])
    assert one.mark == other.mark
    # Nor while one of them has yet to learn the last ones.
    behind = after(late[:apart], before)
    assert not behind.compare(one).has_gap
    assert behind.compare(one).known.mark == one.mark


def test_a_purge_of_a_clock_that_is_slow_is_a_new_one_all_the_same() -> None:
    known = after(many(0, 2 * MOST))
    assert known.after(10.0) > known.older.at
    assert known.after(1e9) == 1e9
    assert NOTHING.after(10.0) == 10.0


def test_the_digests_of_content_are_bounded() -> None:
    content = frozenset(Digest.of(b"%d" % number) for number in range(15_000))
    large = [Purged(float(at), "docker.io", "a", "1", content) for at in range(3)]
    known = after(large)
    assert known.purges == {large[2]}
    assert known.older.at == 1.0


@pytest.mark.parametrize(
    "news",
    [
        {},
        None,
        [[]],
        [["now", "docker.io", "a", "1"]],
        [[1.0, "docker.io", "A", "1"]],
        [[1.0, "docker.io", "a", "no tag"]],
        [[1.0, "docker.io", "a", "1", "more"]],
        [[1.0, "docker.io", "a", "1"]] * (MOST + 1),
        [[1.0, "0"]],
        [[1.0, "x" * 32]],
        [["now", "0" * 32]],
    ],
)
def test_what_is_no_purge_is_refused(news: Any) -> None:
    with pytest.raises(ValueError, match=r"it is no|is not a valid"):
        KnownPurges.read(news)
