"""What an operator would look at first: files, ports, descriptors, clock, upstreams, stores, peers.

Nothing is changed. The upstreams, Redis, the bucket and the peers are asked, once each.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from proxy.errors import StoreError
from proxy.runtime import rlimits
from proxy.runtime.preflight import find_unreadable, find_wrong
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.sqlite.inventory import Inventory
from proxy.wiring.blob_store import blob_store
from proxy.wiring.cache import open_redis
from proxy.wiring.endpoints import endpoint_name
from proxy.wiring.probe import probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from typing import Any

    from proxy.config import EndpointSettings, Loaded, Settings

# Tokens and certificates are refused by a clock that is wrong by minutes, in seconds.
_MAX_SKEW: Final = 60.0
_TIMEOUT: Final = 10.0
_HINT: Final = (
    "no client has pulled anything yet: lighterage client-config prints their configuration"
)


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found."""

    subject: str
    state: State
    message: str


async def examine(loaded: Loaded, *, is_running: bool) -> AsyncIterator[Finding]:
    """Every finding; `is_running`: a proxy with these settings runs, and has the ports."""
    settings = loaded.settings
    wrong = list(find_wrong(settings, ports_are_ours=is_running))
    for found in wrong:
        yield Finding("settings", State.FAILED, loaded.refusal(*found))
    if not wrong:
        has = "are this proxy's" if is_running else "are free"
        message = f"files and directories can be used; {settings.listen} and the others {has}"
        yield Finding("settings", State.OK, message)
    for found in find_unreadable(settings):
        yield Finding("secrets", State.WARNING, loaded.refusal(*found))
    yield _descriptors(settings)
    # With a certificate that cannot be read there is no connection to try.
    if not wrong:
        for finding in await asyncio.gather(*_upstreams(settings)):
            yield finding
        yield await asyncio.to_thread(_clock, settings)
        async for finding in _stores(settings):
            yield finding
        for place in settings.peers.discover:
            yield await _peer(place)
    yield _clients(settings, is_running=is_running)


def _descriptors(settings: Settings) -> Finding:
    available = rlimits.raise_limit()
    shortage = rlimits.shortage(settings.limits.share(settings.workers), available)
    if shortage is not None:
        return Finding("descriptors", State.WARNING, shortage)
    return Finding("descriptors", State.OK, f"{available} files may be open at once")


def _upstreams(settings: Settings) -> Iterator[Coroutine[Any, Any, Finding]]:
    for name, upstream in settings.upstreams.items():
        if upstream.offline:
            continue
        yield _upstream(name, upstream)
        for mirror in upstream.mirrors:
            yield _upstream(f"{name} mirror {endpoint_name(mirror)}", mirror)


async def _upstream(name: str, endpoint: EndpointSettings) -> Finding:
    found = await probe(name, endpoint, (name,))
    return Finding("upstream", State.OK if found.works else State.FAILED, found.message)


def _clock(settings: Settings) -> Finding:
    """Compare with the clock of the first upstream that says what time it is."""
    for name, upstream in settings.upstreams.items():
        if upstream.offline or upstream.proxy is not None:
            continue
        context = ssl.create_default_context(cafile=upstream.ca_file)
        opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
        try:
            with opener.open(Request(f"{upstream.url}/v2/"), timeout=_TIMEOUT) as answer:  # noqa: S310 -- checked by the settings
                date = answer.headers.get("Date")
        except HTTPError as error:
            with error:
                date = error.headers.get("Date")
        except (OSError, ValueError):
            continue
        try:
            skew = time.time() - parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            continue
        if abs(skew) > _MAX_SKEW:
            direction = "ahead of" if skew > 0 else "behind"
            message = f"the clock is {abs(skew):.0f} s {direction} that of {name}; set it by NTP"
            return Finding("clock", State.WARNING, message)
        return Finding("clock", State.OK, f"the clock agrees with that of {name}")
    return Finding("clock", State.WARNING, "no upstream said what time it is")


async def _stores(settings: Settings) -> AsyncIterator[Finding]:
    redis = open_redis(settings)
    if redis is not None:
        try:
            yield _dependency("redis", "Redis", await redis.warning())
        finally:
            await redis.close()
    if settings.blobs.store != "disk":
        store = blob_store(settings)
        assert not isinstance(store, DiskBlobs)  # noqa: S101 -- see the condition
        try:
            yield _dependency("bucket", store.bucket.name, await store.bucket.warning())
        finally:
            await store.close()


def _dependency(subject: str, name: str, warning: str | None) -> Finding:
    if warning is None:
        return Finding(subject, State.OK, f"{name} can be used")
    return Finding(subject, State.FAILED, warning)


async def _peer(place: str) -> Finding:
    host, _, port = place.removeprefix("dns:").rpartition(":")
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "it does not answer"
        return Finding("peers", State.WARNING, f"no replica answers at {place}: {reason}")
    writer.close()
    return Finding("peers", State.OK, f"a replica answers at {place}")


def _clients(settings: Settings, *, is_running: bool) -> Finding:
    index = settings.data / "index.sqlite3"
    if not index.exists():
        hint = _HINT if is_running else "no proxy has stored anything yet: lighterage serve"
        return Finding("clients", State.WARNING, hint)
    try:
        with Inventory(index) as inventory:
            count = inventory.count_repositories()
    except StoreError as error:
        return Finding("clients", State.FAILED, str(error))
    if count == 0:
        return Finding("clients", State.WARNING, _HINT)
    return Finding("clients", State.OK, f"clients have pulled from {count} repositories")
