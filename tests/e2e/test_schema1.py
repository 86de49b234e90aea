"""What a client without `Accept` gets, held against what the registry itself makes for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.schema1 import libtrust
from tests.e2e import odd_images
from tests.e2e.closure import closure
from tests.kit import images
from tests.kit.accept_lines import NOTHING, ONLY_V2S2, SIGNED_SCHEMA1
from tests.kit.images import Content, digest
from tests.kit.processes import Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.kit.oracle import Oracle

pytestmark = pytest.mark.e2e

# distribution's DigestSHA256GzippedEmptyTar.
EMPTY_LAYER: Final = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"


def one_layer() -> Content:
    """The smallest image."""
    return images.image(images.DOCKER, images.two_layers("one-layer")[:1])


def same_layer_twice() -> Content:
    """As builders make it where two steps do the same."""
    below, above = images.two_layers("same-layer-twice")
    return images.image(images.DOCKER, [below, above, below])


DOCKER_KINDS: Final = (
    images.docker,
    images.docker_with_empty_steps,
    images.docker_list,
    one_layer,
    same_layer_twice,
)
OCI_KINDS: Final = (images.oci, images.oci_undeclared, images.mixed, images.oci_index)
KINDS: Final = (*DOCKER_KINDS, *OCI_KINDS)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream, with one image of each kind, which nobody has asked for yet."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry for what distribution cannot convert in one step: name and tag must be equal."""
    with Registry(tmp_path_factory.mktemp("second")) as registry:
        yield registry


@pytest.fixture(scope="module")
def proxy(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """In front of the upstream."""
    with Proxy(tmp_path_factory.mktemp("proxy"), upstream=registry.url) as proxy:
        yield proxy


def manifest(server: Proxy | Registry, name: str, reference: str = "1") -> Answer:
    """What a client without `Accept` gets there."""
    answer = ask(f"{server.url}/v2/{name}/manifests/{reference}", headers=NOTHING)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == SIGNED_SCHEMA1
    return answer


def payload(signed: Answer) -> bytes:
    """What is signed, which must be what the answer's digest names."""
    content = libtrust.payload(signed.body, json.loads(signed.body))
    assert digest(content) == signed.headers["Docker-Content-Digest"]
    return content


@pytest.mark.parametrize("kind", DOCKER_KINDS)
def test_the_payload_is_what_the_registry_makes_of_a_docker_image(
    registry: Registry, proxy: Proxy, program: Oracle, kind: Callable[[], Content]
) -> None:
    """The proxy is asked first, so that it cannot have it from the registry."""
    ours = manifest(proxy, f"cargo/{kind.__name__}")
    theirs = manifest(registry, f"cargo/{kind.__name__}")
    assert payload(ours) == payload(theirs)
    assert program.verify(ours.body) == theirs.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("kind", OCI_KINDS)
def test_the_payload_is_what_a_registry_makes_of_the_oci_image_as_v2s2(
    registry: Registry,
    second: Registry,
    proxy: Proxy,
    program: Oracle,
    kind: Callable[[], Content],
) -> None:
    """A registry makes nothing of OCI images: it is given our v2s2, and converts that."""
    name = f"cargo/{kind.__name__}"
    assert ask(f"{registry.url}/v2/{name}/manifests/1").status == 404
    ours = manifest(proxy, name)
    middle = ask(f"{proxy.url}/v2/{name}/manifests/1", headers=ONLY_V2S2)
    second.push(name, "1", as_v2s2(kind(), middle.body))
    theirs = manifest(second, name)
    assert payload(ours) == payload(theirs)
    assert program.verify(ours.body) == theirs.headers["Docker-Content-Digest"]


def as_v2s2(content: Content, converted: bytes) -> Content:
    """The image, or an index's first one, under another manifest."""
    image = content.children[0] if content.children else content
    return replace(image, media_type=images.DOCKER.manifest, manifest=converted)


def test_the_payload_is_what_the_registry_makes_of_oddly_written_configs(
    registry: Registry, proxy: Proxy, program: Oracle
) -> None:
    """Over HTTP as by the converter alone."""
    for number, case in enumerate(odd_images.images(seed=7, count=25)):
        name, tag = f"odd/hold-{number}", f"V{number}.0_a-B"
        registry.push(name, tag, odd(case.config, case.layers))
        ours, theirs = manifest(proxy, name, tag), manifest(registry, name, tag)
        assert payload(ours) == payload(theirs), case
        assert program.verify(ours.body)


def odd(config: bytes, layers: Sequence[str]) -> Content:
    """A v2s2 image with this config, and a layer for each of these names."""
    layout = images.image(images.DOCKER, [images.layer({"srv/cargo": x.encode()}) for x in layers])
    document = json.loads(layout.manifest)
    plain = document["config"]["digest"]
    document["config"] |= {"digest": digest(config), "size": len(config)}
    blobs = {named: blob for named, blob in layout.blobs.items() if named != plain}
    return Content(
        layout.media_type, json.dumps(document).encode(), {**blobs, digest(config): config}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_head_says_what_get_does(proxy: Proxy, kind: Callable[[], Content]) -> None:
    tag = f"{proxy.url}/v2/cargo/{kind.__name__}/manifests/1"
    head, get = ask(tag, method="HEAD"), ask(tag)
    assert (head.status, head.body) == (200, b"")
    assert head.lasting == get.lasting
    assert get.headers["Content-Length"] == str(len(get.body))


def test_head_comes_first(registry: Registry, proxy: Proxy) -> None:
    """Its digest names something, though nothing was asked for but the headers."""
    registry.push("cargo/head", "1", images.docker_with_empty_steps("head"))
    head = ask(f"{proxy.url}/v2/cargo/head/manifests/1", method="HEAD")
    named = head.headers["Docker-Content-Digest"]
    get = ask(f"{proxy.url}/v2/cargo/head/manifests/{named}")
    assert get.lasting == head.lasting
    assert digest(payload(get)) == named


@pytest.mark.parametrize("kind", KINDS)
def test_every_blob_is_served(proxy: Proxy, kind: Callable[[], Content]) -> None:
    """The empty layer too, which the upstream need not have."""
    name = f"cargo/{kind.__name__}"
    found = closure(f"{proxy.url}/v2/{name}", manifest(proxy, name))
    assert found.keys() - {EMPTY_LAYER} <= blobs(kind())
    assert (EMPTY_LAYER in found) == (kind is images.docker_with_empty_steps)


def blobs(content: Content) -> set[str]:
    """Of the image, or of an index's images."""
    return set(content.blobs).union(*map(blobs, content.children))


def test_what_was_handed_out_is_there_after_a_restart(registry: Registry, proxy: Proxy) -> None:
    """By its digest and by tag: signed once, and then stored."""
    before = {f"cargo/{kind.__name__}": manifest(proxy, f"cargo/{kind.__name__}") for kind in KINDS}
    registry.forget()
    for restarted in (False, True):
        if restarted:
            proxy.restart()
        for name, answer in before.items():
            named = answer.headers["Docker-Content-Digest"]
            assert manifest(proxy, name, named).body == answer.body
            assert manifest(proxy, name).body == answer.body
    assert registry.requests() == []
