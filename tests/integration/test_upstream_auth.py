"""Tokens and passwords: one request where one will do, and nothing to anybody but their owner."""

from __future__ import annotations

import asyncio
import base64
import gc
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import pytest

from proxy.errors import (
    ManifestUnknown,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Tag
from proxy.upstream.client import Credentials, RegistryClient, Transport
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Protocol

    class Connect(Protocol):
        def __call__(self, credentials: Credentials | None = None) -> RegistryClient: ...


NAME: Final = "library/alpine"
OTHER: Final = "library/busybox"
TAG: Final = Tag("3.20")
RAW: Final = b'{"schemaVersion":2}'
LOGIN: Final = Credentials("someone", "pässword:with-colon")
QUICK: Final = Transport(connect_timeout=1.0, idle_timeout=0.5, answer_timeout=1.0)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        for name in (NAME, OTHER):
            upstream.add_manifest(name, TAG, RAW, MediaType.OCI_MANIFEST)
        yield upstream


@pytest.fixture
async def connect(
    upstream: ScriptedUpstream,
) -> AsyncIterator[Connect]:
    """Open a client with some credentials, and close it in the end."""
    clients = []

    def open_client(credentials: Credentials | None = None) -> RegistryClient:
        client = RegistryClient(
            name="docker.io", url=upstream.url, transport=QUICK, credentials=lambda: credentials
        )
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        await client.close()


async def test_a_token_is_fetched_once_and_then_sent_unasked(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    client = connect()
    for _ in range(3):
        assert (await client.manifest(NAME, TAG)).raw == RAW
        await client.head_manifest(NAME, TAG)
    assert upstream.count("GET", "/token") == 1
    # One more than was asked for: the first had to learn that a token is wanted.
    assert upstream.count("*", "/v2/*") == 7
    token = next(request for request in upstream.requests if request.path == "/token")
    assert parse_qs(token.query) == {
        "service": ["scripted"],
        "scope": [f"repository:{NAME}:pull"],
    }
    assert "Authorization" not in token.headers


async def test_challenge_token_and_redirect_cost_no_second_connection(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    slowly = redirect(f"/v2/{NAME}/manifests/{TAG}")
    upstream.fault("GET", "/v2/*/manifests/moved", replace(slowly, body=b"<a>", pace=0.05))
    denied = {"WWW-Authenticate": f'Bearer realm="{upstream.url}/token"'}
    challenge = Fault(status=401, headers=denied, pace=0.05)
    upstream.fault("GET", "/v2/*/manifests/moved", challenge, times=1)
    await connect().manifest(NAME, Tag("moved"))
    ends = [request.path.rpartition("/")[2] for request in upstream.requests]
    assert ends == ["moved", "token", "moved", TAG]
    assert len({request.port for request in upstream.requests}) == 1


async def test_another_repository_needs_a_token_but_no_challenge(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    client = connect()
    await client.manifest(NAME, TAG)
    await client.manifest(OTHER, TAG)
    assert upstream.count("GET", f"/v2/{OTHER}/*") == 1
    assert upstream.count("GET", "/token") == 2


async def test_a_login_gets_the_token_and_goes_nowhere_else(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token(LOGIN.username, LOGIN.password)
    await connect(LOGIN).manifest(NAME, TAG)
    (token,) = (request for request in upstream.requests if request.path == "/token")
    encoded = token.headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == "someone:pässword:with-colon"
    assert parse_qs(token.query)["account"] == ["someone"]
    for request in upstream.requests:
        if request.path != "/token":
            assert not request.headers.get("Authorization", "").startswith("Basic")


async def test_fifty_at_once_cost_one_token(upstream: ScriptedUpstream, connect: Connect) -> None:
    upstream.require_token()
    upstream.fault("GET", "/token", Fault(delay=0.1))
    client = connect()
    found = await asyncio.gather(*(client.manifest(NAME, TAG) for _ in range(50)))
    assert {fetched.raw for fetched in found} == {RAW}
    assert upstream.count("GET", "/token") == 1


async def test_the_token_comes_although_the_first_who_wanted_it_left(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    upstream.fault("GET", "/token", Fault(delay=0.2))
    client = connect()
    first = asyncio.create_task(client.manifest(NAME, TAG))
    second = asyncio.create_task(client.manifest(NAME, TAG))
    await upstream.asked("GET", "/token")
    first.cancel()
    assert (await second).raw == RAW
    assert first.cancelled()
    assert upstream.count("GET", "/token") == 1


async def test_a_token_that_everybody_left_may_fail_in_silence(
    upstream: ScriptedUpstream, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.require_token()
    upstream.fault("GET", "/token", Fault(delay=0.2, status=500), times=1)
    client = connect()
    only = asyncio.create_task(client.manifest(NAME, TAG))
    await upstream.asked("GET", "/token")
    only.cancel()
    await asyncio.sleep(0.4)
    del only  # which would keep the failure alive
    gc.collect()
    assert not caplog.records
    assert (await client.manifest(NAME, TAG)).raw == RAW


async def test_closing_stops_what_is_being_fetched(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    upstream.fault("GET", "/token", Fault(delay=5))
    client = connect()
    waiting = asyncio.create_task(client.manifest(NAME, TAG))
    await upstream.asked("GET", "/token")
    await client.close()
    await asyncio.wait([waiting], timeout=1)
    assert waiting.done()


async def test_a_token_that_ends_sooner_than_it_said_is_renewed_once(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    client = connect()
    await client.manifest(NAME, TAG)
    upstream.revoke_tokens()
    found = await asyncio.gather(*(client.manifest(NAME, TAG) for _ in range(20)))
    assert {fetched.raw for fetched in found} == {RAW}
    assert upstream.count("GET", "/token") == 2


async def test_a_registry_that_refuses_its_own_tokens_is_asked_no_further(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    """Docker Hub answers so for a repository that does not exist."""
    upstream.require_token(expires_in=0)
    client = connect()
    for tokens, asked in ((1, 2), (2, 4)):
        with pytest.raises(UpstreamDenied) as caught:
            await client.manifest(NAME, TAG)
        assert caught.value.status == 401
        assert upstream.count("GET", "/token") == tokens
        assert upstream.count("GET", "/v2/*") == asked


@pytest.mark.parametrize("key", ["token", "access_token"])
async def test_both_names_of_a_token(
    upstream: ScriptedUpstream, connect: Connect, key: str
) -> None:
    upstream.require_token(key=key, expires_in=None)
    assert (await connect().manifest(NAME, TAG)).raw == RAW


async def test_the_scope_is_the_one_that_the_registry_wants(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    """public.ecr.aws wants `aws`, whatever is pulled."""
    upstream.require_token(realm=f"{upstream.url}/token?keep=a%2Fb", scope="aws other")
    client = connect()
    for asked in (2, 3):
        await client.manifest(NAME, TAG)
        assert upstream.count("GET", "/v2/*") == asked
    (token,) = (request for request in upstream.requests if request.path == "/token")
    assert token.query == "keep=a%2Fb&service=scripted&scope=aws&scope=other"


async def test_a_scope_that_was_guessed_wrong_is_corrected_and_remembered(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    """A mirror may know `busybox` as `library/busybox`."""
    upstream.require_token(scope="repository:mirror/{name}:pull")
    client = connect()
    await client.manifest(NAME, TAG)
    await client.manifest(OTHER, TAG)
    await client.manifest(OTHER, TAG)
    scopes = [parse_qs(r.query)["scope"][0] for r in upstream.requests if r.path == "/token"]
    names = (f"mirror/{NAME}", OTHER, f"mirror/{OTHER}")
    assert scopes == [f"repository:{name}:pull" for name in names]
    assert upstream.count("GET", f"/v2/{OTHER}/*") == 3


async def test_a_password_with_every_request(upstream: ScriptedUpstream, connect: Connect) -> None:
    upstream.require_basic(LOGIN.username, LOGIN.password)
    client = connect(LOGIN)
    for _ in range(3):
        assert (await client.manifest(NAME, TAG)).raw == RAW
    assert upstream.count() == 4
    with pytest.raises(ManifestUnknown):
        await client.manifest(NAME, Tag("missing"))


async def test_a_wrong_password_is_tried_once(upstream: ScriptedUpstream, connect: Connect) -> None:
    upstream.require_basic(LOGIN.username, "another")
    client = connect(LOGIN)
    with pytest.raises(UpstreamDenied, match="fresh login"):
        await client.manifest(NAME, TAG)
    assert upstream.count() == 2
    with pytest.raises(UpstreamDenied, match="no login"):
        await connect().manifest(NAME, TAG)
    assert upstream.count() == 3


async def test_a_changed_password_is_used_at_once(upstream: ScriptedUpstream) -> None:
    login = LOGIN
    client = RegistryClient(name="docker.io", url=upstream.url, credentials=lambda: login)
    upstream.require_token(LOGIN.username, LOGIN.password)
    await client.manifest(NAME, TAG)
    login = Credentials("someone", "new")
    upstream.require_token("someone", "new")
    await client.manifest(NAME, TAG)
    assert upstream.count("GET", "/token") == 2
    assert upstream.count("GET", "/v2/*") == 3
    await client.close()


async def test_credentials_that_cannot_be_read(upstream: ScriptedUpstream) -> None:
    def unreadable() -> Credentials | None:
        raise PermissionError("/run/secrets/password")

    upstream.require_token()
    client = RegistryClient(name="docker.io", url=upstream.url, credentials=unreadable)
    with pytest.raises(
        UpstreamUnavailable, match=r"^the credentials for docker\.io cannot be read"
    ):
        await client.manifest(NAME, TAG)
    await client.close()


@pytest.mark.parametrize(
    ("fault", "kind", "sentence"),
    [
        (Fault(status=401), UpstreamDenied, "answered 401"),
        (Fault(status=403), UpstreamDenied, "answered 403"),
        (Fault(status=404), UpstreamInvalid, "answered 404"),
        (Fault(status=429, headers={"Retry-After": "9"}), UpstreamThrottled, "answered 429"),
        (Fault(status=503), UpstreamUnavailable, "answered 503"),
        (Fault(body=b"<html>Log in</html>"), UpstreamInvalid, "not JSON"),
        (Fault(body=b"[" * 60_000), UpstreamInvalid, "not JSON"),
        (Fault(body=b"[]"), UpstreamInvalid, "not an object"),
        (Fault(body=b"{}"), UpstreamUnavailable, "issued no token"),
        (Fault(body=b'{"token":"a\\r\\nHost: b"}'), UpstreamInvalid, "that no header can carry"),
        (Fault(body=b'{"token":["a"]}'), UpstreamInvalid, "that no header can carry"),
        (Fault(body=b'{"token":"' + b"x" * 10_000_000 + b'"}'), UpstreamInvalid, "more than 65536"),
        (Fault(body=b" " * 70_000, chunked=True), UpstreamInvalid, "more than 65536"),
        (Fault(cut=3), UpstreamUnavailable, "stopped before the end"),
        (Fault(raw=b""), UpstreamUnavailable, "broke the connection"),
        (Fault(raw=b"nonsense\r\n\r\n"), UpstreamInvalid, "an answer that is not HTTP"),
        (Fault(delay=5), UpstreamUnavailable, "fell silent"),
        (redirect("/elsewhere"), UpstreamDenied, "answered 401"),
        (redirect("/token"), UpstreamInvalid, "redirects in circles"),
        (redirect("http://localhost:1/token"), UpstreamInvalid, "another origin, localhost"),
    ],
)
async def test_a_token_server_that_fails(
    upstream: ScriptedUpstream,
    connect: Connect,
    fault: Fault,
    kind: type[UpstreamFailure],
    sentence: str,
) -> None:
    upstream.require_token()
    upstream.fault("GET", "/token", fault)
    client = connect()
    with pytest.raises(UpstreamFailure, match=sentence) as caught:
        await client.head_manifest(NAME, TAG)
    assert type(caught.value) is kind
    assert caught.value.status is None
    assert "the token server of docker.io" in caught.value.message
    assert caught.value.retry_after == (9 if kind is UpstreamThrottled else None)
    assert upstream.count("*", "/elsewhere") == (fault.headers.get("Location") == "/elsewhere")
    upstream.heal()
    assert (await client.manifest(NAME, TAG)).raw == RAW


async def test_a_realm_that_has_moved_is_found_again(
    upstream: ScriptedUpstream, connect: Connect
) -> None:
    upstream.require_token()
    client = connect()
    await client.manifest(NAME, TAG)
    upstream.require_token(realm=f"{upstream.url}/new")
    upstream.serve("/new", b'{"token":"any"}')
    upstream.fault("GET", "/token", Fault(status=410))
    with pytest.raises(UpstreamInvalid, match="answered 410"):
        await client.manifest(OTHER, TAG)
    with pytest.raises(UpstreamDenied):
        await client.manifest(OTHER, TAG)
    assert upstream.count("GET", "/new") == 1
