"""The status page in a browser shows what real clients have just caused."""

from __future__ import annotations

import asyncio
import http.client
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from proxy.report.status import SECTIONS
from tests import tools
from tests.kit import images
from tests.kit.faults import Fault
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.browser.conftest import Browser

CARGO: Final = "library/cargo"
LARGE: Final = images.noise("large", 4 * images.MEBIBYTE)
# Within a second: the page looks twice a second, and this machine may be busy with other tests.
PROMPT: Final = 20.0


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """A registry with a rate limit, some images, and a blob that takes its time."""
    async with ScriptedUpstream() as upstream:
        upstream.headers = {
            "RateLimit-Limit": "100;w=21600",
            "RateLimit-Remaining": "76;w=21600",
        }
        push(upstream, CARGO, "oci", images.oci())
        push(upstream, CARGO, "index", images.oci_index())
        upstream.add_blob(CARGO, LARGE)
        yield upstream


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
async def proxy(
    request: pytest.FixtureRequest, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[Proxy]:
    """A proxy with and without workers."""
    proxy = Proxy(tmp_path / "proxy", upstream=upstream.url, workers=request.param)
    await asyncio.to_thread(proxy.start)
    yield proxy
    await asyncio.to_thread(proxy.stop)


def copy(image: str, target: Path) -> int:
    """The exit status of skopeo, a client of today."""
    command = [str(tools.require("skopeo")), "--insecure-policy", "copy", "--quiet"]
    source = ["--src-tls-verify=false", f"docker://{image}"]
    done = subprocess.run([*command, *source, f"dir:{target}"], capture_output=True, check=False)
    return done.returncode


def ask(proxy: Proxy, reference: str, agent: str, *accept: str, method: str = "GET") -> int:
    """What an old client is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    headers = {"User-Agent": agent} | ({"Accept": ", ".join(accept)} if accept else {})
    connection.request(method, f"/v2/{CARGO}/manifests/{reference}", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


async def test_it_shows_hits_images_clients_and_errors_as_they_happen(
    browser: Browser, proxy: Proxy, tmp_path: Path
) -> None:
    await asyncio.to_thread(browser.open, f"{proxy.admin_url}/")
    await asyncio.to_thread(browser.wait_for_text, "#live", "Live")
    assert browser.text("#images .nothing") == "No image has been pulled by a tag."
    host = f"{proxy.host}/{CARGO}"
    for turn in range(2):
        assert await asyncio.to_thread(copy, f"{host}:index", tmp_path / f"copy-{turn}") == 0
    await asyncio.to_thread(browser.wait_for_text, "#images", f"{CARGO}:index", within=PROMPT)
    await asyncio.to_thread(browser.wait_for_text, "#clients", "podman", within=PROMPT)
    assert await asyncio.to_thread(ask, proxy, "oci", "docker/1.9.1 go/go1.4.2") == 200
    await asyncio.to_thread(browser.wait_for_text, "#clients", "docker-1.9", within=PROMPT)
    assert await asyncio.to_thread(copy, f"{host}:absent", tmp_path / "absent") != 0
    await asyncio.to_thread(browser.wait_for_text, "#errors", f"{CARGO}:absent", within=PROMPT)
    rows = browser.texts("#clients tbody tr")
    assert [row.split()[0] for row in rows] == ["docker-1.9", "podman"]
    assert "schema 1" in rows[0]
    assert "OCI" in rows[1]
    pulled = browser.text("#images tbody tr")
    assert " 2 OCI" in " ".join(pulled.split())
    failed = browser.text("#errors tbody tr")
    assert "404" in failed
    assert "127.0.0.1" in failed
    assert "%" in browser.text("#hits .value")
    assert browser.text("#saved .value") != "0 bytes"
    assert "76 of 100 pulls left" in browser.text("#upstreams")
    assert browser.complaints() == []
    # Nothing is asked of anybody else, and nothing by an absolute address of ours.
    assert all(url.startswith(proxy.admin_url) for url in browser.requested())


async def test_it_shows_a_transfer_that_runs_and_its_end(
    browser: Browser, proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    digest = images.digest(LARGE)
    upstream.fault("GET", f"/v2/{CARGO}/blobs/{digest}", Fault(pace=0.1))
    await asyncio.to_thread(browser.open, f"{proxy.admin_url}/")

    def read() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=120)
        connection.request("GET", f"/v2/{CARGO}/blobs/{digest}")
        received = len(connection.getresponse().read())
        connection.close()
        return received

    reading = asyncio.create_task(asyncio.to_thread(read))
    await asyncio.to_thread(browser.wait_for_text, "#transfers tbody", CARGO, within=PROMPT)
    shown = browser.text("#transfers tbody tr")
    assert digest[:19] in shown
    assert "of 4.0 MiB" in shown
    assert upstream.url.removeprefix("http://") in shown
    assert await reading == len(LARGE)
    ended = "Nothing is being fetched."
    await asyncio.to_thread(browser.wait_for_text, "#transfers", ended, within=PROMPT)


async def test_a_warning_and_an_open_circuit_come_with_a_remedy(
    browser: Browser, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    login = {"username": "robot", "password": "wrong"}
    registry = upstream.url.removeprefix("http://")
    settings = {
        "upstreams": {registry: {"url": upstream.url, "default": True, "credentials": login}},
        "access": {"allow_anonymous": True},
    }
    upstream.require_basic("robot", "right")
    with Proxy(tmp_path / "proxy", settings=settings) as proxy:
        await asyncio.to_thread(browser.open, f"{proxy.admin_url}/")
        await asyncio.to_thread(ask, proxy, "oci", "curl/8", "*/*")
        await asyncio.to_thread(browser.wait_for_text, "#health", "answered 401", within=PROMPT)
        assert "Correct the credentials" in browser.text("#health .remedy")
        await asyncio.to_thread(browser.wait_for_text, "#upstreams", "refused", within=PROMPT)
        await upstream.stop()
        for number in range(4):
            await asyncio.to_thread(ask, proxy, f"none-{number}", "curl/8", "*/*")
        await asyncio.to_thread(
            browser.wait_for_text, "#upstreams", "circuit is open", within=PROMPT
        )
        await asyncio.to_thread(browser.wait_for_text, "#upstreams", "Next try", within=PROMPT)


async def test_focus_and_scrolling_stay_when_a_section_changes(
    browser: Browser, proxy: Proxy
) -> None:
    for tag in ("oci", "index"):
        assert await asyncio.to_thread(ask, proxy, tag, "curl/8", "*/*") == 200
    await asyncio.to_thread(browser.open, f"{proxy.admin_url}/")
    await asyncio.to_thread(browser.wait_for_text, "#live", "Live")
    browser.run("document.querySelector('#images a').focus()")
    link = browser.run("return document.activeElement.href")
    assert link.startswith(f"{proxy.admin_url}/inspect?")
    for _ in range(3):
        for tag in ("oci", "index"):
            await asyncio.to_thread(ask, proxy, tag, "curl/8", "*/*")
    await asyncio.to_thread(browser.wait_for_text, "#images", "\t4\t", within=PROMPT)
    assert browser.run("return document.activeElement.href") == link


async def test_it_is_complete_without_scripts(browser: Browser, proxy: Proxy) -> None:
    assert await asyncio.to_thread(ask, proxy, "oci", "docker/1.9.1") == 200
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        await asyncio.to_thread(browser.open, f"{proxy.admin_url}/")
        headings = browser.texts("section h2")
        assert len(headings) == len(SECTIONS)
        assert "docker-1.9" in browser.text("#clients")
        assert "Reload the page" in browser.text("#live")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


async def test_it_says_when_the_proxy_has_gone(
    browser: Browser, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    with Proxy(tmp_path / "proxy", upstream=upstream.url) as proxy:
        await asyncio.to_thread(browser.open, f"{proxy.admin_url}/")
        await asyncio.to_thread(browser.wait_for_text, "#live", "Live")
        # A page that is open does not keep the proxy from ending.
        assert await asyncio.to_thread(proxy.stop, within=20) == 0
        await asyncio.to_thread(browser.wait_for_text, "#live", "again")
