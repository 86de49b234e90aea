"""Heads that were answered before, in every place where they are none: nobody gets another answer.

What is answered without parsing is compared, byte for byte, with a proxy that parses everything.
`LIGHTERAGE_HOSTILE_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from proxy.web.server import RegistryServer
from tests.hostile import bystander
from tests.hostile.slow_readers import reading_nothing
from tests.kit.certificates import pem
from tests.kit.kept_connection import KeptConnection, get, lasting
from tests.kit.prepared_heads import watch
from tests.kit.proxy import Proxy, metric, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.scripted_upstream import ScriptedUpstream

SEED: Final = int(os.environ.get("LIGHTERAGE_HOSTILE_SEED", str(random.getrandbits(32))))
CONVERSATIONS: Final = 150
ACCEPT: Final = f"Accept: {bystander.IMAGE.media_type}"
HEAD: Final = get(bystander.MANIFEST, ACCEPT)
BY_DIGEST: Final = get(f"/v2/{bystander.NAME}/manifests/{bystander.IMAGE.digest}")
HEADS: Final = (HEAD, BY_DIGEST, get(bystander.MANIFEST, ACCEPT, method="HEAD"))
# More responses than the system's buffers take.
MOST_UNREAD: Final = 400
LAST: Final = get("/v2/", "Connection: close")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that were answered without parsing."""
    found: list[bytes] = []

    def note(head: bytes, is_sent: bool) -> None:  # noqa: FBT001 -- see `watch`
        if is_sent:
            found.append(head)

    watch(monkeypatch, note)
    return found


@pytest.fixture
async def warm(proxy: Proxy, prepared: list[bytes]) -> Proxy:
    """One that has all of `HEADS` prepared."""
    await warm_up(proxy)
    prepared.clear()
    return proxy


async def warm_up(proxy: Proxy) -> None:
    async with KeptConnection(proxy.address) as connection:
        for head in HEADS * 3:
            await connection.ask(head, head_only=head.startswith(b"HEAD"))


def piece(chance: random.Random) -> bytes:
    """A request, or what somebody could take for one."""
    head = chance.choice(HEADS)
    first, rest = head.split(b"\r\n", 1)
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(head), head)
    name = chance.choice([b"host", b" Host", b"Host ", b""])
    before = chance.choice([b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" "])
    version = chance.choice([b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 "])
    line = chance.choice([b"Connection: close", b"traceparent: 1", b"Expect: x", b"a: b\rc"])
    at = chance.randrange(len(head))
    return chance.choice(
        [
            *(head,) * 8,
            b"%b\r\nContent-Length: %d\r\n%b%b" % (first, len(head), rest, head),
            b"%b\r\nTransfer-Encoding: chunked\r\n%b%b" % (first, rest, chunk),
            first + b"\r\n" + rest.replace(b"Host", name),
            before + head,
            head.replace(b"\r\n", b"\n"),
            head.replace(b"HTTP/1.1", version),
            head[:-2] + line + b"\r\n\r\n",
            head[:at] + chance.randbytes(chance.randrange(4)) + head[at:],
        ]
    )


def packets(chance: random.Random, pieces: list[bytes]) -> list[bytes]:
    """The same bytes, as they may arrive."""
    if chance.random() < 0.5:
        return pieces
    whole = b"".join(pieces)
    ends = sorted(chance.sample(range(1, len(whole)), chance.randrange(1, 4)))
    return [whole[begin:end] for begin, end in zip([0, *ends], [*ends, len(whole)], strict=True)]


async def converse(
    address: tuple[str, int], sent: list[bytes], pauses: list[float]
) -> bytes | None:
    """All that comes back until the server closes; None if it does not, or if a part is lost.

    A connection that is reset loses what was not read. Its end by the client would do that, too.
    """
    reader, writer = await asyncio.open_connection(*address)
    try:
        for packet, pause in zip(sent, pauses, strict=True):
            writer.write(packet)
            await asyncio.sleep(pause)
        return await asyncio.wait_for(reader.read(), 20)
    except (OSError, TimeoutError):
        return None
    finally:
        writer.close()


async def test_every_conversation_is_what_it_would_be_if_all_of_it_were_parsed(
    warm: Proxy,
    upstream: ScriptedUpstream,
    tmp_path: Path,
    prepared: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    print(f"LIGHTERAGE_HOSTILE_SEED={SEED}")  # noqa: T201 -- shown when the test fails
    chance = random.Random(SEED)  # noqa: S311 -- to be repeated
    async with Proxy(settings(upstream, tmp_path / "parsing")) as parsing:
        heads = parsing.services.registry.heads
        monkeypatch.setattr(heads, "find", lambda _key: None)
        await warm_up(parsing)
        compared = 0
        for _ in range(CONVERSATIONS):
            pieces = [piece(chance) for _ in range(chance.randrange(1, 6))]
            sent = packets(chance, [*pieces, LAST])
            pauses = [chance.choice([0.0, 0.002, 0.01]) for _ in sent]
            ours, theirs = await asyncio.gather(
                converse(warm.address, sent, pauses), converse(parsing.address, sent, pauses)
            )
            if ours is not None and theirs is not None:
                assert lasting(ours) == lasting(theirs), sent
                compared += 1
    assert compared > CONVERSATIONS // 5
    assert prepared


async def test_a_body_that_is_a_head_is_not_answered(warm: Proxy, prepared: list[bytes]) -> None:
    """The body comes by itself, while its request waits and after it was answered."""
    request = get("/v2/", f"Content-Length: {len(HEAD)}")
    for pause in (0.0, 0.05):
        async with KeptConnection(warm.address) as connection:
            connection.writer.write(request)
            await asyncio.sleep(pause)
            connection.writer.write(HEAD)
            assert (await connection.rest()).count(b"HTTP/1.1 ") == 1
    assert prepared == []


async def test_the_second_half_of_a_head_is_not_answered(
    warm: Proxy, prepared: list[bytes]
) -> None:
    """Together they are one request, whose header line has the first line of the other one."""
    async with KeptConnection(warm.address) as connection:
        answer = await connection.ask(b"GET /v2/ HTTP/1.1\r\nX-Part: ", HEAD)
        assert answer.endswith(b"{}")
        assert prepared == []
        # Whole heads are answered again.
        await connection.ask(HEAD)
        assert await connection.ask(HEAD)
    assert prepared == [HEAD] * 2


async def test_ten_thousand_heads_that_differ_take_little_memory(
    warm: Proxy, prepared: list[bytes]
) -> None:
    heads = warm.services.registry.heads
    known = len(heads)
    async with KeptConnection(warm.address) as connection:
        for number in range(10_000):
            await connection.ask(get(bystander.MANIFEST, ACCEPT, f"traceparent: 00-{number}"))
        assert prepared == []
        assert len(heads) == known
        await connection.ask(HEAD)
    assert prepared == [HEAD]


async def test_heads_that_come_twice_are_bounded_in_bytes(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    chosen = settings(upstream, tmp_path / "small", manifests={"memory": "1MiB"})
    async with Proxy(chosen) as proxy, KeptConnection(proxy.address) as connection:
        for number in range(200):
            for _ in range(2):
                await connection.ask(get(bystander.MANIFEST, ACCEPT, f"traceparent: 00-{number}"))
        heads = proxy.services.registry.heads
        assert 0 < len(heads) < 100


async def test_a_client_that_sends_and_does_not_read_is_not_written_to_without_end(
    upstream: ScriptedUpstream, tmp_path: Path, prepared: list[bytes]
) -> None:
    """And it is disconnected, as any other that takes nothing."""
    document = json.loads(bystander.IMAGE.manifest)
    manifest = json.dumps({**document, "annotations": {"padding": "x" * 60_000}}).encode()
    upstream.add_manifest(bystander.NAME, "padded", manifest, bystander.IMAGE.media_type)
    head = get(f"/v2/{bystander.NAME}/manifests/padded", ACCEPT)
    chosen = settings(upstream, tmp_path / "slow", limits={"send_timeout": "2s"})
    async with Proxy(chosen) as proxy:
        async with KeptConnection(proxy.address) as connection:
            for _ in range(3):
                await connection.ask(head)
        assert prepared.pop() == head
        before = metric("connections_cut_total", reason="stalled")
        loop = asyncio.get_running_loop()
        async with reading_nothing(proxy.address[1], bystander.MANIFEST, 1) as (client,):
            sent = 0
            while metric("connections_cut_total", reason="stalled") == before:
                if sent < MOST_UNREAD:
                    await loop.sock_sendall(client, head)
                    sent += 1
                # The proxy is idle again, as long as it can write.
                await asyncio.sleep(0.005)
            assert 0 < len(prepared) < MOST_UNREAD
            await bystander.pull(proxy)


@asynccontextmanager
async def over_tls(
    proxy: Proxy, folder: Path
) -> AsyncIterator[tuple[tuple[str, int], ssl.SSLContext]]:
    """A listener of the same proxy that speaks TLS: where it is, and how clients check it."""
    private, public = pem()
    (folder / "key.pem").write_bytes(private)
    (folder / "certificate.pem").write_bytes(public)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    runner = web.ServerRunner(RegistryServer(proxy.services.registry), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0], ssl.create_default_context(cadata=public.decode())
    await runner.cleanup()


async def test_a_head_that_comes_with_the_end_of_a_handshake_is_answered(
    warm: Proxy, tmp_path: Path
) -> None:
    async with over_tls(warm, tmp_path) as (address, context):
        for _ in range(4):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            reader, writer = await asyncio.open_connection(*address)
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
            # The client's last flight, and its first request, in one packet.
            client.write(HEAD)
            client.write(HEAD)
            writer.write(outgoing.read())
            received = b""
            while received.count(bystander.IMAGE.manifest) < 2:
                try:
                    received += client.read(65536)
                except ssl.SSLWantReadError:
                    incoming.write(await asyncio.wait_for(reader.read(65536), 60))
            assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
            writer.close()


async def test_what_is_known_of_a_connection_is_a_part_of_the_key(warm: Proxy) -> None:
    heads = warm.services.registry.heads
    keys = list(heads._entries._entries)
    assert {key[1] for key in keys} == set(HEADS)
    assert {key[0] for key in keys} == {(None, True, False)}
    for other in (("somebody", True, False), (None, False, False), (None, True, True)):
        assert heads.find((other, HEAD)) is None
