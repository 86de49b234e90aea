"""The status page as text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from proxy.kit.human import human

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Rows of a section; `--json` has all of them.
_ROWS: Final = 10
_DAY: Final = 86400.0
_HOUR: Final = 3600.0
_MINUTE: Final = 60.0


def describe(status: Mapping[str, Any]) -> Iterator[str]:
    """Format the answer of `/status` as lines."""
    now = time.time()
    yield from _health(status["health"])
    yield from _hits(status["hits"], status["saved"])
    yield from _store(status["store"], now)
    yield from _transfers(status["transfers"])
    for upstream in status["upstreams"]:
        yield from _upstream(upstream, now)
    yield from _images(status["images"], now)
    yield from _clients(status["clients"], now)
    yield from _errors(status["errors"], now)
    yield from _peers(status["peers"])


def duration(seconds: float) -> str:
    """An age or uptime, such as 3 min."""
    seconds = max(0.0, seconds)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _health(health: Mapping[str, Any]) -> Iterator[str]:
    workers = f", {health['workers']} workers" if health["workers"] > 1 else ""
    up = duration(health["uptime"])
    yield f"the proxy is {health['status']}: version {health['version']}, up {up}{workers}"
    for warning in health["warnings"]:
        yield f"  warning: {warning['message']}"
        yield f"    {warning['remedy']}"
    for name, words in (
        ("access", "closed repositories"),
        ("logins", "logins"),
        ("turned_away", "turned away"),
        ("withheld", "kept from upstreams"),
    ):
        if health[name]:
            yield f"  {words}: {_counts(health[name])}"


def _hits(hits: Mapping[str, Any], saved: Mapping[str, Any]) -> Iterator[str]:
    for name, words in (("hour", "1 h"), ("day", "24 h")):
        told = hits[name]
        if told["answers"]:
            yield (
                f"answered from the cache in {words}: {told['share']:.0%} of {told['answers']}"
                f" ({told['stale']} stale)"
            )
        else:
            yield f"answered from the cache in {words}: nothing was asked for"
    if hits["stale_reasons"]:
        yield f"  stale because: {_counts(hits['stale_reasons'])}"
    yield f"not fetched again: {human(saved['bytes'])} since the start"


def _store(store: Mapping[str, Any], now: float) -> Iterator[str]:
    for part in ("blobs", "index"):
        taken, limit = store[part]["bytes"], store[part]["limit"]
        if taken is not None:
            of = "" if limit is None else f" of {human(limit)}"
            yield f"the {part} {'take' if part == 'blobs' else 'takes'} {human(taken)}{of}"
    if store["oldest_use"] is not None:
        yield f"  oldest use {duration(now - store['oldest_use'])} ago"
    if store["evicted"]["day"]:
        yield f"  evicted in 24 h: {human(store['evicted']['day'])}"


def _transfers(transfers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if transfers:
        yield f"transfers: {len(transfers)}"
    for each in transfers[:_ROWS]:
        of = "" if each["size"] is None else f" of {human(each['size'])}"
        yield (
            f"  {each['image']} {each['digest'][:19]}: {human(each['bytes'])}{of} at "
            f"{human(each['speed'])}/s from {each['source']}, {_number(each['readers'], 'reader')}"
        )


def _upstream(upstream: Mapping[str, Any], now: float) -> Iterator[str]:
    state = "works"
    if upstream["circuit"] == "open":
        state = f"has failed for {duration(now - upstream['since'])}, its circuit is open"
    elif upstream["circuit"] == "offline":
        state = "is set to be offline"
    yield f"{upstream['name']} {state}: {_counts(upstream['requests'])}"
    if upstream["circuit"] == "open":
        yield f"  {upstream['why']}; tried again in {duration(upstream['next_try'])}"
    if upstream["login"] != "none":
        yield f"  login: {upstream['login']}"
    latency = upstream["latency"]
    if latency["of"]:
        p50, p99 = (round(latency[name] * 1000) for name in ("p50", "p99"))
        yield f"  answers begin within {p50} ms (median), {p99} ms (p99)"
    if pulls := upstream["pulls"]:
        yield f"  pulls left: {pulls['remaining']} of {pulls['limit']}"


def _images(images: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if images:
        yield f"images pulled in 24 h: {len(images)}"
    for each in images[:_ROWS]:
        size = "" if each["size"] is None else f", {human(each['size'])}"
        pulls, last = _number(each["pulls"], "pull"), duration(now - each["last_pull"])
        forms = ", ".join(each["forms"]) or "nothing"
        yield f"  {each['image']}: {pulls}, last {last} ago{size}, as {forms}"


def _clients(clients: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if clients:
        yield "clients, the oldest generation first:"
    for each in clients:
        addresses = _number(each["address_count"], "address", "addresses")
        more = "at least " if each["more_addresses"] else ""
        yield (
            f"  {each['generation']}: {more}{addresses}, last seen "
            f"{duration(now - each['last_seen'])} ago, got {_counts(each['forms'])}"
        )


def _errors(errors: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if errors:
        yield f"errors: {len(errors)}, the latest first"
    for each in errors[:_ROWS]:
        yield (
            f"  {duration(now - each['time'])} ago {each['status']} {each['image'] or '-'} for "
            f"{each['client']}: {each['message']} ({each['id']})"
        )


def _peers(peers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if peers:
        yield "other replicas:"
    for each in peers:
        yield (
            f"  {each['name'] or each['address']}: {each['state']}, {human(each['received'])} "
            f"received, {human(each['sent'])} sent"
        )


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none yet"
