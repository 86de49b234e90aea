"""A schema 1 image that takes longer to convert than a client waits."""

from __future__ import annotations

import hashlib
import statistics
import time
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from tests.e2e import inside
from tests.kit import images, schema1
from tests.kit.accept_lines import CONTAINERD, DOCKER_28, Lines
from tests.kit.images import MEBIBYTE, OCI
from tests.kit.processes import Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.serial]

LAYERS: Final = 8
SIZE: Final = 256 * MEBIBYTE
MEMORY: Final = 200 * MEBIBYTE
# Seconds. A machine that is busy may take two more to answer at all.
TIMEOUT: Final = 0.2
BUSY: Final = 2.0
# A client that asks in the meantime: medians of so many requests, with and without a conversion
# beside it. A busy machine makes any of them longer, so the best is compared with the worst.
REQUESTS: Final = 40
MEDIANS: Final = 4
SLOWER: Final = 1.5


def large(seed: str) -> bytes:
    """A layer that unpacks to `SIZE` bytes, of which a part cannot be compressed."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    content = bytearray(deflate.compress(images.sparse_header(f"srv/{seed}", SIZE)))
    for number in range(SIZE // MEBIBYTE):
        noise = hashlib.shake_128(f"{seed} {number}".encode()).digest(MEBIBYTE // 16)
        content += deflate.compress(noise.ljust(MEBIBYTE, b"\0"))
    return bytes(content + deflate.compress(bytes(1024)) + deflate.flush())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream, with a large image in schema 1 and a small one that everybody reads."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        layers = [large(f"layer {number}") for number in range(LAYERS)]
        content = schema1.old_docker(layers)
        # This registry wants all of it, the empty layer too.
        whole = {**content.blobs, str(EMPTY_LAYER): EMPTY_LAYER_BYTES}
        registry.push("library/ship", "latest", replace(content, blobs=whole))
        registry.push("cargo/small", "1", images.oci())
        yield registry


def test_it_is_converted_in_the_background_and_disturbs_nobody(
    registry: Registry, tmp_path: Path
) -> None:
    settings = {"conversion": {"timeout": f"{TIMEOUT}s"}}
    with Proxy(tmp_path, upstream=registry.url, settings=settings) as proxy:
        path = f"{proxy.url}/v2/library/ship/manifests/latest"
        _median(proxy)
        alone = [_median(proxy) for _ in range(MEDIANS)]
        asked_at = time.monotonic()
        head = ask(path, method="HEAD", headers=CONTAINERD)
        assert time.monotonic() - asked_at < TIMEOUT + BUSY
        assert (head.status, bool(head.headers["Retry-After"])) == (503, True)
        beside = min(_median(proxy) for _ in range(MEDIANS))
        assert ask(path, method="HEAD", headers=CONTAINERD).status == 503, "it was too quick"
        meanwhile = ask(path, headers=DOCKER_28)
        assert meanwhile.headers["Content-Type"] == schema1.SIGNED
        assert meanwhile.headers["Cache-Control"] == "no-store"
        answer = _retried(path, CONTAINERD)
        assert answer.headers["Content-Type"] == images.DOCKER.manifest
        assert ask(path, headers=DOCKER_28).body == answer.body
        assert inside.peak_memory(proxy.pid) < MEMORY
        slowest = max(*alone, *(_median(proxy) for _ in range(MEDIANS)))
        assert beside < SLOWER * slowest, f"{beside / slowest:.2f} times as long"
        print(  # noqa: T201 -- shown with -s
            f"{time.monotonic() - asked_at:.1f} s, {beside / slowest:.2f} times as long, "
            f"{inside.peak_memory(proxy.pid) / MEBIBYTE:.0f} MiB"
        )


def _median(proxy: Proxy) -> float:
    """How long a manifest takes that is cached, in seconds."""
    taken = []
    for _ in range(REQUESTS):
        began = time.monotonic()
        answer = ask(f"{proxy.url}/v2/cargo/small/manifests/1", headers=[("Accept", OCI.manifest)])
        assert answer.status == 200
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def _retried(path: str, lines: Lines) -> Answer:
    """The answer when the conversion has ended."""
    deadline = time.monotonic() + 300
    while True:
        answer = ask(path, headers=lines)
        if answer.status != 503:
            return answer
        assert time.monotonic() < deadline
