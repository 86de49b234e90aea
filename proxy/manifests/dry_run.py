"""Stand-ins for slow work in a preview: no transfer is started, and no layer is fetched."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from proxy.errors import WouldAsk

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any

    from proxy.blobs.serve import Blobs
    from proxy.catalog.known_layers import KnownLayers
    from proxy.manifests.measuring import LayerMeasuring, LayerOwners
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import Upstream

T = TypeVar("T")

# A layer of up to so many bytes is read for a question.
_SMALL: Final = 2**20


class DryRunTransfers:
    """Stands in for `Transfers`: none runs, and none is started."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        """`upstreams` say what would be asked."""
        self._upstreams = upstreams

    def is_running(self, _repository: Repository, _digest: Digest) -> bool:
        """None runs that is known here."""
        return False

    def join(self, repository: Repository, digest: Digest) -> DryRunReader:
        """Return a reader that says where the blob would come from."""
        return DryRunReader(self._upstreams[repository.registry], repository, digest)


class DryRunReader:
    """In place of a transfer's reader."""

    verified = False

    def __init__(self, upstream: Upstream, repository: Repository, digest: Digest) -> None:
        self._upstream = upstream
        self._repository = repository
        self._digest = digest

    async def wait_until_sendable(self) -> NoReturn:
        """WouldAsk, or what the transfer would fail with at once."""
        async with self._upstream.blob(self._repository.name, self._digest):
            raise AssertionError("a dry run has no answer")

    def close(self) -> None:
        """Nothing is open."""


class CheapMeasuring:
    """Stands in for `LayerMeasuring`: gives what is known of layers, or can be read at once."""

    def __init__(
        self,
        real: LayerMeasuring,
        known: KnownLayers,
        blobs: Blobs,
        owners: LayerOwners | None = None,
        *,
        check: Callable[[Repository, Digest], None],
    ) -> None:
        """`owners` say which replica would look into a layer; None if there are no others.

        `check` raises ConversionRefused for an image whose layers were refused before.
        """
        self._check = check
        self._real = real
        self._known = known
        self._blobs = blobs
        self._owners = owners

    async def measure(
        self, repository: Repository, image: Digest, layers: Sequence[Digest]
    ) -> tuple[LayerFacts, ...]:
        """The facts of the layers; WouldAsk if one is to be fetched, or is large."""
        self._check(repository, image)
        for layer in layers:
            if await self._known.get(layer) is not None:
                continue
            look = partial(self._look, repository, layer)
            await (look() if self._owners is None else self._owners.facts(repository, layer, look))
        return await self._real.measure(repository, image, layers)

    async def _look(self, repository: Repository, layer: Digest) -> LayerFacts:
        """The facts of a layer that is here, and small."""
        source = await self._blobs.open(repository, layer)
        source.close()
        if source.size > _SMALL:
            _would(f"look into layer {layer}, which is stored")
        return await self._real.measure_here(repository, layer)


class DryRunPending:
    """Stands in for `PendingConversions`: in a preview no conversion takes long."""

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
