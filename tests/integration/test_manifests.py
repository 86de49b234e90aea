"""Manifests through the whole proxy: what each client gets, and what the upstream is asked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from tests.kit import images
from tests.kit.proxy import Proxy, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
OCI: Final = images.oci()
LIST: Final = images.docker_list()
INDEX: Final = images.oci_index()
# What clients send, as far as it decides something.
LEGACY: Final[tuple[str, ...]] = ()
DOCKER_1_10: Final = (MediaType.V2S2, MediaType.V2S1_SIGNED, MediaType.V2S1)
DOCKER_1_13: Final = (MediaType.V2S2, MediaType.DOCKER_LIST)
CONTAINERD: Final = f"{UPSTREAM_ACCEPT}, */*"


async def test_a_tag_is_answered_with_the_stored_bytes(proxy: Proxy) -> None:
    answer = await proxy.get(f"{CARGO}/oci", Accept=MediaType.OCI_MANIFEST)
    assert (answer.status, answer.body) == (200, OCI.manifest)
    assert answer.cache == "Lighterage; fwd=miss; stored"
    assert _lasting(answer.headers) == {
        "content-type": MediaType.OCI_MANIFEST,
        "content-length": str(len(OCI.manifest)),
        "docker-content-digest": OCI.digest,
        "docker-distribution-api-version": "registry/2.0",
        "etag": f'"{OCI.digest}"',
        "server": "lighterage",
        "vary": "Accept",
        "x-content-type-options": "nosniff",
    }


async def test_a_second_pull_within_the_ttl_asks_the_upstream_nothing(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    paths = [f"{CARGO}/index", *(f"{CARGO}/{child.digest}" for child in INDEX.children)]
    paths += [f"/v2/library/cargo/blobs/{blob}" for x in INDEX.children for blob in x.blobs]
    first = [await proxy.get(path, Accept=CONTAINERD) for path in paths]
    assert {answer.status for answer in first} == {200}
    upstream.requests.clear()
    for path, before in zip(paths, first, strict=True):
        for _ in range(2):
            again = await proxy.get(path, Accept=CONTAINERD)
            assert (again.status, again.body, again.digest) == (200, before.body, before.digest)
            assert again.cache == "Lighterage; hit"
    assert upstream.requests == []


@pytest.mark.parametrize("accept", [LEGACY, MediaType.OCI_MANIFEST, CONTAINERD])
async def test_the_upstream_is_asked_for_everything_whatever_the_client_accepts(
    proxy: Proxy, upstream: ScriptedUpstream, accept: str
) -> None:
    for tag in ("docker", "oci"):
        await proxy.get(f"{CARGO}/{tag}", Accept=accept, Authorization="Basic bm90OmZvciB5b3U=")
    asked = [request for request in upstream.requests if "/manifests/" in request.path]
    assert [request.method for request in asked] == ["GET", "HEAD", "GET"]
    assert {request.headers["Accept"] for request in asked} == {UPSTREAM_ACCEPT}
    assert not any("Authorization" in request.headers for request in upstream.requests)


@pytest.mark.parametrize(
    ("tag", "accept", "answered"),
    [
        ("docker", (MediaType.V2S2,), (MediaType.V2S2, "named")),
        ("docker", DOCKER_1_10, (MediaType.V2S2, "named")),
        ("docker", LEGACY, (MediaType.V2S1_SIGNED, "absent")),
        ("docker", (MediaType.V2S1,), (MediaType.V2S1_SIGNED, "converted")),
        ("docker", (MediaType.OCI_MANIFEST,), (MediaType.OCI_MANIFEST, "converted")),
        ("docker", ("application/json",), (MediaType.V2S2, "unnamed")),
        ("docker", ("*/*",), (MediaType.V2S2, "wildcard")),
        (
            "docker",
            (f"{MediaType.V2S2};q=0, {MediaType.OCI_MANIFEST}",),
            (MediaType.OCI_MANIFEST, "converted"),
        ),
        ("oci", (MediaType.V2S2,), (MediaType.V2S2, "converted")),
        ("oci", (MediaType.V2S2, "*/*;q=0.1"), (MediaType.V2S2, "converted")),
        ("oci", LEGACY, (MediaType.V2S1_SIGNED, "absent")),
        ("list", LEGACY, (MediaType.V2S1_SIGNED, "absent")),
        ("list", DOCKER_1_13, (MediaType.DOCKER_LIST, "named")),
        ("list", (MediaType.OCI_INDEX, MediaType.OCI_MANIFEST), (MediaType.OCI_INDEX, "converted")),
        ("list", (MediaType.V2S2,), (MediaType.V2S2, "converted")),
        ("index", DOCKER_1_13, (MediaType.DOCKER_LIST, "converted")),
        ("index", (MediaType.V2S2,), (MediaType.V2S2, "converted")),
        ("index", (MediaType.OCI_MANIFEST,), (MediaType.OCI_MANIFEST, "converted")),
        ("index", LEGACY, (MediaType.V2S1_SIGNED, "absent")),
        ("index", (" , ;;q=, text/html;q=x, ,",), (MediaType.OCI_INDEX, "unnamed")),
    ],
)
async def test_each_client_gets_what_it_can_read_and_head_says_the_same(
    proxy: Proxy,
    upstream: ScriptedUpstream,
    tag: str,
    accept: tuple[str, ...],
    answered: tuple[MediaType, str],
) -> None:
    media_type, rule = answered
    head = await proxy.head(f"{CARGO}/{tag}", Accept=accept)
    answer = await proxy.get(f"{CARGO}/{tag}", Accept=accept)
    assert (answer.status, head.status, head.body) == (200, 200, b"")
    assert answer.headers["Content-Type"] == media_type
    assert _lasting(head.headers) == _lasting(answer.headers)
    assert {line["rule"] for line in await proxy.lines(2, reference=tag)} == {rule}

    # What either of them calls the content, the proxy has, under every Accept, for good.
    upstream.requests.clear()
    for accepts in (accept, LEGACY, (MediaType.V2S2,), ("application/json",)):
        exactly = await proxy.get(f"{CARGO}/{answer.digest}", Accept=accepts)
        assert (exactly.status, exactly.body) == (200, answer.body)
        assert exactly.headers["Content-Type"] == answer.headers["Content-Type"]
        assert exactly.digest == answer.digest
        by_digest = await proxy.head(f"{CARGO}/{answer.digest}", Accept=accepts)
        assert _lasting(by_digest.headers) == _lasting(exactly.headers)
    assert upstream.requests == []


async def test_an_old_answer_is_never_given_for_what_the_tag_names_since(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """The tag moves while what it named is still being converted."""
    newer = images.docker("newer")
    chosen = settings(upstream, data_dir, tags={"ttl": "400ms", "revalidation_timeout": "0s"})
    async with Proxy(chosen) as proxy:
        assert (await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)).status == 200
        push(upstream, "library/cargo", "docker", newer)
        upstream.fault("GET", "*/blobs/*", Fault(delay=0.1), times=1)
        await asyncio.sleep(0.4)
        old = await proxy.get(f"{CARGO}/docker")
        new = await proxy.get(f"{CARGO}/docker")
    assert old.headers["Lighterage-Converted-From"] == DOCKER.digest
    assert new.headers["Lighterage-Converted-From"] == newer.digest


# Conditions


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_condition_is_compared_with_what_was_negotiated(proxy: Proxy, method: str) -> None:
    made = await proxy.get(f"{CARGO}/docker")
    assert made.digest != DOCKER.digest
    for known, status in (
        (f'"{made.digest}"', 304),
        (f'W/"{made.digest}"', 304),
        (made.digest, 304),
        (f'"x", "{made.digest}"', 304),
        ("*", 304),
        (f'"{DOCKER.digest}"', 200),
        (f'"{made.digest}x"', 200),
        ("", 200),
    ):
        answer = await proxy.ask(method, f"{CARGO}/docker", If_None_Match=known)
        assert (answer.status, answer.digest) == (status, made.digest)
        assert answer.body == (made.body if (status, method) == (200, "GET") else b"")
        assert answer.headers["ETag"] == f'"{made.digest}"'
        assert ("Content-Length" in answer.headers) == (status == 200)


async def test_a_condition_does_not_hide_a_tag_that_moved(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    answer = await proxy.get(f"{CARGO}/oci", Accept=CONTAINERD, If_None_Match=f'"{OCI.digest}"')
    assert (answer.status, answer.body) == (304, b"")
    assert upstream.count("GET") == 1


# Addresses


async def test_an_image_is_addressed_in_four_ways(data_dir: Path) -> None:
    async with ScriptedUpstream() as hub, ScriptedUpstream() as quay:
        push(hub, "library/cargo", "1", DOCKER)
        push(hub, "org/cargo", "1", LIST)
        push(quay, "org/cargo", "1", OCI)
        push(quay, "cargo", "1", INDEX)
        upstreams = {
            "docker.io": {"url": hub.url, "default": True, "aliases": ["index.docker.io"]},
            "quay.io": {"url": quay.url, "aliases": ["q.local:5000"]},
        }
        async with Proxy(settings(upstreams, data_dir)) as proxy:
            for path, host, expected in (
                ("cargo/manifests/1", "", DOCKER),
                ("library/cargo/manifests/1", "", DOCKER),
                ("docker.io/cargo/manifests/1", "", DOCKER),
                ("index.docker.io/library/cargo/manifests/1", "", DOCKER),
                ("org/cargo/manifests/1", "", LIST),
                ("quay.io/org/cargo/manifests/1", "", OCI),
                ("quay.io/cargo/manifests/1", "", INDEX),
                ("org/cargo/manifests/1?ns=quay.io", "", OCI),
                ("cargo/manifests/1?ns=quay.io", "", INDEX),
                ("cargo/manifests/1?ns=docker.io", "", DOCKER),
                ("org/cargo/manifests/1", "quay.io", OCI),
                ("org/cargo/manifests/1", "quay.io:443", OCI),
                ("org/cargo/manifests/1", "q.local:5000", OCI),
                ("org/cargo/manifests/1", "docker.io", LIST),
                ("org/cargo/manifests/1", "somewhere.else:5000", LIST),
                ("org/cargo/manifests/1?ns=docker.io", "quay.io", LIST),
            ):
                headers = {"Host": host} if host else {}
                answer = await proxy.get(f"/v2/{path}", Accept=CONTAINERD, **headers)
                assert (answer.status, answer.digest) == (200, expected.digest), (path, host)
                ns = path.partition("?ns=")[2] or None
                assert answer.headers.get("OCI-Namespace") == ns


async def test_a_namespace_is_said_back_to_who_named_it_only(proxy: Proxy) -> None:
    named = await proxy.get(f"{CARGO}/oci?ns=docker.io", Accept=CONTAINERD)
    silent = await proxy.get(f"{CARGO}/oci", Accept=CONTAINERD)
    again = await proxy.get(f"{CARGO}/oci?ns=docker.io", Accept=CONTAINERD)
    spaces = [answer.headers.get("OCI-Namespace") for answer in (named, silent, again)]
    assert spaces == ["docker.io", None, "docker.io"]


async def test_the_ping_needs_no_upstream(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    for path in ("/v2/", "/v2", "/v2/?ns=docker.io"):
        answer, head = await proxy.get(path), await proxy.head(path)
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert _lasting(head.headers) == _lasting(answer.headers)
    assert upstream.requests == []


async def test_answers_that_are_kept_count_what_the_client_said(proxy: Proxy) -> None:
    """Who never says the same twice must not fill our memory."""
    kept = proxy.services.registry._answers
    for n in range(10):
        await proxy.get(f"{CARGO}/oci", Accept=f"{MediaType.OCI_MANIFEST}, x/{n}{'y' * 10_000}")
    assert len(kept) == 10
    assert kept.cost > 10 * 10_000


async def test_who_asks_without_reading_is_answered_as_far_as_that_is_sent(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """What waits to be sent is in our memory."""
    large = json.dumps({**json.loads(OCI.manifest), "annotations": {"a": "b" * 60_000}}).encode()
    push(upstream, "library/cargo", "large", replace(OCI, manifest=large))
    await proxy.get(f"{CARGO}/large", Accept="*/*")
    asked = 2_000
    reader, writer = await asyncio.open_connection(*proxy.address)
    try:
        ask = f"GET {CARGO}/large HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n".encode()
        writer.write(ask * asked)
        await asyncio.sleep(0.5)
        # The system's buffers between us take some megabytes.
        assert len(await proxy.lines(10, reference="large")) < asked // 2
        for _ in range(asked):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(large)) == large
    finally:
        writer.close()
        await writer.wait_closed()


def _lasting(headers: Mapping[str, str]) -> dict[str, str]:
    """All but what may differ from one answer to the next."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name: lower[name] for name in lower if name not in {"cache-status", "date"}}
