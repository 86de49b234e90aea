"""Commands of one turn share an exchange, and nothing else: each has its own end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import pytest
from redis.exceptions import ResponseError

from proxy.stores.redis.exchanges import Exchanges

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Client:
    """Replies with the command's key; `sent` has the keys of each exchange."""

    def __init__(self, *, failure: Exception | None = None) -> None:
        self.sent: list[list[str]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self._failure = failure
        self._commands: list[tuple[str, ...]] = []

    def pipeline(self, *, transaction: bool) -> Self:
        assert not transaction
        client = type(self)(failure=self._failure)
        client.sent, client.answers = self.sent, self.answers
        return client

    def execute_command(self, *command: str) -> Any:
        self._commands.append(command)
        return self._one(command)

    async def execute(self, *, raise_on_error: bool) -> list[object]:
        assert not raise_on_error
        return await self._exchange()

    def _one(self, command: tuple[str, ...]) -> Any:
        class Alone:
            def __await__(_self) -> Any:  # noqa: N805
                self._commands = [command]
                return self._first().__await__()

        return Alone()

    async def _first(self) -> object:
        (reply,) = await self._exchange()
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _exchange(self) -> list[object]:
        commands, self._commands = self._commands, []
        self.sent.append([command[1] for command in commands])
        await self.answers.wait()
        if self._failure is not None:
            raise self._failure
        return [
            ResponseError(key) if key.startswith("bad") else key.encode() for _, key in commands
        ]


def on(client: Client) -> Exchanges:
    fits: Redis = client  # type: ignore[assignment]
    return Exchanges(fits)


async def test_what_is_asked_in_one_turn_is_sent_together() -> None:
    client = Client()
    exchanges = on(client)
    replies = await asyncio.gather(*(exchanges.execute(("GET", key)) for key in "abc"))
    assert replies == [b"a", b"b", b"c"]
    assert await exchanges.execute(("GET", "d")) == b"d"
    assert client.sent == [["a", "b", "c"], ["d"]]


async def test_an_error_is_of_one_command() -> None:
    exchanges = on(Client())
    asked = (exchanges.execute(("GET", key)) for key in ("bad-first", "a", "bad", "b"))
    first, second, third, fourth = await asyncio.gather(*asked, return_exceptions=True)
    assert (second, fourth) == (b"a", b"b")
    assert (str(first), str(third)) == ("bad-first", "bad")
    assert isinstance(third, ResponseError)


async def test_a_broken_connection_fails_every_command_of_its_exchange_and_no_later_one() -> None:
    client = Client(failure=ConnectionResetError())
    exchanges = on(client)
    asked = (exchanges.execute(("GET", key)) for key in "ab")
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(error) for error in found] == [ConnectionResetError] * 2
    client._failure = None
    assert await exchanges.execute(("GET", "c")) == b"c"


@pytest.mark.parametrize("turns", [1, 3])
async def test_a_caller_that_leaves_takes_no_other_command_with_it(turns: int) -> None:
    client = Client()
    client.answers.clear()
    exchanges = on(client)
    first, second, third = (asyncio.ensure_future(exchanges.execute(("GET", key))) for key in "abc")
    for _ in range(turns):
        await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    await asyncio.wait({first, third})
    client.answers.set()
    assert await second == b"b"
