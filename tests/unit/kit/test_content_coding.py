"""Whether bytes with a Content-Encoding are the content, or have to be decoded."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Final

import pytest

from proxy.errors import UpstreamInvalid
from proxy.kit.content_coding import (
    Decoder,
    can_decode,
    choose_content,
    looks_like_json,
    parse_coding,
)

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT: Final = b'{"a": 1}' * 1000
LIMIT: Final = 2**20
CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}


def _choose(raw: bytes, coding: str | None, limit: int = LIMIT) -> bytes:
    return choose_content(raw, coding, lambda each: each == CONTENT, limit=limit, sender="it")


@pytest.mark.parametrize(
    ("lines", "coding"),
    [
        ([], None),
        ([""], None),
        (["identity"], None),
        (["Identity, identity"], None),
        (["GZIP "], "gzip"),
        (["identity", "x-gzip"], "x-gzip"),
        (["gzip, gzip"], "gzip, gzip"),
        (["aws-chunked,gzip"], "aws-chunked, gzip"),
    ],
)
def test_what_a_header_states(lines: list[str], coding: str | None) -> None:
    assert parse_coding(lines) == coding


def test_what_can_be_undone() -> None:
    assert all(map(can_decode, CODINGS))
    assert not any(map(can_decode, ["br", "zstd", "aws-chunked", "gzip, gzip", "compress"]))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_pieces_are_decoded_as_they_come(coding: str, size: int) -> None:
    encoded = CODINGS[coding](CONTENT)
    decoder = Decoder(coding)
    pieces = [
        piece
        for start in range(0, len(encoded), size)
        for piece in decoder.feed(encoded[start : start + size])
    ]
    assert b"".join(pieces) == CONTENT
    assert decoder.is_complete


def test_a_file_of_several_members_is_one() -> None:
    decoder = Decoder("gzip")
    assert b"".join(decoder.feed(gzip.compress(b"a") + gzip.compress(b"b"))) == b"ab"
    assert decoder.is_complete
    with pytest.raises(ValueError, match="incorrect header"):
        list(decoder.feed(b"garbage"))


def test_a_bomb_comes_in_small_pieces() -> None:
    pieces = Decoder("gzip").feed(gzip.compress(bytes(2**26)))
    assert all(len(piece) <= 2**18 for piece in pieces)


@pytest.mark.parametrize("coding", [None, *CODINGS, "br", "aws-chunked"])
def test_the_content_as_it_came_needs_no_decoding(coding: str | None) -> None:
    assert _choose(CONTENT, coding) == CONTENT


@pytest.mark.parametrize("coding", CODINGS)
def test_encoded_content_is_decoded(coding: str) -> None:
    assert _choose(CODINGS[coding](CONTENT), coding) == CONTENT


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("raw", [b"", b"nonsense", gzip.compress(b"something else", mtime=0)])
def test_what_is_wrong_either_way_stays_as_it_came(raw: bytes, coding: str) -> None:
    assert _choose(raw, coding) == raw
    assert _choose(CODINGS[coding](CONTENT)[:-2], coding) == CODINGS[coding](CONTENT)[:-2]


def test_what_cannot_be_undone_is_named() -> None:
    with pytest.raises(UpstreamInvalid, match="it sent a Content-Encoding that was not requested"):
        _choose(b"nonsense", "br")


def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(UpstreamInvalid, match="more than 100 bytes"):
        _choose(gzip.compress(CONTENT), "gzip", limit=100)


def test_json_is_told_from_what_is_encoded() -> None:
    assert looks_like_json(b" \n{}")
    assert not any(map(looks_like_json, [b"", b"[]", gzip.compress(b"{}"), zlib.compress(b"{}")]))
