"""Names of content: repositories, tags and digests, valid by construction."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import DigestInvalid, NameInvalid, TagInvalid

if TYPE_CHECKING:
    from hashlib import _Hash

# distribution spec, "Pulling manifests": <name> and <reference>.
_NAME: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
# The spec's convention: name and host together in 255 bytes.
_NAME_LIMIT: Final = 255
# image spec, "Registered Algorithms"; blake3 has no implementation in the standard library.
_HEX_LENGTH: Final = {"sha256": 64, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+")
# An error answer quotes at most this much of what the client sent.
_QUOTED: Final = 160


class Digest(str):
    """A well-formed digest, `algorithm:hex`, of a registered algorithm."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """`text` as a digest; DigestInvalid if it is none (image spec, "Digests")."""
        algorithm, _, encoded = text.partition(":")
        if _HEX_LENGTH.get(algorithm) != len(encoded) or not _HEX.fullmatch(encoded):
            raise DigestInvalid(f"{text[:_QUOTED]!r} is not a digest that this registry supports")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The canonical (sha256) digest of `content`."""
        return super().__new__(cls, "sha256:" + hashlib.sha256(content).hexdigest())

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part after the colon."""
        return self.partition(":")[2]

    def hasher(self) -> _Hash:
        """A fresh hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """Whether `content` is what this digest names."""
        return hashlib.new(self.algorithm, content).hexdigest() == self.hex


class Tag(str):
    """A well-formed tag."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """`text` as a tag; TagInvalid if the spec's grammar does not allow it."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(f"{text[:_QUOTED]!r} is not a valid tag")
        return super().__new__(cls, text)


def parse_reference(text: str) -> Digest | Tag:
    """A tag or digest; TagInvalid, or DigestInvalid for whatever has a colon."""
    return Digest(text) if ":" in text else Tag(text)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of one upstream registry.

    `registry` is the upstream's name in our settings, `name` the repository's name there, and
    `addressed` the name as the client wrote it, which schema 1 has inside its digest.
    """

    registry: str
    name: str
    addressed: str

    def __str__(self) -> str:
        """As people write it: `docker.io/library/alpine`."""
        return f"{self.registry}/{self.name}"


def parse_name(text: str) -> str:
    """`text`, if it is a valid repository name; NameInvalid otherwise."""
    if len(text) > _NAME_LIMIT or not _NAME.fullmatch(text):
        raise NameInvalid(f"{text[:_QUOTED]!r} is not a valid repository name")
    return text
