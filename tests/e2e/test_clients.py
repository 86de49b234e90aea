"""podman, containerd and docker unpack the same through the proxy as from the registry."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest

from tests.e2e.hop import WithoutAccept
from tests.kit import images
from tests.kit.accept_lines import NOTHING
from tests.kit.clients import Containerd, Docker, Podman
from tests.kit.processes import Program, Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.stores import Store
    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

Client: TypeAlias = Containerd | Docker | Podman

KINDS: Final = (images.docker, images.oci, images.docker_list, images.oci_index)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The upstream, with one image of each kind."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.fixture(scope="module", params=[Podman, Containerd, Docker], ids=lambda kind: kind.__name__)
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A running client with a store of its own, in a path that is short enough for it."""
    with tempfile.TemporaryDirectory(prefix="lighterage-") as directory:
        client: Client = request.param(Path(directory) / "c")
        with client if isinstance(client, Program) else nullcontext():
            yield client


@pytest.fixture(scope="module")
def proxy(
    registry: Registry, client: Client, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """In front of the upstream; cold for each client."""
    directory = tmp_path_factory.mktemp(type(client).__name__)
    with Proxy(directory, upstream=registry.url, redis=store.redis) as proxy:
        yield proxy


@pytest.mark.parametrize("kind", KINDS)
def test_it_unpacks_what_it_gets_from_the_registry(
    registry: Registry, proxy: Proxy, client: Client, kind: Callable[[], Content]
) -> None:
    """Cold at first; and then from the cache, without a request to the upstream.

    The registry comes last: dockerd keeps manifests for a while after their image was removed.
    """
    image = f"cargo/{kind.__name__}:1"
    registry.forget()
    cold = client.pull(f"{proxy.host}/{image}")
    asked = [request.path for request in registry.requests() if "/blobs/" in request.path]
    assert len(asked) == len(set(asked)) == 3, "config and two layers, once each"
    registry.forget()
    warm = client.pull(f"{proxy.host}/{image}")
    assert registry.requests() == []
    assert cold == warm == client.pull(f"{registry.host}/{image}")


@pytest.mark.parametrize("kind", KINDS)
def test_containerd_unpacks_a_converted_schema_1(
    registry: Registry, store: Store, tmp_path: Path, short_path: Path, kind: Callable[[], Content]
) -> None:
    """It asks by HEAD what the tag names, and then for that digest."""
    image = f"cargo/{kind.__name__}"
    with (
        Proxy(tmp_path, upstream=registry.url, redis=store.redis) as proxy,
        WithoutAccept(proxy.port) as hop,
        Containerd(short_path) as containerd,
    ):
        direct = containerd.pull(f"{registry.host}/{image}:1")
        converted = containerd.pull(f"{hop.host}/{image}:1")
        named = ask(f"{proxy.url}/v2/{image}/manifests/1", headers=NOTHING)
    assert converted.files == direct.files
    digest = named.headers["Docker-Content-Digest"]
    assert hop.requests[:2] == [
        f"HEAD /v2/{image}/manifests/1",
        f"GET /v2/{image}/manifests/{digest}",
    ]
