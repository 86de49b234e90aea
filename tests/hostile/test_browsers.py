"""What a registry has is data: no browser that shows it runs it in the name of the proxy's host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.hostile import bystander

if TYPE_CHECKING:
    from tests.kit.proxy import Proxy
    from tests.kit.scripted_upstream import ScriptedUpstream


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml"])
async def test_a_manifest_that_is_a_page(
    proxy: Proxy, upstream: ScriptedUpstream, *, media_type: str, method: str
) -> None:
    page = json.dumps({"mediaType": media_type, "x": "<script>alert(1)</script>"}).encode()
    digest = upstream.add_manifest(bystander.NAME, "page", page, media_type)
    for reference in ("page", digest):
        for _ in range(2):
            path = f"/v2/{bystander.NAME}/manifests/{reference}"
            answer = await proxy.ask(method, path, Accept="text/html,*/*")
            assert (answer.status, answer.body) == (200, page if method == "GET" else b"")
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Security-Policy"] == "sandbox"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    await bystander.pull(proxy)


async def test_a_blob_that_is_a_page(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    digest = upstream.add_blob(bystander.NAME, b"<html><script>alert(1)</script>")
    for _ in range(2):
        answer = await proxy.get(f"/v2/{bystander.NAME}/blobs/{digest}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_error_is_no_page(proxy: Proxy) -> None:
    answer = await proxy.get("/v2/<script>alert(1)</script>/manifests/1")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
