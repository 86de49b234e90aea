"""The client of a request, as rules name it. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.ports.rights import Login


class PrincipalKind(StrEnum):
    """How a client has shown who it is. Labels of a metric, so the set is closed."""

    ANONYMOUS = "anonymous"
    BASIC = "basic"
    CERTIFICATE = "certificate"
    JWT = "jwt"
    # A login that a registry has confirmed, for one of its repositories.
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, a service account or a node; `name` is unique within its kind.

    `groups` are those that its own credential states. The settings may name it in further ones.
    """

    kind: PrincipalKind
    name: str = ""
    groups: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)


ANONYMOUS: Final = Principal(PrincipalKind.ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request, and its login.

    `login` is one that only an upstream can check. `refused` says that a login was sent and is no
    user of this proxy. `until` is when the credential expires, in seconds since 1970; None if it
    does not.
    """

    principal: Principal
    login: Login | None = None
    refused: bool = False
    until: float | None = None


NOBODY: Final = Client(ANONYMOUS)
