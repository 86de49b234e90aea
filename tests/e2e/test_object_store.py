"""Proxies that share a bucket and a Redis, and no disk: with a real S3 API, and without it."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.closure import closure
from tests.kit import images
from tests.kit.accept_lines import EVERYTHING, NOTHING, ONLY_V2S2
from tests.kit.clients import Containerd, Docker, Podman, skopeo_copy
from tests.kit.processes import Program, Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.redis import RedisServer, eventually
from tests.kit.registry import Registry
from tests.kit.s3_gateway import ACCESS_KEY, SECRET_KEY, Gateway, objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

KINDS: Final = (images.docker, images.oci, images.oci_index)
ACCEPTS: Final = (EVERYTHING, NOTHING, ONLY_V2S2)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client got of an image: the manifest by its digest, and all that this names."""

    repository: str
    digest: str
    manifest: bytes
    content: dict[str, bytes]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """The upstream, with one image of each kind."""
    with Registry(tmp_path / "registry") as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "gateway") as gateway:
        yield gateway


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as redis:
        yield redis


def pulled(proxy: Proxy, kinds: Sequence[Callable[[], Content]]) -> list[Seen]:
    """Every image as modern and old clients get it."""
    found = []
    for kind in kinds:
        repository = f"cargo/{kind.__name__}"
        for lines in ACCEPTS:
            answer = ask(f"{proxy.url}/v2/{repository}/manifests/1", headers=lines)
            assert answer.status == 200, answer.body
            digest = answer.headers["Docker-Content-Digest"]
            found.append(seen(proxy, repository, digest))
            assert found[-1].manifest == answer.body
    return found


def seen(proxy: Proxy, repository: str, digest: str) -> Seen:
    answer = ask(f"{proxy.url}/v2/{repository}/manifests/{digest}")
    assert answer.status == 200, answer.body
    return Seen(repository, digest, answer.body, closure(f"{proxy.url}/v2/{repository}", answer))


def check(proxy: Proxy, images_seen: Sequence[Seen]) -> None:
    for each in images_seen:
        assert seen(proxy, each.repository, each.digest) == each


def wait_for_uploads(gateway: Gateway, kinds: Sequence[Callable[[], Content]]) -> None:
    """Return when every blob of these images is in the bucket."""
    contents = [content for kind in kinds for content in (kind(), *kind().children)]
    wait_for(gateway, *(digest for content in contents for digest in content.blobs))


def wait_for(gateway: Gateway, *digests: str) -> None:
    """Return when these blobs are in the bucket."""
    wanted = {digest.partition(":")[2] for digest in digests}

    def are_there() -> bool:
        return wanted <= {name.rpartition("/")[2] for name in objects(gateway.bucket())}

    eventually(are_there, "they are not in the bucket")


def blob_of(kind: Callable[[], Content]) -> tuple[str, bytes]:
    content = kind()
    return max(content.blobs.items(), key=lambda blob: len(blob[1]))


def ready(proxy: Proxy) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ask(f"{proxy.admin_url}/readyz").body)
    return answer


@pytest.mark.parametrize("deliver", ["redirect", "stream"])
def test_two_proxies_that_share_a_bucket_serve_each_others_content(
    registry: Registry, gateway: Gateway, redis: RedisServer, tmp_path: Path, deliver: str
) -> None:
    """Without the upstream; and without Redis' content; and after both have been restarted."""
    settings = {"blobs": gateway.settings(deliver=deliver)}
    one, two = (
        Proxy(tmp_path / name, upstream=registry.url, redis=redis.url, settings=settings)
        for name in ("one", "two")
    )
    with one, two:
        by_one = pulled(one, KINDS[:2])
        by_two = pulled(two, KINDS[2:])
        wait_for_uploads(gateway, KINDS)
        registry.kill()
        for _ in range(3):
            check(two, by_one)
            check(one, by_two)
            redis.ask("FLUSHALL")
            check(one, by_one + by_two)
            check(two, by_one + by_two)
            redis.ask("FLUSHALL")
            one.restart()
            two.restart()
        # What was on its way has left nothing on their disks.
        for proxy in (one, two):
            assert [path.name for path in (proxy.data / "spool").glob("*/*")] == []
            assert not any((proxy.data / "blobs").glob("*/*/*"))
            assert not (proxy.data / "records").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_skopeo_follows_redirects_into_the_bucket(
    registry: Registry, gateway: Gateway, tmp_path: Path, workers: int
) -> None:
    with Proxy(
        tmp_path / "proxy",
        upstream=registry.url,
        workers=workers,
        settings={"blobs": gateway.settings()},
    ) as proxy:
        for kind in KINDS:
            before = gateway.requests().count("s3_GetObject")
            copies = []
            for place, host in {"a": registry.host, "b": proxy.host, "c": proxy.host}.items():
                copies.append(
                    skopeo_copy(
                        f"{host}/cargo/{kind.__name__}:1",
                        tmp_path / f"{place}-{kind.__name__}",
                        everything=kind is images.oci_index,
                    )
                )
                if place == "b":
                    wait_for_uploads(gateway, [kind])
            assert copies[0] == copies[1] == copies[2]
            assert gateway.requests().count("s3_GetObject") - before >= len(kind().blobs)


@pytest.mark.parametrize("kind", [Podman, Containerd, Docker])
def test_clients_unpack_what_they_are_redirected_to(
    registry: Registry,
    gateway: Gateway,
    tmp_path: Path,
    short_path: Path,
    kind: Callable[[Path], Podman | Containerd | Docker],
) -> None:
    """What is in the bucket comes from there, while the upstream is not asked for a byte."""
    client = kind(short_path / "c")
    with (
        client if isinstance(client, Program) else nullcontext(),
        Proxy(
            tmp_path / "proxy", upstream=registry.url, settings={"blobs": gateway.settings()}
        ) as proxy,
    ):
        closure_of(proxy, images.docker)
        wait_for_uploads(gateway, [images.docker])
        registry.forget()
        before = gateway.requests().count("s3_GetObject")
        redirected = client.pull(f"{proxy.host}/cargo/docker:1")
        assert gateway.requests().count("s3_GetObject") - before >= 3
        assert not [request for request in registry.requests() if "/blobs/" in request.path]
        assert redirected == client.pull(f"{registry.host}/cargo/docker:1")


def test_a_redirect_says_what_it_leads_to_and_only_who_may_read_gets_one(
    registry: Registry, gateway: Gateway, tmp_path: Path
) -> None:
    digest, content = blob_of(images.docker)
    with Proxy(
        tmp_path / "proxy", upstream=registry.url, settings={"blobs": gateway.settings()}
    ) as proxy:
        url = f"{proxy.url}/v2/cargo/docker/blobs/{digest}"
        assert ask(url).status in {200, 307}, "it may be there before the answer begins"
        eventually(lambda: ask(url).status == 307, "clients are not sent to the bucket")
        answer = ask(url, headers=[("Range", "bytes=0-9")])
        assert (answer.status, answer.body) == (307, b"")
        assert answer.headers["Docker-Content-Digest"] == digest
        assert answer.headers["Cache-Status"] == "Lighterage; hit"
        assert answer.headers["Cache-Control"] == "no-store"
        location = answer.headers["Location"]
        assert urlsplit(location).netloc == urlsplit(gateway.endpoint).netloc
        assert "X-Amz-Expires=1200&" in location
        assert SECRET_KEY not in location
        there = ask(location, headers=[("Range", "bytes=0-9")])
        assert (there.status, there.body) == (206, content[:10])
        head = ask(url, method="HEAD")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))
        assert head.headers["Docker-Content-Digest"] == digest
        known = ask(url, headers=[("If-None-Match", f'"{digest}"')])
        assert known.status == 304
        # Another repository has it not, though the bucket does.
        other = ask(f"{proxy.url}/v2/cargo/oci/blobs/{digest}")
        assert other.status == 404
        assert "Location" not in other.headers
        assert location not in proxy.log()


def test_a_streamed_blob_comes_in_whole_and_in_part(
    registry: Registry, gateway: Gateway, tmp_path: Path
) -> None:
    registry.push("cargo/big", "1", images.big(20))
    digest, content = blob_of(partial(images.big, 20))
    with Proxy(
        tmp_path / "proxy",
        upstream=registry.url,
        settings={"blobs": gateway.settings(deliver="stream")},
    ) as proxy:
        url = f"{proxy.url}/v2/cargo/big/blobs/{digest}"
        assert ask(url).body == content
        wait_for(gateway, digest)
        registry.kill()
        proxy.restart()
        assert ask(url).body == content
        for first, last in ((0, 0), (5_000_000, 9_000_000), (len(content) - 3, len(content) + 9)):
            part = ask(url, headers=[("Range", f"bytes={first}-{last}")])
            assert (part.status, part.body) == (206, content[first : last + 1])


@pytest.mark.parametrize("lost", ["removed", "cut short"])
def test_what_the_bucket_has_lost_comes_from_the_upstream_in_the_same_answer(
    registry: Registry, gateway: Gateway, tmp_path: Path, lost: str
) -> None:
    """Its own rules may remove what nobody told the proxy of."""
    registry.push("cargo/big", "1", images.big(5))
    digest, content = blob_of(partial(images.big, 5))
    with Proxy(
        tmp_path / "proxy",
        upstream=registry.url,
        settings={"blobs": gateway.settings(deliver="stream")},
    ) as proxy:
        url = f"{proxy.url}/v2/cargo/big/blobs/{digest}"
        assert ask(url).body == content
        wait_for(gateway, digest)
        eventually(lambda: proxy_has_no_transfer(proxy), "the transfer goes on")
        (file,) = gateway.bucket().glob(f"blobs/*/*/{digest.partition(':')[2]}")
        file.unlink() if lost == "removed" else file.write_bytes(content[:1000])
        registry.forget()
        assert ask(url).body == content
        assert [request.path for request in registry.requests()].count(
            f"/v2/cargo/big/blobs/{digest}"
        ) == 1
        wait_for(gateway, digest)
        eventually(lambda: file.stat().st_size == len(content), "it is not there again")


def proxy_has_no_transfer(proxy: Proxy) -> bool:
    metrics = ask(f"{proxy.admin_url}/metrics").body.decode()
    return "lighterage_transfers_in_flight 0.0" in metrics


def test_a_login_that_is_not_good_is_said_to_be_so_and_clients_are_served(
    registry: Registry, gateway: Gateway, tmp_path: Path
) -> None:
    settings = gateway.settings()
    settings["s3"]["secret_access_key"] = "a-wrong-secret"
    with Proxy(tmp_path / "proxy", upstream=registry.url, settings={"blobs": settings}) as proxy:
        eventually(lambda: "bucket" in ready(proxy)["warnings"], "nothing is said of it")
        assert ready(proxy) == {
            "status": "ready",
            "warnings": {
                "bucket": "s3://lighterage cannot be used: 403 Forbidden SignatureDoesNotMatch"
            },
        }
        for kind in (*KINDS, *KINDS):
            closure_of(proxy, kind)
        eventually(
            lambda: '"blob.upload_failed"' in proxy.log(), "no upload is said to have failed"
        )
    log = proxy.log()
    assert '"reason": "403 Forbidden SignatureDoesNotMatch"'.replace(": ", ":") in log
    for word in ("a-wrong-secret", ACCESS_KEY, "AWS4-HMAC"):
        assert word not in log
    assert objects(gateway.bucket()) == {}


def closure_of(proxy: Proxy, kind: Callable[[], Content]) -> Answer:
    """Pull it as it is, with all that it names."""
    repository = f"{proxy.url}/v2/cargo/{kind.__name__}"
    answer = ask(f"{repository}/manifests/1", headers=EVERYTHING)
    assert (answer.status, answer.body) == (200, kind().manifest)
    assert closure(repository, answer)
    return answer


def test_a_bucket_that_is_down_costs_little_and_is_used_when_it_is_back(
    registry: Registry, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.bucket()
    gateway.kill()
    with Proxy(
        tmp_path / "proxy", upstream=registry.url, settings={"blobs": gateway.settings()}
    ) as proxy:
        closure_of(proxy, images.docker)
        began = time.monotonic()
        closure_of(proxy, images.docker)
        closure_of(proxy, images.oci)
        without = time.monotonic() - began
        # It could not be pulled by its digest when the proxy has forgotten it.
        refused = ask(f"{proxy.url}/v2/cargo/docker/manifests/1", headers=NOTHING)
        assert refused.status == 503
        gateway.start()
        eventually(lambda: "cannot" not in str(ready(proxy)), "it stays away")
        began = time.monotonic()
        closure_of(proxy, images.oci_index)
        # Each of some twenty requests would wait for the bucket otherwise.
        assert without < 20 * (time.monotonic() - began)
        wait_for_uploads(gateway, [images.oci_index])
        legacy = ask(f"{proxy.url}/v2/cargo/docker/manifests/1", headers=NOTHING)
        assert legacy.status == 200
