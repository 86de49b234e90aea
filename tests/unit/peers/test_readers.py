"""A crowd of readers is spread over those that already read."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from proxy.peers.readers import Readers

KEY = "docker.io/sha256:00"


def test_as_many_as_may_read_from_here() -> None:
    readers = Readers(2)
    with readers.reading(KEY, "a"):
        assert readers.another(KEY, "b") is None
        with readers.reading(KEY, "b"):
            assert readers.another(KEY, "c") == "a"
            assert readers.another("another", "c") is None
        assert readers.another(KEY, "d") is None
    assert readers.another(KEY, "c") is None


def test_one_that_asks_again_reads_from_here() -> None:
    """It was sent to a place that has failed, and that one might wait for it."""
    readers = Readers(1)
    with readers.reading(KEY, "a"):
        assert readers.another(KEY, "a") is None
        assert readers.another(KEY, "b") == "a"
        assert readers.another(KEY, "b") is None


def test_each_is_sent_to_its_place_at_once() -> None:
    """Though the replica that has the place may not read yet."""
    readers = Readers(2)
    with readers.reading(KEY, "a"), readers.reading(KEY, "b"):
        assert [readers.another(KEY, name) for name in "cdefghij"] == list("aabbccdd")


def test_one_that_reads_twice_is_one() -> None:
    readers = Readers(2)
    with readers.reading(KEY, "a"):
        with readers.reading(KEY, "a"):
            assert readers.another(KEY, "b") is None
        assert readers.another(KEY, "b") is None
    assert readers.another(KEY, "b") is None


def test_each_gets_its_part_of_the_others() -> None:
    readers = Readers(4)
    with ExitStack() as stack:
        for name in "abcd":
            stack.enter_context(readers.reading(KEY, name))
        sent = Counter(readers.another(KEY, f"further {number}") for number in range(16))
    assert sent == dict.fromkeys("abcd", 4)


@pytest.mark.parametrize(("count", "levels"), [(300, 3), (3000, 4)])
def test_thousands_of_replicas_are_a_tree_of_few_levels(count: int, levels: int) -> None:
    """Each asks the owner, and the one to which that sends it: docs/replicas.md."""
    nodes, depth = {"owner": Readers(8)}, {"owner": 0}
    asked = 0
    with ExitStack() as stack:
        for number in range(count - 1):
            name, at = f"replica {number}", "owner"
            asked += 1
            while (other := nodes[at].another(KEY, name)) is not None:
                at = other
                asked += 1
            stack.enter_context(nodes[at].reading(KEY, name))
            nodes[name], depth[name] = Readers(8), depth[at] + 1
    assert max(depth.values()) == levels
    assert asked / count < 2
    sends = Counter(depth.values())
    assert sends[1] == 8
    assert sends[2] == 64
