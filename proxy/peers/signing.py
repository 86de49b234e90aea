"""Signatures of requests to peers, and of what they answer. PURE: time and chance are arguments.

A request is signed over everything that decides its answer, its receiver included, so that nobody
can send it to another replica, and over a time and a nonce, so that nobody can send it again. What
is answered is signed over that nonce, so that nobody can answer with what was once said.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

# The clocks of two replicas may differ by so much, in seconds.
MAX_SKEW: Final = 60.0
# The nonces that are remembered, of about 150 bytes each.
_MAX_NONCES: Final = 2**16
MIN_SECRET: Final = 16
SEAL_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class Signed:
    """What the signature of a request covers.

    `sender` and `receiver` are addresses of replicas. `body` is its sha256, "" for none; `time` is
    in seconds since 1970.
    """

    method: str
    sender: str
    receiver: str
    target: str
    body: str
    time: str
    nonce: str

    def encode(self) -> bytes:
        """One value without ambiguity: no part can pass for a part of another one."""
        parts = (
            *(self.method, self.sender, self.receiver, self.target),
            *(self.body, self.time, self.nonce),
        )
        # What is no text in a header is still bytes, of a request that nobody has signed.
        encoded = [part.encode(errors="surrogateescape") for part in parts]
        return b"".join(b"%d:%s," % (len(part), part) for part in encoded)


class Signer:
    """Signs with a secret that all replicas share."""

    def __init__(self, secret: bytes) -> None:
        """ValueError for a secret that can be guessed."""
        if len(secret) < MIN_SECRET:
            raise ValueError(f"it has {len(secret)} bytes, and {MIN_SECRET} are the least")
        # A key for each purpose: an answer is never a request.
        self._requests = hmac.digest(secret, b"lighterage peer request 1", "sha256")
        self._answers = hmac.digest(secret, b"lighterage peer answer 1", "sha256")

    def sign(self, request: Signed) -> str:
        """The signature of a request."""
        return hmac.digest(self._requests, request.encode(), "sha256").hex()

    def verifies(self, request: Signed, signature: str) -> bool:
        """Whether a holder of the secret has signed the request."""
        given = signature.encode(errors="surrogateescape")
        return hmac.compare_digest(self.sign(request).encode(), given)

    def seal(self, nonce: str) -> AnswerSeal:
        """What seals the parts of the answer to the request with this nonce, in their order."""
        return AnswerSeal(hmac.digest(self._answers, nonce.encode(), "sha256"))


class AnswerSeal:
    """Seals the parts of one answer: none can be left out, added, or moved."""

    __slots__ = ("_count", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0

    def next(self, part: bytes) -> bytes:
        """The seal of the next part."""
        self._count += 1
        return hmac.digest(self._key, b"%d:" % self._count + part, "sha256")


class ReplayWindow:
    """The nonces of recent requests. Its size is bounded, and no request passes twice."""

    def __init__(self, limit: int = _MAX_NONCES) -> None:
        self._limit = limit
        self._seen: OrderedDict[str, float] = OrderedDict()
        # Requests from before are refused, because their nonces are forgotten.
        self._floor = float("-inf")

    def admit(self, nonce: str, time: float, now: float) -> bool:
        """Whether a request of that time, whose signature was verified, has not been here yet."""
        is_recent = abs(now - time) <= MAX_SKEW and time > self._floor
        if not is_recent or nonce in self._seen:
            return False
        self._seen[nonce] = time
        while self._seen:
            oldest, its_time = next(iter(self._seen.items()))
            expired = its_time < now - MAX_SKEW
            if not expired and len(self._seen) <= self._limit:
                break
            del self._seen[oldest]
            if not expired:
                self._floor = max(self._floor, its_time)
        return True
