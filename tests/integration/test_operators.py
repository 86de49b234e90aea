"""What operators do to a proxy that runs: purge, and ask how it is."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from proxy.oci.mediatype import UPSTREAM_ACCEPT
from proxy.oci.reference import Digest, Tag
from proxy.report.status import SECTIONS
from tests.kit import images, processes
from tests.kit.catalog_files import remove_index
from tests.kit.proxy import Proxy, push, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.kit.proxy import Answer
    from tests.kit.scripted_upstream import ScriptedUpstream

NAME: Final = "library/cargo"
CARGO: Final = f"/v2/{NAME}/manifests"
MOVED: Final = images.docker_list("moved")
COMMAND: Final = Path(sys.executable).with_name("lighterage")
# What says not clearly what to purge.
BAD: Final[tuple[object, ...]] = (
    {},
    [],
    {"repository": NAME, "tag": "a", "digest": MOVED.digest},
    {"repository": NAME, "tga": "a"},
    {"repository": NAME, "tag": "-"},
    {"repository": NAME, "tag": 1},
    {"repository": "UPPER"},
)


@pytest.fixture
async def pair(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[tuple[Proxy, Proxy]]:
    """Two proxies that share what they know, and believe it for a long time."""
    upstream.serve(f"/v2/{NAME}/tags/list", b'{"tags": ["old"]}')
    chosen = settings(upstream, data_dir, tags={"ttl": "1h"}, negative_cache={"not_found": "1h"})
    async with Proxy(chosen) as one, Proxy(chosen) as two:
        for proxy in (one, two):
            for tag in ("index", "oci"):
                assert (await pull(proxy, tag)).status == 200
            assert (await pull(proxy, "absent")).status == 404
            assert b"old" in (await proxy.get(f"/v2/{NAME}/tags/list")).body
        push(upstream, NAME, "index", MOVED)
        push(upstream, NAME, "oci", MOVED)
        push(upstream, NAME, "absent", MOVED)
        upstream.serve(f"/v2/{NAME}/tags/list", b'{"tags": ["new"]}')
        for proxy in (one, two):
            assert (await pull(proxy, "index")).digest == images.oci_index().digest
            assert (await pull(proxy, "absent")).status == 404
        yield one, two


@pytest.mark.parametrize(("tag", "other"), [("index", images.oci().digest), (None, MOVED.digest)])
async def test_what_one_purges_both_ask_for_again(
    pair: tuple[Proxy, Proxy], tag: str | None, other: str
) -> None:
    """A tag alone, or all; and in both cases what was refused, and the listing."""
    one, two = pair
    await one.services.purges.purge("cargo", Tag(tag) if tag else None)
    await noticed(one, two)
    for proxy in pair:
        assert (await pull(proxy, "index")).digest == MOVED.digest
        assert (await pull(proxy, "oci")).digest == other
        assert (await pull(proxy, "absent")).status == 200
        assert b"new" in (await proxy.get(f"/v2/{NAME}/tags/list")).body


async def test_what_was_handed_out_is_not_purged(
    pair: tuple[Proxy, Proxy], upstream: ScriptedUpstream
) -> None:
    index = images.oci_index()
    await pair[0].services.purges.purge("cargo", Digest(index.digest))
    await pair[0].services.purges.purge("cargo", None)
    await noticed(*pair)
    upstream.requests.clear()
    for proxy in pair:
        assert (await pull(proxy, index.digest)).body == index.manifest
    assert upstream.requests == []


async def test_a_purge_survives_a_restart_and_the_loss_of_the_cache(
    pair: tuple[Proxy, Proxy], upstream: ScriptedUpstream, data_dir: Path
) -> None:
    for proxy in pair:
        await proxy.services.purges.purge("cargo", None)
        await proxy.stop()
    remove_index(data_dir)
    await upstream.stop()
    await pair[0].start()
    assert (await pull(pair[0], "index")).status == 502


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_commands_ask_the_proxy_that_runs(
    upstream: ScriptedUpstream, tmp_path: Path, workers: int
) -> None:
    upstream.headers = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}
    proxy = processes.Proxy(
        tmp_path, upstream=upstream.url, workers=workers, settings={"tags": {"ttl": "1h"}}
    )
    await asyncio.to_thread(proxy.start)
    registry = upstream.url.removeprefix("http://")
    try:
        admin = proxy.admin_url.removeprefix("http://")
        async with aiohttp.ClientSession() as client:
            before = await digests(client, proxy.url)
            assert before == {images.oci_index().digest}
            push(upstream, NAME, "index", MOVED)
            done = await run("purge", f"{NAME}:index", "--admin", admin)
            assert done == (0, f"{registry}/{NAME}: the next pull of index asks the upstream\n", "")
            async with asyncio.timeout(60):
                while await digests(client, proxy.url) != {MOVED.digest}:  # noqa: ASYNC110 -- it asks
                    await asyncio.sleep(0.1)
            status, told, _ = await run("status", "--admin", admin)
            assert status == 0
            assert "the proxy is ready" in told
            assert "pulls left: 76 of 100" in told
            assert f"{registry}/{NAME}:index: " in told
            async with client.get(f"{proxy.admin_url}/status") as answer:
                seen = await answer.json()
            assert list(seen) == list(SECTIONS)
            (told_of,) = seen["upstreams"]
            assert (told_of["pulls"]["limit"], told_of["pulls"]["remaining"]) == (100, 76)
            assert (told_of["name"], told_of["circuit"]) == (registry, "closed")
            # Every worker's, and nothing twice.
            asked = proxy.log().count('"event":"request.served"')
            totals = seen["hits"]["total"]
            assert totals["answers"] == asked == totals["here"] + totals["fetched"]
            assert seen["images"][0]["pulls"] == asked
            assert seen["clients"][0]["requests"] == asked
            async with client.get(f"{proxy.admin_url}/metrics") as answer:
                told = await answer.text()
            assert re.search(r'lighterage_build_info{version="[^"]+"} 1.0', told)
            assert f'lighterage_client_requests_total{{generation="other"}} {asked}.0' in told
            assert "lighterage_transfers_limit 256.0" in told
            limit = re.search(r"^lighterage_stored_bytes_limit (\S+)$", told, re.MULTILINE)
            assert limit is not None
            assert float(limit[1]) == 50 * 2**30
            for body in BAD:
                async with client.post(f"{proxy.admin_url}/purge", json=body) as answer:
                    assert (answer.status, list(await answer.json())) == (400, ["errors"])
    finally:
        await asyncio.to_thread(proxy.stop)
    status, _, said = await run("status", "--admin", admin)
    assert (status, said.startswith("lighterage: no proxy answers")) == (1, True)


async def noticed(one: Proxy, two: Proxy) -> None:
    """Look, as both do once a second, until the mark of the one has reached the other."""
    async with asyncio.timeout(60):
        while two.services.generation._seen != one.services.generation._seen:
            await asyncio.sleep(0.01)
            await two.services.generation.look()


async def digests(client: aiohttp.ClientSession, url: str) -> set[str]:
    """What the tag names, asked over many connections so that every worker gets some."""
    found = set()
    for _ in range(16):
        headers = {"Accept": UPSTREAM_ACCEPT, "Connection": "close"}
        async with client.get(f"{url}{CARGO}/index", headers=headers) as answer:
            found.add(answer.headers["Docker-Content-Digest"])
    return found


async def run(*arguments: str) -> tuple[int | None, str, str]:
    """The command's exit status, and what it prints and complains of."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def pull(proxy: Proxy, reference: str) -> Answer:
    return await proxy.get(f"{CARGO}/{reference}", Accept=UPSTREAM_ACCEPT)
