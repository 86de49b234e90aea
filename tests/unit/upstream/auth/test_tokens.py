"""How long a token is used, and how long it is believed to last."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from proxy.errors import UpstreamInvalid
from proxy.kit.singleflight import SingleFlight
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.token_server import MAX_LIFETIME, MAX_TOKEN, parse_token
from proxy.upstream.auth.tokens import Grant, Token, Tokens
from tests.kit.manual_clock import ManualClock

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GRANT: Final = Grant("https://a/token", "s", "repository:x:pull", None)


def lifetime(**answer: object) -> float:
    return parse_token(json.dumps({"token": "t"} | answer).encode(), "a", NOW).lifetime


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (300, 300),
        (300.5, 300.5),
        (60, 60),
        (59, 60),
        (0, 60),
        (-5, 60),
        (10**6, MAX_LIFETIME),
        (10**400, 60),
        (float("inf"), 60),
        (float("nan"), 60),
        ("300", 60),
        (True, 60),
        (None, 60),
        ([], 60),
    ],
)
def test_a_token_lives_from_a_minute_to_a_day(expires_in: object, seconds: float) -> None:
    assert lifetime(expires_in=expires_in) == seconds
    assert lifetime() == 60


@pytest.mark.parametrize(
    ("issued_at", "seconds"),
    [
        ((NOW - timedelta(seconds=100)).isoformat(), 200),
        ("2026-01-02T03:02:25.000000000Z", 200),
        ("2026-01-02T03:02:25", 200),
        ((NOW + timedelta(days=900)).isoformat(), 300),
        ("1970-01-01T00:00:00Z", 60),
        ("yesterday", 300),
        ("", 300),
        (5, 300),
        (None, 300),
    ],
)
def test_when_it_was_issued_shortens_its_life_and_never_lengthens_it(
    issued_at: object, seconds: float
) -> None:
    assert lifetime(expires_in=300, issued_at=issued_at) == seconds


def test_access_token_is_preferred() -> None:
    assert parse_token(b'{"token":"a","access_token":"b"}', "a", NOW).value == "b"
    assert parse_token(b'{"token":"a","access_token":""}', "a", NOW).value == "a"


@pytest.mark.parametrize("value", ["a b", "a\n", "é", "a" * (MAX_TOKEN + 1), 5, {"a": "b"}])
def test_a_token_fits_into_a_header(value: object) -> None:
    with pytest.raises(UpstreamInvalid, match="that no header can carry"):
        parse_token(json.dumps({"token": value}).encode(), "a", NOW)


@pytest.mark.parametrize(("life", "used"), [(60, 50), (300, 270), (86_400, 77_760)])
async def test_a_token_is_replaced_before_it_ends(life: float, used: float) -> None:
    clock = ManualClock()

    async def fetch(_grant: Grant) -> Token:
        return Token("t", life)

    kept = Tokens(fetch, registry="r", flights=SingleFlight(), clock=clock)
    assert kept.get(GRANT) is None
    assert await kept.fetch(GRANT) == "t"
    clock.advance(used - 0.1)
    assert kept.get(GRANT) == "t"
    clock.advance(0.2)
    assert kept.get(GRANT) is None


async def test_tokens_are_bounded_in_bytes_and_belong_to_one_login() -> None:
    async def fetch(grant: Grant) -> Token:
        return Token(f"{grant.credentials}" + "x" * 16_000, 300)

    kept = Tokens(fetch, registry="r", flights=SingleFlight())
    mine = Grant(GRANT.realm, GRANT.service, GRANT.scope, Credentials("me", "secret"))
    await kept.fetch(mine)
    assert kept.get(GRANT) is None
    for number in range(1000):
        await kept.fetch(Grant("https://a/token", "s", f"repository:{number}:pull", None))
    assert kept.get(mine) is None
    assert kept.get(Grant("https://a/token", "s", "repository:999:pull", None)) is not None


def test_no_secret_shows() -> None:
    mine = Grant("https://a/token", "s", "repository:x:pull", Credentials("me", "secret"))
    shown = f"{mine} {mine!r} {Token('secret', 60)!r}"
    assert "secret" not in shown
    assert "me" in shown
