"""The htpasswd file: users and the hashes of their passwords, by bcrypt or argon2. PURE."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, Self

import argon2
import bcrypt

# A hash of more would take longer than a client waits. In rounds as powers of two, and in KiB.
_MIN_COST: Final = 4
_MAX_COST: Final = 15
_MAX_MEMORY: Final = 2**20
_MAX_LANES: Final = 16
_MAX_USER: Final = 255
# What bcrypt reads of a password. Longer ones are wrong, for bcrypt would cut them.
_BCRYPT_READS: Final = 72
# A salt has 128 bits, so that its 22nd character has two, and a hash of 184 four in its 31st.
_BCRYPT: Final = re.compile(
    r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]", re.ASCII
)
# RFC 9106's own limits: at least one pass, 8 KiB for each lane, a salt of 8 bytes, and a hash of 4.
_ARGON2: Final = re.compile(
    r"\$argon2(?:id|i|d)(?:\$v=(?:16|19))?\$m=(?P<memory>[1-9]\d{0,9}),t=(?P<time>[1-9]\d{0,9}),"
    r"p=(?P<lanes>[1-9]\d{0,9})\$(?P<salt>[A-Za-z0-9+/]{11,64})\$(?P<hash>[A-Za-z0-9+/]{6,86})",
    re.ASCII,
)
# What an unknown user's password is compared with if the file has no user at all.
_NOBODY: Final = "$2b$10$H6lKyoQAWISL1vkBYtuvduqW1WEYZn89pH0KYa9q0R7pEAoXFpXYC"
_NEW_COST: Final = 10


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """The users of one file. `fingerprints` stand for whole lines, and change with them."""

    hashes: dict[str, str] = field(repr=False)
    fingerprints: dict[str, str]
    # For unknown users: all hashes in one order, and a key that nobody without the file has.
    _others: tuple[str, ...] = field(repr=False)
    _key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `USER:HASH` lines; ValueError names a bad line's number, and quotes nothing of it.

        Empty lines, lines that begin with `#`, and a byte order mark are skipped.
        """
        hashes: dict[str, str] = {}
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, hashed = line.strip().partition(":")
            if not colon or not is_user(user):
                raise ValueError(f"line {number} is not USER:HASH")
            if user in hashes:
                raise ValueError(f"line {number} is a second one for its user")
            if (mistake := _mistake(hashed)) is not None:
                raise ValueError(f"line {number}: {mistake}")
            hashes[user] = hashed
        others = tuple(sorted(hashes.values()))
        return cls(
            hashes,
            {user: _fingerprint(user, each) for user, each in hashes.items()},
            others,
            hashlib.blake2b("\n".join(others).encode(), digest_size=32).digest(),
        )

    def hash_for(self, user: str) -> str:
        """The user's hash; for an unknown user another one's, so that the work is the same.

        It is always the same one, and any of the file: where users' hashes differ in their work, so
        do those of users that do not exist, in a way that only the file's readers can foresee.
        """
        hashed = self.hashes.get(user)
        if hashed is not None:
            return hashed
        if not self._others:
            return _NOBODY
        drawn = hashlib.blake2b(user.encode(), key=self._key, digest_size=8).digest()
        return self._others[int.from_bytes(drawn) % len(self._others)]


def is_user(name: str) -> bool:
    """Whether `name` may be a user's: visible, without a colon, and not too long."""
    return 0 < len(name) <= _MAX_USER and name.isprintable() and ":" not in name


def matches(hashed: str, password: str) -> bool:
    """Whether the password has this hash: tens of milliseconds of work, never an exception."""
    secret = password.encode("utf-8", "surrogatepass")
    if not hashed.startswith("$argon2"):
        fits = len(secret) <= _BCRYPT_READS and b"\0" not in secret
        return bcrypt.checkpw(secret if fits else b"", hashed.encode()) and fits
    try:
        return argon2.PasswordHasher().verify(hashed, secret)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def line_for(user: str, password: str) -> str:
    """A new line of the file; ValueError if either cannot be used."""
    if not is_user(user):
        raise ValueError("a user's name is visible, has no colon, and at most 255 characters")
    if not password or len(password.encode()) > _BCRYPT_READS:
        raise ValueError(f"a password has 1 to {_BCRYPT_READS} bytes")
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(_NEW_COST)).decode()}"


def _mistake(hashed: str) -> str | None:
    if hashed.startswith("$argon2"):
        return _argon2_mistake(hashed)
    found = _BCRYPT.fullmatch(hashed)
    if found is None:
        return "its hash is neither bcrypt nor argon2"
    if not _MIN_COST <= int(found[1]) <= _MAX_COST:
        return f"its bcrypt cost is not between {_MIN_COST} and {_MAX_COST}"
    return None


def _argon2_mistake(hashed: str) -> str | None:
    found = _ARGON2.fullmatch(hashed)
    if found is None or not (_is_base64(found["salt"]) and _is_base64(found["hash"])):
        return "its argon2 hash is malformed"
    memory, passes, lanes = (int(found[name]) for name in ("memory", "time", "lanes"))
    if memory < 8 * lanes:
        return "its argon2 hash has too little memory for its lanes"
    if memory * passes > _MAX_MEMORY:
        return "its argon2 hash takes too much memory, or too many passes over it"
    return f"its argon2 hash has more than {_MAX_LANES} lanes" if lanes > _MAX_LANES else None


def _is_base64(text: str) -> bool:
    """Whether the text, without padding, is what its bytes are encoded as."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    return base64.b64encode(raw).decode().rstrip("=") == text


def _fingerprint(user: str, hashed: str) -> str:
    return hashlib.blake2b(f"{user}:{hashed}".encode(), digest_size=12).hexdigest()
