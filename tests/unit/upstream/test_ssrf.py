"""Which address is nearer than which, in all its spellings."""

from __future__ import annotations

import pytest

from proxy.upstream.ssrf import Nearness, nearness


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("8.8.8.8", Nearness.PUBLIC),
        ("2606:4700::1111", Nearness.PUBLIC),
        ("::ffff:8.8.8.8", Nearness.PUBLIC),
        ("10.1.2.3", Nearness.PRIVATE),
        ("172.16.0.1", Nearness.PRIVATE),
        ("192.168.0.1", Nearness.PRIVATE),
        ("100.64.0.1", Nearness.PRIVATE),
        ("198.18.0.1", Nearness.PRIVATE),
        ("240.0.0.1", Nearness.PRIVATE),
        ("fd00:ec2::1", Nearness.PRIVATE),
        ("fec0::1", Nearness.PRIVATE),
        ("feff::1", Nearness.PRIVATE),
        ("64:ff9b:1::8.8.8.8", Nearness.PRIVATE),
        ("64:ff9b:1:ffff::10.1.2.3", Nearness.PRIVATE),
        ("::ffff:0:8.8.8.8", Nearness.PRIVATE),
        ("::ffff:0:127.0.0.1", Nearness.LOOPBACK),
        ("64:ff9b:1::169.254.169.254", Nearness.LINK_LOCAL),
        ("::ffff:0:169.254.169.254", Nearness.LINK_LOCAL),
        ("168.63.129.16", Nearness.LINK_LOCAL),
        ("::ffff:168.63.129.16", Nearness.LINK_LOCAL),
        ("168.63.129.17", Nearness.PUBLIC),
        ("fd00:ec2::254", Nearness.LINK_LOCAL),
        ("::ffff:10.1.2.3", Nearness.PRIVATE),
        ("64:ff9b::10.1.2.3", Nearness.PRIVATE),
        ("2002:0a01:0203::", Nearness.PRIVATE),
        ("127.0.0.1", Nearness.LOOPBACK),
        ("127.255.0.1", Nearness.LOOPBACK),
        ("0.0.0.0", Nearness.LOOPBACK),
        ("::", Nearness.LOOPBACK),
        ("::1", Nearness.LOOPBACK),
        ("::ffff:127.0.0.1", Nearness.LOOPBACK),
        ("64:ff9b::7f00:1", Nearness.LOOPBACK),
        ("169.254.169.254", Nearness.LINK_LOCAL),
        ("fe80::1%eth0", Nearness.LINK_LOCAL),
        ("::ffff:169.254.169.254", Nearness.LINK_LOCAL),
        ("224.0.0.1", Nearness.LINK_LOCAL),
        ("ff02::1", Nearness.LINK_LOCAL),
    ],
)
def test_how_near_an_address_is(address: str, near: Nearness) -> None:
    assert nearness(address) is near
