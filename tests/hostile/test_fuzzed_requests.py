"""Thousands of odd requests to a real proxy: no 5xx, and no growth.

`LIGHTERAGE_HOSTILE_REQUESTS=10000` is the long form, `LIGHTERAGE_HOSTILE_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.hostile import bystander
from tests.kit.processes import LOOPBACK
from tests.kit.processes import Proxy as ProxyProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kit.scripted_upstream import ScriptedUpstream

REQUESTS: Final = int(os.environ.get("LIGHTERAGE_HOSTILE_REQUESTS", "600"))
SEED: Final = int(os.environ.get("LIGHTERAGE_HOSTILE_SEED", str(random.getrandbits(32))))
AT_ONCE: Final = 8
# What a proxy may grow by, in bytes, while its caches fill; they are bounded by their settings.
GROWTH: Final = 48 * 2**20

METHODS: Final = ["GET", "HEAD", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "X"]
NAMES: Final = [bystander.NAME, "library/none", "a/b/c", "docker.io/library/cargo", "A", "..", ""]
DIGEST: Final = str(bystander.IMAGE.digest)
REFERENCES: Final = [
    bystander.TAG,
    DIGEST,
    "none",
    DIGEST[:-1],
    "sha512:0",
    "%31",
    "",
    "a" * 200,
    "\udcff",
]
QUERIES: Final = [
    "",
    "?ns=docker.io",
    "?ns=quay.io",
    "?n=1&last=a",
    "?n=x",
    "?%",
    "?last=\udcfe",
    "?a=b&a=c",
]
HEADERS: Final = {
    "Accept": ["*/*", "", "application/json;q=x", ",,,;", "a/b;q=0", bystander.IMAGE.media_type],
    "Range": ["bytes=0-0", "bytes=9-1", "bytes=-1", "bytes=x", "lines=1-2", "bytes=0-0,2-3"],
    "If-None-Match": ['"x"', f'"{DIGEST}"', "*", "W/"],
    "If-Range": ['"x"', f'"{DIGEST}"', "yesterday"],
    "Authorization": ["Bearer x", "Basic !", ""],
    "Connection": ["keep-alive", "close", "Upgrade"],
    "traceparent": ["00-0-0-0", "x" * 300],
    "User-Agent": ["docker/1.6", "\t", "x" * 2000],
    "X-Forwarded-For": ["::1", "x, y"],
}


def well_formed(chance: random.Random) -> bytes:
    """A request that is HTTP/1.1, for what there may or may not be."""
    kind = chance.choice(["manifests", "blobs", "tags/list", "referrers", "x", "blobs/uploads"])
    path = f"/v2/{chance.choice(NAMES)}/{kind}/{chance.choice(REFERENCES)}"
    path = chance.choice([path, path, path, "/v2/", "/v2", "/", "/v1/_ping", "/v2/_catalog", "*"])
    lines = [f"{chance.choice(METHODS)} {path}{chance.choice(QUERIES)} HTTP/1.1"]
    lines.append(f"Host: {chance.choice(['localhost', '127.0.0.1:5000', 'quay.io', 'docker.io'])}")
    chosen = chance.sample(sorted(HEADERS), chance.randrange(4))
    lines += [f"{name}: {chance.choice(HEADERS[name])}" for name in chosen]
    lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def malformed(chance: random.Random) -> bytes:
    """The same with some bytes replaced, repeated or left out."""
    data = bytearray(well_formed(chance))
    for _ in range(chance.randrange(1, 6)):
        at, length = chance.randrange(len(data) + 1), chance.randrange(6)
        piece = chance.choice(
            [
                *(
                    b"",
                    b"\r",
                    b"\n",
                    b"\r\n",
                    b"\x00",
                    b"\xff",
                    b" ",
                    b":",
                    b"%",
                    b"\t",
                    b"HTTP/9.9",
                ),
                *(b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"a" * 9000),
                *(b"Content-Length: 5\r\n\r\n", chance.randbytes(8), bytes(data[at : at + 40])),
            ]
        )
        data[at : at + length] = piece
    return bytes(data)


async def send(port: int, request: bytes) -> bytes:
    """What comes back until the proxy closes; the client's half is closed at once."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 60.0)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def resident(pid: int) -> int:
    """The resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("make", [well_formed, malformed])
async def test_no_request_is_our_failure(
    upstream: ScriptedUpstream, tmp_path: Path, make: Callable[[random.Random], bytes]
) -> None:
    print(f"LIGHTERAGE_HOSTILE_SEED={SEED}")  # noqa: T201 -- shown when the test fails
    chance = random.Random(SEED)  # noqa: S311 -- to be repeated
    with ProxyProcess(tmp_path, upstream=upstream.url) as proxy:
        await bystander.pull_from(proxy.port)
        await _send_all(proxy.port, [make(chance) for _ in range(100)])
        memory, files = resident(proxy.pid), descriptors(proxy.pid)
        await _send_all(proxy.port, [make(chance) for _ in range(REQUESTS)])
        await bystander.pull_from(proxy.port)
        assert resident(proxy.pid) < memory + GROWTH
        # Connections to the upstream that are kept, and those that are just being closed.
        assert descriptors(proxy.pid) < files + 2 * AT_ONCE
        assert "Traceback" not in proxy.log()


async def _send_all(port: int, requests: list[bytes]) -> None:
    async def some(mine: list[bytes]) -> None:
        for request in mine:
            answer = await send(port, request)
            status = answer.split(b" ", 2)[1:2]
            # 501 is aiohttp's answer to a transfer coding that nobody knows.
            assert not status or status[0][:1] != b"5" or status[0] == b"501", (request, answer)

    await asyncio.gather(*(some(requests[number::AT_ONCE]) for number in range(AT_ONCE)))
