"""`Content-Encoding`: whether an answer's bytes are the content, or have to be decoded. PURE.

We ask for `identity`. Registries and storage services answer with labels all the same: for a layer
that is itself a gzip file, or for how it was uploaded. Then the bytes are the content as they came.
Others encode what they send. The header does not tell the two apart; the content's digest does.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Codings that can be undone, and zlib's parameter for each; a deflate stream states its wrapper.
_DECODABLE: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": 0}
_NONE: Final = frozenset({"", "identity"})
# What is decoded at a time, in bytes.
_PIECE: Final = 256 * 1024


def parse_coding(lines: Sequence[str]) -> str | None:
    """The coding that the `Content-Encoding` lines state; None if they state none."""
    members = [member.strip().lower() for line in lines for member in line.split(",")]
    return ", ".join(member for member in members if member not in _NONE) or None


class Decoder:
    """Undoes one coding, piece by piece; ValueError where the bytes are not encoded so."""

    def __init__(self, coding: str) -> None:
        """KeyError for a coding that cannot be undone."""
        self._parameter = _DECODABLE[coding]
        self._zlib = zlib.decompressobj(self._parameter)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what `chunk` adds, in pieces that are bounded however well it was compressed."""
        while chunk:
            if self._zlib.eof:
                # A gzip file may have several members (RFC 1952, 2.2).
                self._zlib = zlib.decompressobj(self._parameter)
            try:
                piece = self._zlib.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if piece:
                yield piece
            chunk = self._zlib.unconsumed_tail or self._zlib.unused_data

    @property
    def is_complete(self) -> bool:
        """Whether the encoded bytes may end here."""
        return self._zlib.eof


def can_decode(coding: str) -> bool:
    """Whether the coding can be undone."""
    return coding in _DECODABLE


def choose_content(
    raw: bytes, coding: str | None, is_content: Callable[[bytes], bool], *, limit: int, sender: str
) -> bytes:
    """The content of a small answer: as it came, or decoded if only that `is_content`.

    As it came if neither is. UpstreamInvalid, in a sentence about the `sender`, for a coding that
    cannot be undone, and for more than `limit` bytes.
    """
    if coding is None or is_content(raw):
        return raw
    if not can_decode(coding):
        raise UpstreamInvalid(
            f"{sender} sent a Content-Encoding that was not requested and cannot be undone"
        )
    decoded = bytearray()
    decoder = Decoder(coding)
    try:
        for piece in decoder.feed(raw):
            decoded += piece
            if len(decoded) > limit:
                raise UpstreamInvalid(f"{sender} sent more than {limit} bytes")
    except ValueError:
        return raw
    content = bytes(decoded)
    return content if decoder.is_complete and is_content(content) else raw


def looks_like_json(content: bytes) -> bool:
    """Whether it begins as a JSON object does, which no encoded one does."""
    return content.lstrip()[:1] == b"{"
