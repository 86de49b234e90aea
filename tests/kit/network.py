"""The rest of the world, as a test wants it: names in a table, and this host behind all."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import aiohappyeyeballs
from aiohttp import DefaultResolver
from aiohttp.abc import ResolveResult

if TYPE_CHECKING:
    import pytest

PUBLIC: Final = "93.184.215.14"


class Network:
    """A stand-in for the resolver and the connector: `dialled` is what left this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[str]] = {}
        self.dialled: list[str] = []
        self._connect = aiohappyeyeballs.start_connection
        monkeypatch.setattr(DefaultResolver, "resolve", self._resolve)
        monkeypatch.setattr(aiohappyeyeballs, "start_connection", self._dial)

    async def _resolve(self, host: str, port: int, *_: object) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=6, flags=0
            )
            for address in self.names[host]
        ]

    async def _dial(
        self, addr_infos: list[aiohappyeyeballs.AddrInfoType], **rest: Any
    ) -> socket.socket:
        self.dialled += [str(info[4][0]) for info in addr_infos]
        port = int(addr_infos[0][4][1])
        here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        return await self._connect([here], **rest)
