"""Three real registries behind one proxy: one repository name, three contents, never mixed up."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import images, registry, token_server
from tests.kit.clients import Containerd, Docker, Podman, run
from tests.kit.processes import Proxy
from tests.kit.raw_http import Answer, ask
from tests.kit.registry import Registry
from tests.kit.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
NAME: Final = "cargo/hold"
# What each of them has under that name and the tag 1. docker.io lets everybody in, quay.io wants a
# password, ghcr.io a token.
CONTENT: Final[dict[str, Content]] = {
    "docker.io": images.docker("anonymous"),
    "quay.io": images.oci("htpasswd"),
    "ghcr.io": images.docker("token"),
}
ACCEPT: Final = (
    ("Accept", "application/vnd.oci.image.manifest.v1+json"),
    (
        "Accept",
        "application/vnd.docker.distribution.manifest.v2+json",
    ),
)
HOW: Final = ("path", "ns", "host", "host with port")


class Harbour:
    """The three registries by name, their token server, and what a proxy must know of them."""

    def __init__(self, directory: Path, tokens: TokenServer) -> None:
        self.tokens = tokens
        self.registries = {
            "docker.io": Registry(directory / "anonymous"),
            "quay.io": Registry(directory / "htpasswd", account=True),
            "ghcr.io": Registry(directory / "token", tokens=tokens),
        }
        password = directory / "password"
        password.write_text(f"{registry.PASSWORD}\n")
        login = f"{token_server.USERNAME}:{token_server.PASSWORD}".encode()
        key = self.registries["ghcr.io"].host
        docker_config = directory / "config.json"
        docker_config.write_text(
            json.dumps({"auths": {key: {"auth": base64.b64encode(login).decode()}}})
        )
        self.settings: dict[str, object] = {
            "upstreams": {
                "docker.io": {"url": self.registries["docker.io"].url, "default": True},
                "quay.io": {
                    "url": self.registries["quay.io"].url,
                    "aliases": ["registry.example:5000"],
                    "credentials": {
                        "username": registry.USERNAME,
                        "password_file": str(password),
                    },
                },
                "ghcr.io": {
                    "url": self.registries["ghcr.io"].url,
                    "credentials": {"docker_config_file": str(docker_config)},
                },
            }
        }


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    directory = tmp_path_factory.mktemp("harbour")
    # Who may push is no question here: what this one has is what the one with tokens will have.
    with Registry(directory / "token") as open_to_all:
        open_to_all.push(NAME, "1", CONTENT["ghcr.io"])
    with TokenServer() as tokens:
        harbour = Harbour(directory, tokens)
        anonymous, htpasswd, token = harbour.registries.values()
        with anonymous, htpasswd, token:
            for name in (NAME, "library/hold"):
                anonymous.push(name, "1", CONTENT["docker.io"])
            htpasswd.push(NAME, "1", CONTENT["quay.io"])
            yield harbour


@pytest.fixture(scope="module")
def proxy(harbour: Harbour, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("proxy"), settings=harbour.settings) as proxy:
        yield proxy


def addressed(proxy: Proxy, how: str, upstream: str, rest: str, name: str = NAME) -> Answer:
    """The answer for a repository of `upstream`, which is named in this way."""
    path, ns, host = name, "", None
    match how:
        case "path":
            path = f"{upstream}/{name}"
        case "ns":
            ns = f"?ns={upstream}"
        case "host":
            host = upstream
        case _:
            host = f"{upstream}:{proxy.port}"
    headers = [*ACCEPT, *([("Host", host)] if host else [])]
    return ask(f"{proxy.url}/v2/{path}/{rest}{ns}", headers=headers)


@pytest.mark.parametrize("how", HOW)
def test_each_registry_answers_for_itself(proxy: Proxy, how: str) -> None:
    for upstream, content in CONTENT.items():
        answer = addressed(proxy, how, upstream, "manifests/1")
        assert (answer.status, answer.body) == (200, content.manifest), upstream
        assert answer.headers["Docker-Content-Digest"] == content.digest
        assert answer.headers["OCI-Namespace"] == (upstream if how == "ns" else None)
        for digest, blob in content.blobs.items():
            answer = addressed(proxy, how, upstream, f"blobs/{digest}")
            assert (answer.status, answer.body) == (200, blob)


@pytest.mark.parametrize("how", HOW)
def test_what_one_registry_has_is_not_given_out_for_another(proxy: Proxy, how: str) -> None:
    """Not even a blob that lies in the proxy's store under the same repository name."""
    for upstream, content in CONTENT.items():
        assert addressed(proxy, "path", upstream, f"manifests/{content.digest}").status == 200
        for other in CONTENT.keys() - {upstream}:
            assert addressed(proxy, how, other, f"manifests/{content.digest}").status == 404
            for digest in content.blobs:
                assert addressed(proxy, how, other, f"blobs/{digest}").status == 404


def test_the_default_registry_needs_no_name(proxy: Proxy) -> None:
    for name in (NAME, "hold", "library/hold", "docker.io/hold"):
        answer = ask(f"{proxy.url}/v2/{name}/manifests/1", headers=ACCEPT)
        assert answer.body == CONTENT["docker.io"].manifest
    # There is a library on Docker Hub alone.
    assert ask(f"{proxy.url}/v2/quay.io/hold/manifests/1", headers=ACCEPT).status == 404


def test_no_other_registry_can_be_named(proxy: Proxy, harbour: Harbour) -> None:
    for how in ("ns", "path"):
        url = harbour.registries["docker.io"].host
        answer = addressed(proxy, how, url, "manifests/1")
        assert answer.status in {400, 404}
    answer = addressed(proxy, "host", "registry.example:5000", "manifests/1")
    assert answer.body == CONTENT["quay.io"].manifest


def test_the_token_is_for_the_repository_and_for_pulling(proxy: Proxy, harbour: Harbour) -> None:
    assert addressed(proxy, "ns", "ghcr.io", "manifests/1").status == 200
    assert set(harbour.tokens.asked) <= {f"repository:{name}:pull" for name in (NAME, "hold")}
    assert f"repository:{NAME}:pull" in harbour.tokens.asked


def test_containerd_with_hosts_toml(proxy: Proxy, short_path: Path) -> None:
    with Containerd(short_path) as containerd:
        pulled = {}
        for upstream in CONTENT:
            containerd.mirror(upstream, proxy.url)
            pulled[upstream] = containerd.pull(f"{upstream}/{NAME}:1")
    assert {name: image.digest for name, image in pulled.items()} == {
        name: content.digest for name, content in CONTENT.items()
    }
    assert len({str(image.files) for image in pulled.values()}) == 3


def test_podman_with_the_mirrors_that_client_config_prints(
    proxy: Proxy, harbour: Harbour, tmp_path: Path, short_path: Path
) -> None:
    settings = tmp_path / "lighterage.yaml"
    settings.write_text(json.dumps(harbour.settings | {"listen": proxy.host}))
    printed = run([LIGHTERAGE, "client-config", "podman", f"--config={settings}"]).decode()
    podman = Podman(short_path, registries=printed)
    pulled = {upstream: podman.pull(f"{upstream}/{NAME}:1") for upstream in CONTENT}
    assert {name: image.digest for name, image in pulled.items()} == {
        name: content.digest for name, content in CONTENT.items()
    }
    assert len({str(image.files) for image in pulled.values()}) == 3


def test_dockerd_with_a_registry_mirror(proxy: Proxy, short_path: Path) -> None:
    """A mirror is for Docker Hub only; for others the proxy stands in the image's name."""
    with Docker(short_path, mirror=proxy.url) as docker:
        for image in (f"{NAME}:1", "hold:1"):
            assert docker.pull(image).digest == CONTENT["docker.io"].digest
        for upstream in ("quay.io", "ghcr.io"):
            pulled = docker.pull(f"{proxy.host}/{upstream}/{NAME}:1")
            assert pulled.digest == CONTENT[upstream].digest


def test_all_of_it_is_there_when_the_registries_are_not(harbour: Harbour, tmp_path: Path) -> None:
    with Proxy(tmp_path, settings=harbour.settings) as proxy:
        test_each_registry_answers_for_itself(proxy, "path")
        proxy.stop()
        for each in harbour.registries.values():
            each.stop()
        try:
            proxy.start()
            for how in HOW:
                test_each_registry_answers_for_itself(proxy, how)
        finally:
            for each in harbour.registries.values():
                each.start()
