"""The `Range` header: one range of bytes, and what must be ignored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import RangeInvalid
from proxy.web.ranges import ByteRange, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=5-", ByteRange(5, None)),
        ("bytes=-5", ByteRange(None, 5)),
        ("BYTES = 1 - 2 ", ByteRange(1, 2)),
        (f"bytes=0-{2**64 - 1}", ByteRange(0, 2**64 - 1)),
        (f"bytes={10**40}-", ByteRange(10**40, None)),
    ],
)
def test_one_range(header: str, expected: ByteRange) -> None:
    assert parse_range(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes = - ", "bytes=5-4", "bytes=0-1,3-4"),
        *("items=0-1", "bytes=a-b", "bytes=1.0-2", "bytes=--1", "bytes=0-1-2", "bytes=+1-2"),
        *(" bytes=0-1", "bytes=0-1;q=1", "bytes=\u0661-\u0662", f"bytes=0-{'9' * 5000}"),
    ],
)
def test_what_is_ignored(header: str | None) -> None:
    assert parse_range(header) is None


@given(st.text())
def test_any_header_is_a_range_or_ignored(header: str) -> None:
    parse_range(header)


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        (ByteRange(0, 0), 10, (0, 0)),
        (ByteRange(0, 99), 10, (0, 9)),
        (ByteRange(9, None), 10, (9, 9)),
        (ByteRange(None, 3), 10, (7, 9)),
        (ByteRange(None, 99), 10, (0, 9)),
    ],
)
def test_within_a_blob(asked: ByteRange, size: int, expected: tuple[int, int]) -> None:
    assert asked.within(size) == expected


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (ByteRange(10, None), 10),
        (ByteRange(10, 12), 10),
        (ByteRange(None, 0), 10),
        (ByteRange(0, None), 0),
        (ByteRange(None, 1), 0),
    ],
)
def test_beyond_a_blob(asked: ByteRange, size: int) -> None:
    with pytest.raises(RangeInvalid) as raised:
        asked.within(size)
    assert raised.value.size == size


@given(
    st.integers(0, 20) | st.none(),
    st.integers(0, 20) | st.none(),
    st.integers(0, 20),
)
def test_what_is_within_is_what_python_slices(
    first: int | None, last: int | None, size: int
) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    found = parse_range(header)
    if found is None:
        return
    blob = bytes(range(size))
    if first is None:
        assert last is not None
        expected = blob[max(0, size - last) :]
    else:
        expected = blob[first : None if last is None else last + 1]
    if not expected:
        with pytest.raises(RangeInvalid):
            found.within(size)
    else:
        start, end = found.within(size)
        assert blob[start : end + 1] == expected
