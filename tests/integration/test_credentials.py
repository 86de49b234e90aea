"""Logins out of files, as the settings name them: used, read again, and shown to nobody."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import aiohttp
import pytest

from proxy.config import Settings
from proxy.errors import UpstreamDenied, UpstreamFailure, UpstreamUnavailable
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Tag
from proxy.runtime.serve import status_of
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.client import RegistryClient
from proxy.web.admin.app import admin_app, listening
from proxy.wiring.services import open_services
from tests.kit.processes import free_port
from tests.kit.proxy import Proxy, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME: Final = "library/alpine"
RAW: Final = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
)
IDENTITY: Final = Credentials("", "identity+token/=&", identity=True)
# Who is asked for them in turn; each is in a file of its own.
SECRETS: Final = ("first-s3cr3t", "second-s3cr3t")


@pytest.fixture
async def registry() -> ScriptedUpstream:
    registry = ScriptedUpstream()
    for tag in ("1", "2", "3", "4"):
        registry.add_manifest(NAME, tag, RAW, MediaType.OCI_INDEX)
    return registry


# Identity tokens


async def test_an_identity_token_is_exchanged_by_post(registry: ScriptedUpstream) -> None:
    async with registry:
        registry.require_token("nobody", "at all", identity=IDENTITY.password)
        client = RegistryClient(name="x", url=registry.url, credentials=lambda: IDENTITY)
        await client.manifest(NAME, Tag("1"))
        await client.close()
    (asked,) = (request for request in registry.requests if request.path == "/token")
    assert (asked.method, asked.query) == ("POST", "")
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in asked.headers
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [IDENTITY.password],
        "client_id": ["lighterage"],
        "service": ["scripted"],
        "scope": [f"repository:{NAME}:pull"],
    }


@pytest.mark.parametrize("status", [400, 401, 404, 405])
async def test_a_token_server_that_knows_no_post_is_asked_by_get(
    registry: ScriptedUpstream, status: int
) -> None:
    login = Credentials("0000", IDENTITY.password, identity=True)
    async with registry:
        registry.require_token(login.username, login.password)
        registry.fault("POST", "/token", Fault(status=status))
        client = RegistryClient(name="x", url=registry.url, credentials=lambda: login)
        await client.manifest(NAME, Tag("1"))
        await client.close()
    assert [r.method for r in registry.requests if r.path == "/token"] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=403), UpstreamDenied),
        (Fault(status=503), UpstreamUnavailable),
        (Fault(status=200, body=b"{}"), UpstreamUnavailable),
    ],
)
async def test_a_token_server_that_says_no_to_a_post_means_it(
    registry: ScriptedUpstream, fault: Fault, kind: type[UpstreamFailure]
) -> None:
    async with registry:
        registry.require_token("nobody", "at all")
        registry.fault("POST", "/token", fault)
        client = RegistryClient(name="x", url=registry.url, credentials=lambda: IDENTITY)
        with pytest.raises(kind) as caught:
            await client.manifest(NAME, Tag("1"))
        await client.close()
    assert caught.value.status is None
    assert registry.count("GET", "/token") == 0


# Files


def password_file(secret: str, path: Path) -> dict[str, Any]:
    path.write_text(f"{secret}\n")
    return {"username": "robot", "password_file": path}


def token_file(secret: str, path: Path) -> dict[str, Any]:
    path.write_text(f"{secret}\n")
    return {"token_file": path}


def docker_config(secret: str, path: Path) -> dict[str, Any]:
    login = base64.b64encode(f"robot:{secret}".encode()).decode()
    path.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": login}}}))
    return {"docker_config_file": path}


def docker_identity(secret: str, path: Path) -> dict[str, Any]:
    login = {"auth": base64.b64encode(b"robot:").decode(), "identitytoken": secret}
    path.write_text(json.dumps({"auths": {"docker.io": login}}))
    return {"docker_config_file": path}


@pytest.mark.parametrize(
    ("write", "basic"),
    [
        (password_file, False),
        (token_file, False),
        (docker_config, False),
        (docker_identity, False),
        (password_file, True),
        (docker_config, True),
    ],
)
async def test_a_file_that_changes_needs_no_restart_and_shows_nowhere(
    registry: ScriptedUpstream,
    tmp_path: Path,
    data_dir: Path,
    write: Callable[[str, Path], dict[str, Any]],
    *,
    basic: bool,
) -> None:
    """The registry takes the second secret alone from some moment on; and then the file has it."""
    first, second = SECRETS
    file = tmp_path / "secret"

    def require(secret: str) -> None:
        registry.revoke_tokens()
        if basic:
            registry.require_basic("robot", secret)
        else:
            registry.require_token("robot", secret, identity=secret)

    async with registry:
        upstream = {"url": registry.url, "default": True, "credentials": write(first, file)}
        chosen = settings({"docker.io": upstream}, data_dir)
        async with Proxy(chosen) as proxy:
            answers = [await proxy.get("/v2/alpine/manifests/1", Accept=MediaType.OCI_INDEX)]
            require(first)
            answers.append(await proxy.get("/v2/alpine/manifests/2", Accept=MediaType.OCI_INDEX))
            require(second)
            answers.append(await proxy.get("/v2/alpine/manifests/3", Accept=MediaType.OCI_INDEX))
            write(second, file)
            answers.append(await proxy.get("/v2/alpine/manifests/4", Accept=MediaType.OCI_INDEX))
            file.write_text("")
            registry.revoke_tokens()
            answers.append(await proxy.get("/v2/alpine/manifests/5", Accept=MediaType.OCI_INDEX))
            answers.append(await proxy.get("/v2/alpine/manifests/1", Accept=MediaType.OCI_INDEX))
            shown = await admin_pages(proxy)
            log = proxy.log()
        kept = content_of(data_dir)
    assert [answer.status for answer in answers] == [200, 200, 404, 200, 502, 200]
    assert "the credentials for docker.io cannot be read" in answers[4].message
    assert str(tmp_path) not in answers[4].message
    told = [f"{answer.headers} {answer.body!r}" for answer in answers]
    everything = "\n".join([*told, shown, json.dumps(log), repr(chosen), repr(kept)])
    for secret in SECRETS:
        assert secret not in everything
        assert base64.b64encode(f"robot:{secret}".encode()).decode() not in everything


def content_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def admin_pages(proxy: Proxy) -> str:
    """All that the admin listener shows."""
    port = free_port()
    status = status_of(proxy.settings, proxy.services)
    app = admin_app(status, purge=proxy.services.purges.purge)
    pages = []
    async with listening(app, ("127.0.0.1", port)), aiohttp.ClientSession() as client:
        for path in sorted(
            {str(route.url_for()) for route in app.router.routes() if route.method == "GET"}
        ):
            async with client.get(f"http://127.0.0.1:{port}{path}") as answer:
                if path == "/events":
                    # It has no end: what comes first, and the sections of the page.
                    first = await answer.content.readuntil(b"\n\n")
                    pages.append((first + await answer.content.readuntil(b"\n\n")).decode())
                else:
                    pages.append(await answer.text())
    assert any("lighterage_upstream_requests_total" in page for page in pages)
    return "\n".join(pages)


async def test_a_login_that_is_sent_over_plain_http_is_a_warning(data_dir: Path) -> None:
    """Nothing is dialled for it."""
    chosen = Settings.model_validate(
        {
            "listen": "127.0.0.1:0",
            "data": data_dir,
            "upstreams": {
                "registry.example": {
                    "url": "http://registry.example",
                    "default": True,
                    "credentials": {"username": "me", "password": SECRETS[0]},
                }
            },
        }
    )
    async with open_services(chosen) as services:
        (warning,) = services.readiness.warnings.values()
    assert "registry.example is sent over plain HTTP" in warning
    assert SECRETS[0] not in warning


@pytest.mark.parametrize("by_token", [True, False], ids=["token", "basic"])
async def test_a_refused_login_is_a_warning_until_it_is_accepted(
    registry: ScriptedUpstream, data_dir: Path, tmp_path: Path, *, by_token: bool
) -> None:
    """Once in the log, and in /readyz while it lasts; a file that is gone is another one."""
    file = tmp_path / "password"
    file.write_text(SECRETS[0])
    login = {"username": "robot", "password_file": str(file)}
    async with registry:
        if by_token:
            registry.require_token("robot", SECRETS[1])
        else:
            registry.require_basic("robot", SECRETS[1])
        upstreams = {"docker.io": {"url": registry.url, "credentials": login}}
        chosen = settings(upstreams, data_dir, negative_cache={"denied": "0s"})
        async with Proxy(chosen) as proxy:
            warnings = proxy.services.readiness.warnings
            for tag in ("1", "2"):
                assert (await proxy.get(f"/v2/{NAME}/manifests/{tag}")).status == 404
                assert "correct credentials of docker.io" in warnings["login.docker.io"]
            await proxy.line("upstream.login_refused")
            file.unlink()
            await proxy.get(f"/v2/{NAME}/manifests/3")
            assert f"{file}: No such file or directory" in warnings["login.docker.io"]
            await proxy.line("upstream.login_unreadable")
            file.write_text(SECRETS[1])
            assert (await proxy.get(f"/v2/{NAME}/manifests/4")).status == 200
            assert "login.docker.io" not in warnings
            await proxy.line("upstream.login_accepted")
            assert not any(secret in str(warnings) for secret in SECRETS)
