"""Tokens that processes share: who asks, who takes, and what is never taken for a token."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.kit.singleflight import SingleFlight
from proxy.stores.disk.leases import FlockLeases
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.token_board import TokenBoard
from proxy.upstream.auth.tokens import Grant, Token, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GRANT = Grant("http://127.0.0.1/token", "service", "repository:a:pull", None)
KEY = bytes(range(32))


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = os.memfd_create("test")
    yield descriptor
    os.close(descriptor)


class _Issuer:
    """A token server: slow enough to be asked twice, and every token is another one."""

    def __init__(self, lifetime: float = 300.0) -> None:
        self.issued: list[str] = []
        self.fails = False
        self._lifetime = lifetime

    async def ask(self, grant: Grant) -> Token:
        await asyncio.sleep(0.02)
        if self.fails:
            raise UpstreamUnavailable("no token")
        self.issued.append(f"{grant.scope}-{len(self.issued)}")
        return Token(self.issued[-1], self._lifetime)


def process(issuer: _Issuer, memory: int, leases: Path, name: str = "r") -> Tokens:
    """What one process has of its own: its view of the memory, and of the leases."""
    flights = SingleFlight(FlockLeases(leases))
    return Tokens(issuer.ask, registry=name, flights=flights, board=TokenBoard(memory))


async def test_one_process_asks_for_all(memory: int, tmp_path: Path) -> None:
    issuer = _Issuer()
    processes = [process(issuer, memory, tmp_path) for _ in range(4)]
    tokens = await asyncio.gather(*(each.fetch(GRANT) for each in processes))
    assert set(tokens) == set(issuer.issued)
    assert len(issuer.issued) == 1
    shared = TokenBoard(memory).get(GRANT.key("r"))
    assert shared is not None
    assert 299 < shared.lifetime <= 300


async def test_who_comes_back_gets_another_one(memory: int, tmp_path: Path) -> None:
    """A token that was refused is in nobody's way, and its successor is shared, too."""
    issuer = _Issuer()
    one, other = (process(issuer, memory, tmp_path) for _ in range(2))
    first = await one.fetch(GRANT)
    assert (await other.fetch(GRANT)) == first
    second = await one.fetch(GRANT)
    assert second != first
    assert (await other.fetch(GRANT)) == second
    assert len(issuer.issued) == 2


async def test_a_token_is_for_one_grant_one_login_and_one_registry(
    memory: int, tmp_path: Path
) -> None:
    issuer = _Issuer()
    await process(issuer, memory, tmp_path).fetch(GRANT)
    for grant in (
        Grant(GRANT.realm, GRANT.service, "repository:b:pull", None),
        Grant("http://127.0.0.2/token", GRANT.service, GRANT.scope, None),
        Grant(GRANT.realm, None, GRANT.scope, None),
        Grant(GRANT.realm, GRANT.service, GRANT.scope, Credentials("somebody", "x")),
    ):
        await process(issuer, memory, tmp_path).fetch(grant)
    await process(issuer, memory, tmp_path, name="another").fetch(GRANT)
    assert len(issuer.issued) == 6


async def test_a_failure_is_not_shared(memory: int, tmp_path: Path) -> None:
    issuer = _Issuer()
    issuer.fails = True
    one, other = (process(issuer, memory, tmp_path) for _ in range(2))
    with pytest.raises(UpstreamUnavailable):
        await one.fetch(GRANT)
    issuer.fails = False
    assert (await other.fetch(GRANT)) == issuer.issued[0]
    assert (await one.fetch(GRANT)) == issuer.issued[0]


async def test_what_ends_soon_is_not_taken(memory: int, tmp_path: Path) -> None:
    issuer = _Issuer(lifetime=9.0)
    for _ in range(2):
        await process(issuer, memory, tmp_path).fetch(GRANT)
    assert len(issuer.issued) == 2


async def test_without_leases_each_process_asks(memory: int, tmp_path: Path) -> None:
    issuer = _Issuer()
    one = process(issuer, memory, tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert (await one.fetch(GRANT)) == issuer.issued[0]


def test_what_is_half_written_is_no_token(memory: int) -> None:
    board = TokenBoard(memory)
    board.put(KEY, Token("t" * 100, 300.0))
    assert board.get(KEY) is not None
    size = os.fstat(memory).st_size
    content = os.pread(memory, size, 0)
    at = content.index(b"t" * 100)
    os.pwrite(memory, b"x", at + 99)
    assert board.get(KEY) is None


def test_a_place_is_taken_by_another_key(memory: int) -> None:
    board, other = TokenBoard(memory), KEY[:4] + bytes(28)
    board.put(KEY, Token("first", 300.0))
    board.put(other, Token("second", 300.0))
    assert board.get(KEY) is None
    assert (found := board.get(other)) is not None
    assert found.value == "second"
    board.put(KEY, Token("x" * 20_000, 300.0))
    assert board.get(other) is not None, "what is too long takes nobody's place"
    assert board.get(bytes(32)) is None


def test_nothing_is_in_new_memory(memory: int) -> None:
    assert TokenBoard(memory).get(bytes(32)) is None
