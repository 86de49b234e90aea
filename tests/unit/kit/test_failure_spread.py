"""Different things that fail together, on a clock that the test holds."""

from __future__ import annotations

from proxy.kit.failure_spread import FailureSpread


def test_different_keys_within_the_window_are_many() -> None:
    spread = FailureSpread(3, 10.0)
    assert [spread.add(key, 1.0) for key in ("a", "a", "b", "a", "c")] == [False] * 4 + [True]
    assert not spread.add("c", 1.0)


def test_old_failures_do_not_count() -> None:
    spread = FailureSpread(3, 10.0)
    assert [spread.add(key, at) for key, at in (("a", 0.0), ("b", 5.0), ("c", 10.0))] == [False] * 3
    assert spread.add("d", 14.9)


def test_a_success_clears_them() -> None:
    spread = FailureSpread(2, 10.0)
    spread.add("a", 0.0)
    spread.clear()
    assert not spread.add("b", 0.0)
