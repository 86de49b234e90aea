"""Finding the replicas: by DNS, or by a list. Either may contain this replica itself."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import structlog
from aiohttp import ThreadedResolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiohttp.abc import AbstractResolver

    from proxy.peers.replicas import Replicas

_log = structlog.get_logger()

_DNS: Final = "dns:"
# DNS that takes longer counts as failed, in seconds: nothing waits for it but a start.
_RESOLVE_WITHIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where replicas are: a name or an address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`HOST:PORT`, or `dns:NAME:PORT` for a name of many; ValueError if neither."""
        host, colon, port = text.removeprefix(_DNS).rpartition(":")
        if not host or not colon or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ValueError(f"{text!r} is neither dns:NAME:PORT nor HOST:PORT")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Discovery:
    """Looks for the replicas now and then. While DNS fails, those that were found last remain."""

    def __init__(
        self,
        replicas: Replicas,
        places: Sequence[Place],
        *,
        port: int,
        advertise: Place | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`port` is that of our listener; `advertise`, where others reach it.

        Without it, the place with our port whose address this machine has is our own. Needs a
        running loop.
        """
        self._replicas = replicas
        self._places = tuple(places)
        self._port = port
        self._advertise = advertise
        self._resolver = resolver or ThreadedResolver()
        self.warning: str | None = None

    async def look(self) -> None:
        """Find the replicas that there are now."""
        found: dict[str, Place] = {}
        failed: list[str] = []
        for place in self._places:
            try:
                found |= {str(each): each for each in await self._resolve(place)}
            except OSError:
                failed.append(place.host)
        self.warning = f"there is no address for {', '.join(failed)}" if failed else None
        if found or not failed:
            self._replicas.discover(found, await self._find_own(found.values()))

    async def _resolve(self, place: Place) -> list[Place]:
        async with asyncio.timeout(_RESOLVE_WITHIN):
            answers = await self._resolver.resolve(place.host, place.port, socket.AF_UNSPEC)
        return [Place(answer["host"], place.port) for answer in answers]

    async def _find_own(self, found: Iterable[Place]) -> str | None:
        if self._advertise is not None:
            return str((await self._resolve(self._advertise))[0])
        own = (place for place in found if place.port == self._port and _is_local(place.host))
        return next(map(str, own), None)


def _is_local(host: str) -> bool:
    """Whether this machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EINVAL}:
                _log.warning("peer.own_address_unknown", host=host, error=str(error))
            return False
    return True
