"""Nothing is served without a grant, whatever way a client asks, and whatever others have pulled.

A repository may serve some content if its upstream has delivered it there, or has answered HEAD
there for bytes that it has delivered before. A manifest in the repository may also claim it; then
another repository of the same upstream must have it.

A mirror here has the stranger's content in the thief's repository. It may deliver what a manifest
of the registry names there, and by nothing but the route for what it is named as.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from proxy.oci.mediatype import MediaType
from tests.hostile import bystander
from tests.kit import images
from tests.kit.proxy import Answer, Proxy, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

SECRET: Final = images.docker_list("secret")
CHILD: Final = SECRET.children[0]
# Every kind of content that a digest can name, and the route that a client asks by.
CONTENT: Final[Mapping[str, tuple[str, bytes]]] = {
    "list": ("manifests", SECRET.manifest),
    "image": ("manifests", CHILD.manifest),
    "config": ("blobs", next(iter(CHILD.blobs.values()))),
    "layer": ("blobs", list(CHILD.blobs.values())[-1]),
}
# Who is asked for it.
OWNER: Final = "owner/secret"
ASKERS: Final = {
    "same upstream": "thief/image",
    "other upstream": "other.example/thief/image",
    "mirrored upstream": "mirrored.example/thief/image",
}
HAS: Final = ("nothing", "layer claim", "foreign claim", "index claim", "manifest claim")


# What each manifest of the thief's really claims.
NAMED: Final[Mapping[str, set[str]]] = {
    "layer claim": set(CONTENT),
    "foreign claim": {"config"},
    "index claim": set(CONTENT),
}


MIRRORED: Final = "mirrored upstream"


def _delivered_by_mirror(has: str) -> set[tuple[str, str]]:
    """What a mirror may deliver, by route: the content as what it is named as.

    An image that an index names is delivered as such, and names its config and layer itself.
    """
    allowed = {"manifests", "blobs"} if has == "index claim" else {"blobs"}
    return {(CONTENT[name][0], name) for name in NAMED.get(has, ()) if CONTENT[name][0] in allowed}


def _claiming(kind: str) -> tuple[bytes, str]:
    """A manifest of the thief's that names all of the secret as `kind` says."""
    everything = [
        {"digest": str(images.digest(content)), "size": len(content)}
        for _, content in CONTENT.values()
    ]
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", **everything[2]}
    layer = "application/vnd.oci.image.layer.v1.tar+gzip"
    members: dict[str, object]
    match kind:
        case "layer claim":
            layers = [{"mediaType": layer, **each} for each in everything]
            members = {"mediaType": MediaType.OCI_MANIFEST, "config": config, "layers": layers}
        case "foreign claim":
            layers = [{"mediaType": layer, "urls": ["http://x"], **each} for each in everything]
            members = {"mediaType": MediaType.OCI_MANIFEST, "config": config, "layers": layers}
        case "index claim":
            types = (MediaType.DOCKER_LIST, MediaType.V2S2, MediaType.V2S2, MediaType.V2S2)
            entries = [
                {"mediaType": kind, **each, "platform": {"os": "linux", "architecture": "amd64"}}
                for kind, each in zip(types, everything, strict=True)
            ]
            members = {"mediaType": MediaType.OCI_INDEX, "manifests": entries}
        case _:
            entries = [{"mediaType": "application/x.y", **each} for each in everything]
            members = {"mediaType": MediaType.OCI_INDEX, "manifests": entries}
    raw = json.dumps({"schemaVersion": 2, **members}).encode()
    return raw, str(members["mediaType"])


@dataclass(frozen=True, slots=True)
class Scene:
    """Three upstreams, of which the first one has the secret, and a proxy."""

    owner: ScriptedUpstream
    other: ScriptedUpstream
    mirror: ScriptedUpstream
    proxy: Proxy
    # What the mirror may deliver so far: the examples of one test have one proxy.
    by_mirror: set[tuple[str, str]] = field(default_factory=set)

    @property
    def upstreams(self) -> tuple[ScriptedUpstream, ...]:
        return self.owner, self.other, self.mirror

    async def warm(self) -> None:
        """Somebody who may has pulled all of the secret, and converted it."""
        for tag in ("1", SECRET.digest):
            await self.proxy.get(f"/v2/{OWNER}/manifests/{tag}")
        for route, content in CONTENT.values():
            answer = await self.proxy.get(f"/v2/{OWNER}/{route}/{images.digest(content)}")
            assert (answer.status, answer.body) == (200, content)


@pytest.fixture
async def scene(data_dir: Path) -> AsyncIterator[Scene]:
    async with ScriptedUpstream() as owner, ScriptedUpstream() as other, ScriptedUpstream() as far:
        push(owner, OWNER, "1", SECRET)
        push(owner, bystander.NAME, bystander.TAG, bystander.IMAGE)
        push(far, "thief/image", "1", SECRET)
        upstreams = {
            "docker.io": {"url": owner.url, "default": True},
            "other.example": {"url": other.url},
            "mirrored.example": {"url": other.url, "mirrors": [{"url": far.url}]},
        }
        chosen = settings(upstreams, data_dir, negative_cache={"not_found": "0s", "denied": "0s"})
        async with Proxy(chosen) as proxy:
            yield Scene(owner, other, far, proxy)


def requests(name: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every way to ask `name` for the secret by digest: method, path and headers."""
    accepts: tuple[dict[str, str], ...] = ({}, {"Accept": "*/*"}, {"Accept": MediaType.V2S1_SIGNED})
    ranges: tuple[dict[str, str], ...] = (
        {},
        {"Range": "bytes=0-0"},
        {"Range": "bytes=-5"},
        {"If_None_Match": "*"},
    )
    for route, content in CONTENT.values():
        digest = images.digest(content)
        for method, headers in product(("GET", "HEAD"), accepts):
            yield method, f"/v2/{name}/manifests/{digest}", headers
        for method, headers in product(("GET", "HEAD"), ranges):
            yield method, f"/v2/{name}/blobs/{digest}", headers
        assert route in {"manifests", "blobs"}


def secrets_in(answer: Answer) -> list[str]:
    """What an answer says of the secret: bytes of it, its type or its length."""
    return [
        name
        for name, (_, content) in CONTENT.items()
        if answer.body == content or (len(content) > 64 and answer.body[:64] == content[:64])
    ]


def _give(scene: Scene, asker: str, has: str) -> None:
    """Let the thief's own repository have what it can have: a manifest of the thief's."""
    upstream = scene.owner if asker == "same upstream" else scene.other
    if has != "nothing":
        upstream.add_manifest("thief/image", "evil", *_claiming(has))


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("has", HAS)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_nothing_is_served_without_a_grant(
    scene: Scene, asker: str, has: str, *, warm: bool
) -> None:
    _give(scene, asker, has)
    if warm:
        await scene.warm()
    name = ASKERS[asker]
    if has != "nothing":
        evil = await scene.proxy.get(f"/v2/{name}/manifests/evil", Accept="*/*")
        assert evil.status == 200
    # What the repository's upstream has delivered elsewhere, a claim opens in an open repository.
    may = NAMED.get(has, set()) if asker == "same upstream" and warm else set()
    by_mirror = _delivered_by_mirror(has) if asker == MIRRORED else set()
    for method, path, headers in requests(name):
        answer = await scene.proxy.ask(method, path, **headers)
        route, asked = _asked(path)
        # What a mirror has delivered by one route is granted, and not asked for by another one.
        if asked not in may and asked not in {name for _, name in by_mirror}:
            assert answer.status >= 400, (method, path, headers)
            assert answer.status < 500 or answer.status == 502, (method, path, answer.status)
            assert not secrets_in(answer), (method, path, headers)
            assert answer.headers.get("Lighterage-Converted-From") is None
        if (route, asked) in by_mirror and method == "GET" and not headers:
            assert (answer.status, answer.body) == (200, CONTENT[asked][1])
    await bystander.pull(scene.proxy)


def _asked(path: str) -> tuple[str, str]:
    """The route of a request, and the content that it is for."""
    asked = next(name for name, (_, raw) in CONTENT.items() if path.endswith(images.digest(raw)))
    return path.split("/")[-2], asked


@pytest.mark.parametrize("asker", [name for name in ASKERS if name != "same upstream"])
async def test_a_head_proves_nothing_for_the_bytes_of_another_upstream(
    scene: Scene, asker: str
) -> None:
    """It answers HEAD with the right length, and has other bytes."""
    await scene.warm()
    for route, content in CONTENT.values():
        wrong = bytes(len(content))
        digest = images.digest(content)
        if route == "blobs":
            scene.other._blobs["thief/image", digest] = wrong
        else:
            scene.other._manifests["thief/image", digest] = wrong, MediaType.V2S2
    if asker == MIRRORED:
        # Of that, the mirror has the right bytes; but nothing here names them.
        assert scene.mirror.count() == 0
    for method, path, headers in requests(ASKERS[asker]):
        if method == "GET":
            answer = await scene.proxy.ask(method, path, **headers)
            assert not secrets_in(answer), (path, headers)
    await bystander.pull(scene.proxy)


@examples(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["warm", "down", "up", *HAS]), st.integers(0)), max_size=8
    )
)
async def test_in_any_order(scene: Scene, steps: list[tuple[str, int]]) -> None:
    """Requests of owners and thieves of the other upstreams, in any order.

    Their registry may be down; then its mirror is asked for no more than before.
    """
    others = [name for name in ASKERS.values() if name != ASKERS["same upstream"]]
    every = [request for name in others for request in requests(name)]
    for step, number in steps:
        if step == "warm":
            await scene.warm()
        elif step == "down":
            scene.other.fault("*", "*", Fault(status=503))
        elif step == "up":
            scene.other.heal()
        elif step != "nothing":
            scene.other.add_manifest("thief/image", "evil", *_claiming(step))
            name = others[number % 2]
            answer = await scene.proxy.get(f"/v2/{name}/manifests/evil", Accept="*/*")
            if answer.status == 200 and name == ASKERS[MIRRORED]:
                scene.by_mirror.update(_delivered_by_mirror(step))
        method, path, headers = every[number % len(every)]
        answer = await scene.proxy.ask(method, path, **headers)
        is_delivered = _asked(path)[1] in {name for _, name in scene.by_mirror}
        if path.startswith("/v2/mirrored.example/") and is_delivered:
            continue
        assert answer.status >= 400, (method, path, headers)
        assert not secrets_in(answer)
    scene.other.heal()
