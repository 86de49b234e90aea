"""The groups of settings, except those of upstreams, blobs and Redis."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from proxy.config.redis import RedisSettings
from proxy.config.section import Section
from proxy.config.values import Address, Bytes, Listen, PlatformName, Seconds, Share, Timeout
from proxy.oci.negotiation import AcceptMissing, Mixed
from proxy.oci.platform import Platform


class Admin(Section):
    """The listener for operators."""

    listen: Listen = Address("127.0.0.1", 5080)
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None


class RoutingSettings(Section):
    """The parts of a request that may choose the upstream."""

    ns: bool = True
    host: bool = True
    path: bool = True


class ManifestSettings(Section):
    """The cache of manifests, representations and tags."""

    store: Literal["sqlite", "redis"] = "sqlite"
    memory: Bytes = 64 * 2**20
    redis: RedisSettings = RedisSettings()

    @model_validator(mode="after")
    def _redis_is_somewhere(self) -> ManifestSettings:
        somewhere = bool(self.redis.url or self.redis.sentinels)
        if self.store == "redis" and not somewhere:
            raise ValueError(
                "store is redis, but no Redis is configured: set redis.url, or redis.sentinels "
                "and redis.service"
            )
        if self.store == "sqlite" and somewhere:
            raise ValueError("redis configures a Redis, but store is sqlite: set store: redis")
        return self


class TagRule(Section):
    """Another lifetime for the tags that match a pattern."""

    match: str = Field(min_length=1)
    ttl: Seconds
    stale_if_error: Seconds | None = None


class TagSettings(Section):
    """How long a tag is fresh, and how long it may be served stale."""

    ttl: Seconds = 60.0
    stale_while_revalidate: Seconds = 30.0
    stale_if_error: Seconds = 30 * 86400.0
    revalidation_timeout: Seconds = 0.5
    keep_deleted: bool = False
    rules: tuple[TagRule, ...] = ()


class NegativeCacheSettings(Section):
    """How long negative answers of an upstream are cached."""

    not_found: Seconds = 5.0
    denied: Seconds = 10.0


class BudgetSettings(Section):
    """The part of an upstream's rate limit that is kept for images that are not cached."""

    reserve: Share = 0.1


class ConversionSettings(Section):
    """How images are converted for clients that cannot read the stored representation."""

    accept_missing: AcceptMissing = AcceptMissing.SCHEMA1
    mixed: Mixed = Mixed.STORED
    platform: PlatformName = Platform("linux", "amd64")
    platforms: tuple[PlatformName, ...] = (
        Platform("linux", "amd64"),
        Platform("linux", "arm64"),
        Platform("linux", "arm", "v7"),
    )
    max_children: int = Field(default=64, ge=1, le=1000)
    max_depth: int = Field(default=3, ge=1, le=16)
    max_input: Bytes = 8 * 2**30
    max_unpacked: Bytes = 64 * 2**30
    timeout: Timeout = 20.0
    concurrency: int = Field(default=1, ge=1, le=64)
    signing_key_file: Path | None = None


class CatalogSettings(Section):
    """How much is kept of what the upstreams can give again, and how long."""

    max_size: Annotated[Bytes, Field(ge=4 * 2**20)] = 4 * 2**30
    unused: Seconds = 400 * 86400.0
    derived_unused: Seconds = 400 * 86400.0


class PerClientLimits(Section):
    """Limits for each address of a client, or /64 of IPv6, in each worker."""

    connections: int | None = Field(default=None, ge=1)
    cold: int | None = Field(default=None, ge=1)
    upstream_per_minute: int | None = Field(default=None, ge=1)


class PerPrincipalLimits(Section):
    """Limits for each principal in repositories that are not open, in each worker."""

    connections: int | None = Field(default=None, ge=1)
    cold: int | None = Field(default=None, ge=1)
    upstream_per_minute: int | None = Field(default=None, ge=1)


class Limits(Section):
    """Limits for all workers together."""

    connections: int = Field(default=4096, ge=1)
    downloads: int = Field(default=256, ge=1)
    spool: Bytes = 20 * 2**30
    passed_through: int = Field(default=64, ge=0)
    send_timeout: Timeout = 60.0
    minimum_rate: Bytes = 2**10
    trusted_proxies: tuple[str, ...] = ()
    per_client: PerClientLimits = PerClientLimits()
    per_principal: PerPrincipalLimits = PerPrincipalLimits()

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ValueError(
                    f"{network!r} is neither an address nor a network such as 10.0.0.0/8"
                ) from None
        return value

    def share(self, workers: int) -> Limits:
        """The limits of one of `workers` processes."""
        return self.model_copy(
            update={
                "connections": -(-self.connections // workers),
                "downloads": -(-self.downloads // workers),
                "spool": self.spool // workers,
                "passed_through": -(-self.passed_through // workers),
            }
        )


class ShutdownSettings(Section):
    """How long the process continues after SIGTERM."""

    delay: Seconds = 0.0
    grace: Seconds = 300.0


class TlsSettings(Section):
    """The registry listener's certificate."""

    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are used together")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError(
                "client_ca_file needs a certificate_file: clients have certificates with TLS only"
            )
        return self
