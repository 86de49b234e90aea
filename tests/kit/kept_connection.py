"""One connection of a client that sends exactly these bytes, and reads one answer after another."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_SOON: Final = 60.0
_LENGTH: Final = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
# What is another one in each answer.
_PASSING: Final = re.compile(rb"\r\n(Date|X-Request-Id): [^\r\n]*", re.IGNORECASE)


def get(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """The head of a request."""
    head = (f"{method} {path} HTTP/{version}", "Host: localhost", *lines, "", "")
    return "\r\n".join(head).encode("latin-1")


def lasting(answers: bytes) -> bytes:
    """Answers without what is another one each time."""
    return _PASSING.sub(b"", answers)


class KeptConnection:
    """A connection, until it is left."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.close()

    async def ask(self, *packets: bytes, head_only: bool = False) -> bytes:
        """Send the packets, each of them by itself, and read one answer."""
        for number, packet in enumerate(packets):
            if number:
                # The server reads what was sent before.
                await asyncio.sleep(0.02)
            self.writer.write(packet)
            await self.writer.drain()
        return await self.read(head_only=head_only)

    async def read(self, *, head_only: bool = False) -> bytes:
        """The next answer."""
        async with asyncio.timeout(_SOON):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if head_only or length is None:
                return head
            return head + await self.reader.readexactly(int(length[1]))

    async def rest(self) -> bytes:
        """All until the server closes."""
        return await asyncio.wait_for(self.reader.read(), _SOON)
