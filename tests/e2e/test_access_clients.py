"""Real clients log in over TLS: each gets what is its user's, and is refused without a login."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from tests.kit import images
from tests.kit.access import basic, htpasswd
from tests.kit.certificates import pem
from tests.kit.clients import (
    ClientError,
    Containerd,
    Crane,
    Docker,
    Podman,
    docker_config,
    skopeo_copy,
)
from tests.kit.docker19 import Docker19
from tests.kit.processes import Program, Proxy
from tests.kit.registry import Registry
from tests.kit.token_server import TokenServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROBOT: Final = ("robot", "rust")
ANN: Final = ("ann", "anchor")
BOB: Final = ("bob", "bollard")
PRIVATE: Final = "ann/app"
PUBLIC: Final = "open/app"
IMAGE: Final = images.docker("of ann")

Client: TypeAlias = "Containerd | Crane | Docker | Docker19 | Podman | Skopeo"
HUB: Final = "https://index.docker.io/v1/"


class Skopeo:
    """skopeo, with the interface of the others."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def pull(
        self, reference: str, *, login: str = "", identity: Path | None = None
    ) -> dict[str, str]:
        """Copy the image into a directory that is not kept."""
        options = [] if identity is None else [f"--src-cert-dir={identity}"]
        with tempfile.TemporaryDirectory() as target:
            copied = Path(target) / "image"
            return skopeo_copy(reference, copied, credentials=login, options=options)


@dataclass(frozen=True, slots=True)
class Harbour:
    """A proxy with TLS, its certificate, and the mode of its rules."""

    proxy: Proxy
    certificate: Path
    mode: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One with real rights, behind a token server."""
    directory = tmp_path_factory.mktemp("registry")
    with Registry(directory) as pushed:
        for name in (PRIVATE, PUBLIC):
            pushed.push(name, "1", IMAGE)
    users = {ROBOT: ("*",), ANN: ("ann/*", "open/*"), BOB: ("bob/*", "open/*")}
    with (
        TokenServer(users, public=("open/*",)) as tokens,
        Registry(directory, tokens=tokens) as registry,
    ):
        yield registry


@pytest.fixture(scope="module", params=["basic", "upstream"])
def harbour(
    request: pytest.FixtureRequest, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harbour]:
    directory = tmp_path_factory.mktemp(request.param)
    private, certificate = pem()
    node_key, node_certificate = pem("node-7")
    for name, content in (
        ("tls.key", private),
        ("tls.crt", certificate),
        ("node.key", node_key),
        ("node.crt", node_certificate),
    ):
        (directory / name).write_bytes(content)
    access: dict[str, Any] = {"mode": "upstream"}
    if request.param == "basic":
        rule = {"match": "docker.io/ann/*", "mode": "basic", "users": ["ann", "certificate:node-*"]}
        users = htpasswd(directory / "htpasswd", dict((ANN, BOB)))
        access = {"htpasswd_file": str(users), "rules": [rule]}
    settings = {
        "upstreams": {
            "docker.io": {
                "url": registry.url,
                "default": True,
                "credentials": {"username": ROBOT[0], "password": ROBOT[1]},
            }
        },
        "access": access,
        "tls": {
            "certificate_file": str(directory / "tls.crt"),
            "key_file": str(directory / "tls.key"),
            "client_ca_file": str(directory / "node.crt"),
        },
    }
    with Proxy(directory / "proxy", settings=settings) as proxy:
        yield Harbour(proxy, directory / "tls.crt", request.param)


@pytest.fixture(
    scope="module",
    params=[Skopeo, Podman, Crane, Containerd, Docker, Docker19],
    ids=lambda kind: kind.__name__,
)
def client(request: pytest.FixtureRequest, harbour: Harbour) -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="lighterage-") as directory:
        if request.param is Docker19:
            yield Docker19(harbour.certificate)
            return
        client: Client = request.param(Path(directory) / "c")
        if isinstance(client, Crane):
            client.trust(harbour.certificate)
        if isinstance(client, Containerd):
            client.mirror(harbour.proxy.host, _https(harbour), f'ca = "{harbour.certificate}"\n')
            client.mirror("docker.io", _https(harbour), f'ca = "{harbour.certificate}"\n')
        with client if isinstance(client, Program) else nullcontext():
            yield client


def _https(harbour: Harbour) -> str:
    return f"https://{harbour.proxy.host}"


def _colon(login: tuple[str, str]) -> str:
    return ":".join(login)


def test_a_client_pulls_what_is_its_users(harbour: Harbour, client: Client) -> None:
    """And nothing without a login, with a wrong one, or with another user's."""
    private = f"{harbour.proxy.host}/{PRIVATE}:1"
    with pytest.raises(ClientError):
        client.pull(private)
    for wrong in (_colon(BOB), "ann:wrong"):
        with pytest.raises(ClientError):
            client.pull(private, login=wrong)
    client.pull(private, login=_colon(ANN))
    with pytest.raises(ClientError):
        client.pull(private)


def test_a_public_image_needs_no_login(harbour: Harbour, client: Client) -> None:
    client.pull(f"{harbour.proxy.host}/{PUBLIC}:1")
    client.pull(f"{harbour.proxy.host}/{PUBLIC}:1", login=_colon(BOB))


@pytest.mark.parametrize("client", [Podman, Docker, Docker19], indirect=True)
def test_a_wrong_login_fails_at_once(harbour: Harbour, client: Podman | Docker | Docker19) -> None:
    client.login(harbour.proxy.host, _colon(ANN))
    with pytest.raises(ClientError):
        client.login(harbour.proxy.host, "ann:wrong")


@pytest.mark.parametrize("kind", [Docker, Docker19], ids=lambda kind: kind.__name__)
def test_docker_pulls_through_a_mirror_with_its_login_for_docker_hub(
    harbour: Harbour, short_path: Path, kind: type[Docker | Docker19]
) -> None:
    """It sends that to every mirror; one that says no is passed over, and no network is there."""
    docker: Docker | Docker19
    if kind is Docker:
        docker = Docker(short_path, mirror=_https(harbour))
    else:
        docker = Docker19(harbour.certificate, mirror=_https(harbour))
    with docker if isinstance(docker, Docker) else nullcontext():
        docker.pull(f"{PUBLIC}:1")
        for login in ("", _colon(BOB), "ann:wrong"):
            docker.keep_login(HUB, login)
            with pytest.raises(ClientError):
                docker.pull(f"{PRIVATE}:1")
            docker.pull(f"{PUBLIC}:1")
        # One for the proxy's own name is not for a mirror.
        docker.keep_login(harbour.proxy.host, _colon(ANN))
        with pytest.raises(ClientError):
            docker.pull(f"{PRIVATE}:1")
        docker.keep_login(HUB, _colon(ANN))
        docker.pull(f"{PRIVATE}:1")


def _registries(harbour: Harbour) -> str:
    """Docker Hub's images come from the proxy, and from nowhere else."""
    location = f'location = "{harbour.proxy.host}"\ninsecure = true\n'
    return f'[[registry]]\nprefix = "docker.io"\n{location}'


def test_podman_pulls_through_a_mirror_with_its_login_for_the_proxy(
    harbour: Harbour, short_path: Path
) -> None:
    podman = Podman(short_path, registries=_registries(harbour))
    podman.pull(f"docker.io/{PUBLIC}:1")
    for host, login in (("", ""), (harbour.proxy.host, _colon(BOB)), ("docker.io", _colon(ANN))):
        podman.keep_login(host, login)
        with pytest.raises(ClientError):
            podman.pull(f"docker.io/{PRIVATE}:1")
    podman.keep_login(harbour.proxy.host, _colon(ANN))
    podman.pull(f"docker.io/{PRIVATE}:1")


def test_skopeo_pulls_through_a_mirror_with_its_login_for_the_proxy(
    harbour: Harbour, tmp_path: Path
) -> None:
    (tmp_path / "registries.conf").write_text(_registries(harbour))

    def pull(host: str, login: str) -> None:
        (tmp_path / "auth.json").write_text(docker_config(host, login))
        with tempfile.TemporaryDirectory() as target:
            skopeo_copy(
                f"docker.io/{PRIVATE}:1",
                Path(target) / "image",
                options=[f"--src-authfile={tmp_path / 'auth.json'}"],
                registries=tmp_path / "registries.conf",
            )

    for host, login in (("", ""), (harbour.proxy.host, _colon(BOB)), ("docker.io", _colon(ANN))):
        with pytest.raises(ClientError):
            pull(host, login)
    pull(harbour.proxy.host, _colon(ANN))


@pytest.mark.parametrize("harbour", ["basic"], indirect=True)
@pytest.mark.parametrize("kind", [Podman, Skopeo], ids=lambda kind: kind.__name__)
def test_a_node_shows_its_certificate(
    harbour: Harbour, short_path: Path, kind: type[Podman | Skopeo]
) -> None:
    identity = short_path / "certs"
    identity.mkdir(parents=True)
    for name, source in (("client.cert", "node.crt"), ("client.key", "node.key")):
        (identity / name).write_bytes((harbour.certificate.parent / source).read_bytes())
    client = kind(short_path / "client")
    with pytest.raises(ClientError):
        client.pull(f"{harbour.proxy.host}/{PRIVATE}:1")
    client.pull(f"{harbour.proxy.host}/{PRIVATE}:1", identity=identity)


def test_containerd_pulls_through_a_mirror(harbour: Harbour, short_path: Path) -> None:
    """By the pull's own login; by a node's certificate; and by a header of its own."""
    directory = harbour.certificate.parent
    authority = f'ca = "{harbour.certificate}"\n'
    name = f"docker.io/{PRIVATE}:1"
    with Containerd(short_path) as containerd:
        containerd.mirror("docker.io", _https(harbour), authority)
        containerd.pull(f"docker.io/{PUBLIC}:1")
        containerd.pull(name, login=_colon(ANN))
        for wrong in ("", _colon(BOB), "ann:wrong"):
            with pytest.raises(ClientError):
                containerd.pull(name, login=wrong)
        if harbour.mode == "upstream":
            return
        node = f'client = [["{directory / "node.crt"}", "{directory / "node.key"}"]]\n'
        containerd.mirror("docker.io", _https(harbour), authority + node)
        containerd.pull(name)
        header = f'[host."{_https(harbour)}".header]\n'
        for word in ("Authorization", "Lighterage-Authorization"):
            containerd.mirror(
                "docker.io", _https(harbour), f'{authority}{header}{word} = ["{basic(*ANN)}"]\n'
            )
            containerd.pull(name)
            containerd.mirror(
                "docker.io", _https(harbour), f'{authority}{header}{word} = ["{basic(*BOB)}"]\n'
            )
            with pytest.raises(ClientError):
                containerd.pull(name)
