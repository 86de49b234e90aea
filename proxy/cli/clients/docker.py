"""The files of docker, which each generation configures in another way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.cli.clients.containerd import hosts
from proxy.cli.clients.files import DOCKER_HUB, ClientFile, path_of, select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from proxy.cli.clients.files import ProxyAddress, Version
    from proxy.config import Settings

# The first version with a mirror for this API, the first that reads it in daemon.json, and the
# first that has containerd's files, for every registry.
_WITH_MIRROR: Final = (1, 7)
_WITH_FILE: Final = (1, 11)
_WITH_HOSTS: Final = (29,)


def docker(
    settings: Settings, at: ProxyAddress, only: Collection[str] = (), version: Version = None
) -> Iterator[ClientFile]:
    """The file for docker `version`; without one, that of 1.11 and later.

    docker up to 28 mirrors Docker Hub only; other registries are named in the image.
    """
    if version is not None and version >= _WITH_HOSTS:
        yield from hosts("/etc/docker/certs.d", settings, at, only)
        return
    remarks = [] if version else _old_dockers(settings, at)
    for name, upstream in select(settings, only).items():
        if name == DOCKER_HUB and upstream.default and (version or _WITH_MIRROR) >= _WITH_MIRROR:
            continue
        prefix = path_of(name, upstream)
        remarks.append(
            f"{name} cannot be addressed by path: give it an alias without a port"
            if prefix is None
            else f"for {name}: docker pull {'/'.join(filter(None, (at.host, prefix)))}/IMAGE"
        )
    if version is None or version >= _WITH_FILE:
        yield ClientFile("/etc/docker/daemon.json", _daemon(settings, at), tuple(remarks))
        return
    flags = _flags(settings, at, version)
    if version == _WITH_MIRROR and not at.tls:
        remarks.append("docker 1.7 uses a mirror only if it has TLS")
    text = f'DOCKER_OPTS="{flags}"\n' if flags else ""
    yield ClientFile("/etc/default/docker" if text else "", text, tuple(remarks))


def _daemon(settings: Settings, at: ProxyAddress) -> str:
    daemon: dict[str, list[str]] = {}
    if settings.default_upstream == DOCKER_HUB:
        daemon["registry-mirrors"] = [at.url]
    if not at.tls:
        daemon["insecure-registries"] = [at.host]
    return json.dumps(daemon, indent=2) + "\n"


def _flags(settings: Settings, at: ProxyAddress, version: tuple[int, ...]) -> str:
    flags = []
    if settings.default_upstream == DOCKER_HUB and version >= _WITH_MIRROR:
        flags.append(f"--registry-mirror={at.url}")
    if not at.tls:
        flags.append(f"--insecure-registry={at.host}")
    return " ".join(flags)


def _old_dockers(settings: Settings, at: ProxyAddress) -> list[str]:
    """How a docker that does not read the file is configured."""
    if settings.default_upstream != DOCKER_HUB:
        return []
    tls = "" if at.tls else ", which wants TLS"
    return [
        f"docker 1.8 to 1.10 takes flags instead: {_flags(settings, at, _WITH_MIRROR)}",
        f"docker 1.7 takes them, too, for one mirror only{tls}",
        f"docker 1.6 uses no mirror: docker pull {at.host}/library/IMAGE",
    ]
