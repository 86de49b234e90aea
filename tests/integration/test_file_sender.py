"""A stored blob goes to the client by sendfile(2); whatever that cannot do is done without it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.kept_connection import KeptConnection, get
from tests.kit.proxy import Proxy, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.web.file_sender import FileSender
    from tests.kit.scripted_upstream import ScriptedUpstream

# More than the buffers of the system take for a client that does not read.
CONTENT: Final = images.noise("large", 24 * images.MEBIBYTE)
PATH: Final = f"/v2/library/cargo/blobs/{Digest.of(CONTENT)}"


@pytest.fixture
async def stored(proxy: Proxy, upstream: ScriptedUpstream) -> Proxy:
    """One that has the blob."""
    upstream.add_blob("library/cargo", CONTENT)
    assert (await proxy.get(PATH)).body == CONTENT
    await until(lambda: not len(proxy.services.transfers))
    return proxy


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each call sent."""
    calls: list[int] = []
    real = os.sendfile

    def sendfile(target: int, file: int, offset: int, count: int) -> int:
        done = real(target, file, offset, count)
        calls.append(done)
        return done

    monkeypatch.setattr(os, "sendfile", sendfile)
    return calls


def sender_of(proxy: Proxy) -> FileSender:
    return proxy.services.registry._blobs._bodies.files


async def test_a_stored_blob_and_a_part_of_it_are_sent_by_the_kernel(
    stored: Proxy, sent: list[int]
) -> None:
    async with KeptConnection(stored.address) as connection:
        for _ in range(2):
            answer = await connection.ask(get(PATH))
            assert answer.endswith(b"\r\n\r\n" + CONTENT)
        part = await connection.ask(get(PATH, "Range: bytes=1000-5000999"))
        assert part.endswith(b"\r\n\r\n" + CONTENT[1000:5_001_000])
    # What was too little for a call was written.
    assert 40_000_000 < sum(sent) <= 2 * len(CONTENT) + 5_000_000
    lines = await stored.lines(4)
    assert [line["bytes"] for line in lines[1:]] == [len(CONTENT), len(CONTENT), 5_000_000]
    assert not any("error" in line for line in lines)
    assert sender_of(stored)._busy == 0


async def test_a_client_that_leaves_with_the_last_byte_was_served(
    stored: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that has sent it may come back when the connection has gone."""
    real = os.sendfile
    left = threading.Event()

    def sendfile(target: int, file: int, offset: int, count: int) -> int:
        done = real(target, file, offset, count)
        if offset + done == len(CONTENT):
            assert left.wait(30)
        return done

    monkeypatch.setattr(os, "sendfile", sendfile)
    async with KeptConnection(stored.address) as connection:
        answer = await connection.ask(get(PATH))
        assert answer.endswith(CONTENT)
    # The end of the connection is seen meanwhile.
    await asyncio.sleep(0.2)
    left.set()
    line = (await stored.lines(2))[-1]
    assert (line["status"], line["bytes"], line.get("error")) == (200, len(CONTENT), None)


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (get(PATH, "Connection: close"), b"Connection: close"),
        (get(PATH, version="1.0"), b"HTTP/1."),
    ],
    ids=["close", "HTTP/1.0"],
)
async def test_the_last_answer_of_a_connection(
    stored: Proxy, sent: list[int], head: bytes, end: bytes
) -> None:
    async with KeptConnection(stored.address) as connection:
        connection.writer.write(head)
        answer = await connection.rest()
    assert end in answer
    assert answer.endswith(b"\r\n\r\n" + CONTENT)
    assert sent


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EIO])
@pytest.mark.parametrize("after", [0, 10_000_000])
async def test_what_sendfile_cannot_do_is_read_and_written(
    stored: Proxy, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    real = os.sendfile

    def sendfile(target: int, file: int, offset: int, count: int) -> int:
        if offset >= after:
            raise OSError(number, os.strerror(number))
        return real(target, file, offset, min(count, after - offset))

    monkeypatch.setattr(os, "sendfile", sendfile)
    assert (await stored.get(PATH)).body == CONTENT


async def test_without_a_free_thread_it_is_written(stored: Proxy, sent: list[int]) -> None:
    sender = sender_of(stored)
    sender._busy = 16
    assert (await stored.get(PATH)).body == CONTENT
    assert sent == []


async def test_a_client_that_does_not_read_keeps_no_thread(stored: Proxy, sent: list[int]) -> None:
    sender = sender_of(stored)
    clients = [KeptConnection(stored.address) for _ in range(20)]
    for client in clients:
        await client.__aenter__()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(get(PATH))
    # Those that find no free thread are written to without one.
    await until(lambda: len(sent) >= 16 and sender._busy == 0)
    before = len(sent)
    assert (await stored.get(PATH)).body == CONTENT
    assert len(sent) > before
    for client in clients:
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    answers = await asyncio.gather(*(client.read() for client in clients))
    assert all(answer.endswith(CONTENT) for answer in answers)
    for client in clients:
        await client.__aexit__(None, None, None)


async def test_a_client_that_leaves_is_noticed(
    stored: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = sender_of(stored)
    leave: list[Callable[[], None]] = []
    real = os.sendfile
    loop = asyncio.get_running_loop()

    def sendfile(target: int, file: int, offset: int, count: int) -> int:
        done = real(target, file, offset, min(count, 65536))
        if leave:
            loop.call_soon_threadsafe(leave.pop())
        return done

    monkeypatch.setattr(os, "sendfile", sendfile)
    async with KeptConnection(stored.address) as connection:
        leave.append(connection.writer.transport.abort)
        connection.writer.write(get(PATH))
        (line,) = await stored.lines(1, error="the client disconnected")
    assert line["bytes"] < len(CONTENT)
    await until(lambda: sender._busy == 0)
    monkeypatch.setattr(os, "sendfile", real)
    assert (await stored.get(PATH)).body == CONTENT
