"""What a request would get: said as it is then served, and nobody is asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.errors import (
    DigestInvalid,
    NameInvalid,
    RegistryError,
    RequestInvalid,
    TagInvalid,
    UpstreamUnavailable,
)
from proxy.oci.clients import CLIENTS, accept_of
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, Tag
from proxy.telemetry import metrics
from tests.kit import images, schema1
from tests.kit.manifest_kinds import KINDS
from tests.kit.memory_questions import (
    ACCESS,
    NAME,
    ONE,
    explain,
    inspect,
    pull,
    questions_of,
    store,
    store_layer,
)

if TYPE_CHECKING:
    from tests.kit.manifest_world import ManifestWorld

IMAGE: Final = KINDS["v2s2"]
TWO: Final = Tag("2")
HEAD: Final = f"HEAD of manifest {NAME} 1"
GET: Final = f"GET of manifest {NAME} 1"


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_is_what_is_then_served(world: ManifestWorld, kind: str) -> None:
    """To every client: while only the manifest is stored, and when all that it needs is."""
    await store(world, KINDS[kind])
    for client in CLIENTS:
        await compare(world, client)
        said = await compare(world, client)
        assert said["calls"] == [], "all that this client needs is there now"


async def compare(world: ManifestWorld, client: str) -> dict[str, Any]:
    """Ask what `client` would get, pull as it, and compare."""
    said = await explain(world, client=client)
    world.asked()
    served: dict[str, object]
    try:
        found = await pull(world, accept_of(client))
    except RegistryError as error:
        served = {"code": error.code, "message": error.message}
    else:
        served = {
            "type": found.manifest.media_type,
            "digest": found.manifest.digest,
            "rule": found.rule,
            "converted_from": found.converted_from,
        }
    assert bool(said["calls"]) is (said["representation"] is None) is bool(world.asked())
    if said["representation"] is not None:
        assert said["representation"].items() >= served.items()
    return said


async def test_what_is_not_stored_depends_on_the_upstream(world: ManifestWorld) -> None:
    world.upstream.push(IMAGE, ONE)
    said = await explain(world)
    assert said == {
        "upstream": "docker.io",
        "repository": NAME,
        "reference": "1",
        "state": "not cached",
        "calls": [GET],
        "representation": None,
        "client": "containerd",
        "accept": list(CLIENTS["containerd"]),
        "user": None,
        "access": ACCESS,
        "note": None,
    }
    by_digest = await explain(world, f"cargo@{IMAGE.digest}")
    assert by_digest["state"] == "not cached"
    assert by_digest["calls"] == [f"GET of manifest {NAME} {IMAGE.digest}"]


async def test_a_stored_digest_never_changes(world: ManifestWorld) -> None:
    await store(world, IMAGE)
    world.clock.advance(10**9)
    said = await explain(world, f"cargo@{IMAGE.digest}")
    assert (said["state"], said["calls"]) == ("cached; a digest never changes", [])
    assert said["representation"]["digest"] == IMAGE.digest


@pytest.mark.parametrize(
    ("age", "state", "calls"),
    [
        (59, "fresh", []),
        (61, "stale, and served while the upstream is asked: revalidating", [HEAD]),
        (100, "stale, and served if the upstream does not answer in 30 s", [HEAD]),
        (20_000, "too old to be served", [HEAD]),
    ],
)
async def test_the_age_of_a_tag_decides_whether_the_upstream_is_asked(
    world: ManifestWorld, age: float, state: str, calls: list[str]
) -> None:
    await store(world, IMAGE)
    world.clock.advance(age)
    found = await explain(world)
    assert (found["state"], found["calls"]) == (state, calls)
    assert found["representation"]["digest"] == IMAGE.digest


async def test_a_stale_copy_is_served_at_once_where_the_upstream_is_in_trouble(
    world: ManifestWorld,
) -> None:
    await store(world, IMAGE)
    world.clock.advance(100)
    world.upstream.trouble = UpstreamUnavailable("docker.io cannot be reached")
    said = await explain(world)
    assert (said["state"], said["calls"]) == ("stale, and served so: unavailable", [])
    assert said["representation"]["digest"] == IMAGE.digest


@pytest.mark.parametrize("age", [None, 20_000], ids=["not cached", "too old"])
async def test_what_cannot_be_fetched_is_the_upstream_s_failure(
    world: ManifestWorld, age: float | None
) -> None:
    if age is not None:
        await store(world, IMAGE)
        world.clock.advance(age)
    world.upstream.trouble = failure = UpstreamUnavailable("docker.io cannot be reached")
    said = await explain(world)
    assert said["calls"] == []
    assert said["representation"] == {"code": failure.code, "message": failure.message}
    unknown = await explain(world, f"cargo@{KINDS['oci'].digest}")
    assert (unknown["calls"], unknown["representation"]["message"]) == ([], failure.message)


async def test_a_head_comes_first_where_it_may_say_enough(world: ManifestWorld) -> None:
    """Something of the repository is stored, or mirrors and replicas may have what HEAD names."""
    await store(world, IMAGE)
    assert (await explain(world, "cargo:2"))["calls"] == [
        f"HEAD of manifest {NAME} 2",
        f"GET of manifest {NAME}, by the digest that HEAD names, unless that is stored",
    ]
    world.head_first.add("docker.io")
    assert (await explain(world, "other:1"))["calls"][0].startswith("HEAD of manifest ")


async def test_without_a_client_it_is_containerd_and_lines_of_accept_are_nobody(
    world: ManifestWorld,
) -> None:
    await store(world, KINDS["oci"])
    assert (await explain(world))["client"] == "containerd"
    lines = [f"{MediaType.V2S2};q=0.5", "text/html"]
    said = await explain(world, accept=lines, client="docker-7")
    assert (said["client"], said["accept"]) == (None, lines)
    made = said["representation"]
    assert (made["type"], made["converted_from"]) == (MediaType.V2S2, KINDS["oci"].digest)
    assert made["form"] == "docker image"


async def test_a_name_that_looks_like_another_upstream_is_noted(world: ManifestWorld) -> None:
    said = await explain(world, "ghcr.io/cargo:1")
    assert said["upstream"] == "docker.io"
    assert said["note"].startswith("'ghcr.io' is no upstream of this proxy, which has: docker.io")


@pytest.mark.parametrize("line", ["*/*\r\nHost: a", "a\x00b", "\x1b[31m"])
async def test_what_is_no_header_is_an_error(world: ManifestWorld, line: str) -> None:
    with pytest.raises(RequestInvalid, match="no line breaks or control characters"):
        await explain(world, accept=[line])


async def test_access_is_asked_about_the_image_that_is_meant(world: ManifestWorld) -> None:
    asked: list[tuple[str, str, str | None]] = []
    questions = questions_of(world, asked)
    for image, user in (
        ("cargo", None),
        ("docker.io/team/cargo:2", "ci"),
        ("quay.io/cargo:1", "guest"),
        (f"cargo@{IMAGE.digest}", None),
    ):
        said = await questions.explain(image, user=user)
        assert (said["user"], said["access"]) == (user, ACCESS)
    assert asked == [
        (f"docker.io/{NAME}", "latest", None),
        ("docker.io/team/cargo", "2", "ci"),
        ("quay.io/cargo", "1", "guest"),
        (f"docker.io/{NAME}", "", None),
    ]


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("UPPER:1", NameInvalid),
        ("", NameInvalid),
        ("cargo:-", TagInvalid),
        ("cargo@sha256:1", DigestInvalid),
    ],
)
async def test_what_is_no_image_is_an_error(
    world: ManifestWorld, image: str, error: type[Exception]
) -> None:
    for ask in (explain, inspect):
        with pytest.raises(error):
            await ask(world, image)
    assert world.layer.reads == 0


async def test_an_unknown_client_is_an_error_that_names_those_there_are(
    world: ManifestWorld,
) -> None:
    with pytest.raises(RequestInvalid, match=r"no client 'x{80}'; known: docker-1\.9, ") as error:
        await explain(world, client="x" * 1000)
    assert all(client in error.value.message for client in CLIENTS)


async def test_questions_are_not_counted(world: ManifestWorld) -> None:
    await store(world, KINDS["oci"])
    count = metrics.CONVERSIONS.labels("oci_manifest-v2s2")._value.get
    before = count()
    said = await explain(world, client="docker-1.13")
    assert said["representation"]["rule"] == "converted"
    assert count() == before


# -- layers that an answer depends on ------------------------------------------------------------


async def test_a_layer_that_is_not_stored_would_be_fetched(world: ManifestWorld) -> None:
    layer = images.layer({"srv/file": b"cargo"}).blob
    await store(world, schema1.old_docker([layer]))
    said = await explain(world, client="kaniko")
    assert said["calls"] == [f"GET of blob {NAME} {Digest.of(layer)}"]
    assert said["representation"] is None


async def test_a_small_stored_layer_is_read_for_the_answer(world: ManifestWorld) -> None:
    layer = images.layer({"srv/file": b"cargo"}).blob
    await store(world, schema1.old_docker([layer]))
    await store_layer(world, Digest.of(layer))
    said = await explain(world, client="kaniko")
    served = await pull(world, accept_of("kaniko"))
    assert said["representation"]["digest"] == served.manifest.digest
    assert said["calls"] == []


async def test_a_large_stored_layer_is_not_read_until_it_is_known(world: ManifestWorld) -> None:
    content = images.noise("large", 2**20)
    layer = images.layer({"srv/file": content}, compression=0).blob
    await store(world, schema1.old_docker([layer]))
    await store_layer(world, Digest.of(layer))
    said = await explain(world, client="kaniko")
    assert said["calls"] == [f"look into layer {Digest.of(layer)}, which is stored"]
    assert said["representation"] is None
    await pull(world, accept_of("kaniko"))
    # What was found out about the layer is known for every image that has it.
    await store(world, schema1.old_docker([layer], author="another"), TWO)
    said = await explain(world, "cargo:2", client="kaniko")
    served = await pull(world, accept_of("kaniko"), TWO)
    assert (said["calls"], said["representation"]["digest"]) == ([], served.manifest.digest)
