"""Every parser raises its declared errors only, and takes time in proportion to its input.

`make fuzz` looks further, guided by coverage.
"""

from __future__ import annotations

import gc
from time import process_time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.kit.parsers import PARSERS

KIB: Final = 1024
# What makes naive parsers backtrack, recurse or copy: each is repeated up to a size.
SHAPES: Final = [
    *(b"[", b"{", b"]", b'{"a":', b'[{"a":', b"[[],", b'"', b'\\"', b'"\\u0061', b"\\", b"9"),
    *(b" ", b"\n", b"\r\n", b"\t,", b",", b";", b"=", b"<", b"<a>;", b"/", b"%", b"%61", b"a/"),
    *(b"a.", b"a-", b"a=b,", b'a="', b"Bearer ", b"Bearer a=b,", b"ns=&", b"\xff", b"\x00", b"e9"),
    *(b"sha256:", b"null,", b'{"manifests":[', b'"digest":"sha256:', b"{},", b"1.", b'{"a":1},'),
]
# What brings a shape past the first check of some parser.
STARTS: Final = [
    *(
        b"",
        b"\n",
        b'{"a":',
        b'{"history":[',
        b'{"auths":{',
        b"localhost\n/v2/",
        b"bytes=",
        b"1.000\n",
    ),
    *(b'application/json\n{"schemaVersion":2,"manifests":[', b'{"schemaVersion":1,"signatures":['),
]
_CHANGES: Final = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 8), st.binary(max_size=12)), max_size=4
)


def _changed(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The seed with pieces of it replaced."""
    data = bytearray(seed)
    for at, length, piece in changes:
        start = at % (len(data) + 1)
        data[start : start + length] = piece
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_only_declared_errors_are_raised(name: str) -> None:
    parser = PARSERS[name]

    @examples(max_examples=60, deadline=None)
    @given(st.sampled_from(list(parser.seeds)), _CHANGES)
    def changed(seed: bytes, changes: list[tuple[int, int, bytes]]) -> None:
        parser(_changed(seed, changes))

    @examples(max_examples=60, deadline=None)
    @given(st.binary(max_size=300))
    def anything(data: bytes) -> None:
        parser(data)

    changed()
    anything()
    for seed in parser.seeds:
        parser.parse(seed)


def _seconds(name: str, data: bytes) -> float:
    """The best of some runs: others use the machine, too."""
    best = float("inf")
    # A collection takes as long as all that earlier tests have left in memory wants.
    gc.disable()
    try:
        for _ in range(3):
            before = process_time()
            PARSERS[name](data)
            best = min(best, process_time() - before)
            if best < 0.001:
                break
    finally:
        gc.enable()
    return best


@pytest.mark.parametrize("name", PARSERS)
def test_time_grows_in_proportion(name: str) -> None:
    """And no shape raises another error. Four times as much may take eight times as long."""
    for start in STARTS:
        for shape in SHAPES:
            large = start + shape * (64 * KIB // len(shape))
            if (longest := _seconds(name, large)) < 0.01:
                continue
            quarter, small = (_seconds(name, large[: len(large) // part]) for part in (4, 16))
            assert longest <= max(8 * quarter, 40 * small, 0.02), (start, shape, longest)
