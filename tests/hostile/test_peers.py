"""A replica that lies, stalls, or is none: it delays a client for a moment, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import BlobUnknown
from proxy.oci.reference import Digest, Tag
from proxy.peers.answers import NotStored, SeeOther, Value, frame_of_error
from proxy.peers.client import BODY, NONCE, SENDER, SIGNATURE, TIME
from proxy.peers.frames import Frame, Kind
from proxy.peers.owners import rank
from proxy.peers.questions import Effort, Question, Subject
from proxy.peers.signing import Signed, Signer
from tests.kit import images
from tests.kit.false_peer import SECRET, FalsePeer, Script
from tests.kit.processes import LOOPBACK, free_port
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.raw_http import ask
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_NAME: Final = "library/cargo"
_TIMEOUT: Final = 3.0
# What a busy machine may take besides, in seconds.
_LOAD: Final = 8.0
_SOON: Final = 60.0
_SMALL: Final = 1_000
_LARGE: Final = 400_000


class World:
    """A proxy with one other replica, which the test scripts, and their upstream."""

    def __init__(self, upstream: ScriptedUpstream, proxy: Proxy, peer: FalsePeer, own: str) -> None:
        self.upstream = upstream
        self.proxy = proxy
        self.peer = peer
        self.own = own

    def blob_of_peer(self, size: int) -> tuple[Digest, bytes]:
        """A blob of the upstream that the other replica owns."""
        for number in range(1000):
            content = number.to_bytes(4, "big") * (size // 4)
            digest = Digest.of(content)
            key = Question(Subject.BLOB, "docker.io", _NAME, digest).key
            if rank(key, [self.own, self.peer.address])[0] == self.peer.address:
                self.upstream.add_blob(_NAME, content)
                return digest, content
        raise AssertionError


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """With the limits, and the timeout of replicas, that a test gives."""
    given = getattr(request, "param", {})
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    own = f"{LOOPBACK}:{free_port()}"
    async with ScriptedUpstream() as upstream, FalsePeer(free_port()) as peer:
        chosen = settings(
            upstream,
            tmp_path / "data",
            limits=given.get("limits", {}),
            peers={
                "listen": own,
                "discover": [own, peer.address],
                "secret_file": secret,
                "timeout": given.get("timeout", _TIMEOUT),
            },
        )
        async with Proxy(chosen) as proxy:
            yield World(upstream, proxy, peer, own)


def sent(content: bytes, *, total: int | None = None) -> list[Frame]:
    """The answer of a replica that has a blob."""
    extent = Frame.of_extent(0, len(content) if total is None else total)
    return [extent, Frame(Kind.DATA, content), Frame(Kind.END)]


_UNKNOWN: Final = frame_of_error(BlobUnknown("there is no such blob"))
_OTHER: Final = b"other bytes!" * (_SMALL // 12)
_WRONG: Final = {
    "other bytes": (Script(sent(_OTHER)), "lying"),
    "fewer bytes than it said": (Script(sent(b"x", total=_SMALL)), "lying"),
    "more bytes than it said": (Script(sent(_OTHER * 3, total=_SMALL)), "lying"),
    "bytes without an end in sight": (
        Script([Frame.of_extent(0, None), *[Frame(Kind.DATA, _OTHER)] * 100], stalls=True),
        "lying",
    ),
    "an end without an extent": (Script([Frame(Kind.END)]), "lying"),
    "a value instead of bytes": (Script([Value().frame()]), "lying"),
    "a signature with another secret": (
        Script(sent(_OTHER), secret=b"a secret of somebody else"),
        "lying",
    ),
    "a denial with another secret": (
        Script([_UNKNOWN], secret=b"a secret of somebody else"),
        "lying",
    ),
    "a 404 that nobody signed": (Script(status=404), "format"),
    "an error that nobody signed": (Script(status=500), "refused"),
    "a refusal": (Script(status=401), "refused"),
    "a redirect": (Script(status=307, headers={"Location": "http://127.0.0.1:1/"}), "refused"),
    "an answer that ends early": (Script([Frame(Kind.HEARTBEAT)]), "refused"),
    "a referral to nobody": (Script([frame_of_error(SeeOther("10.0.0.1:1"))]), "lying"),
    "silence": (Script(stalls=True), "silent"),
    "silence in the middle": (Script(sent(_OTHER)[:1], stalls=True), "silent"),
}


@pytest.mark.parametrize(("script", "reason"), _WRONG.values(), ids=_WRONG)
async def test_a_client_gets_the_content_all_the_same(
    world: World, script: Script, reason: str
) -> None:
    digest, content = world.blob_of_peer(_SMALL)
    world.peer.script = script
    passed_over = metric("peer_passed_over_total", reason=reason)
    began = monotonic()
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)
    assert monotonic() - began < _TIMEOUT + _LOAD
    assert world.peer.asked[0].reference == digest
    assert metric("peer_passed_over_total", reason=reason) > passed_over
    line = await world.proxy.line("peer.left_out", peer=world.peer.address)
    assert line["reason"] == reason
    # It is not asked again for the next blob.
    asked = len(world.peer.asked)
    digest, content = world.blob_of_peer(_SMALL + 4)
    assert (await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")).body == content
    assert len(world.peer.asked) == asked


@pytest.mark.parametrize("subject", ["manifests/1", "tags/list", "referrers"])
async def test_a_referral_in_place_of_anything_but_a_blob_is_a_lie(
    world: World, subject: str
) -> None:
    """Then as for a blob: the client gets what there is."""
    for number in range(32):
        name = f"library/cargo-{number}"
        image = push(world.upstream, name, "1", images.oci())
        world.peer.script = Script([frame_of_error(SeeOther(world.peer.address))])
        path = f"referrers/{image}" if subject == "referrers" else subject
        answer = await world.proxy.get(f"/v2/{name}/{path}", Accept=images.OCI.manifest)
        assert answer.status in {200, 404}
        if world.peer.asked:
            break
    assert (await world.proxy.line("peer.left_out"))["reason"] == "lying"


@pytest.mark.parametrize("world", [{"timeout": 16.0}], indirect=True)
async def test_a_head_that_is_late_is_part_of_the_time_that_silence_may_last(world: World) -> None:
    digest, content = world.blob_of_peer(_SMALL)
    world.peer.script = Script(late=7.6, stalls=True)
    began = monotonic()
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)
    # Without that it takes 7.6 s more.
    assert monotonic() - began < 16.0 + 6.0


@pytest.mark.parametrize(
    "world", [{"limits": {"per_client": {"upstream_per_minute": 5}}}], indirect=True
)
async def test_what_another_replica_is_asked_counts_for_the_client(world: World) -> None:
    """That one asks the upstream, and does not know for whom."""
    world.peer.script = Script([_UNKNOWN])
    statuses = []
    for number in range(20):
        digest, _ = world.blob_of_peer(_SMALL + 4 * number)
        statuses.append((await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")).status)
    assert statuses[0] == 404
    assert statuses[-1] == 429
    # What it has already, it may be asked: that costs the upstream nothing.
    costly = [question for question in world.peer.asked if question.effort is Effort.OWNER]
    assert 1 <= len(costly) + len(world.upstream.requests) < 10


async def test_a_denial_that_was_signed_for_another_question(world: World) -> None:
    first, _ = world.blob_of_peer(_SMALL)
    world.peer.script = Script([_UNKNOWN], replays=True)
    assert (await world.proxy.get(f"/v2/{_NAME}/blobs/{first}")).status == 404
    second, content = world.blob_of_peer(_SMALL + 4)
    assert (await world.proxy.get(f"/v2/{_NAME}/blobs/{second}")).body == content
    assert (await world.proxy.line("peer.left_out"))["reason"] == "lying"


async def test_a_large_blob_of_other_bytes_is_neither_finished_nor_kept(world: World) -> None:
    digest, content = world.blob_of_peer(_LARGE)
    world.peer.script = Script(sent(b"x" * _LARGE))
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert not answer.whole or answer.status >= 500
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)
    assert (await world.proxy.line("peer.left_out"))["reason"] == "lying"


async def test_a_large_blob_of_which_only_the_end_is_wrong_is_continued_from_upstream(
    world: World,
) -> None:
    """The end is held back until all of it is right, so the client does not notice."""
    digest, content = world.blob_of_peer(_LARGE)
    pieces = [content[:300_000], content[300_000:350_000], b"x" * (_LARGE - 350_000)]
    frames = [Frame(Kind.DATA, piece) for piece in pieces]
    world.peer.script = Script([Frame.of_extent(0, _LARGE), *frames, Frame(Kind.END)])
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)
    assert (await world.proxy.line("peer.left_out"))["reason"] == "lying"
    (request,) = [one for one in world.upstream.requests if one.method == "GET"]
    assert request.headers["Range"] == "bytes=300000-"


async def test_one_that_has_sent_a_part_is_not_asked_for_the_blob_at_once_again(
    world: World,
) -> None:
    """The part may be what was wrong, and it is soon well enough to be asked for other blobs."""
    digest, content = world.blob_of_peer(_LARGE)
    wrong = Frame(Kind.DATA, b"x" * (_LARGE // 2))
    world.peer.script = Script([Frame.of_extent(0, _LARGE), wrong])
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert not answer.whole
    await world.proxy.line("peer.left_out")
    await _wait_until_it_is_asked_again(world)
    other, other_content = world.blob_of_peer(_LARGE + 4)
    world.peer.script = Script(sent(other_content))
    assert (await world.proxy.get(f"/v2/{_NAME}/blobs/{other}")).body == other_content
    assert world.peer.asked[-1].reference == other
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)
    assert world.peer.asked[-1].reference == other


async def test_a_large_blob_that_stalls_is_continued_from_upstream(world: World) -> None:
    digest, content = world.blob_of_peer(_LARGE)
    half = Frame(Kind.DATA, content[: _LARGE // 2])
    world.peer.script = Script([Frame.of_extent(0, _LARGE), half], stalls=True)
    answer = await world.proxy.get(f"/v2/{_NAME}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, content)
    (request,) = [one for one in world.upstream.requests if one.method == "GET"]
    assert request.headers["Range"] == f"bytes={_LARGE // 2}-"


async def test_a_question_of_the_owner_is_not_passed_back_to_it(world: World) -> None:
    """Two replicas that take each other for the owner do not wait for one another."""
    digest, content = world.blob_of_peer(_SMALL)
    world.peer.script = Script([frame_of_error(NotStored())])
    question = Question(Subject.BLOB, "docker.io", _NAME, digest)
    status, body = await _ask(world, question)
    assert status == 200
    assert content in body
    assert [asked.effort for asked in world.peer.asked] == [Effort.STORED]


@pytest.mark.parametrize(
    ("subject", "reference"),
    [
        (Subject.TAG, Tag("1")),
        (Subject.MANIFEST, Digest.of(b"x")),
        (Subject.BLOB, Digest.of(b"x")),
        (Subject.BLOB_SIZE, Digest.of(b"x")),
        (Subject.TAGS, None),
        (Subject.REFERRERS, Digest.of(b"x")),
    ],
)
async def test_a_registry_that_this_replica_does_not_know_is_asked_by_the_other_one(
    world: World, subject: Subject, reference: Digest | Tag | None
) -> None:
    """As while new settings are rolled out: that it is unknown here is no answer for a client."""
    status, body = await _ask(world, Question(subject, "quay.io", _NAME, reference))
    assert status == 200
    assert b"NotStored" in body


async def test_a_claim_is_no_right_where_the_repository_is_closed(world: World) -> None:
    """In an open one it suffices that a manifest names what another open one has."""
    world.peer.script = Script([frame_of_error(NotStored())])
    content = images.oci()
    layer, layer_content = max(content.blobs.items(), key=lambda blob: len(blob[1]))
    layer = Digest(layer)
    for name in ("library/first", "library/second"):
        push(world.upstream, name, "1", content)
        answer = await world.proxy.get(f"/v2/{name}/manifests/1", Accept=images.OCI.manifest)
        assert answer.status == 200
    path = f"/v2/library/first/blobs/{layer}"
    assert (await world.proxy.get(path)).body == layer_content
    question = Question(Subject.BLOB, "docker.io", "library/second", layer)
    _, body = await _ask(world, question)
    assert layer_content in body
    for subject in (Subject.BLOB, Subject.BLOB_SIZE):
        asked = replace(question, subject=subject, granted=True)
        _, body = await _ask(world, asked, nonce=f"{subject:0>32}")
        assert b"NotStored" in body
        assert layer_content not in body


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": b"a secret of somebody else"},
        {"receiver": "127.0.0.2:5001"},
        {"time": "1000.000"},
        {"time": "9999999999.000"},
    ],
)
async def test_a_question_that_is_not_for_us(world: World, changed: dict[str, str]) -> None:
    status, _ = await _ask(world, Question(Subject.HEALTH), **changed)  # type: ignore[arg-type]
    assert status == 401


@pytest.mark.parametrize("header", ["Host", SENDER, BODY, TIME, NONCE, SIGNATURE])
async def test_a_question_with_bytes_that_are_no_text(world: World, header: str) -> None:
    given = {"Host": world.own, header: "\udcff\udc80"}
    headers = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    head = f"GET {Question(Subject.HEALTH).encode()} HTTP/1.1\r\n{headers}\r\n"
    host, _, port = world.own.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode(errors="surrogateescape"))
    status = (await reader.readline()).split()[1]
    writer.close()
    assert status in {b"400", b"401"}
    assert not [line for line in world.proxy.log() if line["level"] == "error"]


async def test_a_question_that_has_been_here_before(world: World) -> None:
    nonce = "a" * 32
    assert (await _ask(world, Question(Subject.HEALTH), nonce=nonce))[0] == 200
    assert (await _ask(world, Question(Subject.HEALTH), nonce=nonce))[0] == 401


async def test_without_a_signature_nothing_is_answered(world: World) -> None:
    for path in ("/", "/v2/", Question(Subject.HEALTH).encode(), "/peers/2/health"):
        answer = await asyncio.to_thread(ask, f"http://{world.own}{path}")
        assert answer.status in {401, 404}


async def _wait_until_it_is_asked_again(world: World) -> None:
    """Return when a probe has succeeded."""
    services = world.proxy.services
    assert services.peers is not None
    async with asyncio.timeout(_SOON):
        await services.peers.probe(services.readiness)
        while any(peer.state != "live" for peer in services.readiness.peers):
            await services.peers.probe(services.readiness)


async def _ask(
    world: World,
    question: Question,
    *,
    secret: bytes = SECRET,
    receiver: str = "",
    time: str = "",
    nonce: str = "00" * 16,
) -> tuple[int, bytes]:
    """Ask the proxy as a replica does."""
    import time as clock  # noqa: PLC0415 -- the parameter has its name

    signed = Signed(
        method="GET",
        sender=world.peer.address,
        receiver=receiver or world.own,
        target=question.encode(),
        body="",
        time=time or f"{clock.time():.3f}",
        nonce=nonce,
    )
    headers = [
        ("Host", signed.receiver),
        ("Lighterage-Replica", signed.sender),
        ("Lighterage-Time", signed.time),
        ("Lighterage-Nonce", signed.nonce),
        ("Lighterage-Signature", Signer(secret).sign(signed)),
    ]
    answer = await asyncio.to_thread(ask, f"http://{world.own}{signed.target}", headers=headers)
    return answer.status, answer.body
