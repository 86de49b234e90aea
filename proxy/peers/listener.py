"""The listener for peers: it authenticates other replicas, and answers in frames."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from proxy.errors import RegistryError, RequestInvalid, StoreError
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.peers.answers import Draining, NotStored, SeeOther, Value, frame_of_error
from proxy.peers.client import BODY, NONCE, SENDER, SIGNATURE, TIME
from proxy.peers.frame_writer import SEND_TIMEOUT, FrameWriter
from proxy.peers.frames import Frame, Kind, encode_data
from proxy.peers.questions import PATH, Effort, Question, Subject
from proxy.peers.readers import Readers
from proxy.peers.replicas import acting_for
from proxy.peers.signing import ReplayWindow, Signed
from proxy.telemetry import trace

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from proxy.kit.bandwidth import Bandwidth
    from proxy.kit.clock import Clock
    from proxy.peers.answers import Content
    from proxy.peers.replicas import Replicas
    from proxy.peers.signing import Signer

    _Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = structlog.get_logger()

# Questions that are answered at once, and connections, those that have asked nothing yet included.
_QUESTIONS: Final = 1024
_CONNECTIONS: Final = 2048
_BACKLOG: Final = 256
# A manifest has at most 4 MiB, and its origin is much smaller.
_MAX_BODY: Final = 8 * 2**20
# How long answers that are cut may take to end, in seconds.
_CUT_WITHIN: Final = 0.2


class PeerListener:
    """Answers other replicas."""

    def __init__(
        self,
        content: Content,
        replicas: Replicas,
        signer: Signer,
        *,
        version: str,
        fan_out: int,
        bandwidth: Bandwidth,
        tls: ssl.SSLContext | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._content = content
        self._replicas = replicas
        self._signer = signer
        self._version = version
        self._readers = Readers(fan_out)
        self._bandwidth = bandwidth
        self._tls = tls
        self._clock = clock
        self._window = ReplayWindow()
        # The connections with a question.
        self._busy: set[web.RequestHandler] = set()
        self.draining = False

    @property
    def busy(self) -> int:
        """The number of questions that are being answered."""
        return len(self._busy)

    @asynccontextmanager
    async def listening(self, host: str, port: int, *, reuse_port: bool) -> AsyncIterator[int]:
        """Listen while the block runs; yields the port. OSError if that is impossible."""
        server = _Server(self._handle, self._busy)
        runner = web.ServerRunner(server, shutdown_timeout=_CUT_WITHIN)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner,
                host,
                port,
                backlog=_BACKLOG,
                reuse_port=reuse_port,
                ssl_context=self._tls,
            )
            await site.start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        trace.begin()
        if not request.raw_path.startswith(PATH):
            return web.Response(status=HTTPStatus.NOT_FOUND)
        if (refusal := self._verify(request)) is not None:
            _log.warning("peer.refused", peer=request.remote, reason=refusal)
            return web.Response(status=HTTPStatus.UNAUTHORIZED, text=f"{refusal}\n")
        if len(self._busy) >= _QUESTIONS:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            question = Question.decode(request.raw_path)
        except RequestInvalid as error:
            return web.Response(status=HTTPStatus.NOT_FOUND, text=f"{error}\n")
        self._busy.add(request.protocol)
        try:
            body = await _read_body(request)
            if body is None:
                return web.Response(status=HTTPStatus.BAD_REQUEST)
            return await self._answer(request, question, body)
        finally:
            self._busy.discard(request.protocol)

    def _verify(self, request: web.BaseRequest) -> str | None:
        """Return why the request is refused; None if a holder of the secret asks this replica."""
        headers = request.headers
        signed = Signed(
            method=request.method,
            sender=headers.get(SENDER, ""),
            receiver=headers.get("Host", ""),
            target=request.raw_path,
            body=headers.get(BODY, ""),
            time=headers.get(TIME, ""),
            nonce=headers.get(NONCE, ""),
        )
        if not self._signer.verifies(signed, headers.get(SIGNATURE, "")):
            return "its signature is wrong"
        if signed.receiver not in {self._replicas.membership.own, _local_address(request)}:
            return "it is for another replica"
        if not self._window.admit(signed.nonce, float(signed.time), self._clock.wall()):
            return "it is old, or has been here before"
        self._replicas.hear(signed.sender)
        return None

    async def _answer(
        self, request: web.BaseRequest, question: Question, body: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        sender = request.headers[SENDER]
        seal = self._signer.seal(request.headers[NONCE])
        count = partial(self._replicas.count_sent, sender)
        writer = FrameWriter(response, seal, count, self._clock)
        acting_for.set(None if question.effort is Effort.FOLLOW else question.key)
        try:
            async with asyncio.TaskGroup() as group:
                heart = group.create_task(writer.beat())
                try:
                    await self._send(writer, question, body, sender)
                finally:
                    heart.cancel()
            await response.write_eof()
        except* (OSError, TimeoutError):
            # The peer has gone, or reads nothing.
            _abort(request)
        return response

    async def _send(
        self, writer: FrameWriter, question: Question, body: bytes, sender: str
    ) -> None:
        """Send the answer; an error after the first bytes is one more frame."""
        try:
            if question.subject is Subject.HEALTH:
                about = {
                    "version": self._version,
                    "draining": self.draining,
                    "name": self._replicas.name,
                    "zone": self._replicas.zone,
                    "news": await self._replicas.news.news(question.query),
                }
                await writer.send(Value(about).frame())
            elif self.draining and question.effort in {Effort.OWNER, Effort.FOLLOW}:
                await writer.send(frame_of_error(Draining()))
            elif question.subject is Subject.BLOB:
                await self._send_blob(writer, question, sender)
            elif body:
                await writer.send((await self._content.store(question, body)).frame())
            else:
                await writer.send((await self._content.value(question)).frame())
        except (RegistryError, NotStored, SeeOther) as error:
            await writer.send(frame_of_error(error))
        except StoreError:
            await writer.send(frame_of_error(NotStored()))

    async def _send_blob(self, writer: FrameWriter, question: Question, sender: str) -> None:
        if question.effort is Effort.OWNER:
            self._replicas.note_begun(sender, question)
        # Of another zone only the first asks: so a blob crosses to each zone once.
        crowd = f"{question.key} {self._replicas.membership.zone_of(sender)}"
        if not question.direct and question.effort in {Effort.OWNER, Effort.FOLLOW}:
            other = self._readers.another(crowd, sender)
            if other is not None:
                raise SeeOther(other)
        with self._readers.reading(crowd, sender):
            await self._stream_blob(writer, question)

    async def _stream_blob(self, writer: FrameWriter, question: Question) -> None:
        async with self._content.stream(question) as stream:
            await writer.send(Frame.of_extent(stream.start, stream.total))
            async for chunk in stream.chunks():
                await self._bandwidth.spend(len(chunk))
                await writer.write(encode_data(chunk))
            await writer.send(Frame(Kind.END))
            self._replicas.handover.remove(question.key)


class _Server(web.Server):
    """Bounds the connections: the oldest one without a question makes room for a new one."""

    def __init__(self, handler: _Handler, busy: Collection[web.RequestHandler]) -> None:
        """`busy` are the connections with a question."""
        super().__init__(handler)
        self._busy = busy

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Admit the connection, or close it if all others are in use."""
        super().connection_made(handler, transport)
        if len(self.connections) <= _CONNECTIONS:
            return
        idle = next((one for one in self.connections if one not in self._busy), handler)
        idle.force_close()


def _local_address(request: web.BaseRequest) -> str:
    """Where the request has arrived, as `HOST:PORT`."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    if not isinstance(name, tuple):
        return ""
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{host}:{name[1]}"


async def _read_body(request: web.BaseRequest) -> bytes | None:
    """The body, if it is what was signed; b"" for none."""
    signed = request.headers.get(BODY, "")
    body = bytearray()
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            async for chunk in request.content.iter_any():
                body += chunk
                if not signed or len(body) > _MAX_BODY:
                    return None
    except (OSError, TimeoutError):
        return None
    return bytes(body) if (hashlib.sha256(body).hexdigest() if body else "") == signed else None


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
