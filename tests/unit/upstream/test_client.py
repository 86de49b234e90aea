"""What the client sends, and what it makes of each answer: no socket, only what aiohttp gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from proxy.errors import (
    BlobUnknown,
    FailedAt,
    ListingRefused,
    ManifestUnconfirmed,
    ManifestUnknown,
    NameUnknown,
    Phase,
    RangeInvalid,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.oci.reference import Digest, Tag
from proxy.ports import Head
from proxy.upstream.client import Credentials, RegistryClient
from proxy.upstream.operation import Kind
from tests.kit.manual_clock import ManualClock
from tests.kit.scripted_session import ScriptedAnswer, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstream.observation import Observed

URL: Final = "https://registry.example"
NAME: Final = "library/cargo"
TAG: Final = Tag("1")
RAW: Final = b'{"schemaVersion":2}'
TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONTENT: Final = b"0123456789" * 20
BLOB: Final = Digest.of(CONTENT)
LENGTH: Final = {"Content-Length": str(len(CONTENT))}
REALM: Final = "https://auth.registry.example/token"
CHALLENGE: Final = {"WWW-Authenticate": f'Bearer realm="{REALM}",service="r"'}


class World:
    def __init__(self, answer_timeout: float) -> None:
        self.transport = ScriptedTransport(answer_timeout=answer_timeout)
        self.clock = ManualClock()
        self.credentials: Credentials | None = None
        self.observed: list[Observed] = []
        self.client = RegistryClient(
            name="r",
            url=URL,
            prefix="mirror",
            credentials=lambda: self.credentials,
            transport=self.transport,
            observe=self.observed.append,
            clock=self.clock,
        )

    def answers(self, *answers: ScriptedAnswer) -> None:
        self.transport.answers.extend(answers)

    @property
    def sent(self) -> list[tuple[str, str]]:
        return [(each.method, str(each.url)) for each in self.transport.requests]

    @property
    def authorizations(self) -> list[str | None]:
        return [each.headers.get("Authorization") for each in self.transport.requests]

    async def read(self, start: int = 0, end: int | None = None) -> bytes:
        async with self.client.blob(NAME, BLOB, start=start, end=end, validator='"v"') as stream:
            return b"".join([chunk async for chunk in stream.chunks()])


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The timeout is short where an answer never begins; a busy machine may be late with others."""
    answer = getattr(request.node, "callspec", None) and request.node.callspec.params.get("answer")
    world = World(answer_timeout=0.5 if answer and answer.silent else 30.0)
    yield world
    await world.client.close()
    assert not world.transport.answers


def manifest(**headers: str) -> ScriptedAnswer:
    return ScriptedAnswer(headers={"Content-Type": TYPE, **headers}, body=RAW)


def token(value: str = "t1") -> ScriptedAnswer:
    return ScriptedAnswer(body=json.dumps({"token": value, "expires_in": 300}).encode())


def part(start: int, stop: int) -> ScriptedAnswer:
    span = f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    return ScriptedAnswer(206, {"Content-Range": span}, CONTENT[start:stop])


async def test_a_manifest_is_what_came(world: World) -> None:
    digest = Digest.of(RAW)
    world.answers(manifest(**{"Docker-Content-Digest": digest}), manifest())
    assert await world.client.head_manifest(NAME, TAG) == Head(digest, TYPE)
    fetched = await world.client.manifest(NAME, digest)
    assert (fetched.raw, fetched.content_type, fetched.digest) == (RAW, TYPE, None)
    assert world.sent == [
        ("HEAD", f"{URL}/v2/mirror/{NAME}/manifests/1"),
        ("GET", f"{URL}/v2/mirror/{NAME}/manifests/{digest}"),
    ]
    assert "vnd.docker" in world.transport.requests[0].headers["Accept"]
    assert [each.kind for each in world.observed] == [Kind.MANIFEST_HEAD, Kind.MANIFEST]
    assert world.observed[1].received == len(RAW)


@pytest.mark.parametrize(
    ("start", "end", "answer", "asked"),
    [
        (0, None, ScriptedAnswer(headers=LENGTH, body=CONTENT), None),
        (10, None, part(10, len(CONTENT)), "bytes=10-"),
        (10, 19, part(10, 20), "bytes=10-19"),
        (-10, None, part(len(CONTENT) - 10, len(CONTENT)), "bytes=-10"),
    ],
)
async def test_a_range_of_a_blob(
    world: World, start: int, end: int | None, answer: ScriptedAnswer, asked: str | None
) -> None:
    world.answers(answer)
    assert await world.read(start, end) == answer.body
    sent = world.transport.requests[0].headers
    assert sent.get("Range") == asked
    assert sent.get("If-Range") == ('"v"' if asked else None)
    assert (world.observed[0].outcome, world.observed[0].received) == ("ok", len(answer.body))


@pytest.mark.parametrize(
    "answer",
    [
        part(11, 20),
        part(10, 21),
        ScriptedAnswer(206, {}, CONTENT[10:20]),
        ScriptedAnswer(206, {"Content-Range": "bytes 10-19/200", "Content-Length": "9"}),
        ScriptedAnswer(headers=LENGTH, body=CONTENT + b"x"),
        ScriptedAnswer(418),
    ],
)
async def test_another_answer_than_was_asked_for_is_invalid(
    world: World, answer: ScriptedAnswer
) -> None:
    world.answers(answer)
    with pytest.raises(UpstreamInvalid):
        await world.read(10, 19)


async def test_an_interrupted_body_gives_what_came_of_it(world: World) -> None:
    world.answers(
        ScriptedAnswer(headers=LENGTH, body=CONTENT[:50], failure=aiohttp.ClientPayloadError()),
        ScriptedAnswer(headers=LENGTH, body=CONTENT[:50]),
    )
    for _ in range(2):
        received = b""
        with pytest.raises(UpstreamUnavailable) as raised:  # noqa: PT012 -- it is the body
            async with world.client.blob(NAME, BLOB) as stream:
                assert (stream.start, stream.total, stream.validator) == (0, len(CONTENT), None)
                async for chunk in stream.chunks():
                    received += chunk
        assert received == CONTENT[:50]
        assert raised.value.context.phase is Phase.ANSWER
        assert raised.value.status == 200


async def test_a_range_behind_the_end_has_the_size(world: World) -> None:
    world.answers(
        ScriptedAnswer(416, {"Content-Range": "bytes */200"}),
        ScriptedAnswer(416),
        ScriptedAnswer(headers=LENGTH),
        ScriptedAnswer(416),
        ScriptedAnswer(),
        ScriptedAnswer(),
    )
    for _ in range(2):
        with pytest.raises(RangeInvalid) as raised:
            await world.read(200)
        assert raised.value.size == 200
    with pytest.raises(UpstreamInvalid, match="does not state the size"):
        await world.read(200)


async def test_what_is_not_there_is_unknown(world: World) -> None:
    body = b'{"errors": [{"code": "UNKNOWN"}]}'
    world.answers(*[ScriptedAnswer(404, body=body)] * 6)
    with pytest.raises(ManifestUnknown):
        await world.client.head_manifest(NAME, TAG)
    with pytest.raises(ManifestUnknown):
        await world.client.manifest(NAME, TAG)
    with pytest.raises(BlobUnknown):
        await world.client.blob_size(NAME, BLOB)
    with pytest.raises(BlobUnknown):
        await world.read()
    with pytest.raises(NameUnknown):
        await world.client.tags(NAME, "n=1")
    assert await world.client.referrers(NAME, BLOB, "") is None
    assert {each.outcome for each in world.observed} == {"unknown", "ok"}


async def test_a_404_counts_only_in_the_registry_s_form(world: World) -> None:
    """By its errors or its header; a HEAD has no body, and is settled by a GET."""
    version = {"Docker-Distribution-Api-Version": "registry/2.0"}
    world.answers(ScriptedAnswer(404, version), ScriptedAnswer(404, body=b"<p>Nothing here"))
    with pytest.raises(ManifestUnknown):
        await world.client.manifest(NAME, TAG)
    with pytest.raises(UpstreamUnavailable, match="not as a registry does") as raised:
        await world.client.manifest(NAME, TAG)
    assert raised.value.status == 404
    world.answers(ScriptedAnswer(404, version), ScriptedAnswer(404))
    for kind in (ManifestUnknown, ManifestUnconfirmed):
        with pytest.raises(ManifestUnknown) as unknown:
            await world.client.head_manifest(NAME, TAG)
        assert type(unknown.value) is kind
    world.answers(*[ScriptedAnswer(404, body=b'{"message": "no route"}')] * 2)
    with pytest.raises(UpstreamUnavailable):
        await world.client.tags(NAME, "")
    with pytest.raises(UpstreamUnavailable):
        await world.read()


async def test_a_next_page_that_cannot_be_requested_is_a_failure(world: World) -> None:
    world.answers(ScriptedAnswer(headers={"Link": "</v2/x>; rel=next"}, body=b"{}"))
    with pytest.raises(UpstreamInvalid, match="without a query"):
        await world.client.tags(NAME, "")


async def test_a_refused_page_has_the_registry_s_words(world: World) -> None:
    body = json.dumps({"errors": [{"code": "TOO\x07MANY", "message": "m" * 5000}]}).encode()
    world.answers(ScriptedAnswer(400, body=body), ScriptedAnswer(400, body=b"<p>No"))
    with pytest.raises(ListingRefused) as raised:
        await world.client.tags(NAME, "n=100000")
    error = raised.value
    assert (error.status, error.code, len(error.message) < 600) == (400, "TOO MANY", True)
    with pytest.raises(UpstreamInvalid, match="answered 400"):
        await world.client.tags(NAME, "n=100000")


async def test_a_page_has_its_link(world: World) -> None:
    world.answers(ScriptedAnswer(headers={"Link": '</v2/x?n=1&last=b>; rel="next"'}, body=b"{}"))
    page = await world.client.tags(NAME, "n=1")
    assert page.raw == b"{}"
    assert not page.filtered
    assert world.sent == [("GET", f"{URL}/v2/mirror/{NAME}/tags/list?n=1")]


@pytest.mark.parametrize(
    ("answer", "kind", "phase", "status"),
    [
        (ScriptedAnswer(500), UpstreamUnavailable, Phase.ANSWER, 500),
        (ScriptedAnswer(405), UpstreamUnavailable, Phase.ANSWER, 405),
        (ScriptedAnswer(403), UpstreamDenied, Phase.ANSWER, 403),
        (ScriptedAnswer(400), UpstreamInvalid, Phase.ANSWER, 400),
        (
            ScriptedAnswer(error=aiohttp.ServerDisconnectedError()),
            UpstreamUnavailable,
            "wait",
            None,
        ),
        (ScriptedAnswer(error=TimeoutError()), UpstreamUnavailable, Phase.WAIT, None),
        (
            ScriptedAnswer(error=aiohttp.ConnectionTimeoutError()),
            UpstreamUnavailable,
            Phase.CONNECT,
            None,
        ),
        (ScriptedAnswer(error=ValueError("a URL")), UpstreamInvalid, Phase.PREPARE, None),
        (ScriptedAnswer(silent=True), UpstreamUnavailable, Phase.WAIT, None),
    ],
)
async def test_a_failure_says_how_far_it_came(
    world: World,
    answer: ScriptedAnswer,
    kind: type[UpstreamFailure],
    phase: Phase,
    status: int | None,
) -> None:
    world.answers(answer)
    with pytest.raises(kind) as raised:
        await world.client.manifest(NAME, TAG)
    context = raised.value.context
    assert (context.at, context.phase, raised.value.status) == (FailedAt.REGISTRY, phase, status)
    assert context.broke_off == isinstance(answer.error, aiohttp.ServerDisconnectedError)


async def test_retry_after_is_read(world: World) -> None:
    world.answers(
        ScriptedAnswer(429, {"Retry-After": "7"}),
        ScriptedAnswer(503, {"Retry-After": "Tue, 14 Nov 2023 22:13:30 GMT"}),
    )
    with pytest.raises(UpstreamThrottled) as throttled:
        await world.client.manifest(NAME, TAG)
    assert throttled.value.retry_after == 7
    with pytest.raises(UpstreamUnavailable) as unavailable:
        await world.client.manifest(NAME, TAG)
    assert unavailable.value.retry_after == 10  # seconds after the clock's 22:13:20


async def test_a_manifest_of_any_length_is_not_read(world: World) -> None:
    world.answers(ScriptedAnswer(headers={"Content-Length": str(2**30)}))
    with pytest.raises(UpstreamInvalid, match="more than"):
        await world.client.manifest(NAME, TAG)


async def test_a_token_is_fetched_once_and_used_in_advance(world: World) -> None:
    world.answers(ScriptedAnswer(401, CHALLENGE), token(), manifest(), manifest())
    await world.client.manifest(NAME, TAG)
    await world.client.manifest(NAME, TAG)
    assert world.authorizations == [None, None, "Bearer t1", "Bearer t1"]
    assert world.sent[1][1].startswith(f"{REALM}?service=r&scope=repository:mirror/{NAME}:pull")
    world.clock.advance(300.0)
    world.answers(token("t2"), manifest())
    await world.client.manifest(NAME, TAG)
    assert world.authorizations[-1] == "Bearer t2"


async def test_a_token_that_is_refused_is_replaced_once(world: World) -> None:
    refused = ScriptedAnswer(401, CHALLENGE)
    world.answers(refused, token(), manifest(), refused, token("t2"), refused)
    await world.client.manifest(NAME, TAG)
    with pytest.raises(UpstreamDenied, match="fresh login"):
        await world.client.manifest(NAME, TAG)


async def test_a_password_is_sent_to_the_registry_and_its_token_server_only(world: World) -> None:
    world.credentials = Credentials("me", "secret")
    world.answers(
        ScriptedAnswer(401, {"WWW-Authenticate": "Basic"}),
        ScriptedAnswer(307, {"Location": "https://cdn.example/x?signature=1"}),
        ScriptedAnswer(headers=LENGTH, body=CONTENT),
    )
    assert await world.read() == CONTENT
    assert world.authorizations == [None, world.credentials.basic, None]


async def test_an_identity_token_is_posted_and_else_sent_by_get(world: World) -> None:
    world.credentials = Credentials("", "identity", identity=True)
    world.answers(ScriptedAnswer(401, CHALLENGE), ScriptedAnswer(405), token(), manifest())
    await world.client.manifest(NAME, TAG)
    assert [method for method, _ in world.sent] == ["GET", "POST", "GET", "GET"]
    assert b"refresh_token=identity" in (world.transport.requests[1].body or b"")


@pytest.mark.parametrize("answer", [ScriptedAnswer(500), ScriptedAnswer(silent=True)])
async def test_a_token_server_that_fails_answers_nothing_about_content(
    world: World, answer: ScriptedAnswer
) -> None:
    world.answers(ScriptedAnswer(401, CHALLENGE), answer)
    with pytest.raises(UpstreamUnavailable) as raised:
        await world.client.manifest(NAME, TAG)
    assert raised.value.context.at in {FailedAt.TOKEN_SERVER, FailedAt.REGISTRY}
    assert raised.value.status is None


async def test_no_login_is_a_denial(world: World) -> None:
    world.answers(ScriptedAnswer(401, {"WWW-Authenticate": "Basic"}))
    with pytest.raises(UpstreamDenied, match="no login") as raised:
        await world.client.manifest(NAME, TAG)
    assert raised.value.status == 401


async def test_credentials_that_cannot_be_read_are_a_failure_before_anything_is_sent(
    world: World,
) -> None:
    def unreadable() -> Credentials:
        raise PermissionError

    client = RegistryClient(name="r", url=URL, credentials=unreadable, transport=world.transport)
    world.answers(ScriptedAnswer(401, CHALLENGE))
    with pytest.raises(UpstreamUnavailable, match="cannot be read") as raised:
        await client.manifest(NAME, TAG)
    assert raised.value.context.phase is Phase.PREPARE
    await client.close()


@pytest.mark.parametrize("status", [403, 503])
async def test_a_storage_service_that_fails_is_not_the_registry(world: World, status: int) -> None:
    world.answers(
        ScriptedAnswer(307, {"Location": "https://cdn.example/x"}), ScriptedAnswer(status)
    )
    with pytest.raises(UpstreamUnavailable) as raised:
        await world.read()
    assert raised.value.context.at is FailedAt.REDIRECT


async def test_redirects_in_circles_end(world: World) -> None:
    world.answers(*[ScriptedAnswer(307, {"Location": f"/{n}"}) for n in range(6)])
    with pytest.raises(UpstreamInvalid, match="circles"):
        await world.read()
