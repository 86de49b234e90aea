"""Commands that are issued in one turn of the loop, sent together: one exchange with the server.

A pipeline costs hardly more than a command, and a pull has several questions at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

Command: TypeAlias = tuple[bytes | str | int, ...]


class _NotSentError(Exception):
    """The caller that was to send the commands of others was cancelled."""


@dataclass(frozen=True, slots=True)
class _Follower:
    command: Command
    reply: asyncio.Future[object]


class Exchanges:
    """Executes commands on one server. The first caller of a turn sends those of the others."""

    def __init__(self, client: Redis) -> None:
        """`client` must not retry."""
        self._client = client
        self._followers: list[_Follower] | None = None

    async def execute(self, command: Command) -> object:
        """The server's reply; raises its error, or what the connection failed with."""
        while self._followers is not None:
            follower = _Follower(command, asyncio.get_running_loop().create_future())
            self._followers.append(follower)
            try:
                return await follower.reply
            except _NotSentError:
                continue
        return await self._lead(command)

    async def _lead(self, command: Command) -> object:
        followers: list[_Follower] = []
        self._followers = followers
        failure: Exception = _NotSentError()
        try:
            try:
                await asyncio.sleep(0)
            finally:
                self._followers = None
            own, *others = await self._send([command, *(each.command for each in followers)])
            for follower, reply in zip(followers, others, strict=True):
                _settle(follower.reply, reply)
        except Exception as error:
            failure = error
            raise
        finally:
            for follower in followers:
                _settle(follower.reply, failure)
        if isinstance(own, Exception):
            raise own
        return own

    async def _send(self, commands: Sequence[Command]) -> Sequence[object]:
        """Each command's reply, or the error that the server answered."""
        if len(commands) == 1:
            return [await self._client.execute_command(*commands[0])]  # type: ignore[no-untyped-call]  # it has none
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[object] = await pipeline.execute(raise_on_error=False)
        return replies


def _settle(future: asyncio.Future[object], reply: object) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)
