"""How a registry is dialled: time outs, limits, TLS, and what no request ever carries."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy import __version__
from proxy.upstream.connection import UpstreamConnector

if TYPE_CHECKING:
    import ssl

    from aiohttp.abc import AbstractResolver

    from proxy.upstream.http_proxy import HttpProxy

USER_AGENT: Final = f"lighterage/{__version__}"
# A blob arrives in pieces of at most twice this: fewer turns of the loop for each MiB.
_READ_BUFFER: Final = 128 * 1024
# For how long a connection is kept for the next request, in seconds. aiohttp goes on waiting for a
# body that has ended while it was not read fast enough, and the next request would be told of that.
_KEPT: Final = 15.0
# Signed redirects and challenges can be long. Beyond this no one is told what was wrong with it.
_LONGEST_FIELD: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """Times are in seconds.

    `connect_timeout` is for the name, the connection and TLS; `idle_timeout` the longest silence;
    `answer_timeout` for a manifest or a token as a whole, and for the headers of a blob, with
    every redirect and token on the way. A blob's body may take as long as it keeps coming.

    `own_tls` is for the registry's own origin in place of `tls`: with our certificate, which is
    nobody else's business. `family` is of the addresses that are dialled.
    """

    connect_timeout: float = 5.0
    idle_timeout: float = 60.0
    answer_timeout: float = 30.0
    connections: int = 512
    tls: ssl.SSLContext | None = None
    own_tls: ssl.SSLContext | None = None
    family: socket.AddressFamily = socket.AF_UNSPEC
    proxy: HttpProxy | None = None

    def tls_for(self, *, own: bool) -> ssl.SSLContext | bool:
        """How to speak TLS with the registry's `own` origin, or with another; True is as usual."""
        return (self.own_tls if own else None) or self.tls or True

    def timeout(self, silence: float | None = None) -> aiohttp.ClientTimeout:
        """The limits of one request; `silence` in place of the idle timeout if it is longer."""
        return aiohttp.ClientTimeout(
            total=None,
            connect=self.connect_timeout,
            sock_connect=self.connect_timeout,
            sock_read=max(self.idle_timeout, silence or 0.0),
        )

    def open(self, resolver: AbstractResolver) -> aiohttp.ClientSession:
        """A session in the running loop: no cookies, no environment, nothing decompressed."""
        return aiohttp.ClientSession(
            connector=UpstreamConnector(
                # `Slots` is the limit: nobody waits here.
                limit=0,
                resolver=resolver,
                family=self.family,
                keepalive_timeout=min(_KEPT, self.idle_timeout / 2),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            # aiohttp's `*/*` would let an upstream choose what it likes to send.
            skip_auto_headers=("Accept",),
            timeout=self.timeout(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BUFFER,
            max_field_size=_LONGEST_FIELD,
        )
