"""Tokens of service accounts: who signs them, for whom, and until when."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from proxy.access.service_accounts import Issuer, IssuerKeys, ServiceAccounts, parse_keys
from proxy.errors import StoreError
from proxy.kit.singleflight import SingleFlight
from tests.kit.manual_clock import ManualClock
from tests.kit.proxy import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ISSUER = "https://cluster.example"
KEY = ECKey.generate_key("P-256", {"kid": "one"})
RSA = RSAKey.generate_key(2048, {"kid": "two"})
STRANGER = ECKey.generate_key("P-256", {"kid": "one"})


def jwks(*keys: ECKey | RSAKey) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class World:
    """Accounts of one issuer, whose keys the test chooses."""

    def __init__(self, flights: SingleFlight) -> None:
        self.clock, self.document, self.reads = ManualClock(), jwks(KEY, RSA), 0
        self.may_read = asyncio.Event()
        self.may_read.set()
        keys = IssuerKeys(ISSUER, self._read, flights=flights, clock=self.clock)
        issuer = Issuer(ISSUER, "lighterage", {"namespace": "kubernetes.io/namespace"})
        self.accounts = ServiceAccounts({ISSUER: (issuer, keys)}, clock=self.clock)

    async def _read(self) -> bytes:
        self.reads += 1
        await self.may_read.wait()
        if not self.document:
            raise StoreError("none")
        return self.document

    def token(self, key: Any = KEY, alg: str = "ES256", **claims: Any) -> str:
        now = int(self.clock.wall())
        everything = {
            "iss": ISSUER,
            "aud": ["lighterage"],
            "sub": "system:serviceaccount:team:app",
            "exp": now + 600,
            "nbf": now,
            "kubernetes.io": {"namespace": "team", "pod": {"name": "x"}},
            **claims,
        }
        kept = {name: value for name, value in everything.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": key.kid}, kept, key, algorithms=[alg])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    flights = SingleFlight()
    yield World(flights)
    await flights.close()


async def test_a_token_says_who_it_is_for_and_in_which_namespace(world: World) -> None:
    for token in (world.token(), world.token(RSA, "RS256"), world.token(aud="lighterage")):
        assert world.accounts.recognizes(token)
        account = await world.accounts.check(token)
        assert account is not None
        assert str(account.principal) == f"jwt:{ISSUER}#system:serviceaccount:team:app"
        assert account.principal.groups == {"namespace:team"}
        assert account.until == world.clock.wall() + 600
    assert world.reads == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": None},
        {"aud": {"lighterage": 1}},
        {"sub": None},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "x" * 1000},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1},
        {"exp": 10**400},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"nbf": 10**12},
        {"nbf": float("nan")},
    ],
)
async def test_a_token_for_others_or_for_another_time_is_none(
    world: World, claims: dict[str, Any]
) -> None:
    assert await world.accounts.check(world.token(**claims)) is None


async def test_only_the_issuers_keys_count(world: World) -> None:
    assert await world.accounts.check(world.token(STRANGER)) is None
    secret = OctKey.import_key(jwks(KEY), {"kid": "one"})
    assert await world.accounts.check(world.token(secret, "HS256")) is None
    head, claims, _ = world.token().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').decode().rstrip("=")
    assert await world.accounts.check(f"{none}.{claims}.") is None
    assert await world.accounts.check(f"{head}.{claims}.") is None
    assert await world.accounts.check(f"{head}.{claims}.AAAA") is None


@pytest.mark.parametrize(
    "password", ["", "s3cret", "a.b.c", "...", "é.é.é", "e30.e30.", "W10.W10.x", "A" * 50_000]
)
def test_other_passwords_are_no_tokens(world: World, password: str) -> None:
    assert not world.accounts.recognizes(password)


async def test_a_token_of_another_issuer_is_not_recognized(world: World) -> None:
    assert not world.accounts.recognizes(world.token(iss="https://other.example"))


async def test_a_new_key_is_found_and_a_lost_document_changes_nothing(world: World) -> None:
    assert await world.accounts.check(world.token()) is not None
    new = ECKey.generate_key("P-256", {"kid": "three"})
    world.document = jwks(KEY, new)
    assert await world.accounts.check(world.token(new)) is None, "not read again at once"
    world.clock.advance(31)
    assert await world.accounts.check(world.token(new)) is not None
    world.document = b""
    world.clock.advance(700)
    assert await world.accounts.check(world.token(new)) is not None
    reads = world.reads
    for _ in range(5):
        assert await world.accounts.check(world.token()) is not None
    assert world.reads == reads, "a lost document is not asked for by each login"


async def test_an_issuer_that_is_slow_delays_nobody_whose_key_is_known(world: World) -> None:
    assert await world.accounts.check(world.token()) is not None
    world.may_read.clear()
    world.clock.advance(700)
    token = world.token()
    async with asyncio.timeout(10):
        assert await world.accounts.check(token) is not None
        await until(lambda: world.reads == 2)
        assert await world.accounts.check(token) is not None
    assert world.reads == 2
    world.document = jwks(RSA)
    world.may_read.set()
    async with asyncio.timeout(10):
        while await world.accounts.check(token) is not None:  # noqa: ASYNC110 -- no event tells
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 1}',
        b'{"keys": {}}',
        b"\xff",
        b'{"keys": [{"kty": "EC"}]}',
        json.dumps({"keys": [KEY.as_dict(private=False)] * 65}).encode(),
        b'{"keys": ' + b"[" * 50_000,
    ],
    ids=map(str, range(9)),
)
def test_a_bad_document_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"JWKS|list of at most 64 keys|no public key"):
        parse_keys(raw)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"kty": ["RSA"]},
        {"kty": {"a": 1}},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "new"},
        {"kty": "EC", "crv": "P-999", "x": "AAAA", "y": "AAAA", "kid": "new"},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "new"},
        {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "new"},
        {"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": ["new"]},
    ],
    ids=map(str, range(9)),
)
async def test_a_bad_key_in_a_document_costs_no_other(world: World, entry: object) -> None:
    """An issuer may add a key of a kind that we do not know, before or after those in use."""
    keys = [entry, KEY.as_dict(private=False), entry]
    world.document = json.dumps({"keys": keys}).encode()
    assert await world.accounts.check(world.token()) is not None


def test_secrets_in_a_document_are_left_out() -> None:
    oct_key = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "s"}
    raw = json.dumps({"keys": [oct_key, KEY.as_dict(private=False), 1]}).encode()
    assert list(parse_keys(raw)) == ["one"]
