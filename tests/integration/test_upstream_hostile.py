"""Redirects and realms: what belongs to the registry stays there, and nobody leads us inwards."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import BlobUnknown, RegistryError, UpstreamInvalid, UpstreamUnavailable
from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from proxy.oci.reference import Digest, Tag
from proxy.upstream.client import Credentials, RegistryClient, Transport
from tests.kit.certificates import self_signed
from tests.kit.network import PUBLIC, Network
from tests.kit.proxy import until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NAME: Final = "library/alpine"
TAG: Final = Tag("3.20")
RAW: Final = b'{"schemaVersion":2}'
CONTENT: Final = b"layer" * 1000
BLOB: Final = Digest.of(CONTENT)
LOGIN: Final = Credentials("someone", "correct-horse")
QUICK: Final = Transport(connect_timeout=1.0, idle_timeout=0.5, answer_timeout=2.0)
SIGNED: Final = "/bucket/blob?X-Signature=a%2Fb%2Bc%3D&X-Key=%41"


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        upstream.add_manifest(NAME, TAG, RAW, MediaType.OCI_MANIFEST)
        upstream.add_blob(NAME, CONTENT)
        yield upstream


@pytest.fixture
async def storage() -> AsyncIterator[ScriptedUpstream]:
    """Another origin, for it has another port."""
    async with ScriptedUpstream() as storage:
        storage.serve("/bucket/blob", CONTENT)
        yield storage


@pytest.fixture
async def client(upstream: ScriptedUpstream) -> AsyncIterator[RegistryClient]:
    client = RegistryClient(
        name="docker.io", url=upstream.url, transport=QUICK, credentials=lambda: LOGIN
    )
    yield client
    await client.close()


async def read(client: RegistryClient, *, start: int = 0) -> bytes:
    async with client.blob(NAME, BLOB, start=start) as blob:
        return b"".join([chunk async for chunk in blob.chunks()])


async def test_long_headers_together_are_too_long(
    upstream: ScriptedUpstream, client: RegistryClient
) -> None:
    """An answer is kept for as long as a slow blob takes, and its headers with it."""
    long = {f"X-{number}": "x" * 60_000 for number in range(3)}
    upstream.fault("GET", "*", Fault(headers=long), times=1)
    with pytest.raises(UpstreamInvalid, match="headers of more than 131072 bytes"):
        await client.manifest(NAME, TAG)
    await until(lambda: upstream.open_connections == 0)
    upstream.fault("GET", "*", Fault(headers={"X-0": "x" * 60_000}), times=1)
    await client.manifest(NAME, TAG)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_storage_carries_the_range_and_no_authorization(
    upstream: ScriptedUpstream, storage: ScriptedUpstream, client: RegistryClient, status: int
) -> None:
    upstream.require_token()
    await client.manifest(NAME, TAG)
    upstream.fault("*", "/v2/*/blobs/*", redirect(storage.url + SIGNED, status))
    assert await read(client, start=5) == CONTENT[5:]
    assert await client.blob_size(NAME, BLOB) == len(CONTENT)
    assert upstream.requests[-1].headers["Authorization"].startswith("Bearer ")
    assert [request.method for request in storage.requests] == ["GET", "HEAD"]
    for request in storage.requests:
        assert "Authorization" not in request.headers
        assert f"{request.path}?{request.query}" == SIGNED
    assert storage.requests[0].headers["Range"] == "bytes=5-"


async def test_a_manifest_may_be_elsewhere_too(
    upstream: ScriptedUpstream, storage: ScriptedUpstream, client: RegistryClient
) -> None:
    upstream.fault("*", "/v2/*", redirect(storage.serve("/manifest", RAW)))
    assert (await client.manifest(NAME, TAG)).raw == RAW
    assert storage.requests[0].headers["Accept"] == UPSTREAM_ACCEPT


async def test_a_redirect_on_the_same_origin_keeps_the_authorization(
    upstream: ScriptedUpstream, client: RegistryClient
) -> None:
    upstream.require_basic(LOGIN.username, LOGIN.password)
    await client.manifest(NAME, TAG)
    upstream.fault("*", "/v2/*/blobs/*", redirect(f"/v2/{NAME}/manifests/{TAG}"))
    assert await read(client) == RAW


async def test_the_authorization_does_not_come_back_by_way_of_a_stranger(
    upstream: ScriptedUpstream, storage: ScriptedUpstream, client: RegistryClient
) -> None:
    upstream.require_basic(LOGIN.username, LOGIN.password)
    await client.manifest(NAME, TAG)
    upstream.fault("*", "/v2/*/blobs/*", redirect(storage.url + "/there"))
    storage.fault("*", "/there", redirect(f"{upstream.url}/v2/victim/manifests/secret"))
    with pytest.raises(UpstreamUnavailable, match="answered 401"):
        await read(client)
    assert "Authorization" not in upstream.requests[-1].headers


async def test_a_challenge_from_storage_is_not_answered(
    upstream: ScriptedUpstream, storage: ScriptedUpstream, client: RegistryClient
) -> None:
    upstream.fault("*", "*", redirect(storage.url + "/x"))
    challenge = {"WWW-Authenticate": f'Bearer realm="{storage.url}/token"'}
    storage.fault("*", "/x", Fault(status=401, headers=challenge))
    with pytest.raises(UpstreamUnavailable, match=r"which docker\.io redirects to, answered 401"):
        await client.head_manifest(NAME, TAG)
    assert storage.count() == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=403), UpstreamUnavailable),
        (Fault(status=404), BlobUnknown),
        (Fault(status=503), UpstreamUnavailable),
        (Fault(raw=b""), UpstreamUnavailable),
        (Fault(cut=10), UpstreamUnavailable),
        (Fault(delay=5), UpstreamUnavailable),
    ],
)
async def test_storage_that_fails(
    upstream: ScriptedUpstream,
    storage: ScriptedUpstream,
    client: RegistryClient,
    fault: Fault,
    kind: type[RegistryError],
) -> None:
    upstream.fault("*", "*", redirect(storage.url + SIGNED))
    storage.fault("*", "*", fault)
    with pytest.raises(kind) as caught:
        await read(client)
    assert "Signature" not in whole_story(caught.value)


async def test_storage_that_is_down(
    upstream: ScriptedUpstream, storage: ScriptedUpstream, client: RegistryClient
) -> None:
    await storage.stop()
    upstream.fault("*", "*", redirect(storage.url + SIGNED))
    with pytest.raises(
        UpstreamUnavailable, match=r"127\.0\.0\.1, which docker\.io redirects to, cannot"
    ):
        await read(client)


async def test_five_redirects_are_followed_and_no_more(
    upstream: ScriptedUpstream, client: RegistryClient
) -> None:
    upstream.fault("*", "/v2/*/blobs/*", redirect("/1"))
    for step in range(1, 6):
        upstream.fault("*", f"/{step}", redirect(f"/{step + 1}"))
    upstream.serve("/5", CONTENT)
    with pytest.raises(UpstreamInvalid, match="redirects in circles, or too often"):
        await read(client)
    assert upstream.count() == 6
    upstream.heal()
    upstream.fault("*", "/v2/*/blobs/*", redirect("/1"))
    for step in range(1, 5):
        upstream.fault("*", f"/{step}", redirect(f"/{step + 1}"))
    assert await read(client) == CONTENT


@pytest.mark.parametrize("location", ["", "/v2/library/alpine/manifests/3.20", "/a"])
async def test_a_redirect_loop_is_left_at_once(
    upstream: ScriptedUpstream, client: RegistryClient, location: str
) -> None:
    upstream.fault("*", "/v2/*", redirect(location))
    upstream.fault("*", "/a", redirect("/v2/library/alpine/manifests/3.20"))
    with pytest.raises(UpstreamInvalid, match="redirects"):
        await client.manifest(NAME, TAG)
    assert upstream.count() <= 2


@pytest.mark.parametrize(
    "location", ["http://someone:pw@127.0.0.1:1/x", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
async def test_a_location_that_is_refused(
    upstream: ScriptedUpstream, client: RegistryClient, location: str
) -> None:
    upstream.fault("*", "*", redirect(location))
    with pytest.raises(UpstreamInvalid, match=r"docker\.io redirects to"):
        await client.manifest(NAME, TAG)


async def test_tls_is_not_given_up_on_the_way(storage: ScriptedUpstream) -> None:
    server, trusting = self_signed()
    async with ScriptedUpstream(tls=server) as upstream:
        upstream.fault("*", "*", redirect(storage.url + SIGNED))
        transport = Transport(tls=trusting)
        client = RegistryClient(name="docker.io", url=upstream.url, transport=transport)
        with pytest.raises(UpstreamInvalid, match="from https to plain http"):
            await client.manifest(NAME, TAG)
        await client.close()
    assert storage.count() == 0


# Realms


async def test_a_realm_on_another_host_is_never_dialled(
    upstream: ScriptedUpstream, storage: ScriptedUpstream, client: RegistryClient
) -> None:
    realm = storage.url.replace("127.0.0.1", "localhost") + "/token"
    upstream.require_token(realm=realm)
    with pytest.raises(
        UpstreamInvalid, match=r"docker\.io cannot be asked: .*another site, localhost"
    ):
        await client.manifest(NAME, TAG)
    assert storage.count() == 0
    friend = RegistryClient(name="docker.io", url=upstream.url, realms=["localhost"])
    storage.serve("/token", b'{"token":"any"}')
    with pytest.raises(RegistryError):
        await friend.manifest(NAME, TAG)
    assert storage.count() == 1
    await friend.close()


async def test_a_thousand_challenge_parameters(
    upstream: ScriptedUpstream, client: RegistryClient
) -> None:
    challenge = "Bearer " + ",".join(f"a{number}=b" for number in range(1000))
    upstream.fault("*", "*", Fault(status=401, headers={"WWW-Authenticate": challenge}))
    with pytest.raises(UpstreamInvalid, match=r"docker\.io cannot be asked: .*64 parameters"):
        await client.manifest(NAME, TAG)
    assert upstream.count() == 1


@pytest.mark.parametrize("challenge", [None, "", "Negotiate", '"', "é", "Bearer realm"])
async def test_a_challenge_that_cannot_be_answered(
    upstream: ScriptedUpstream, client: RegistryClient, challenge: str | None
) -> None:
    upstream.fault("*", "*", Fault(status=401, headers={"WWW-Authenticate": challenge}))
    with pytest.raises(
        RegistryError, match=r"docker\.io answered 401, and we have no login for it"
    ):
        await client.manifest(NAME, TAG)


# Addresses. The names are looked up in a table, and whatever is dialled is this host.


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


async def lured(
    upstream: ScriptedUpstream, location: str, realms: tuple[str, ...] = ()
) -> bytes | RegistryError:
    """What a blob of registry.example comes to, that is redirected to `location`."""
    port = upstream.url.rpartition(":")[2]
    upstream.serve("/bucket/blob", CONTENT)
    upstream.fault("*", "/v2/*", redirect(location.replace("PORT", port)))
    client = RegistryClient(
        name="registry.example",
        url=f"http://registry.example:{port}",
        transport=QUICK,
        realms=realms,
    )
    try:
        return await read(client)
    except RegistryError as error:
        return error
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("home", "there"),
    [
        ([PUBLIC], ["10.0.0.1"]),
        ([PUBLIC], ["127.0.0.1"]),
        ([PUBLIC], ["169.254.169.254"]),
        ([PUBLIC], ["::ffff:169.254.169.254"]),
        ([PUBLIC, "10.0.0.1"], ["10.0.0.1"]),
        (["10.0.0.1"], ["127.0.0.1"]),
        (["10.0.0.1"], ["169.254.169.254"]),
        (["127.0.0.1"], ["169.254.169.254"]),
    ],
)
async def test_a_redirect_further_in_than_the_registry_is_not_dialled(
    upstream: ScriptedUpstream, network: Network, home: list[str], there: list[str]
) -> None:
    network.names = {"registry.example": home, "cdn.example": there}
    for host in ("cdn.example", f"[{there[0]}]" if ":" in there[0] else there[0]):
        network.dialled.clear()
        found = await lured(upstream, f"http://{host}:PORT/bucket/blob")
        assert isinstance(found, UpstreamInvalid)
        assert "nothing was sent" in found.message
        assert network.dialled == home
    assert upstream.count("*", "/bucket/*") == 0


@pytest.mark.parametrize(
    ("home", "there"),
    [
        ([PUBLIC], [PUBLIC]),
        (["10.0.0.1"], ["10.0.0.2"]),
        (["10.0.0.1"], [PUBLIC]),
        (["127.0.0.1"], ["10.0.0.1"]),
        (["169.254.0.1"], ["127.0.0.1"]),
    ],
)
async def test_a_redirect_that_leads_no_further_in_is_followed(
    upstream: ScriptedUpstream, network: Network, home: list[str], there: list[str]
) -> None:
    network.names = {"registry.example": home, "cdn.example": there}
    assert await lured(upstream, "http://cdn.example:PORT/bucket/blob") == CONTENT
    assert await lured(upstream, f"http://{there[0]}:PORT/bucket/blob") == CONTENT


async def test_of_several_addresses_only_the_outer_ones_are_dialled(
    upstream: ScriptedUpstream, network: Network
) -> None:
    network.names = {"registry.example": [PUBLIC], "cdn.example": ["10.0.0.1", PUBLIC]}
    assert await lured(upstream, "http://cdn.example:PORT/bucket/blob") == CONTENT
    assert network.dialled == [PUBLIC, PUBLIC]


async def test_a_host_that_the_operator_named_may_be_anywhere(
    upstream: ScriptedUpstream, network: Network
) -> None:
    network.names = {"registry.example": [PUBLIC], "cdn.example": ["10.0.0.1"]}
    for host in ("cdn.example", "10.0.0.1"):
        found = await lured(upstream, f"http://{host}:PORT/bucket/blob", realms=(host,))
        assert found == CONTENT


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001", "0177.0.0.1"])
async def test_no_odd_spelling_of_an_address_gets_through(
    upstream: ScriptedUpstream, network: Network, host: str
) -> None:
    network.names = {"registry.example": [PUBLIC], host: ["127.0.0.1"]}
    found = await lured(upstream, f"http://{host}:PORT/bucket/blob")
    assert isinstance(found, UpstreamInvalid)
    assert network.dialled == [PUBLIC]


async def test_a_realm_inside_is_not_dialled(upstream: ScriptedUpstream, network: Network) -> None:
    """A token server of the registry's own domain, whose name points into our network."""
    port = upstream.url.rpartition(":")[2]
    network.names = {"registry.corp.example": [PUBLIC], "auth.corp.example": ["10.0.0.1"]}
    upstream.require_token(realm=f"http://auth.corp.example:{port}/token")
    url = f"http://registry.corp.example:{port}"
    client = RegistryClient(name="docker.io", url=url, credentials=lambda: LOGIN)
    with pytest.raises(UpstreamInvalid, match=r"^auth\.corp\.example, the token server of"):
        await client.manifest(NAME, TAG)
    assert network.dialled == [PUBLIC]
    assert upstream.count("*", "/token") == 0
    await client.close()


# Secrets


def whole_story(error: BaseException) -> str:
    """All that a log could get from an error."""
    return "\n".join((str(error), repr(error), *traceback.format_exception(error)))


ECHO: Final = b'{"errors":[{"message":"someone correct-horse issued-token"}]}'


@pytest.mark.parametrize(
    "script",
    [
        lambda up, _: up.fault("*", "/v2/*", Fault(status=401, body=ECHO)),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", Fault(status=500, body=ECHO)),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", Fault(raw=b"HTTP/9 Bearer issued-token\r\n")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", Fault(raw=b"")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", Fault(delay=5)),
        lambda up, _: up.fault("*", "/token", Fault(status=401, body=ECHO)),
        lambda up, _: up.fault("*", "/token", Fault(body=b'{"token":"issued-token\\n"}')),
        lambda up, _: up.fault("*", "/token", Fault(body=b"issued-token")),
        lambda up, _: up.fault("*", "/token", Fault(raw=b"")),
        lambda up, st: up.fault("*", "/v2/*/blobs/*", redirect(st.url + "/gone?issued-token")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", redirect("http://127.0.0.1:1/?issued-token")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", redirect("http://127.1/?issued-token")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", redirect("http://[x]/?issued-token")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", redirect("http://a:99999/?issued-token")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", redirect("http://issued-token@127.0.0.1/")),
        lambda up, _: up.fault("*", "/v2/*/blobs/*", redirect("http://x.invalid/?issued-token")),
    ],
)
async def test_no_secret_is_in_an_error_or_a_log(
    upstream: ScriptedUpstream,
    storage: ScriptedUpstream,
    client: RegistryClient,
    capsys: pytest.CaptureFixture[str],
    script: Callable[[ScriptedUpstream, ScriptedUpstream], None],
) -> None:
    upstream.require_token(LOGIN.username, LOGIN.password)
    upstream.serve("/token", b'{"token":"issued-token"}')
    script(upstream, storage)
    with pytest.raises(RegistryError) as caught:
        await read(client)
    story = whole_story(caught.value) + "".join(capsys.readouterr())
    for secret in (LOGIN.password, LOGIN.basic.removeprefix("Basic "), "issued-token"):
        assert secret not in story


def test_credentials_do_not_show_their_password() -> None:
    assert LOGIN.password not in f"{LOGIN} {LOGIN!r}"
    assert LOGIN.username in repr(LOGIN)


async def test_a_hundred_failures_leave_no_connection_open(
    upstream: ScriptedUpstream, client: RegistryClient
) -> None:
    upstream.fault("*", "*", Fault(status=500, body=bytes(2**20)))
    for _ in range(100):
        with pytest.raises(UpstreamUnavailable):
            await client.manifest(NAME, TAG)
    await asyncio.sleep(0.1)
    assert upstream.open_connections <= 1
