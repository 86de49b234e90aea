"""What goes through an HTTP proxy, and what does not."""

from __future__ import annotations

import pytest
from yarl import URL

from proxy.upstream.http_proxy import HttpProxy

PROXY = URL("http://someone:s3cr3t@proxy.corp:3128")


@pytest.mark.parametrize(
    ("exceptions", "host", "through"),
    [
        ((), "quay.io", True),
        (("quay.io",), "quay.io", False),
        (("quay.io",), "cdn.quay.io", False),
        (("quay.io",), "QUAY.IO.", False),
        ((".quay.io",), "cdn.quay.io", False),
        (("*.quay.io",), "cdn.quay.io", False),
        (("quay.io",), "notquay.io", True),
        (("io",), "quay.io", False),
        (("",), "quay.io", True),
        ((".",), "quay.io", True),
        (("*",), "10.0.0.1", False),
        (("10.0.0.0/8",), "10.1.2.3", False),
        (("10.0.0.0/8",), "11.1.2.3", True),
        (("10.0.0.0/8",), "10.example", True),
        (("10.1.2.3",), "10.1.2.3", False),
        (("fd00::/8",), "[fd00::1]", False),
        (("fd00::/8",), "10.1.2.3", True),
        (("nonsense/8",), "10.1.2.3", True),
        (("other", " quay.io "), "quay.io", False),
    ],
)
def test_exceptions(exceptions: tuple[str, ...], host: str, *, through: bool) -> None:
    assert HttpProxy(PROXY, exceptions).serves(host) is through


def test_its_login_does_not_show() -> None:
    assert "s3cr3t" not in repr(HttpProxy(PROXY))
    assert HttpProxy(PROXY).host == "proxy.corp"
