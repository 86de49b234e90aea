"""Heads in every spelling that HTTP allows, and in the one that is parsed."""

from __future__ import annotations

import pytest

from proxy.upstream.framing import end_of_head, is_interim, read_head

START = b"HTTP/1.1 200 OK"


def _lines(*fields: bytes, to_head: bool = False) -> tuple[list[bytes], int | None, bool]:
    head = read_head(b"\r\n".join([START, *fields, b"", b""]), to_head=to_head)
    assert head.raw.startswith(START + b"\r\n")
    assert head.raw.endswith(b"\r\n\r\n")
    return head.raw.split(b"\r\n")[1:-2], head.length, head.ambiguous


@pytest.mark.parametrize(
    ("fields", "normal", "length", "ambiguous"),
    [
        ([], [], None, False),
        ([b"X: y"], [b"X: y"], None, False),
        ([b"Content-Length: 5"], [b"Content-Length: 5"], 5, False),
        ([b"content-length:5", b"CONTENT-LENGTH:  5 "], [b"Content-Length: 5"], 5, False),
        ([b"Content-Length: 5, 5"], [b"Content-Length: 5"], 5, False),
        ([b"Content-Length : 5"], [b"Content-Length: 5"], 5, False),
        ([b"X\t: y"], [b"X: y"], None, False),
        ([b"X: a", b" b: c"], [b"X: a", b" b: c"], None, False),
        ([b"no colon"], [b"no colon"], None, False),
        (
            [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
            [b"Transfer-Encoding: chunked"],
            None,
            True,
        ),
        (
            [b"Transfer-Encoding: Identity", b"Content-Length: 5"],
            [b"Content-Length: 5"],
            5,
            False,
        ),
        ([b"Transfer-Encoding: identity"], [], None, False),
        # In two ways, or no length at all: the parser refuses it.
        (
            [b"Content-Length: 5", b"Content-Length: 6"],
            [b"Content-Length: 5", b"Content-Length: 6"],
            None,
            False,
        ),
        ([b"Content-Length: 5, 6"], [b"Content-Length: 5, 6"], None, False),
        ([b"Content-Length: +5"], [b"Content-Length: +5"], None, False),
        ([b"Content-Length: -1"], [b"Content-Length: -1"], None, False),
        ([b"Content-Length: 0x5"], [b"Content-Length: 0x5"], None, False),
        ([b"Content-Length: " + b"9" * 30], [b"Content-Length: " + b"9" * 30], None, False),
    ],
)
def test_a_head_has_one_spelling(
    fields: list[bytes], normal: list[bytes], length: int | None, *, ambiguous: bool
) -> None:
    assert _lines(*fields) == (normal, length, ambiguous)


@pytest.mark.parametrize("value", [b"5, 6", b"many", b"-1", b"", b"9" * 30])
def test_a_length_that_is_none_says_nothing_after_head(value: bytes) -> None:
    assert _lines(b"Content-Length: " + value, b"X: y", to_head=True) == ([b"X: y"], None, False)


def test_a_line_may_end_with_a_line_feed_only() -> None:
    head = read_head(b"HTTP/1.0 200\nA: b\n\n", to_head=False)
    assert head.raw == b"HTTP/1.0 200\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("received", "end"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", 19),
        (b"HTTP/1.1 200 OK\n\nbody\n\n", 17),
        (b"HTTP/1.1 200 OK\nA: b\r\n\nbody", 23),
    ],
)
def test_where_a_head_ends(received: bytes, end: int | None) -> None:
    assert end_of_head(received) == end
    assert end_of_head(bytearray(received)) == end


@pytest.mark.parametrize(
    ("status", "interim"), [("100", True), ("103", True), ("199", True), ("101", False)]
)
def test_an_interim_answer_is_followed_by_another(status: str, *, interim: bool) -> None:
    assert is_interim(f"HTTP/1.1 {status} Wait\r\n\r\n".encode()) is interim
    assert not is_interim(b"HTTP/1.1 200 OK\r\n\r\n")
    assert not is_interim(b"nonsense\r\n\r\n")
