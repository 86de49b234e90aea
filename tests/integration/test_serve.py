"""`lighterage serve` as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.processes import LOOPBACK, Proxy, free_port
from tests.kit.proxy import push, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

IMAGE: Final = images.big(4)
LAYER: Final = list(IMAGE.blobs)[-1]
COMMAND: Final = Path(sys.executable).with_name("lighterage")


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, "cargo", "1", IMAGE)
        yield upstream


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(raise_for_status=True) as client:
        yield client


async def test_it_starts_and_pings_without_an_upstream(
    tmp_path: Path, client: aiohttp.ClientSession
) -> None:
    with Proxy(tmp_path, upstream=f"http://{LOOPBACK}:{free_port()}") as proxy:
        async with client.get(f"{proxy.url}/v2/") as answer:
            assert await answer.read() == b"{}"
        async with client.get(f"{proxy.admin_url}/readyz") as answer:
            assert (await answer.json())["status"] == "ready"
        async with client.get(f"{proxy.admin_url}/healthz") as answer:
            assert await answer.text() == "ok\n"
        async with client.get(f"{proxy.admin_url}/metrics") as answer:
            assert "lighterage_requests_total" in await answer.text()
        url = f"{proxy.url}/v2/cargo/manifests/1"
        async with client.get(url, raise_for_status=False) as answer:
            assert answer.status == 502
    assert {line["event"] for line in _log(proxy)} >= {"proxy.started", "proxy.stopped"}
    assert proxy.errors.read_bytes() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_answers_that_have_begun_are_finished(
    tmp_path: Path,
    upstream: ScriptedUpstream,
    client: aiohttp.ClientSession,
    number: signal.Signals,
) -> None:
    """A blob from upstream, one that somebody reads slowly, and a manifest not yet begun."""
    with Proxy(tmp_path, upstream=upstream.url) as proxy:
        blob = f"{proxy.url}/v2/cargo/blobs/{LAYER}"
        upstream.fault("GET", f"*/{LAYER}", Fault(pace=0.005))
        upstream.fault("GET", "*/manifests/*", Fault(delay=0.3))
        manifest = f"{proxy.url}/v2/cargo/manifests/1"
        headers = {"Accept": MediaType.V2S2}
        async with client.get(blob) as first, asyncio.TaskGroup() as group:
            begun = await first.content.readexactly(1)
            waiting = group.create_task(_read(client, manifest, headers))
            await until(lambda: upstream.count("GET", "*/manifests/*") == 1)
            os.kill(proxy.pid, number)
            await until(lambda: not _listens(proxy.port))
            assert begun + await first.read() == IMAGE.blobs[LAYER]
        assert waiting.result() == IMAGE.manifest
        assert await asyncio.to_thread(proxy.stop) == 0
    stopped = [line for line in _log(proxy) if line["event"] == "proxy.stopped"]
    assert [line["cut_off"] for line in stopped] == [0]


async def test_what_takes_longer_than_the_grace_is_cut_off(
    tmp_path: Path, upstream: ScriptedUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.fault("GET", f"*/{LAYER}", Fault(cut=200_000, stall=True))
    with Proxy(tmp_path, upstream=upstream.url, settings={"shutdown": {"grace": "200ms"}}) as proxy:
        async with client.get(f"{proxy.url}/v2/cargo/blobs/{LAYER}") as answer:
            assert await answer.content.readexactly(1)
            assert await asyncio.to_thread(proxy.stop) == 0
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
    (line,) = (line for line in _log(proxy) if line["event"] == "request.served")
    assert (line["status"], line["error"]) == (200, "interrupted by shutdown")


async def test_the_log_is_one_object_a_line_whatever_comes(
    tmp_path: Path, upstream: ScriptedUpstream, client: aiohttp.ClientSession
) -> None:
    with Proxy(tmp_path, upstream=upstream.url) as proxy:
        for request in (
            b"nonsense\r\n\r\n",
            b"GET /v2/\r\n\xff\xfe HTTP/1.1\r\n\r\n",
            b'GET /v2/ HTTP/1.1\r\nUser-Agent: "\\\x1b[31m\xff\xf0\x9f\r\nHost: \x85\r\n\r\n',
            b"GET /v2/\xe2\x80\xa8/manifests/1%0A{} HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            with socket.create_connection((LOOPBACK, proxy.port)) as connection:
                connection.sendall(request)
                assert connection.recv(12).startswith(b"HTTP/1.")
        async with client.get(f"{proxy.url}/v2/cargo/manifests/1") as answer:
            assert answer.status == 200
    log = _log(proxy)
    assert sum(line["event"] == "request.served" for line in log) == 5
    assert proxy.errors.read_bytes() == b""


def _run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_port_that_is_taken_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        listen = (f"--listen={LOOPBACK}:{port}", f"--admin-listen={LOOPBACK}:0")
        ended = _run("serve", *listen, f"--data={tmp_path}")
    assert ended.returncode == 1
    assert ended.stderr.startswith("lighterage: --listen: listen: another program listens on ")
    assert str(port) in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_data_that_cannot_be_kept_is_one_line_and_status_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    listen = (f"--listen={LOOPBACK}:0", f"--admin-listen={LOOPBACK}:0")
    ended = _run("serve", *listen, f"--data={tmp_path / 'file' / 'data'}")
    assert ended.returncode == 1
    assert ended.stderr.startswith("lighterage: --data: data: ")
    assert "is not a directory" in ended.stderr


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


async def _read(client: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> bytes:
    async with client.get(url, headers=headers) as answer:
        return await answer.read()


def _log(proxy: Proxy) -> list[dict[str, Any]]:
    """What it wrote to its standard output: nothing but objects."""
    lines = [json.loads(line) for line in proxy.output.read_bytes().splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines
