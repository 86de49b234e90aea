"""Values that wait under paths of keys, and are taken in turn at each level of the path."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Rotation(Generic[T]):
    """A tree whose leaves are queues. All paths in one tree are equally long.

    With paths such as (network, address, user), no network delays another one by more than one
    value, nor does an address within its network, nor a user at that address.
    """

    __slots__ = ("_branches", "_values", "size")

    def __init__(self) -> None:
        """Nothing waits."""
        # The branch whose turn is next comes first.
        self._branches: dict[str, Rotation[T]] = {}
        self._values: deque[T] = deque()
        # How many values wait here and below.
        self.size = 0

    def count(self, path: tuple[str, ...]) -> int:
        """How many values wait under a path, or the beginning of one."""
        if not path:
            return self.size
        branch = self._branches.get(path[0])
        return 0 if branch is None else branch.count(path[1:])

    def add(self, path: tuple[str, ...], value: T) -> None:
        """Have a value wait."""
        self.size += 1
        if path:
            self._branches.setdefault(path[0], Rotation()).add(path[1:], value)
        else:
            self._values.append(value)

    def pop(self) -> T:
        """Take the next value; IndexError if there is none."""
        if not self._branches:
            value = self._values.popleft()
        else:
            key = next(iter(self._branches))
            branch = self._branches.pop(key)
            value = branch.pop()
            if branch.size:
                self._branches[key] = branch
        self.size -= 1
        return value

    def remove(self, path: tuple[str, ...], value: T) -> bool:
        """Remove a value; whether it was there."""
        if not path:
            if value not in self._values:
                return False
            self._values.remove(value)
        elif path[0] not in self._branches or not self._branches[path[0]].remove(path[1:], value):
            return False
        elif not self._branches[path[0]].size:
            del self._branches[path[0]]
        self.size -= 1
        return True

    def move(self, path: tuple[str, ...], other: Rotation[T]) -> None:
        """Have what waits under the beginning of a path wait in another tree."""
        for whole, value in self.below(path):
            self.remove(whole, value)
            other.add(whole, value)

    def crowd_out(self, path: tuple[str, ...]) -> T | None:
        """Make room for one value at `path`: remove the last one of the branch that has most.

        None, and nothing is removed, unless that branch still has as many as the path's own then.
        """
        if not path or not self._branches:
            return None
        key, largest = max(self._branches.items(), key=lambda item: item[1].size)
        own = self._branches.get(path[0])
        if largest.size > (own.size if own is not None else 0) + 1:
            value = largest.pop_largest()
            if not largest.size:
                del self._branches[key]
        else:
            found = None if own is None else own.crowd_out(path[1:])
            if found is None:
                return None
            value = found
        self.size -= 1
        return value

    def pop_largest(self) -> T:
        """Take the last value of the largest branch; IndexError if there is none."""
        if not self._branches:
            value = self._values.pop()
        else:
            key, largest = max(self._branches.items(), key=lambda item: item[1].size)
            value = largest.pop_largest()
            if not largest.size:
                del self._branches[key]
        self.size -= 1
        return value

    def below(self, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], T]]:
        """All values under the beginning of a path, each with its whole path."""
        if path:
            branch = self._branches.get(path[0])
            found = [] if branch is None else branch.below(path[1:])
            return [((path[0], *rest), value) for rest, value in found]
        values: list[tuple[tuple[str, ...], T]] = [((), value) for value in self._values]
        for key, branch in self._branches.items():
            values.extend(((key, *rest), value) for rest, value in branch.below(()))
        return values
