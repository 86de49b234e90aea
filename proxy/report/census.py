"""Which generations of clients there are. Bounded: generations are few, addresses are limited."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, TypedDict

from proxy.oci.clients import GENERATIONS
from proxy.report.tally import add_counts

# The addresses of each generation that are remembered, and those that are listed.
_REMEMBERED: Final = 256
_LISTED: Final = 20
_LONGEST: Final = 200


class Generation(TypedDict):
    """A generation of clients. `address_count` is at least that if `more_addresses`."""

    generation: str
    requests: int
    last_seen: float
    agent: str
    # The latest ones first, each with the time it was last seen (since 1970).
    addresses: dict[str, float]
    more_addresses: bool
    forms: dict[str, int]


@dataclass(slots=True)
class _Seen:
    requests: int = 0
    last: float = 0.0
    agent: str = ""
    addresses: OrderedDict[str, float] = field(default_factory=OrderedDict)
    is_full: bool = False
    forms: dict[str, int] = field(default_factory=dict)


class Census:
    """The clients that have asked for something since the start."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(
        self, generation: str, address: str, agent: str, form: str, *, count: int, at: float
    ) -> None:
        """A client of this generation was answered `count` times; `form` of a manifest, or ""."""
        seen = self._seen.get(generation)
        if seen is None:
            seen = self._seen[generation] = _Seen()
        seen.requests += count
        seen.last = at
        seen.agent = agent
        seen.addresses[address] = at
        seen.addresses.move_to_end(address)
        if len(seen.addresses) > _REMEMBERED:
            seen.is_full = True
            seen.addresses.popitem(last=False)
        if form:
            add_counts(seen.forms, {form: count})

    def report(self) -> list[Generation]:
        """Every generation that was seen, with all addresses that are remembered."""
        return [
            Generation(
                generation=name,
                requests=seen.requests,
                last_seen=seen.last,
                agent=seen.agent[:_LONGEST],
                addresses=dict(seen.addresses),
                more_addresses=seen.is_full,
                forms=dict(seen.forms),
            )
            for name, seen in self._seen.items()
        ]


def merge_census(reports: list[list[Generation]]) -> list[Generation]:
    """Add up what several processes report; the oldest generation first."""
    merged: dict[str, Generation] = {}
    for each in (entry for report in reports for entry in report):
        known = merged.get(each["generation"])
        if known is None:
            merged[each["generation"]] = Generation(
                **{**each, "addresses": dict(each["addresses"]), "forms": dict(each["forms"])}
            )
            continue
        known["requests"] += each["requests"]
        if each["last_seen"] > known["last_seen"]:
            known["last_seen"], known["agent"] = each["last_seen"], each["agent"]
        known["more_addresses"] = known["more_addresses"] or each["more_addresses"]
        for address, at in each["addresses"].items():
            known["addresses"][address] = max(at, known["addresses"].get(address, 0.0))
        add_counts(known["forms"], each["forms"])
    return sorted(merged.values(), key=lambda each: GENERATIONS.index(each["generation"]))


def latest(addresses: dict[str, float]) -> dict[str, float]:
    """The addresses to list, the latest first."""
    ranked = sorted(addresses.items(), key=lambda each: -each[1])
    return dict(ranked[:_LISTED])
