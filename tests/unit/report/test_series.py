"""Numbers by minute are bounded, and those of several processes add up."""

from __future__ import annotations

from proxy.report.series import Readings, Series, add_up, extend


def test_a_series_has_the_last_minutes_only() -> None:
    series = Series(3)
    for minute, amount in ((100, 1), (101, 2), (101, 3), (103, 4)):
        series.add(minute, amount)
    assert series.last(103, 3) == [5, 0, 4]
    assert series.last(104, 10) == [0, 4, 0]
    series.add(101, 9)
    assert series.last(104, 3) == [0, 4, 0]
    series.add(10_000, 1)
    assert series.last(10_000, 3) == [0, 0, 1]


def test_lists_that_end_in_different_minutes_are_added_from_their_end() -> None:
    assert add_up(extend([1, 2], 7, 8), [10, 20]) == [1, 12, 20]
    assert add_up([], [1]) == [1]


def test_a_gauge_has_one_reading_a_step() -> None:
    readings = Readings(2, step=5)
    for minute, value in ((100, 9), (104, 8), (105, 7), (111, 6)):
        readings.note(minute, value)
    assert readings.list(111) == [[105, 7], [110, 6]]
    assert readings.list(200) == []
