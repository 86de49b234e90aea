"""What a client makes up leaves nothing: parameters, names, tags and digests without end."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client import REGISTRY

from proxy.errors import NameUnknown
from proxy.manifests import stored_page
from proxy.oci.mediatype import MediaType
from tests.hostile import bystander
from tests.kit import images
from tests.kit.proxy import Proxy, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

TAGS: Final = f"/v2/{bystander.NAME}/tags/list"
REFERRERS: Final = f"/v2/{bystander.NAME}/referrers"
# About what a page of a thousand long tags takes, and so a page that is cached.
PAGE: Final = json.dumps({"tags": [f"{number:0128}" for number in range(1500)]}).encode()
# `LIGHTERAGE_HOSTILE_SECONDS=60` is the long form of all of it.
SECONDS: Final = float(os.environ.get("LIGHTERAGE_HOSTILE_SECONDS", "2"))
REQUESTS: Final = int(75 * SECONDS)


@pytest.fixture
def upstream(upstream: ScriptedUpstream) -> ScriptedUpstream:
    upstream.serve(TAGS, PAGE)
    return upstream


def used(data: Path) -> int:
    """How many bytes everything below the data directory takes."""
    taken = 0
    for file in data.rglob("*"):
        # What was listed may be gone: a spool, or a blob that was evicted.
        with contextlib.suppress(FileNotFoundError):
            status = file.lstat()
            taken += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return taken


def used_by_index(data: Path) -> int:
    """How many bytes the index takes, with its log."""
    return sum(file.stat().st_size for file in data.glob("index.sqlite3*"))


def series() -> set[str]:
    """The time series that this process has, by name and labels."""
    found = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return {f"{sample.name}{sorted(sample.labels.items())}" for sample in found}


@pytest.mark.parametrize("parameter", ["x{}=1", "artifactType={}", "page={}", "last=&z={}"])
async def test_pages_with_other_parameters_are_passed_on_and_never_stored(
    proxy: Proxy, upstream: ScriptedUpstream, data_dir: Path, parameter: str
) -> None:
    await bystander.pull(proxy)
    before = used(data_dir)
    for number in range(REQUESTS // 5):
        answer = await proxy.get(f"{TAGS}?{parameter.format(number)}")
        assert (answer.status, answer.cache) == (200, "Lighterage; fwd=miss")
    again = await proxy.get(f"{TAGS}?{parameter.format(0)}")
    assert "fwd" in again.cache
    assert upstream.count("GET", TAGS) == REQUESTS // 5 + 1
    assert used(data_dir) < before + len(PAGE)
    await bystander.pull(proxy)


async def test_pages_with_known_parameters_take_a_bounded_number_of_slots(
    proxy: Proxy, data_dir: Path
) -> None:
    for number in range(REQUESTS):
        assert (await proxy.get(f"{TAGS}?last={number}&n=1000")).status == 200
    await bystander.pull(proxy)
    slots = 1 + stored_page._TAG_SLOTS
    # In the write-ahead log each write is there once until the next checkpoint.
    assert used(data_dir) < 3 * slots * len(PAGE)
    assert "hit" in (await proxy.get(f"{TAGS}?last={REQUESTS - 1}&n=1000")).cache


async def test_the_page_that_we_link_to_is_cached(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    """Some registries' cursors are in a parameter of their own."""
    upstream.headers["Link"] = f'<{TAGS}?next_page=abc%2Fd&n=2>; rel="next"'
    first = await proxy.get(f"{TAGS}?n=2")
    linked = first.headers["Link"].partition("<")[2].partition(">")[0]
    assert "fwd" in (await proxy.get(linked)).cache
    assert "hit" in (await proxy.get(linked)).cache
    assert "fwd" in (await proxy.get(linked.replace("abc", "abd"))).cache
    assert "fwd" in (await proxy.get(linked.replace("abc", "abd"))).cache


async def test_referrers_of_random_digests_take_a_bounded_number_of_slots(
    proxy: Proxy, data_dir: Path
) -> None:
    await bystander.pull(proxy)
    before = used(data_dir)
    for number in range(REQUESTS):
        digest = images.digest(b"%d" % number)
        answer = await proxy.get(f"{REFERRERS}/{digest}?x={number}")
        assert (answer.status, json.loads(answer.body)["manifests"]) == (200, [])
    assert used(data_dir) < before + 2**20
    await bystander.pull(proxy)


def names() -> Iterator[str]:
    """Paths that name nothing: repositories, tags, digests of manifests and of blobs."""
    number = 0
    while True:
        number += 1
        digest = images.digest(b"%d" % number)
        yield f"/v2/library/r{number}/manifests/1"
        yield f"/v2/{bystander.NAME}/manifests/t{number}"
        yield f"/v2/{bystander.NAME}/manifests/{digest}"
        yield f"/v2/{bystander.NAME}/blobs/{digest}"


async def test_names_that_do_not_exist_leave_nothing(proxy: Proxy, data_dir: Path) -> None:
    await bystander.pull(proxy)
    source = names()
    for _ in range(200):
        await proxy.get(next(source))
    before, known = used(data_dir), series()
    ends = time.monotonic() + SECONDS
    requests = 0
    while time.monotonic() < ends or requests < 100:
        assert (await proxy.get(next(source))).status == 404
        requests += 1
    assert used(data_dir) < before + 2**16
    # The count of clients by generation is written now and then, so a few may be new by now.
    assert len(series() - known) < 10
    await bystander.pull(proxy)


async def test_purges_of_names_that_do_not_exist_are_bounded(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """Each leaves a row, and the rows are bounded by `catalog.max_size`."""
    limit = 2**22
    chosen = settings(upstream, data_dir, catalog={"max_size": limit})
    async with Proxy(chosen) as proxy:
        await bystander.pull(proxy)
        purges = proxy.services.purges
        for number in range(300):
            with pytest.raises(NameUnknown):
                await purges.purge(f"library/{'x' * 200}{number}", None)
        assert used_by_index(data_dir) < 1.1 * limit
        await bystander.pull(proxy)


async def test_many_images_stay_within_the_catalog_and_leave_derived_digests(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """The index evicts what the upstream has; what was made here is still pulled by digest."""
    limit = 2**22
    async with Proxy(settings(upstream, data_dir, catalog={"max_size": limit})) as proxy:
        derived = await proxy.get(bystander.MANIFEST, Accept=MediaType.V2S2)
        assert derived.headers["Lighterage-Converted-From"] == bystander.IMAGE.digest
        written, largest = 0, 0
        for number in range(REQUESTS):
            large = json.loads(bystander.IMAGE.manifest)
            large["annotations"] = {"x": f"{number:050000}"}
            raw = json.dumps(large).encode()
            name = f"team/image{number}"
            upstream.add_manifest(name, "1", raw, bystander.IMAGE.media_type)
            answer = await proxy.get(f"/v2/{name}/manifests/1", Accept="*/*")
            assert (answer.status, answer.body) == (200, raw)
            written += len(raw)
            largest = max(largest, used_by_index(data_dir))
        assert written > 1.5 * limit
        assert largest < 1.1 * limit
        path = f"/v2/{bystander.NAME}/manifests/{derived.digest}"
        assert (await proxy.get(path)).body == derived.body
        await proxy.restart()
        assert (await proxy.get(path)).body == derived.body
        await bystander.pull(proxy)
