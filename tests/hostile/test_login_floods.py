"""Hundreds of wrong logins: others are served, and a right login is checked before the guesses.

How much slower others are is measured by `make siege`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from proxy.access import htpasswd
from tests.hostile import bystander
from tests.kit.access import basic
from tests.kit.access import htpasswd as write_users
from tests.kit.proxy import Proxy, settings, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

FLOOD: Final = 200
ADDRESSES: Final = 20
HONEST: Final = ("ann", "anchor")


class Hashes:
    """Every hash that was computed, by its password."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.computed: list[str] = []
        self._most, self._running = 0, 0
        self._compare = htpasswd.matches
        monkeypatch.setattr(htpasswd, "matches", self._matches)

    @property
    def most_at_once(self) -> int:
        return self._most

    def _matches(self, hashed: str, password: str) -> bool:
        self._running += 1
        self._most = max(self._most, self._running)
        self.computed.append(password)
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
    users = write_users(tmp_path / "htpasswd", {HONEST[0]: HONEST[1]}, rounds=8)
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


async def test_an_unknown_user_costs_a_hash_as_a_known_one_does(
    proxy: Proxy, hashes: Hashes
) -> None:
    for user in (HONEST[0], "nobody"):
        assert await log_in(proxy, user, "wrong", at=1) == 401
    assert hashes.computed == ["wrong", "wrong"]
