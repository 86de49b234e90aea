"""What something else writes to Redis is a miss, and with a key it can choose nothing at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.hostile import bystander
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push, settings, until
from tests.kit.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.config import Settings
    from tests.kit.scripted_upstream import ScriptedUpstream

PREFIX: Final = "lighterage:2:"
REPOSITORY: Final = f"docker.io/{bystander.NAME}"
DIGEST: Final = str(bystander.IMAGE.digest)
DEEP: Final = "[" * 100_000
# For each beginning of a key: values that have its form, and values that have none.
WRONG: Final = {
    "tag:": (f"{DIGEST} {'9' * 400}", f"{DIGEST} inf", f"{DIGEST} nan", f"{DIGEST} 1e308"),
    "grant:": (
        json.dumps(["delivered", f"{MediaType.OCI_MANIFEST}\r\nX-Evil: 1"]),
        *('["delivered", 1]', '["delivered", []]', '["evil", null]', DEEP),
    ),
    "manifest:": ("{}", DEEP, "x" * 300_000),
    "origin:": ("{}", '{"source": 1}', DEEP),
    "rep:": (f"{DIGEST}\n", "sha256:", DEEP),
    "list:": (
        *("1.000\n{}\n{}", f"1e999\n{DEEP}", f"1.000\n{DEEP}\n{{}}"),
        '1700000000.000\n{"query":"","next":"a\\r\\nX-Evil: 1","filtered":false}\n{"tags":[]}',
        '1700000000.000\n{"query":"","next":[],"filtered":1}\n{"tags":[]}',
    ),
    "purged:": ("9" * 400, "nan nan", f"{'9' * 12}.000 {'9' * 12}.000"),
    "generation": ("9" * 5000, "-1", "NaN"),
    "budget:": (
        '{"limit": 1e999, "remaining": 0, "window": 0, "source": "", "at": 0}',
        '{"limit": 1, "remaining": 0, "window": 1, "source": "", "at": ' + "9" * 400 + "}",
        DEEP,
    ),
}
ALWAYS: Final = ("", "\0", "null", "Infinity")
PAGES: Final = (f"/v2/{bystander.NAME}/tags/list", f"/v2/{bystander.NAME}/referrers/{DIGEST}")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def _empty(redis: RedisServer) -> None:
    redis.ask("FLUSHALL")


def over(redis: RedisServer, upstream: ScriptedUpstream, data: Path, **more: object) -> Settings:
    """A proxy that asks Redis each time: a tag is fresh for long, and memory has room for none."""
    manifests = {"store": "redis", "memory": 0, "redis": {"url": redis.url, **more}}
    return settings(upstream, data, manifests=manifests, tags={"ttl": "1h"})


async def use(proxy: Proxy) -> None:
    """Read everything that is cached in Redis; whatever is there, it works."""
    await bystander.pull(proxy)
    for path in PAGES:
        answer = await proxy.get(path)
        assert answer.status == 200
        assert "X-Evil" not in answer.headers
    converted = await proxy.get(bystander.MANIFEST, Accept=MediaType.V2S2)
    assert converted.status == 200
    assert (await proxy.get(f"/v2/{bystander.NAME}/manifests/{converted.digest}")).status == 200
    await proxy.services.generation.look()
    await proxy.services.purges.purge(bystander.NAME, None)


def keys(redis: RedisServer) -> list[str]:
    return sorted(key.decode() for key in redis.ask("KEYS", f"{PREFIX}*"))


def kinds(redis: RedisServer) -> set[str]:
    """Those of the keys that are written by now: most are written after the answer."""
    return {kind for key in keys(redis) for kind in WRONG if key.startswith(PREFIX + kind)}


async def test_no_wrong_value_is_more_than_a_miss(
    redis: RedisServer, upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.headers.update({"RateLimit-Limit": "100;w=60", "RateLimit-Remaining": "90;w=60"})
    upstream.headers["Docker-RateLimit-Source"] = "192.0.2.1"
    for path, body in zip(PAGES, ({"tags": ["1"]}, {"manifests": []}), strict=True):
        upstream.serve(path, json.dumps(body).encode())
    async with Proxy(over(redis, upstream, data_dir)) as proxy:
        await use(proxy)
        await use(proxy)
        await until(lambda: kinds(redis) == set(WRONG))
        written = keys(redis)
        for turn in range(max(map(len, WRONG.values())) + len(ALWAYS)):
            before = metric("cache_errors_total", operation="decode")
            for key in written:
                wrong = (*next(WRONG[k] for k in WRONG if key.startswith(PREFIX + k)), *ALWAYS)
                redis.ask("SET", key, wrong[turn % len(wrong)])
            await use(proxy)
            assert metric("cache_errors_total", operation="decode") > before


async def test_without_the_key_nothing_can_be_chosen(
    redis: RedisServer, upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    """The attacker has another image, which the same registry serves, and can write to Redis."""
    key = tmp_path / "key"
    key.write_text("k" * 32 + "\n")
    evil = images.docker("evil")
    push(upstream, "evil/cargo", "1", evil)
    moment = "1700000000.000"
    forged = {
        f"tag:{REPOSITORY}:1": f"{evil.digest} {moment}",
        f"grant:{REPOSITORY}:{evil.digest}": json.dumps(["delivered", evil.media_type]),
        f"manifest:{evil.digest}": evil.manifest.decode(),
    }
    async with Proxy(over(redis, upstream, data_dir, hmac_key_file=key)) as proxy:
        for name, value in forged.items():
            redis.ask("SET", PREFIX + name, value)
        await bystander.pull(proxy)
        assert metric("cache_errors_total", operation="verify") > 0
        assert (await proxy.get(f"/v2/{bystander.NAME}/manifests/{evil.digest}")).status == 404
        # A value that a proxy has written, under a key that is not its own.
        tag = f"{PREFIX}tag:docker.io/evil/cargo:1"
        assert (await proxy.get("/v2/evil/cargo/manifests/1")).status == 200
        await until(lambda: redis.ask("EXISTS", tag) == 1)
        assert redis.ask("COPY", tag, f"{PREFIX}tag:{REPOSITORY}:1", "REPLACE") == 1
        await bystander.pull(proxy)


async def test_proxies_with_the_same_key_share(
    redis: RedisServer, upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    async with Proxy(over(redis, upstream, data_dir, hmac_key_file=key)) as proxy:
        await bystander.pull(proxy)
    asked = upstream.count(path=bystander.MANIFEST)
    async with Proxy(over(redis, upstream, data_dir / "two", hmac_key_file=key)) as proxy:
        answer = await proxy.get(bystander.MANIFEST, Accept=bystander.IMAGE.media_type)
        assert answer.body == bystander.IMAGE.manifest
    assert upstream.count(path=bystander.MANIFEST) == asked
