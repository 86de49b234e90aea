"""The facts of layers, each found by the replica that owns the layer. Fits LayerOwners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.errors import ConversionRefused, Overloaded, RefusalReason, StorageFailure
from proxy.oci.layer import LayerFacts
from proxy.peers.answers import NotStored
from proxy.peers.client import PeerFailed
from proxy.peers.questions import Question, Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.oci.reference import Digest, Repository
    from proxy.peers.answers import Value
    from proxy.peers.replicas import Replicas


class PeerLayers:
    """Asks the owner of a layer, or the next in rank if the owner cannot be asked."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def facts(
        self,
        repository: Repository,
        layer: Digest,
        measure_here: Callable[[], Awaitable[LayerFacts]],
    ) -> LayerFacts:
        """What the owner has found out; ConversionRefused if it refuses the layer."""
        question = Question(Subject.LAYER, repository.registry, repository.name, layer)
        for address in self._replicas.owners(question.key):
            try:
                return await self._replicas.ask(
                    address, question, lambda value: _read(layer, value)
                )
            except (PeerFailed, NotStored, Overloaded, StorageFailure):
                continue
        return await measure_here()


def _read(layer: Digest, value: Value) -> LayerFacts:
    """The facts in an answer; ValueError, KeyError or DigestInvalid for another one."""
    match value.about:
        case {"refused": str(message), "reason": str(reason)}:
            raise ConversionRefused(message, RefusalReason(reason))
        case _:
            facts = LayerFacts.decode(value.about)
    if facts.digest != layer:
        raise ValueError("these are the facts of another layer")
    return facts
