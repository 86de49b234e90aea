"""The files of containerd, and of what configures it: k3s and Talos."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.cli.clients.files import ClientFile, select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from proxy.cli.clients.files import ProxyAddress, Version
    from proxy.config import Settings

# How long containerd waits for a proxy that is gone before it asks the registry itself. Versions
# before 2.1 ignore it, and wait 30 seconds.
_DIAL_TIMEOUT: Final = "2s"


def containerd(
    settings: Settings, at: ProxyAddress, only: Collection[str] = (), version: Version = None
) -> Iterator[ClientFile]:
    """One file for each registry. containerd sends `?ns=`, and falls back to the registry."""
    del version
    yield from hosts("/etc/containerd/certs.d", settings, at, only)


def hosts(
    directory: str, settings: Settings, at: ProxyAddress, only: Collection[str]
) -> Iterator[ClientFile]:
    """A hosts.toml below `directory` for each registry."""
    for name, upstream in select(settings, only).items():
        # With a prefix, names at the registry differ, so there is no direct fallback.
        server = f'server = "{upstream.url}"\n\n' if not upstream.prefix else ""
        host = (
            f'[host."{at.url}"]\n'
            '  capabilities = ["pull", "resolve"]\n'
            f'  dial_timeout = "{_DIAL_TIMEOUT}"\n'
        )
        yield ClientFile(f"{directory}/{name}/hosts.toml", server + host)


def k3s(
    settings: Settings, at: ProxyAddress, only: Collection[str] = (), version: Version = None
) -> Iterator[ClientFile]:
    """One file, which k3s and RKE2 read when they start; they make containerd's files of it."""
    del version
    lines = ["mirrors:"]
    for name in select(settings, only):
        lines += [f"  {json.dumps(name)}:", "    endpoint:", f"      - {json.dumps(at.url)}"]
    remarks = ("restart k3s after a change; for RKE2 it is /etc/rancher/rke2/registries.yaml",)
    yield ClientFile("/etc/rancher/k3s/registries.yaml", "\n".join(lines) + "\n", remarks)


def talos(
    settings: Settings, at: ProxyAddress, only: Collection[str] = (), version: Version = None
) -> Iterator[ClientFile]:
    """A patch of the machine's configuration."""
    del version
    lines = ["machine:", "  registries:", "    mirrors:"]
    for name in select(settings, only):
        lines += [f"      {json.dumps(name)}:", "        endpoints:"]
        lines += [f"          - {json.dumps(at.url)}"]
    remarks = ("apply it with: talosctl patch machineconfig --patch @lighterage-talos.yaml",)
    yield ClientFile("lighterage-talos.yaml", "\n".join(lines) + "\n", remarks)
