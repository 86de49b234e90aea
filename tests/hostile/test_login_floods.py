"""Hundreds of wrong logins: others are served, and a right login is checked before the guesses.

How much slower others are is measured by `make siege`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Final

import pytest

from proxy.access import htpasswd
from proxy.runtime.rlimits import raise_limit
from tests.hostile import bystander
from tests.hostile.attack import log_in as log_in_from
from tests.hostile.slow_readers import addresses
from tests.kit.access import basic
from tests.kit.access import htpasswd as write_users
from tests.kit.proxy import Proxy, settings, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

FLOOD: Final = 200
# More than the proxy lets wait.
MAX_WAITING: Final = 1024
GUESSES: Final = 1200
ADDRESSES: Final = 10
HONEST: Final = ("ann", "anchor")


class Hashes:
    """Every hash that was computed, by its password."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed: list[str] = []
        self._may_go_on = Event()
        self._may_go_on.set()
        self._most, self._running = 0, 0
        self._compare = htpasswd.matches
        monkeypatch.setattr(htpasswd, "matches", self._matches)

    @property
    def most_at_once(self) -> int:
        return self._most

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the hash that is being computed last as long as the block."""
        self._may_go_on.clear()
        try:
            yield
        finally:
            self._may_go_on.set()

    def _matches(self, hashed: str, password: str) -> bool:
        self._running += 1
        self._most = max(self._most, self._running)
        self.computed.append(password)
        self._may_go_on.wait()
        try:
            return self._compare(hashed, password)
        finally:
            self._running -= 1


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Hashes:
    return Hashes(monkeypatch)


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, data_dir: Path, tmp_path: Path) -> AsyncIterator[Proxy]:
    """Behind a load balancer, which names the clients' addresses."""
    users = write_users(tmp_path / "htpasswd", {HONEST[0]: HONEST[1]}, rounds=6)
    access = {
        "htpasswd_file": users,
        "allow_plain": True,
        "rules": [{"match": "docker.io/closed/*", "mode": "basic"}],
    }
    limits = {"trusted_proxies": ["127.0.0.1"]}
    async with Proxy(settings(upstream, data_dir, access=access, limits=limits)) as proxy:
        yield proxy


async def log_in(proxy: Proxy, user: str, password: str, *, at: int) -> int:
    """The status of `docker login`."""
    answer = await proxy.get(
        "/token?service=x", Authorization=basic(user, password), X_Forwarded_For=f"10.0.0.{at}"
    )
    if answer.status == 503:
        assert answer.code == "TOOMANYREQUESTS"
        assert "Retry-After" in answer.headers
    return answer.status


async def flood(proxy: Proxy) -> list[asyncio.Task[int]]:
    """Different wrong logins at once, of users that exist and of others, from some addresses."""
    return [
        asyncio.create_task(
            log_in(
                proxy,
                HONEST[0] if number % 3 else f"user{number}",
                f"guess{number}",
                at=number % ADDRESSES,
            )
        )
        for number in range(FLOOD)
    ]


async def test_a_right_login_is_checked_before_the_guesses(proxy: Proxy, hashes: Hashes) -> None:
    guesses = await flood(proxy)
    try:
        # By then each of the addresses has guessed wrong.
        await until(lambda: len(hashes.computed) > 2 * ADDRESSES)
        begun = len(hashes.computed)
        assert await log_in(proxy, *HONEST, at=99) == 200
        assert hashes.computed.index(HONEST[1]) <= begun + 2
        assert sum(guess.done() for guess in guesses) < FLOOD
        await bystander.pull(proxy)
    finally:
        for guess in guesses:
            guess.cancel()
        await asyncio.wait(guesses)
    assert hashes.most_at_once == 1


@pytest.mark.parametrize("count", [1, 64, 500])
async def test_a_right_login_finds_room_among_more_guesses_than_may_wait(
    proxy: Proxy, hashes: Hashes, count: int
) -> None:
    """From its own address, in another network; none has guessed wrong so far."""
    assert raise_limit() > 2 * (GUESSES + FLOOD)
    port, sources = proxy.address[1], addresses(count)
    guesses: list[asyncio.Task[int | None]] = []
    try:
        with hashes.held():
            for number in range(GUESSES):
                attempt = log_in_from(
                    port, sources[number % count], basic(f"user{number // count}", f"g{number}")
                )
                guesses.append(asyncio.create_task(attempt))
            waiting = min(MAX_WAITING, 32 * count)
            refused = GUESSES - waiting - 1
            await until(lambda: sum(guess.done() for guess in guesses) == refused)
            honest = asyncio.create_task(log_in_from(port, bystander.ADDRESS, basic(*HONEST)))
            # It takes the place of one guess, if all places are taken.
            refused += waiting == MAX_WAITING
            await until(lambda: sum(guess.done() for guess in guesses) == refused)
        assert await honest == 200
        networks = 1 + (count - 1) // 250
        assert hashes.computed.index(HONEST[1]) <= 1 + networks
        assert {guess.result() for guess in guesses if guess.done()} <= {401, 503}
    finally:
        for guess in guesses:
            guess.cancel()
        await asyncio.wait(guesses)
    assert hashes.most_at_once == 1


async def test_what_waits_of_one_address_is_bounded(proxy: Proxy, hashes: Hashes) -> None:
    statuses = await asyncio.gather(
        *(log_in(proxy, f"user{number}", "guess", at=1) for number in range(FLOOD))
    )
    assert set(statuses) == {401, 503}
    assert statuses.count(503) >= FLOOD - 2 * len(hashes.computed)
    assert len(hashes.computed) < FLOOD // 2


async def test_a_wrong_login_that_comes_again_and_again_is_hashed_once(
    proxy: Proxy, hashes: Hashes
) -> None:
    """As containerd sends one about twenty times a pull."""
    for _ in range(20):
        assert await log_in(proxy, HONEST[0], "wrong", at=1) == 401
    assert hashes.computed == ["wrong"]
    assert await log_in(proxy, *HONEST, at=1) == 200


async def test_a_login_that_comes_with_many_requests_at_once_is_hashed_once(
    proxy: Proxy, hashes: Hashes
) -> None:
    """As from a node whose login is new here, and that pulls many images."""
    statuses = await asyncio.gather(*(log_in(proxy, *HONEST, at=1) for _ in range(100)))
    assert set(statuses) == {200}
    assert hashes.computed == [HONEST[1]]


async def test_an_unknown_user_costs_a_hash_as_a_known_one_does(
    proxy: Proxy, hashes: Hashes
) -> None:
    for user in (HONEST[0], "nobody"):
        assert await log_in(proxy, user, "wrong", at=1) == 401
    assert hashes.computed == ["wrong", "wrong"]
