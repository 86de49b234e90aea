"""Numbers by minute, for a bounded time."""

from __future__ import annotations

from array import array
from typing import Final

MINUTE: Final = 60.0
DAY: Final = 24 * 60


class Series:
    """A ring of one number a minute. Minutes are counted since 1970."""

    __slots__ = ("_length", "_newest", "_values")

    def __init__(self, length: int = DAY) -> None:
        """Remember the last `length` minutes."""
        self._length = length
        self._newest = 0
        self._values = array("q", bytes(8 * length))

    def add(self, minute: int, amount: int) -> None:
        """Add to a minute; one that is too long ago is ignored."""
        self._advance(minute)
        if minute > self._newest - self._length:
            self._values[minute % self._length] += amount

    def last(self, minute: int, count: int) -> list[int]:
        """The values of the `count` minutes up to `minute`, the oldest first."""
        self._advance(minute)
        first = minute - min(count, self._length) + 1
        return [self._values[each % self._length] for each in range(first, minute + 1)]

    def _advance(self, minute: int) -> None:
        """Forget what the minutes up to this one take the place of."""
        if minute <= self._newest:
            return
        for each in range(max(self._newest + 1, minute - self._length + 1), minute + 1):
            self._values[each % self._length] = 0
        self._newest = minute


class Readings:
    """The latest reading of a gauge in each of the last `length` steps of some minutes."""

    __slots__ = ("_length", "_readings", "_step")

    def __init__(self, length: int, *, step: int) -> None:
        self._length = length
        self._step = step
        self._readings: dict[int, int] = {}

    def note(self, minute: int, value: int) -> None:
        """The gauge shows `value` in this minute."""
        step = minute // self._step
        self._readings[step] = value
        if len(self._readings) > self._length:
            del self._readings[min(self._readings)]

    def list(self, minute: int) -> list[list[int]]:
        """Pairs of a minute and the reading, of the time that is remembered."""
        oldest = minute // self._step - self._length
        return [
            [step * self._step, value] for step, value in self._readings.items() if step > oldest
        ]


def minute_of(moment: float) -> int:
    """The minute of a time in seconds since 1970."""
    return int(moment // MINUTE)


def extend(values: list[int], last: int, until: int) -> list[int]:
    """The values that end in minute `last`, continued by zeros to minute `until`."""
    return [*values, *([0] * max(0, until - last))]


def add_up(some: list[int], others: list[int]) -> list[int]:
    """The sums of two lists that end in the same minute."""
    longer, shorter = (some, others) if len(some) >= len(others) else (others, some)
    start = len(longer) - len(shorter)
    return [
        *longer[:start],
        *(one + other for one, other in zip(longer[start:], shorter, strict=True)),
    ]
