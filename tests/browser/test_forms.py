"""The forms of the admin listener in a browser, with a token, and with what is hostile."""

from __future__ import annotations

import asyncio
import http.client
from typing import TYPE_CHECKING, Final

import pytest
from selenium.webdriver.support.select import Select

from proxy.oci.mediatype import UPSTREAM_ACCEPT
from tests.kit import images
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.browser.conftest import Browser

CARGO: Final = "library/cargo"
HOSTILE: Final = "<img src=x onerror=document.title='broken'>\"'&lt;"
PAGES: Final = (
    "",
    "images",
    "inspect?image=library/cargo:oci",
    "explain?image=library/cargo:oci",
    "purge",
)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """A registry with an image of two forms."""
    async with ScriptedUpstream() as upstream:
        push(upstream, CARGO, "oci", images.oci())
        push(upstream, CARGO, "index", images.oci_index())
        yield upstream


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy that has both, and has had clients with odd names."""
    settings = {"tags": {"ttl": "1h"}}
    proxy = Proxy(tmp_path / "proxy", upstream=upstream.url, settings=settings)
    await asyncio.to_thread(proxy.start)
    for tag in ("oci", "index", "absent"):
        await asyncio.to_thread(ask, proxy, tag, HOSTILE)
    yield proxy
    await asyncio.to_thread(proxy.stop)


def ask(proxy: Proxy, reference: str, agent: str) -> str | None:
    """The digest that a client gets."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    headers = {"User-Agent": agent, "Accept": UPSTREAM_ACCEPT}
    connection.request("GET", f"/v2/{CARGO}/manifests/{reference}", headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.getheader("Docker-Content-Digest")


def submit(browser: Browser, **given: str) -> None:
    """Fill in the form and send it."""
    for name, value in given.items():
        field = browser.find(f"form.ask [name={name.rstrip('_')}]")
        if field.tag_name == "select":
            Select(field).select_by_value(value)
        else:
            field.clear()
            field.send_keys(value)
    browser.follow("form.ask button")


async def test_images_are_found_and_inspected(browser: Browser, proxy: Proxy) -> None:
    def look() -> None:
        browser.open(f"{proxy.admin_url}/images")
        assert len(browser.all("tbody tr")) == 2
        submit(browser, pattern="*:oci")
        assert len(browser.all("tbody tr")) == 1
        browser.follow("tbody a")
        assert images.oci().digest in browser.text("#stored")
        assert "docker-1.9" in browser.text("#representations")
        assert "Size" in browser.text("#parts")

    await asyncio.to_thread(look)


async def test_a_pull_is_explained(browser: Browser, proxy: Proxy) -> None:
    def look() -> None:
        browser.open(f"{proxy.admin_url}/explain")
        submit(browser, image="library/cargo:oci", as_="docker-1.13")
        assert "docker image" in browser.text("#answer")
        assert "Converted from" in browser.text("#answer")
        assert "none" in browser.text("#answer")
        submit(browser, as_="", accept="application/vnd.oci.image.manifest.v1+json")
        assert images.oci().digest in browser.text("#answer")
        submit(browser, image="nowhere.example/../x")
        assert browser.text(".problem")

    await asyncio.to_thread(look)


async def test_the_button_purges_and_its_field_is_good_once(
    browser: Browser, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    moved = images.oci("moved")
    before = await asyncio.to_thread(ask, proxy, "oci", "curl/8")
    push(upstream, CARGO, "oci", moved)
    assert await asyncio.to_thread(ask, proxy, "oci", "curl/8") == before

    def purge() -> None:
        browser.open(f"{proxy.admin_url}/inspect?image=library/cargo:oci")
        browser.follow("form.action button")
        assert "oci) asks the upstream" in browser.text(".done")
        # The browser sends the same form again: its field was used.
        browser.driver.refresh()
        assert "used before" in browser.text(".problem")

    await asyncio.to_thread(purge)
    for _ in range(100):
        if await asyncio.to_thread(ask, proxy, "oci", "curl/8") == moved.digest:
            break
        await asyncio.sleep(0.1)
    assert await asyncio.to_thread(ask, proxy, "oci", "curl/8") == moved.digest


async def test_nothing_that_a_stranger_names_is_executed(browser: Browser, proxy: Proxy) -> None:
    def look() -> None:
        for page in (
            "",
            "images?pattern=",
            "inspect?image=",
            "explain?user=x&image=",
            "purge?image=",
        ):
            given = page and HOSTILE.replace("&", "%26").replace("'", "%27")
            browser.open(f"{proxy.admin_url}/{page}{given}")
            assert browser.driver.title.endswith("Lighterage")
            assert not browser.all("img")
            assert browser.all("h1")
        browser.open(f"{proxy.admin_url}/")
        assert HOSTILE in browser.text("#clients")
        # 404 is what the page answers to what there is not.
        said = [line for line in browser.complaints() if "status of 4" not in line]
        assert said == []

    await asyncio.to_thread(look)


async def test_a_browser_with_the_token_as_a_password_gets_the_pages(
    browser: Browser, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret\n")
    settings = {"admin": {"token_file": str(tmp_path / "token")}}
    with Proxy(tmp_path / "proxy", upstream=upstream.url, settings=settings) as proxy:

        def look() -> None:
            browser.open(f"http://operator:secret@127.0.0.1:{proxy.admin_port}/")
            browser.open(f"{proxy.admin_url}/")
            browser.wait_for_text("#live", "Live")
            assert "ready" in browser.text("#health")
            assert browser.complaints() == []

        await asyncio.to_thread(look)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
async def test_every_page_is_accessible_and_fits_the_screen(
    browser: Browser,
    proxy: Proxy,
    width: int,
    dark: bool,  # noqa: FBT001 -- a parameter
) -> None:
    def look() -> None:
        scheme = "dark" if dark else "light"
        for page in PAGES:
            browser.look(width=width, dark=dark)
            browser.open(f"{proxy.admin_url}/{page}")
            assert browser.faults() == []
            # Wide tables scroll by themselves, and the page does not.
            assert browser.run("return document.documentElement.scrollWidth") <= width
            name = page.partition("?")[0] or "status"
            browser.screenshot(f"{name}-{width}-{scheme}", width=width)

    await asyncio.to_thread(look)
