"""Conversions a second on one core: from v2s2 with thirty layers to signed schema 1."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Final

from proxy.oci import conversion
from proxy.oci.derivation import ConversionInputs
from proxy.oci.manifest import read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1.libtrust import SigningKey
from tests.bench.measure import OURS
from tests.kit import images
from tests.kit.images import Layer

if TYPE_CHECKING:
    from tests.bench.bench import Bench

WORKLOAD: Final = "conversions"
TO_SIGNED: Final = "v2s2 to signed schema 1, 30 layers"
_LAYERS: Final = 30
_BATCH: Final = 200


def measure(bench: Bench) -> None:
    """The domain's own code, without a network, by the CPU that it uses."""
    layers = [
        Layer(b"layer %d" % number, images.digest(b"unpacked %d" % number))
        for number in range(_LAYERS)
    ]
    image = images.image(images.DOCKER, layers)
    content = {Digest(digest): blob for digest, blob in image.blobs.items()}
    inputs = ConversionInputs(name="library/cargo", tag="latest", key=SigningKey.generate())
    steps = conversion.path(MediaType.V2S2, MediaType.V2S1_SIGNED)
    assert steps is not None
    with bench.on_server_core():
        for number in range(bench.rounds + 1):
            began = process_time()
            for _ in range(_BATCH):
                manifest = read_manifest(image.manifest, MediaType.V2S2)
                for step in steps:
                    manifest = step.apply(manifest, content, inputs).manifest
            rate = _BATCH / (process_time() - began)
            if number:
                bench.results.series(WORKLOAD, TO_SIGNED, OURS, "a second").values.append(rate)
