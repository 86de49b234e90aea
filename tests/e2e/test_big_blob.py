"""Many clients at one big blob that is not there yet."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import images
from tests.e2e.images import MEBIBYTE
from tests.e2e.processes import LOOPBACK, Proxy
from tests.e2e.registry import Registry, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLIENTS: Final = 50
SIZE: Final = 256  # MiB
MEMORY: Final = 200 * MEBIBYTE
WITHIN: Final = 120.0  # seconds


class Download(asyncio.BufferedProtocol):
    """One GET, hashed as it arrives; `leaves_after` so many bytes if that is given."""

    def __init__(self, path: str, *, leaves_after: int | None = None) -> None:
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.head = b""
        self.received = 0
        self._path = path
        self._leaves_after = leaves_after
        self._hash = hashlib.sha256()
        self._buffer = bytearray(MEBIBYTE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())

    def get_buffer(self, _sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        content = memoryview(self._buffer)[:count]
        if b"\r\n\r\n" not in self.head:
            head, end, _ = bytes(content).partition(b"\r\n\r\n")
            self.head += head + end
            content = content[len(head) + len(end) :]
        self._hash.update(content)
        self.received += len(content)
        if self._leaves_after is not None and self.received >= self._leaves_after:
            self._transport.abort()
        elif self.head and self.received == self.length:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self.done.set_result(f"sha256:{self._hash.hexdigest()}")

    @property
    def length(self) -> int:
        """What the answer says that the blob has."""
        found = re.search(rb"\r\nContent-Length: (\d+)\r\n", self.head)
        assert found is not None, self.head
        return int(found[1])

    @property
    def shared(self) -> bool:
        """Whether somebody else's transfer was read along."""
        return b"; collapsed" in self.head


@pytest.fixture(scope="module")
def image() -> images.Content:
    """With one layer of more than `SIZE` MiB."""
    return images.big(SIZE)


@pytest.fixture
def registry(image: images.Content, tmp_path: Path) -> Iterator[Registry]:
    """The upstream, with the image."""
    with Registry(tmp_path / "registry") as registry:
        registry.push("cargo/big", "1", image)
        yield registry


def peak_memory(proxy: Proxy) -> int:
    """The most that was ever resident of the process, in bytes."""
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def test_fifty_clients_share_one_transfer(
    registry: Registry, image: images.Content, tmp_path: Path
) -> None:
    """Each gets the right bytes, though the one for whom it began leaves in the middle."""
    layer = max(image.blobs, key=lambda digest: len(image.blobs[digest]))
    path = f"/v2/cargo/big/blobs/{layer}"
    registry.forget()
    loop = asyncio.get_running_loop()
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:

        async def download(*, leaves_after: int | None = None) -> Download:
            _, client = await loop.create_connection(
                lambda: Download(path, leaves_after=leaves_after), LOOPBACK, proxy.port
            )
            return client

        async with asyncio.timeout(WITHIN):
            leaver = await download(leaves_after=4 * MEBIBYTE)
            clients = [await download() for _ in range(CLIENTS)]
            digests = await asyncio.gather(*(client.done for client in clients))
            await leaver.done
        assert set(digests) == {layer}
        assert leaver.received < leaver.length
        assert sum(client.shared for client in clients) > CLIENTS / 2, "it was not cold"
        assert peak_memory(proxy) < MEMORY
    assert [request for request in registry.requests() if request.method == "GET"] == [
        Request("GET", path, 200)
    ]
