"""In place of what takes long: transfers that are not started, and layers that are not fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from proxy.errors import WouldAsk

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from proxy.blobs.serve import Blobs
    from proxy.catalog.known_layers import KnownLayers
    from proxy.manifests.measuring import LayerMeasuring
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Repository

T = TypeVar("T")

# A layer of up to so many bytes is read for a question.
_SMALL: Final = 2**20


class NobodyTransfers:
    """In place of `Transfers`: none runs, and none is started."""

    def is_running(self, _repository: Repository, _digest: Digest) -> bool:
        """None runs that is known here."""
        return False

    def join(self, repository: Repository, digest: Digest) -> NoReturn:
        """WouldAsk."""
        _would(f"GET of blob {repository.name} {digest}")


class CheapMeasuring:
    """In place of `LayerMeasuring`: what is known of layers, and what is read in no time."""

    def __init__(self, real: LayerMeasuring, known: KnownLayers, blobs: Blobs) -> None:
        self._real = real
        self._known = known
        self._blobs = blobs

    async def measure(
        self, repository: Repository, image: Digest, layers: Sequence[Digest]
    ) -> tuple[LayerFacts, ...]:
        """The facts of the layers; WouldAsk if one is to be fetched, or is large."""
        for layer in layers:
            if await self._known.get(layer) is not None:
                continue
            source = await self._blobs.open(repository, layer)
            source.close()
            if source.size > _SMALL:
                _would(f"look into layer {layer}, which is stored")
        return await self._real.measure(repository, image, layers)


class NobodyPending:
    """In place of `PendingConversions`: nothing takes long where nothing is read."""

    async def run(
        self,
        _key: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        _elsewhere: Callable[[], Coroutine[Any, Any, T | None]],
    ) -> T:
        """The result of `work`."""
        return await work()


def _would(ask: str) -> NoReturn:
    raise WouldAsk(ask)
