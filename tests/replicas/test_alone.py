"""A replica that has no peers loads nothing of what is for them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.kit import images
from tests.kit.accept_lines import EVERYTHING
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

# Python then writes a line for each module that it loads.
_VERBOSE = {"PYTHONPROFILEIMPORTTIME": "1"}
_LOADED = re.compile(r"^import time: .*\|\s+(proxy\.\S+)$", re.MULTILINE)
_OF_PEERS = re.compile(r"proxy\.peers\b.*|proxy\.(web\.peer_content|wiring\.peers)")


def _loaded(proxy: Proxy) -> set[str]:
    """The modules that all processes of the proxy have loaded until now."""
    return set(_LOADED.findall(proxy.log()))


def _of_peers(modules: set[str]) -> set[str]:
    return {module for module in modules if _OF_PEERS.fullmatch(module)}


@pytest.mark.parametrize("workers", [1, 2])
async def test_alone_nothing_of_it_is_loaded(tmp_path: Path, workers: int) -> None:
    content = images.oci()
    async with ScriptedUpstream() as upstream:
        push(upstream, "library/cargo", "1", content)
        with Proxy(
            tmp_path / "proxy", upstream=upstream.url, workers=workers, environment=_VERBOSE
        ) as proxy:
            for path in ("manifests/1", *(f"blobs/{digest}" for digest in content.blobs)):
                url = f"{proxy.url}/v2/library/cargo/{path}"
                answer = await asyncio.to_thread(ask, url, headers=EVERYTHING)
                assert answer.status == 200
            for path in ("readyz", "status", "metrics"):
                assert (await asyncio.to_thread(ask, f"{proxy.admin_url}/{path}")).status == 200
        modules = _loaded(proxy)
    assert "proxy.wiring.services" in modules
    assert _of_peers(modules) == set()


async def test_with_peers_it_is(tmp_path: Path) -> None:
    """So the names of the modules are still right."""
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 1, upstreams=upstreams, environment=_VERBOSE) as replicas:
            modules = _loaded(replicas.running[0])
    assert {"proxy.web.peer_content", "proxy.wiring.peers"} < _of_peers(modules)
