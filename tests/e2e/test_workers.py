"""Several processes are one proxy: to clients, to the upstream, and to operators."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.e2e import inside
from tests.kit import images, load, raw_http
from tests.kit.processes import LOOPBACK, Proxy
from tests.kit.proxy import push, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.e2e

CLIENTS: Final = 100
DOCKER: Final = f"{MediaType.V2S2}, {MediaType.DOCKER_LIST}"
OCI_ONLY: Final = f"{MediaType.OCI_MANIFEST}, {MediaType.OCI_INDEX}"
# A test that fails stops its upstream, too: then nothing is worth waiting for.
_HASTE: Final = {"shutdown": {"grace": "5s"}}
# Long enough that every client has asked before the first one is answered.
SLOWLY: Final = Fault(delay=0.3)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


async def _pull(proxy: Proxy, repository: str, tag: str, accept: str | None) -> None:
    """As clients do it: the manifest by tag, then everything that it names."""
    answer = await load.get(proxy.port, f"/v2/{repository}/manifests/{tag}", accept)
    assert answer.status == 200, answer.body
    manifest = json.loads(answer.body)
    for child in manifest.get("manifests", ())[:1]:
        path = f"/v2/{repository}/manifests/{child['digest']}"
        manifest = json.loads((await load.get(proxy.port, path, accept)).body)
    layers = [layer.get("digest") or layer["blobSum"] for layer in _layers(manifest)]
    config = [manifest["config"]["digest"]] if "config" in manifest else []
    for digest in {*config, *layers}:
        answer = await load.get(proxy.port, f"/v2/{repository}/blobs/{digest}")
        assert answer.status == 200
        assert images.digest(answer.body) == digest


def _layers(manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    layers: list[dict[str, str]] = manifest.get("layers") or manifest["fsLayers"]
    return layers


def _asked(upstream: ScriptedUpstream) -> dict[tuple[str, str], int]:
    """How often the upstream let somebody in for what: what a registry counts as a pull."""
    asked: dict[tuple[str, str], int] = {}
    for request in upstream.requests:
        if "Authorization" in request.headers or request.path == "/token":
            key = request.method, request.path
            asked[key] = asked.get(key, 0) + 1
    return asked


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("content", "accepts"),
    [
        (images.docker(), (DOCKER,)),
        (images.docker(), (OCI_ONLY,)),
        (images.docker(), (None,)),
        (images.docker_list(), (DOCKER, OCI_ONLY, None)),
    ],
    ids=["as-stored", "converted", "legacy", "list-for-all-kinds"],
)
async def test_a_hundred_clients_of_a_cold_image_are_one(
    tmp_path: Path,
    upstream: ScriptedUpstream,
    content: images.Content,
    accepts: tuple[str | None, ...],
    workers: int,
) -> None:
    push(upstream, "cargo", "1", content)
    upstream.require_token()
    upstream.fault("*", "*", SLOWLY)
    with Proxy(tmp_path, upstream=upstream.url, workers=workers, settings=_HASTE) as proxy:
        await inside.all_serve(proxy)
        await asyncio.gather(
            *(_pull(proxy, "cargo", "1", accepts[n % len(accepts)]) for n in range(CLIENTS))
        )
        served = {line.get("worker") for line in inside.log(proxy, "request.served")}
    asked = _asked(upstream)
    assert asked.pop(("GET", "/token")) == 1
    assert ("GET", "/v2/cargo/manifests/1") in asked
    assert set(asked.values()) == {1}
    assert {method for method, _ in asked} == {"GET"}
    assert len(served) == workers


async def test_a_thousand_warm_pulls_ask_for_nothing(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    push(upstream, "cargo", "1", images.docker())
    with Proxy(tmp_path, upstream=upstream.url, workers=2, settings=_HASTE) as proxy:
        await inside.all_serve(proxy)
        for accept in (DOCKER, OCI_ONLY, None):
            await _pull(proxy, "cargo", "1", accept)
        upstream.requests.clear()

        async def client(number: int) -> None:
            for turn in range(50):
                await _pull(proxy, "cargo", "1", (DOCKER, OCI_ONLY, None)[(number + turn) % 3])

        await asyncio.gather(*(client(number) for number in range(20)))
        assert upstream.requests == []
        assert {line["worker"] for line in inside.log(proxy, "request.served")} == {1, 2}


async def test_a_purge_reaches_every_worker(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    push(upstream, "cargo", "1", images.docker("old"))
    with Proxy(tmp_path, upstream=upstream.url, workers=2, settings=_HASTE) as proxy:
        await inside.all_serve(proxy)
        await asyncio.gather(*(_pull(proxy, "cargo", "1", DOCKER) for _ in range(20)))
        new = push(upstream, "cargo", "1", images.docker("new"))
        upstream.requests.clear()
        purged = await asyncio.to_thread(
            raw_http.ask, f"{proxy.admin_url}/purge?repository=cargo&tag=1", method="POST"
        )
        assert purged.status == 200
        # Each worker looks once a second whether something was purged.
        await asyncio.sleep(4)
        path = "/v2/cargo/manifests/1"
        answers = await asyncio.gather(*(load.get(proxy.port, path, DOCKER) for _ in range(40)))
        assert {answer.headers["docker-content-digest"] for answer in answers} == {new}
        assert upstream.count("HEAD") == 1


async def test_the_metrics_are_those_of_all_workers(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    push(upstream, "cargo", "1", images.docker())
    with Proxy(tmp_path, upstream=upstream.url, workers=2) as proxy:
        await inside.all_serve(proxy)
        for _ in range(60):
            await load.get(proxy.port, "/v2/")
        metrics = await inside.metrics(proxy)
        assert inside.total(metrics, "lighterage_requests_total", route="ping") == 60
        assert (
            inside.total(metrics, "lighterage_request_duration_seconds_count", route="ping") == 60
        )
        assert inside.total(metrics, "lighterage_workers_serving") == 2
        assert inside.total(metrics, "lighterage_transfer_readers") == 0

        for worker in inside.workers(proxy):
            os.kill(worker, signal.SIGKILL)
        await _have_ended(proxy, 2)
        await inside.all_serve(proxy)
        for _ in range(40):
            await load.get(proxy.port, "/v2/")
        metrics = await inside.metrics(proxy)
        assert inside.total(metrics, "lighterage_requests_total", route="ping") == 100
        ended = inside.log(proxy, "worker.ended")
        assert {(line["worker"], line["status"]) for line in ended} == {(1, -9), (2, -9)}
        assert len(inside.workers(proxy)) == 2


async def test_it_is_ready_while_one_worker_is(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with Proxy(tmp_path, upstream=upstream.url, workers=2) as proxy:
        await inside.all_serve(proxy)
        first, second = inside.workers(proxy)
        os.kill(first, signal.SIGSTOP)  # it takes no notice of anything any more
        assert (await load.get(proxy.admin_port, "/readyz")).status == 200
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGKILL)
        statuses = set()
        async with asyncio.timeout(60):
            while 200 not in statuses or 503 not in statuses:
                statuses.add((await load.get(proxy.admin_port, "/readyz")).status)
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
async def test_a_killed_supervisor_leaves_nobody_behind(
    tmp_path: Path, upstream: ScriptedUpstream, *, frozen: bool
) -> None:
    """Nor one that was killed before it had read what its workers reported."""
    proxy = Proxy(tmp_path, upstream=upstream.url, workers=2, settings={})
    proxy.start()
    try:
        await inside.all_serve(proxy)
        workers = inside.workers(proxy)
        assert len(workers) == 2
        if frozen:
            os.kill(proxy.pid, signal.SIGSTOP)
            (tmp_path / "lighterage.yaml").write_text("no mapping")
            await until(lambda: len(inside.log(proxy, "settings.refused")) == 2)
            # By now each worker has a line about it on the way to nobody.
            await asyncio.sleep(0.5)
        os.kill(proxy.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while any(inside.lives(worker) for worker in workers):  # noqa: ASYNC110 -- other processes
                await asyncio.sleep(0.01)
    finally:
        proxy.kill()
    # Another one takes its place at once: on the same address, and with nothing left of the first.
    (tmp_path / "lighterage.yaml").write_text("{}")
    with proxy:
        assert (await load.get(proxy.port, "/v2/")).status == 200


def test_a_taken_address_is_not_shared(tmp_path: Path) -> None:
    """The system would allow it: both would get some of the other one's clients."""
    with Proxy(tmp_path / "first", workers=2) as first:
        second = Proxy(tmp_path / "second", workers=2)
        second.command[2] = f"--listen={LOOPBACK}:{first.port}"
        second.listens = (second.admin_port,)
        with pytest.raises(Exception, match=r"(?s)ended with status 1.*another program listens on"):
            second.start()


async def _have_ended(proxy: Proxy, count: int) -> None:
    """Return when the supervisor has noticed."""
    async with asyncio.timeout(60):
        while True:
            if inside.total(await inside.metrics(proxy), "lighterage_worker_ends_total") == count:
                return
            await asyncio.sleep(0.05)
