"""What one cold manifest costs: questions to the index, to Redis and to a bucket."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.stores.bucket.bucket import Bucket
from proxy.stores.redis.cache import RedisManifests
from proxy.stores.sqlite.index import SqliteIndex
from proxy.stores.sqlite.reader import Reader
from proxy.stores.sqlite.writer import GroupCommit
from tests.kit import images
from tests.kit.costs import Costs, of_redis
from tests.kit.proxy import Proxy, push, settings
from tests.kit.redis import RedisServer
from tests.kit.s3_gateway import Gateway

if TYPE_CHECKING:
    from types import FrameType

    from tests.kit.scripted_upstream import ScriptedUpstream

_PROXY: Final = str(Path(sys.modules["proxy"].__path__[0]))
COLD: Final = "/v2/library/new/manifests/1.0"


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    return Costs(monkeypatch)


@pytest.fixture
def cold(upstream: ScriptedUpstream) -> ScriptedUpstream:
    """A registry with an image in a repository that no proxy has heard of."""
    push(upstream, "library/new", "1.0", images.oci("new"))
    return upstream


async def test_a_cold_manifest_is_one_read_and_one_commit(
    cold: ScriptedUpstream, data_dir: Path, costs: Costs
) -> None:
    costs.watch(Reader, "read", lambda *_: "read")
    for name in ("look_tag", "look_manifest", "look_blob", "look_representation"):
        costs.watch(SqliteIndex, name, lambda *_, name=name: name)
    costs.watch_thread(
        GroupCommit, "_transaction", lambda operation, _: "commit" if operation == "write" else None
    )
    async with Proxy(settings(cold, data_dir)) as proxy:
        await proxy.get("/v2/library/cargo/manifests/oci", Accept=MediaType.OCI_MANIFEST)
        costs.reset()
        answer = await proxy.get(COLD, Accept=MediaType.OCI_MANIFEST)
        assert (answer.status, answer.cache) == (200, "Lighterage; fwd=miss; stored")
        made = Counter(costs.calls)
        print(f"embedded: {dict(made)}")  # noqa: T201 -- shown with -s
        looks = [call for call in costs.calls if call.startswith("look")]
        assert looks == ["look_tag"]
        assert made["commit"] == 1


async def test_a_cold_manifest_is_two_look_ups_in_redis(
    cold: ScriptedUpstream, data_dir: Path, tmp_path: Path, costs: Costs
) -> None:
    costs.watch(RedisManifests, "_ask", of_redis)
    with RedisServer(tmp_path / "redis") as redis:
        manifests = {"store": "redis", "redis": {"url": redis.url}}
        async with Proxy(settings(cold, data_dir, manifests=manifests)) as proxy:
            await proxy.get("/v2/library/cargo/manifests/oci", Accept=MediaType.OCI_MANIFEST)
            costs.reset()
            answer = await proxy.get(COLD, Accept=MediaType.OCI_MANIFEST)
            assert (answer.status, answer.cache) == (200, "Lighterage; fwd=miss; stored")
            print(f"redis: {costs.round_trips} round trips, {costs.calls}")  # noqa: T201
            assert costs.calls.count("GET tag") <= 2
            assert costs.round_trips <= 4


@pytest.mark.parametrize(
    ("accept", "most"), [(MediaType.OCI_MANIFEST, 6), (MediaType.V2S2, 12)], ids=["stored", "made"]
)
async def test_a_cold_manifest_is_six_requests_to_a_bucket_and_twelve_where_it_is_converted(
    cold: ScriptedUpstream, data_dir: Path, costs: Costs, accept: str, most: int
) -> None:
    for name in ("get", "size", "describe", "put", "create", "delete"):
        costs.watch(Bucket, name, lambda key, *_, name=name: f"{name} {key}")
    with Gateway(data_dir.parent / "gateway") as gateway:
        chosen = settings(cold, data_dir, blobs=gateway.settings())
        async with Proxy(chosen) as proxy:
            await proxy.get("/v2/library/cargo/manifests/oci", Accept=accept)
            costs.reset()
            answer = await proxy.get(COLD, Accept=accept)
            assert answer.status == 200
            print(f"bucket, {accept}: {len(costs.calls)} requests, {costs.calls}")  # noqa: T201
            assert 0 < len(costs.calls) <= most


async def test_a_cold_manifest_enters_few_files(
    cold: ScriptedUpstream, data_dir: Path, record_property: Any
) -> None:
    files: set[str] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PROXY):
            files.add(frame.f_code.co_filename.removeprefix(_PROXY).lstrip("/"))

    async with Proxy(settings(cold, data_dir)) as proxy:
        await proxy.get("/v2/library/cargo/manifests/oci", Accept=MediaType.OCI_MANIFEST)
        sys.setprofile(note)
        try:
            answer = await proxy.get(COLD, Accept=MediaType.OCI_MANIFEST)
        finally:
            sys.setprofile(None)
        assert answer.status == 200
    record_property("files", len(files))
    print(f"{len(files)} files: {' '.join(sorted(files))}")  # noqa: T201
    # A reader who follows a pull reads them all.
    assert 10 < len(files) <= 70
