"""Docker Hub's rate limit headers, and what else stands in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oci.headers.ratelimit import RateLimit


@pytest.mark.parametrize(
    ("limit", "remaining", "source", "read"),
    [
        ("100;w=21600", "76;w=21600", "192.0.2.7", RateLimit(100, 76, 21600, "192.0.2.7")),
        ("200;w=21600", "0;w=21600", "2001:db8::", RateLimit(200, 0, 21600, "2001:db8::")),
        (" 100 ; w=60 ", "5", "", RateLimit(100, 5, 60)),
        ("100", "99;w=60", "", RateLimit(100, 99, 60)),
        ("100", "99", "", RateLimit(100, 99)),
        ("100, 100;window=60", "9", "", RateLimit(100, 9)),
        ("100", "101", 'x"; evil\n', RateLimit(100, 101)),
        ("0", "0", "", None),
        ("", "5", "", None),
        ("100", "", "", None),
        ("100", "-1", "", None),
        ("many", "few", "", None),
    ],
)
def test_what_the_headers_say(
    limit: str, remaining: str, source: str, read: RateLimit | None
) -> None:
    headers = {
        "RateLimit-Limit": limit,
        "RateLimit-Remaining": remaining,
        "Docker-RateLimit-Source": source,
    }
    assert RateLimit.parse(headers) == read


def test_an_unlimited_account_has_no_headers() -> None:
    assert RateLimit.parse({}) is None


@given(st.text(), st.text())
def test_nonsense_is_no_limit_or_a_sane_one(limit: str, remaining: str) -> None:
    read = RateLimit.parse({"RateLimit-Limit": limit, "RateLimit-Remaining": remaining})
    assert read is None or (read.limit > 0 and read.remaining >= 0)
