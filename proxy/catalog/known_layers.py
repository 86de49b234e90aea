"""The facts of image layers. They never change, so the nearest record of them will do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.ports.catalog import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.oci.layer import LayerFacts
    from proxy.oci.reference import Digest
    from proxy.ports.catalog import Layer


class KnownLayers:
    """The facts of image layers, in the layers of the catalog."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)

    async def get(self, digest: Digest) -> LayerFacts | None:
        """What was found out about the image layer `digest`, through whichever repository."""
        for layer in self._layers:
            if (facts := await layer.look_layer(digest)) is not None:
                return facts
        return None

    async def put(self, facts: LayerFacts) -> None:
        """Keep what was found out."""
        await asyncio.gather(*(layer.commit(Batch(layers=[facts])) for layer in self._layers))
