"""A transport whose answers a test scripts, in place of connections."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from multidict import CIMultiDict

from proxy.upstream.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractResolver
    from yarl import URL


@dataclass(slots=True)
class ScriptedAnswer:
    """One answer, or the `error` in place of it; `failure` comes after the body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: Exception | None = None
    failure: Exception | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class SentRequest:
    method: str
    url: URL
    headers: dict[str, str]
    body: bytes | None


class ScriptedResponse:
    """As much of aiohttp.ClientResponse as the upstream uses."""

    def __init__(self, answer: ScriptedAnswer) -> None:
        self.status = answer.status
        self.headers = CIMultiDict(answer.headers)
        loop = asyncio.get_running_loop()
        self.content = aiohttp.StreamReader(BaseProtocol(loop), 2**20, loop=loop)
        if answer.body:
            self.content.feed_data(answer.body)
        if answer.failure is not None:
            self.content.set_exception(answer.failure)
        else:
            self.content.feed_eof()

    # As of a body that was received with its head.
    connection = None

    def close(self) -> None:
        """Nothing is connected."""

    @property
    def content_length(self) -> int | None:
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is connected."""


class ScriptedSession:
    """As much of aiohttp.ClientSession as the upstream uses."""

    def __init__(self, answers: deque[ScriptedAnswer], requests: list[SentRequest]) -> None:
        self._answers = answers
        self._requests = requests

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        **_: Any,
    ) -> ScriptedResponse:
        self._requests.append(SentRequest(method, url, dict(headers), data))
        answer = self._answers.popleft()
        if answer.silent:
            await asyncio.Event().wait()
        if answer.error is not None:
            raise answer.error
        return ScriptedResponse(answer)

    async def close(self) -> None:
        """Nothing is connected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedTransport(Transport):
    """`answers` come in the order of the `requests`, to whatever server they go."""

    answers: deque[ScriptedAnswer] = field(default_factory=deque)
    requests: list[SentRequest] = field(default_factory=list)

    def open(self, resolver: AbstractResolver) -> aiohttp.ClientSession:
        del resolver
        return cast("aiohttp.ClientSession", ScriptedSession(self.answers, self.requests))
