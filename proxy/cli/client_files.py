"""What to write into the clients' own configuration, so that they pull through this proxy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from proxy.config import Settings, UpstreamSettings

_DOCKER_HUB: Final = "docker.io"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a client's, what belongs into it, and what cannot be said in it."""

    path: str
    text: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """Where clients find the proxy: HOST[:PORT], with TLS or without."""

    host: str
    tls: bool

    @classmethod
    def of(cls, settings: Settings, address: str | None = None) -> Reached:
        """At `address`, HOST[:PORT] or a URL; if it is not given, where the settings listen."""
        tls = settings.tls.certificate_file is not None
        if address is not None:
            scheme, separator, host = address.rpartition("://")
            return cls(host.rstrip("/"), scheme == "https" if separator else tls)
        anywhere = settings.listen.host in {"0.0.0.0", "::"}  # noqa: S104 -- compared, not bound
        return cls(f"127.0.0.1:{settings.listen.port}" if anywhere else str(settings.listen), tls)

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"{'https' if self.tls else 'http'}://{self.host}"


def containerd(settings: Settings, at: Reached, only: Collection[str] = ()) -> Iterator[File]:
    """One file for each registry. It asks with `?ns=`, and the registry itself when that fails."""
    for name, upstream in _chosen(settings, only).items():
        # Where the registry's own names begin with a prefix, it could not be asked directly.
        server = f'server = "{upstream.url}"\n\n' if not upstream.prefix else ""
        yield File(
            f"/etc/containerd/certs.d/{name}/hosts.toml",
            f'{server}[host."{at.url}"]\n  capabilities = ["pull", "resolve"]\n',
        )


def docker(settings: Settings, at: Reached, only: Collection[str] = ()) -> Iterator[File]:
    """One file. A mirror is for Docker Hub alone; other registries are named in the image."""
    remarks = []
    for name, upstream in _chosen(settings, only).items():
        if name == _DOCKER_HUB and upstream.default:
            continue
        prefix = _path(name, upstream)
        remarks.append(
            f"{name} has no name that can stand in a path: give it an alias without a port"
            if prefix is None
            else f"for {name}: docker pull {'/'.join(filter(None, (at.host, prefix)))}/IMAGE"
        )
    daemon: dict[str, list[str]] = {}
    if settings.default_upstream == _DOCKER_HUB:
        daemon["registry-mirrors"] = [at.url]
    if not at.tls:
        daemon["insecure-registries"] = [at.host]
    yield File("/etc/docker/daemon.json", json.dumps(daemon, indent=2) + "\n", tuple(remarks))


def podman(settings: Settings, at: Reached, only: Collection[str] = ()) -> Iterator[File]:
    """One file, also for skopeo, buildah and CRI-O."""
    tables, remarks = [], []
    for name, upstream in _chosen(settings, only).items():
        prefix = _path(name, upstream)
        if prefix is None:
            remarks.append(
                f"{name} has no name that can stand in a path: give it an alias without a port"
            )
            continue
        location = "/".join(filter(None, (at.host, prefix)))
        table = f'[[registry]]\nlocation = "{name}"\n'
        if upstream.url.startswith("http://"):
            table += "insecure = true\n"
        table += f'\n[[registry.mirror]]\nlocation = "{location}"\n'
        tables.append(table if at.tls else f"{table}insecure = true\n")
    path = "/etc/containers/registries.conf.d/lighterage.conf"
    yield File(path, "\n".join(tables), tuple(remarks))


CLIENTS: Final[Mapping[str, Callable[..., Iterator[File]]]] = {
    "containerd": containerd,
    "docker": docker,
    "podman": podman,
}


def _chosen(settings: Settings, only: Collection[str]) -> Mapping[str, UpstreamSettings]:
    return {
        name: upstream for name, upstream in settings.upstreams.items() if not only or name in only
    }


def _path(name: str, upstream: UpstreamSettings) -> str | None:
    """What goes before the image's name in the path; nothing for the default, None if nothing can.

    A name in a path has no port.
    """
    if upstream.default:
        return ""
    return next((known for known in (name, *upstream.aliases) if ":" not in known), None)
