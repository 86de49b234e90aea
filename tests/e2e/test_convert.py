"""`lighterage convert` shows what the proxy serves, from what skopeo puts into a directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from proxy.cli.convert import convert
from proxy.config import ConversionSettings
from tests.e2e.test_commands import LIGHTERAGE
from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13, NOTHING, ONLY_V2S2, Lines, accept
from tests.kit.clients import ClientError, run, skopeo_convert, skopeo_copy
from tests.kit.images import OCI
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

INDEXES: Final = (images.docker_list, images.oci_index)
KINDS: Final = (images.docker, images.oci, images.oci_undeclared, images.mixed, *INDEXES)
CASES: Final = [
    *((kind, "v2s1", NOTHING) for kind in KINDS),
    *((kind, "v2s2", ONLY_V2S2) for kind in KINDS),
    *((kind, "oci", accept(OCI.manifest)) for kind in KINDS if kind is not images.mixed),
    (images.oci_index, "list", DOCKER_1_13),
    (images.docker_list, "index", accept(OCI.index, OCI.manifest)),
]


def test_its_platforms_are_those_of_the_proxy() -> None:
    (option,) = [each for each in convert.params if each.name == "platforms"]
    assert option.default == [str(each) for each in ConversionSettings().platforms]


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


@pytest.mark.parametrize(
    ("target", "accepted"), [("v2s2", ONLY_V2S2), ("oci", accept(OCI.manifest))]
)
@pytest.mark.parametrize("given", [True, False], ids=["given", "beside"])
def test_schema_1_is_made_what_the_proxy_serves(
    registry: Registry, proxy: Proxy, tmp_path: Path, target: str, accepted: Lines, *, given: bool
) -> None:
    """With the config that is made with it; the layers are options, or files as skopeo has them."""
    source, name = f"docker://{registry.host}/cargo/docker:1", "cargo/schema1"
    skopeo_convert(source, f"docker://{registry.host}/{name}:1", form="v2s1")
    skopeo_copy(f"{registry.host}/{name}:1", tmp_path / "copied")
    served = ask(f"{proxy.url}/v2/{name}/manifests/1", headers=accepted).body
    parts = json.loads(served)
    layers = [tmp_path / f"layer{number}" for number in range(len(parts["layers"]))]
    options: list[str | Path] = []
    for place, layer in zip(layers, parts["layers"], strict=True):
        if given:
            (tmp_path / "copied" / layer["digest"].partition(":")[2]).rename(place)
            options += ["--layer", place]
    config = tmp_path / "config.json"
    manifest = tmp_path / "copied/manifest.json"
    command = [LIGHTERAGE, "convert", manifest, "--to", target, "--write-config", config, *options]
    assert run(command) == served
    blob = f"{proxy.url}/v2/{name}/blobs/{parts['config']['digest']}"
    assert config.read_bytes() == ask(blob).body
    if given:
        with pytest.raises(ClientError, match="give it with --layer"):
            run([LIGHTERAGE, "convert", manifest, "--to", target])


@pytest.mark.parametrize(("kind", "target", "accepted"), CASES)
def test_it_is_what_the_proxy_serves(
    proxy: Proxy, tmp_path: Path, kind: Callable[[], Content], target: str, accepted: Lines
) -> None:
    """Signature included, for it is made with the same key, and not with the time of day."""
    name = f"cargo/{kind.__name__}"
    skopeo_copy(f"{proxy.host}/{name}:1", tmp_path, everything=kind in INDEXES)
    names = ("--name", name, "--tag", "1", "--key", proxy.data / "signing-key.pem")
    converted = run([LIGHTERAGE, "convert", tmp_path / "manifest.json", "--to", target, *names])
    assert converted == ask(f"{proxy.url}/v2/{name}/manifests/1", headers=accepted).body
