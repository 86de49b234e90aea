"""An upstream that fails: a clear error, or the last known copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.catalog_files import manifests_in, remove_index
from tests.kit.proxy import Proxy, impatient_settings, push, settings
from tests.kit.scripted_upstream import Fault, redirect

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.proxy import Answer
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
NEWER: Final = images.docker("newer")
HTML: Final = b"<!DOCTYPE html><html><body>Please log in</body></html>"


# What HEAD leaves open


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=405),
        Fault(status=500),
        Fault(status=503),
        Fault(headers={"Docker-Content-Digest": None}),
        Fault(headers={"Docker-Content-Digest": "sha256:nonsense"}),
    ],
    ids=["404", "405", "500", "503", "without", "nonsense"],
)
async def test_a_head_that_settles_nothing_is_followed_by_one_get(
    impatient: Proxy, upstream: ScriptedUpstream, fault: Fault
) -> None:
    """A tag that is not stored in a repository that is known, and one with a stale copy."""
    await impatient.get(f"{CARGO}/oci", Accept=MediaType.OCI_MANIFEST)
    upstream.fault("HEAD", "*", fault)
    for _ in range(2):
        upstream.requests.clear()
        answer = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
        assert (answer.status, answer.body) == (200, DOCKER.manifest)
        assert [(request.method, request.path) for request in upstream.requests] == [
            ("HEAD", f"{CARGO}/docker"),
            ("GET", f"{CARGO}/docker"),
        ]


# Revalidation


async def test_a_tag_that_is_not_believed_any_more_costs_one_head(
    impatient: Proxy, upstream: ScriptedUpstream
) -> None:
    await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    upstream.requests.clear()
    answer = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert answer.cache == "Lighterage; fwd=stale; detail=revalidated"
    assert [request.method for request in upstream.requests] == ["HEAD"]


async def test_a_tag_that_moved_is_followed_and_what_it_named_stays(
    impatient: Proxy, upstream: ScriptedUpstream
) -> None:
    for accept in (MediaType.V2S2, ()):
        await impatient.get(f"{CARGO}/docker", Accept=accept)
    push(upstream, "library/cargo", "docker", NEWER)
    answer = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (answer.body, answer.cache) == (NEWER.manifest, "Lighterage; fwd=miss; stored")
    older = await impatient.get(f"{CARGO}/{DOCKER.digest}")
    assert (older.body, older.cache) == (DOCKER.manifest, "Lighterage; hit")


async def test_a_tag_that_is_gone_is_gone(impatient: Proxy, upstream: ScriptedUpstream) -> None:
    await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    upstream.remove("library/cargo", "docker")
    assert (await impatient.get(f"{CARGO}/docker")).code == "MANIFEST_UNKNOWN"
    # It must not come back when the upstream fails.
    await upstream.stop()
    assert (await impatient.get(f"{CARGO}/docker")).status == 502


# Failures


FAILURES: Final = {
    "401": Fault(status=401),
    "403": Fault(status=403),
    "429": Fault(status=429, headers={"Retry-After": "7"}),
    "500": Fault(status=500),
    "502 and HTML": Fault(status=502, body=HTML, headers={"Content-Type": "text/html"}),
    "503": Fault(status=503),
    "silence": Fault(delay=5.0),
    "hung up": Fault(raw=b""),
    "no HTTP": Fault(raw=b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a loop": redirect("/v2/library/cargo/manifests/docker?again"),
    "nowhere": redirect("http://127.0.0.1:1/"),
    "a file": redirect("file:///etc/passwd"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_what_is_cached_is_served_whatever_the_upstream_answers(
    impatient: Proxy, upstream: ScriptedUpstream, failure: str
) -> None:
    accepts = (MediaType.V2S2, MediaType.OCI_MANIFEST, ())
    before = [await impatient.get(f"{CARGO}/docker", Accept=accept) for accept in accepts]
    upstream.fault("*", f"{CARGO}/docker", FAILURES[failure])
    for accept, pulled in zip(accepts, before, strict=True):
        stale = await impatient.get(f"{CARGO}/docker", Accept=accept)
        head = await impatient.head(f"{CARGO}/docker", Accept=accept)
        assert (pulled.status, stale.body) == (200, pulled.body)
        for answer in (stale, head):
            assert (answer.status, answer.digest) == (200, pulled.digest)
            assert answer.cache.startswith('Lighterage; hit; detail="stale ')
            assert "WWW-Authenticate" not in answer.headers
    assert len(await impatient.lines(6, cache="stale")) == 6
    told = await impatient.lines(1, "tag.served_stale", tag="docker")
    assert told[0]["reason"]


@pytest.mark.parametrize("failure", FAILURES)
async def test_what_is_not_cached_is_a_clear_error(
    impatient: Proxy, upstream: ScriptedUpstream, failure: str, data_dir: Path
) -> None:
    upstream.fault("*", "*", FAILURES[failure])
    status, code = {
        "401": (404, "NAME_UNKNOWN"),
        "403": (404, "NAME_UNKNOWN"),
        "429": (429, "TOOMANYREQUESTS"),
    }.get(failure, (502, "UNAVAILABLE"))
    for path in (
        f"{CARGO}/docker",
        f"{CARGO}/{DOCKER.digest}",
        f"/v2/library/cargo/blobs/{next(iter(DOCKER.blobs))}",
    ):
        answer = await impatient.get(path)
        assert (answer.status, answer.code) == (status, code)
        assert "WWW-Authenticate" not in answer.headers
        assert failure != "429" or 0 < int(answer.headers["Retry-After"]) <= 7
        head = await impatient.head(path)
        assert (head.status, head.body) == (status, b"")
    lines = await impatient.lines(6)
    assert all(line["error"] for line in lines)
    assert not [path for path in (data_dir / "blobs").rglob("*") if path.is_file()]
    assert manifests_in(data_dir) == 0


async def test_what_was_pulled_pulls_again_without_the_upstream(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """By tag, by digest and by derived digest; also after a restart, also when no tag is fresh."""
    accepts = (MediaType.V2S2, MediaType.OCI_MANIFEST, ())
    async with Proxy(settings(upstream, data_dir)) as proxy:
        pulled = {
            (tag, accept): await proxy.get(f"{CARGO}/{tag}", Accept=accept)
            for tag in ("docker", "oci", "list", "index")
            for accept in accepts
        }
        assert {answer.status for answer in pulled.values()} == {200}
        blobs = [f"/v2/library/cargo/blobs/{digest}" for digest in DOCKER.blobs]
        for path in blobs:
            await proxy.get(path)
        await upstream.stop()
        await _pulls_again(proxy, pulled, blobs)
        await proxy.restart()
        await _pulls_again(proxy, pulled, blobs)
    async with Proxy(impatient_settings(upstream, data_dir)) as proxy:
        await _pulls_again(proxy, pulled, blobs)
    # Without its index the proxy still has all that no upstream has.
    derived = {
        answer.digest: answer.body
        for answer in pulled.values()
        if "Lighterage-Converted-From" in answer.headers
        and (data_dir / "derived" / answer.digest).exists()
    }
    assert len(derived) >= 4
    remove_index(data_dir)
    async with Proxy(impatient_settings(upstream, data_dir)) as proxy:
        for digest, body in derived.items():
            assert (await proxy.get(f"{CARGO}/{digest}")).body == body


async def _pulls_again(
    proxy: Proxy, pulled: dict[tuple[str, Any], Answer], blobs: list[str]
) -> None:
    for (tag, accept), before in pulled.items():
        for reference in (tag, before.digest):
            answer = await proxy.get(f"{CARGO}/{reference}", Accept=accept)
            assert (answer.status, answer.body) == (200, before.body)
            assert answer.digest == before.digest
            assert answer.headers["Content-Type"] == before.headers["Content-Type"]
    for path in blobs:
        assert Digest.of((await proxy.get(path)).body) in path


async def test_a_tag_is_not_served_stale_for_ever(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    async with Proxy(impatient_settings(upstream, data_dir, stale_if_error="0s")) as proxy:
        assert (await proxy.get(f"{CARGO}/docker")).status == 200
        await upstream.stop()
        assert (await proxy.get(f"{CARGO}/docker")).status == 502
        assert (await proxy.get(f"{CARGO}/{DOCKER.digest}")).status == 200
