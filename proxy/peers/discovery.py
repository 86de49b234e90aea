"""Finding the replicas: by DNS, or by a list. Either may contain this replica itself."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address
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
        listen: Place,
        advertise: Place | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """`listen` is the place of our listener; `advertise`, where others reach it.

        Without it, the place with our port whose address this machine has is our own. Needs a
        running loop.
        """
        self._replicas = replicas
        self._places = tuple(places)
        self._listen = listen
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
        own = self._own_of(found.values())
        if self._advertise is not None:
            try:
                own = [str(each) for each in await self._resolve(self._advertise)]
            except OSError:
                failed.append(self._advertise.host)
                own = [] if self._replicas.own is None else [self._replicas.own]
        self.warning = f"there is no address for {', '.join(failed)}" if failed else None
        if len(own) > 1:
            self.warning = f"{', '.join(own)} are all this replica: others take it for several"
        if found or not failed:
            # A second address of this replica would be another replica to the others.
            self._replicas.discover(found.keys() - set(own[1:]), own[0] if own else None)

    async def _resolve(self, place: Place) -> list[Place]:
        async with asyncio.timeout(_RESOLVE_WITHIN):
            answers = await self._resolver.resolve(place.host, place.port, socket.AF_UNSPEC)
        hosts = [answer["host"] for answer in answers]
        # A replica with addresses of both families is one, and all call it the same.
        is_ipv6 = ":" in self._listen.host
        chosen = [host for host in hosts if (":" in host) is is_ipv6] or hosts
        return [Place(host, place.port) for host in chosen]

    def _own_of(self, found: Iterable[Place]) -> list[str]:
        """The places of this replica, the one first by which others know it."""
        own = [each for each in found if each.port == self._listen.port and _is_local(each.host)]
        if not _is_wildcard(self._listen.host):
            # The others with this port are those of other processes of this machine.
            own = [each for each in own if each == self._listen] or own[:1]
        return sorted(map(str, own))


def _is_wildcard(host: str) -> bool:
    """Whether a listener there has every address of this machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


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
