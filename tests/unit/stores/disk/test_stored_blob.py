"""The selection of the blobs to evict."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proxy.stores.disk.stored_blob import StoredBlob, select_for_eviction


def blob(name: str, size: int, used_at: float) -> StoredBlob:
    return StoredBlob(Path(name), size, used_at)


def test_nothing_is_evicted_while_everything_fits() -> None:
    assert select_for_eviction([blob("a", 60, 1), blob("b", 40, 2)], 100) == []
    assert select_for_eviction([], 0) == []


def test_the_least_recently_used_are_evicted_until_a_tenth_is_free() -> None:
    blobs = [blob("newest", 30, 4), blob("oldest", 5, 1), blob("old", 5, 2), blob("new", 65, 3)]
    assert [selected.path.name for selected in select_for_eviction(blobs, 100)] == [
        "oldest",
        "old",
        "new",
    ]
    assert [selected.path.name for selected in select_for_eviction(blobs, 104)] == [
        "oldest",
        "old",
        "new",
    ]
    assert select_for_eviction(blobs, 105) == []


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9))),
    st.integers(0, 500),
)
def test_the_rest_fits_and_was_used_more_recently(blobs: list[tuple[int, int]], limit: int) -> None:
    all_of_them = [blob(str(n), size, used) for n, (size, used) in enumerate(blobs)]
    evicted = select_for_eviction(all_of_them, limit)
    kept = [each for each in all_of_them if each not in evicted]
    assert sum(each.size for each in kept) <= limit
    if evicted:
        assert max(each.used_at for each in evicted) <= min((e.used_at for e in kept), default=9)
        without_last = sum(each.size for each in kept) + evicted[-1].size
        assert without_last > limit * 0.9, "the last one need not have been evicted"
