"""Whether the addresses that the settings name can be listened on."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from proxy.config import Address, Section
from proxy.runtime.wrong_setting import Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config import Settings
    from proxy.runtime.wrong_setting import Place

_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared, not bound


def _addresses(section: Section, above: Place = ()) -> Iterator[tuple[Place, Address]]:
    """Every address that the proxy would listen on: each setting called `listen`."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name == "listen" and isinstance(value, Address):
            yield (*above, name), value
        elif isinstance(value, Section):
            yield from _addresses(value, (*above, name))


def find_same_ports(settings: Settings) -> Iterator[Wrong]:
    """Addresses of which one takes the port of another."""
    seen: list[tuple[Place, Address]] = []
    for place, address in _addresses(settings):
        for other, used in seen:
            hosts = {address.host, used.host}
            if (
                address.port
                and address.port == used.port
                and (len(hosts) == 1 or hosts & _ANYWHERE)
            ):
                yield Wrong(
                    place,
                    f"{address} takes the port of {'.'.join(map(str, other))}, {used}; choose "
                    "another port",
                )
        seen.append((place, address))


def find_taken_ports(settings: Settings) -> Iterator[Wrong]:
    """Addresses that cannot be listened on now."""
    for place, address in _addresses(settings):
        yield from _bind(place, address)


def _bind(place: Place, address: Address) -> Iterator[Wrong]:
    name = ".".join(map(str, place))
    flag = {"listen": "--listen", "admin.listen": "--admin-listen"}.get(name)
    remedy = f"choose another one with {' or '.join(filter(None, (name, flag)))}"
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):  # the latter for a label that is empty or too long
        yield Wrong(place, f"there is no address for the host {address.host}; {remedy}")
        return
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(where)
                # A socket that only has the address would be allowed to share it.
                probe.listen(1)
        except OSError as error:
            yield Wrong(place, f"{_unusable(error, address)}; {remedy}")
            return


def _unusable(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program listens on {address}: stop it"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"uid {os.geteuid()} may not listen on port {address.port}, which is below 1024"
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return f"{address.host} is not an address of this machine"
    return f"{address} cannot be listened on: {error.strerror}"
