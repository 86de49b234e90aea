"""`lighterage convert` shows what the proxy serves, from what skopeo puts into a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.test_commands import LIGHTERAGE
from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13, NOTHING, ONLY_V2S2, Lines, accept
from tests.kit.clients import run, skopeo_copy
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
