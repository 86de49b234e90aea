"""The htpasswd file: users and the hashes of their passwords, by bcrypt or argon2. PURE."""

from __future__ import annotations

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
_MAX_USER: Final = 255
# What bcrypt reads of a password. Longer ones are wrong, for bcrypt would cut them.
_BCRYPT_READS: Final = 72
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
# What an unknown user's password is compared with if the file has no user at all.
_NOBODY: Final = "$2b$10$H6lKyoQAWISL1vkBYtuvduqW1WEYZn89pH0KYa9q0R7pEAoXFpXYC"
_NEW_COST: Final = 10


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """The users of one file. `fingerprints` stand for whole lines, and change with them."""

    hashes: dict[str, str] = field(repr=False)
    fingerprints: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `USER:HASH` lines; ValueError names a bad line's number, and quotes nothing of it.

        Empty lines, and lines that begin with `#`, are skipped.
        """
        hashes: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
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
        return cls(hashes, {user: _fingerprint(user, each) for user, each in hashes.items()})

    def hash_for(self, user: str) -> str:
        """The user's hash; for an unknown user another one's, so that the work is the same."""
        return self.hashes.get(user) or next(iter(self.hashes.values()), _NOBODY)


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
        try:
            parameters = argon2.extract_parameters(hashed)
        except (argon2.exceptions.InvalidHashError, ValueError):
            return "its argon2 hash is malformed"
        return "its argon2 hash takes too much memory" if _is_large(parameters) else None
    found = _BCRYPT.fullmatch(hashed)
    if found is None:
        return "its hash is neither bcrypt nor argon2"
    if not _MIN_COST <= int(found[1]) <= _MAX_COST:
        return f"its bcrypt cost is not between {_MIN_COST} and {_MAX_COST}"
    return None


def _is_large(parameters: argon2.Parameters) -> bool:
    return parameters.memory_cost * parameters.time_cost > _MAX_MEMORY


def _fingerprint(user: str, hashed: str) -> str:
    return hashlib.blake2b(f"{user}:{hashed}".encode(), digest_size=12).hexdigest()
