"""Every replica finds the same owners, and a change of members moves little."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.peers.owners import above, rank

_REPLICAS = st.sets(st.text(min_size=1, max_size=20), min_size=1, max_size=12)
_KEYS = st.text(max_size=80)
_TEN = [f"10.0.0.{number}:5001" for number in range(10)]


@given(_KEYS, _REPLICAS)
def test_the_order_of_the_members_does_not_matter(key: str, replicas: set[str]) -> None:
    assert rank(key, sorted(replicas)) == rank(key, sorted(replicas, reverse=True))
    assert set(rank(key, replicas)) == replicas


@given(_KEYS, _REPLICAS)
def test_one_that_leaves_changes_no_other_rank(key: str, replicas: set[str]) -> None:
    whole = rank(key, replicas)
    for left in whole:
        assert rank(key, replicas - {left}) == [one for one in whole if one != left]


@given(_KEYS, _REPLICAS)
def test_questions_go_up_only(key: str, replicas: set[str]) -> None:
    """So they end, whichever members each replica takes for live."""
    whole = rank(key, replicas)
    for own in whole:
        assert above(own, whole) == whole[: whole.index(own)]


def test_one_that_is_no_member_asks_all() -> None:
    assert above(None, _TEN) == above("elsewhere:1", _TEN) == _TEN


def test_the_work_is_shared_evenly() -> None:
    owned = Counter(rank(f"docker.io/sha256:{number}", _TEN)[0] for number in range(5000))
    assert set(owned) == set(_TEN)
    assert max(owned.values()) < 1.3 * 500
    assert min(owned.values()) > 0.7 * 500
