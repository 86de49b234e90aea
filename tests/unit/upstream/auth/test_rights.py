"""What a registry is asked about a client's login, and what its answers mean: no socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import (
    FailedAt,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.ports.rights import Login, Right
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.rights import RegistryRights
from proxy.upstream.auth.site import same_site
from proxy.upstream.operation import Kind
from tests.kit.manual_clock import ManualClock
from tests.kit.scripted_session import ScriptedAnswer, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstream.observation import Observed

URL: Final = "https://registry.example"
NAME: Final = "library/cargo"
THERE: Final = f"{URL}/v2/mirror/{NAME}"
REALM: Final = "https://auth.registry.example/token"
ANN: Final = Login("ann", "anchor")
BOB: Final = Login("bob", "bollard")
OK: Final = ScriptedAnswer()
MISSING: Final = ScriptedAnswer(404)
DENIED: Final = ScriptedAnswer(403)
TOKEN_WANTED: Final = ScriptedAnswer(
    401, {"WWW-Authenticate": f'Bearer realm="{REALM}",service="r"'}
)
LOGIN_WANTED: Final = ScriptedAnswer(401, {"WWW-Authenticate": 'Basic realm="r"'})

# The public suffix list is read when it is first needed: that may take longer than a timeout here.
same_site("a.example", "b.example")


class World:
    def __init__(self, *, timeout: float = 30.0) -> None:
        self.transport = ScriptedTransport(answer_timeout=timeout)
        self.observed: list[Observed] = []
        self.is_offline = False
        self.rights = RegistryRights(
            name="r",
            url=URL,
            prefix="mirror",
            transport=self.transport,
            is_offline=lambda: self.is_offline,
            observe=self.observed.append,
            clock=ManualClock(),
        )

    def answers(self, *answers: ScriptedAnswer) -> None:
        self.transport.answers.extend(answers)

    @property
    def sent(self) -> list[tuple[str, str]]:
        return [(each.method, str(each.url)) for each in self.transport.requests]

    @property
    def authorizations(self) -> list[str | None]:
        return [each.headers.get("Authorization") for each in self.transport.requests]

    async def may_pull(self, login: Login | None = ANN, *, subject: str = "manifests/1") -> Right:
        return await self.rights.may_pull(NAME, subject, login)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.rights.close()
    assert not world.transport.answers


def token(value: str) -> ScriptedAnswer:
    return ScriptedAnswer(body=json.dumps({"token": value, "expires_in": 300}).encode())


def basic(login: Login) -> str:
    return Credentials(login.username, login.password).basic


# Pulling


async def test_what_the_registry_shows_to_the_login_may_be_pulled(world: World) -> None:
    world.answers(LOGIN_WANTED, OK)
    assert await world.may_pull() is Right.GRANTED
    assert world.sent == [("HEAD", f"{THERE}/manifests/1")] * 2
    assert world.authorizations == [None, basic(ANN)]
    assert [(each.kind, each.outcome) for each in world.observed] == [(Kind.RIGHT, "ok")]


async def test_nothing_is_kept_between_two_questions(world: World) -> None:
    for login, value in ((ANN, "a"), (ANN, "b"), (BOB, "c")):
        world.transport.requests.clear()
        world.answers(TOKEN_WANTED, token(value), OK)
        assert await world.may_pull(login) is Right.GRANTED
        assert world.authorizations == [None, basic(login), f"Bearer {value}"]
        url = world.transport.requests[1].url
        assert url.query["scope"] == f"repository:mirror/{NAME}:pull"
        assert url.query["account"] == login.username


async def test_nobody_is_asked_about_without_a_login(world: World) -> None:
    world.answers(TOKEN_WANTED, token("anonymous"), OK)
    assert await world.may_pull(None) is Right.GRANTED
    assert world.authorizations == [None, None, "Bearer anonymous"]
    world.answers(LOGIN_WANTED)
    assert await world.may_pull(None) is Right.REFUSED


@pytest.mark.parametrize(
    "answers",
    [
        [DENIED],
        [LOGIN_WANTED, DENIED],
        [LOGIN_WANTED, LOGIN_WANTED],
        [TOKEN_WANTED, ScriptedAnswer(401)],
        [TOKEN_WANTED, ScriptedAnswer(403)],
        [TOKEN_WANTED, token("t"), TOKEN_WANTED],
        [ScriptedAnswer(401)],
        [MISSING, DENIED],
        [MISSING, LOGIN_WANTED, LOGIN_WANTED],
    ],
)
async def test_a_refusal_of_any_kind_is_one(world: World, answers: list[ScriptedAnswer]) -> None:
    world.answers(*answers)
    assert await world.may_pull() is Right.REFUSED


@pytest.mark.parametrize("status", [404, 400, 405, 429, 500, 503])
async def test_the_list_of_tags_decides_where_a_head_does_not(world: World, status: int) -> None:
    for listed, right in ((OK, Right.GRANTED), (MISSING, Right.UNKNOWN), (DENIED, Right.REFUSED)):
        world.transport.requests.clear()
        world.answers(ScriptedAnswer(status), listed)
        assert await world.may_pull() is right
        assert world.sent == [
            ("HEAD", f"{THERE}/manifests/1"),
            ("GET", f"{THERE}/tags/list?n=1"),
        ]


async def test_where_nothing_is_wanted_the_list_is_asked_for(world: World) -> None:
    world.answers(OK)
    assert await world.may_pull(subject="") is Right.GRANTED
    assert world.sent == [("GET", f"{THERE}/tags/list?n=1")]


@pytest.mark.parametrize(
    ("status", "failure"), [(429, UpstreamThrottled), (500, UpstreamUnavailable)]
)
async def test_a_list_that_fails_says_nothing_of_the_login(
    world: World, status: int, failure: type[UpstreamFailure]
) -> None:
    world.answers(MISSING, ScriptedAnswer(status))
    with pytest.raises(failure):
        await world.may_pull()


async def test_a_token_server_that_fails_says_nothing_of_the_login(world: World) -> None:
    world.answers(TOKEN_WANTED, ScriptedAnswer(503))
    with pytest.raises(UpstreamUnavailable) as raised:
        await world.may_pull()
    assert raised.value.context.at is FailedAt.TOKEN_SERVER


async def test_silence_ends_after_the_timeout() -> None:
    world = World(timeout=0.05)
    world.answers(ScriptedAnswer(silent=True))
    with pytest.raises(UpstreamUnavailable, match=r"did not answer completely within 0\.05 s"):
        await world.may_pull(subject="")
    await world.rights.close()


async def test_nothing_is_asked_offline(world: World) -> None:
    world.is_offline = True
    with pytest.raises(UpstreamOffline):
        await world.may_pull()
    with pytest.raises(UpstreamOffline):
        await world.rights.knows(ANN)
    assert world.sent == []


# Logins


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        ([LOGIN_WANTED, OK], True),
        ([LOGIN_WANTED, LOGIN_WANTED], False),
        ([TOKEN_WANTED, token("t")], True),
        ([TOKEN_WANTED, ScriptedAnswer(401)], False),
        ([TOKEN_WANTED, ScriptedAnswer(403)], False),
        # It takes everybody, or says nothing that can be answered.
        ([OK], False),
        ([MISSING], False),
        ([ScriptedAnswer(401)], False),
        ([ScriptedAnswer(401, {"WWW-Authenticate": "Negotiate"})], False),
    ],
)
async def test_a_login_is_known_that_is_let_in(
    world: World, answers: list[ScriptedAnswer], *, known: bool
) -> None:
    world.answers(*answers)
    assert await world.rights.knows(ANN) is known
    assert world.sent[0] == ("GET", f"{URL}/v2/")
    # It is sent to those that ask for it only, and once.
    assert world.authorizations == [None, basic(ANN)][: len(answers)]


async def test_a_login_is_asked_about_without_a_scope(world: World) -> None:
    world.answers(TOKEN_WANTED, token("t"))
    assert await world.rights.knows(BOB)
    assert dict(world.transport.requests[1].url.query) == {"service": "r", "account": "bob"}


@pytest.mark.parametrize("wanted", [LOGIN_WANTED, TOKEN_WANTED])
@pytest.mark.parametrize(
    ("status", "failure"), [(429, UpstreamThrottled), (503, UpstreamUnavailable)]
)
async def test_a_failure_says_nothing_of_the_login(
    world: World, wanted: ScriptedAnswer, status: int, failure: type[UpstreamFailure]
) -> None:
    world.answers(wanted, ScriptedAnswer(status))
    with pytest.raises(failure):
        await world.rights.knows(ANN)


async def test_a_login_is_not_sent_to_a_token_server_of_others(world: World) -> None:
    world.answers(
        ScriptedAnswer(401, {"WWW-Authenticate": 'Bearer realm="https://evil.test/token"'})
    )
    with pytest.raises(UpstreamInvalid, match=r"evil\.test"):
        await world.rights.knows(ANN)
    assert world.authorizations == [None]
