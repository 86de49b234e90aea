"""docs/upstreams.md says what works: its settings load, and what it has for clients is printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from proxy.config import CredentialSettings, Settings, UpstreamSettings

DOCS: Final = Path(__file__).parents[2] / "docs"
TEXT: Final = (DOCS / "upstreams.md").read_text()
SETTINGS: Final = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
FOR_CLIENTS: Final = re.findall(r"^```(?:toml|json)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)

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


def test_docker_has_no_mirror_for_another_default_registry(tmp_path: Path) -> None:
    settings = 'upstreams: {quay.io: {url: "https://quay.io", default: true}}'
    printed, remarks = client_config("docker", settings, "https://mirror.example", tmp_path)
    assert printed == "{}\n"
    assert remarks == "for quay.io: docker pull mirror.example/IMAGE\n"


def test_where_a_prefix_is_needed_containerd_has_no_other_way(tmp_path: Path) -> None:
    settings = 'upstreams: {docker.io: {url: "https://h.example", prefix: hub, default: true}}'
    printed, _ = client_config("containerd", settings, "https://mirror.example", tmp_path)
    assert "server" not in printed
