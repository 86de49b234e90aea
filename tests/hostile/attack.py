"""One attack, until it is killed: `python -m tests.hostile.attack NAME PORT PATH COUNT`.

In a process of its own, so that it takes no time from those whose pulls are measured. COUNT is how
many addresses it comes from.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tests.hostile import bystander
from tests.hostile.slow_readers import addresses
from tests.kit import images, load
from tests.kit.access import basic
from tests.kit.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SLOW_READERS: Final = 540
NON_READERS: Final = 300
NAMES_A_SECOND: Final = 200
LOGINS_A_SECOND: Final = 200
# A gigabyte in one megabyte.
BOMB: Final = gzip.compress(bytes(2**30), 9)
_RECEIVED: Final = 4096


async def slow_readers(port: int, path: str, sources: list[str]) -> None:
    """Each reads half a KiB a second of the second half of a blob."""
    await asyncio.gather(
        *(
            _read(port, path, sources[number % len(sources)], every=1.0, headers=_second_half())
            for number in range(SLOW_READERS)
        )
    )


async def non_readers(port: int, path: str, sources: list[str]) -> None:
    """Each waits without reading, until it is disconnected."""
    await asyncio.gather(
        *(
            _read(port, path, sources[number % len(sources)], every=None)
            for number in range(NON_READERS)
        )
    )


async def gzip_bodies(port: int, path: str, sources: list[str]) -> None:
    """One compressed body a second, of a gigabyte."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: "
    request = f"{head}{len(BOMB)}\r\n\r\n".encode() + BOMB
    number = 0
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(
                LOOPBACK, port, local_addr=(sources[number % len(sources)], 0)
            )
            writer.write(request)
            with suppress(OSError):
                await writer.drain()
            writer.close()
        number += 1
        await asyncio.sleep(1)


async def random_names(port: int, _path: str, sources: list[str]) -> None:
    """Repositories, tags, manifests and blobs that do not exist."""
    await asyncio.gather(*(_ask(port, source, len(sources)) for source in sources))


async def wrong_logins(port: int, _path: str, sources: list[str]) -> None:
    """Each with another password, half of them of a user that exists."""
    loop = asyncio.get_running_loop()
    began, number, under_way = loop.time(), 0, set[asyncio.Task[int | None]]()
    while True:
        number += 1
        user = "ann" if number % 2 else f"user{number}"
        source = sources[number % len(sources)]
        task = loop.create_task(log_in(port, source, basic(user, f"guess{number}")))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        await asyncio.sleep(max(0.0, began + number / LOGINS_A_SECOND - loop.time()))


ATTACKS: Final[dict[str, Callable[[int, str, list[str]], Coroutine[Any, Any, None]]]] = {
    "slow readers": slow_readers,
    "non-readers": non_readers,
    "gzip bodies": gzip_bodies,
    "random names": random_names,
    "wrong logins": wrong_logins,
}


def _second_half() -> str:
    return f"Range: bytes={8 * images.MEBIBYTE}-\r\n"


async def _read(
    port: int, path: str, source: str, *, every: float | None, headers: str = ""
) -> None:
    """Ask, and read little or nothing; again after each end of the connection."""
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
    while True:
        with socket.socket() as client, suppress(OSError):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
            client.settimeout(0)
            client.bind((source, 0))
            await loop.sock_connect(client, (LOOPBACK, port))
            await loop.sock_sendall(client, request)
            while not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                if every is not None and not await loop.sock_recv(client, 512):
                    break
                await asyncio.sleep(every or 1.0)
        await asyncio.sleep(1)


async def log_in(port: int, source: str, header: str) -> int | None:
    """The status of `docker login` from that address; None if there is no answer."""
    request = f"GET /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {header}"
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(source, 0))
        try:
            writer.write(f"{request}\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        return int(answer.split(b" ", 2)[1]) if answer else None
    return None


async def _ask(port: int, source: str, clients: int) -> None:
    number = 0
    async with load.Connection(port, source=source) as connection:
        while True:
            number += 1
            name = f"{source}-{number}"
            digest = images.digest(name.encode())
            path = (
                f"/v2/team/{name}/manifests/1",
                f"/v2/{bystander.NAME}/manifests/{name}",
                f"/v2/{bystander.NAME}/manifests/{digest}",
                f"/v2/{bystander.NAME}/blobs/{digest}",
            )[number % 4]
            with suppress(load.LostError, load.NotBegunError):
                await connection.get(path)
            await asyncio.sleep(clients / NAMES_A_SECOND)


if __name__ == "__main__":
    _, chosen, at, what, count = sys.argv
    asyncio.run(ATTACKS[chosen](int(at), what, addresses(int(count))))
