"""A registry that says what there is, and mirrors that have the same content.

What it has named is asked of them first, in order, and the digest decides what is right.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

IMAGE: Final = images.oci("mirrored")
BIG: Final = images.big(4, "mirrored")
MANIFEST: Final = "/v2/cargo/manifests/1"


@pytest.fixture
async def places() -> AsyncIterator[list[ScriptedUpstream]]:
    """Two mirrors, the first with a prefix, and the registry; all have `library/cargo:1`."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(ScriptedUpstream()) for _ in range(3)]
        for place, prefix in zip(found, ("hub/of/all/", "", ""), strict=True):
            push(place, f"{prefix}library/cargo", "1", IMAGE)
            push(place, f"{prefix}library/big", "1", BIG)
        yield found


@pytest.fixture
async def proxy(places: list[ScriptedUpstream], data_dir: Path) -> AsyncIterator[Proxy]:
    first, second, registry = places
    chosen: dict[str, Any] = {
        "url": registry.url,
        "default": True,
        "mirrors": [{"url": first.url, "prefix": "hub/of/all"}, {"url": second.url}],
    }
    async with Proxy(settings({"docker.io": chosen}, data_dir)) as proxy:
        yield proxy


async def name(proxy: Proxy, image: str) -> None:
    """Have the registry name what is in the image."""
    answer = await proxy.get(f"/v2/{image}/manifests/1", Accept=MediaType.OCI_MANIFEST)
    assert answer.status == 200


def asked(places: list[ScriptedUpstream]) -> list[int]:
    return [place.count() for place in places]


async def test_the_first_mirror_is_enough(places: list[ScriptedUpstream], proxy: Proxy) -> None:
    answer = await proxy.get(MANIFEST, Accept=MediaType.OCI_MANIFEST)
    assert (answer.status, answer.body) == (200, IMAGE.manifest)
    for digest, content in IMAGE.blobs.items():
        assert (await proxy.get(f"/v2/cargo/blobs/{digest}")).body == content
    assert asked(places)[1:] == [0, 1]
    assert places[2].count("HEAD", "/v2/library/cargo/manifests/1") == 1
    assert {request.path.split("library")[0] for request in places[0].requests} == {
        "/v2/hub/of/all/"
    }


@pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 500, 503])
async def test_the_next_place_is_asked_when_one_says_no(
    places: list[ScriptedUpstream], proxy: Proxy, status: int
) -> None:
    places[0].fault("*", "*", Fault(status=status))
    answer = await proxy.get(MANIFEST, Accept=MediaType.OCI_MANIFEST)
    assert (answer.status, answer.body) == (200, IMAGE.manifest)
    places[1].fault("*", "*", Fault(status=status))
    for digest, content in IMAGE.blobs.items():
        assert (await proxy.get(f"/v2/cargo/blobs/{digest}")).body == content
    assert all(asked(places))


async def test_the_registry_has_the_last_word(places: list[ScriptedUpstream], proxy: Proxy) -> None:
    for mirror in places[:2]:
        mirror.fault("*", "*", Fault(status=503))
    answer = await proxy.get("/v2/cargo/manifests/missing", Accept=MediaType.OCI_MANIFEST)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    for mirror in places[:2]:
        mirror.heal()
    places[2].fault("*", "*", Fault(status=503))
    answer = await proxy.get("/v2/cargo/manifests/other", Accept=MediaType.OCI_MANIFEST)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert answer.message.startswith("docker.io answered 503")


async def test_a_mirror_that_is_down_is_passed_over_and_comes_back(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    label = f"docker.io mirror 127.0.0.1:{places[0].port}/hub/of/all"
    registry = places[2]
    images_pulled = 0

    async def pull_another() -> None:
        nonlocal images_pulled
        images_pulled += 1
        tag, image = f"n{images_pulled}", images.oci(f"number {images_pulled}")
        push(registry, "library/cargo", tag, image)
        answer = await proxy.get(f"/v2/cargo/manifests/{tag}", Accept=MediaType.OCI_MANIFEST)
        assert (answer.status, answer.body) == (200, image.manifest)

    await places[0].stop()
    for _ in range(4):
        await pull_another()
    assert metric("upstream_circuit_open", upstream=label) == 1
    assert metric("upstream_circuit_open", upstream="docker.io") == 0
    await places[0].start()
    async with asyncio.timeout(60):
        while not places[0].count():
            await asyncio.sleep(0.2)
            await pull_another()
    assert metric("upstream_circuit_open", upstream=label) == 0


async def test_a_blob_that_breaks_off_goes_on_elsewhere(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    digest, content = max(BIG.blobs.items(), key=lambda blob: len(blob[1]))
    await name(proxy, "big")
    places[0].fault("GET", f"*/blobs/{digest}", Fault(status=503))
    places[0].fault("GET", f"*/blobs/{digest}", Fault(cut=2_000_000), times=1)
    answer = await proxy.get(f"/v2/big/blobs/{digest}")
    assert (answer.status, answer.whole, answer.body) == (200, True, content)
    (resumed,) = (request for request in places[1].requests if digest in request.path)
    assert 0 < int(resumed.headers["Range"].removeprefix("bytes=").rstrip("-")) <= 2_000_000


async def test_a_transfer_s_source_is_the_place_that_delivers(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    """The first mirror, the second one that continues, and at last the registry."""
    digest, content = max(BIG.blobs.items(), key=lambda blob: len(blob[1]))
    await name(proxy, "big")
    for place in places[:2]:
        place.fault("GET", f"*/blobs/{digest}", Fault(status=503))
        place.fault("GET", f"*/blobs/{digest}", Fault(cut=1_000_000, pace=0.02), times=1)
    places[2].fault("GET", f"*/blobs/{digest}", Fault(pace=0.02))
    reading = asyncio.create_task(proxy.get(f"/v2/big/blobs/{digest}"))
    seen: dict[str, None] = {}
    while not reading.done():
        for transfer in proxy.services.reporter.report()["transfers"]:
            if transfer["bytes"]:
                seen[transfer["source"]] = None
        await asyncio.sleep(0.001)
    assert (await reading).body == content
    label = "docker.io mirror 127.0.0.1:"
    first, second = f"{label}{places[0].port}/hub/of/all", f"{label}{places[1].port}"
    assert list(seen) == [first, second, "docker.io"]


async def test_parts_that_do_not_belong_together_are_not_kept(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    """Half of one mirror's wrong blob and half of another's right one: nobody gets a whole one."""
    digest, content = max(BIG.blobs.items(), key=lambda blob: len(blob[1]))
    await name(proxy, "big")
    places[0].fault("GET", f"*/blobs/{digest}", Fault(status=503))
    wrong = Fault(body=bytes(len(content)), cut=2_000_000)
    places[0].fault("GET", f"*/blobs/{digest}", wrong, times=1)
    answer = await proxy.get(f"/v2/big/blobs/{digest}")
    assert not (answer.status == 200 and answer.whole)
    answer = await proxy.get(f"/v2/big/blobs/{digest}")
    assert (answer.status, answer.whole, answer.body) == (200, True, content)


async def test_a_mirror_that_sends_something_else_is_passed_over(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    """At once, for a manifest, a blob of another length, and a small blob."""
    login_page = Fault(status=200, body=b"<html>Log in</html>")
    places[0].fault("GET", "*/manifests/*", login_page)
    places[1].fault("GET", "*/manifests/*", Fault(status=200, body=BIG.manifest))
    answer = await proxy.get(MANIFEST, Accept=MediaType.OCI_MANIFEST)
    assert (answer.status, answer.body) == (200, IMAGE.manifest)
    places[0].fault("GET", "*/blobs/*", login_page)
    places[1].fault("GET", "*/blobs/*", Fault(corrupt=True))
    for digest, content in IMAGE.blobs.items():
        answer = await proxy.get(f"/v2/cargo/blobs/{digest}")
        assert (answer.status, answer.whole, answer.body) == (200, True, content)
    warned = await proxy.lines(4, "mirror.sent_wrong")
    assert all("mirror" in line["upstream"] for line in warned)


async def test_a_large_blob_that_is_wrong_at_its_end_is_taken_once(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    """What has gone out cannot be taken back: that client is cut off, and the next one served."""
    digest, content = max(BIG.blobs.items(), key=lambda blob: len(blob[1]))
    await name(proxy, "big")
    places[0].fault("GET", "*/blobs/*", Fault(corrupt=True))
    assert not (await proxy.get(f"/v2/big/blobs/{digest}")).whole
    for _ in range(2):
        answer = await proxy.get(f"/v2/big/blobs/{digest}")
        assert (answer.status, answer.whole, answer.body) == (200, True, content)
    assert places[0].count("GET", f"*/blobs/{digest}") == 1


async def test_tags_are_what_the_registry_says(
    places: list[ScriptedUpstream], proxy: Proxy
) -> None:
    for place, tag in zip(places, "abc", strict=True):
        body = f'{{"name": "x", "tags": ["{tag}"]}}'.encode()
        place.fault("GET", "*/tags/list", Fault(status=200, body=body))
    assert b'"c"' in (await proxy.get("/v2/cargo/tags/list")).body
    places[2].fault("GET", "*/tags/list", Fault(status=503))
    places[0].fault("GET", "*/tags/list", Fault(status=503))
    assert b'"b"' in (await proxy.get("/v2/other/tags/list")).body
    places[1].fault("GET", "*/tags/list", Fault(status=404))
    failed = await proxy.get("/v2/third/tags/list")
    assert failed.status == 502
    assert failed.message.startswith("docker.io answered 503")


async def test_each_place_has_a_login_of_its_own(
    places: list[ScriptedUpstream], data_dir: Path, tmp_path: Path
) -> None:
    first, _, registry = places
    first.require_basic("mirror", "for-the-mirror")
    registry.require_token("hub", "for-the-hub")
    password = tmp_path / "password"
    password.write_text("for-the-mirror\n")
    mirror = {
        "url": first.url,
        "prefix": "/hub/of/all/",
        "credentials": {"username": "mirror", "password_file": password},
    }
    upstream = {
        "url": registry.url,
        "default": True,
        "credentials": {"username": "hub", "password": "for-the-hub"},
        "mirrors": [mirror],
    }
    async with Proxy(settings({"docker.io": upstream}, data_dir)) as proxy:
        assert (await proxy.get(MANIFEST, Accept=MediaType.OCI_MANIFEST)).status == 200
        assert registry.count("GET", "*/manifests/*") == 0
        first.fault("*", "*/blobs/*", Fault(status=404))
        digest = next(iter(IMAGE.blobs))
        assert (await proxy.get(f"/v2/cargo/blobs/{digest}")).status == 200
    sent = [
        {r.headers.get("Authorization", "").partition(" ")[0] for r in place.requests}
        for place in (first, registry)
    ]
    assert sent == [{"", "Basic"}, {"", "Basic", "Bearer"}]
    assert all(
        request.path == "/token" or "Basic" not in request.headers.get("Authorization", "")
        for request in registry.requests
    )
