"""docs/upstreams.md says what works: its settings load, and what it has for clients is printed."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from proxy.config import CredentialSettings, Settings, UpstreamSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

DOCS: Final = Path(__file__).parents[2] / "docs"
TEXT: Final = (DOCS / "upstreams.md").read_text()
SETTINGS: Final = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
FOR_CLIENTS: Final = re.findall(r"^```(?:toml|json)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)

NAMES: Final = ("docker.io", "quay.io")
QUAY: Final = "for quay.io: docker pull m:5000/quay.io/IMAGE\n"
FLAGS: Final = "--registry-mirror=http://m:5000 --insecure-registry=m:5000"
DAEMON: Final = """{
  "registry-mirrors": [
    "http://m:5000"
  ],
  "insecure-registries": [
    "m:5000"
  ]
}
"""
HOSTS: Final = """# /etc/docker/certs.d/docker.io/hosts.toml
server = "https://registry-1.docker.io"

[host."http://m:5000"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"

# /etc/docker/certs.d/quay.io/hosts.toml
server = "https://quay.io"

[host."http://m:5000"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"
"""
# What the page says its examples for clients are for.
BOTH: Final = """
upstreams:
  docker.io: {url: "https://registry-1.docker.io", default: true}
  quay.io: {url: "https://quay.io"}
"""


def client_config(client: str, settings: str, address: str, directory: Path) -> tuple[str, str]:
    file = directory / "lighterage.yaml"
    file.write_text(settings)
    arguments = ["client-config", client, f"--config={file}", f"--address={address}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize("settings", SETTINGS, ids=map(str, range(len(SETTINGS))))
def test_its_settings_are_good(settings: str) -> None:
    Settings.model_validate(yaml.safe_load(settings))


def test_it_names_the_registries_and_their_logins() -> None:
    assert len(SETTINGS) >= 9
    for registry in ("Docker Hub", "Quay", "GHCR", "ECR", "GAR", "ACR", "Harbor"):
        assert f"### {registry}" in TEXT
    for setting in (*CredentialSettings.model_fields, "prefix", "mirrors", "realms", "aliases"):
        assert f"`{setting}`" in TEXT, setting
        assert setting in {**CredentialSettings.model_fields, **UpstreamSettings.model_fields}


@pytest.mark.parametrize(
    ("client", "expected"),
    list(zip(("containerd", "docker", "podman"), FOR_CLIENTS, strict=True)),
)
def test_what_it_has_for_clients_is_what_is_printed(
    client: str, expected: str, tmp_path: Path
) -> None:
    printed, remarks = client_config(client, BOTH, "https://mirror.example", tmp_path)
    assert printed == expected
    if client != "docker":
        assert remarks == ""
        return
    assert "docker 1.8 to 1.10 takes flags instead: --registry-mirror=https://mirror.example\n" in (
        remarks
    )
    assert "docker 1.6 uses no mirror: docker pull mirror.example/library/IMAGE\n" in remarks
    assert remarks.endswith("for quay.io: docker pull mirror.example/quay.io/IMAGE\n")


def test_without_tls_the_clients_are_told_so(tmp_path: Path) -> None:
    for address in ("http://127.0.0.1:5000", "http://127.0.0.1:5000/", "127.0.0.1:5000"):
        printed, remarks = client_config("docker", BOTH, address, tmp_path)
        assert "--insecure-registry=127.0.0.1:5000" in remarks
        assert '"http://127.0.0.1:5000"' in printed
        assert '"insecure-registries": [\n    "127.0.0.1:5000"' in printed
        printed, _ = client_config("podman", BOTH, address, tmp_path)
        assert printed.count('location = "127.0.0.1:5000') == printed.count("insecure = true") == 2
        printed, _ = client_config("containerd", BOTH, address, tmp_path)
        assert printed.count('[host."http://127.0.0.1:5000"]') == 2


def test_a_name_with_a_port_needs_an_alias_for_podman(tmp_path: Path) -> None:
    settings = f"""{BOTH}
  registry.example:5000: {{url: "http://registry.example:5000"}}
  other.example:5000: {{url: "http://other.example:5000", aliases: [other]}}
"""
    printed, remarks = client_config("podman", settings, "https://mirror.example", tmp_path)
    assert 'location = "other.example:5000"\ninsecure = true\n' in printed
    assert 'location = "mirror.example/other"' in printed
    assert '"registry.example:5000"' not in printed
    assert remarks.startswith("registry.example:5000 cannot be addressed by path")


@pytest.mark.parametrize(
    ("version", "printed", "remarks"),
    [
        ("1.6.2", "", "for docker.io: docker pull m:5000/IMAGE\n" + QUAY),
        (
            "1.9",
            f'# /etc/default/docker\nDOCKER_OPTS="{FLAGS}"\n',
            QUAY,
        ),
        ("v28.1", DAEMON, QUAY),
        ("29.0", HOSTS, ""),
    ],
)
def test_each_docker_gets_what_it_reads(
    tmp_path: Path, version: str, printed: str, remarks: str
) -> None:
    file = tmp_path / "lighterage.yaml"
    file.write_text(BOTH)
    arguments = ["client-config", "docker", f"--config={file}", "--address=http://m:5000"]
    result = CliRunner().invoke(main, [*arguments, f"--client-version={version}"])
    assert result.exit_code == 0
    if version == "1.6.2":
        assert "--registry-mirror" not in result.stdout
        assert result.stderr == remarks
    else:
        assert (result.stdout, result.stderr) == (printed, remarks)


@pytest.mark.parametrize(
    ("client", "parse", "expected"),
    [
        (
            "k3s",
            yaml.safe_load,
            {"mirrors": {name: {"endpoint": ["http://m:5000"]} for name in NAMES}},
        ),
        (
            "talos",
            yaml.safe_load,
            {
                "machine": {
                    "registries": {
                        "mirrors": {name: {"endpoints": ["http://m:5000"]} for name in NAMES}
                    }
                }
            },
        ),
        (
            "buildkit",
            tomllib.loads,
            {
                "registry": {
                    **{name: {"mirrors": ["m:5000"]} for name in NAMES},
                    "m:5000": {"http": True},
                }
            },
        ),
    ],
)
def test_each_client_gets_a_file_of_its_kind(
    tmp_path: Path, client: str, parse: Callable[[str], object], expected: object
) -> None:
    printed, _ = client_config(client, BOTH, "http://m:5000", tmp_path)
    assert parse(printed) == expected


def test_files_are_written_and_checked(tmp_path: Path) -> None:
    """What is in a daemon.json stays; another file that is there is never overwritten."""
    settings, root = tmp_path / "lighterage.yaml", tmp_path / "root"
    settings.write_text(BOTH)
    daemon = root / "etc/docker/daemon.json"
    daemon.parent.mkdir(parents=True)
    daemon.write_text('{"debug": true, "registry-mirrors": ["https://other"]}')

    def run(client: str, *options: str) -> Result:
        # Nothing listens on port 1.
        arguments = [f"--config={settings}", "--address=http://127.0.0.1:1", *options]
        return CliRunner().invoke(main, ["client-config", client, *arguments])

    for _ in range(2):
        assert run("docker", f"--write={root}").exit_code == 0
        assert json.loads(daemon.read_text()) == {
            "debug": True,
            "registry-mirrors": ["http://127.0.0.1:1", "https://other"],
            "insecure-registries": ["127.0.0.1:1"],
        }
    assert run("containerd", f"--write={root}").exit_code == 0
    checked = run("containerd", f"--write={root}", "--check")
    assert checked.exit_code == 1
    assert checked.stderr == (
        "lighterage: warning: no registry answers at http://127.0.0.1:1: Connection refused\n"
    )
    hosts = root / "etc/containerd/certs.d/quay.io/hosts.toml"
    hosts.write_text("mine")
    assert f"{hosts} says something else" in run("containerd", f"--write={root}", "--check").stderr
    refused = run("containerd", f"--write={root}")
    assert (refused.exit_code, hosts.read_text()) == (1, "mine")
    assert "is there already, and says something else; remove it first" in refused.stderr


def test_docker_has_no_mirror_for_another_default_registry(tmp_path: Path) -> None:
    settings = 'upstreams: {quay.io: {url: "https://quay.io", default: true}}'
    printed, remarks = client_config("docker", settings, "https://mirror.example", tmp_path)
    assert printed == "{}\n"
    assert remarks == "for quay.io: docker pull mirror.example/IMAGE\n"


def test_where_a_prefix_is_needed_containerd_has_no_other_way(tmp_path: Path) -> None:
    settings = 'upstreams: {docker.io: {url: "https://h.example", prefix: hub, default: true}}'
    printed, _ = client_config("containerd", settings, "https://mirror.example", tmp_path)
    assert "server" not in printed
