"""How an upstream is reached: certificates, an HTTP proxy, addresses, limits."""

from __future__ import annotations

import asyncio
import base64
import ssl
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import DefaultResolver
from aiohttp.abc import ResolveResult
from pydantic import ValidationError

from proxy.config import EndpointSettings, SettingsError, load
from proxy.errors import UpstreamInvalid, UpstreamUnavailable
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Tag
from proxy.upstream.client import RegistryClient
from proxy.wiring.endpoints import transport_of
from tests.integration.connect_proxy import ConnectProxy
from tests.kit.certificates import pem
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    import socket
    from pathlib import Path

NAME: Final = "cargo"
TAG: Final = Tag("1")
RAW: Final = b'{"schemaVersion":2}'
BLOB: Final = b"layer" * 100
# What must be in no error: the login for the HTTP proxy.
LOGIN: Final = "robot:s3cr3t"


def client_of(url: str, **place: Any) -> RegistryClient:
    settings = EndpointSettings(url=url, connect_timeout=1.0, idle_timeout=1.0, **place)
    return RegistryClient(
        name="x", url=url, transport=transport_of(settings), realms=settings.realms
    )


async def fetch(url: str, **place: Any) -> bytes:
    """The manifest as a place with these settings gives it."""
    client = client_of(url, **place)
    try:
        return (await client.manifest(NAME, TAG)).raw
    finally:
        await client.close()


async def fetch_blob(url: str, **place: Any) -> bytes:
    client = client_of(url, **place)
    try:
        async with client.blob(NAME, Digest.of(BLOB)) as blob:
            return b"".join([chunk async for chunk in blob.chunks()])
    finally:
        await client.close()


def stocked(tls: ssl.SSLContext | None = None) -> ScriptedUpstream:
    upstream = ScriptedUpstream(tls=tls)
    upstream.add_manifest(NAME, TAG, RAW, MediaType.OCI_MANIFEST)
    upstream.add_blob(NAME, BLOB)
    return upstream


class Certificates:
    """A server's key and certificate, and a client's, in files."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.key = directory / "server.pem", directory / "server.key"
        self.own_ca, self.own_key = directory / "client.pem", directory / "client.key"
        for key, certificate in ((self.key, self.ca), (self.own_key, self.own_ca)):
            private, public = pem()
            key.write_bytes(private)
            certificate.write_bytes(public)

    def server(self, demand: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, self.key)
        context.verify_mode = demand
        context.load_verify_locations(self.own_ca)
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


# Certificates


async def test_a_registry_with_a_private_certificate(certificates: Certificates) -> None:
    async with stocked(certificates.server()) as upstream:
        assert await fetch(upstream.url, ca_file=certificates.ca) == RAW
        with pytest.raises(UpstreamUnavailable, match="certificate is not valid"):
            await fetch(upstream.url)
        with pytest.raises(UpstreamUnavailable, match="certificate is not valid"):
            await fetch(upstream.url, ca_file=certificates.own_ca)


async def test_our_certificate_is_for_the_registry_and_for_nobody_else(
    certificates: Certificates,
) -> None:
    """Storage that asks for a certificate is shown none; one that demands it turns us away."""
    ours = {
        "ca_file": certificates.ca,
        "certificate_file": certificates.own_ca,
        "key_file": certificates.own_key,
    }
    demanding = certificates.server(ssl.CERT_REQUIRED)
    async with stocked(demanding) as upstream, stocked(demanding) as storage:
        assert await fetch(upstream.url, **ours) == RAW
        with pytest.raises(UpstreamUnavailable):
            await fetch(upstream.url, ca_file=certificates.ca)
        upstream.fault("GET", "*/blobs/*", redirect(storage.serve("/blob", BLOB)))
        with pytest.raises(UpstreamUnavailable, match="which x redirects to"):
            await fetch_blob(upstream.url, **ours)
        assert storage.count() == 0
    async with stocked(demanding) as upstream, stocked(certificates.server()) as storage:
        upstream.fault("GET", "*/blobs/*", redirect(storage.serve("/blob", BLOB)))
        assert await fetch_blob(upstream.url, **ours) == BLOB


def test_certificates_that_cannot_be_used(certificates: Certificates, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"ca_file": nonsense}, "nonsense.pem: it has no usable certificate or key"),
        ({"ca_file": tmp_path / "missing"}, "missing: there is no such file"),
        (
            {"certificate_file": certificates.own_ca, "key_file": certificates.key},
            "client.pem: it has no usable certificate or key",
        ),
        (
            {"certificate_file": certificates.own_ca, "key_file": tmp_path / "missing"},
            "client.pem: there is no such file, or no such key_file",
        ),
    )
    for wrong, reason in cases:
        with pytest.raises(ValueError, match=reason):
            transport_of(EndpointSettings(url="https://x", **wrong))


# An HTTP proxy


async def test_plain_http_through_a_proxy() -> None:
    """The scripted upstream plays the proxy: it is sent whole URLs."""
    async with stocked() as proxy:
        through = f"http://{LOGIN}@127.0.0.1:{proxy.port}"
        assert await fetch("http://registry.invalid", proxy=through) == RAW
        (request,) = proxy.requests
        assert request.headers["Host"] == "registry.invalid"
        login = base64.b64encode(LOGIN.encode()).decode()
        assert request.headers["Proxy-Authorization"] == f"Basic {login}"


async def test_tls_through_a_proxy(certificates: Certificates) -> None:
    async with (
        stocked(certificates.server()) as upstream,
        ConnectProxy(upstream.port) as proxy,
    ):
        through = f"http://{LOGIN}@127.0.0.1:{proxy.port}"
        assert await fetch("https://127.0.0.1:1", proxy=through, ca_file=certificates.ca) == RAW
        (head,) = proxy.heads
        assert head.startswith(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n")
        assert base64.b64encode(LOGIN.encode()) in head
        sent = upstream.requests[0].headers
        assert "Proxy-Authorization" not in sent


async def test_exceptions_are_reached_without_it() -> None:
    async with stocked() as upstream, stocked() as proxy:
        through = f"http://127.0.0.1:{proxy.port}"
        assert await fetch(upstream.url, proxy=through, no_proxy=("127.0.0.0/8",)) == RAW
        assert (upstream.count(), proxy.count()) == (1, 0)


async def test_the_environment_s_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with stocked() as upstream:
        assert await fetch(upstream.url) == RAW


async def test_a_proxy_that_fails(free_port: int) -> None:
    through = f"http://{LOGIN}@127.0.0.1:{free_port}"
    with pytest.raises(UpstreamUnavailable, match="the HTTP proxy cannot be reached") as caught:
        await fetch("https://registry.invalid", proxy=through)
    assert "s3cr3t" not in str(caught.value)
    async with ConnectProxy(1, status="407 Proxy Authentication Required") as refusing:
        through = f"http://{LOGIN}@127.0.0.1:{refusing.port}"
        with pytest.raises(UpstreamUnavailable, match="the HTTP proxy refused") as caught:
            await fetch("https://registry.invalid", proxy=through)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "host", "refused"),
    [
        ({"registry.example": "93.184.215.14"}, "169.254.169.254", True),
        ({"registry.example": "93.184.215.14"}, "10.0.0.1", True),
        ({}, "10.0.0.1", True),
        ({"registry.example": "93.184.215.14", "cdn.example": "10.0.0.1"}, "cdn.example", True),
        ({"cdn.example": "10.0.0.1"}, "cdn.example", True),
        ({"registry.example": "10.0.0.2", "cdn.example": "10.0.0.1"}, "cdn.example", False),
        ({"registry.example": "93.184.215.14"}, "cdn.example", False),
        ({}, "cdn.example", False),
    ],
)
async def test_a_proxy_is_sent_nowhere_that_we_can_see_to_be_inside(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], host: str, *, refused: bool
) -> None:
    """A name that only the proxy can resolve is the proxy's to refuse."""

    async def resolve(_: object, host: str, port: int, *_rest: object) -> list[ResolveResult]:
        if host not in names:
            raise OSError(f"no {host}")
        return [
            ResolveResult(hostname=host, host=names[host], port=port, family=2, proto=6, flags=0)
        ]

    monkeypatch.setattr(DefaultResolver, "resolve", resolve)
    async with stocked() as proxy:
        proxy.serve("/blob", BLOB)
        proxy.fault("GET", "/v2/*/blobs/*", redirect(f"http://{host}/blob"))
        through = f"http://127.0.0.1:{proxy.port}"
        if refused:
            with pytest.raises(UpstreamInvalid, match="nothing was sent"):
                await fetch_blob("http://registry.example", proxy=through)
        else:
            assert await fetch_blob("http://registry.example", proxy=through) == BLOB
        assert proxy.count("*", "/blob") == (not refused)
        named = await fetch_blob("http://registry.example", proxy=through, realms=(host,))
        assert named == BLOB


async def test_a_registry_cannot_send_us_to_the_proxy_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(_: object, host: str, port: int, *_rest: object) -> list[ResolveResult]:
        address = "127.0.0.1" if host == "proxy.corp" else "93.184.215.14"
        return [ResolveResult(hostname=host, host=address, port=port, family=2, proto=6, flags=0)]

    monkeypatch.setattr(DefaultResolver, "resolve", resolve)
    async with stocked() as proxy:
        proxy.serve("/admin", BLOB)
        through = f"http://proxy.corp:{proxy.port}"
        proxy.fault("GET", "/v2/*/blobs/*", redirect(f"{through}/admin"))
        for exceptions in ((), (".corp",)):
            with pytest.raises(UpstreamInvalid, match="nothing was sent"):
                await fetch_blob("http://registry.example", proxy=through, no_proxy=exceptions)
        assert proxy.count("*", "/v2/*") == 2
        assert proxy.count("*", "/admin") == 0


# Addresses, limits, times


async def test_only_addresses_of_one_family(monkeypatch: pytest.MonkeyPatch) -> None:
    families = []
    resolve = DefaultResolver.resolve

    async def watched(
        self: Any, host: str, port: int, family: socket.AddressFamily
    ) -> list[ResolveResult]:
        families.append(family)
        return await resolve(self, host, port, family)

    monkeypatch.setattr(DefaultResolver, "resolve", watched)
    async with stocked() as upstream:
        url = f"http://localhost:{upstream.port}"
        assert await fetch(url, address_family="ipv4") == RAW
        with pytest.raises(UpstreamUnavailable):
            await fetch(url, address_family="ipv6")
    assert [int(family) for family in families[:2]] == [2, 10]


async def test_no_more_connections_than_set() -> None:
    async with stocked() as upstream:
        upstream.fault("*", "*", Fault(delay=0.1))
        client = client_of(upstream.url, connections=2)
        await asyncio.gather(*(client.manifest(NAME, TAG) for _ in range(6)))
        await client.close()
        assert len({request.port for request in upstream.requests}) <= 2


async def test_a_manifest_has_so_much_time() -> None:
    async with stocked() as upstream:
        upstream.fault("*", "*", Fault(delay=2))
        with pytest.raises(UpstreamUnavailable, match=r"within 0\.2 s"):
            await fetch(upstream.url, answer_timeout=0.2)


# Settings


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"url": "https://x/v2"}, "a path before the names of repositories is the prefix"),
        ({"prefix": "Not/A/Name"}, "a prefix is like a repository's name"),
        ({"prefix": "../x"}, "a prefix is like a repository's name"),
        ({"certificate_file": "x"}, "are used together"),
        ({"url": "http://x", "certificate_file": "x", "key_file": "x"}, "begins with https"),
        ({"proxy": f"https://{LOGIN}@x"}, "a proxy is http://"),
        ({"proxy": f"{LOGIN}@x"}, "a proxy is http://"),
        ({"address_family": "ipv5"}, "'ipv4'"),
        ({"connections": 1}, "greater than or equal to 2"),
        ({"connect_timeout": 0}, "greater than 0"),
    ],
)
def test_a_setting_that_is_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        EndpointSettings.model_validate({"url": "https://x", **wrong})


def test_a_mirror_s_settings_are_checked_like_the_registry_s(tmp_path: Path) -> None:
    file = tmp_path / "lighterage.yaml"
    for mirror, complaint in (
        ("{url: 'https://m', prefx: hub}", r"mirrors\.0\.prefx: .* did you mean 'prefix'"),
        (
            "{url: 'https://m', credentials: {username: x, password: s3cr3t}}",
            "would pull with the credentials for docker.io",
        ),
    ):
        registry = f"{{url: 'https://r', default: true, mirrors: [{mirror}]}}"
        file.write_text(f"upstreams: {{docker.io: {registry}}}")
        with pytest.raises(SettingsError, match=complaint) as caught:
            load(file, environ={})
        assert "s3cr3t" not in str(caught.value)


def test_slashes_around_a_prefix_mean_nothing() -> None:
    assert EndpointSettings(url="https://x/", prefix="/hub/proxy/").prefix == "hub/proxy"


def test_the_proxy_s_login_does_not_show() -> None:
    place = EndpointSettings(url="https://x", proxy=f"http://{LOGIN}@proxy")
    assert "s3cr3t" not in repr(place)
    assert "s3cr3t" not in repr(transport_of(place))


async def test_a_connection_that_was_read_slowly_spoils_no_later_request() -> None:
    """It has been idle for longer than an upstream may be silent."""
    content = b"x" * 8_000_000
    async with ScriptedUpstream() as upstream:
        digest = upstream.add_blob(NAME, content)
        client = client_of(upstream.url)
        for _ in range(2):
            async with client.blob(NAME, digest) as blob:
                async for _chunk in blob.chunks():
                    await asyncio.sleep(0.002)
            await asyncio.sleep(1.2)
            assert await client.blob_size(NAME, digest) == len(content)
        await client.close()
