"""Replicas that talk to each other by TLS: nobody else can, and a renewed certificate is used."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from tests.kit.certificates import pem
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

_SOON: Final = 60.0
_NUMBERS: Final = count()


def _shown(address: str, files: Path) -> str:
    """The certificate of the listener, for a client that has one, too."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=files / "ca.pem")
    context.check_hostname = False
    context.load_cert_chain(files / "certificate.pem", files / "key.pem")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as tls:
        encoded = tls.getpeercert(binary_form=True)
        assert encoded is not None
        return ssl.DER_cert_to_PEM_cert(encoded)


def _renew(files: Path) -> str:
    """Another key and certificate; the authority has all that there were."""
    # An authority is found by its name.
    key, certificate = pem(f"authority {next(_NUMBERS)}")
    (files / "key.pem").write_bytes(key)
    (files / "certificate.pem").write_bytes(certificate)
    with (files / "ca.pem").open("ab") as authority:
        authority.write(certificate)
    return certificate.decode()


async def test_replicas_talk_by_tls(tmp_path: Path) -> None:
    first = _renew(tmp_path)
    tls = {
        "certificate_file": str(tmp_path / "certificate.pem"),
        "key_file": str(tmp_path / "key.pem"),
        "ca_file": str(tmp_path / "ca.pem"),
    }
    async with ScriptedUpstream() as upstream:
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(tmp_path, 2, upstreams=upstreams, peers={"tls": tls}) as replicas:

            async def pull() -> None:
                content = os.urandom(300_000)
                digest = upstream.add_blob("library/cargo", content)
                for proxy in replicas.running:
                    url = f"{proxy.url}/v2/library/cargo/blobs/{digest}"
                    assert (await asyncio.to_thread(ask, url)).body == content

            await pull()
            assert upstream.count("GET", "*/blobs/*") == 1
            address = replicas.addresses[0]
            assert await asyncio.to_thread(_shown, address, tmp_path) == first
            # Nobody gets an answer without a certificate of theirs.
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))) as plain:
                plain.sendall(b"GET /peers/1/health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"HTTP" not in await asyncio.to_thread(plain.recv, 1000)
            other = tmp_path / "other"
            other.mkdir()
            _renew(other)
            (other / "ca.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
            assert await asyncio.to_thread(_ask, address, tmp_path)
            assert not await asyncio.to_thread(_ask, address, other)
            renewed = _renew(tmp_path)
            async with asyncio.timeout(_SOON):
                for each in replicas.addresses:
                    while (  # noqa: ASYNC110
                        await asyncio.to_thread(_shown, each, tmp_path) != renewed
                    ):
                        await asyncio.sleep(0.2)
            await pull()
            assert upstream.count("GET", "*/blobs/*") == 2


def _ask(address: str, files: Path) -> bytes:
    """What the listener answers a client with this certificate; nothing if it hangs up."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=files / "ca.pem")
    context.check_hostname = False
    context.load_cert_chain(files / "certificate.pem", files / "key.pem")
    with (
        suppress(OSError),
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return tls.recv(1000)
    return b""
