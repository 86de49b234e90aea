"""What a warm blob of 200 MiB costs here and in nginx, one core each, in the clear and over TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench.nginx import Nginx
from tests.bench.table import NGINX, OURS
from tests.kit import images
from tests.kit.certificates import pem
from tests.kit.processes import LOOPBACK, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.kit.registry import Registry

REPOSITORY: Final = "cargo/large"
CONTENT: Final = images.big(200)
_BLOB: Final = max(CONTENT.blobs, key=lambda digest: len(CONTENT.blobs[digest]))
_SIZE: Final = len(CONTENT.blobs[_BLOB])
_REQUEST: Final = (
    f"GET /v2/{REPOSITORY}/blobs/{_BLOB} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
)
# What `--check` wants, as a part of nginx's rate.
WANTED: Final = {"in the clear": 0.9, "over TLS": 0.8}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours and nginx's rates in bytes a second, round by round."""

    title: str
    servers: dict[str, Proxy | Nginx]
    client: ssl.SSLContext | None
    rates: dict[str, list[float]] = field(default_factory=lambda: {OURS: [], NGINX: []})

    @property
    def ratio(self) -> float:
        """Of each round, and then the median: what disturbs a round disturbs both."""
        pairs = zip(self.rates[OURS], self.rates[NGINX], strict=True)
        return median(ours / other for ours, other in pairs)


def compared(
    folder: Path, upstream: Registry, on_core: AbstractContextManager[None], *, rounds: int
) -> list[Comparison]:
    """Measure both, in turn, after a round to warm everything; servers start `on_core`."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    private, public = pem()
    key.write_bytes(private)
    certificate.write_bytes(public)
    tls = {"tls": {"certificate_file": str(certificate), "key_file": str(key)}}
    comparisons = [
        Comparison(
            "in the clear",
            {
                OURS: Proxy(folder / "large", upstream=upstream.url),
                NGINX: Nginx(folder / "large-nginx", upstream=upstream.url),
            },
            None,
        ),
        Comparison(
            "over TLS",
            {
                OURS: Proxy(folder / "tls", upstream=upstream.url, settings=tls),
                NGINX: Nginx(
                    folder / "tls-nginx", upstream=upstream.url, certificate=(certificate, key)
                ),
            },
            ssl.create_default_context(cadata=public.decode()),
        ),
    ]
    with ExitStack() as stack:
        with on_core:
            for comparison in comparisons:
                for server in comparison.servers.values():
                    stack.enter_context(server)
        for number in range(rounds + 1):
            for comparison in comparisons:
                for name, server in comparison.servers.items():
                    rate = _rate(server.port, comparison.client)
                    comparison.rates[name] += [rate] if number else []
    return comparisons


def lines(comparisons: list[Comparison]) -> Iterator[str]:
    """The table for a person."""
    yield f"{'':26}{OURS:>12}{NGINX:>12}{'ratio':>8}"
    for comparison in comparisons:
        ours, other = (median(comparison.rates[name]) / 1e9 for name in (OURS, NGINX))
        title = f"200 MiB {comparison.title}"
        yield f"{title:26}{ours:>7.2f} GB/s{other:>7.2f} GB/s{comparison.ratio:>8.2f}"


def complaints(comparisons: list[Comparison]) -> Iterator[str]:
    """What is slower than is wanted."""
    for comparison in comparisons:
        wanted = WANTED[comparison.title]
        if comparison.ratio < wanted:
            yield f"A blob {comparison.title} is {comparison.ratio:.2f} times nginx, not {wanted}"


def _rate(port: int, client: ssl.SSLContext | None) -> float:
    """Bytes a second of one answer; what is slower than the server would be is this loop."""
    buffer = bytearray(2**20)
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((LOOPBACK, port)))
        if client is not None:
            connection = stack.enter_context(
                client.wrap_socket(connection, server_hostname=LOOPBACK)
            )
        connection.sendall(_REQUEST.encode())
        began, received = perf_counter(), 0
        while count := connection.recv_into(buffer):
            received += count
    if received <= _SIZE:
        raise ValueError(f"{received} bytes of {_SIZE} came")
    return received / (perf_counter() - began)
