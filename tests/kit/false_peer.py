"""A replica that is none of ours, or has gone wrong: it answers whatever a test says."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from proxy.peers.answers import Value
from proxy.peers.client import NONCE
from proxy.peers.questions import Question, Subject
from proxy.peers.signing import Signer
from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from proxy.peers.frames import Frame

SECRET: Final = b"a secret that all of them share"


@dataclass(frozen=True, slots=True)
class Script:
    """One answer: a status, and the frames that follow 200, sealed with `secret`.

    It begins after `late` seconds. With `stalls` it neither ends nor sends heartbeats. `replays`:
    the bytes of the answer before.
    """

    frames: Sequence[Frame] = ()
    status: int = 200
    secret: bytes = SECRET
    stalls: bool = False
    replays: bool = False
    late: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


class FalsePeer:
    """Health is answered as it should be; all else as `script` says, or by one that is silent."""

    def __init__(self, port: int) -> None:
        self.address = f"{LOOPBACK}:{port}"
        self.script = Script(stalls=True)
        self.asked: deque[Question] = deque()
        self._port = port
        self._before = b""
        self._runner = web.ServerRunner(
            web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.1
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        question = Question.decode(request.raw_path)
        script = self.script
        if question.subject is Subject.HEALTH:
            script = Script([Value({"news": []}).frame()])
        else:
            self.asked.append(question)
        await asyncio.sleep(script.late)
        if script.status != 200:
            return web.Response(status=script.status, headers=script.headers)
        response = web.StreamResponse()
        await response.prepare(request)
        seal = Signer(script.secret).seal(request.headers[NONCE])
        sent = b"".join(frame.encode(seal) for frame in script.frames)
        if script.replays:
            sent, self._before = self._before or sent, sent
        await response.write(sent)
        if script.stalls:
            await asyncio.sleep(60)
        await response.write_eof()
        return response
