"""An upstream that fails, lies or keeps its doors shut: a clear error, or the last known copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.e2e import images
from tests.integration.proxy import Proxy, push, settings
from tests.integration.upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.proxy import Answer

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
NEWER: Final = images.docker("newer")
HTML: Final = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
async def impatient(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    """A proxy that believes no tag, and no refusal, for longer than it takes to say it."""
    async with Proxy(_without_ttl(upstream, data_dir)) as proxy:
        yield proxy


def _without_ttl(upstream: ScriptedUpstream, data: Path, **tags: str) -> Any:
    registry = {"url": upstream.url, "default": True, "idle_timeout": 0.3}
    return settings(
        {"docker.io": registry},
        data,
        tags={"ttl": "0s", **tags},
        refusals={"not_found": "0s", "denied": "0s"},
    )


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
    upstream.fault("HEAD", "*", fault)
    for _ in range(2):
        upstream.requests.clear()
        answer = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
        assert (answer.status, answer.body) == (200, DOCKER.manifest)
        assert [(request.method, request.path) for request in upstream.requests] == [
            ("HEAD", f"{CARGO}/docker"),
            ("GET", f"{CARGO}/docker"),
        ]


async def test_a_head_that_is_denied_or_throttled_is_not_followed_by_a_get(
    impatient: Proxy, upstream: ScriptedUpstream
) -> None:
    for status in (401, 403, 429):
        upstream.fault("HEAD", "*", Fault(status=status))
        await impatient.get(f"{CARGO}/docker")
    assert (upstream.count("HEAD"), upstream.count("GET")) == (3, 0)


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
    told = await impatient.lines(1, "tag.left_stale", tag="docker")
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
    assert not [path for path in (data_dir / "records").rglob("*") if path.is_file()]


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
    async with Proxy(_without_ttl(upstream, data_dir)) as proxy:
        await _pulls_again(proxy, pulled, blobs)
    # Without its cache the proxy knows it from its records.
    (data_dir / "manifests.sqlite3").unlink()
    async with Proxy(_without_ttl(upstream, data_dir)) as proxy:
        await _pulls_again(proxy, pulled, blobs)


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
    async with Proxy(_without_ttl(upstream, data_dir, stale_if_error="0s")) as proxy:
        assert (await proxy.get(f"{CARGO}/docker")).status == 200
        await upstream.stop()
        assert (await proxy.get(f"{CARGO}/docker")).status == 502
        assert (await proxy.get(f"{CARGO}/{DOCKER.digest}")).status == 200


# Lies


def _document(**members: object) -> bytes:
    return json.dumps({**json.loads(DOCKER.manifest), **members}).encode()


LIES: Final = {
    "no JSON": Fault(body=b"{"),
    "HTML": Fault(body=HTML, headers={"Content-Type": "text/html"}),
    "nothing": Fault(body=b""),
    "an array": Fault(body=b"[]"),
    "another manifest": Fault(body=NEWER.manifest),
    "one byte wrong": Fault(corrupt=True),
    "too short": Fault(headers={"Content-Length": str(len(DOCKER.manifest) - 1)}),
    "too long": Fault(headers={"Content-Length": str(len(DOCKER.manifest) + 1)}),
    "cut off": Fault(cut=100),
    "endless": Fault(headers={"Content-Length": str(5 * 2**20)}),
    "over the limit": Fault(body=b'{"schemaVersion":2}' + b" " * 5 * 2**20),
    "over the limit in chunks": Fault(body=b" " * 5 * 2**20, chunked=True),
    "an image and an index": Fault(body=_document(manifests=[])),
    "two spellings": Fault(body=_document(Layers=[])),
    "another type": Fault(headers={"Content-Type": MediaType.OCI_INDEX}),
    "gzip": Fault(headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_not_served_and_not_kept(
    impatient: Proxy, upstream: ScriptedUpstream, lie: str, data_dir: Path
) -> None:
    upstream.fault("GET", "*", LIES[lie])
    for reference in ("docker", DOCKER.digest):
        for _ in range(2):
            answer = await impatient.get(f"{CARGO}/{reference}", Accept=MediaType.V2S2)
            assert (answer.status, answer.code) == (502, "UNAVAILABLE")
            assert HTML not in answer.body
    assert upstream.count("GET") == 4
    assert not [path for path in (data_dir / "records").rglob("*") if path.is_file()]
    assert all(line["error"] for line in await impatient.lines(4))

    upstream.heal()
    await impatient.restart()
    right = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (right.status, right.body) == (200, DOCKER.manifest)
    push(upstream, "library/cargo", "docker", NEWER)
    upstream.fault("GET", "*", Fault(body=b"{"))
    stale = await impatient.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (stale.status, stale.body) == (200, DOCKER.manifest)


async def test_a_tag_whose_digest_head_invents_is_served_by_get(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """Some registries name, in HEAD, a digest of something that they convert and do not keep."""
    upstream.fault("HEAD", "*", Fault(headers={"Docker-Content-Digest": NEWER.digest}))
    answer = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (answer.status, answer.body) == (200, DOCKER.manifest)


async def test_a_tag_with_a_digest_that_is_not_its_own_is_a_lie(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("*", "*", Fault(headers={"Docker-Content-Digest": NEWER.digest}))
    answer = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert NEWER.digest in answer.message


# Logins


async def test_a_token_is_fetched_once_for_a_repository_and_no_login_leaves_the_proxy(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.require_token()
    for path in (
        f"{CARGO}/docker",
        f"{CARGO}/oci",
        *(f"/v2/library/cargo/blobs/{digest}" for digest in DOCKER.blobs),
    ):
        answer = await proxy.get(path, Authorization="Bearer of-the-client")
        assert answer.status == 200
    assert upstream.count("GET", "/token") == 1
    assert "scope=repository:library/cargo:pull" in upstream.requests[1].query.replace("%2F", "/")
    sent = {request.headers.get("Authorization") for request in upstream.requests}
    assert "Bearer of-the-client" not in sent


async def test_a_token_that_the_registry_takes_back_is_replaced(
    impatient: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.require_token()
    assert (await impatient.get(f"{CARGO}/docker")).status == 200
    upstream.revoke_tokens()
    answer = await impatient.get(f"{CARGO}/docker")
    assert answer.cache == "Lighterage; fwd=stale; detail=revalidated"
    assert upstream.count("GET", "/token") == 2


async def test_a_login_is_used_and_never_shown(
    upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cr3t-of-the-operator\n")
    upstream.require_token("robot", "s3cr3t-of-the-operator")
    registry = {
        "url": upstream.url,
        "default": True,
        "credentials": {"username": "robot", "password_file": secret},
    }
    async with Proxy(settings({"docker.io": registry}, data_dir)) as proxy:
        assert (await proxy.get(f"{CARGO}/docker")).status == 200
        # It changes: the file is read again.
        secret.write_text("another")
        upstream.require_token("robot", "another")
        upstream.revoke_tokens()
        assert (await proxy.get(f"{CARGO}/oci")).status == 200
        log = json.dumps(proxy.log())
    issued = {request.headers.get("Authorization", "-") for request in upstream.requests}
    for word in ("s3cr3t", "another", *issued - {"-"}):
        assert word.removeprefix("Bearer ").removeprefix("Basic ") not in log


@pytest.mark.parametrize(
    "fault",
    [
        Fault(body=HTML, headers={"Content-Type": "text/html"}),
        Fault(body=b"{}"),
        Fault(body=b"x" * 100_000),
        Fault(status=500),
        Fault(cut=5),
    ],
    ids=["HTML", "no token", "too long", "500", "cut off"],
)
async def test_a_token_server_that_fails_is_an_upstream_that_fails(
    impatient: Proxy, upstream: ScriptedUpstream, fault: Fault
) -> None:
    assert (await impatient.get(f"{CARGO}/docker")).status == 200
    upstream.require_token()
    upstream.fault("GET", "/token", fault)
    stale = await impatient.get(f"{CARGO}/docker")
    assert stale.cache.startswith('Lighterage; hit; detail="stale')
    answer = await impatient.get(f"{CARGO}/oci")
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert HTML not in answer.body


# Content is served through a repository that has it


async def test_a_manifest_is_served_only_through_a_repository_that_has_it(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    stored = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    derived = await proxy.get(f"{CARGO}/docker")
    assert stored.digest != derived.digest
    upstream.fault("*", "/v2/library/denied/*", Fault(status=401))
    for digest in (stored.digest, derived.digest):
        for method in ("GET", "HEAD"):
            other = await proxy.ask(method, f"/v2/library/other/manifests/{digest}")
            assert other.status == 404
            denied = await proxy.ask(method, f"/v2/library/denied/manifests/{digest}")
            assert denied.status == 404
        assert (await proxy.get(f"/v2/library/other/manifests/{digest}")).code == "MANIFEST_UNKNOWN"
        assert (await proxy.get(f"/v2/library/denied/manifests/{digest}")).code == "NAME_UNKNOWN"

    # Who has it is asked by a HEAD, which costs no pull.
    push(upstream, "library/shared", None, DOCKER)
    upstream.requests.clear()
    for _ in range(2):
        shared = await proxy.get(f"/v2/library/shared/manifests/{stored.digest}")
        assert (shared.status, shared.body) == (200, DOCKER.manifest)
    assert [request.method for request in upstream.requests] == ["HEAD"]
