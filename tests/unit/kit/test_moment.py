"""Moments as text: what is none is 0, which is long ago."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kit.moment import parse_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"1700000000.125", 1_700_000_000.125),
        (b"0.001", 0.001),
        (b"", 0.0),
        (b"-1", 0.0),
        (b"nan", 0.0),
        (b"inf", 0.0),
        (b"1e400", 0.0),
        (b"9" * 33, 0.0),
        (b"soon", 0.0),
    ],
)
def test_a_moment_is_read(text: bytes, moment: float) -> None:
    assert parse_moment(text) == moment


@given(st.binary(max_size=40) | st.floats().map(lambda number: str(number).encode()))
def test_any_text_is_a_moment_that_can_be_compared(text: bytes) -> None:
    assert 0.0 <= parse_moment(text) < math.inf
