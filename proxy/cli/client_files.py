"""Configuration files of clients that pull through this proxy."""

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
    """A client's file: its path and text, and remarks about what the file cannot express."""

    path: str
    text: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """The address at which clients reach the proxy: HOST[:PORT], with TLS or without."""

    host: str
    tls: bool

    @classmethod
    def of(cls, settings: Settings, address: str | None = None) -> ProxyAddress:
        """Parse `address`, HOST[:PORT] or a URL; or else use the listener in the settings."""
        tls = settings.tls.certificate_file is not None
        if address is not None:
            scheme, separator, host = address.rpartition("://")
            return cls(host.rstrip("/"), scheme == "https" if separator else tls)
        anywhere = settings.listen.host in {"0.0.0.0", "::"}  # noqa: S104 -- compared, not bound
        return cls(f"127.0.0.1:{settings.listen.port}" if anywhere else str(settings.listen), tls)

    @property
    def url(self) -> str:
        """The URL, without a trailing slash."""
        return f"{'https' if self.tls else 'http'}://{self.host}"


def containerd(settings: Settings, at: ProxyAddress, only: Collection[str] = ()) -> Iterator[File]:
    """One file for each registry. containerd sends `?ns=`, and falls back to the registry."""
    for name, upstream in _select(settings, only).items():
        # With a prefix, names at the registry differ, so there is no direct fallback.
        server = f'server = "{upstream.url}"\n\n' if not upstream.prefix else ""
        yield File(
            f"/etc/containerd/certs.d/{name}/hosts.toml",
            f'{server}[host."{at.url}"]\n  capabilities = ["pull", "resolve"]\n',
        )


def docker(settings: Settings, at: ProxyAddress, only: Collection[str] = ()) -> Iterator[File]:
    """One file. docker mirrors Docker Hub only; other registries are named in the image.

    Only docker 1.11 and later reads it; what older ones need is among the remarks.
    """
    remarks = _old_dockers(settings, at)
    for name, upstream in _select(settings, only).items():
        if name == _DOCKER_HUB and upstream.default:
            continue
        prefix = _path(name, upstream)
        remarks.append(
            f"{name} cannot be addressed by path: give it an alias without a port"
            if prefix is None
            else f"for {name}: docker pull {'/'.join(filter(None, (at.host, prefix)))}/IMAGE"
        )
    daemon: dict[str, list[str]] = {}
    if settings.default_upstream == _DOCKER_HUB:
        daemon["registry-mirrors"] = [at.url]
    if not at.tls:
        daemon["insecure-registries"] = [at.host]
    yield File("/etc/docker/daemon.json", json.dumps(daemon, indent=2) + "\n", tuple(remarks))


def _old_dockers(settings: Settings, at: ProxyAddress) -> list[str]:
    """How a docker that does not read the file is configured."""
    if settings.default_upstream != _DOCKER_HUB:
        return []
    flags = f"--registry-mirror={at.url}"
    if not at.tls:
        flags += f" --insecure-registry={at.host}"
    tls = "" if at.tls else ", which wants TLS"
    return [
        f"docker 1.8 to 1.10 takes flags instead: {flags}",
        f"docker 1.7 takes them, too, for one mirror only{tls}",
        f"docker 1.6 uses no mirror: docker pull {at.host}/library/IMAGE",
    ]


def podman(settings: Settings, at: ProxyAddress, only: Collection[str] = ()) -> Iterator[File]:
    """One file, also for skopeo, buildah and CRI-O."""
    tables, remarks = [], []
    for name, upstream in _select(settings, only).items():
        prefix = _path(name, upstream)
        if prefix is None:
            remarks.append(f"{name} cannot be addressed by path: give it an alias without a port")
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


def _select(settings: Settings, only: Collection[str]) -> Mapping[str, UpstreamSettings]:
    return {
        name: upstream for name, upstream in settings.upstreams.items() if not only or name in only
    }


def _path(name: str, upstream: UpstreamSettings) -> str | None:
    """The path before an image's name: empty for the default, None if every name has a port."""
    if upstream.default:
        return ""
    return next((known for known in (name, *upstream.aliases) if ":" not in known), None)
