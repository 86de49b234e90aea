"""The pages of the admin listener: nothing foreign is in them, and nobody keeps them busy."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
import pytest

from proxy.runtime.serve import status_of
from proxy.web.admin.app import admin_app, listening
from proxy.web.admin.live import _STREAMS
from tests.kit.processes import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.kit.proxy import Proxy

PAGES: Final = ("/", "/images", "/inspect", "/explain", "/purge")
MARKUP: Final = "<script src=//evil.example/x.js></script><img src=x onerror=x>\"'&"
BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    """One of the admin listener of a proxy."""
    services, port = proxy.services, free_port()
    services.readiness.serving = True
    app = admin_app(
        status_of(proxy.settings, services),
        purge=services.purges.purge,
        questions=services.questions,
    )
    async with listening(app, ("127.0.0.1", port)):
        connector = aiohttp.TCPConnector(limit=0)
        base = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(base, headers=BROWSER, connector=connector) as client:
            yield client
        services.readiness.draining = True


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_and_loads_nothing_but_its_own(
    client: aiohttp.ClientSession, path: str
) -> None:
    async with client.get(path) as answer:
        assert answer.content_type == "text/html"
        policy = answer.headers["Content-Security-Policy"]
        text = await answer.text()
        for name, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            assert answer.headers[name] == value
    directives = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert set(directives.values()) == {"'self'", "'none'"}
    for name, attributes in Elements(text).found:
        assert name != "style"
        assert "style" not in attributes
        assert not any(key.startswith("on") for key in attributes)
        if name == "script":
            assert attributes["src"] == "live.js"
        for key in ("href", "src", "action"):
            # Relative, so that it works below any path.
            assert not re.match(r"[a-z]+:|/", attributes.get(key) or "")


@pytest.mark.parametrize(
    "path",
    ["/images?pattern={}", "/inspect?image={}", "/explain?image={}&user={}", "/purge?image={}"],
)
async def test_what_a_link_says_is_shown_as_text(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path.format(quote(MARKUP), quote(MARKUP))) as answer:
        text = await answer.text()
    assert "evil.example" in text
    names = [name for name, _ in Elements(text).found]
    assert "img" not in names
    assert "script" not in names


async def test_ten_thousand_odd_names_neither_fill_the_page_nor_run_in_it(
    client: aiohttp.ClientSession, proxy: Proxy
) -> None:
    for number in range(10_000):
        odd = f"{MARKUP}{number}{'x' * 200}"
        await proxy.get(f"/v2/odd-{number}/manifests/none", **{"User-Agent": odd})
    async with client.get("/") as answer:
        text = await answer.text()
    assert len(text) < 300_000
    names = [name for name, _ in Elements(text).found]
    assert names.count("tr") < 300
    assert "img" not in names
    assert names.count("script") == 1
    async with client.get("/status") as answer:
        status = await answer.json()
    assert len(status["errors"]) == 200
    assert status["images"] == []
    assert sum(each["requests"] for each in status["clients"]) == 10_000
    assert len(status["clients"]) == 1


async def test_streams_are_bounded_and_end_when_the_proxy_drains(
    client: aiohttp.ClientSession, proxy: Proxy
) -> None:
    streams = [await client.get("/events") for _ in range(_STREAMS)]
    for stream in streams:
        assert stream.status == 200
        assert await stream.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        assert (await stream.content.readuntil(b"\n\n")).startswith(b"event: sections\ndata: {")
    async with client.get("/events") as answer:
        assert answer.status == 503
    # The page itself has no such limit, and one that leaves makes room.
    async with client.get("/") as answer:
        assert answer.status == 200
    streams.pop().close()
    async with asyncio.timeout(60):
        while True:
            another = await client.get("/events")
            if another.status == 200:
                break
            another.release()
            await asyncio.sleep(0.1)
    streams.append(another)
    proxy.services.readiness.draining = True
    async with asyncio.timeout(60):
        for stream in streams:
            await stream.read()
            stream.release()


async def test_a_program_gets_json_where_a_browser_gets_a_page(
    client: aiohttp.ClientSession,
) -> None:
    for path, status in (("/images", 200), ("/inspect", 400), ("/explain", 400)):
        async with client.get(path, headers={"Accept": "*/*"}) as answer:
            assert (answer.status, answer.content_type) == (status, "application/json")
