"""A mirror moves bytes: it gives no repository anything that the registry has not named there.

Whatever it answers, others are served as before, and as soon as before.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.hostile import bystander
from tests.kit import images, schema1
from tests.kit.access import basic, htpasswd
from tests.kit.proxy import Proxy, push, settings
from tests.kit.scripted_upstream import Fault, ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.images import Content

NAME: Final = "library/ship"
IMAGE: Final = images.oci("ship")
LIST: Final = images.docker_list("fleet")
STRANGER: Final = images.oci("stranger")
BIG: Final = images.big(2, "ship")
FROM_MIRROR: Final = "detail=mirror"


@dataclass(frozen=True, slots=True)
class Scene:
    """A registry, its only mirror, and a proxy in front of them."""

    registry: ScriptedUpstream
    mirror: ScriptedUpstream
    proxy: Proxy

    async def get_tag(self, tag: str = "1") -> Any:
        path = f"/v2/ships.example/{NAME}/manifests/{tag}"
        return await self.proxy.get(path, Accept="*/*")

    async def bystander(self) -> None:
        """Somebody pulls an image of an upstream that has nothing to do with it."""
        await bystander.pull(self.proxy)

    async def pull(
        self, image: Content, tag: str, methods: tuple[str, ...] = ("HEAD", "GET")
    ) -> str:
        """Pull all of an image by its tag; where its manifest came from."""
        manifest = await self.get_tag(tag)
        assert (manifest.status, manifest.body) == (200, image.manifest)
        for child in image.children:
            path = f"/v2/ships.example/{NAME}/manifests/{child.digest}"
            answer = await self.proxy.get(path, Accept="*/*")
            assert (answer.status, answer.body) == (200, child.manifest)
        for content in (image, *image.children):
            for digest, blob in content.blobs.items():
                for method in methods:
                    path = f"/v2/ships.example/{NAME}/blobs/{digest}"
                    answer = await self.proxy.ask(method, path)
                    assert (answer.status, answer.whole) == (200, True)
                    assert answer.headers["Content-Length"] == str(len(blob))
                    assert answer.body == (blob if method == "GET" else b"")
        return str(manifest.cache)


@asynccontextmanager
async def opened(
    data_dir: Path, may_name: str = "when_down", *, wait: str = "30s", **sections: Any
) -> AsyncIterator[Scene]:
    async with (
        ScriptedUpstream() as registry,
        ScriptedUpstream() as mirror,
        ScriptedUpstream() as other,
    ):
        push(other, bystander.NAME, bystander.TAG, bystander.IMAGE)
        upstreams = {
            "ships.example": {
                "url": registry.url,
                "mirrors": [
                    {
                        "url": mirror.url,
                        "tags": may_name,
                        "answer_timeout": wait,
                        "idle_timeout": wait,
                    }
                ],
                "idle_timeout": 2.0,
            },
            "docker.io": {"url": other.url, "default": True},
        }
        sections = {"negative_cache": {"not_found": "0s", "denied": "0s"}, **sections}
        chosen = settings(upstreams, data_dir, **sections)
        async with Proxy(chosen) as proxy:
            yield Scene(registry, mirror, proxy)


def naming(content: Content) -> bytes:
    """A manifest that names all of an image, and the image itself, as its layers."""
    layer = "application/vnd.oci.image.layer.v1.tar+gzip"
    parts = [*content.blobs.values(), content.manifest]
    layers = [
        {"mediaType": layer, "digest": images.digest(part), "size": len(part)} for part in parts
    ]
    config = {**layers[0], "mediaType": "application/vnd.oci.image.config.v1+json"}
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST, "config": config}
    return json.dumps({**document, "layers": layers}).encode()


# -- what the registry has not named -------------------------------------------------------------


@pytest.mark.parametrize("registry", ["up", "down", "failing"])
@pytest.mark.parametrize("tags", ["never", "when_down"])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_a_mirror_gives_nothing_that_the_registry_has_not_named(
    data_dir: Path, tags: str, registry: str, *, warm: bool
) -> None:
    async with opened(data_dir, tags) as scene:
        push(scene.registry, NAME, "1", IMAGE)
        push(scene.mirror, NAME, None, STRANGER)
        if warm:
            await scene.pull(IMAGE, "1")
        if registry == "down":
            await scene.registry.stop()
        if registry == "failing":
            scene.registry.fault("*", "*", Fault(status=503))
        expected = 404 if registry == "up" else 502
        for digest in (STRANGER.digest, *STRANGER.blobs):
            for method, route in product(("HEAD", "GET"), ("manifests", "blobs")):
                path = f"/v2/ships.example/{NAME}/{route}/{digest}"
                answer = await scene.proxy.ask(method, path, Accept="*/*")
                assert answer.status == expected
                answer = await scene.proxy.ask(method, path, Range="bytes=0-3")
                assert answer.status == expected
            assert scene.mirror.count(path=f"*{digest}") == 0
        await scene.bystander()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_mirror_s_head_is_never_asked_for(data_dir: Path, method: str) -> None:
    async with opened(data_dir) as scene:
        push(scene.registry, NAME, "1", LIST)
        push(scene.mirror, NAME, "1", LIST)
        for content in (LIST, *LIST.children):
            for digest in content.blobs:
                answer = await scene.proxy.ask(method, f"/v2/ships.example/{NAME}/blobs/{digest}")
                assert answer.status == 200
        assert scene.mirror.requests == []
        await scene.pull(LIST, "1")
        assert scene.mirror.count("HEAD") == 0
        await scene.bystander()


async def test_a_mirror_s_404_and_its_media_type_decide_nothing(data_dir: Path) -> None:
    image = images.oci_undeclared("settled")
    async with opened(data_dir) as scene:
        push(scene.registry, NAME, "1", image)
        push(scene.registry, NAME, "2", IMAGE)
        scene.mirror.add_manifest(NAME, None, image.manifest, MediaType.DOCKER_LIST)
        answer = await scene.get_tag("1")
        assert (answer.status, answer.body) == (200, image.manifest)
        assert answer.headers["Content-Type"] == image.media_type
        assert scene.mirror.count("GET", f"*{image.digest}") == 1
        assert scene.registry.count("GET", "*/manifests/*") == 0
        await scene.pull(IMAGE, "2")
        await scene.bystander()


async def test_a_tag_is_the_registry_s_word_while_it_answers(data_dir: Path) -> None:
    async with opened(data_dir, tags={"ttl": "0s"}) as scene:
        push(scene.registry, NAME, "1", IMAGE)
        push(scene.mirror, NAME, "1", STRANGER)
        push(scene.mirror, NAME, "2", STRANGER)
        for _ in range(2):
            await scene.pull(IMAGE, "1")
        assert (await scene.get_tag("2")).status == 404
        assert scene.mirror.count(path="*/manifests/[12]") == 0
        await scene.bystander()


# -- while the registry is down ------------------------------------------------------------------

OUTAGES: Final = {
    "503": Fault(status=503),
    "500": Fault(status=500),
    "closed": Fault(raw=b""),
    "an ingress": Fault(status=404, body=b"no such route", headers={"Content-Type": "text/plain"}),
}
REFUSALS: Final = {
    "401": Fault(status=401),
    "403": Fault(status=403),
    "404": Fault(status=404),
    "429": Fault(status=429),
    "nonsense": Fault(status=200, body=b"<html>"),
}


@pytest.mark.parametrize("image", [IMAGE, LIST], ids=["image", "list"])
async def test_an_image_comes_whole_from_a_mirror_while_the_registry_is_down(
    data_dir: Path, image: Content
) -> None:
    async with opened(data_dir) as scene:
        push(scene.mirror, NAME, "1", image)
        await scene.registry.stop()
        assert FROM_MIRROR in await scene.pull(image, "1")
        assert await scene.pull(image, "1") == f"Lighterage; hit; {FROM_MIRROR}"
        lines = await scene.proxy.lines(2, route="manifest", reference="1", status=200)
        assert {line["via"] for line in lines} == {"mirror"}
        assert {line["repository"] for line in lines} == {f"ships.example/{NAME}"}
        await scene.bystander()


async def test_a_mirror_that_must_not_name_is_not_asked_for_tags(data_dir: Path) -> None:
    """What the registry has named before, it delivers all the same."""
    async with opened(data_dir, "never", tags={"ttl": "0s"}) as scene:
        push(scene.registry, NAME, "1", IMAGE)
        push(scene.mirror, NAME, "1", STRANGER)
        push(scene.mirror, NAME, "2", STRANGER)
        push(scene.mirror, NAME, None, IMAGE)
        assert (await scene.get_tag("1")).status == 200
        await scene.registry.stop()
        assert "stale" in await scene.pull(IMAGE, "1")
        assert (await scene.get_tag("2")).status == 502
        listing = await scene.proxy.get(f"/v2/ships.example/{NAME}/tags/list")
        assert listing.status == 502
        assert scene.mirror.count(path="*/manifests/[12]") == 0
        assert scene.mirror.count(path="*/tags/*") == 0
        await scene.bystander()


async def test_the_registry_s_stale_copy_is_better_than_a_mirror_s_word(data_dir: Path) -> None:
    async with opened(data_dir, tags={"ttl": "0s"}) as scene:
        push(scene.registry, NAME, "1", IMAGE)
        push(scene.mirror, NAME, "1", STRANGER)
        await scene.pull(IMAGE, "1")
        await scene.registry.stop()
        for _ in range(3):
            assert "stale" in await scene.pull(IMAGE, "1")
        assert scene.mirror.count(path="*/manifests/1") == 0
        await scene.bystander()


async def test_the_registry_s_word_counts_again_as_soon_as_it_answers(data_dir: Path) -> None:
    """Nothing that mirrors have said meanwhile is granted, unless the registry has it, too."""
    async with opened(data_dir) as scene:
        push(scene.registry, NAME, "1", IMAGE)
        push(scene.registry, NAME, "2", LIST)
        push(scene.mirror, NAME, "1", STRANGER)
        push(scene.mirror, NAME, "2", LIST)
        await scene.registry.stop()
        await scene.pull(STRANGER, "1")
        await scene.pull(LIST, "2")
        await scene.registry.start()
        while (answer := await scene.get_tag("1")).body == STRANGER.manifest:
            pass
        assert answer.body == IMAGE.manifest
        for digest in (STRANGER.digest, *STRANGER.blobs):
            route = "manifests" if digest == STRANGER.digest else "blobs"
            for method in ("HEAD", "GET"):
                path = f"/v2/ships.example/{NAME}/{route}/{digest}"
                assert (await scene.proxy.ask(method, path, Accept="*/*")).status == 404
        assert FROM_MIRROR not in await scene.pull(LIST, "2")
        # The bytes are there already: what is asked is whether the registry has them.
        assert scene.registry.count("GET", "*/blobs/*") <= scene.registry.count("HEAD", "*/blobs/*")
        await scene.bystander()


@pytest.mark.parametrize("fault", OUTAGES.values(), ids=OUTAGES)
async def test_what_counts_as_down(data_dir: Path, fault: Fault) -> None:
    async with opened(data_dir) as scene:
        push(scene.mirror, NAME, "1", IMAGE)
        scene.registry.fault("*", "*", fault)
        # To HEAD every server answers 404 alike.
        assert FROM_MIRROR in await scene.pull(IMAGE, "1", methods=("GET",))
        await scene.bystander()


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_of_the_registry_is_its_answer(data_dir: Path, fault: Fault) -> None:
    async with opened(data_dir) as scene:
        push(scene.mirror, NAME, "1", IMAGE)
        scene.registry.fault("*", "*", fault)
        assert (await scene.get_tag()).status in {404, 429, 502}
        for digest in IMAGE.blobs:
            path = f"/v2/ships.example/{NAME}/blobs/{digest}"
            assert (await scene.proxy.get(path)).status in {404, 429, 502}
        assert scene.mirror.requests == []
        await scene.bystander()


async def test_a_mirror_opens_nothing_that_others_have(data_dir: Path) -> None:
    """It names, while the registry is down, what another repository of the registry has."""
    secret = images.oci("secret")
    evil = naming(secret)
    async with opened(data_dir) as scene:
        push(scene.registry, "owner/secret", "1", secret)
        scene.mirror.add_manifest(NAME, "1", evil, MediaType.OCI_MANIFEST)
        path = "/v2/ships.example/owner/secret"
        assert (await scene.proxy.get(f"{path}/manifests/1", Accept="*/*")).status == 200
        for digest in secret.blobs:
            assert (await scene.proxy.get(f"{path}/blobs/{digest}")).status == 200
        await scene.registry.stop()
        assert (await scene.get_tag()).body == evil
        for digest in (secret.digest, *secret.blobs):
            for method, route in product(("HEAD", "GET"), ("manifests", "blobs")):
                path = f"/v2/ships.example/{NAME}/{route}/{digest}"
                answer = await scene.proxy.ask(method, path, Accept="*/*")
                assert answer.status == 502, (method, path)
        await scene.bystander()


async def test_a_mirror_s_bytes_for_a_closed_repository_open_nothing(
    data_dir: Path, tmp_path: Path
) -> None:
    """A manifest of the thief's names them, while they are on their way and when they are here.

    The rules of a registry hold for what its mirrors have while it is down.
    """
    secret = images.big(2, "secret")
    digest, content = max(secret.blobs.items(), key=lambda blob: len(blob[1]))
    access = {
        "rules": [{"match": "ships.example/owner/*", "mode": "basic"}],
        "htpasswd_file": htpasswd(tmp_path / "htpasswd", {"owner": "anchor"}),
    }
    path = "/v2/ships.example/owner/secret"
    async with opened(data_dir, access=access) as scene:
        push(scene.mirror, "owner/secret", "1", secret)
        scene.mirror.add_manifest(NAME, "1", naming(secret), MediaType.OCI_MANIFEST)
        scene.mirror.fault("GET", "*/owner/secret/blobs/*", Fault(pace=0.05))
        await scene.registry.stop()
        assert (await scene.proxy.get(f"{path}/manifests/1", Accept="*/*")).status == 401
        login = {"Authorization": basic("owner", "anchor")}
        answer = await scene.proxy.get(f"{path}/manifests/1", Accept="*/*", **login)
        assert (answer.status, answer.body) == (200, secret.manifest)
        assert (await scene.get_tag()).status == 200
        owner = asyncio.create_task(scene.proxy.get(f"{path}/blobs/{digest}", **login))
        await scene.mirror.asked("GET", f"*/owner/secret/blobs/{digest}")
        while not owner.done():
            answer = await scene.proxy.get(f"/v2/ships.example/{NAME}/blobs/{digest}")
            assert answer.status == 502
        assert (await owner).body == content
        for method in ("HEAD", "GET"):
            answer = await scene.proxy.ask(method, f"/v2/ships.example/{NAME}/blobs/{digest}")
            assert answer.status == 502
        assert (await scene.proxy.get(f"{path}/blobs/{digest}")).status == 401
        await scene.bystander()


async def test_stored_bytes_are_compared_with_those_of_the_mirror(data_dir: Path) -> None:
    """What another repository has, a mirror that has it as well may deliver: it shows its own."""
    async with opened(data_dir) as scene:
        push(scene.registry, "owner/image", "1", IMAGE)
        push(scene.mirror, NAME, "1", IMAGE)
        path = "/v2/ships.example/owner/image"
        assert (await scene.proxy.get(f"{path}/manifests/1", Accept="*/*")).status == 200
        for digest in IMAGE.blobs:
            assert (await scene.proxy.get(f"{path}/blobs/{digest}")).status == 200
        await scene.registry.stop()
        scene.mirror.requests.clear()
        await scene.pull(IMAGE, "1")
        assert scene.mirror.count("GET", "*/blobs/*") == len(IMAGE.blobs)
        await scene.bystander()


@pytest.mark.parametrize("has", [True, False], ids=["has it", "has it not"])
async def test_a_digest_that_was_made_meanwhile_lasts_if_the_registry_has_the_image(
    data_dir: Path, *, has: bool
) -> None:
    image = images.docker("converted")
    async with opened(data_dir) as scene:
        push(scene.mirror, NAME, "1", image)
        await scene.registry.stop()
        made = await scene.proxy.get(
            f"/v2/ships.example/{NAME}/manifests/1", Accept=MediaType.V2S1_SIGNED
        )
        assert made.headers["Lighterage-Converted-From"] == image.digest
        if has:
            push(scene.registry, NAME, None, image)
        await scene.registry.start()
        path = f"/v2/ships.example/{NAME}/manifests/{made.digest}"
        while FROM_MIRROR in (answer := await scene.proxy.get(path)).headers.get(
            "Cache-Status", ""
        ):
            pass
        assert answer.status == (200 if has else 404)
        if has:
            assert answer.body == made.body
        await scene.bystander()


@pytest.mark.parametrize("has", [True, False], ids=["has it", "has it not"])
async def test_a_config_that_was_made_meanwhile_lasts_if_the_registry_has_the_image(
    data_dir: Path, *, has: bool
) -> None:
    image = schema1.old_docker([images.layer({"srv/file": b"old"}).blob])
    async with opened(data_dir) as scene:
        push(scene.mirror, NAME, "1", image)
        await scene.registry.stop()
        made = await scene.proxy.get(f"/v2/ships.example/{NAME}/manifests/1", Accept=MediaType.V2S2)
        config = json.loads(made.body)["config"]["digest"]
        path = f"/v2/ships.example/{NAME}/blobs/{config}"
        before = await scene.proxy.get(path)
        assert (before.status, str(Digest.of(before.body))) == (200, config)
        if has:
            push(scene.registry, NAME, None, image)
        await scene.registry.start()
        while FROM_MIRROR in (answer := await scene.proxy.get(path)).headers.get(
            "Cache-Status", ""
        ):
            pass
        assert answer.status == (200 if has else 404)
        if has:
            assert answer.body == before.body
        await scene.bystander()


# -- mirrors that lie ----------------------------------------------------------------------------

LIES: Final = {
    "a page": Fault(status=200, body=b"<html>Log in</html>", headers={"Content-Type": "text/html"}),
    "nothing": Fault(status=200, body=b""),
    "an endless stream": Fault(status=200, body=bytes(2**24), chunked=True),
    "too much": Fault(status=200, body=bytes(2**23)),
    "half": Fault(cut=20),
    "silence": Fault(delay=3600.0),
    "silence after the head": Fault(cut=0, stall=True),
    "an encoding": Fault(headers={"Content-Encoding": "gzip"}),
    "a wrong byte": Fault(corrupt=True),
    "itself": Fault(status=307, headers={"Location": "/v2/"}, body=b""),
    "no HTTP": Fault(raw=b"\0" * 100),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("registry", ["up", "down"])
async def test_a_mirror_that_lies_costs_nobody_anything(
    data_dir: Path, lie: Fault, registry: str
) -> None:
    """An image of the registry is pulled whole; if that is down, the stored copy is."""
    async with opened(data_dir, wait="500ms", tags={"ttl": "0s"}) as scene:
        push(scene.registry, NAME, "1", LIST)
        if registry == "down":
            await scene.pull(LIST, "1")
            await scene.registry.stop()
        scene.mirror.fault("*", "*", lie)
        await scene.pull(LIST, "1")
        await scene.bystander()


async def test_a_large_blob_that_a_mirror_falsifies_cuts_off_one_client(data_dir: Path) -> None:
    async with opened(data_dir) as scene:
        push(scene.registry, NAME, "1", BIG)
        assert (await scene.get_tag()).status == 200
        digest, content = max(BIG.blobs.items(), key=lambda blob: len(blob[1]))
        scene.mirror.add_blob(NAME, content)
        scene.mirror.fault("GET", "*/blobs/*", Fault(corrupt=True))
        path = f"/v2/ships.example/{NAME}/blobs/{digest}"
        assert not (await scene.proxy.get(path)).whole
        await scene.bystander()
        answer = await scene.proxy.get(path)
        assert (answer.status, answer.whole, answer.body) == (200, True, content)
        assert scene.mirror.count("GET", f"*/blobs/{digest}") == 1


async def test_a_range_is_never_passed_on_from_a_mirror(data_dir: Path) -> None:
    """It could not be verified. While the registry is down, the whole blob is fetched instead."""
    async with opened(data_dir) as scene:
        push(scene.registry, NAME, "1", BIG)
        push(scene.mirror, NAME, None, BIG)
        assert (await scene.get_tag()).status == 200
        digest, content = max(BIG.blobs.items(), key=lambda blob: len(blob[1]))
        path = f"/v2/ships.example/{NAME}/blobs/{digest}"
        answer = await scene.proxy.get(path, Range="bytes=1000000-1000009")
        assert (answer.status, answer.body) == (206, content[1000000:1000010])
        assert scene.mirror.count("GET", "*/blobs/*") == 0
        await scene.registry.stop()
        answer = await scene.proxy.get(path, Range="bytes=1000000-1000009")
        assert (answer.status, answer.body) == (206, content[1000000:1000010])
        assert [request.headers.get("Range") for request in scene.mirror.requests[-1:]] == [None]
        assert (await scene.proxy.get(path)).body == content
        await scene.bystander()
