"""A client for tests of many requests: quick, and exact about what it lost.

It knows HTTP as far as the proxy speaks it: every answer has a length, or no body.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_BODILESS: Final = {204, 304}
_LIMIT: Final = 2**20


class NotBegunError(Exception):
    """The connection ended, or was refused, before the first byte of an answer."""


class LostError(Exception):
    """The connection ended in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; the headers' names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_last(self) -> bool:
        """Whether the server said that it closes the connection."""
        return self.headers.get("connection", "").lower() == "close"


class Connection:
    """One connection of one client; it is made with the first request."""

    def __init__(self, port: int, *, source: str | None = None, address: str = LOOPBACK) -> None:
        """`port` is on `address`; `source` is the address that the client has."""
        self._address = address
        self._port = port
        self._source = None if source is None else (source, 0)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def own_port(self) -> int:
        """This end's."""
        assert self._streams is not None
        port: int = self._streams[1].get_extra_info("sockname")[1]
        return port

    async def open(self) -> None:
        """Connect, if that has not been done."""
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection(
                    self._address, self._port, limit=_LIMIT, local_addr=self._source
                )
            except OSError as error:
                raise NotBegunError from error

    async def get(self, path: str, accept: str | None = None) -> Answer:
        """The whole answer; LostError or NotBegunError if there is none."""
        reader = await self._asked(path, accept)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            begun = isinstance(error, asyncio.IncompleteReadError) and error.partial
            raise (LostError if begun else NotBegunError) from error
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        status = int(first.split(" ")[1])
        length = 0 if status in _BODILESS else int(headers["content-length"])
        try:
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise LostError from error
        answer = Answer(status, headers, body)
        if answer.is_last:
            await self.close()
        return answer

    async def close(self) -> None:
        """Close the connection; the next request makes another one."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _asked(self, path: str, accept: str | None) -> asyncio.StreamReader:
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        accepted = f"Accept: {accept}\r\n" if accept is not None else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._address}\r\n{accepted}\r\n".encode())
        return reader


async def get(
    port: int, path: str, accept: str | None = None, *, source: str | None = None
) -> Answer:
    """One answer over a connection of its own."""
    async with Connection(port, source=source) as connection:
        return await connection.get(path, accept)
