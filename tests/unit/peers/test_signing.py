"""Only a holder of the secret asks, only the one that was asked answers, and only once."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.peers.signing import MAX_SKEW, ReplayWindow, Signed, Signer

SIGNER = Signer(b"a secret of the fleet")
REQUEST = Signed(
    method="GET",
    sender="10.0.0.1:1",
    receiver="10.0.0.2:1",
    target="/peers/1/tag?name=a",
    body="",
    time="1700000000.000",
    nonce="00ff",
)


def test_what_was_signed_is_verified() -> None:
    assert SIGNER.verifies(REQUEST, SIGNER.sign(REQUEST))


@pytest.mark.parametrize("part", [field.name for field in fields(Signed)])
def test_every_part_is_signed(part: str) -> None:
    changed: dict[str, Any] = {part: "other"}
    other = replace(REQUEST, **changed)
    assert not SIGNER.verifies(other, SIGNER.sign(REQUEST))


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_part_passes_for_another_one(a: str, b: str, c: str, d: str) -> None:
    one, other = replace(REQUEST, target=a, time=b), replace(REQUEST, target=c, time=d)
    assert (one.encode() == other.encode()) == (one == other)


@pytest.mark.parametrize("signature", ["", "00", "é", "f" * 64])
def test_a_wrong_signature_is_refused(signature: str) -> None:
    assert not SIGNER.verifies(REQUEST, signature)


def test_another_secret_signs_otherwise() -> None:
    assert not SIGNER.verifies(REQUEST, Signer(b"another secret, as long").sign(REQUEST))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16"):
        Signer(b"short")


def test_seals_are_of_one_answer_and_in_order() -> None:
    seal, other, again = SIGNER.seal("1"), SIGNER.seal("2"), SIGNER.seal("1")
    first, second = seal.next(b"part"), seal.next(b"part")
    assert first != second
    assert other.next(b"part") not in {first, second}
    assert (again.next(b"part"), again.next(b"part")) == (first, second)


def test_a_request_passes_once() -> None:
    window = ReplayWindow()
    assert window.admit("a", 1000.0, 1000.0)
    assert not window.admit("a", 1000.0, 1000.0)
    assert window.admit("b", 1000.0, 1000.0)


@pytest.mark.parametrize("skew", [-MAX_SKEW - 1, MAX_SKEW + 1, float("nan")])
def test_a_clock_that_is_too_wrong_is_refused(skew: float) -> None:
    assert not ReplayWindow().admit("a", 1000.0 + skew, 1000.0)


def test_no_request_passes_twice_though_nonces_are_forgotten() -> None:
    window = ReplayWindow(limit=10)
    for number in range(100):
        assert window.admit(str(number), 1000.0 + number / 100, 1001.0)
    assert not any(
        window.admit(str(number), 1000.0 + number / 100, 1001.0) for number in range(100)
    )
    assert window.admit("new", 1001.0, 1001.0)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 200)), max_size=200))
def test_the_window_is_bounded_and_admits_nothing_twice(asked: list[tuple[int, int]]) -> None:
    window, admitted, now = ReplayWindow(limit=8), set(), 1000.0
    for nonce, moment in asked:
        now = max(now, 1000.0 + moment)
        if window.admit(str(nonce), 1000.0 + moment, now):
            assert (nonce, moment) not in admitted
            admitted.add((nonce, moment))
        assert len(window._seen) <= 8
