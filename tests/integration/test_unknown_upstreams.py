"""A name that begins with a registry that is no upstream: the error names those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kit.proxy import Proxy, settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream


async def test_a_path_to_an_unknown_upstream_names_those_there_are(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """In every form of address; a name that only lacks its image says nothing of upstreams."""
    upstreams = {
        "docker.io": {"url": upstream.url, "default": True},
        "quay.io": {"url": upstream.url},
    }
    said = "'ghcr.io' is no upstream of this proxy, which has: docker.io, quay.io"
    async with Proxy(settings(upstreams, data_dir)) as proxy:
        for path in (
            "/v2/ghcr.io/org/image/manifests/latest",
            "/v2/ghcr.io/org/image/tags/list",
            "/v2/org/image/manifests/latest?ns=ghcr.io",
        ):
            for _ in range(2):  # the second answer comes from the negative cache
                answer = await proxy.get(path)
                assert answer.status == 404
                assert answer.message.count(said) == 1
        for path in ("/v2/org/image/manifests/latest", "/v2/quay.io/org/image/manifests/latest"):
            answer = await proxy.get(path)
            assert answer.status == 404
            assert "no upstream" not in answer.message
