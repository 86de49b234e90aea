"""A user that asks for more than its share, from however many addresses: others do not notice."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.kit import images
from tests.kit.access import basic, bearer, htpasswd
from tests.kit.proxy import Proxy, metric, push, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIMIT: Final = 3
ANN: Final = basic("ann", "anchor")
BOB: Final = basic("bob", "bollard")
IMAGE: Final = images.docker("closed")
CLOSED: Final = "team/app"
OPEN: Final = "library/cargo"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for name in (CLOSED, OPEN):
            push(upstream, name, "1", IMAGE)
        yield upstream


@pytest.fixture
async def proxy(
    request: pytest.FixtureRequest, upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> AsyncIterator[Proxy]:
    """Behind a load balancer, which names the clients' addresses."""
    users = htpasswd(tmp_path / "htpasswd", {"ann": "anchor", "bob": "bollard"})
    limits = {"per_principal": request.param, "trusted_proxies": ["127.0.0.0/8"]}
    access = {
        "htpasswd_file": users,
        "allow_plain": True,
        "rules": [{"match": "docker.io/team/*", "mode": "basic"}],
    }
    chosen = settings(
        upstream, data_dir, access=access, limits=limits, negative_cache={"not_found": "0s"}
    )
    async with Proxy(chosen) as proxy:
        yield proxy


async def ask(proxy: Proxy, path: str, user: str = "", *, at: int = 1) -> Any:
    headers = {"Authorization": user} if user else {}
    return await proxy.get(f"/v2/{path}", X_Forwarded_For=f"10.0.0.{at}", Accept="*/*", **headers)


@pytest.mark.parametrize("proxy", [{"upstream_per_minute": LIMIT}], indirect=True)
async def test_requests_to_upstreams_count_for_the_user(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    before = metric("upstream_requests_withheld_total", upstream="docker.io", reason="principal")
    answers = [
        await ask(proxy, f"{CLOSED}{number}/manifests/1", ANN, at=number) for number in range(9)
    ]
    assert {answer.status for answer in answers} == {404, 429}
    assert (answers[-1].code, len(upstream.requests)) == ("TOOMANYREQUESTS", LIMIT)
    assert "this principal has caused 3 requests" in answers[-1].message
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    after = metric("upstream_requests_withheld_total", upstream="docker.io", reason="principal")
    assert after > before
    # Another user at the same address, and anybody in an open repository.
    assert (await ask(proxy, f"{CLOSED}/manifests/1", BOB)).status == 200
    assert (await ask(proxy, f"{OPEN}/manifests/1", at=3)).status == 200
    # And what is cached by now.
    assert (await ask(proxy, f"{CLOSED}/manifests/1", ANN)).status == 200


@pytest.mark.parametrize("proxy", [{"upstream_per_minute": LIMIT}], indirect=True)
async def test_a_token_counts_as_its_users_login_does(proxy: Proxy) -> None:
    token = await bearer(proxy, "ann", "anchor")
    for number in range(LIMIT):
        assert (await ask(proxy, f"team/a{number}/manifests/1", token, at=number)).status == 404
    assert (await ask(proxy, "team/last/manifests/1", ANN, at=99)).status == 429


@pytest.mark.parametrize("proxy", [{"cold": LIMIT}], indirect=True)
async def test_uncached_blobs_at_once_count_for_the_user(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    blobs = [upstream.add_blob(CLOSED, images.noise(f"{number}", 4096)) for number in range(9)]
    upstream.fault("GET", "*/blobs/*", Fault(delay=60))
    asked = [
        asyncio.create_task(ask(proxy, f"{CLOSED}/blobs/{blob}", ANN, at=number))
        for number, blob in enumerate(blobs[:-1])
    ]
    try:
        await until(lambda: sum(each.done() for each in asked) == len(asked) - LIMIT)
        refused = [each.result() for each in asked if each.done()]
        assert {(each.status, each.code) for each in refused} == {(503, "TOOMANYREQUESTS")}
        upstream.heal()
        assert (await ask(proxy, f"{CLOSED}/blobs/{blobs[-1]}", BOB)).status == 200
        assert metric("turned_away_total", limit="principal_cold") >= len(refused)
    finally:
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)


@pytest.mark.parametrize("proxy", [{"connections": LIMIT}], indirect=True)
async def test_connections_count_for_the_user(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    assert (await ask(proxy, f"{CLOSED}/manifests/1", BOB)).status == 200
    blobs = [upstream.add_blob(CLOSED, images.noise(f"{number}", 4096)) for number in range(5)]
    upstream.fault("GET", "*/blobs/*", Fault(delay=60))
    asked = [
        asyncio.create_task(ask(proxy, f"{CLOSED}/blobs/{blob}", ANN, at=number))
        for number, blob in enumerate(blobs)
    ]
    try:
        await until(lambda: sum(each.done() for each in asked) == len(asked) - LIMIT)
        refused = [each.result() for each in asked if each.done()]
        assert {(each.status, each.code) for each in refused} == {(503, "TOOMANYREQUESTS")}
        assert "Retry-After" in refused[0].headers
        # Not even what is cached, on a connection more; others have theirs.
        assert (await ask(proxy, f"{CLOSED}/manifests/1", ANN)).status == 503
        assert (await ask(proxy, f"{CLOSED}/manifests/1", BOB)).status == 200
    finally:
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
    # Those connections have ended, as soon as the proxy has noticed it.
    statuses = [503]
    while statuses[-1] == 503:
        statuses.append((await ask(proxy, f"{CLOSED}/manifests/1", ANN)).status)
    assert statuses[-1] == 200


@pytest.mark.parametrize("proxy", [{"connections": LIMIT}], indirect=True)
async def test_a_users_idle_connection_makes_room(proxy: Proxy) -> None:
    request = (
        f"GET /v2/{CLOSED}/manifests/1 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n"
        f"Authorization: {ANN}\r\n\r\n"
    ).encode()
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(LIMIT + 1):
            reader, writer = await asyncio.open_connection(*proxy.address)
            stack.callback(writer.close)
            writer.write(request)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            readers.append(reader)
        first, *others = readers
        await first.read()
        assert not any(reader.at_eof() for reader in others)
