"""The client behind load balancers, and the name under which it is counted."""

from __future__ import annotations

import pytest

from proxy.web.client_address import ClientAddresses, client_of

BALANCERS = ClientAddresses(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_client_is_an_address_or_a_64(address: str, client: str) -> None:
    assert client_of(address) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["203.0.113.5"], "203.0.113.5"),
        (["203.0.113.5:1234"], "203.0.113.5"),
        (["[2001:db8::1]:80"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        # From the right: the client wrote the first one itself.
        (["198.51.100.9, 203.0.113.5"], "203.0.113.5"),
        (["198.51.100.9", "203.0.113.5, 10.1.1.1", "fd00::7"], "203.0.113.5"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["203.0.113.5, unknown"], "10.0.0.1"),
        (["203.0.113.5, unknown, 10.2.2.2"], "10.2.2.2"),
        (["203.0.113.5," + "," * 60_000], "10.0.0.1"),
    ],
)
def test_the_header_is_read_from_the_right(lines: list[str], client: str) -> None:
    assert BALANCERS.read_forwarded("10.0.0.1", lines) == client


def test_only_what_the_settings_name_is_trusted() -> None:
    assert BALANCERS.trusts("10.9.9.9")
    assert BALANCERS.trusts("::ffff:10.9.9.9")
    assert BALANCERS.trusts("192.0.2.1")
    assert not BALANCERS.trusts("192.0.2.2")
    assert not BALANCERS.trusts("")
    assert not ClientAddresses().trusts("10.9.9.9")
