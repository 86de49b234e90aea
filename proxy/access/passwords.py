"""Checks logins against the htpasswd file, one hash at a time, and remembers the result."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Final

import structlog

from proxy.access import htpasswd
from proxy.access.htpasswd import Htpasswd
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.lru import LruCache
from proxy.kit.watched_files import entry

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.access.hashing import Hashing
    from proxy.kit.clock import Clock
    from proxy.kit.singleflight import SingleFlight
    from proxy.ports.rights import Login

_log = structlog.get_logger()

# How long a wrong login is wrong without being checked again, in seconds.
_WRONG_LIFE: Final = 30.0
_MEMORY: Final = 2**20
_COST: Final = 256
MAX_FILE: Final = 4 * 2**20
_MAX_PASSWORD: Final = 16 * 1024
_WARNING: Final = "htpasswd"


class Passwords:
    """The users of the htpasswd file, which is read again when it changes."""

    def __init__(
        self,
        file: Path,
        warnings: dict[str, str],
        *,
        hashing: Hashing,
        flights: SingleFlight,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`warnings` are those of /readyz.

        OSError if the file cannot be read, ValueError if it is malformed.
        """
        self.file = file
        self._warnings = warnings
        self._clock = clock
        self._seen = entry(file)
        self._users = _read(file)
        self._hashing = hashing
        self._flights = flights
        # Nothing that is remembered can be tried offline: the key is this process' own.
        self._key = secrets.token_bytes(32)
        self._right: LruCache[bytes, str] = LruCache(_MEMORY)
        self._wrong: LruCache[bytes, float] = LruCache(_MEMORY)

    def look(self) -> bool:
        """Read the file if it has changed; whether there are other users now.

        A malformed one is a warning, and changes nothing.
        """
        found = entry(self.file)
        if found == self._seen:
            return False
        self._seen = found
        try:
            self._users = _read(self.file)
        except (OSError, ValueError) as error:
            self._warnings[_WARNING] = f"access.htpasswd_file was not taken over: {_why(error)}"
            _log.error("htpasswd.refused", reason=_why(error))
            return False
        # A login that was wrong may be right now.
        self._wrong.clear()
        self._warnings.pop(_WARNING, None)
        _log.info("htpasswd.adopted", users=len(self._users.hashes))
        return True

    def fingerprint(self, user: str) -> str | None:
        """A value that changes with the user's line; None if there is no such user now."""
        return self._users.fingerprints.get(user)

    def recall(self, login: Login) -> bool | None:
        """Whether the login is right, if that is known without work."""
        key = self._digest(login)
        right = self._right.get(key)
        if right is not None and right == self.fingerprint(login.username):
            return True
        wrong_until = self._wrong.get(key)
        if wrong_until is not None and self._clock.monotonic() < wrong_until:
            return False
        return None

    async def check(self, login: Login, client: str) -> bool:
        """Return whether the login is right; Overloaded if `client` has too many waiting.

        The work is the same for users that do not exist.
        """
        if not htpasswd.is_user(login.username) or len(login.password) > _MAX_PASSWORD:
            return False
        known = self.recall(login)
        if known is not None:
            return known
        # A client that starts with many requests at once sends the same login with each.
        key = f"password:{client}:{self._digest(login).hex()}"
        return await self._flights.do(key, lambda: self._check_in_turn(login, client))

    async def _check_in_turn(self, login: Login, client: str) -> bool:
        async with self._hashing.turn(client, login.username) as turn:
            # Another client may have sent it while this one waited.
            known = self.recall(login)
            if known is None:
                known = await self._compare(login)
                turn.failed = not known
            return known

    async def _compare(self, login: Login) -> bool:
        users = self._users
        hashed = users.hash_for(login.username)
        right = await self._hashing.matches(hashed, login.password)
        fingerprint = users.fingerprints.get(login.username)
        if right and fingerprint is not None:
            self._right.put(self._digest(login), fingerprint, _COST)
            return fingerprint == self.fingerprint(login.username)
        if users is self._users:
            until = self._clock.monotonic() + _WRONG_LIFE
            self._wrong.put(self._digest(login), until, _COST)
        return False

    def _digest(self, login: Login) -> bytes:
        # Its length separates the name from the password.
        text = f"{len(login.username)}:{login.username}{login.password}"
        encoded = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(encoded, key=self._key, digest_size=16).digest()


def _read(file: Path) -> Htpasswd:
    with file.open("rb") as opened:
        raw = opened.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise ValueError(f"it has more than {MAX_FILE} bytes")
    try:
        return Htpasswd.parse(raw.decode())
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else str(error)
