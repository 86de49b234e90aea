"""How many upstream requests a client may cause: by address, in a minute of a held clock."""

from __future__ import annotations

import pytest

from proxy.errors import ClientThrottled
from proxy.telemetry import trace
from proxy.upstream.client_rate import ClientRate
from tests.kit.manual_clock import ManualClock


class Client:
    def __init__(self, name: str) -> None:
        self.client = name

    def give_way(self) -> None:
        raise AssertionError


def spend(rate: ClientRate, times: int, client: str = "a", principal: str = "") -> int:
    """How many of so many requests the client was allowed."""
    trace.begin(Client(client), principal)
    allowed = 0
    for _ in range(times):
        try:
            rate.spend("docker.io")
        except ClientThrottled:
            continue
        allowed += 1
    return allowed


def test_a_client_has_so_many_a_minute_and_another_one_its_own() -> None:
    clock = ManualClock()
    rate = ClientRate(6, clock=clock)
    assert spend(rate, 10) == 6
    assert spend(rate, 10, "b") == 6
    clock.advance(20)
    assert spend(rate, 10) == 2
    clock.advance(3600)
    assert spend(rate, 10) == 6


def test_a_client_is_told_when_to_come_back() -> None:
    rate = ClientRate(6, clock=ManualClock())
    spend(rate, 6)
    with pytest.raises(ClientThrottled, match="caused 6 requests") as raised:
        rate.spend("docker.io")
    assert raised.value.retry_after == 10
    assert raised.value.concerns_caller()
    trace.begin(Client("b"))
    assert not raised.value.concerns_caller()


def test_a_request_for_a_token_counts_and_is_never_refused() -> None:
    clock = ManualClock()
    rate = ClientRate(6, clock=clock)
    spend(rate, 6)
    rate.charge()
    clock.advance(10)
    assert spend(rate, 1) == 0
    clock.advance(10)
    assert spend(rate, 2) == 1


def test_what_no_client_causes_is_free() -> None:
    rate = ClientRate(1, clock=ManualClock())
    spend(rate, 1)
    with trace.for_nobody():
        rate.spend("docker.io")
    assert spend(rate, 1) == 0
    trace.begin()
    for _ in range(10):
        rate.spend("docker.io")
        rate.charge()


def test_a_principal_has_so_many_from_all_its_addresses_together() -> None:
    rate = ClientRate(None, 6, clock=ManualClock())
    assert spend(rate, 4, "a", "basic:ann") == 4
    assert spend(rate, 4, "b", "basic:ann") == 2
    assert spend(rate, 4, "b", "basic:bob") == 4
    assert spend(rate, 10, "b") == 10, "nobody in particular"


def test_both_limits_hold_and_a_refused_request_counts_for_neither() -> None:
    clock = ManualClock()
    rate = ClientRate(4, 6, clock=clock)
    assert spend(rate, 10, "a", "basic:ann") == 4
    assert spend(rate, 10, "b", "basic:ann") == 2
    assert spend(rate, 10, "b", "basic:bob") == 2
    with pytest.raises(ClientThrottled, match="this client has caused 4 requests"):
        rate.spend("docker.io")
    trace.begin(Client("c"), "basic:ann")
    with pytest.raises(ClientThrottled, match="this principal has caused 6 requests") as raised:
        rate.spend("docker.io")
    assert raised.value.concerns_caller()
    trace.begin(Client("c"), "basic:bob")
    assert not raised.value.concerns_caller()
