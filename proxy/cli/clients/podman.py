"""The files of podman, skopeo, buildah and CRI-O; and of BuildKit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cli.clients.files import ClientFile, path_of, select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from proxy.cli.clients.files import ProxyAddress, Version
    from proxy.config import Settings


def podman(
    settings: Settings, at: ProxyAddress, only: Collection[str] = (), version: Version = None
) -> Iterator[ClientFile]:
    """One file for each registry."""
    del version
    for name, upstream in select(settings, only).items():
        prefix = path_of(name, upstream)
        if prefix is None:
            remark = f"{name} cannot be addressed by path: give it an alias without a port"
            yield ClientFile("", "", (remark,))
            continue
        location = "/".join(filter(None, (at.host, prefix)))
        table = f'[[registry]]\nlocation = "{name}"\n'
        if upstream.url.startswith("http://"):
            table += "insecure = true\n"
        table += f'\n[[registry.mirror]]\nlocation = "{location}"\n'
        path = f"/etc/containers/registries.conf.d/lighterage-{name}.conf"
        yield ClientFile(path, table if at.tls else f"{table}insecure = true\n")


def buildkit(
    settings: Settings, at: ProxyAddress, only: Collection[str] = (), version: Version = None
) -> Iterator[ClientFile]:
    """One file for all registries. BuildKit sends `?ns=`, and falls back to the registry."""
    del version
    tables = [
        f'[registry."{name}"]\n  mirrors = ["{at.host}"]\n' for name in select(settings, only)
    ]
    if not at.tls:
        tables.append(f'[registry."{at.host}"]\n  http = true\n')
    remarks = ("for docker buildx: docker buildx create --use --buildkitd-config FILE",)
    yield ClientFile("/etc/buildkit/buildkitd.toml", "\n".join(tables), remarks)
