"""One line for each request, with what an operator asks of it, and never a credential."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.schema1.build import EMPTY_LAYER
from tests.kit import images
from tests.kit.proxy import Proxy, metric
from tests.kit.scripted_upstream import Fault

if TYPE_CHECKING:
    from tests.kit.scripted_upstream import ScriptedUpstream

CARGO: Final = "/v2/library/cargo"
DOCKER: Final = images.docker_with_empty_steps()
LAYER: Final = list(DOCKER.blobs)[-1]


async def test_a_line_says_what_was_asked_by_whom_and_what_became_of_it(proxy: Proxy) -> None:
    answer = await proxy.get(f"{CARGO}/manifests/docker", User_Agent="docker/1.6.2")
    line = await proxy.line()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", line.pop("id"))
    assert 0 < line.pop("seconds") < 5
    assert line == {
        "level": "info",
        "event": "request.served",
        "client": "127.0.0.1",
        "agent": "docker/1.6.2",
        "method": "GET",
        "route": "manifest",
        "repository": "docker.io/library/cargo",
        "reference": "docker",
        "status": 200,
        "type": MediaType.V2S1_SIGNED,
        "rule": "absent",
        "cache": "miss",
        "upstream_calls": 2,
        "bytes": len(answer.body),
    }


async def test_a_second_line_differs_in_what_it_cost(proxy: Proxy) -> None:
    for _ in range(2):
        await proxy.get(f"{CARGO}/manifests/docker")
    first, second = await proxy.lines(2)
    assert (first["cache"], first["upstream_calls"]) == ("miss", 2)
    assert (second["cache"], second["upstream_calls"]) == ("hit", 0)
    assert second["rule"] == first["rule"] == "absent"
    assert second["bytes"] == first["bytes"]
    assert second["id"] != first["id"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/", {"route": "ping", "status": 200, "repository": "", "reference": ""}),
        (f"{CARGO}/manifests/oci", {"route": "manifest", "reference": "oci", "status": 200}),
        (f"{CARGO}/manifests/{DOCKER.digest}", {"rule": "digest", "reference": DOCKER.digest}),
        (f"{CARGO}/blobs/{LAYER}", {"route": "blob", "reference": LAYER, "cache": "miss"}),
        (f"{CARGO}/blobs/none", {"route": "other", "status": 400, "cache": "none"}),
        (f"{CARGO}/manifests/none", {"status": 404, "reference": "none", "bytes": 0}),
        ("/v2/_catalog", {"route": "other", "status": 405, "upstream_calls": 0}),
    ],
)
async def test_every_request_has_one_line(
    proxy: Proxy, path: str, expected: dict[str, object]
) -> None:
    answer = await proxy.get(path)
    line = await proxy.line()
    assert {key: line[key] for key in expected} == expected
    assert line["status"] == answer.status
    assert ("error" in line) == (answer.status >= 400)
    if answer.status >= 400:
        assert (answer.message, answer.headers["X-Request-Id"]) == (line["error"], line["id"])


async def test_bytes_are_those_that_the_client_got(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    path = f"{CARGO}/blobs/{LAYER}"
    size = len(DOCKER.blobs[LAYER])
    before = metric("sent_bytes_total", route="blob")
    await proxy.head(path)
    await proxy.get(path, Range="bytes=0-99")
    await proxy.get(path)
    await proxy.get(path, Range="bytes=-10")
    await proxy.get(path, If_None_Match=f'"{LAYER}"')
    assert [line["bytes"] for line in await proxy.lines(5)] == [0, 100, size, 10, 0]
    assert metric("sent_bytes_total", route="blob") == before + size + 110
    assert upstream.count("GET") == 2


async def test_a_credential_is_in_no_line(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.require_token()
    upstream.headers["Set-Cookie"] = "session=s3cr3t"
    secret = {"Authorization": "Basic czNjcjN0", "Cookie": "s3cr3t", "X_Registry_Auth": "s3cr3t"}
    for path in (
        "/v2/",
        f"{CARGO}/manifests/docker",
        f"{CARGO}/blobs/{LAYER}",
        f"{CARGO}/manifests/none",
        f"{CARGO}/manifests/docker?ns=docker.io&account=s3cr3t&token=s3cr3t",
        "/v2/s3cr3t:s3cr3t@x/manifests/1",
    ):
        await proxy.get(path, **secret)
    upstream.fault("*", "*", Fault(status=401))
    await proxy.get(f"{CARGO}/manifests/oci", **secret)
    await proxy.stop()
    # What a client writes into a name is a name: it is quoted back, and so in the log.
    log = [line for line in proxy.log() if "valid repository name" not in line.get("error", "")]
    issued = {request.headers.get("Authorization", "") for request in upstream.requests}
    assert len(issued) == 2
    for word in ("s3cr3t", "czNjcjN0", *(word.partition(" ")[2] for word in issued if word)):
        assert word not in json.dumps(log)


async def test_a_line_takes_only_so_much_of_a_clients_words(proxy: Proxy) -> None:
    await proxy.get(f"/v2/{'a' * 5000}/manifests/1", User_Agent="é" * 3000)
    line = await proxy.line()
    assert len(line["agent"]) == 200
    assert len(json.dumps(line)) < 4000


async def test_the_metrics_count_what_the_lines_tell(proxy: Proxy) -> None:
    labels = {"route": "blob", "status": "200", "cache": "hit"}
    before = metric("requests_total", **labels)
    answer = await proxy.get(f"{CARGO}/blobs/{EMPTY_LAYER}")
    assert answer.status == 200
    assert metric("requests_total", **labels) == before + 1


async def test_only_what_we_or_the_upstream_fail_at_is_an_error(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    await proxy.get(f"{CARGO}/manifests/none")
    assert (await proxy.line())["level"] == "info"
    await upstream.stop()
    answer = await proxy.get(f"{CARGO}/manifests/docker")
    line = await proxy.line(reference="docker")
    assert (answer.status, line["status"], line["level"]) == (502, 502, "error")
