"""Who we are to an upstream."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field


class CredentialsError(ValueError):
    """The credentials cannot be read; the message says why, and quotes nothing of a file."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A username and its password, or the access token that stands for one.

    With `identity` the password is an identity token: what a token server gave out after a login,
    and takes in its place (OAuth 2's refresh token). A username is not needed then.
    """

    username: str
    password: str = field(repr=False)
    identity: bool = False

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header (RFC 7617, in UTF-8)."""
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
