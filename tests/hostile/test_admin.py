"""No page on the internet, and nobody without the token, operates the proxy."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
from aiohttp import web

from proxy.runtime.serve import status_of
from proxy.web.admin.app import admin_app
from proxy.web.admin.guard import AdminAccess
from tests.hostile import bystander

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.proxy import Proxy

PROBES: Final = ("/healthz", "/readyz", "/metrics")


class Admin:
    """An admin listener on a free port of the loopback address."""

    def __init__(self, proxy: Proxy, client: aiohttp.ClientSession) -> None:
        self._proxy = proxy
        self._client = client
        self.port = 0

    async def listen(self, access: AdminAccess) -> web.AppRunner:
        services = self._proxy.services
        status = status_of(self._proxy.settings, services)
        app = admin_app(status, purge=services.purges.purge, access=access)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        services.readiness.serving = True
        return runner

    async def ask(
        self, method: str, path: str, *, body: object = None, **headers: str
    ) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self._client.request(method, url, data=body, headers=named) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def admin(proxy: Proxy) -> AsyncIterator[Admin]:
    async with aiohttp.ClientSession() as client:
        admin = Admin(proxy, client)
        runner = await admin.listen(AdminAccess(frozenset({"proxy.ops.svc"})))
        yield admin
        await runner.cleanup()


@pytest.fixture
async def guarded(proxy: Proxy, tmp_path: Path) -> AsyncIterator[Admin]:
    """One that wants the token in the file `token`."""
    (tmp_path / "token").write_text("secret\n")
    async with aiohttp.ClientSession() as client:
        admin = Admin(proxy, client)
        runner = await admin.listen(AdminAccess(token_file=tmp_path / "token"))
        yield admin
        await runner.cleanup()


async def test_a_name_that_a_stranger_lets_resolve_to_us(admin: Admin, proxy: Proxy) -> None:
    for host in (
        "evil.example",
        "evil.example:5080",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "",
    ):
        for path in (*PROBES, "/status", "/purge"):
            assert (await admin.ask("GET", path, Host=host))[0] == 403
        body = '{"repository": "alpine"}'
        refused = await admin.ask(
            "POST", "/purge", body=body, Host=host, Content_Type="application/json"
        )
        assert refused[0] == 403
    for host in (
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "[::1]:5080",
        "10.1.2.3",
        "Proxy.ops.svc:80",
    ):
        assert (await admin.ask("GET", "/status", Host=host))[0] == 200
    await bystander.pull(proxy)


async def test_what_is_no_page_is_said_in_our_words(admin: Admin) -> None:
    for path in ("/nope", "/%3Cscript%3E", "/status/", "//"):
        status, body = await admin.ask("GET", path)
        assert status == 404
        (error,) = json.loads(body)["errors"]
        assert error["message"].startswith("there is no such page here; there are /, /status, ")
    for method in ("PUT", "DELETE", "OPTIONS"):
        status, body = await admin.ask(method, "/status")
        assert (status, json.loads(body)["errors"][0]["message"]) == (
            405,
            "this page takes GET, HEAD only",
        )


async def test_a_page_of_another_site(admin: Admin) -> None:
    own = f"http://127.0.0.1:{admin.port}"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"{own}.evil.example"):
        assert (await admin.ask("GET", "/status", Origin=origin))[0] == 403
        assert (await admin.ask("POST", "/purge?repository=a", Origin=origin))[0] == 403
    assert (await admin.ask("GET", "/status", Origin=own))[0] == 200
    crossed = await admin.ask("POST", "/purge?repository=a", Sec_Fetch_Site="cross-site")
    assert crossed[0] == 403


async def test_a_form_needs_a_field_that_is_good_once(admin: Admin) -> None:
    form = {"repository": "library/cargo", "tag": "1"}
    assert (await admin.ask("POST", "/purge", body=form))[0] == 400
    assert (await admin.ask("POST", "/purge", body={**form, "csrf": "guessed"}))[0] == 400
    status, page = await admin.ask("GET", "/purge")
    found = re.search('name="csrf" value="([^"]+)"', page)
    assert status == 200
    assert found is not None
    whole = {**form, "csrf": found[1]}
    # Taken, though nothing of that name is cached.
    assert (await admin.ask("POST", "/purge", body=whole))[0] == 404
    assert (await admin.ask("POST", "/purge", body=whole))[0] == 400


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", ""])
async def test_json_says_that_it_is_json(admin: Admin, content_type: str) -> None:
    """A page of another site can send these types without asking us first."""
    body = '{"repository": "library/cargo"}'
    refused = await admin.ask("POST", "/purge", body=body, Content_Type=content_type)
    assert refused[0] == 400
    taken = await admin.ask("POST", "/purge", body=body, Content_Type="application/json")
    assert taken[0] == 404, "nothing is cached"


async def test_all_but_probes_need_the_token(guarded: Admin, tmp_path: Path) -> None:
    def basic(password: str) -> str:
        return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

    for path in PROBES:
        assert (await guarded.ask("GET", path))[0] == 200
    wrong = ("", "Bearer", "Bearer wrong", "Bearer secret2", "Basic !", basic("wrong"), "secret")
    for path in ("/status", "/purge", "/nothing"):
        for given in wrong:
            assert (await guarded.ask("GET", path, Authorization=given))[0] == 401
    for given in ("Bearer secret", basic("secret")):
        assert (await guarded.ask("GET", "/status", Authorization=given))[0] == 200
    (tmp_path / "token").write_text("changed")
    assert (await guarded.ask("GET", "/status", Authorization="Bearer secret"))[0] == 401
    assert (await guarded.ask("GET", "/status", Authorization="Bearer changed"))[0] == 200
    for broken in ("", None):
        (tmp_path / "token").unlink()
        if broken is not None:
            (tmp_path / "token").write_text(broken)
        assert (await guarded.ask("GET", "/status", Authorization="Bearer "))[0] == 401
