"""An upstream and transfers that ask nobody: they say what would be asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from proxy.errors import WouldAsk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from typing import Any

    from proxy.blobs.serve import Blobs
    from proxy.catalog.known_layers import KnownLayers
    from proxy.errors import UpstreamFailure
    from proxy.manifests.measuring import LayerMeasuring
    from proxy.oci.headers.link import Page
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.ports import BlobStream, Fetched, Head, MonitoredUpstream
    from proxy.ports.upstream import Late

T = TypeVar("T")

# A layer of up to so many bytes is read for a question.
_SMALL: Final = 2**20


class NobodyUpstream:
    """Fits MonitoredUpstream: how `real` does, and what it would be asked."""

    def __init__(self, real: MonitoredUpstream) -> None:
        self._real = real

    @property
    def offline(self) -> bool:
        """Whether the settings forbid requests to it."""
        return self._real.offline

    @property
    def trouble(self) -> UpstreamFailure | None:
        """Why no useful answer is to be expected now."""
        return self._real.trouble

    async def is_at_its_reserve(self) -> bool:
        """Whether its pulls are kept for new images."""
        return await self._real.is_at_its_reserve()

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """WouldAsk."""
        _would(f"HEAD of manifest {name} {reference}")

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """WouldAsk."""
        _would(f"GET of manifest {name} {reference}")

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """WouldAsk."""
        del expected, may_get
        _would(f"HEAD of blob {name} {digest}")

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
        late: Late | None = None,
        is_retry: bool = False,
    ) -> AsyncIterator[BlobStream]:
        """WouldAsk."""
        del start, end, validator, late, is_retry
        _would(f"GET of blob {name} {digest}")
        yield

    async def tags(self, name: str, query: str) -> Page:
        """WouldAsk."""
        del query
        _would(f"list of tags of {name}")

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """WouldAsk."""
        del query
        _would(f"referrers of {name} {digest}")

    async def close(self) -> None:
        """Nothing is open."""


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
