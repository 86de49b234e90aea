"""Every example of README and docs is run, or read by the program that it is for."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from proxy import config
from tests import tools
from tests.e2e.fences import ROOT, TEXT, Fence, fences, kind_of
from tests.kit import images
from tests.kit.certificates import pem
from tests.kit.clients import Containerd, Docker, run
from tests.kit.processes import Program, Proxy, free_port
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

ALL: Final = list(fences())
LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
# What examples pull, and from which registry.
IMAGES: Final = {
    "library/alpine": ("latest", "3.20"),
    "library/app": ("1.0",),
    "org/app": ("1.0",),
    "prometheus/node-exporter": ("v1.8.2",),
}
# Addresses of the proxy in examples.
OURS: Final = ("127.0.0.1:5000", "127.0.0.1:30500", "mirror.example", "proxy.example")
# Where nobody listens: no test reaches a network.
NOWHERE: Final = "http://127.0.0.1:9"


def of(by: str) -> pytest.MarkDecorator:
    """The examples that are run, or read, by the same program."""
    chosen = [fence for fence in ALL if fence.name not in TEXT and kind_of(fence)[1] == by]
    assert chosen, by
    return pytest.mark.parametrize("fence", chosen, ids=lambda fence: fence.name)


def test_every_example_is_run_or_read_and_ten_are_not() -> None:
    kinds = {fence.name: kind_of(fence) for fence in ALL}
    assert len(kinds) > 50
    assert TEXT.keys() <= kinds.keys(), "an example has moved"
    assert len(TEXT) <= 10
    tested = {by for kind, by in kinds.values() if kind != "text"}
    assert tested <= {name.removeprefix("test_") for name in globals()}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """In front of a registry that has what examples pull, under both names that they use."""
    directory = tmp_path_factory.mktemp("fences")
    with Registry(directory / "registry") as registry:
        for repository, names in IMAGES.items():
            for tag in names:
                registry.push(repository, tag, images.oci_index(repository))
        settings = {
            "upstreams": {
                "docker.io": {"url": registry.url, "default": True},
                "quay.io": {"url": registry.url},
            },
            "tags": {"ttl": "1h"},
        }
        with Proxy(directory / "proxy", settings=settings) as proxy:
            yield proxy


@pytest.fixture
def environment(proxy: Proxy, tmp_path: Path) -> dict[str, str]:
    """Of a shell in which examples find the proxy."""
    settings = tmp_path / "lighterage.yaml"
    listeners = {"listen": proxy.host, "admin": {"listen": f"127.0.0.1:{proxy.admin_port}"}}
    settings.write_text(yaml.safe_dump(listeners))
    (tmp_path / "images.txt").write_text("library/alpine:3.20\n")
    return {
        "PATH": f"{LIGHTERAGE.parent}:{os.environ['PATH']}",
        "LIGHTERAGE_CONFIG": str(settings),
    }


def execute(command: str, environment: dict[str, str], directory: Path) -> str:
    """What a line for a shell prints; it must succeed."""
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@of("lighterage")
def test_lighterage(
    fence: Fence, proxy: Proxy, environment: dict[str, str], tmp_path: Path
) -> None:
    assert fence.commands
    for command in fence.commands:
        if command.startswith("lighterage purge"):
            execute("lighterage warm library/alpine:3.20", environment, tmp_path)
        execute(re.sub(r"\bDIR\b", str(proxy.data), command), environment, tmp_path)


@of("shell")
def test_shell(fence: Fence, proxy: Proxy, environment: dict[str, str], tmp_path: Path) -> None:
    """What an example shows of its output is there; `…` is the rest of a digest."""
    known: dict[str, str] = {}
    printed = ""
    for line in fence.text.replace("\\\n", " ").splitlines():
        command = line.removeprefix("$ ")
        is_output = "$ " in fence.text and not line.startswith("$ ")
        if not is_output:
            for short, whole in known.items():
                command = command.replace(short, whole)
            command = command.replace("127.0.0.1:5000", proxy.host).replace(".venv/bin/", "")
            printed = execute(command, environment, tmp_path)
            assert printed
            continue
        pattern = re.sub("sha256:[0-9a-f]+…", "sha256:[0-9a-f]{64}", re.escape(line))
        found = re.search(pattern, printed, re.IGNORECASE)
        assert found is not None, f"{line} is not in\n{printed}"
        shorts, wholes = (re.findall(r"sha256:[0-9a-f]+…?", text) for text in (line, found[0]))
        known |= dict(zip(shorts, wholes, strict=True))


def files_of(fence: Fence, proxy: Proxy) -> Iterator[str]:
    """Each file of the example, with the address of this proxy, and none of a network."""
    text = re.sub(r"https?://(registry-1\.docker\.io|quay\.io)", NOWHERE, fence.text)
    for ours in OURS:
        text = text.replace(f"https://{ours}", f"http://{ours}").replace(ours, proxy.host)
    for part in re.split(r"^# /etc/.*\n", text, flags=re.MULTILINE):
        if part.strip():
            yield part


@of("containerd")
def test_containerd(fence: Fence, proxy: Proxy, short_path: Path, tmp_path: Path) -> None:
    """Containerd pulls by each file."""
    for name, content in zip(("node.key", "node.crt"), pem(), strict=True):
        (tmp_path / name).write_bytes(content)
    with Containerd(short_path) as containerd:
        for number, text in enumerate(files_of(fence, proxy)):
            registry, image = (
                ("docker.io", "library/alpine:3.20"),
                ("quay.io", "prometheus/node-exporter:v1.8.2"),
            )[number]
            containerd.mirror(registry, NOWHERE)
            file = short_path / "hosts" / registry / "hosts.toml"
            file.write_text(text.replace("/etc/lighterage/", f"{tmp_path}/"))
            assert containerd.pull(f"{registry}/{image}").files


@of("containers")
def test_containers(fence: Fence, proxy: Proxy, tmp_path: Path) -> None:
    """skopeo, which reads the same file as podman, gets the image from the proxy."""
    for number, text in enumerate(files_of(fence, proxy)):
        image = ("docker.io/library/alpine:3.20", "quay.io/prometheus/node-exporter:v1.8.2")[number]
        file = tmp_path / "registries.conf"
        insecure = "" if "insecure" in text else "\ninsecure = true\n"
        file.write_text(text.rstrip() + insecure)
        run(
            [
                tools.require("skopeo"),
                f"--registries-conf={file}",
                "inspect",
                "--raw",
                f"docker://{image}",
            ]
        )


@of("docker")
def test_docker(fence: Fence, proxy: Proxy, short_path: Path) -> None:
    """Dockerd reads the file, and pulls from the proxy."""
    docker = Docker(short_path)
    (text,) = files_of(fence, proxy)
    (short_path / "daemon.json").write_text(text)
    with docker:
        assert docker.pull("alpine:3.20").files


@of("containerd_itself")
def test_containerd_itself(fence: Fence, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    # Debian's is 1.x, for which the example has a remark.
    plugin, old = re.findall(r"plugins\.\S+?\.registry", fence.text)
    file.write_text(f"version = 2\n{fence.text.replace(plugin, old)}")
    dumped = run([tools.require("containerd"), f"--config={file}", "config", "dump"]).decode()
    assert 'config_path = "/etc/containerd/certs.d"' in dumped


@of("redis")
def test_redis(fence: Fence, short_path: Path) -> None:
    port = free_port()
    file = short_path / "redis.conf"
    file.write_text(f"{fence.text}port {port}\nbind 127.0.0.1\n")
    with Program([tools.require("redis-server"), file], directory=short_path, listens=[port]):
        pass


@of("make")
def test_make(fence: Fence) -> None:
    for command in fence.commands:
        done = subprocess.run(
            ["bash", "-c", command.replace("make", "make --dry-run", 1)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@of("module")
def test_module(fence: Fence) -> None:
    for command in fence.commands:
        assert importlib.util.find_spec(command.split()[2]) is not None


@of("helm")
def test_helm(fence: Fence) -> None:
    """An installation is rendered; other commands are read, and explained."""
    for command in fence.commands:
        words = command.split()
        assert words[0] == "helm"
        rest = ["--help"] if words[1] != "install" else []
        verb = "template" if words[1] == "install" else words[1]
        done = subprocess.run(
            [tools.require("helm"), verb, *words[2:], *rest],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@of("values")
def test_values(fence: Fence) -> None:
    settings: dict[str, Any] = yaml.safe_load(fence.text)["config"]
    config.Settings.model_validate(settings)


@of("settings")
def test_settings(fence: Fence, tmp_path: Path) -> None:
    """As `serve` reads them, among others for the usual upstreams; the files are yours."""
    file = tmp_path / "lighterage.yaml"
    found = yaml.safe_load(fence.text)
    usual = {
        "docker.io": {"url": "https://registry-1.docker.io", "default": True},
        "quay.io": {"url": "https://quay.io"},
    }
    file.write_text(yaml.safe_dump({"upstreams": usual, **found}))
    assert config.read(file).settings.upstreams
