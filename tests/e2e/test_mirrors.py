"""Two real registries, of which one is the other's mirror: what there is while that is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import images
from tests.kit.processes import Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

NAME: Final = "cargo/hold"
CACHED, MOVED, NEW = images.oci("cached"), images.oci("moved"), images.docker_list("new")


class Port:
    """A registry, its mirror, and a proxy in front of them."""

    def __init__(self, directory: Path, tags: str) -> None:
        self.registry, self.mirror = Registry(directory / "own"), Registry(directory / "mirror")
        mirror = {"url": self.mirror.url, "tags": tags}
        upstream = {"url": self.registry.url, "default": True, "mirrors": [mirror]}
        self.proxy = Proxy(
            directory / "proxy",
            settings={"upstreams": {"docker.io": upstream}, "tags": {"ttl": "0s"}},
        )

    def get(self, path: str) -> Answer:
        return ask(f"{self.proxy.url}/v2/{NAME}/{path}", headers=[("Accept", "*/*")])

    def pull(self, image: Content, tag: str) -> str:
        """Pull all of the image; where its manifest came from."""
        answer = self.get(f"manifests/{tag}")
        assert (answer.status, answer.body) == (200, image.manifest)
        for child in image.children:
            assert self.get(f"manifests/{child.digest}").body == child.manifest
        for content in (image, *image.children):
            for digest, blob in content.blobs.items():
                assert self.get(f"blobs/{digest}").body == blob
        return str(answer.headers["Cache-Status"])


@pytest.fixture(params=["never", "when_down"])
def port(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Port]:
    port = Port(tmp_path, request.param)
    with port.registry, port.mirror, port.proxy:
        for tag, image in (("1", CACHED), ("2", NEW)):
            port.registry.push(NAME, tag, image)
            port.mirror.push(NAME, tag, image)
        yield port


def test_the_registry_says_what_there_is_and_the_mirror_delivers_it(port: Port) -> None:
    port.mirror.forget()
    port.registry.forget()
    port.pull(NEW, "2")
    assert {request.method for request in port.registry.requests()} == {"HEAD"}
    assert {request.method for request in port.mirror.requests()} == {"GET"}
    assert all("sha256:" in request.path for request in port.mirror.requests())


def test_while_the_registry_is_stopped(port: Port, request: pytest.FixtureRequest) -> None:
    port.pull(CACHED, "1")
    port.mirror.push(NAME, "1", MOVED)
    port.registry.stop()
    assert 'detail="stale' in port.pull(CACHED, "1")
    if request.node.callspec.params["port"] == "never":
        assert port.get("manifests/2").status == 502
    else:
        for _ in range(2):
            assert "detail=mirror" in port.pull(NEW, "2")
    for digest in (MOVED.digest, *MOVED.blobs):
        kind = "manifests" if digest == MOVED.digest else "blobs"
        assert port.get(f"{kind}/{digest}").status == 502
    port.registry.start()
    answer = port.get("manifests/2")
    while answer.status != 200 or "detail=mirror" in str(answer.headers["Cache-Status"]):
        answer = port.get("manifests/2")
    port.mirror.forget()
    assert "detail=mirror" not in port.pull(NEW, "2")
    assert not [request for request in port.mirror.requests() if not request.path.count("sha256:")]
    assert port.get(f"manifests/{MOVED.digest}").status == 404
