"""Layers of schema 1 that are made to cost the proxy time or memory, or never to arrive."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.hostile import bystander
from tests.kit import images, schema1
from tests.kit.images import MEBIBYTE
from tests.kit.proxy import Proxy, metric, push, settings, until
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

OLD: Final = "/v2/team/old/manifests"
OTHER: Final = "/v2/team/other/manifests"
NEW_CLIENT: Final = MediaType.V2S2


def unpacking_to(size: int, *, archives: int = 1) -> bytes:
    """A layer of a thousandth of `size`: zeros, in one gzip member or in several."""
    content = b""
    for number in range(archives):
        deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
        if number == 0:
            content += deflate.compress(images.sparse_header("srv/zeros", size))
        for _ in range(size // archives // MEBIBYTE):
            content += deflate.compress(bytes(MEBIBYTE))
        content += deflate.flush()
    return content


@pytest.mark.parametrize("archives", [1, 64], ids=["one member", "many members"])
async def test_a_layer_that_unpacks_to_much_is_refused_within_bounds(
    upstream: ScriptedUpstream, data_dir: Path, archives: int
) -> None:
    """As soon as it has unpacked to the limit; and it is not unpacked again for the next client."""
    push(upstream, "team/old", "1", schema1.quay([unpacking_to(256 * MEBIBYTE, archives=archives)]))
    conversion = {"max_unpacked": "16MiB"}
    async with Proxy(settings(upstream, data_dir, conversion=conversion)) as proxy:
        before = metric("layers_measured_total", outcome="refused")
        for _ in range(3):
            answer = await proxy.get(f"{OLD}/1", Accept=NEW_CLIENT)
            assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
            assert f"unpacks to more than {16 * MEBIBYTE} bytes" in answer.message
            await bystander.pull(proxy)
        assert metric("layers_measured_total", outcome="refused") == before + 1


async def test_layers_that_are_too_much_together_are_refused(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    layers = [images.layer({"srv/a": images.noise(f"{n}", MEBIBYTE)}).blob for n in range(3)]
    push(upstream, "team/old", "1", schema1.quay(layers))
    async with Proxy(settings(upstream, data_dir, conversion={"max_input": "2MiB"})) as proxy:
        answer = await proxy.get(f"{OLD}/1", Accept=NEW_CLIENT)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert f"its layers have more than {2 * MEBIBYTE} bytes" in answer.message
        await bystander.pull(proxy)


async def test_a_layer_that_never_arrives_keeps_no_other_image_waiting(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Though only one image may be decompressed at a time."""
    slow = schema1.quay([images.layer({"srv/a": images.noise("slow", MEBIBYTE)}).blob])
    push(upstream, "team/old", "1", slow)
    push(upstream, "team/other", "1", schema1.quay(schema1.two_layers()))
    upstream.fault("GET", "/v2/team/old/blobs/*", Fault(cut=200_000, stall=True))
    conversion = {"concurrency": 1, "timeout": "300ms"}
    async with Proxy(settings(upstream, data_dir, conversion=conversion)) as proxy:
        pending = await proxy.get(f"{OLD}/1", Accept=NEW_CLIENT)
        assert (pending.status, pending.code) == (503, "UNAVAILABLE")
        assert int(pending.headers["Retry-After"]) > 0
        other = await proxy.get(f"{OTHER}/1", Accept=NEW_CLIENT)
        while other.status == 503:
            other = await proxy.get(f"{OTHER}/1", Accept=NEW_CLIENT)
        assert (other.status, other.headers["Content-Type"]) == (200, MediaType.V2S2)
        await bystander.pull(proxy)
        assert metric("layer_conversions_running") == 1
        upstream.heal()
        # The upstream's silence ends the try; the next one finds all that has arrived.
        await until(lambda: metric("layer_conversions_running") == 0)
        answer = await proxy.get(f"{OLD}/1", Accept=NEW_CLIENT)
        while answer.status == 503:
            answer = await proxy.get(f"{OLD}/1", Accept=NEW_CLIENT)
        assert answer.status == 200


async def test_one_client_with_many_images_leaves_room_for_another(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Places are few, and who has most of them gives one up."""
    upstream.fault("GET", "/v2/team/old/blobs/*", Fault(stall=True, cut=0))
    for number in range(70):
        blob = images.layer({"srv/a": f"{number}".encode()}).blob
        push(upstream, "team/old", f"{number}", schema1.quay([blob]))
    push(upstream, "team/other", "1", schema1.quay(schema1.two_layers()))
    async with Proxy(settings(upstream, data_dir, conversion={"timeout": "50ms"})) as proxy:
        statuses = [
            (await proxy.get(f"{OLD}/{number}", Accept=NEW_CLIENT)).status for number in range(70)
        ]
        assert set(statuses) == {503}
        assert metric("layer_conversions_running") == 65
        answer = await bystander.get_from(proxy.address[1], f"{OTHER}/1", NEW_CLIENT)
        while answer.status == 503:
            answer = await bystander.get_from(proxy.address[1], f"{OTHER}/1", NEW_CLIENT)
        assert answer.status == 200
