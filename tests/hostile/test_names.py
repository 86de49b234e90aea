"""No spelling of a request makes this proxy and what stands in front of it mean two registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from proxy.config import Settings
from tests.hostile import bystander
from tests.kit.proxy import Proxy, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TAGS: Final = f"/v2/{bystander.NAME}/tags/list"


@pytest.fixture
async def other() -> AsyncIterator[ScriptedUpstream]:
    """A second registry, which has nothing."""
    async with ScriptedUpstream() as other:
        yield other


def upstreams(first: ScriptedUpstream, second: ScriptedUpstream) -> dict[str, object]:
    return {
        "docker.io": {"url": first.url, "default": True},
        "quay.io": {"url": second.url},
    }


async def test_an_ns_that_can_be_read_in_two_ways(
    upstream: ScriptedUpstream, other: ScriptedUpstream, data_dir: Path
) -> None:
    async with Proxy(settings(upstreams(upstream, other), data_dir)) as proxy:
        for query in (
            *("ns=docker.io&ns=quay.io", "ns=&ns=quay.io", "ns&ns=quay.io", "ns=a&%6es=quay.io"),
            *("ns=quay%2eio", "ns=%71uay.io", "ns=quay.io%00", "ns=quay+io", "n%73=quay.io"),
        ):
            answer = await proxy.get(f"{bystander.MANIFEST}?{query}")
            assert (query, answer.status, answer.code) == (query, 400, "UNKNOWN")
        assert not upstream.requests
        assert not other.requests
        await bystander.pull(proxy)


@pytest.mark.parametrize("ns", ["127.0.0.1:5001", "127.0.0.1%3A5001", "127.0.0.1%3a5001"])
async def test_the_colon_of_a_port_may_be_escaped(
    upstream: ScriptedUpstream, data_dir: Path, ns: str
) -> None:
    named = {"127.0.0.1:5001": {"url": upstream.url, "default": True}}
    async with Proxy(settings(named, data_dir)) as proxy:
        answer = await proxy.get(f"{bystander.MANIFEST}?ns={ns}")
        assert (answer.status, answer.headers["OCI-Namespace"]) == (200, "127.0.0.1:5001")


@pytest.mark.parametrize("absolute", [False, True])
async def test_a_host_that_can_be_read_in_two_ways(
    upstream: ScriptedUpstream, other: ScriptedUpstream, data_dir: Path, *, absolute: bool
) -> None:
    async with Proxy(settings(upstreams(upstream, other), data_dir)) as proxy:
        for host in (
            *("quay.io.", "quay.io.:443", "user@quay.io", "user:word@quay.io"),
            *("quay.io:443:80", "quay.io:x", "quay.io,docker.io"),
        ):
            target = f"http://{host}{bystander.MANIFEST}" if absolute else bystander.MANIFEST
            header = "docker.io" if absolute else host
            request = f"GET {target} HTTP/1.1\r\nHost: {header}\r\nConnection: close\r\n\r\n"
            status = (await proxy.raw(request.encode())).split(b" ")[1]
            assert (host, status) == (host, b"400")
        assert not upstream.requests
        assert not other.requests
        await bystander.pull(proxy)


@pytest.mark.parametrize(
    ("routing", "path", "host", "status"),
    [
        ({"ns": False}, f"{bystander.MANIFEST}?ns=quay.io", "localhost", 404),
        ({"ns": False}, f"{bystander.MANIFEST}?ns=docker.io", "localhost", 200),
        ({"host": False}, bystander.MANIFEST, "quay.io", 200),
        ({"path": False}, f"/v2/quay.io/{bystander.NAME}/manifests/1", "localhost", 404),
    ],
)
async def test_what_may_not_choose_the_upstream_does_not(
    upstream: ScriptedUpstream,
    other: ScriptedUpstream,
    data_dir: Path,
    *,
    routing: dict[str, bool],
    path: str,
    host: str,
    status: int,
) -> None:
    chosen = settings(upstreams(upstream, other), data_dir, routing=routing)
    async with Proxy(chosen) as proxy:
        assert (await proxy.get(path, Host=host)).status == status
        assert not other.requests
        await bystander.pull(proxy)


async def test_an_upstream_does_not_say_which_upstream_comes_next(
    upstream: ScriptedUpstream, other: ScriptedUpstream, data_dir: Path
) -> None:
    link = f'<{TAGS}?ns=quay.io&last=a&%6es=quay.io>; rel="next"'
    body = b'{"name": "library/cargo", "tags": ["1"]}'
    upstream.fault("GET", TAGS, Fault(status=200, body=body, headers={"Link": link}))
    async with Proxy(settings(upstreams(upstream, other), data_dir)) as proxy:
        first = await proxy.get(TAGS)
        assert first.headers["Link"] == f'<{TAGS}?last=a>; rel="next"'
        named = await proxy.get(f"{TAGS}?ns=docker.io")
        assert named.headers["Link"] == f'<{TAGS}?last=a&ns=docker.io>; rel="next"'
        assert not other.requests


@pytest.mark.parametrize("name", ["quay.io/secret", "docker.io/library", "a/b/c"])
def test_a_name_with_a_slash_is_refused(name: str) -> None:
    """`docker.io/library` would be a repository of one upstream, and the whole of another one."""
    registry = {"url": "http://127.0.0.1:1", "default": True}
    for named in ({name: registry}, {"quay.io": {**registry, "aliases": [name]}}):
        with pytest.raises(ValueError, match="has a slash"):
            Settings.model_validate({"upstreams": named})
