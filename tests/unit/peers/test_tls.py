"""Both ends of TLS between replicas follow their files."""

from __future__ import annotations

import ssl
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest

from proxy.peers.tls import PeerTls
from tests.kit.certificates import pem

if TYPE_CHECKING:
    from pathlib import Path


_NUMBERS: Final = count()


class Files:
    """A key, and the certificate that it signed for itself, which is the authority, too."""

    def __init__(self, directory: Path) -> None:
        self.key, self.certificate = directory / "key.pem", directory / "certificate.pem"
        self.authority = directory / "ca.pem"
        self.renew()

    def renew(self) -> str:
        # An authority is found by its name.
        key, certificate = pem(f"authority {next(_NUMBERS)}")
        self.key.write_bytes(key)
        self.certificate.write_bytes(certificate)
        self.authority.write_bytes(certificate)
        return certificate.decode()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def shown(tls: PeerTls) -> str | None:
    """The server's certificate as a client sees it; None if they do not trust each other."""
    sending, receiving = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client.wrap_bio(receiving, sending)
    server = tls.server.wrap_bio(sending, receiving, server_side=True)
    finished = 0
    for _ in range(10):
        for end in (client, server):
            try:
                end.do_handshake()
                finished += 1
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return None
    encoded = client.getpeercert(binary_form=True)
    return ssl.DER_cert_to_PEM_cert(encoded) if encoded and finished else None


async def test_replicas_with_the_same_authority_trust_each_other(files: Files) -> None:
    tls = PeerTls(files.certificate, files.key, files.authority)
    assert shown(tls) == files.certificate.read_text()
    assert await tls.look() is None


async def test_renewed_files_are_taken_over(files: Files) -> None:
    tls = PeerTls(files.certificate, files.key, files.authority)
    renewed = files.renew()
    assert await tls.look() is None
    assert shown(tls) == renewed


async def test_half_of_a_pair_is_not_taken_over(files: Files) -> None:
    tls = PeerTls(files.certificate, files.key, files.authority)
    before = files.certificate.read_text()
    files.key.write_bytes(pem()[0])
    problem = await tls.look()
    assert problem is not None
    assert await tls.look() == problem
    assert shown(tls) == before


async def test_a_replica_of_another_authority_is_not_trusted(files: Files, tmp_path: Path) -> None:
    tls = PeerTls(files.certificate, files.key, files.authority)
    (tmp_path / "other").mkdir()
    other = Files(tmp_path / "other")
    tls.client = PeerTls(other.certificate, other.key, other.authority).client
    assert shown(tls) is None


def test_files_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 -- the caller shows it
        PeerTls(tmp_path / "a", tmp_path / "b", tmp_path / "c")
