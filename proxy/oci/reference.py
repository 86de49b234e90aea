"""Repository names, tags and digests, valid by construction."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from proxy.errors import DigestInvalid, NameInvalid, TagInvalid

if TYPE_CHECKING:
    from hashlib import _Hash

# distribution spec, "Pulling manifests": <name> and <reference>.
_NAME: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
# The spec's convention limits host and name together to 255 bytes.
_NAME_LIMIT: Final = 255
# image spec, "Registered Algorithms"; blake3 has no implementation in the standard library.
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
# What an upstream's mirrors are called beside it; no upstream's name has a tilde.
_MIRRORS: Final = "~mirrors"
# Error messages quote at most this many characters of a client's input.
_MAX_QUOTED: Final = 160


class Digest(str):
    """A well-formed digest, `algorithm:hex`, of a registered algorithm."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validate a digest; DigestInvalid if it is malformed (image spec, "Digests")."""
        if not _DIGEST.fullmatch(text):
            raise DigestInvalid(
                f"{text[:_MAX_QUOTED]!r} is not a digest that this registry supports"
            )
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
        """A new hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """Whether `content` has this digest."""
        return hashlib.new(self.algorithm, content).hexdigest() == self.hex


class Tag(str):
    """A well-formed tag."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validate a tag; TagInvalid if it does not match the spec's grammar."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(f"{text[:_MAX_QUOTED]!r} is not a valid tag")
        return super().__new__(cls, text)


def parse_reference(text: str) -> Digest | Tag:
    """Parse a tag or digest; TagInvalid, or DigestInvalid for text with a colon."""
    return Digest(text) if ":" in text else Tag(text)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of one upstream registry.

    `registry` is the upstream's name in the settings, and `name` the repository's name there.
    `addressed` is the name that the client used; it is part of schema 1 and of its digest.

    The mirrors of a registry that is down count as an upstream of their own, so that nothing that
    they say is taken for the registry's word: `at_mirrors` is the same repository there.
    """

    registry: str
    name: str
    addressed: str

    def __str__(self) -> str:
        """The usual notation, such as `docker.io/library/alpine`."""
        return f"{self.registry}/{self.name}"

    @property
    def at_mirrors(self) -> Repository:
        """The repository as the registry's mirrors have it."""
        return replace(self, registry=mirrors_of(self.registry))

    @property
    def is_at_mirrors(self) -> bool:
        """Whether this is what the mirrors say, and not the registry."""
        return self.registry.endswith(_MIRRORS)

    @property
    def official(self) -> Repository:
        """The repository as the registry has it, which settings are about."""
        return replace(self, registry=self.registry.removesuffix(_MIRRORS))


def official_name(repository: str) -> str:
    """The name of `Repository.official`, from that of a repository or of it at the mirrors."""
    registry, slash, name = repository.partition("/")
    return f"{registry.removesuffix(_MIRRORS)}{slash}{name}"


def mirrors_of(registry: str) -> str:
    """The name of an upstream that is made of the mirrors of `registry`."""
    return registry + _MIRRORS


def parse_name(text: str) -> str:
    """Validate a repository name; NameInvalid if it does not match the spec's grammar."""
    if len(text) > _NAME_LIMIT or not _NAME.fullmatch(text):
        raise NameInvalid(f"{text[:_MAX_QUOTED]!r} is not a valid repository name")
    return text


def parse_image(text: str) -> tuple[str, Digest | Tag | None]:
    """Split `REPOSITORY[:TAG|@DIGEST]`; TagInvalid or DigestInvalid.

    A colon after the last slash begins a tag, an earlier one a port. The name is not checked.
    """
    repository, at, digest = text.partition("@")
    if at:
        return repository, Digest(digest)
    path, slash, last = text.rpartition("/")
    name, colon, tag = last.partition(":")
    return path + slash + name, Tag(tag) if colon else None
