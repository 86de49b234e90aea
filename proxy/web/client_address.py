"""The client that a request comes from, as limits count it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Network

# One subscriber or host usually has a whole network of this length, and any address in it.
_IPV6_PREFIX: Final = 64
# More hops than any chain of proxies has.
_MAX_HOPS: Final = 32


class ClientAddresses:
    """Finds the client behind the proxies whose `X-Forwarded-For` is trusted."""

    __slots__ = ("_trusted",)

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """`trusted` are addresses and networks; ValueError if one is neither."""
        self._trusted = tuple(ip_network(network, strict=False) for network in trusted)

    def trusts(self, address: str) -> bool:
        """Whether `address` is a proxy whose header is trusted."""
        found = _parse(address)
        return found is not None and _is_in(found, self._trusted)

    def read_forwarded(self, peer: str, lines: Sequence[str]) -> str:
        """The client's address, from the header lines of a trusted `peer`.

        The header is read from the right, where the nearest proxy writes: the first address that is
        not trusted is the client's. What is left of it, the client may have written itself.
        """
        client = peer
        for item in reversed(",".join(lines).rsplit(",", _MAX_HOPS)):
            found = _parse(_without_port(item.strip()))
            if found is None:
                break
            client = str(found)
            if not _is_in(found, self._trusted):
                break
        return client


def client_of(address: str) -> str:
    """The name under which an address is counted: itself, or its /64 for IPv6."""
    found = _parse(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), _IPV6_PREFIX), strict=False))
    return address if found is None else str(found)


def is_loopback(address: str) -> bool:
    """Whether the address is this machine's own."""
    found = _parse(address)
    return found is not None and found.is_loopback


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_in(
    address: IPv4Address | IPv6Address, networks: Iterable[IPv4Network | IPv6Network]
) -> bool:
    return any(address in network for network in networks)


def _without_port(text: str) -> str:
    """Remove the port and brackets that some proxies write: `[::1]:80`, `10.0.0.1:80`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
