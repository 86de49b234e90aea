"""The facts of an image's layers: known from before, or found by reading each layer once.

Layers are read as they arrive, and decompressed in a thread, one piece a turn. So a layer that
arrives slowly delays no other conversion, and a large image delays them only a little.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakValueDictionary

import structlog

from proxy.errors import BlobUnknown, ConversionRefused, RefusalReason
from proxy.kit.lru import LruCache
from proxy.kit.threads import in_thread, threads_that_give_way
from proxy.kit.turns import FairTurns
from proxy.oci.layer import LayerMeter
from proxy.telemetry import metrics, trace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proxy.blobs.serve import Blobs
    from proxy.blobs.source import Source
    from proxy.catalog.known_layers import KnownLayers
    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest, Repository

_log = structlog.get_logger()

# How much of a layer is read at a time, in bytes. It may unpack to a thousand times as much.
_PIECE: Final = 256 * 1024
# So many of the next layers are fetched while one is read.
_AHEAD: Final = 2
# Images whose layers were refused are remembered, so that asking again costs nothing.
_MEMORY: Final = 2**20
_COST: Final = 600


class LayerOwners(Protocol):
    """The replicas that own layers: each of them measures its own, for all."""

    async def facts(
        self,
        repository: Repository,
        layer: Digest,
        measure_here: Callable[[], Awaitable[LayerFacts]],
    ) -> LayerFacts:
        """What the owner has found out; by `measure_here`, if that is this replica."""
        ...


class LayerMeasuring:
    """Finds the facts of layers, within limits for one image."""

    def __init__(
        self,
        *,
        blobs: Blobs,
        known: KnownLayers,
        max_input: int,
        max_unpacked: int,
        concurrency: int,
        owners: LayerOwners | None = None,
    ) -> None:
        """`owners` are asked for what is not known here; None if there are no other replicas.

        `max_input` and `max_unpacked` limit the layers of an image together, in bytes.

        `concurrency` is how many threads may decompress at once.
        """
        self._blobs = blobs
        self._known = known
        self._max_input = max_input
        self._max_unpacked = max_unpacked
        self._owners = owners
        self._turns = FairTurns(concurrency)
        self._threads = threads_that_give_way(concurrency, "layer")
        self._locks: WeakValueDictionary[tuple[str, Digest], asyncio.Lock] = WeakValueDictionary()
        self._refused: LruCache[tuple[str, Digest], ConversionRefused] = LruCache(_MEMORY)

    async def measure(
        self, repository: Repository, image: Digest, layers: Sequence[Digest]
    ) -> tuple[LayerFacts, ...]:
        """Return the facts of the layers of `image`, base first; each counts once for limits.

        ConversionRefused if a layer is missing, is neither gzip nor tar, or they exceed a limit;
        UpstreamFailure, Overloaded or StorageFailure if one cannot be read now.
        """
        self.check(repository, image)
        try:
            return await self._measure_all(repository, layers)
        except ConversionRefused as refusal:
            # What is missing may come; what is wrong stays wrong.
            if refusal.reason is not RefusalReason.ABSENT:
                key = (str(repository), image)
                self._refused.put(key, refusal, _COST + len(key[0]))
            raise

    def check(self, repository: Repository, image: Digest) -> None:
        """ConversionRefused if the layers of `image` were refused before."""
        if (before := self._refused.get((str(repository), image))) is not None:
            raise ConversionRefused(str(before), before.reason)

    async def measure_here(
        self, repository: Repository, layer: Digest, following: Sequence[Digest] = ()
    ) -> LayerFacts:
        """Find the facts of one layer in this process, which the repository is shown to have.

        The layers `following` it are fetched meanwhile. Raises as `measure` does.
        """
        # Of several that ask for one layer of a repository at once, one reads it.
        key = (str(repository), layer)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            if (known := await self._find(repository, layer)) is not None:
                return known
            return await self._open_and_read(repository, layer, following)

    async def _measure_all(
        self, repository: Repository, layers: Sequence[Digest]
    ) -> tuple[LayerFacts, ...]:
        found: list[LayerFacts] = []
        for place, layer in enumerate(layers):
            found.append(await self._facts(repository, layer, layers[place + 1 :]))
            _require_within(self._max_input, sum(each.size for each in found))
            _require_within(self._max_unpacked, sum(each.unpacked for each in found), "unpack to")
        return tuple(found)

    async def _facts(
        self, repository: Repository, layer: Digest, following: Sequence[Digest]
    ) -> LayerFacts:
        if self._owners is None:
            return await self.measure_here(repository, layer, following[:_AHEAD])
        if (known := await self._find(repository, layer)) is not None:
            return known
        facts = await self._owners.facts(
            repository, layer, lambda: self.measure_here(repository, layer)
        )
        await self._known.put(facts)
        return facts

    async def _find(self, repository: Repository, layer: Digest) -> LayerFacts | None:
        """What is known of a layer that the repository may serve."""
        known = await self._known.get(layer)
        return known if known and await self._blobs.has_access(repository, layer) else None

    async def _open_and_read(
        self, repository: Repository, layer: Digest, following: Sequence[Digest]
    ) -> LayerFacts:
        try:
            source = await self._blobs.open(repository, layer)
        except BlobUnknown:
            raise ConversionRefused(
                f"the upstream has no layer {layer}, which it names", RefusalReason.ABSENT
            ) from None
        try:
            if (known := await self._known.get(layer)) is not None:
                return known
            _require_within(self._max_input, source.size)
            await self._fetch_ahead(repository, following)
            facts = await self._read(layer, source)
        except ConversionRefused:
            metrics.LAYERS_MEASURED.labels("refused").inc()
            raise
        finally:
            source.close()
        metrics.LAYERS_MEASURED.labels("measured").inc()
        metrics.UNPACKED_BYTES.inc(facts.unpacked)
        await self._known.put(facts)
        _log.info("layer.measured", digest=layer, size=facts.size, unpacked=facts.unpacked)
        return facts

    async def _fetch_ahead(self, repository: Repository, layers: Sequence[Digest]) -> None:
        for layer in layers:
            if await self._known.get(layer) is None:
                await self._blobs.prefetch(repository, layer)

    async def _read(self, layer: Digest, source: Source) -> LayerFacts:
        meter = LayerMeter(layer, max_unpacked=self._max_unpacked)
        holder = trace.current().holder
        client = "" if holder is None else holder.client
        offset = 0
        while offset < source.size:
            piece = await source.read(offset, min(_PIECE, source.size - offset))
            async with self._turns.take(client):
                await in_thread(partial(meter.feed, piece), executor=self._threads)
            offset += len(piece)
        async with self._turns.take(client):
            return await in_thread(meter.finish, executor=self._threads)


def _require_within(limit: int, size: int, verb: str = "have") -> None:
    if size > limit:
        raise ConversionRefused(
            f"its layers {verb} more than {limit} bytes, which is the limit", RefusalReason.SIZE
        )
