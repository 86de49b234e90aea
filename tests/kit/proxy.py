"""The whole proxy in this process: everything but the signals and the listener for operators.

async with Proxy(settings(upstream, data)) as proxy:
    answer = await proxy.get("/v2/library/alpine/manifests/3.20", Accept=MediaType.V2S2)
    line = await proxy.line(reference="3.20")
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict
from prometheus_client import REGISTRY
from yarl import URL

from proxy.config import Settings
from proxy.telemetry.log import start_log
from proxy.telemetry.request_metrics import REQUEST_METRICS
from proxy.web.server import RegistryServer
from proxy.wiring.services import open_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType

    from multidict import CIMultiDictProxy

    from proxy.oci.reference import Digest
    from tests.kit.images import Content
    from tests.kit.scripted_upstream import ScriptedUpstream

# What ends a test that waits for something beside a request, in seconds.
_SOON: Final = 60.0
# Links to the next page of a list have page tokens of 16 KiB, in bytes.
_LONGEST_FIELD: Final = 64 * 1024
# What a client of this module does not say by itself.
_SILENT: Final = ("Accept", "Accept-Encoding", "User-Agent")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. An answer is not `whole` if the connection was cut before its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    whole: bool = True

    @property
    def code(self) -> str:
        """The code of an error in the distribution spec's form; fails the test if it is none."""
        assert self.headers["Content-Type"] == "application/json"
        (error,) = json.loads(self.body)["errors"]
        assert set(error) - {"detail"} == {"code", "message"}
        return str(error["code"])

    @property
    def message(self) -> str:
        """The sentence of an error."""
        return str(json.loads(self.body)["errors"][0]["message"])

    @property
    def digest(self) -> str:
        """What the proxy calls the content."""
        return self.headers["Docker-Content-Digest"]

    @property
    def cache(self) -> str:
        """Where the content came from."""
        return self.headers["Cache-Status"]


def settings(
    upstream: ScriptedUpstream | Mapping[str, Any], data: Path, **sections: Mapping[str, Any]
) -> Settings:
    """Those of a proxy in front of `upstream`, or of several as in the settings' `upstreams`."""
    upstreams = (
        upstream
        if not hasattr(upstream, "url")
        else {"docker.io": {"url": upstream.url, "default": True, "idle_timeout": 2.0}}
    )
    return Settings.model_validate(
        {"listen": "127.0.0.1:0", "data": data, "upstreams": upstreams, **sections}
    )


def impatient_settings(upstream: ScriptedUpstream, data: Path, **tags: str) -> Settings:
    """Those of a proxy that believes no tag, and no refusal, for longer than it takes to say it."""
    return settings(
        {"docker.io": {"url": upstream.url, "default": True, "idle_timeout": 0.3}},
        data,
        tags={"ttl": "0s", **tags},
        negative_cache={"not_found": "0s", "denied": "0s"},
    )


class Proxy:
    """A proxy on a free port, its log, and a client that says only what it is told to."""

    def __init__(self, chosen: Settings) -> None:
        self.settings = chosen
        self._log = chosen.data.with_name(f"{chosen.data.name}.log")
        self._stack = AsyncExitStack()
        self._port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open everything, and listen."""
        async with AsyncExitStack() as stack:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            stack.callback(os.close, log)
            stack.callback(structlog.reset_defaults)
            self._writer = start_log(log)
            stack.callback(self._writer.close)
            self.services = await stack.enter_async_context(open_services(self.settings))
            if self.services.peers is not None:
                await stack.enter_async_context(self.services.peers.listening(reuse_port=False))
            server = RegistryServer(self.services.registry, self.services.limits)
            runner = web.ServerRunner(server, shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = runner.addresses[0][1]
            self._client = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0),
                    skip_auto_headers=_SILENT,
                    auto_decompress=False,
                    max_field_size=_LONGEST_FIELD,
                )
            )
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Close everything; the log is complete then."""
        await self._stack.aclose()

    async def restart(self) -> None:
        """Only what is in the data directory stays."""
        await self.stop()
        await self.start()

    # Asking

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self._port

    async def get(self, path: str, **headers: str | Iterable[str]) -> Answer:
        """GET; `If_Range="…"` is the header `If-Range`, and an iterable is several lines."""
        return await self.ask("GET", path, **headers)

    async def head(self, path: str, **headers: str | Iterable[str]) -> Answer:
        """HEAD."""
        return await self.ask("HEAD", path, **headers)

    async def ask(self, method: str, path: str, **headers: str | Iterable[str]) -> Answer:
        """Any method; the path goes out as it stands here."""
        async with self.open(method, path, **headers) as response:
            body = bytearray()
            try:
                async for chunk in response.content.iter_any():
                    body += chunk
            except aiohttp.ClientPayloadError:
                return Answer(response.status, response.headers, bytes(body), whole=False)
            return Answer(response.status, response.headers, bytes(body))

    def open(
        self, method: str, path: str, **headers: str | Iterable[str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The answer while it arrives."""
        lines = CIMultiDict[str]()
        for name, value in headers.items():
            for line in (value,) if isinstance(value, str) else value:
                lines.add(name.replace("_", "-"), line)
        url = URL(f"http://127.0.0.1:{self._port}{path}", encoded=True)
        return self._client.request(method, url, headers=lines, allow_redirects=False)

    async def raw(self, request: bytes) -> bytes:
        """Whatever comes back for these bytes until the proxy hangs up."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), _SOON)
        finally:
            writer.close()
            await writer.wait_closed()

    # What it says of itself

    def log(self) -> list[dict[str, Any]]:
        """Every line that has been written so far; each must be one JSON object."""
        whole = self._log.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    async def lines(
        self, count: int = 1, event: str = "request.served", **having: object
    ) -> list[dict[str, Any]]:
        """The lines of an `event` that have these members, as soon as there are `count`."""
        wanted = {"event": event, **having}.items()

        def found() -> list[dict[str, Any]]:
            self._writer._wake.set()
            return [line for line in self.log() if wanted <= line.items()]

        await until(lambda: len(found()) >= count)
        return found()

    async def line(self, event: str = "request.served", **having: object) -> dict[str, Any]:
        """The one line that there is."""
        (line,) = await self.lines(1, event, **having)
        return line


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds, which it must soon."""
    async with asyncio.timeout(_SOON):
        while not condition():  # noqa: ASYNC110 -- for conditions that no event tells of
            await asyncio.sleep(0.005)


def metric(name: str, **labels: str) -> float:
    """The value of a counter of this process, which other tests have counted with too."""
    REQUEST_METRICS.write()
    return REGISTRY.get_sample_value(f"lighterage_{name}", labels) or 0.0


def push(upstream: ScriptedUpstream, name: str, tag: str | None, content: Content) -> Digest:
    """Have the upstream serve an image or index with all that it names."""
    for child in content.children:
        push(upstream, name, None, child)
    for blob in content.blobs.values():
        upstream.add_blob(name, blob)
    return upstream.add_manifest(name, tag, content.manifest, content.media_type)
