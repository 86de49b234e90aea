"""The bounded LRU cache, against a simple model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.kit.lru import LruCache

_STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "put", "delete"]), st.integers(0, 5), st.integers(0, 60))
)


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    recent: LruCache[str, int] = LruCache(30)
    for number, key in enumerate("abc"):
        recent.put(key, number, 10)
    assert recent.get("a") == 0
    recent.put("d", 3, 10)
    assert [recent.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_an_entry_over_the_limit_is_not_stored_and_evicts_no_other() -> None:
    recent: LruCache[str, int] = LruCache(30)
    recent.put("small", 1, 10)
    recent.put("large", 2, 31)
    assert recent.get("large") is None
    assert recent.get("small") == 1


def test_an_entry_that_grows_over_the_limit_is_removed() -> None:
    """Otherwise its old value would be returned."""
    recent: LruCache[str, int] = LruCache(30)
    recent.put("key", 1, 10)
    recent.put("key", 2, 31)
    assert recent.get("key") is None
    assert recent.cost == 0


def test_clear_removes_all_entries() -> None:
    recent: LruCache[str, int] = LruCache(30)
    recent.put("key", 1, 10)
    recent.clear()
    assert (len(recent), recent.cost, "key" in recent) == (0, 0, False)


@given(_STEPS)
def test_it_behaves_like_a_list_in_order_of_use(steps: list[tuple[str, int, int]]) -> None:
    limit = 100
    recent: LruCache[int, int] = LruCache(limit)
    model: list[tuple[int, int]] = []  # (key, cost), the most recently used one last
    for step, key, cost in steps:
        held = next((entry for entry in model if entry[0] == key), None)
        if step == "get":
            assert recent.get(key) == (held and held[1])
            if held:
                model.remove(held)
                model.append(held)
            continue
        if held:
            model.remove(held)
        if step == "delete":
            recent.delete(key)
            continue
        recent.put(key, cost, cost)
        model.append((key, cost))
        while sum(used for _, used in model) > limit:
            model.pop(0)
    assert len(recent) == len(model)
    assert recent.cost == sum(used for _, used in model) <= limit
    assert all(key in recent for key, _ in model)
