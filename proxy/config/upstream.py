"""The settings of one upstream, and of its endpoints: the registry and its mirrors."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from proxy.config.section import Section
from proxy.config.values import Timeout
from proxy.errors import NameInvalid
from proxy.oci.reference import parse_name

_URL: Final = r"https?://[^/?#@\s]+/?"
_HOST: Final = r"[a-z0-9._-]+|[0-9a-f:.]+(%[a-z0-9._-]+)?"
_PROXY: Final = r"http://([^/?#@\s]+@)?[^/?#@\s]+/?"
# Approximately the grammar of `parse_name`, for the schema.
_NAME: Final = r"[a-z0-9]+([._/-]+[a-z0-9]+)*"


class CredentialSettings(Section):
    """The login for an upstream: one of four secrets. Files are read whenever they are needed."""

    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    token_file: Path | None = None
    docker_config_file: Path | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> CredentialSettings:
        places = (self.password, self.password_file, self.token_file, self.docker_config_file)
        if sum(place is not None for place in places) != 1:
            raise ValueError(
                "give either password_file or password, or token_file, or docker_config_file"
            )
        if self.username is None and self.token_file is None and self.docker_config_file is None:
            raise ValueError("a password needs a username")
        if self.username is not None and self.docker_config_file is not None:
            raise ValueError("docker_config_file contains the username")
        return self


class EndpointSettings(Section):
    """The address of a registry or mirror, and how to connect to it."""

    url: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{_URL}$"})]
    prefix: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^/*({_NAME})?/*$"})] = ""
    credentials: CredentialSettings | None = None
    realms: tuple[str, ...] = ()
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    proxy: Annotated[
        str | None,
        WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_PROXY}$"}, {"type": "null"}]}),
    ] = Field(default=None, repr=False)  # may hold a password
    no_proxy: tuple[str, ...] = ()
    address_family: Literal["any", "ipv4", "ipv6"] = "any"
    connections: int = Field(default=512, ge=2)
    connect_timeout: Timeout = 5.0
    idle_timeout: Timeout = 60.0
    answer_timeout: Timeout = 30.0

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not re.fullmatch(_URL, value) or not _names_a_host(_encode_host(value)):
            raise ValueError(
                "an upstream's url is http(s)://HOST[:PORT] without a path; a path before the "
                "names of repositories is the prefix"
            )
        return _encode_host(value).rstrip("/")

    @field_validator("realms")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_encode(host) for host in value)

    @field_validator("prefix")
    @classmethod
    def _is_path(cls, value: str) -> str:
        prefix = value.strip("/")
        try:
            return parse_name(prefix) if prefix else ""
        except NameInvalid:
            raise ValueError("a prefix is like a repository's name: project/hub") from None

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, value: str | None) -> str | None:
        if value is not None and not (re.fullmatch(_PROXY, value) and _names_a_host(value)):
            raise ValueError("a proxy is http://[USERNAME:PASSWORD@]HOST[:PORT]")
        return value

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are used together")
        if self.certificate_file is not None and self.url.startswith("http:"):
            raise ValueError("a certificate_file needs a url that begins with https://")
        return self

    @property
    def lends_identity(self) -> bool:
        """Whether it is asked as somebody: by a login, a client certificate, or at its proxy."""
        through = urlsplit(self.proxy).username if self.proxy else None
        return bool(self.credentials or self.certificate_file or through)

    @property
    def sends_login_in_the_clear(self) -> bool:
        """Whether a login is sent over plain HTTP to another host, where anybody can read it."""
        parts = urlsplit(self.url)
        return bool(self.credentials) and parts.scheme == "http" and not _is_loopback(parts)


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _encode(host: str) -> str:
    """An internationalized name as it is resolved, and as registries write it; with its port."""
    return host if host.isascii() else host.encode("idna").decode()


def _encode_host(url: str) -> str:
    parts = urlsplit(url)
    return url if url.isascii() else parts._replace(netloc=_encode(parts.netloc)).geturl()


def _names_a_host(url: str) -> bool:
    """Whether `url` has a host, which is a name or an address, and no invalid port."""
    try:
        parts = urlsplit(url)
        return bool(re.fullmatch(_HOST, parts.hostname or "")) and parts.port != 0
    except ValueError:
        return False


class MirrorSettings(EndpointSettings):
    """A registry with the same content, and whether it is asked what a tag names."""

    tags: Literal["never", "when_down"] = "when_down"
    # There is another place to turn to.
    idle_timeout: Timeout = 10.0
    answer_timeout: Timeout = 10.0


class UpstreamSettings(EndpointSettings):
    """A registry that this proxy stands in front of."""

    default: bool = False
    aliases: tuple[str, ...] = ()
    mirrors: tuple[MirrorSettings, ...] = ()
    offline: bool = False

    @property
    def has_credentials(self) -> bool:
        """Whether the upstream or one of its mirrors is asked as somebody."""
        return any(place.lends_identity for place in (self, *self.mirrors))


DOCKER_HUB_NAME: Final = "docker.io"
DOCKER_HUB: Final = UpstreamSettings(
    url="https://registry-1.docker.io", default=True, aliases=("index.docker.io",)
)
