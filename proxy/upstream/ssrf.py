"""Which addresses an upstream may send us to: none nearer to this host than its own.

A redirect or a realm of a public registry that leads into the cluster, or to the metadata service
of a cloud, is an attack by the party that runs or has compromised it (CVE-2026-33540).
"""

from __future__ import annotations

import socket
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Collection

# RFC 6052: such an address is the IPv4 address in its last four bytes, behind a translator.
_NAT64: Final = IPv6Network("64:ff9b::/96")
# RFC 8215 (the same behind a translator of a network's own), and RFC 2765 (IPv4-translated).
_TRANSLATED: Final = (IPv6Network("64:ff9b:1::/48"), IPv6Network("::ffff:0:0:0/96"))
# Addresses that Python calls public or private, and where clouds serve what their hosts may know:
# Azure's WireServer, and the metadata service of AWS by IPv6.
_CLOUD: Final = (IPv4Network("168.63.129.16/32"), IPv6Network("fd00:ec2::254/128"))
# RFC 3879: deprecated, and still routed within some sites.
_SITE_LOCAL: Final = IPv6Network("fec0::/10")
_IPV4_MASK: Final = 0xFFFF_FFFF


class Nearness(IntEnum):
    """How close an address is. Fewer hosts reach a nearer one, so it is often protected less."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    # Cloud metadata services are here, and no server that a registry has to redirect to.
    LINK_LOCAL = 3


class AddressRefusedError(OSError):
    """An address that is nearer than the registry. An OSError, as resolvers have to raise."""


class Guard(AbstractResolver):
    """Resolves names, and refuses addresses nearer than the registry at `home`.

    `home` itself and the `trusted` hosts, which the operator named, may be anywhere, and so may an
    HTTP proxy. Which address that proxy connects to cannot be known: it resolves names itself,
    perhaps by another DNS. We resolve them too, and refuse names whose addresses we see to be
    nearer than the registry. Names that we cannot resolve are left to the proxy and its rules.
    """

    def __init__(self, home: str, trusted: Collection[str] = (), *, proxy: str = "") -> None:
        """Needs a running loop. `proxy` is the HTTP proxy's host."""
        self._home = _canonical(home)
        self._trusted = {self._home, *map(_canonical, trusted)}
        self._dialled = self._trusted | ({_canonical(proxy)} if proxy else set())
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host` that may be dialled; AddressRefusedError if none may."""
        found = await self._resolver.resolve(host, port, family)
        if _canonical(host) in self._dialled:
            return found
        limit = await self._limit()
        admitted = [result for result in found if nearness(result["host"]) <= limit]
        if not admitted:
            raise AddressRefusedError(host)
        return admitted

    async def admit(self, host: str) -> None:
        """Raise AddressRefusedError if `host` is an address that must not be dialled.

        Resolvers are not asked about those. A URL at the HTTP proxy itself, for which `resolve`
        makes an exception, is checked as any other.
        """
        if _canonical(host) in self._dialled - self._trusted:
            await self.admit_through_proxy(host)
            return
        literal = _literal(host)
        if literal is None or _canonical(host) in self._trusted:
            return
        if nearness(literal) > await self._limit():
            raise AddressRefusedError(host)

    async def admit_through_proxy(self, host: str) -> None:
        """Raise AddressRefusedError if one address of `host`, as we resolve it, is too near.

        One is enough, because the HTTP proxy chooses among them.
        """
        if _canonical(host) in self._trusted:
            return
        found = [literal] if (literal := _literal(host)) else await self._look_up(host)
        if found:
            home = (
                [literal] if (literal := _literal(self._home)) else await self._look_up(self._home)
            )
            limit = min(map(nearness, home), default=Nearness.PUBLIC)
            if any(nearness(address) > limit for address in found):
                raise AddressRefusedError(host)

    async def close(self) -> None:
        """Close the resolver."""
        await self._resolver.close()

    async def _limit(self) -> Nearness:
        """Return the nearness of the registry's farthest address: one near one is not enough."""
        literal = _literal(self._home)
        if literal is not None:
            return nearness(literal)
        found = await self._resolver.resolve(self._home, 0, socket.AF_UNSPEC)
        return min(nearness(result["host"]) for result in found)

    async def _look_up(self, host: str) -> list[str]:
        """Return the addresses of `host`; none if it cannot be resolved here."""
        try:
            found = await self._resolver.resolve(host, 0, socket.AF_UNSPEC)
        except OSError:
            return []
        return [result["host"] for result in found]


def nearness(address: str) -> Nearness:
    """Return how near an address is; an IPv4 address inside an IPv6 one counts as itself.

    One that a translator of the network's own would reach is private at least.
    """
    outer = ip_address(address)
    if isinstance(outer, IPv6Address) and any(outer in each for each in _TRANSLATED):
        return max(Nearness.PRIVATE, nearness(str(IPv4Address(int(outer) & _IPV4_MASK))))
    parsed = _unwrap(outer)
    if parsed.is_link_local or parsed.is_multicast or any(parsed in each for each in _CLOUD):
        return Nearness.LINK_LOCAL
    if parsed.is_loopback or parsed.is_unspecified:
        return Nearness.LOOPBACK
    is_public = parsed.is_global and parsed not in _SITE_LOCAL
    return Nearness.PUBLIC if is_public else Nearness.PRIVATE


def _unwrap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & _IPV4_MASK)
    return address.ipv4_mapped or address.sixtofour or address


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(_canonical(host)))
    except ValueError:
        return None


def _canonical(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
