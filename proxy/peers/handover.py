"""Hand over what only this replica has before it ends, so that nobody has to fetch it again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from proxy.errors import RegistryError
from proxy.kit.lru import LruCache
from proxy.peers.answers import NotStored
from proxy.peers.client import PeerFailed
from proxy.peers.questions import Subject

if TYPE_CHECKING:
    from proxy.peers.questions import Question
    from proxy.peers.replicas import Replicas

_log = structlog.get_logger()

# The blobs that are remembered, and handed over at once.
_MOST: Final = 512
_AT_ONCE: Final = 16
# What is not handed over by then is fetched again when it is needed, in seconds.
_WITHIN: Final = 20.0


class Handover:
    """The blobs that this process has fetched, and no other replica has asked for."""

    def __init__(self) -> None:
        self._alone: LruCache[str, Question] = LruCache(_MOST)

    def add(self, question: Question) -> None:
        """Note that this process fetches a blob from upstream."""
        self._alone.put(question.key, question, 1)

    def remove(self, key: str) -> None:
        """Another replica has got it."""
        self._alone.delete(key)

    async def run(self, replicas: Replicas) -> None:
        """Make the next in rank fetch each of them from here; return when they have, or cannot."""
        questions = self._alone.values()
        places = asyncio.Semaphore(_AT_ONCE)

        async def hand_over(question: Question) -> bool:
            async with places:
                for address in replicas.others(question.key, 1):
                    try:
                        copy = replace(question, subject=Subject.COPY)
                        await replicas.ask(address, copy, lambda value: value)
                    except (PeerFailed, NotStored, RegistryError):
                        continue
                    return True
            return False

        taken: list[bool] = []
        try:
            async with asyncio.timeout(_WITHIN):
                taken = await asyncio.gather(*map(hand_over, questions))
        except TimeoutError:
            _log.warning("peer.handover_incomplete", blobs=len(questions))
        if taken:
            _log.info("peer.handed_over", blobs=sum(taken), kept=len(taken) - sum(taken))
