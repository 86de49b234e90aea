"""Requests until the registry is content with what it is sent, within limits: no socket."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import (
    FailedAt,
    Phase,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamUnavailable,
)
from proxy.kit.singleflight import SingleFlight
from proxy.upstream.auth.authority import Authority
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.elsewhere import RedirectAuthorities
from proxy.upstream.auth.login_watch import LoginWatch
from proxy.upstream.auth.token_server import TokenServer
from proxy.upstream.auth.tokens import Tokens
from proxy.upstream.observation import Observation, Tally
from proxy.upstream.requests import AuthorizedRequests
from proxy.upstream.session import Session
from tests.kit.manual_clock import ManualClock
from tests.kit.scripted_session import ScriptedAnswer, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.upstream.session import Answer

URL: Final = "https://registry.example"
NAME: Final = "library/cargo"
BLOB: Final = "blobs/sha256:1"
OTHER: Final = f"https://other.example/v2/{NAME}/{BLOB}"
STORAGE: Final = "https://storage.example/object"
LOGIN: Final = Credentials("ann", "anchor")
OK: Final = ScriptedAnswer()
LOGIN_WANTED: Final = ScriptedAnswer(401, {"WWW-Authenticate": 'Basic realm="r"'})


class World:
    def __init__(self) -> None:
        self.transport = ScriptedTransport()
        self.clock = ManualClock()
        self.warnings: dict[str, str] = {}
        self.credentials: Credentials | None = LOGIN
        self.session = Session(name="r", url=URL, transport=self.transport)
        server = TokenServer(
            name="r",
            session=self.session,
            timeout=30,
            observation=Observation(lambda _observed: None, self.clock),
            clock=self.clock,
        )
        self.tokens = Tokens(server.ask, registry="r", flights=SingleFlight(), clock=self.clock)
        self.requests = self.with_limits(timeout=30)

    def with_limits(self, *, timeout: float, silence: float = 1000.0) -> AuthorizedRequests:
        authority = Authority(
            name="r",
            url=URL,
            realms=(),
            credentials=lambda: self.credentials,
            tokens=self.tokens,
            login=LoginWatch("r", self.warnings),
        )
        return AuthorizedRequests(
            name="r",
            session=self.session,
            authority=authority,
            redirected=RedirectAuthorities(name="r", realms=(), tokens=self.tokens),
            timeout=timeout,
            silence=silence,
            clock=self.clock,
        )

    async def send(self, *answers: ScriptedAnswer) -> Answer:
        self.transport.requests.clear()
        self.transport.answers.extend(answers)
        return await self.requests.send(Tally(self.clock), "GET", NAME, BLOB, {"Accept": "x/y"})

    @property
    def sent(self) -> list[tuple[str, str | None]]:
        return [
            (str(each.url.with_query(None)), each.headers.get("Authorization"))
            for each in self.transport.requests
        ]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.session.close()
    assert not world.transport.answers


def token_wanted(scope: str = "", host: str = "registry.example") -> ScriptedAnswer:
    lines = f'Bearer realm="https://auth.{host}/token",service="s"'
    return ScriptedAnswer(401, {"WWW-Authenticate": f'{lines},scope="{scope}"' if scope else lines})


def token(value: str) -> ScriptedAnswer:
    return ScriptedAnswer(body=json.dumps({"token": value, "expires_in": 300}).encode())


def moved(url: str) -> ScriptedAnswer:
    return ScriptedAnswer(307, {"Location": url})


# Logins


async def test_a_registry_that_has_asked_once_gets_the_login_at_once(world: World) -> None:
    here = f"{URL}/v2/{NAME}/{BLOB}"
    assert (await world.send(LOGIN_WANTED, OK)).response.status == 200
    assert world.sent == [(here, None), (here, LOGIN.basic)]
    assert (await world.send(OK)).response.status == 200
    assert world.sent == [(here, LOGIN.basic)]
    assert world.transport.requests[0].headers["Accept"] == "x/y"


async def test_what_a_refused_login_gets_is_a_warning_until_one_is_taken(world: World) -> None:
    with pytest.raises(UpstreamDenied, match="401 to a fresh login"):
        await world.send(LOGIN_WANTED, LOGIN_WANTED)
    assert list(world.warnings) == ["login.r"]
    world.credentials = Credentials("ann", "corrected")
    await world.send(OK)
    assert world.warnings == {}


async def test_an_answer_to_nobody_says_nothing_of_the_login(world: World) -> None:
    with pytest.raises(UpstreamDenied):
        await world.send(LOGIN_WANTED, LOGIN_WANTED)
    world.credentials = None
    await world.send(OK)
    assert list(world.warnings) == ["login.r"]


async def test_a_registry_that_always_asks_for_more_is_asked_a_few_times(world: World) -> None:
    answers = []
    for number in range(6):
        answers += [token_wanted(f"repository:{number}:pull"), token(f"t{number}")]
    with pytest.raises(UpstreamDenied, match="401 to every login") as raised:
        await world.send(*answers)
    assert raised.value.context.status == 401
    assert [value for url, value in world.sent if url.startswith(URL)] == [
        None,
        *(f"Bearer t{number}" for number in range(5)),
    ]


async def test_a_token_that_is_no_longer_good_is_renewed(world: World) -> None:
    await world.send(token_wanted(), token("old"), OK)
    await world.send(token_wanted(), token("new"), OK)
    assert [value for url, value in world.sent if url.startswith(URL)] == [
        "Bearer old",
        "Bearer new",
    ]


# Redirects


async def test_a_registry_elsewhere_gets_a_token_of_its_own(world: World) -> None:
    answer = await world.send(
        moved(OTHER), token_wanted(host="other.example"), token("theirs"), moved(OTHER), OK
    )
    assert (answer.response.status, answer.at) == (200, FailedAt.REDIRECT)
    assert [value for url, value in world.sent if url == OTHER] == [None, "Bearer theirs"]
    # The login is nobody's business there, nor at its token server.
    assert LOGIN.basic not in {value for _, value in world.sent}


async def test_what_storage_denies_is_the_answer(world: World) -> None:
    answer = await world.send(moved(STORAGE), ScriptedAnswer(401))
    assert (answer.response.status, answer.at) == (401, FailedAt.REDIRECT)
    assert len(world.sent) == 2
    with pytest.raises(UpstreamFailure, match=r"storage\.example, which r redirects to") as raised:
        world.requests.check(answer, HTTPStatus.OK)
    assert raised.value.context.at is FailedAt.REDIRECT


# Time


async def test_an_answer_that_nobody_can_wait_for_is_a_failure(world: World) -> None:
    requests = world.with_limits(timeout=0.01)
    with pytest.raises(UpstreamUnavailable, match=r"within 0\.01 s$") as raised:
        async with requests.deadline():
            await asyncio.Event().wait()
    assert raised.value.context.phase is Phase.WAIT


async def test_a_late_answer_is_awaited_with_reminders(world: World) -> None:
    requests = world.with_limits(timeout=30, silence=0.01)
    reminders: list[UpstreamFailure] = []
    enough = asyncio.Event()

    def remind(failure: UpstreamFailure) -> None:
        reminders.append(failure)
        if len(reminders) == 3:
            enough.set()

    async with requests.deadline(remind):
        await enough.wait()
    count = len(reminders)
    assert "within 0.01 s; it is still awaited, so try again" in reminders[0].message
    # Several periods of silence later there has been no other one.
    await asyncio.sleep(0.05)
    assert len(reminders) == count


async def test_also_a_late_answer_has_an_end(world: World) -> None:
    requests = world.with_limits(timeout=0.01)
    reminders: list[UpstreamFailure] = []
    with pytest.raises(UpstreamUnavailable, match=r"within 0\.1 s$"):
        async with requests.deadline(reminders.append):
            await asyncio.Event().wait()
    assert reminders


async def test_a_failure_of_the_block_is_its_own(world: World) -> None:
    for late in (None, lambda _failure: None):
        with pytest.raises(KeyError):
            async with world.requests.deadline(late):
                raise KeyError
