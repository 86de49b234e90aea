"""The replicas that have the beginning of a blob, and read the rest from this one. PURE.

If an owner fails in the middle, the next in rank may have nothing of the blob. The replicas that
ask it for the rest show by their offset how much they have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from proxy.peers.questions import Question

# For so long a replica is asked for the beginning of a blob that it has asked the rest of, and so
# long it is not asked for a blob of which it has sent something that was of no use, in seconds.
_LIFE: Final = 60.0
# Less is not worth a question, in bytes.
WORTH: Final = 2**20
_MEMORY: Final = 2**18
_COST: Final = 300


class Prefixes:
    """How much of each blob other replicas have, and which of them are not to be asked for it."""

    def __init__(self) -> None:
        self._known: LruCache[tuple[str, str, str], dict[str, tuple[int, float]]] = LruCache(
            _MEMORY
        )
        self._doubted: LruCache[tuple[str, str], float] = LruCache(_MEMORY)

    def note(self, question: Question, address: str, now: float) -> None:
        """Note that the replica asks for a blob from an offset: it has what is before that."""
        key = _key(question)
        known = self._known.get(key) or {}
        known[address] = (question.start, now)
        self._known.put(key, known, _COST * len(known))

    def best(self, question: Question, now: float) -> str | None:
        """Return the replica that has most of what is asked for; None if none has much."""
        known = self._known.get(_key(question)) or {}
        usable = {
            address: length
            for address, (length, noted) in known.items()
            if now - noted < _LIFE
            and length >= question.start + WORTH
            and not self.is_doubted(question, address, now)
        }
        return max(usable, key=lambda address: usable[address], default=None)

    def doubt(self, question: Question, address: str, now: float) -> None:
        """Note that the replica failed in the middle of a blob: what it sent may be wrong."""
        self._doubted.put((question.key, address), now, _COST)

    def is_doubted(self, question: Question, address: str, now: float) -> bool:
        """Whether another replica should be asked for this blob."""
        since = self._doubted.get((question.key, address))
        return since is not None and now - since < _LIFE


def _key(question: Question) -> tuple[str, str, str]:
    """What has arrived is given to the same repository only."""
    return question.registry, question.name, str(question.reference)
