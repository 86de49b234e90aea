"""A derived digest exists in no upstream: whatever is lost, it stays what it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.closure import closure
from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13, NOTHING, ONLY_V2S2, accept
from tests.kit.catalog_files import damage_derived, remove_index
from tests.kit.images import OCI
from tests.kit.processes import Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.stores import Store

pytestmark = pytest.mark.e2e

KINDS: Final = (images.docker, images.docker_list, images.oci, images.mixed, images.oci_index)
CONVERSIONS: Final = [
    *((kind, NOTHING) for kind in KINDS),
    (images.oci, ONLY_V2S2),
    (images.mixed, DOCKER_1_13),
    (images.oci_index, DOCKER_1_13),
    (images.oci_index, ONLY_V2S2),
    (images.docker, accept(OCI.manifest)),
    (images.docker_list, accept(OCI.index, OCI.manifest)),
]


@dataclass(frozen=True, slots=True)
class Derived:
    """A manifest that the proxy made, as it was when its digest was handed out."""

    repository: str
    digest: str
    get: Answer


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """The upstream, with one image of each kind."""
    with Registry(tmp_path / "registry") as registry:
        for kind in KINDS:
            registry.push(f"cargo/{kind.__name__}", "1", kind())
        yield registry


@pytest.fixture
def proxy(registry: Registry, store: Store, tmp_path: Path) -> Iterator[Proxy]:
    """In front of the upstream, with a key of its own, and nothing of an earlier proxy's."""
    store.lose_everything(tmp_path)
    with Proxy(tmp_path / "proxy", upstream=registry.url, redis=store.redis) as proxy:
        yield proxy


@pytest.fixture
def handed_out(proxy: Proxy) -> list[Derived]:
    """A derived manifest of each sort, and of each list its children."""
    found = []
    for kind, lines in CONVERSIONS:
        repository = f"cargo/{kind.__name__}"
        answer = ask(f"{proxy.url}/v2/{repository}/manifests/1", headers=lines)
        children = json.loads(answer.body).get("manifests", ())
        digests = [answer.headers["Docker-Content-Digest"], *(c["digest"] for c in children)]
        found += [
            Derived(repository, named, by_digest(proxy, repository, named)) for named in digests
        ]
    assert len(found) == len(CONVERSIONS) + 4
    return found


def by_digest(proxy: Proxy, repository: str, digest: str, *, method: str = "GET") -> Answer:
    """What the proxy has under it for any client."""
    return ask(f"{proxy.url}/v2/{repository}/manifests/{digest}", method=method)


def check(proxy: Proxy, handed_out: list[Derived]) -> None:
    """GET and HEAD give what they gave, and all that it names is there."""
    for derived in handed_out:
        head = by_digest(proxy, derived.repository, derived.digest, method="HEAD")
        get = by_digest(proxy, derived.repository, derived.digest)
        assert (get.status, get.lasting) == (200, derived.get.lasting)
        assert get.body == derived.get.body
        assert (head.status, head.lasting) == (200, derived.get.lasting)


def lose(store: Store, data: Path, handed_out: list[Derived]) -> None:
    """Damage these manifests' bytes, and lose the copies of them."""
    if store.redis:
        store.lose_everything(data)
    for digest in {derived.digest for derived in handed_out}:
        if (data / "derived" / digest).exists():
            damage_derived(data, digest)


def test_it_is_what_was_handed_out(proxy: Proxy, handed_out: list[Derived]) -> None:
    """Before anything happens; with all that it names."""
    check(proxy, handed_out)
    for derived in handed_out:
        assert derived.get.headers["Docker-Content-Digest"] == derived.digest
        assert derived.get.headers["Lighterage-Converted-From"]
        assert closure(f"{proxy.url}/v2/{derived.repository}", derived.get)


def test_it_survives_a_restart(registry: Registry, proxy: Proxy, handed_out: list[Derived]) -> None:
    registry.kill()
    proxy.restart()
    check(proxy, handed_out)


def test_it_survives_the_kill_of_the_proxy_that_has_just_handed_it_out(
    registry: Registry, proxy: Proxy, handed_out: list[Derived]
) -> None:
    """It was durable before it was sent."""
    registry.kill()
    proxy.kill()
    proxy.start()
    check(proxy, handed_out)


def test_it_survives_the_loss_of_the_cache(
    registry: Registry, store: Store, proxy: Proxy, handed_out: list[Derived]
) -> None:
    registry.kill()
    proxy.stop()
    store.lose_everything(proxy.data)
    proxy.start()
    check(proxy, handed_out)


def test_it_survives_the_loss_of_its_bytes(
    registry: Registry, store: Store, proxy: Proxy, handed_out: list[Derived]
) -> None:
    """Made again from its origin and what that names, without the upstream."""
    registry.kill()
    proxy.stop()
    lose(store, proxy.data, handed_out)
    proxy.start()
    check(proxy, handed_out)
    proxy.restart()
    check(proxy, handed_out)


def test_it_survives_the_loss_of_everything_but_what_it_was_made_from(
    store: Store, proxy: Proxy, handed_out: list[Derived]
) -> None:
    """What is missing comes from the upstream."""
    proxy.stop()
    lose(store, proxy.data, handed_out)
    remove_index(proxy.data)
    shutil.rmtree(proxy.data / "blobs")
    proxy.start()
    check(proxy, handed_out)


def test_it_does_not_depend_on_what_the_settings_are_by_then(
    registry: Registry, store: Store, proxy: Proxy, handed_out: list[Derived], tmp_path: Path
) -> None:
    """Also when it has to be made again."""
    registry.kill()
    proxy.stop()
    lose(store, proxy.data, handed_out)
    conversion = {
        "accept_missing": "stored",
        "mixed": "consistent",
        "platform": "linux/arm64",
        "platforms": ["linux/arm64"],
        "max_children": 1,
    }
    with Proxy(
        tmp_path / "changed",
        upstream=registry.url,
        redis=store.redis,
        data=proxy.data,
        settings={"conversion": conversion},
    ) as changed:
        check(changed, handed_out)


def test_a_second_proxy_on_the_same_directory_has_it(
    registry: Registry, store: Store, proxy: Proxy, handed_out: list[Derived], tmp_path: Path
) -> None:
    """While the first one runs; and the first has what the second made."""
    with Proxy(
        tmp_path / "second", upstream=registry.url, redis=store.redis, data=proxy.data
    ) as second:
        name = "cargo/docker"
        registry.push(name, "2", images.docker("second"))
        answer = ask(f"{second.url}/v2/{name}/manifests/2", headers=NOTHING)
        digest = answer.headers["Docker-Content-Digest"]
        registry.kill()
        check(second, handed_out)
        check(proxy, [Derived(name, digest, by_digest(second, name, digest))])
