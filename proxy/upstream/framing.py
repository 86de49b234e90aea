"""How an answer is framed, in the one spelling that aiohttp's parser takes. PURE.

RFC 9110 and 9112 let a recipient read more spellings than that parser does, and registries, their
storage services and the proxies before them use them. What can be read in two ways stays as it is,
and is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/\d\.\d +(\d{3})")
_LENGTH: Final = b"content-length"
_CODING: Final = b"transfer-encoding"
# 19 digits are more than any body has.
_DIGITS: Final = re.compile(rb"\d{1,18}")
_INTERIM: Final = range(100, 200)
_SWITCHING: Final = 101


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a final answer. `length` is how many bytes its body has, if a header says so.

    `ambiguous`: a recipient that reads the headers in another way would find another end of the
    body, so nothing that follows it on the connection is an answer (RFC 9112, 6.3).
    """

    raw: bytes
    length: int | None
    ambiguous: bool


def end_of_head(received: bytes | bytearray) -> int | None:
    """Where the first head in `received` ends; None if it does not end there."""
    found = _END.search(received)
    return None if found is None else found.end()


def is_interim(head: bytes) -> bool:
    """Whether a final answer will follow (RFC 9110, 15.2). After 101 it is no HTTP that does."""
    status = _STATUS.match(head)
    return status is not None and int(status[1]) in _INTERIM and int(status[1]) != _SWITCHING


def read_head(raw: bytes, *, to_head: bool) -> Head:
    """The head of a final answer, normalised. `to_head` if HEAD was asked, so no body follows.

    - Blanks before a colon go (RFC 9112, 5.1).
    - One length, stated several times, is stated once (RFC 9110, 8.6).
    - Transfer-Encoding counts, and not a length beside it (RFC 9112, 6.3); `identity` is none.
    - To HEAD a length that is no length says nothing.
    """
    start, *lines = re.split(rb"\r?\n", raw.rstrip(b"\r\n"))
    fields = [_trim(line) for line in lines]
    codings = _members(fields, _CODING)
    if codings and all(coding.lower() == b"identity" for coding in codings):
        fields = _without(fields, _CODING)
        codings = []
    lengths = set(_members(fields, _LENGTH))
    ambiguous = bool(codings and lengths)
    valid = len(lengths) == 1 and all(map(_DIGITS.fullmatch, lengths))
    length = int(next(iter(lengths))) if valid and not codings else None
    if length is not None or codings or to_head:
        fields = _without(fields, _LENGTH)
    if length is not None:
        fields.append(b"Content-Length: %d" % length)
    return Head(b"\r\n".join([start, *fields, b"", b""]), length, ambiguous)


def _trim(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    # What begins with a blank continues the line before it.
    return line if not colon or name[:1].isspace() else name.rstrip(b" \t") + colon + value


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _members(fields: list[bytes], name: bytes) -> list[bytes]:
    values = (line.partition(b":")[2] for line in fields if _name(line) == name)
    return [member.strip() for value in values for member in value.split(b",")]


def _without(fields: list[bytes], name: bytes) -> list[bytes]:
    return [line for line in fields if _name(line) != name]
