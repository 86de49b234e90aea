"""A client's file, and the address of the proxy in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from proxy.config import Settings, UpstreamSettings

DOCKER_HUB: Final = "docker.io"
# A client's version, such as (1, 13); None if it is not known.
Version: TypeAlias = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A client's file: its path and text, and remarks about what the file cannot express.

    Without a path there are remarks only.
    """

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


def select(settings: Settings, only: Collection[str]) -> Mapping[str, UpstreamSettings]:
    """The upstreams by name: those in `only`, or all."""
    return {
        name: upstream for name, upstream in settings.upstreams.items() if not only or name in only
    }


def path_of(name: str, upstream: UpstreamSettings) -> str | None:
    """The path before an image's name: empty for the default, None if every name has a port."""
    if upstream.default:
        return ""
    return next((known for known in (name, *upstream.aliases) if ":" not in known), None)
