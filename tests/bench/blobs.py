"""Warm blobs of four sizes here and in nginx, in the clear and over TLS."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Final

from tests.bench import servers, usage
from tests.bench.bench import plain
from tests.bench.measure import NGINX, OURS
from tests.bench.wrk import load
from tests.kit import images
from tests.kit.certificates import pem
from tests.kit.images import Content, digest, noise
from tests.kit.processes import LOOPBACK
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from tests.bench.bench import Bench
    from tests.bench.servers import Server

WORKLOAD: Final = "warm blobs"
IN_THE_CLEAR: Final = "in the clear"
OVER_TLS: Final = "over TLS"
_REPOSITORY: Final = "cargo/layers"
_SMALL: Final = {"1 KiB": 2**10, "20 KiB": 20 * 2**10, "1 MiB": 2**20}
LARGE: Final = "200 MiB"
SIZES: Final = (*_SMALL, LARGE)
_LARGE: Final = 200 * 2**20


def title(size: str, how: str) -> str:
    """The case of a blob of that size."""
    return f"{size} {how}"


def measure(bench: Bench, sizes: tuple[str, ...] = SIZES) -> None:
    """Both servers in turn, after a round to warm them."""
    folder = bench.directory(WORKLOAD)
    private, public = pem()
    files = (folder / "certificate.pem", folder / "key.pem")
    files[0].write_bytes(public)
    files[1].write_bytes(private)
    blobs = {size: noise(size, _SMALL.get(size, _LARGE)) for size in sizes}
    image = images.docker()
    content = Content(
        image.media_type,
        image.manifest,
        {**image.blobs, **{digest(blob): blob for blob in blobs.values()}},
    )
    paths = {size: f"/v2/{_REPOSITORY}/blobs/{digest(blob)}" for size, blob in blobs.items()}
    with bench.on_load_core(), Registry(folder / "upstream") as upstream:
        upstream.push(_REPOSITORY, "1", content)
        for how, certificate in ((IN_THE_CLEAR, None), (OVER_TLS, files)):
            running = servers.running(
                folder / plain(how),
                (OURS, NGINX),
                upstream.url,
                on=bench.on_server_core,
                certificate=certificate,
            )
            context = ssl.create_default_context(cadata=public.decode()) if certificate else None
            with running as made:
                _rounds(bench, made, paths, how, context)


def _rounds(
    bench: Bench,
    made: dict[str, Server],
    paths: dict[str, str],
    how: str,
    client: ssl.SSLContext | None,
) -> None:
    for number in range(bench.rounds + 1):
        for size, path in paths.items():
            for name, server in made.items():
                used = usage.cpu_seconds(server.pid)
                if size in _SMALL:
                    unit = "a second"
                    scheme = "http" if client is None else "https"
                    done = load(
                        f"{scheme}://{LOOPBACK}:{server.port}{path}", (None,), seconds=bench.seconds
                    )
                    if done.failures:
                        raise ValueError(f"{size} {how}: {name} gave {done.failures} errors")
                    value, requests = done.rate, done.requests
                else:
                    unit, requests = "GB a second", 1
                    value = _rate(server.port, path, client) / 1e9
                if number:
                    series = bench.results.series(WORKLOAD, title(size, how), name, unit)
                    series.values.append(value)
                    series.cpu.append((usage.cpu_seconds(server.pid) - used) / requests * 1000)
                    series.memory = usage.peak_memory(server.pid)


def _rate(port: int, path: str, client: ssl.SSLContext | None) -> float:
    """Bytes a second of one answer; what is slower than the server would be is this loop."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    buffer = bytearray(2**20)
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((LOOPBACK, port)))
        if client is not None:
            connection = stack.enter_context(
                client.wrap_socket(connection, server_hostname=LOOPBACK)
            )
        connection.sendall(request.encode())
        began, received = perf_counter(), 0
        while count := connection.recv_into(buffer):
            received += count
    if received <= _LARGE:
        raise ValueError(f"{received} bytes of {_LARGE} came")
    return received / (perf_counter() - began)
