"""skopeo copies every image through the proxy, byte for byte as from the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import images
from tests.kit.clients import ClientError, skopeo_copy
from tests.kit.processes import Proxy
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.stores import Store
    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

INDEXES: Final = (images.docker_list, images.oci_index)
KINDS: Final = (images.docker, images.oci, images.oci_undeclared, images.mixed, *INDEXES)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream, with one image of each kind."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.fixture(scope="module")
def proxy(
    registry: Registry, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """In front of the upstream."""
    with Proxy(tmp_path_factory.mktemp("proxy"), upstream=registry.url, redis=store.redis) as proxy:
        yield proxy


@pytest.mark.parametrize("form", ["dir", "oci"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_is_that_of_the_registry(
    registry: Registry, proxy: Proxy, tmp_path: Path, kind: Callable[[], Content], form: str
) -> None:
    """An index with all its platforms; cold at first, and then from the cache."""
    image, everything = f"cargo/{kind.__name__}:1", kind in INDEXES
    sources = {"direct": registry.host, "first": proxy.host, "second": proxy.host}
    copies = [
        skopeo_copy(f"{host}/{image}", tmp_path / name, form=form, everything=everything)
        for name, host in sources.items()
    ]
    assert copies[0] == copies[1] == copies[2]
    if form == "dir":
        assert kind().digest in copies[0].values()


@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_by_digest_is_that_of_the_registry(
    registry: Registry, proxy: Proxy, tmp_path: Path, kind: Callable[[], Content]
) -> None:
    image, everything = f"cargo/{kind.__name__}@{kind().digest}", kind in INDEXES
    direct, ours = (
        skopeo_copy(f"{source.host}/{image}", tmp_path / source.name, everything=everything)
        for source in (registry, proxy)
    )
    assert ours == direct


def test_a_missing_image_is_missing(registry: Registry, proxy: Proxy, tmp_path: Path) -> None:
    """In the words that skopeo has for it from the registry."""
    for source in (registry, proxy):
        with pytest.raises(ClientError, match="manifest unknown"):
            skopeo_copy(f"{source.host}/cargo/docker:missing", tmp_path / source.name)
