"""The status page as text."""

from __future__ import annotations

import time
from typing import Any

from proxy.cli.status_text import describe

_HITS = {"answers": 4, "share": 0.75, "stale": 1}


def status(count: int, *, more: bool = False) -> dict[str, Any]:
    """A status with `count` pulls of an image, by as many addresses."""
    now = time.time()
    size = {"bytes": 1024, "limit": None}
    image = {"image": "docker.io/library/alpine:3", "pulls": count, "last_pull": now, "size": 1024}
    client = {"generation": "docker-1.9", "address_count": count, "more_addresses": more}
    health = {"status": "ready", "version": "0.1.0", "workers": 1, "uptime": 3.0, "warnings": []}
    return {
        "health": {**health, "access": {}, "logins": {}, "turned_away": {}, "withheld": {}},
        "hits": {"hour": _HITS, "day": _HITS, "stale_reasons": {}},
        "saved": {"bytes": 0},
        "store": {"blobs": size, "index": size, "oldest_use": None, "evicted": {"day": 0}},
        "transfers": [],
        "upstreams": [],
        "images": [{**image, "forms": ["OCI index"]}],
        "clients": [{**client, "last_seen": now, "forms": {"schema 1": count}}],
        "errors": [],
        "peers": [],
    }


def test_one_is_singular_and_more_are_plural() -> None:
    one, two = "\n".join(describe(status(1))), "\n".join(describe(status(2)))
    assert "alpine:3: 1 pull, last" in one
    assert "docker-1.9: 1 address, last seen" in one
    assert "alpine:3: 2 pulls, last" in two
    assert "docker-1.9: 2 addresses, last seen" in two


def test_addresses_that_were_not_remembered_are_said_to_be_more() -> None:
    assert "docker-1.9: at least 256 addresses" in "\n".join(describe(status(256, more=True)))


def test_hits_are_answers_from_the_cache() -> None:
    assert "answered from the cache in 1 h: 75% of 4 (1 stale)" in list(describe(status(1)))
