"""Who we are to an upstream."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """A username and its password, or the access token that stands for one."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header (RFC 7617, in UTF-8)."""
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
