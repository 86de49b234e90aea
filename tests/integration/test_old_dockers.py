"""What docker 1.6 to 1.13 do beside pulling: the v1 API after a refusal, and TLS first."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.proxy import Proxy, metric, push
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from tests.kit.proxy import Answer

NAME: Final = "library/cargo"
DOCKER_1_13: Final = (MediaType.V2S1_SIGNED, MediaType.V2S2, MediaType.DOCKER_LIST)


def printed(answer: Answer, name: str) -> str:
    """What docker 1.13 prints (registry/session.go, GetRepositoryData)."""
    assert answer.status not in {200, 401, 404}
    body = answer.body.decode()
    return f"Error: Status {answer.status} trying to pull repository {name}: {json.dumps(body)}"


async def refuse(proxy: Proxy, path: str) -> str:
    """The reason, as docker got it and did not show it."""
    answer = await proxy.get(path, Accept=[str(name) for name in DOCKER_1_13])
    assert answer.status >= 400
    return answer.message


@pytest.mark.parametrize("name", [NAME, "cargo", "docker.io/library/cargo"])
async def test_docker_prints_why_an_image_was_refused(
    upstream: ScriptedUpstream, proxy: Proxy, name: str
) -> None:
    artifact = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "size": 2}
        | {"digest": images.digest(b"{}")},
        "layers": [],
    }
    upstream.add_manifest(NAME, "chart", json.dumps(artifact).encode(), MediaType.OCI_MANIFEST)
    reason = await refuse(proxy, f"/v2/{name}/manifests/chart")
    answer = await proxy.get(f"/v1/repositories/{name}/images")
    assert (answer.status, answer.code) == (410, "UNSUPPORTED")
    assert f"{name}:chart: {reason}" in answer.message
    assert json.dumps(reason)[1:-1] in printed(answer, name).replace("\\\\", "\\")


async def test_the_last_refusal_of_a_repository_counts(
    upstream: ScriptedUpstream, proxy: Proxy
) -> None:
    first = await refuse(proxy, f"/v2/{NAME}/manifests/1")
    upstream.fault("*", "*/manifests/2", Fault(status=500))
    last = await refuse(proxy, f"/v2/{NAME}/manifests/2")
    assert first != last
    answer = await proxy.get(f"/v1/repositories/{NAME}/images")
    assert last in answer.message
    assert first not in answer.message


@pytest.mark.parametrize(
    "path",
    ["/v1/repositories/library/other/images", "/v1/_ping", "/v1/search?q=cargo", "/v1/"],
)
async def test_what_was_not_refused_is_explained(
    upstream: ScriptedUpstream, proxy: Proxy, path: str
) -> None:
    await refuse(proxy, f"/v2/{NAME}/manifests/absent")
    before = len(upstream.requests)
    answer = await proxy.get(path)
    assert (answer.status, answer.code) == (410, "UNSUPPORTED")
    assert "manifests/TAG" in answer.message
    assert "absent" not in answer.message
    assert len(upstream.requests) == before


async def test_tls_at_a_plain_listener_is_logged_once_and_is_no_request(
    upstream: ScriptedUpstream, proxy: Proxy
) -> None:
    push(upstream, NAME, "1", images.docker())
    context = ssl.create_default_context()
    before = metric("requests_total", route="other", status="400", cache="none")
    for _ in range(3):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*proxy.address, ssl=context)
    raw = await proxy.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert b"this listener is plain HTTP" in raw
    assert (await proxy.get(f"/v2/{NAME}/manifests/1")).status == 200
    await proxy.lines(status=200)
    events = [line["event"] for line in proxy.log()]
    assert (events.count("client.sent_tls"), events.count("request.served")) == (1, 1)
    assert metric("requests_total", route="other", status="400", cache="none") == before


async def test_bytes_like_tls_later_on_a_connection_are_a_bad_request(proxy: Proxy) -> None:
    answer = await proxy.raw(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01\r\n\r\n")
    assert b"this is no HTTP request" in answer
    assert "client.sent_tls" not in [line["event"] for line in proxy.log()]
