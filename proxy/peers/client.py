"""Questions to one replica: a signed request, and the frames of the answer."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from proxy.kit.clock import SYSTEM_CLOCK
from proxy.peers.answers import Draining, Value, is_answer_to, read_error
from proxy.peers.frames import FrameInvalid, FrameReader, Kind
from proxy.peers.membership import Reason
from proxy.peers.questions import Effort
from proxy.peers.signing import Signed

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from proxy.kit.clock import Clock
    from proxy.peers.frames import Frame
    from proxy.peers.questions import Question
    from proxy.peers.signing import Signer

# Connections to one replica, each with one question. Above it questions wait for each other.
_CONNECTIONS: Final = 256
# A replica that is no owner may send heartbeats only for so many times `peers.timeout`.
_STALLED: Final = 3
BODY: Final = "Lighterage-Body"
SENDER: Final = "Lighterage-Replica"
TIME: Final = "Lighterage-Time"
NONCE: Final = "Lighterage-Nonce"
SIGNATURE: Final = "Lighterage-Signature"
_NONCE_BYTES: Final = 16


class PeerFailed(Exception):  # noqa: N818 -- as the domain's errors
    """The replica gave no answer that can be used; the next one in rank is asked instead."""

    def __init__(self, reason: Reason, message: str, *, lost: float = 0.0) -> None:
        """`message` is half a sentence; `lost` is how long nothing came, in seconds."""
        super().__init__(message)
        self.reason = reason
        self.lost = lost


class PeerClient:
    """Asks replicas. Connections are kept."""

    def __init__(
        self,
        signer: Signer,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`timeout` is how long a replica may be silent, in seconds. Needs a running loop.

        `own` is where other replicas reach this one, once that is known.
        """
        self.own: str | None = None
        # Counts bytes that have come from a replica.
        self.count: Callable[[str, int], None] = lambda _address, _size: None
        self._signer = signer
        self._timeout = timeout
        self._clock = clock
        self._scheme = "http" if tls is None else "https"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=_CONNECTIONS, ssl=True if tls is None else tls
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def ask(self, address: str, question: Question, body: bytes = b"") -> Value:
        """The answer to a question about anything but bytes; PeerFailed, or what was answered.

        `body` is for the replica to store.
        """
        async with self._open(address, question, body) as answer:
            try:
                return Value.read(await answer.next())
            except FrameInvalid as error:
                raise _lie(error) from None

    @asynccontextmanager
    async def stream(self, address: str, question: Question) -> AsyncIterator[PeerStream]:
        """The bytes of a blob, as soon as the replica knows its length; raises as `ask` does."""
        async with self._open(address, question) as answer:
            try:
                start, total = (await answer.next()).extent
            except FrameInvalid as error:
                raise _lie(error) from None
            yield PeerStream(answer, question, start, total)

    @asynccontextmanager
    async def _open(
        self, address: str, question: Question, body: bytes = b""
    ) -> AsyncIterator[_Answer]:
        target = question.encode()
        request = Signed(
            method="PUT" if body else "GET",
            sender=self.own or "",
            receiver=address,
            target=target,
            body=hashlib.sha256(body).hexdigest() if body else "",
            time=f"{self._clock.wall():.3f}",
            nonce=secrets.token_hex(_NONCE_BYTES),
        )
        headers = {
            SENDER: request.sender,
            BODY: request.body,
            TIME: request.time,
            NONCE: request.nonce,
            SIGNATURE: self._signer.sign(request),
        }
        began = self._clock.monotonic()
        try:
            # A replica sends its head at once, whatever it has to wait for.
            async with asyncio.timeout(self._timeout / 2):
                response = await self._session.request(
                    request.method,
                    URL(f"{self._scheme}://{address}{target}", encoded=True),
                    headers=headers,
                    data=body or None,
                    allow_redirects=False,
                )
        except TimeoutError:
            raise PeerFailed(Reason.SILENT, "it does not answer", lost=self._timeout / 2) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PeerFailed(Reason.REFUSED, f"{type(error).__name__}: {error}") from None
        async with response:
            if response.status != HTTPStatus.OK:
                is_known = response.status != HTTPStatus.NOT_FOUND
                raise PeerFailed(
                    Reason.REFUSED if is_known else Reason.FORMAT,
                    f"it answers {response.status}",
                )
            reader = FrameReader(self._signer.seal(request.nonce))
            count = partial(self.count, address)
            # The first sign of life is due within what is left of the time, the head included.
            waited = self._clock.monotonic() - began
            yield _Answer(question, response, reader, count, timeout=self._timeout, waited=waited)


class _Answer:
    """The frames of one answer, as they arrive."""

    def __init__(
        self,
        question: Question,
        response: aiohttp.ClientResponse,
        reader: FrameReader,
        count: Callable[[int], None],
        *,
        timeout: float,
        waited: float,
    ) -> None:
        """No sign of life may take longer than `timeout`.

        The head of the answer has taken `waited` seconds, which are part of the first timeout.
        """
        self._question = question
        self._response = response
        self._reader = reader
        self._count = count
        self._timeout = timeout
        is_owner = question.effort is not Effort.FOLLOW
        self._longest = None if is_owner else _STALLED * timeout
        self._waited = min(waited, timeout / 2)
        self._frames: deque[Frame] = deque()

    async def next(self) -> Frame:
        """The next frame that is no heartbeat; raises the error that a frame names."""
        try:
            async with asyncio.timeout(self._longest):
                return await self._next()
        except TimeoutError:
            raise PeerFailed(Reason.STALLED, "it sends heartbeats only") from None

    async def _next(self) -> Frame:
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if frame.kind is Kind.ERROR:
                    raise self._error_in(frame)
                if frame.kind is not Kind.HEARTBEAT:
                    return frame
            try:
                self._frames.extend(self._reader.feed(await self._receive()))
            except FrameInvalid as error:
                raise _lie(error) from None

    async def _receive(self) -> bytes:
        try:
            async with asyncio.timeout(self._timeout - self._waited):
                data = await self._response.content.readany()
        except TimeoutError:
            raise PeerFailed(Reason.SILENT, "it stopped sending", lost=self._timeout) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PeerFailed(Reason.REFUSED, f"{type(error).__name__}: {error}") from None
        if not data:
            raise PeerFailed(Reason.REFUSED, "its answer ends early")
        self._waited = 0.0
        self._count(len(data))
        return data

    def _error_in(self, frame: Frame) -> Exception:
        try:
            error = read_error(frame)
        except FrameInvalid as invalid:
            return _lie(invalid)
        if isinstance(error, Draining):
            return PeerFailed(Reason.DRAINING, "it is about to end")
        if not is_answer_to(self._question, error):
            return PeerFailed(Reason.LYING, f"it answers {type(error).__name__}")
        return error


class PeerStream:
    """A blob's bytes from a replica. Fits ports.BlobStream, but for its errors: PeerFailed."""

    # The replicas know the content by its digest only.
    validator: str | None = None

    def __init__(self, answer: _Answer, question: Question, start: int, total: int | None) -> None:
        """`start` and `total` are what the replica says. PeerFailed if nobody asked for that."""
        if question.start >= 0 and start != question.start:
            raise PeerFailed(Reason.LYING, "it sends another range")
        if total is None and question.start >= 0 and question.end is None:
            # It could go on for ever.
            raise PeerFailed(Reason.LYING, "it does not say how long the blob is")
        self._answer = answer
        # The offset after the last byte, if it is known.
        self._stop = total
        if question.end is not None:
            self._stop = question.end + 1 if total is None else min(question.end + 1, total)
        # How much of it has arrived at that replica, nobody knows before it has ended.
        self._may_end_early = question.effort is Effort.ARRIVED
        self.start = start
        self.total = total

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive; PeerFailed if there are fewer or more than it said."""
        offset = self.start
        while (frame := await self._answer.next()).kind is Kind.DATA:
            offset += len(frame.payload)
            if self._stop is not None and offset > self._stop:
                raise PeerFailed(Reason.LYING, "it sends more than it said")
            yield frame.payload
        if frame.kind is not Kind.END:
            raise PeerFailed(Reason.LYING, f"it sends a {frame.kind.name} in the middle")
        if self._stop is not None and offset < self._stop and not self._may_end_early:
            raise PeerFailed(Reason.LYING, "it sends less than it said")


def _lie(error: FrameInvalid) -> PeerFailed:
    return PeerFailed(Reason.LYING, f"its answer cannot be used: {error}")
