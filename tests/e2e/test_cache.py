"""A second pull costs the upstream nothing, and needs no upstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.closure import closure
from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13, EVERYTHING, NOTHING, Lines
from tests.kit.clients import ClientError, skopeo_copy
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.stores import Store
    from tests.kit.raw_http import Answer

pytestmark = pytest.mark.e2e

KINDS: Final = (images.docker, images.docker_list, images.oci, images.oci_index)
CLIENTS: Final = {"legacy": NOTHING, "docker 1.13": DOCKER_1_13, "modern": EVERYTHING}


@dataclass(frozen=True, slots=True)
class Pulled:
    """A manifest as a client got it, with all that it names."""

    repository: str
    accept: Lines
    manifest: Answer
    content: dict[str, bytes]

    @property
    def digest(self) -> str:
        """Under which it must be there from now on."""
        return self.manifest.headers["Docker-Content-Digest"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """The upstream, with one image of each kind."""
    with Registry(tmp_path / "registry") as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


def pull(proxy: Proxy, repository: str, accept: Lines, reference: str = "1") -> Pulled:
    """As a client that sends `accept`: the manifest, and then all of its content."""
    answer = ask(f"{proxy.url}/v2/{repository}/manifests/{reference}", headers=accept)
    assert answer.status == 200, answer.body
    return Pulled(repository, accept, answer, closure(f"{proxy.url}/v2/{repository}", answer))


def pull_everything(proxy: Proxy) -> list[Pulled]:
    """Every image for every client."""
    return [
        pull(proxy, f"cargo/{kind.__name__}", accept)
        for accept in CLIENTS.values()
        for kind in KINDS
    ]


def check_everything(proxy: Proxy, before: list[Pulled], *, status: str) -> None:
    """What was pulled pulls again, by tag and by digest; by tag with this `Cache-Status`."""
    for was in before:
        by_tag = pull(proxy, was.repository, was.accept)
        assert (by_tag.manifest.body, by_tag.content) == (was.manifest.body, was.content)
        assert status in by_tag.manifest.headers["Cache-Status"]
        by_digest = pull(proxy, was.repository, was.accept, was.digest)
        assert (by_digest.manifest.body, by_digest.content) == (was.manifest.body, was.content)


def test_a_second_pull_asks_the_upstream_nothing(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    """Within the TTL, for every client, and also after a restart."""
    with Proxy(tmp_path / "proxy", upstream=registry.url, redis=store.redis) as proxy:
        before = pull_everything(proxy)
        registry.forget()
        check_everything(proxy, before, status="hit")
        proxy.restart()
        check_everything(proxy, before, status="hit")
    assert registry.requests() == []


def test_the_first_pulls_ask_the_upstream_once_for_each_content(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    """One request a tag, for all clients together, and at most one GET for each digest."""
    with Proxy(tmp_path / "proxy", upstream=registry.url, redis=store.redis) as proxy:
        registry.forget()
        pull_everything(proxy)
    asked = [(request.method, request.path) for request in registry.requests()]
    assert len(asked) == len(set(asked))
    by_tag = [(method, path) for method, path in asked if path.endswith("/manifests/1")]
    tags = [f"/v2/cargo/{kind.__name__}/manifests/1" for kind in KINDS]
    # A client that asks by HEAD, and Redis, cost a HEAD instead of the GET.
    assert sorted(path for _, path in by_tag) == sorted(tags)


def test_what_was_pulled_pulls_from_a_dead_upstream(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    """When no tag is fresh any more: stale, and saying so; before and after a restart."""
    settings = {"tags": {"ttl": "0s"}}
    with Proxy(
        tmp_path / "proxy", upstream=registry.url, settings=settings, redis=store.redis
    ) as proxy:
        before = pull_everything(proxy)
        copy = skopeo_copy(f"{proxy.host}/cargo/oci_index:1", tmp_path / "copy", everything=True)
        registry.kill()
        for restarted in (False, True):
            if restarted:
                proxy.restart()
            check_everything(proxy, before, status="stale")
            image, again = f"{proxy.host}/cargo/oci_index:1", tmp_path / f"again-{restarted}"
            assert skopeo_copy(image, again, everything=True) == copy
        with pytest.raises(ClientError, match="502 Bad Gateway"):
            skopeo_copy(f"{proxy.host}/cargo/oci:never-pulled", tmp_path / "missing")


def test_a_tag_that_moves_is_followed(registry: Registry, store: Store, tmp_path: Path) -> None:
    """And what it named before stays pullable by digest, derived ones included."""
    settings = {"tags": {"ttl": "0s"}}
    with Proxy(
        tmp_path / "proxy", upstream=registry.url, settings=settings, redis=store.redis
    ) as proxy:
        before = [pull(proxy, "cargo/oci", accept) for accept in CLIENTS.values()]
        registry.push("cargo/oci", "1", images.oci("moved"))
        after = [pull(proxy, "cargo/oci", accept) for accept in CLIENTS.values()]
        assert after[-1].digest == images.oci("moved").digest
        registry.kill()
        for was, now in zip(before, after, strict=True):
            assert pull(proxy, "cargo/oci", was.accept).manifest.body == now.manifest.body
            assert now.digest != was.digest
            assert pull(proxy, "cargo/oci", was.accept, was.digest).content == was.content


def test_a_proxy_starts_without_its_upstream(registry: Registry, tmp_path: Path) -> None:
    """And says what is wrong only to who wants something; then it is there, and so is that."""
    registry.stop()
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
        ping = ask(f"{proxy.url}/v2/")
        assert (ping.status, ping.headers["Docker-Distribution-Api-Version"]) == (
            200,
            "registry/2.0",
        )
        assert ask(f"{proxy.admin_url}/readyz").status == 200
        assert ask(f"{proxy.url}/v2/cargo/oci/manifests/1").status == 502
        registry.start()
        assert pull(proxy, "cargo/oci", EVERYTHING).digest == images.oci().digest
