"""Every way in which an upstream fails: what is here is served, and soon; what is not, is said so.

One row for each row of the table in `docs/outages.md`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import UPSTREAM_ACCEPT
from proxy.wiring import upstreams
from tests.kit import images
from tests.kit.certificates import self_signed
from tests.kit.proxy import Proxy, metric, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from tests.kit.proxy import Answer

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "outages.md"
NAME: Final = "library/cargo"
CARGO: Final = f"/v2/{NAME}"
INDEX: Final = images.oci_index()
OTHER: Final = images.oci()
LISTING: Final = b'{"name": "library/cargo", "tags": ["index", "other"]}'

# How long the proxy tries to connect, in seconds. An answer from the cache comes well before that.
CONNECT_TIMEOUT: Final = 3.0
AT_MOST: Final = CONNECT_TIMEOUT * 2 / 3
# Once the upstream is not asked any more, a pull costs at most so many times what it costs beside a
# healthy one; waiting would cost sixty times as much. The best of some rounds is compared, so a
# machine that others use makes no difference.
ONCE_OPEN: Final = 20.0
ROUNDS: Final = 10
# What ends a test that hangs, in seconds.
RECOVERED: Final = 60.0

# Pulls ask each time, and what the upstream refuses is believed only for a moment.
IMPATIENT: Final[Mapping[str, Any]] = {
    "tags": {"ttl": 0},
    "negative_cache": {"not_found": 0.3, "denied": 0.3},
}

CACHED: Final = (
    f"{CARGO}/manifests/index",
    *(f"{CARGO}/manifests/{image.digest}" for image in (INDEX, *INDEX.children)),
    *(f"{CARGO}/blobs/{blob}" for image in INDEX.children for blob in image.blobs),
    f"{CARGO}/tags/list",
)


@dataclass(frozen=True, slots=True)
class Outage:
    """What goes wrong, and what follows: for a cached tag, and for what is not in the cache.

    `cached` is what `Cache-Status` says of the tag; None if there is no such tag any more.
    """

    name: str
    breaks: Callable[[ScriptedUpstream], AbstractAsyncContextManager[None]]
    cached: str | None
    status: int
    code: str
    opens: bool = True
    uncached: str = f"{CARGO}/manifests/other"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As `docs/outages.md` has it."""
        return self.name


@asynccontextmanager
async def refused(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    await upstream.stop()
    yield
    await upstream.start()


@asynccontextmanager
async def black_hole(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """A port whose backlog is full takes no connection, and refuses none."""
    await upstream.stop()
    with socket.socket() as hole:
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(("127.0.0.1", upstream.port))
        hole.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)  # noqa: FBT003 -- its only parameter
            one.connect_ex(("127.0.0.1", upstream.port))
        yield
        for one in waiting:
            one.close()
    await upstream.start()


@asynccontextmanager
async def no_name(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """The name does not resolve any more; an address that is remembered helps nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NAMES, "known", False)
        async with refused(upstream):
            yield


@asynccontextmanager
async def other_certificate(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """One that nobody trusts."""
    await upstream.stop()
    await upstream.start(tls=self_signed()[0])
    yield
    await upstream.stop()
    await upstream.start()


@asynccontextmanager
async def faulty(fault: Fault, upstream: ScriptedUpstream) -> AsyncIterator[None]:
    upstream.fault("*", f"{CARGO}/*", fault)
    yield
    upstream.heal()


@asynccontextmanager
async def no_tokens(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    upstream.require_token(realm=f"http://registry.test:{upstream.port}/token")
    upstream.fault("*", "/token", Fault(status=503))
    yield
    upstream.heal()


@asynccontextmanager
async def lost_storage(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """Blobs are elsewhere, and there nobody listens."""
    async with ScriptedUpstream() as elsewhere:
        location = elsewhere.serve("/blob", b"")
    upstream.fault("*", f"{CARGO}/blobs/*", redirect(location))
    yield
    upstream.heal()


@asynccontextmanager
async def half_a_body(upstream: ScriptedUpstream) -> AsyncIterator[None]:
    """The tag has moved on, and what it names now does not arrive whole."""
    push(upstream, NAME, "index", images.docker_list())
    upstream.fault("GET", f"{CARGO}/manifests/*", Fault(cut=100))
    yield
    push(upstream, NAME, "index", INDEX)
    upstream.heal()


UNAVAILABLE: Final = 'Lighterage; hit; detail="stale unavailable"'
DENIED: Final = 'Lighterage; hit; detail="stale denied"'
THROTTLED: Final = 'Lighterage; hit; detail="stale throttled"'
REVALIDATED: Final = "Lighterage; fwd=stale; detail=revalidated"
SLOW: Final = 'Lighterage; hit; detail="stale slow"'

OUTAGES: Final = (
    Outage("refused", refused, UNAVAILABLE, 502, "UNAVAILABLE"),
    Outage("black hole", black_hole, SLOW, 502, "UNAVAILABLE"),
    Outage("DNS", no_name, UNAVAILABLE, 502, "UNAVAILABLE"),
    Outage("TLS", other_certificate, UNAVAILABLE, 502, "UNAVAILABLE"),
    Outage("401", partial(faulty, Fault(status=401)), DENIED, 404, "NAME_UNKNOWN", opens=False),
    Outage("403", partial(faulty, Fault(status=403)), DENIED, 404, "NAME_UNKNOWN", opens=False),
    Outage("404", partial(faulty, Fault(status=404)), None, 404, "MANIFEST_UNKNOWN", opens=False),
    Outage(
        "404 that is not the registry's",
        partial(faulty, Fault(status=404, headers={"Content-Type": "text/html"}, body=b"<p>Gone")),
        UNAVAILABLE,
        502,
        "UNAVAILABLE",
        opens=False,
    ),
    Outage(
        "429", partial(faulty, Fault(status=429)), THROTTLED, 429, "TOOMANYREQUESTS", opens=False
    ),
    Outage(
        "429 with Retry-After",
        partial(faulty, Fault(status=429, headers={"Retry-After": "2"})),
        THROTTLED,
        429,
        "TOOMANYREQUESTS",
        opens=False,
        headers={"Retry-After": "2"},
    ),
    Outage(
        "429 that is no JSON",
        partial(faulty, Fault(status=429, headers={"Content-Type": "text/html"}, body=b"<p>Slow")),
        THROTTLED,
        429,
        "TOOMANYREQUESTS",
        opens=False,
    ),
    Outage("500", partial(faulty, Fault(status=500)), UNAVAILABLE, 502, "UNAVAILABLE", opens=False),
    Outage("503", partial(faulty, Fault(status=503)), UNAVAILABLE, 502, "UNAVAILABLE", opens=False),
    Outage("token server down", no_tokens, UNAVAILABLE, 502, "UNAVAILABLE", opens=False),
    Outage(
        "redirect target down",
        lost_storage,
        REVALIDATED,
        502,
        "UNAVAILABLE",
        opens=False,
        uncached=f"{CARGO}/blobs/{next(iter(OTHER.blobs))}",
    ),
    Outage("half a body", half_a_body, UNAVAILABLE, 502, "UNAVAILABLE", opens=False),
)


class Names:
    """A resolver in which `registry.test` can cease to exist."""

    known = True
    resolve = staticmethod(socket.getaddrinfo)

    def __call__(self, host: str | bytes | None, *rest: Any, **options: Any) -> Any:
        if host == "registry.test":
            if not self.known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return self.resolve(host, *rest, **options)


NAMES: Final = Names()


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A breaker that is as patient as a test."""
    monkeypatch.setattr(upstreams, "_FIRST_PROBE_INTERVAL", 0.2)
    monkeypatch.setattr(upstreams, "_MAX_PROBE_INTERVAL", 0.5)


@pytest.fixture
def certified(outage: Outage) -> ssl.SSLContext | None:
    """What an upstream shows that speaks TLS."""
    return self_signed()[0] if outage.name == "TLS" else None


@pytest.fixture
async def upstream(
    certified: ssl.SSLContext | None,
) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(tls=certified) as upstream:
        push(upstream, NAME, "index", INDEX)
        push(upstream, NAME, "other", OTHER)
        upstream.serve(f"{CARGO}/tags/list", LISTING)
        yield upstream


@pytest.fixture
async def proxy(
    upstream: ScriptedUpstream,
    data_dir: Path,
    certified: ssl.SSLContext | None,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Proxy]:
    """A proxy that reaches the upstream by a name; with TLS by its address."""
    monkeypatch.setattr(socket, "getaddrinfo", NAMES)
    registry: dict[str, Any] = {
        "default": True,
        "connect_timeout": CONNECT_TIMEOUT,
        "idle_timeout": 2.0,
    }
    if certified:
        trusted = data_dir / "trusted.pem"
        shown = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", upstream.port))
        trusted.write_text(shown)
        registry |= {"url": upstream.url, "ca_file": trusted}
    else:
        registry["url"] = upstream.url.replace("127.0.0.1", "registry.test")
    async with Proxy(settings({"docker.io": registry}, data_dir, **IMPATIENT)) as proxy:
        yield proxy


@pytest.mark.usefixtures("quick_probes")
@pytest.mark.parametrize("outage", OUTAGES, ids=str)
async def test_an_outage_costs_nothing_that_is_cached(
    proxy: Proxy, upstream: ScriptedUpstream, outage: Outage
) -> None:
    bodies = {path: (await ask(proxy, path)).body for path in CACHED}
    healthy = min([await time_of_a_round(proxy) for _ in range(ROUNDS)])
    async with outage.breaks(upstream):
        await expect_cached(proxy, outage, bodies)
        await expect_uncached(proxy, outage)
        await open_the_breaker(proxy, outage)
        await expect_cached(proxy, outage, bodies)
        await expect_no_waiting(proxy, healthy)

        await proxy.restart()
        await expect_cached(proxy, outage, bodies)
        await open_the_breaker(proxy, outage)
        await expect_cached(proxy, outage, bodies)
        await expect_no_waiting(proxy, healthy)
        await expect_uncached(proxy, outage)
    async with asyncio.timeout(RECOVERED):
        await answered(proxy, outage.uncached, "Lighterage; fwd=miss; stored", "Lighterage; hit")
        await answered(proxy, CACHED[0], REVALIDATED)
    assert metric("upstream_circuit_open", upstream="docker.io") == 0
    for path, body in bodies.items():
        assert (await ask(proxy, path)).body == body


@pytest.mark.parametrize("certified", [None])
async def test_manifests_that_break_off_do_not_keep_others_from_being_asked_for(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    """The registry answers; so its circuit stays closed, however many there are."""
    upstream.fault("GET", f"{CARGO}/manifests/*", Fault(cut=100))
    for image in (*INDEX.children, *images.docker_list().children, INDEX):
        push(upstream, NAME, None, image)
        answer = await ask(proxy, f"{CARGO}/manifests/{image.digest}")
        assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert metric("upstream_circuit_open", upstream="docker.io") == 0
    assert (await ask(proxy, CACHED[-1])).status == 200


def test_the_documentation_has_a_row_for_each_with_what_is_tested() -> None:
    rows = {
        cells[0]: cells[1:]
        for line in DOCUMENT.read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
    }
    assert rows.keys() - {"failure", "---"} == {outage.name for outage in OUTAGES}
    for outage in OUTAGES:
        _, reason, uncached, alone = rows[outage.name]
        assert uncached.startswith(f"{outage.status} `{outage.code}`")
        if outage.cached not in {None, REVALIDATED}:
            assert f"`{str(outage.cached).rpartition(' ')[2].rstrip(chr(34))}`" in reason
        assert alone.startswith("yes") == outage.opens


async def ask(proxy: Proxy, path: str) -> Answer:
    return await proxy.get(path, Accept=UPSTREAM_ACCEPT)


async def answered(proxy: Proxy, path: str, *caches: str) -> None:
    """Ask until the answer comes from where it should."""
    while (await ask(proxy, path)).headers.get("Cache-Status") not in caches:  # noqa: ASYNC110 -- it asks
        await asyncio.sleep(0.05)


async def expect_cached(proxy: Proxy, outage: Outage, bodies: Mapping[str, bytes]) -> None:
    """Everything is served in time, and the tag is marked for what it is."""
    for path, body in bodies.items():
        began = monotonic()
        answer = await ask(proxy, path)
        took = monotonic() - began
        if path in {CACHED[0], CACHED[-1]} and outage.cached is None:
            assert answer.status == 404
            continue
        assert answer.status == 200, (path, answer.body)
        if path == CACHED[-1]:
            assert json.loads(answer.body)["tags"] == json.loads(body)["tags"]
        else:
            assert answer.body == body
        if path == CACHED[0]:
            assert answer.cache in {outage.cached, UNAVAILABLE}
        assert took < AT_MOST, (path, answer.cache)


async def time_of_a_round(proxy: Proxy) -> float:
    """What it takes to pull everything that is cached once, in seconds."""
    began = monotonic()
    for path in CACHED:
        await ask(proxy, path)
    return monotonic() - began


async def expect_no_waiting(proxy: Proxy, healthy: float) -> None:
    """One of some rounds takes about as long as one beside a healthy upstream."""
    rounds: list[float] = []
    while len(rounds) < ROUNDS:
        rounds.append(await time_of_a_round(proxy))
        if rounds[-1] < ONCE_OPEN * healthy:
            return
    pytest.fail(f"{rounds} s for what takes {healthy} s beside a healthy upstream")


async def expect_uncached(proxy: Proxy, outage: Outage) -> None:
    """The documented error, in the spec's form."""
    answer = await ask(proxy, outage.uncached)
    assert (answer.status, answer.code) == (outage.status, outage.code), answer.body
    for name, value in outage.headers.items():
        assert int(answer.headers[name]) <= int(value)


async def open_the_breaker(proxy: Proxy, outage: Outage) -> None:
    """As many clients as it takes."""
    missing = [f"{CARGO}/manifests/missing-{number}" for number in range(3)]
    await asyncio.gather(*(ask(proxy, path) for path in missing))
    if not outage.opens:
        for _ in range(4):
            await ask(proxy, outage.uncached)
    assert metric("upstream_circuit_open", upstream="docker.io") == outage.opens
