"""A range costs the upstream what it has, and nobody keeps one that cannot be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.hostile import bystander
from tests.kit import images
from tests.kit.proxy import metric, until

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream

SIZE: Final = 2 * images.MEBIBYTE
BLOBS: Final = [images.noise(f"layer {number}", SIZE) for number in range(20)]


async def test_one_byte_of_many_blobs_does_not_fetch_them(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    received = metric("received_bytes_total", upstream="docker.io")
    for blob in BLOBS:
        path = f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, blob)}"
        answer = await proxy.get(path, Range="bytes=100-100")
        assert (answer.status, answer.body) == (206, blob[100:101])
    assert not len(proxy.services.transfers)
    assert [request.headers.get("Range") for request in upstream.requests] == [
        "bytes=100-100"
    ] * len(BLOBS)
    # Of each connection that is closed early, at most what was on its way.
    assert metric("received_bytes_total", upstream="docker.io") - received < SIZE
    await bystander.pull(proxy)


async def test_a_blob_that_is_read_piece_by_piece_is_fetched_once(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    blob = BLOBS[0]
    path = f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, blob)}"
    step = SIZE // 20
    for first in range(0, SIZE - step, step):
        answer = await proxy.get(path, Range=f"bytes={first}-{first + 99}")
        assert answer.body == blob[first : first + 100]
    await until(lambda: not len(proxy.services.transfers))
    assert [request.headers.get("Range") for request in upstream.requests].count(None) == 1
    assert len(upstream.requests) < 10


async def test_a_range_that_is_not_verified_is_nothing_to_keep(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    path = f"/v2/{bystander.NAME}/blobs/{upstream.add_blob(bystander.NAME, BLOBS[0])}"
    answer = await proxy.get(path, Range="bytes=100-199")
    assert (answer.status, answer.headers["Cache-Control"]) == (206, "no-store")
    assert "ETag" not in answer.headers
    await proxy.get(path)
    verified = await proxy.get(path, Range="bytes=100-199")
    assert (verified.status, verified.body) == (206, answer.body)
    assert "immutable" in verified.headers["Cache-Control"]
    assert verified.headers["ETag"]
