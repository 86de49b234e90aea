"""A registry that was taken over, through the whole proxy: a clear 502, and nothing leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit.network import PUBLIC, Network
from tests.kit.proxy import Answer, Proxy, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "library/alpine"
MANIFEST: Final = f"/v2/{NAME}/manifests/1"
RAW: Final = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
)
BLOB: Final = b"layer" * 100
LOGIN: Final = {"username": "robot", "password": "s3cr3t"}
# Where nothing of a registry on the internet may lead: a neighbour, and a cloud's metadata.
INSIDE: Final = ("10.0.0.1", "169.254.169.254")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network(monkeypatch)
    network.names = {
        "registry.corp.example": [PUBLIC],
        "auth.corp.example": [PUBLIC],
        "elsewhere.test": [PUBLIC],
        "inside.corp.example": ["10.0.0.1"],
    }
    return network


async def asked(
    upstream: ScriptedUpstream, network: Network, data: Path, path: str, **place: Any
) -> tuple[Answer, set[str]]:
    """What a client is answered, and which addresses outside this host were dialled for it."""
    chosen = {
        "url": f"http://registry.corp.example:{upstream.port}",
        "default": True,
        "credentials": LOGIN,
        **place,
    }
    async with Proxy(settings({"docker.io": chosen}, data)) as proxy:
        answer = await proxy.get(path, Accept=MediaType.OCI_INDEX)
    # The client of this test has dialled the proxy itself.
    return answer, set(network.dialled) - {"127.0.0.1"}


def no_login_came(upstream: ScriptedUpstream) -> bool:
    return not any("Authorization" in request.headers for request in upstream.requests)


@pytest.mark.parametrize(
    ("realm", "message"),
    [
        ("http://elsewhere.test:PORT/token", "on another site, elsewhere.test: nothing was sent"),
        ("http://169.254.169.254/latest", "on another site, 169.254.169.254: nothing was sent"),
        ("http://10.0.0.1:PORT/token", "on another site, 10.0.0.1: nothing was sent"),
        ("http://inside.corp.example:PORT/token", "on a private network, and the registry is not"),
        ("http://registry.corp.example@elsewhere.test/", "no plain http(s) URL"),
        ("file:///etc/passwd", "no plain http(s) URL"),
    ],
)
async def test_a_realm_that_is_a_trap(
    network: Network, data_dir: Path, realm: str, message: str
) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.add_manifest(NAME, "1", RAW, MediaType.OCI_INDEX)
        upstream.require_token(realm=realm.replace("PORT", str(upstream.port)))
        answer, dialled = await asked(upstream, network, data_dir, MANIFEST)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
        assert message in answer.message
        assert dialled == {PUBLIC}
        assert upstream.count("*", "/v2/*") == upstream.count()
        assert no_login_came(upstream)


@pytest.mark.parametrize("there", [*INSIDE, "elsewhere.test"])
async def test_a_token_server_that_redirects_is_not_followed(
    network: Network, data_dir: Path, there: str
) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.require_token(realm=f"http://auth.corp.example:{upstream.port}/token")
        upstream.fault("*", "/token", redirect(f"http://{there}:{upstream.port}/loot"))
        answer, dialled = await asked(upstream, network, data_dir, MANIFEST)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
        assert "auth.corp.example, the token server of docker.io, answered 307" in answer.message
        assert dialled == {PUBLIC}
        assert upstream.count("*", "/loot") == 0


async def test_a_token_of_ten_megabytes(network: Network, data_dir: Path) -> None:
    async with ScriptedUpstream() as upstream:
        upstream.require_token(realm=f"http://auth.corp.example:{upstream.port}/token")
        body = json.dumps({"token": "x" * 10_000_000}).encode()
        upstream.fault("*", "/token", Fault(body=body))
        answer, _ = await asked(upstream, network, data_dir, MANIFEST)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
        assert "sent more than 65536 bytes" in answer.message


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("a{}=1", "its challenge has more than 64 parameters"),
        ('parameter-{}="of some length"', "its challenge is longer than 8192 bytes"),
    ],
)
async def test_a_challenge_of_a_thousand_parameters(
    network: Network, data_dir: Path, parameter: str, said: str
) -> None:
    async with ScriptedUpstream() as upstream:
        many = ",".join(map(parameter.format, range(1000)))
        challenge = f'Bearer realm="http://auth.corp.example:{upstream.port}/token",{many}'
        upstream.fault("*", "*", Fault(status=401, headers={"WWW-Authenticate": challenge}))
        answer, _ = await asked(upstream, network, data_dir, MANIFEST)
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
        assert said in answer.message
        assert upstream.count("*", "/token") == 0
        assert no_login_came(upstream)


@pytest.mark.parametrize("there", [*INSIDE, "inside.corp.example", "[::ffff:169.254.169.254]"])
async def test_a_blob_that_is_inside(network: Network, data_dir: Path, there: str) -> None:
    async with ScriptedUpstream() as upstream:
        digest = upstream.add_blob(NAME, BLOB)
        upstream.serve("/loot", BLOB)
        target = f"http://{there}:{upstream.port}/loot"
        upstream.fault("*", "/v2/*/blobs/*", redirect(target))
        answer, dialled = await asked(upstream, network, data_dir, f"/v2/{NAME}/blobs/{digest}")
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
        assert "nothing was sent" in answer.message
        assert dialled == {PUBLIC}
        assert upstream.count("*", "/loot") == 0


async def test_what_the_operator_named_may_be_inside(network: Network, data_dir: Path) -> None:
    async with ScriptedUpstream() as upstream:
        digest = upstream.add_blob(NAME, BLOB)
        upstream.serve("/blob", BLOB)
        target = f"http://inside.corp.example:{upstream.port}/blob"
        upstream.fault("*", "/v2/*/blobs/*", redirect(target))
        answer, dialled = await asked(
            upstream,
            network,
            data_dir,
            f"/v2/{NAME}/blobs/{digest}",
            realms=["inside.corp.example"],
        )
        assert (answer.status, answer.body) == (200, BLOB)
        assert dialled == {PUBLIC, "10.0.0.1"}
        assert no_login_came(upstream)


@pytest.mark.parametrize("kind", ["tags/list", f"referrers/{Digest.of(BLOB)}"])
@pytest.mark.parametrize(
    "link", ["http://169.254.169.254/v2/x/tags/list?last=b&n=2", "//elsewhere.test/?last=b&n=2"]
)
async def test_a_link_to_another_host_leads_back_to_the_registry(
    network: Network, data_dir: Path, link: str, kind: str
) -> None:
    """The client gets our own path in its place, and what follows it reaches the registry."""
    path = f"/v2/{NAME}/{kind}"
    async with ScriptedUpstream() as upstream:
        body = b'{"name":"x","tags":["a"],"schemaVersion":2,"manifests":[]}'
        headers = {"Link": f'<{link}>; rel="next"'}
        upstream.fault("GET", path, Fault(status=200, body=body, headers=headers))
        first, dialled = await asked(upstream, network, data_dir, path)
        assert (first.status, dialled) == (200, {PUBLIC})
        assert first.headers["Link"] == f'<{path}?last=b&n=2>; rel="next"'
        second, dialled = await asked(upstream, network, data_dir, f"{path}?last=b&n=2")
        assert (second.status, dialled) == (200, {PUBLIC})
        assert (upstream.requests[-1].path, upstream.requests[-1].query) == (path, "last=b&n=2")
