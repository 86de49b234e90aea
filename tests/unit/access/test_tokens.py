"""Our own tokens: what they carry, how long they live, and which ones are ours."""

from __future__ import annotations

import base64
import json

import pytest

from proxy.access.principals import ANONYMOUS, NOBODY, Client, Principal, PrincipalKind
from proxy.access.tokens import LIFETIME, TokenInvalidError, TokenKeys, Tokens
from proxy.ports.rights import Login
from tests.kit.manual_clock import ManualClock

OLD, NEW = "o" * 32, "n" * 40
CI = Principal(PrincipalKind.BASIC, "ci", frozenset({"a", "b"}))


def tokens(text: str, clock: ManualClock | None = None) -> Tokens:
    return Tokens(TokenKeys.parse(text), clock=clock or ManualClock())


@pytest.mark.parametrize(
    "client", [NOBODY, Client(CI), Client(ANONYMOUS, Login("ann", "pässword:\n"))]
)
def test_a_token_says_who_it_is_for(client: Client) -> None:
    made = tokens(OLD)
    read, fingerprint, _ = made.read(made.issue(client, fingerprint="f").value)
    assert (read, fingerprint) == (client, "f")
    if client.login is not None:
        assert read.login is not None
        assert read.login.password == client.login.password


def test_nothing_of_it_can_be_read_by_its_holder() -> None:
    value = tokens(OLD).issue(Client(CI, Login("ann", "s3cret"))).value
    for part in value.split("."):
        decoded = base64.urlsafe_b64decode(part + "==")
        assert b"s3cret" not in decoded
        assert b"ci" not in decoded


async def test_it_lives_five_minutes_or_as_long_as_what_it_stands_for() -> None:
    clock = ManualClock()
    made = tokens(OLD, clock)
    value = made.issue(Client(CI)).value
    clock.advance(LIFETIME - 1)
    made.read(value)
    clock.advance(10)
    with pytest.raises(TokenInvalidError):
        made.read(value)
    short = made.issue(Client(CI), until=clock.wall() + 60)
    assert 58 <= short.lifetime <= 60


def test_two_keys_during_a_rotation() -> None:
    before, between, after = tokens(OLD), tokens(f"{NEW}\n{OLD}\n"), tokens(NEW)
    between.read(before.issue(NOBODY).value)
    after.read(between.issue(NOBODY).value)
    with pytest.raises(TokenInvalidError):
        after.read(before.issue(NOBODY).value)


def test_a_key_is_the_same_whatever_an_editor_adds_to_its_file() -> None:
    tokens(f"\ufeff{OLD}\r\n").read(tokens(OLD).issue(NOBODY).value)


@pytest.mark.parametrize("text", ["", "short", "\n\n", f"{OLD}\n{OLD}\n{NEW}", f"{OLD}\nshort"])
def test_a_bad_key_file_is_refused_without_a_quotation(text: str) -> None:
    with pytest.raises(ValueError, match="token key") as raised:
        TokenKeys.parse(text)
    assert "short" not in str(raised.value)


def _part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


GOOD = tokens(OLD).issue(Client(CI)).value


BAD = [
    "",
    ".",
    "....",
    "a.b.c",
    "é....",
    "A" * 100_000,
    f"{_part({'alg': 'none'})}.{_part({'sub': 'basic:ci'})}.",
    f"{_part({'alg': 'HS256'})}.{_part({'sub': 'basic:ci'})}.{_part('x')}",
    f"{_part({'alg': 'dir', 'enc': 'A128CBC-HS256'})}.{'.'.join(GOOD.split('.')[1:])}",
    f"{_part({'alg': 'dir', 'enc': 'A256GCM', 'zip': 'DEF'})}.{'.'.join(GOOD.split('.')[1:])}",
    f"{_part([])}.{'.'.join(GOOD.split('.')[1:])}",
    GOOD[:-2],
    GOOD[:-4] + "AAAA",
    GOOD + ".x",
]


@pytest.mark.parametrize("value", BAD, ids=map(str, range(len(BAD))))
def test_nothing_else_is_a_token(value: str) -> None:
    with pytest.raises(TokenInvalidError):
        tokens(OLD).read(value)
