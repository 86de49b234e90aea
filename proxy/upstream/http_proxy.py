"""The HTTP proxy behind which an upstream is, and what is reached without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yarl import URL


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """`url` may have a login in it. `exceptions` are what people write into NO_PROXY.

    A host and all below it (`example.com`, with or without a dot before it), a network
    (`10.0.0.0/8`), an address, or `*` for everything.
    """

    url: URL = field(repr=False)
    exceptions: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Of the proxy itself."""
        return self.url.raw_host or ""

    def serves(self, host: str) -> bool:
        """Whether `host`, a name or an address as it stands in a URL, is reached through it."""
        host = host.strip("[]").rstrip(".").lower()
        return not any(_fits(host, exception.strip().lower()) for exception in self.exceptions)


def _fits(host: str, exception: str) -> bool:
    if exception == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        name = exception.removeprefix("*").lstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(exception.strip("[]"), strict=False)
    except ValueError:
        return False
