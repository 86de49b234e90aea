"""`purge` with content: the bytes of an image go, and nothing that another repository has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import ManifestUnknown
from proxy.oci.clients import CLIENTS
from proxy.oci.reference import Digest, Tag
from tests.kit import images
from tests.kit.proxy import Proxy, push, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.images import Content
    from tests.kit.scripted_upstream import ScriptedUpstream

SHIP: Final = "library/ship"
TTL: Final = {"ttl": "1h"}


def stored(proxy: Proxy) -> set[str]:
    """The digests whose files are in the data directory, apart from locks."""
    data = proxy.settings.data
    blobs = {f"sha256:{path.name}" for path in (data / "blobs").glob("*/*/*")}
    return blobs | {path.name for path in (data / "derived").glob("sha256:*")}


async def pull(proxy: Proxy, name: str, tag: str, content: Content, client: str) -> None:
    headers = {"Accept": CLIENTS[client]} if CLIENTS[client] else {}
    answer = await proxy.get(f"/v2/{name}/manifests/{tag}", **headers)
    assert answer.status == 200
    for child in content.children:
        await pull(proxy, name, child.digest, child, "containerd")
    for digest in content.blobs:
        assert (await proxy.get(f"/v2/{name}/blobs/{digest}")).status == 200


@pytest.mark.parametrize("reference", ["tag", "digest", "repository"])
async def test_manifests_and_what_was_made_of_them_and_blobs_are_removed(
    upstream: ScriptedUpstream, data_dir: Path, reference: str
) -> None:
    fleet = images.oci_index()
    push(upstream, SHIP, "1", fleet)
    async with Proxy(settings(upstream, data_dir, tags=TTL)) as proxy:
        for client in ("containerd", "docker-1.13", "docker-1.9"):
            await pull(proxy, SHIP, "1", fleet, client)
        assert len(stored(proxy)) > 8
        what = {"tag": Tag("1"), "digest": Digest(fleet.digest), "repository": None}[reference]
        await proxy.services.purges.purge("ship", what, content=True)
        assert stored(proxy) == set()
        upstream.requests.clear()
        with pytest.raises(ManifestUnknown):
            await proxy.services.questions.inspect(f"{SHIP}@{fleet.digest}")
        for client in ("containerd", "docker-1.9"):
            await pull(proxy, SHIP, "1", fleet, client)
        assert upstream.count("GET", f"*/blobs/{next(iter(fleet.children[0].blobs))}") == 1
        gone = await proxy.get(f"/v2/{SHIP}/manifests/{fleet.children[0].digest}")
        assert gone.status == 200, "it was pulled again"
    async with Proxy(settings(upstream, data_dir, tags=TTL)) as proxy:
        await pull(proxy, SHIP, "1", fleet, "docker-1.9")


async def test_what_another_repository_was_granted_stays(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    ship = images.oci()
    push(upstream, SHIP, "1", ship)
    both = {
        "docker.io": {"url": upstream.url, "default": True},
        "quay.io": {"url": upstream.url},
    }
    async with Proxy(settings(upstream, data_dir, tags=TTL, upstreams=both)) as proxy:
        for name in (SHIP, f"quay.io/{SHIP}"):
            await pull(proxy, name, "1", ship, "docker-1.13")
        before = stored(proxy)
        await proxy.services.purges.purge(f"docker.io/{SHIP}", Tag("1"), content=True)
        upstream.requests.clear()
        await pull(proxy, f"quay.io/{SHIP}", "1", ship, "docker-1.13")
        assert stored(proxy) == before
        assert upstream.requests == []
        await proxy.services.purges.purge(f"quay.io/{SHIP}", None, content=True)
        assert stored(proxy) == set()


async def test_a_digest_is_gone_for_a_client_that_had_it(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Nothing is left in memory that would still be served."""
    ship = images.oci()
    push(upstream, SHIP, "1", ship)
    async with Proxy(settings(upstream, data_dir, tags=TTL)) as proxy:
        for _ in range(3):
            await pull(proxy, SHIP, "1", ship, "containerd")
        legacy = await proxy.get(f"/v2/{SHIP}/manifests/1")
        await proxy.services.purges.purge("ship", Tag("1"), content=True)
        upstream.remove(SHIP, "1")
        upstream.remove(SHIP, ship.digest)
        for digest in ship.blobs:
            upstream.remove(SHIP, digest)
        for path in ("manifests/1", f"manifests/{ship.digest}", f"manifests/{legacy.digest}"):
            assert (await proxy.get(f"/v2/{SHIP}/{path}")).status == 404, path
        for digest in ship.blobs:
            assert (await proxy.get(f"/v2/{SHIP}/blobs/{digest}")).status == 404


async def test_a_kept_image_is_kept_no_longer(upstream: ScriptedUpstream, data_dir: Path) -> None:
    ship = images.oci()
    push(upstream, SHIP, "1", ship)
    async with Proxy(settings(upstream, data_dir, tags=TTL)) as proxy:
        await pull(proxy, SHIP, "1", ship, "containerd")
        blobs = [Digest(digest) for digest in ship.blobs]
        await proxy.services.kept.keep("ship", Tag("1"), [Digest(ship.digest)], blobs)
        await proxy.services.purges.purge("ship", Tag("1"))
        assert len(await proxy.services.kept.images()) == 1, "content stays, so it is kept"
        await pull(proxy, SHIP, "1", ship, "containerd")
        await proxy.services.purges.purge("ship", Tag("1"), content=True)
        assert await proxy.services.kept.images() == []
