"""Clients that cannot read OCI content, in front of registries that have nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.closure import closure
from tests.e2e.downgrading import Downgrading
from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13, NOTHING, ONLY_V2S2, SIGNED_SCHEMA1, Lines, accept
from tests.kit.clients import Podman, skopeo_copy
from tests.kit.images import DOCKER, OCI
from tests.kit.processes import Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kit.images import Content
    from tests.kit.oracle import Oracle

pytestmark = pytest.mark.e2e

OCI_IMAGES: Final = (images.oci, images.oci_undeclared, images.mixed)
KINDS: Final = (*OCI_IMAGES, images.oci_index, images.docker, images.docker_list)
# What is stored, what the client sends, and what it gets.
CONVERSIONS: Final = [
    *((kind, NOTHING, SIGNED_SCHEMA1) for kind in KINDS),
    *((kind, DOCKER_1_13, DOCKER.manifest) for kind in OCI_IMAGES),
    *((kind, ONLY_V2S2, DOCKER.manifest) for kind in (*OCI_IMAGES, images.oci_index)),
    (images.oci_index, DOCKER_1_13, DOCKER.index),
    (images.docker, accept(OCI.manifest), OCI.manifest),
    (images.docker_list, accept(OCI.index, OCI.manifest), OCI.index),
    (images.docker_list, accept(OCI.manifest), OCI.manifest),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream, with one image of each kind."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.fixture(scope="module")
def proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """In front of the upstream."""
    with Proxy(tmp_path_factory.mktemp("proxy"), upstream=registry.url) as proxy:
        yield proxy


def converted(url: str, kind: Callable[[], Content], accepted: Lines, expected: str) -> Answer:
    """What a client that sends these lines gets for an image; it must be of the `expected` type."""
    answer = ask(f"{url}/v2/cargo/{kind.__name__}/manifests/1", headers=accepted)
    assert (answer.status, answer.headers["Content-Type"]) == (200, expected), answer.body
    assert answer.headers["Lighterage-Converted-From"]
    return answer


@pytest.mark.parametrize(("kind", "accepted", "expected"), CONVERSIONS)
def test_everything_that_it_names_is_served(
    proxy: Proxy, kind: Callable[[], Content], accepted: Lines, expected: str
) -> None:
    """And is the same content as in the original: only manifests are made, and the empty layer."""
    answer = converted(proxy.url, kind, accepted, expected)
    found = closure(f"{proxy.url}/v2/cargo/{kind.__name__}", answer)
    made = [child["digest"] for child in json.loads(answer.body).get("manifests", ())]
    assert len(made) == (2 if expected in {DOCKER.index, OCI.index} else 0)
    originals = {**kind().blobs}
    for child in kind().children:
        originals |= child.blobs
    assert {named: body for named, body in found.items() if named not in made}.items() <= (
        originals.items()
    )


@pytest.mark.parametrize("order", [DOCKER_1_13, DOCKER_1_13[::-1]], ids=["one way", "the other"])
@pytest.mark.parametrize("kind", OCI_IMAGES)
def test_docker_1_13_reads_an_oci_image(
    registry: Registry, proxy: Proxy, kind: Callable[[], Content], order: Lines
) -> None:
    """Where the registry has nothing for it; in whatever order it sends its lines."""
    assert ask(f"{registry.url}/v2/cargo/{kind.__name__}/manifests/1", headers=order).status == 404
    document = json.loads(converted(proxy.url, kind, order, DOCKER.manifest).body)
    assert document["config"]["mediaType"] == DOCKER.config
    assert {layer["mediaType"] for layer in document["layers"]} == {DOCKER.layer}


def test_docker_1_13_reads_an_oci_index(proxy: Proxy) -> None:
    """As a list of v2s2 images, for the same platforms."""
    document = json.loads(converted(proxy.url, images.oci_index, DOCKER_1_13, DOCKER.index).body)
    found = {entry["platform"]["architecture"]: entry for entry in document["manifests"]}
    assert found.keys() == {"amd64", "arm64"}
    assert {entry["mediaType"] for entry in found.values()} == {DOCKER.manifest}


@pytest.mark.parametrize("kind", [*OCI_IMAGES, images.oci_index])
def test_a_client_without_accept_reads_oci_content(
    proxy: Proxy, program: Oracle, kind: Callable[[], Content]
) -> None:
    """In a schema 1 that libtrust verifies."""
    answer = converted(proxy.url, kind, NOTHING, SIGNED_SCHEMA1)
    assert program.verify(answer.body) == answer.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("kind", [*OCI_IMAGES, images.oci_index])
def test_a_tool_for_v2s2_reads_what_the_registry_would_not_give_it(
    registry: Registry, proxy: Proxy, kind: Callable[[], Content]
) -> None:
    tag = f"{registry.url}/v2/cargo/{kind.__name__}/manifests/1"
    assert ask(tag, headers=ONLY_V2S2).status == 404
    assert "config" in json.loads(converted(proxy.url, kind, ONLY_V2S2, DOCKER.manifest).body)


def test_a_tool_for_v2s2_reads_what_the_registry_would_downgrade(
    registry: Registry, tmp_path: Path
) -> None:
    """It would get schema 1, which has no config. docker 1.13 is in the same place."""
    downgradable = images.image(DOCKER, images.two_layers("oci"))
    with Registry(tmp_path / "legacy") as legacy:
        legacy.push("cargo/oci", "1", downgradable)
        with (
            Downgrading(modern=registry, legacy=legacy) as upstream,
            Proxy(tmp_path / "proxy", upstream=upstream.url) as proxy,
        ):
            for accepted in (ONLY_V2S2, DOCKER_1_13):
                theirs = ask(f"{upstream.url}/v2/cargo/oci/manifests/1", headers=accepted)
                assert theirs.headers["Content-Type"] == SIGNED_SCHEMA1
                ours = converted(proxy.url, images.oci, accepted, DOCKER.manifest)
                assert "config" in json.loads(ours.body)
                closure(f"{proxy.url}/v2/cargo/oci", ours)


def test_a_tool_for_v2s2_reads_what_the_registry_would_downgrade_for_others(
    registry: Registry, proxy: Proxy
) -> None:
    """Also after somebody was given schema 1 of the same image."""
    tag = "/v2/cargo/docker/manifests/1"
    assert ask(registry.url + tag).headers["Content-Type"] == SIGNED_SCHEMA1
    converted(proxy.url, images.docker, NOTHING, SIGNED_SCHEMA1)
    answer = ask(proxy.url + tag, headers=ONLY_V2S2)
    assert answer.body == images.docker().manifest


@pytest.mark.parametrize(("kind", "accepted", "expected"), CONVERSIONS)
def test_skopeo_copies_it_by_its_digest(
    proxy: Proxy, tmp_path: Path, kind: Callable[[], Content], accepted: Lines, expected: str
) -> None:
    """Into a directory, where it stays as it is, and into a layout, which is OCI's."""
    answer = converted(proxy.url, kind, accepted, expected)
    named = answer.headers["Docker-Content-Digest"]
    reference = f"{proxy.host}/cargo/{kind.__name__}@{named}"
    copied = skopeo_copy(reference, tmp_path / "dir", everything=True)
    content = closure(f"{proxy.url}/v2/cargo/{kind.__name__}", answer)
    assert {images.digest(answer.body), *content} <= set(copied.values())
    laid_out = skopeo_copy(reference, tmp_path / "oci", form="oci", everything=True)
    layers = {named for image in (kind(), *kind().children) for named in layers_of(image)}
    assert layers & content.keys() <= set(laid_out.values())


def layers_of(image: Content) -> set[str]:
    """The digests of an image's layers; none for an index."""
    return {layer["digest"] for layer in json.loads(image.manifest).get("layers", ())}


def test_podman_pulls_a_mixed_image_that_is_made_consistent(
    registry: Registry, short_path: Path
) -> None:
    """As it refuses to from the registry; the content is that of the same image unmixed."""
    registry.push("cargo/unmixed", "1", images.image(OCI, images.two_layers("mixed")))
    podman = Podman(short_path / "podman")
    direct = podman.pull(f"{registry.host}/cargo/unmixed:1")
    settings = {"conversion": {"mixed": "consistent"}}
    with Proxy(short_path / "proxy", upstream=registry.url, settings=settings) as proxy:
        pulled = podman.pull(f"{proxy.host}/cargo/mixed:1")
        assert pulled.files == direct.files
        assert podman.pull(f"{proxy.host}/cargo/mixed@{pulled.digest}") == pulled
