"""The shared cache that the settings describe: a part of the composition root."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.catalog.sealed_cache import SealedCache
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import RedisSettings, Settings
    from proxy.ports import ManifestCache
    from proxy.stores.redis.cache import RedisManifests
    from proxy.stores.redis.servers import Servers


def open_redis(settings: Settings) -> RedisManifests | None:
    """The shared cache, if the settings name one; it is not contacted yet."""
    if settings.manifests.store == "redis":
        return _redis(settings.manifests.redis, count_error)
    return None


def seal(redis: RedisManifests, settings: Settings) -> ManifestCache:
    """Redis as the catalog uses it: with an HMAC over each value, if the settings give a key.

    OSError if its file cannot be read, ValueError if it is too short.
    """
    path = settings.manifests.redis.hmac_key_file
    if path is None:
        return redis
    try:
        return SealedCache(redis, path.read_bytes().strip(), on_error=count_error)
    except ValueError as error:
        raise ValueError(f"manifests.redis.hmac_key_file {path}: {error}") from error


def count_error(operation: str) -> None:
    """Count an operation of the shared cache or the index that failed: it looks like a miss."""
    metrics.CACHE_ERRORS.labels(operation).inc()


def _redis(chosen: RedisSettings, count: Callable[[str], None]) -> RedisManifests:
    # redis-py takes as long to import as everything else, and SQLite does not need it.
    from proxy.stores.redis.cache import RedisManifests  # noqa: PLC0415
    from proxy.stores.redis.cluster import RedisClusterServers  # noqa: PLC0415
    from proxy.stores.redis.options import Login, RedisOptions  # noqa: PLC0415
    from proxy.stores.redis.servers import behind_sentinel, standalone  # noqa: PLC0415

    options = RedisOptions(
        login=Login(
            username=chosen.username,
            password=chosen.password,
            password_file=chosen.password_file,
        ),
        ca_file=chosen.ca_file,
        certificate_file=chosen.certificate_file,
        key_file=chosen.key_file,
        check_hostname=chosen.check_hostname,
        connect_timeout=chosen.connect_timeout,
        timeout=chosen.timeout,
    )
    servers: Servers
    if chosen.cluster:
        servers = RedisClusterServers(chosen.url, options)
    elif chosen.service is not None:
        servers = behind_sentinel(
            chosen.sentinels,
            chosen.service,
            options,
            sentinel_login=Login(
                password=chosen.sentinel_password, password_file=chosen.sentinel_password_file
            ),
            tls=chosen.tls,
        )
    else:
        servers = standalone(chosen.url[0], options)
    return RedisManifests(servers, on_error=count, name=f"Redis at {_place(chosen)}")


def _place(chosen: RedisSettings) -> str:
    """The addresses in the settings, without any login."""
    if chosen.sentinels:
        return f"the sentinels {', '.join(map(str, chosen.sentinels))} ({chosen.service})"
    return ", ".join(re.sub(r"^\w+://([^/@]*@)?", "", url) for url in chosen.url)
