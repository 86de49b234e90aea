"""Who may have what: logins at the upstream, and content only through where it belongs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.proxy import Proxy, push, settings
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo/manifests"
DOCKER: Final = images.docker_with_empty_steps()
HTML: Final = b"<!DOCTYPE html><html><body>Please log in</body></html>"


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


async def test_a_registry_that_knows_no_head_is_asked_by_get_who_has_a_manifest(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    stored = await proxy.get(f"{CARGO}/docker", Accept=MediaType.V2S2)
    push(upstream, "library/shared", None, DOCKER)
    upstream.fault("HEAD", "*", Fault(status=405))
    shared = await proxy.get(f"/v2/library/shared/manifests/{stored.digest}")
    assert (shared.status, shared.body) == (200, DOCKER.manifest)
    assert (await proxy.get(f"/v2/library/other/manifests/{stored.digest}")).status == 404
