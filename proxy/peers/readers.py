"""The replicas that read each blob from this one: a crowd becomes a tree. PURE."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Readers:
    """The replicas that read each blob from this process.

    Only those that read from here are named to others, and each reads from here itself: so nobody
    is sent to a replica that waits for its own bytes, as far as this one knows.
    """

    def __init__(self, fan_out: int) -> None:
        """So many replicas may read one blob from here at once."""
        self._fan_out = fan_out
        self._reading: dict[str, Counter[str]] = {}

    def another(self, key: str, asker: str) -> str | None:
        """A replica that already reads the blob, if there are enough of them; each in its turn."""
        readers = self._reading.get(key)
        if readers is None or len(readers.keys() - {asker}) < self._fan_out:
            return None
        chosen = next(address for address in readers if address != asker)
        # It is the last one for the next that asks.
        readers[chosen] = readers.pop(chosen)
        return chosen

    @contextmanager
    def reading(self, key: str, reader: str) -> Iterator[None]:
        """Count a reader while the block runs."""
        readers = self._reading.setdefault(key, Counter())
        readers[reader] += 1
        try:
            yield
        finally:
            readers[reader] -= 1
            if not readers[reader]:
                del readers[reader]
            if not readers:
                self._reading.pop(key, None)
