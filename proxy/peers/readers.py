"""The replicas that want a blob at the same time: they form a tree. PURE."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Crowd:
    # Those that read from here, and how often.
    reading: Counter[str] = field(default_factory=Counter)
    # How many were sent to each of all that have asked.
    followers: dict[str, int] = field(default_factory=dict)
    # Those to which more may be sent, in the order in which they have asked.
    places: deque[str] = field(default_factory=deque)

    def join(self, address: str) -> None:
        if address not in self.followers:
            self.followers[address] = 0
            self.places.append(address)

    def place(self, address: str, fan_out: int) -> str:
        """The replica to which `address` is sent: it has asked before, so it never waits for it."""
        leader = self.places[0]
        self.followers[leader] += 1
        if self.followers[leader] == fan_out:
            self.places.popleft()
        self.join(address)
        return leader


class Readers:
    """The replicas that read each blob from this process, and those that were sent to others.

    A replica knows at once where its place in the tree is: it need not be sent from one to the
    next, and the one to which it is sent may itself be about to begin.
    """

    def __init__(self, fan_out: int) -> None:
        """`fan_out`: how many replicas may read one blob from each replica at once."""
        self._fan_out = fan_out
        self._crowds: dict[str, _Crowd] = {}

    def another(self, crowd: str, asker: str) -> str | None:
        """The replica from which `asker` should read; None for this one.

        One that asks again reads from here: its place in the tree has failed.
        """
        found = self._crowds.get(crowd)
        if found is None or asker in found.followers or len(found.reading) < self._fan_out:
            return None
        return found.place(asker, self._fan_out)

    @contextmanager
    def reading(self, crowd: str, reader: str) -> Iterator[None]:
        """Count a reader while the block runs. After the last one the tree is forgotten."""
        found = self._crowds.setdefault(crowd, _Crowd())
        found.join(reader)
        found.reading[reader] += 1
        try:
            yield
        finally:
            found.reading[reader] -= 1
            if not found.reading[reader]:
                del found.reading[reader]
            if not found.reading:
                self._crowds.pop(crowd, None)
