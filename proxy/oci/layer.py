"""What a layer's bytes say: its size, the digest of its tar archive, and whether it is compressed.

Schema 1 names layers by digest only; a config and a v2s2 manifest need the rest. The bytes are
read once, piece by piece, in bounded memory.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.reference import Digest
from proxy.oci.tar_walk import NotAnArchiveError, TarWalk, TooManyEntriesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GZIP: Final = b"\x1f\x8b"
# zlib's `wbits` for a gzip member with its header and trailer, which are checked.
_ONE_MEMBER: Final = 31
# How much is decompressed at a time, in bytes.
_PIECE: Final = 256 * 1024
# Some builders make a member for each file. Each costs as much as many bytes, so they are bounded.
_MAX_MEMBERS: Final = 2**20


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What never changes about the layer `digest`; sizes are in bytes.

    `size` is the blob's. `diff_id` is the digest of the tar archive, and `unpacked` its size.
    """

    digest: Digest
    size: int
    diff_id: Digest
    unpacked: int
    is_gzip: bool

    def encode(self) -> dict[str, object]:
        """The facts as members of a JSON object."""
        return {
            "digest": self.digest,
            "size": self.size,
            "diff_id": self.diff_id,
            "unpacked": self.unpacked,
            "gzip": self.is_gzip,
        }

    @classmethod
    def decode(cls, members: Mapping[str, object]) -> Self:
        """Read what `encode` made; ValueError, KeyError or DigestInvalid for anything else."""
        match members:
            case {"size": int(size), "unpacked": int(unpacked), "gzip": bool(is_gzip)} if min(
                size, unpacked
            ) >= 0 and not isinstance(size, bool):
                digest, diff_id = (Digest(str(members[name])) for name in ("digest", "diff_id"))
                return cls(digest, size, diff_id, unpacked, is_gzip)
            case _:
                raise ValueError("these are no facts of a layer")


class LayerMeter:
    """Measures one layer, which is fed to it in order. Only gzip and plain tar are known.

    ConversionRefused for any other content.
    """

    def __init__(self, digest: Digest, *, max_unpacked: int) -> None:
        """`max_unpacked` is how large the archive may be, in bytes."""
        self._digest = digest
        self._max_unpacked = max_unpacked
        self._size = self._unpacked = self._members = 0
        self._hash = sha256()
        self._archive = TarWalk()
        # The first bytes of the layer, before its format is known.
        self._head = b""
        self._is_gzip: bool | None = None
        self._member: zlib._Decompress | None = None

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next bytes. Blocks for as long as it takes to decompress them."""
        self._size += len(piece)
        if self._is_gzip is None:
            self._head += piece
            if len(self._head) < len(_GZIP):
                return
            self._is_gzip = self._head.startswith(_GZIP)
            piece, self._head = self._head, b""
        if self._is_gzip:
            self._decompress(bytes(piece))
        else:
            self._add(piece)

    def finish(self) -> LayerFacts:
        """The facts, after the last byte."""
        if self._member is not None:
            raise self._refusal("ends in the middle of its gzip data")
        if self._head and self._is_gzip:
            raise self._refusal("has other bytes after its gzip data")
        self._add(self._head)
        with self._as_refusals():
            self._archive.finish()
        return LayerFacts(
            digest=self._digest,
            size=self._size,
            diff_id=Digest(f"sha256:{self._hash.hexdigest()}"),
            unpacked=self._unpacked,
            is_gzip=bool(self._is_gzip),
        )

    def _decompress(self, rest: bytes) -> None:
        """Decompress all of `rest`, which may begin and end within a member (RFC 1952, 2.2)."""
        while rest:
            if self._member is None:
                # The two bytes that tell a member may be in two pieces.
                rest, self._head = self._head + rest, b""
                if len(rest) < len(_GZIP):
                    self._head = rest
                    return
                self._begin_member(rest)
            rest = self._decompress_member(rest)

    def _begin_member(self, rest: bytes) -> None:
        if not rest.startswith(_GZIP):
            raise self._refusal("has other bytes after its gzip data")
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise self._refusal(f"has over {_MAX_MEMBERS} gzip members", RefusalReason.SIZE)
        self._member = zlib.decompressobj(_ONE_MEMBER)

    def _decompress_member(self, rest: bytes) -> bytes:
        """Decompress what belongs to the member that has begun; what follows it."""
        member = self._member
        if member is None:
            return rest
        try:
            while not member.eof:
                unpacked = member.decompress(rest, _PIECE)
                rest = member.unconsumed_tail
                self._add(unpacked)
                # What zlib still holds comes without further input.
                if not rest and len(unpacked) < _PIECE:
                    break
        except zlib.error as error:
            raise self._refusal(f"is damaged gzip data ({error})") from None
        if not member.eof:
            return b""
        self._member = None
        return member.unused_data

    def _add(self, unpacked: bytes | memoryview) -> None:
        self._unpacked += len(unpacked)
        if self._unpacked > self._max_unpacked:
            raise self._refusal(
                f"unpacks to more than {self._max_unpacked} bytes, which is the limit",
                RefusalReason.SIZE,
            )
        self._hash.update(unpacked)
        with self._as_refusals():
            self._archive.feed(unpacked)

    @contextmanager
    def _as_refusals(self) -> Iterator[None]:
        try:
            yield
        except NotAnArchiveError as error:
            raise self._refusal(str(error)) from None
        except TooManyEntriesError as error:
            raise self._refusal(str(error), RefusalReason.SIZE) from None

    def _refusal(
        self, reason: str, kind: RefusalReason = RefusalReason.LAYERS
    ) -> ConversionRefused:
        return ConversionRefused(f"its layer {self._digest} {reason}", kind)
