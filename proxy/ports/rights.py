"""A registry that is asked what a client's own login may pull there."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password that a client has sent."""

    username: str
    password: str = field(repr=False)


class Right(StrEnum):
    """What a registry says of a login. `UNKNOWN`: it may mean this object only."""

    GRANTED = "granted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class RightsRegistry(Protocol):
    """One registry itself, never a mirror of it, asked with a client's login and never with ours.

    Both methods raise an UpstreamFailure if it gives no useful answer.
    """

    async def may_pull(self, name: str, subject: str, login: Login | None) -> Right:
        """Whether the login, or everybody, may pull from the repository `name`.

        `subject` is what of the repository is wanted, such as `manifests/latest`; "" for nothing.
        """
        ...

    async def knows(self, login: Login) -> bool:
        """Whether the login is right, whatever it may pull."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
